#!/usr/bin/python3
"""A conference focus of our own: chat rooms over MSRP, written from the RFCs (see `focus/`).

Scenes run it. By itself it takes orders, one JSON object a line, and tells events the same way:

    tests/interop/conference_focus.py rooms.sip.example.org --hop 127.0.0.1:5060
    {"do": "habits", "echo": true, "interval": 0, "number": 1}
    {"do": "room", "room": "verona", "subject": "Two houses", "number": 2}
    {"do": "kick", "room": "verona", "who": "sip:juliet@example.net", "number": 3}

Two phones try a room of it without anything else between them (see `chat_phone.py`):

    tests/interop/conference_focus.py rooms.localhost --hop 127.0.0.1:9 --port 5090
    tests/interop/chat_phone.py sip:ann@localhost --hop 127.0.0.1:5090 --direct
    {"do": "invite", "to": "sip:verona@rooms.localhost", "call": "a", "chatroom": "nickname private-messages", "name": "Ann"}
    {"do": "watch", "call": "a"}
    {"do": "nick", "call": "a", "nick": "Juliet"}
    {"do": "speak", "call": "a", "text": "Ay me"}
"""

import argparse
import asyncio
import inspect
import json
import sys

import chat_phone
import processes
from chat.phone import serve
from focus.focus import Focus as Rooms
from focus.habits import Habits
from place import FOCUS_DOMAIN


KEY = "focus"
NAME = "focus"
# Always there: it is our own.
VERSION = "of this repository"
CAN = {"status"}
NOT_DIRECT = set()
AWAY_IS = None


class Phone(chat_phone.Phone):
    """What scenes do with it: orders and events, as with the chat phone. Nobody's: it is called by the domain of its rooms."""

    def __init__(self, place, person, way, protocol="tcp"):
        super().__init__(place, person, way, protocol)
        self.port = way.peer_port if way.direct else place.focus_port

    def start(self):
        command = [sys.executable, __file__, FOCUS_DOMAIN, "--hop", f"127.0.0.1:{self.way.next_hop}", "--port", self.port,
                   "--protocol", self.protocol, "--certificate", self.place.certificate, "--key", self.place.key]
        self.child = processes.Talker("focus", command, self.place.folder)
        self.events = self.child.events
        self.events.wait("the focus is there", lambda event: "ready" in event, 20)


def manual():
    orders = [f"  {name[3:]:10} {inspect.getdoc(act)}" for name, act in inspect.getmembers(Rooms, inspect.isfunction)
              if name.startswith("do_") and inspect.getdoc(act)]
    return "\n".join(["orders (arguments by their names in focus/focus.py):", *orders, "", "habits:", inspect.getdoc(Habits)])


async def main():
    parser = argparse.ArgumentParser(description=__doc__, epilog=manual(), formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("domain", help="whose rooms we hold")
    parser.add_argument("--hop", required=True, metavar="HOST:PORT", help="the proxy, or the gateway itself")
    parser.add_argument("--host", default="127.0.0.1", help="our own address")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--protocol", choices=["udp", "tcp"], default="udp")
    parser.add_argument("--certificate", help="with --key: msrps as well")
    parser.add_argument("--key")
    options = parser.parse_args()
    host, _, port = options.hop.rpartition(":")
    focus = Rooms(options.domain, lambda event: print(json.dumps(event, default=chat_phone.show), flush=True), options.host,
                  options.certificate, options.key)
    await focus.start((host, int(port)), options.protocol, options.port)
    orders = asyncio.StreamReader(limit=16 * 1024 * 1024)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    await serve(focus, orders)


if __name__ == "__main__":
    asyncio.run(main())
