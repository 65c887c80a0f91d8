"""A couple of a load that writes in an MSRP session, with the chat phone of the interop runs: whatever breaks it, the phone opens
another, and what it says goes on."""

import asyncio

import processes
from chat.phone import Phone
from ledger import TO_SIP, TO_XMPP
from sip_people import LATE
from xmpp_people import Client

# How long a phone waits for the answer to a SEND, and to an INVITE.
PATIENCE = 35


class Couple:
    """`nurse` (XMPP) and `mercutio` (SIP), who is behind a proxy."""

    def __init__(self, load, nurse, mercutio):
        self.load, self.ledger = load, load.ledger
        self.nurse, self.mercutio = nurse, mercutio
        self.client = load.clients[nurse.jid] = Client(nurse, load.place.xmpp_port, load.ledger)
        self.phone = Phone(mercutio.uri, self.happened, mercutio.password)
        # Recorded by nobody before: every text asks to be told of if it fails.
        self.names = {}
        self.call, self.opened = None, 0

    async def start(self):
        self.to_sip = self.ledger.pair(TO_SIP, self.nurse.jid, self.mercutio.jid)
        self.to_xmpp = self.ledger.pair(TO_XMPP, self.mercutio.uri, self.nurse.jid, reports=True)
        await self.phone.start(("127.0.0.1", self.load.sip.hop), "udp", processes.free_port())

    async def stop(self):
        await self.phone.stop()

    def happened(self, event):
        """What the phone shows its user."""
        if "message" in event:
            late = LATE.match(event["message"])
            if late:
                self.ledger.tell_unnamed(self.to_xmpp, int(late[2] or 1), event["message"])
            else:
                self.ledger.hear(event["message"], self.mercutio.jid, event.get("imdn_id") or event["id"])
        elif event.get("imdn") and event.get("status") == "failed":
            self._failed(event["of"], "a notification: failed")
        elif "report" in event and event.get("status") not in (None, 200):
            self._failed(event["report"], f"a REPORT: {event['status']}")
        elif "lost" in event or event.get("state") in ("ended", "dead"):
            if event.get("call") == self.call:
                self.call = None
        elif event.get("state") == "open":
            self.call, self.opened = event["call"], self.opened + 1

    def _failed(self, name, what):
        number = self.names.get(name)
        if number is not None and not self.to_xmpp.messages[number].told:
            self.ledger.tell(self.to_xmpp, number, what)

    async def talk(self):
        """The phone's side; the XMPP user's is any other's."""
        while True:
            await asyncio.sleep(self.load.every * self.load.random.uniform(0.2, 1.8))
            if not self.load.saying:
                continue
            self.load.waiting += 1
            try:
                if self.call is None:
                    await self._open()
                else:
                    await self._say(self.call)
            finally:
                self.load.waiting -= 1

    async def _open(self):
        try:
            await asyncio.wait_for(self.phone.do_invite(self.nurse.uri), PATIENCE)
        except (asyncio.TimeoutError, ValueError, OSError):
            pass  # Nobody is there; again at the next word.

    async def _say(self, call):
        pair = self.to_xmpp
        message, text = self.ledger.say(pair)
        name = f"p{pair.index}m{message.number}"
        self.names[name] = message.number
        try:
            said = await asyncio.wait_for(self.phone.do_say(call, text, imdn="negative-delivery", imdn_id=name, name=name), PATIENCE)
        except (asyncio.TimeoutError, ValueError, KeyError, OSError, AttributeError):
            # The session went away under it.
            self.ledger.no_answer(pair, message)
            self.call = None
            return
        # 0: the connection went first.
        if said["status"] in (None, 0, 408):
            self.ledger.no_answer(pair, message)
        else:
            self.ledger.answer(pair, message, said["status"], "mostar")
        if said["status"] != 200:
            self.call = None
