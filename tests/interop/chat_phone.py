#!/usr/bin/python3
"""A chat phone of our own: SIP, MSRP, CPIM, IMDN, isComposing, written from the RFCs (see `chat/`).

As a phone of the harness it is run by the scenes. By itself it takes orders, one JSON object a line, and tells events the
same way:

    tests/interop/chat_phone.py sip:romeo@example.org --hop 127.0.0.1:5060
    {"do": "invite", "to": "sip:juliet@example.net", "call": "a", "number": 1}
    {"do": "say", "call": "a", "text": "Neither, fair saint", "success": true, "number": 2}
    {"do": "misbehave", "what": "range_overflow", "call": "a", "number": 3}
"""

import argparse
import asyncio
import inspect
import itertools
import json
import os
import sys

import processes
from chat import misbehave
from chat.phone import Phone as Chat, serve
from processes import Missed

KEY = "chat"
NAME = "chat phone"
# Always there: it is our own.
VERSION = "of this repository"
CAN = {"status"}
NOT_DIRECT = set()
AWAY_IS = None

_numbers = itertools.count(1)


class Phone:
    """What scenes do with it."""

    def __init__(self, place, person, way, protocol="tcp"):
        self.place, self.person, self.way, self.protocol = place, person, way, protocol
        self.port = way.peer_port if way.direct else processes.free_port()
        self.child, self.marked = None, 0

    def start(self):
        command = [sys.executable, __file__, self.person.uri, "--hop", f"127.0.0.1:{self.way.next_hop}", "--port", self.port,
                   "--protocol", self.protocol, "--certificate", self.place.certificate, "--key", self.place.key]
        self.child = processes.Talker(f"chat-{self.person.user}", command + (["--direct"] if self.way.direct else []),
                                      self.place.folder, {"PHONE_PASSWORD": self.person.password})
        self.events = self.child.events
        self.events.wait("the phone registers", lambda event: "ready" in event, 20)

    def stop(self):
        if self.child is not None:
            self.child.kill()

    # As any phone.

    def send(self, to, text):
        return self.do("message", to=to, text=text)["status"]

    def mark(self):
        self.marked = self.events.mark()
        return self.marked

    def wait_message(self, sender, text, seconds=20):
        return self.wait(f"a message from {sender}", lambda event: event.get("message") == text
                         and event["sender"].split(";")[0] == sender, seconds)

    # What only this one does.

    def tell(self, kind, /, **order):
        """Without waiting for its end; its number."""
        number = next(_numbers)
        self.child.tell(do=kind, number=number, **order)
        return number

    def end(self, number, seconds=40):
        found = self.events.wait("the end of an order", lambda event: event.get("done") == number, seconds)
        if "error" in found:
            raise Missed(found["error"])
        return found

    def do(self, kind, /, seconds=40, **order):
        return self.end(self.tell(kind, **order), seconds)

    def wait(self, what, test, seconds=20, since=None):
        return self.events.wait(what, test, seconds, self.marked if since is None else since)

    def wait_state(self, state, call=None, seconds=20):
        """A call of this state; its event."""
        return self.wait(f"a call that is {state}", lambda event: event.get("state") == state and call in (None, event["call"]),
                         seconds)

    def found(self, test, since=0):
        return [event for event in self.events.list[since:] if test(event)]

    def complaints(self, since=0, level="must"):
        return [f"{event['section']}: {event['complaint']}" for event in
                self.found(lambda event: event.get("level") == level, since)]


def manual():
    orders = [f"  {name[3:]:10} {inspect.getdoc(act)}" for name, act in inspect.getmembers(Chat, inspect.isfunction)
              if name.startswith("do_")]
    bad = [f"  {name:22} {inspect.getdoc(act).splitlines()[0]}" for name, act in misbehave.ALL.items()]
    return "\n".join(["orders (arguments by their names in chat/phone.py):", *orders, "", "misbehave, `what`:", *bad])


async def main():
    parser = argparse.ArgumentParser(description=__doc__, epilog=manual(), formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("uri", help="who we are: sip:user@domain")
    parser.add_argument("--hop", required=True, metavar="HOST:PORT", help="the proxy, or the gateway itself")
    parser.add_argument("--direct", action="store_true", help="do not register")
    parser.add_argument("--host", default="127.0.0.1", help="our own address")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--protocol", choices=["udp", "tcp"], default="udp")
    parser.add_argument("--certificate", help="with --key: msrps as well")
    parser.add_argument("--key")
    parser.add_argument("--authorities", help="whom to believe where an SDP has no fingerprint")
    options = parser.parse_args()
    host, _, port = options.hop.rpartition(":")
    phone = Chat(options.uri, lambda event: print(json.dumps(event, default=show), flush=True),
                 os.environ.get("PHONE_PASSWORD"), options.host, options.certificate, options.key, options.authorities)
    await phone.start((host, int(port)), options.protocol, options.port, not options.direct)
    orders = asyncio.StreamReader(limit=16 * 1024 * 1024)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    await serve(phone, orders)


def show(value):
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


if __name__ == "__main__":
    asyncio.run(main())
