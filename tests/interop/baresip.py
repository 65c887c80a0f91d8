"""baresip, driven through its control port (JSON in netstrings). What a user would see comes from its console port."""

import json
import os
import re
import socket
import threading

import processes
from phone import CLOSED, OPEN

KEY = "baresip"
NAME = "baresip"
VERSION = processes.package_version("baresip-core")
# It asks for the presence of those contacts alone that were in its file when it started, and knows open and closed only.
# It could publish, but at its start it makes two publications at once, of which it forgets one: what the proxy shows
# then is chance.
CAN = {"watch", "notify"}
NOT_DIRECT = set()
AWAY_IS = CLOSED

MODULES = "/usr/lib/baresip/modules"


class Phone:
    def __init__(self, place, person, way):
        self.place, self.person, self.way = place, person, way
        self.port = way.peer_port if way.direct else processes.free_port()
        self.control_port, self.console_port = processes.free_port(), processes.free_port()
        self.folder = place.path(f"baresip-{person.user}")
        self.watched = False
        self.contact = self.state = None
        self.child = None

    def start(self):
        name = os.path.basename(self.folder)
        if not os.path.isdir(MODULES):
            raise processes.Missed(f"baresip has no modules in {MODULES}")
        self.place.write(f"{name}/config", f"""
sip_listen 127.0.0.1:{self.port}
ctrl_tcp_listen 127.0.0.1:{self.control_port}
cons_listen 127.0.0.1:{self.console_port}
module_path {MODULES}
module g711.so
module_tmp account.so
module_app contact.so
module_app presence.so
module_app menu.so
module cons.so
module_app ctrl_tcp.so
""")
        hop = f'outbound="sip:127.0.0.1:{self.way.next_hop}"'
        # It takes requests to its domain only with an account that registers; one of second choice never comes to that.
        registration = f"pubint=0;regint=600;prio={int(self.way.direct)}"
        self.place.write(f"{name}/accounts", f"<{self.person.uri}>;auth_user={self.person.user};"
                                             f"auth_pass={self.person.password};{hop};{registration}\n")
        self.write_contacts()
        self.run()

    def run(self):
        self.events = processes.Events()
        began = os.path.getsize(self.child.log) if self.child else 0
        self.child = processes.Child(os.path.basename(self.folder), ["baresip", "-f", self.folder, "-v"], self.place.folder)
        processes.wait("baresip listens", lambda: processes.listens(self.control_port), 10, self.child)
        self.control = socket.create_connection(("127.0.0.1", self.control_port))
        self.console = socket.create_connection(("127.0.0.1", self.console_port))
        self.screen, self.seen = "", 0
        threading.Thread(target=self._read, args=(self.control,), daemon=True).start()
        threading.Thread(target=self._look, args=(self.console,), daemon=True).start()
        if not self.way.direct:
            with open(self.child.log, encoding="utf-8", errors="replace") as log:
                log.seek(began)
                processes.wait("baresip registers", lambda: " 200 OK" in log.read(), 10, self.child)
        if self.state is not None:
            self.publish(self.state)  # It has forgotten, and tells `<basic>?</basic>` to those who ask.

    def stop(self):
        if self.child is not None:
            self.child.kill()

    # What a user does.

    def send(self, to, text):
        self.write_contacts(to)
        self.do("message", text)

    def publish(self, state):
        self.state = state
        word = "offline" if state == CLOSED else "online"
        # The command that it knew until 1.0, and the one since.
        self.do(*([f"presence_{word}"] if VERSION.startswith("1.0.") else ["presence", word]))

    def serve_subscription(self, state):
        """It answers whoever asks."""
        self.publish(state)

    def watch(self, uri):
        self.watched = True
        self.write_contacts(uri, anew=True)

    # What a user sees.

    def mark(self):
        self.seen = len(self.screen)

    def wait_message(self, sender, text, seconds=20):
        processes.wait(f"a message from {sender}", lambda: f'{sender}: "{text}"' in self.screen[self.seen:], seconds, self.child)

    def wait_state(self, uri, state, seconds=20):
        name = "Online" if state == OPEN else "Offline"

        def test():
            listed = self.do("contacts")
            return re.search(rf"{name}\W[^\n]*{re.escape(uri)}", re.sub(r"\x1b\[[0-9;]*m", "", listed))
        processes.wait(f"{uri} is shown as {state}", test, seconds, self.child)

    # How it is done.

    def write_contacts(self, uri=None, anew=False):
        """The contacts are read at the start only: with another one it starts anew."""
        if uri is not None and uri == self.contact and not anew:
            return
        self.contact = uri
        flag = ";presence=p2p" if self.watched else ""
        self.place.write(f"{os.path.basename(self.folder)}/contacts", f'"Juliet" <{uri}>{flag}\n' if uri else "\n")
        if uri is not None:
            self.child.stop(5)
            self.run()

    def do(self, command, parameters=None):
        order = {"command": command, "token": str(self.events.mark())}
        if parameters is not None:
            order["params"] = parameters
        data = json.dumps(order, ensure_ascii=False).encode()
        self.control.sendall(b"%d:%s," % (len(data), data))
        answer = self.events.wait(f"baresip's answer to {command}",
                                  lambda event: event.get("response") and event.get("token") == order["token"], 10)
        return answer["data"]

    def _read(self, control):
        pending = b""
        while True:
            try:
                piece = control.recv(65536)
            except OSError:
                return
            if not piece:
                return
            pending += piece
            while b":" in pending:
                length, _, rest = pending.partition(b":")
                if len(rest) <= int(length):
                    break
                self.events.add(json.loads(rest[:int(length)]))
                pending = rest[int(length) + 1:]

    def _look(self, console):
        while True:
            try:
                piece = console.recv(65536)
            except OSError:
                return
            if not piece:
                return
            self.screen += piece.decode("utf-8", "replace")
