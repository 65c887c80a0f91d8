"""The gateway that is tried."""

import urllib.error
import urllib.request

import processes
from place import FOCUS_DOMAIN, ROOMS_DOMAIN, SIP_DOMAIN, XMPP_DOMAIN


class Gateway:
    def __init__(self, place, binary, port, peer, more="", focus=False, server=None, environment=None):
        """`more`: further lines of the configuration. `focus`: there are rooms on the SIP side. `server`: where the XMPP server is
        found, if not where it is."""
        self.place, self.binary, self.port, self.peer, self.more = place, binary, port, peer, more
        self.server = server or f"127.0.0.1:{place.component_port}"
        self.domains = [SIP_DOMAIN, *([FOCUS_DOMAIN] if focus else [])]
        self.http = processes.free_port()
        self.msrp, self.msrps = processes.free_port(), processes.free_port()
        self.own_environment = environment or {}
        place.write("secret", place.secret + "\n")
        self.configure()
        self.start()

    def configure(self, relay=None, server=None):
        """Writes the configuration, for the next start. `relay`: one to go through; `server`: another port of the server's."""
        place, port, peer, more = self.place, self.port, self.peer, self.more
        self.environment = {**self.own_environment, **({"SSL_CERT_FILE": relay.certificate} if relay else {})}
        components = ", ".join(f"{{ domain: {domain}, secret: {{ file: secret }}"
                               f"{', rooms: true' if domain == FOCUS_DOMAIN else ''} }}" for domain in self.domains)
        through = f"relay: {{ uri: {relay.uri}, username: {relay.user}, password: {{ file: {relay.secret} }} }}" if relay else ""
        self.config = place.write("mostar.yaml", f"""
xmpp:
  server: {f"127.0.0.1:{server}" if server else self.server}
  components: [ {components} ]
  domains: [ {{ domain: {XMPP_DOMAIN} }}, {{ domain: {ROOMS_DOMAIN}, rooms: true }} ]
sip:
  listen: [ "udp://127.0.0.1:{port}", "tcp://127.0.0.1:{port}" ]
  peers: [ {{ uri: "{peer}", may_send_from: [ {", ".join(self.domains)} ] }} ]
msrp:
  listen: [ "tcp://127.0.0.1:{self.msrp}", "tls://127.0.0.1:{self.msrps}" ]
  certificate: {place.certificate}
  key: {place.key}
  {through}
store: store
http: 127.0.0.1:{self.http}
{more}""")

    def start(self):
        self.child = processes.Child("mostar", [self.binary, "run", "-c", self.config], self.place.folder,
                                     self.environment)
        self.wait_ready()

    def wait_ready(self, seconds=30):
        processes.wait("Mostar is ready", lambda: self.get("/readyz")[0] == 200, seconds, self.child)

    def wait_unready(self, seconds=30):
        processes.wait("Mostar says that it is not ready", lambda: self.get("/readyz")[0] != 200, seconds, self.child)

    def get(self, path):
        """Status and text; status 0 while nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=2) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def log(self):
        with open(self.child.log, encoding="utf-8") as file:
            return file.read()

    def stop(self):
        """Whether it ended by itself, with status 0."""
        asked = self.child.stop(30)
        return asked and self.child.process.returncode == 0

    def kill(self):
        self.child.kill()
