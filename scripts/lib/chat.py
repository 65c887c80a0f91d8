"""The chat session of the conversation: MSRP with typing and receipts, told as the rest is.

The SIP user's device is the chat phone of `tests/interop/`, a program of its own that takes orders and tells events.
"""

import json
import os
import subprocess
import sys
import threading
import time

from xmpp_client import CLIENT

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.join(ROOT, "tests", "interop", "chat_phone.py")
STATES = "{http://jabber.org/protocol/chatstates}"
RECEIPTS = "{urn:xmpp:receipts}"
LONG = 30_000


class ChatPhone:
    """The program as a child, which ends with us. What it tells is also in the trace."""

    def __init__(self, uri, password, proxy, trace):
        self.trace, self.events, self.since, self.orders = trace, [], 0, 0
        self.changed = threading.Condition()
        self.child = subprocess.Popen(
            [sys.executable, PROGRAM, uri, "--hop", f"{proxy[0]}:{proxy[1]}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=trace, env={**os.environ, "PHONE_PASSWORD": password})
        threading.Thread(target=self._listen, daemon=True).start()

    def do(self, kind, **order):
        """Gives an order and waits for its end; what it says of that, or nothing when it failed."""
        self.mark()
        self.orders += 1
        try:
            self.child.stdin.write(json.dumps({"do": kind, "number": self.orders, **order}).encode() + b"\n")
            self.child.stdin.flush()
        except OSError:
            return None  # It has ended; its last words are in the trace.
        done = self.wait(lambda event: event.get("done") == self.orders, 40)
        return None if done is None or "error" in done else done

    def mark(self):
        """What was told before does not count."""
        self.since = len(self.events)

    def wait(self, test, seconds):
        """The first event since the latest order or mark that passes. None when time is up."""
        until = time.monotonic() + seconds
        with self.changed:
            while True:
                found = next((event for event in self.events[self.since:] if test(event)), None)
                left = until - time.monotonic()
                if found is not None or left <= 0:
                    return found
                self.changed.wait(left)

    def close(self):
        self.child.stdin.close()
        try:
            self.child.wait(5)
        except subprocess.TimeoutExpired:
            self.child.kill()

    def _listen(self):
        for line in self.child.stdout:
            with self.changed:
                self.trace.write(f"--- the chat phone tells\n{line.decode('utf-8', 'replace')}")
                self.trace.flush()
                self.events.append(json.loads(line))
                self.changed.notify_all()


def part(story, client, names, password, proxy, trace, seconds):
    """`names`: the SIP user and his address in SIP and in XMPP, the XMPP user and her address in SIP."""
    romeo, romeo_sip, romeo_jid, juliet, juliet_sip = names
    story.part(f"{romeo} takes a phone that chats (MSRP), and opens a chat with {juliet_sip}")
    phone = ChatPhone(romeo_sip, password, proxy, trace)
    try:
        if not story.saw("the SIP proxy lets the chat phone register", phone.wait(lambda event: "ready" in event, seconds)):
            return
        opened = phone.do("invite", to=juliet_sip)
        is_open = lambda event: event.get("state") == "open"
        if not story.saw("the chat is taken, and its MSRP connection is there",
                         opened and opened["status"] == 200 and phone.wait(is_open, seconds)):
            return
        talk(story, client, phone, opened["call"], romeo, romeo_jid, juliet, seconds)
        phone.do("register", expires=0)
    finally:
        phone.close()


def talk(story, client, phone, call, romeo, romeo_jid, juliet, seconds):
    from_romeo = lambda test: client.wait("message", lambda m: (m.get("from") or "").split("/")[0] == romeo_jid and test(m), seconds)
    has = lambda name: lambda m: m.find(name) is not None

    phone.do("typing", call=call, state="active", refresh=60)
    story.saw(f"{romeo} types: {juliet}'s client shows “{romeo} is writing”", from_romeo(has(STATES + "composing")))
    said = "I would I were thy bird. 🐦"
    sent = phone.do("say", call=call, text=said, success=True)
    heard = from_romeo(lambda m: m.findtext(CLIENT + "body") == said)
    story.saw(f"SIP → XMPP, in the chat: “{said}”", heard)
    if heard is not None and sent is not None:
        client.received(heard)
        reported = lambda event: event.get("report") == sent["ids"][0] and event["status"] == 200
        story.saw(f"her client has it: {romeo}'s phone shows it as delivered", phone.wait(reported, seconds))

    phone.mark()
    client.state(romeo_jid, "composing")
    story.saw(f"{juliet} types: {romeo}'s phone shows “{juliet} is writing”",
              phone.wait(lambda event: event.get("typing") == "active", seconds))
    said = "Sweet, so would I: yet I should kill thee with much cherishing."
    name = client.message(romeo_jid, said, receipt=True)
    in_chat = lambda event: event.get("message") == said and event["via"] == "msrp"
    story.saw(f"XMPP → SIP, in the chat: “{said}”", phone.wait(in_chat, seconds))
    receipt = from_romeo(lambda m: m.find(RECEIPTS + "received") is not None
                         and m.find(RECEIPTS + "received").get("id") == name)
    story.saw(f"his phone has it: {juliet}'s client shows it as received", receipt)

    long = ("Parting is such sweet sorrow. " * LONG)[:LONG]
    phone.do("say", call=call, text=long)
    story.saw(f"a text of {LONG:,} letters goes through in one piece",
              from_romeo(lambda m: (m.findtext(CLIENT + "body") or "").rstrip() == long.rstrip()))
    phone.do("bye", call=call)
    story.saw(f"{romeo} hangs up: {juliet}'s client shows that he has left the chat", from_romeo(has(STATES + "gone")))
