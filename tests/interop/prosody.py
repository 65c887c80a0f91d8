"""Prosody, with rooms, and the component of config/prosody.cfg.lua."""

import processes
from place import FOCUS_DOMAIN, ROOMS_DOMAIN, XMPP_DOMAIN

NAME = "Prosody"
# Its command knows no harmless way to ask for the version: `prosody --version` starts a server.
VERSION = processes.package_version("prosody")


class Server:
    def __init__(self, place, more=""):
        """`more`: further global lines."""
        self.place = place
        sample = place.sample("prosody.cfg.lua")
        beginning, end = sample.index("-- Global"), sample.index("-- At the end")
        self.config = place.write("prosody.cfg.lua", f"""
run_as_root = true
daemonize = false
data_path = "{place.path('prosody')}"
pidfile = "{place.path('prosody.pid')}"
log = {{ {"info" if place.quiet else "debug"} = "*console" }}
{more}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {place.xmpp_port} }}
c2s_direct_tls_ports = {{}}
legacy_ssl_ports = {{}}
modules_enabled = {{ "disco", "roster", "saslauth", "tls", "blocklist", "carbons", "pep", "vcard4", "vcard_legacy", "ping", "smacks", "posix" }}
modules_disabled = {{ "s2s" }}
authentication = "internal_plain"
ssl = {{ key = "{place.key}", certificate = "{place.certificate}" }}
{sample[beginning:end]}
VirtualHost "{XMPP_DOMAIN}"
Component "{ROOMS_DOMAIN}" "muc"
Component "{FOCUS_DOMAIN}"
	component_secret = "{place.secret}"
	component_conflict_resolve = "kick_old"
{sample[end:]}
""")
        host = XMPP_DOMAIN.replace(".", "%2e")
        for person in place.xmpp_accounts:
            place.write(f"prosody/{host}/accounts/{person.user}.dat", f'return {{ ["password"] = "{person.password}" }};\n')
        self.start()

    def start(self):
        self.child = processes.Child("prosody", ["prosody", "--config", self.config, "-F"], self.place.folder)
        for port in (self.place.xmpp_port, self.place.component_port):
            processes.wait("Prosody listens", lambda: processes.listens(port), 30, self.child)

    def stop(self):
        """As an administrator stops it."""
        return self.child.stop(30)

    def kill(self):
        self.child.kill()
