"""Twinkle's console: lines in, lines out. It sends and shows messages and publishes open and closed; it answers nobody
who asks for its presence, and its console shows nobody else's."""

import time

import processes
from phone import CLOSED

KEY = "twinkle"
NAME = "Twinkle"
VERSION = processes.package_version("twinkle-console")
CAN = {"publish"}
AWAY_IS = None
NOT_DIRECT = set()


class Phone:
    def __init__(self, place, person, way):
        self.place, self.person, self.way = place, person, way
        self.port = way.peer_port if way.direct else processes.free_port()
        self.child, self.seen = None, 0

    # When one was last started at a place.
    last_start = {}

    def start(self):
        # Its branches, tags and Call-IDs are drawn from the second of its start: two of them that start in the same
        # one, at the same port, are one sender to everybody.
        before = self.last_start.get(self.place.folder)
        self.last_start[self.place.folder] = processes.wait(
            "another second", lambda: (now := int(time.time())) != before and now, 5)
        name = f"twinkle-{self.person.user}"
        registers = "no" if self.way.direct else "yes"
        self.place.write(f"{name}/.twinkle/user.cfg", f"""
user_name={self.person.user}
user_domain={self.person.domain}
auth_name={self.person.user}
auth_pass={self.person.password}
outbound_proxy=127.0.0.1:{self.way.next_hop}
all_requests_to_proxy=yes
registrar=127.0.0.1:{self.way.next_hop}
register_at_startup={registers}
sip_transport=udp
im_send_iscomposing=no
pres_publish_startup=no
""")
        self.place.write(f"{name}/.twinkle/twinkle.sys", f"sip_port={self.port}\ndev_ringtone=\ndev_speaker=\ndev_mic=\n")
        self.child = processes.Child(name, ["stdbuf", "-oL", "twinkle-console", "user.cfg"], self.place.folder,
                                     {"HOME": self.place.path(name)}, stdin=True)
        processes.wait("Twinkle starts", lambda: "Twinkle>" in self.output(0), 20, self.child)
        if not self.way.direct:
            processes.wait("Twinkle registers", lambda: "registration succeeded" in self.output(0), 20, self.child)

    def stop(self):
        if self.child is not None:
            self.child.kill()

    def send(self, to, text):
        self.say(f'message {to} "{text}"')

    def publish(self, state):
        self.say(f"presence -b {'offline' if state == CLOSED else 'online'}")

    def mark(self):
        self.seen = len(self.output(0))

    def wait_message(self, sender, text, seconds=20):
        processes.wait(f"a message from {sender}", lambda: text in self.output(self.seen), seconds, self.child)

    def output(self, since):
        with open(self.child.log, encoding="utf-8", errors="replace") as file:
            return file.read()[since:]

    def say(self, line):
        self.child.process.stdin.write(line.encode() + b"\n")
        self.child.process.stdin.flush()
