"""A room of the XMPP server in a load: an XMPP user is in it, and a SIP user who calls it again whenever he was cut off. Both say
lines; at rest both see the same members, and each has seen the other's lines once and in order.
"""

import asyncio
import re

import processes
from chat.phone import Phone
from place import ROOMS_DOMAIN
from xmpp_people import CLIENT, Client

MUC = "http://jabber.org/protocol/muc"
ROOM, NURSE, ROMEO = f"verona@{ROOMS_DOMAIN}", "Nurse", "Romeo"
PATIENCE = 35
_line = re.compile(r"^Line (\d+) of (\w+)$")


class RoomCouple:
    def __init__(self, load, nurse, romeo):
        self.load, self.ledger = load, load.ledger
        self.client = load.clients[nurse.jid] = Client(nurse, load.place.xmpp_port, load.ledger)
        self.client.other = self.stanza
        self.phone = Phone(romeo.uri, self.happened, romeo.password)
        self.call, self.members, self.roster = None, set(), set()
        self.said = {NURSE: 0, ROMEO: 0}
        # Of each: the numbers of the other's lines, as they were seen; and of Romeo's those that were taken, and told of.
        self.seen, self.taken, self.told = {NURSE: [], ROMEO: []}, set(), set()

    async def start(self):
        self.client.raw(f"<presence to='{ROOM}/{NURSE}'><x xmlns='{MUC}'><history maxstanzas='0'/></x></presence>")
        while NURSE not in self.members:
            await asyncio.sleep(0.05)
        self.client.raw(f"<iq to='{ROOM}' type='set' id='make'><query xmlns='{MUC}#owner'>"
                        "<x xmlns='jabber:x:data' type='submit'/></query></iq>")
        await self.phone.start(("127.0.0.1", self.load.sip.hop), "udp", processes.free_port())

    async def stop(self):
        await self.phone.stop()

    # The XMPP side.

    def stanza(self, element):
        room, _, nick = element.get("from", "").partition("/")
        if room != ROOM:
            return
        if element.tag == CLIENT + "presence" and nick:
            (self.members.discard if element.get("type") == "unavailable" else self.members.add)(nick)
            self.ledger.note("room", nick=nick, presence=element.get("type"))
        elif element.tag == CLIENT + "message" and element.get("type") == "groupchat":
            self._saw(NURSE, element.findtext(CLIENT + "body"), ROMEO)

    def _saw(self, who, text, whose):
        found = _line.match(text or "")
        if found and found[2] == whose:
            self.seen[who].append(int(found[1]))
            self.ledger.note("line", seen_by=who, number=int(found[1]))

    # The SIP side.

    def happened(self, event):
        if event.get("call") != self.call and event.get("state") != "open":
            return
        if "message" in event:
            self._saw(ROMEO, event["message"], NURSE)
        elif "roster" in event:
            self.roster = {entry.get("name") for entry in event["roster"].values()}
            self.ledger.note("roster", names=sorted(map(str, self.roster)))
        elif "report" in event and event.get("status") not in (None, 200):
            self.told.add(event["report"])
        elif "lost" in event or event.get("state") in ("ended", "dead"):
            self.call, self.roster = None, set()
        elif event.get("state") == "open":
            self.call = event["call"]

    async def talk(self):
        while True:
            await asyncio.sleep(2 * self.load.every * self.load.random.uniform(0.2, 1.8))
            if self.call is None:
                await self._enter()
                continue
            if not self.load.saying:
                continue
            self.load.waiting += 1
            try:
                await self._say(self.call)
            finally:
                self.load.waiting -= 1
            self.said[NURSE] += 1
            if self.client.online:
                self.client.raw(f"<message to='{ROOM}' type='groupchat' id='line{self.said[NURSE]}'>"
                                f"<body>Line {self.said[NURSE]} of {NURSE}</body></message>")

    async def _enter(self):
        try:
            done = await asyncio.wait_for(self.phone.do_invite(
                f"sip:{ROOM}", chatroom="nickname private-messages", accepts=["message/cpim"], name=ROMEO), PATIENCE)
            if done["status"] == 200:
                await asyncio.wait_for(self.phone.do_watch(call=done["call"]), PATIENCE)
        except (asyncio.TimeoutError, ValueError, OSError, KeyError, AttributeError):
            pass  # Nobody is there; again soon.

    async def _say(self, call):
        self.said[ROMEO] += 1
        number = self.said[ROMEO]
        try:
            said = await asyncio.wait_for(self.phone.do_speak(call, f"Line {number} of {ROMEO}", name=f"line{number}"), PATIENCE)
        except (asyncio.TimeoutError, ValueError, KeyError, OSError, AttributeError):
            self.call = None
            return
        if said["status"] == 200:
            self.taken.add(number)
        elif said["status"] not in (None, 0, 408):
            self.told.add(f"line{number}")

    # At rest.

    def agree(self):
        return self.call is not None and self.members == {NURSE, ROMEO} and self.roster == self.members

    def judge(self, findings):
        findings.count["said"] += sum(self.said.values())
        findings.count["delivered"] += len(set(self.seen[NURSE])) + len(set(self.seen[ROMEO]))
        if not self.agree():
            findings.violation(10, f"the room has {sorted(self.members)} in XMPP and {sorted(map(str, self.roster))} in SIP")
        for who, numbers in self.seen.items():
            if len(set(numbers)) < len(numbers):
                twice = sorted(number for number in set(numbers) if numbers.count(number) > 1)
                findings.violation(10, f"{who} has seen lines twice: {twice}")
            elif numbers != sorted(numbers):
                findings.violation(10, f"{who} has seen lines out of order: {numbers}")
        lost = [number for number in sorted(self.taken) if number not in self.seen[NURSE] and f"line{number}" not in self.told]
        # What was taken may have died with the call: its REPORT was not waited for.
        if self.ledger.breaks:
            findings.count["ambiguous"] += len(lost)
        elif lost:
            findings.violation(10, f"lines of {ROMEO} were taken and not seen: {lost}")
