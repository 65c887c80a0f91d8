"""Profanity, a client of the terminal: in a terminal of its own, in which it is typed. What it shows is read from its logs of
rooms, since a screen is drawn in pieces.

As a child it takes lines, one JSON object each: {"do": "type", "text": …}.
"""

import glob
import json
import os
import pty
import select
import struct
import sys
import fcntl
import termios

import processes
from processes import Missed

NAME = "Profanity"
VERSION = processes.package_version("profanity", "profanity-light")


class Profanity:
    """A person at it."""

    def __init__(self, place, person):
        self.place, self.person, self.child = place, person, None
        self.home = place.path(f"profanity-{person.user}")
        config = os.path.join(f"profanity-{person.user}", ".config/profanity")
        place.write(f"{config}/profrc", "[logging]\nchlog=true\ngrlog=true\nintype=false\n[ui]\nsplash=false\n[muc]\n"
                    "[notifications]\nmessage=false\nroom=off\ninvite=false\n")
        place.write(f"profanity-{person.user}/.local/share/profanity/accounts",
                    f"[{person.jid}]\nenabled=true\njid={person.jid}\nserver=127.0.0.1\nport={place.xmpp_port}\n"
                    f"password={person.password}\nresource=terminal\ntls.policy=trust\nmuc.nick={person.user}\n")

    def start(self):
        self.child = processes.Talker(f"profanity-{self.person.user}", [sys.executable, __file__, self.person.jid],
                                      self.place.folder, {"HOME": self.home, "TERM": "xterm", "XDG_CONFIG_HOME": "",
                                                          "XDG_DATA_HOME": "", "LANG": "C.UTF-8"})
        self.child.events.wait("Profanity logs in", lambda event: "ready" in event, 20)

    def stop(self):
        if self.child is not None:
            self.child.kill()

    def type(self, text):
        self.child.tell(do="type", text=text)

    def room_log(self, room):
        """What it has shown of a room."""
        name = room.jid.replace("@", "_at_")
        found = glob.glob(f"{self.home}/.local/share/profanity/chatlogs/*/rooms/{name}/*.log")
        return "".join(open(path, encoding="utf-8").read() for path in sorted(found))

    def shows(self, room, text, seconds=20):
        try:
            processes.wait(text, lambda: text in self.room_log(room), seconds, self.child)
        except Missed:
            raise Missed(f"{NAME} does not show {text!r}; it shows {self.room_log(room)[-400:]!r}") from None


def main(jid):
    pid, screen = pty.fork()
    if pid == 0:
        for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
            os.environ.pop(name)
        os.execvp("profanity", ["profanity", "-a", jid, "-l", "DEBUG"])
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
    pending, shown, ready = b"", b"", False
    while True:
        readable = select.select([0, screen], [], [], 0.1)[0]
        if screen in readable:
            try:
                shown = (shown + os.read(screen, 65536))[-100_000:]
            except OSError:
                return
            if not ready and b"logged in" in shown:
                ready = True
                print(json.dumps({"ready": jid}), flush=True)
        if 0 in readable:
            piece = os.read(0, 65536)
            if not piece:
                os.write(screen, b"/quit\r")
                return
            *lines, pending = (pending + piece).split(b"\n")
            for line in lines:
                os.write(screen, json.loads(line)["text"].encode() + b"\r")


if __name__ == "__main__":
    main(sys.argv[1])
