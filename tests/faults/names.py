"""DNS that lies, is slow, or is gone: a small server of the tests, and /etc/resolv.conf of the unit's own."""

import os
import socket
import struct
import subprocess
import threading
import time

import processes
from units import Unit

XMPP, SIP = "xmpp.faults.test", "sip.faults.test"
# An address of this machine where nobody listens.
NOWHERE = "127.66.66.66"


class Server:
    """One thread, one socket. Knows two names; what it does with a question is `mode`."""

    def __init__(self):
        self.mode, self.asked = "well", 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def kill(self):
        self.socket.close()

    def _serve(self):
        while True:
            try:
                data, source = self.socket.recvfrom(4096)
            except OSError:
                return
            self.asked += 1
            if self.mode == "gone":
                continue
            answer = self.answer(data)
            if self.mode == "slow":
                threading.Timer(3, self._send, (answer, source)).start()
            elif self.mode == "garbage":
                self._send(data[:2] + b"\xff" * 40, source)
            else:
                self._send(answer, source)

    def _send(self, data, source):
        try:
            self.socket.sendto(data, source)
        except OSError:
            pass

    def answer(self, data):
        """RFC 1035: one question; an address for A, nothing for others. No name lives for longer than a second."""
        end, labels = 12, []
        while data[end]:
            labels.append(data[end + 1:end + 1 + data[end]].decode("ascii", "replace"))
            end += 1 + data[end]
        question = data[12:end + 5]
        kind = struct.unpack("!H", data[end + 1:end + 3])[0]
        name = ".".join(labels).lower()
        known = name in (XMPP, SIP)
        if self.mode == "nobody":
            known = False
        address = NOWHERE if self.mode == "lies" else "127.0.0.1"
        answers = (b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 1, 4) + socket.inet_aton(address)) if known and kind == 1 else b""
        flags = 0x8580 if known else 0x8583
        return data[:2] + struct.pack("!HHHHH", flags, 1, 1 if answers else 0, 0, 0) + question + answers


def own_names(world):
    world.dns = Server()
    world.things.append(world.dns)
    path = world.place.write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n", 0o644)
    subprocess.run(["mount", "--bind", path, os.path.realpath("/etc/resolv.conf")], check=True)
    world.link = f"{XMPP}:{world.place.component_port}"
    world.peer = world.peer.replace("127.0.0.1", SIP)


def trouble(setting, world, findings):
    """The answers go wrong; then the link is lost, and the gateway has to ask again. At the end all is well."""
    for mode in ("slow", "gone", "nobody", "lies", "garbage"):
        time.sleep(1)
        found = world.broken(f"{world.server_name} (DNS: {mode})")
        world.dns.mode = mode
        time.sleep(2)
        world.server.kill()
        world.server.start()
        time.sleep(15 if setting.full else 6)
        world.dns.mode = "well"
        # Its pauses between two attempts have grown.
        world.well(found, 120)
        world.load.pulse(90)
    world.load.later(world.load.sip.refresh)
    if not world.dns.asked:
        findings.violation(0, "nobody asked for a name")
    return 5


def at_start(setting, world, findings):
    """There is no DNS when the gateway starts: it says so, and goes on when there is one."""
    for mode in ("gone", "nobody", "lies"):
        found = world.broken("mostar")
        world.gateway.kill()
        world.dns.mode = mode
        world.gateway.child = processes.Child("mostar", [world.gateway.binary, "run", "-c", world.gateway.config],
                                              world.place.folder, world.gateway.environment)
        time.sleep(8)
        if not world.gateway.child.alive():
            findings.violation(0, f"without DNS ({mode}) the gateway ended; see {world.gateway.child.log}")
            world.gateway.start()
        world.dns.mode = "well"
        world.well(found, 120)
        world.load.pulse(90)
    world.load.later(world.load.sip.refresh)
    return 3


NEEDS = ("root", "mount", "unshare")
ALL = [
    Unit("dns", "DNS that lies, is slow or is gone", "Prosody", "direct", trouble, seconds=100, needs=NEEDS,
         world={"prepare": lambda setting: own_names}),
    Unit("dns-start", "no DNS at a start", "Prosody", "direct", at_start, seconds=80, needs=NEEDS, slow=True,
         world={"prepare": lambda setting: own_names}),
]
