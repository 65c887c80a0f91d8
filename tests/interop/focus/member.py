"""One INVITE dialog of the focus: somebody who has dialled in (RFC 4579 §5.1), or whom it has dialled (§5.2)."""

import asyncio
import re
from email.parser import BytesParser

from chat import cpim
from chat.agent import Dialog
from chat.call import SDP_TYPE, Call, Shape
from chat.message import Message, address, token
from chat.rules import accepted
from chat.sending import Plan

from . import names
from .switch import CPIM_TYPE

ALLOW = "INVITE, ACK, BYE, CANCEL, UPDATE, OPTIONS, SUBSCRIBE, NOTIFY, REFER"
# How many lines wait for somebody whose MSRP is not there yet.
WAITING = 200
# Seconds after the end of its MSRP connection in which a BYE may still come from somebody.
GRACE = 0.5
LIST_TYPE = "application/resource-lists+xml"


class Member(Call):
    """A device in a room. Its `name` is a number; its `aor` and `nick` say who it is to others."""
    allow = ALLOW

    def __init__(self, room, name):
        super().__init__(room.focus, name)
        self.room, self.habits = room, room.focus.habits
        self.aor, self.shown, self.nick, self.device = "", None, None, ""
        # What it can (RFC 7701 §8); None: it does not know chat rooms.
        self.tokens, self.wrapped = None, ("*",)
        self.joined, self.when, self.by, self.entered = "dialed-in", cpim.now(), None, None
        # How it left, and why, once it has.
        self.how, self.why = None, None
        self.waiting = []

    def tell(self, **event):
        self.phone.tell(room=self.room.user, member=self.name, who=self.aor, **event)

    @property
    def contact(self):
        return self.room.contact() + ";isfocus"

    @property
    def private(self):
        return "private-messages" in (self.tokens or ())

    def become(self, state, **more):
        super().become(state, **more)
        if state == "open":
            waiting, self.waiting = self.waiting, []
            for body in waiting:
                self.deliver(body)

    # Coming in.

    async def join(self, incoming):
        """An INVITE to the room. → the answer's status"""
        request = self.request = incoming.request
        self.incoming, self.peer = incoming, address(request.get("From"))
        self.aor, self.shown = names.aor(self.peer), names.display_name(request.get("From"))
        self.device = address(request.get("Contact") or self.peer)
        if not request.get("Contact"):
            self.agent.complain("RFC 3261 §8.1.1.8", "an INVITE without Contact")
        self.shape = Shape(accepts=[CPIM_TYPE], wrapped=["*"])
        refusal = self.room.refuses(self)
        if refusal is not None:
            return await self._refuse(incoming, refusal)
        request.body, _guests = parts(request)
        offer = self._read(request) if request.body else None
        if offer is not None and not (offer.msrp() and accepted(CPIM_TYPE, offer.msrp()[0].accepts)):
            return await self._refuse(incoming, 488)
        incoming.respond(100)
        if self.habits.after:
            await self._pause(incoming)
        if incoming.cancelled.is_set():
            await self._end(487, "Cancelled")
            return 487
        self.local = self._answer_to(offer, self._setup(offer.msrp()[0])) if offer else self._offer()
        self._answer_with(incoming, self.local)
        self.room.enter(self)
        if offer is not None:
            await self._begin(offer.msrp()[0], self.local.msrp()[0].setup == "active")
        return 200

    def _setup(self, line):
        """Who connects (RFC 6135 §4.2)."""
        if line.setup in ("active", None):
            return "passive"
        return "active" if self.habits.active or line.setup == "passive" else "passive"

    async def _pause(self, incoming):
        try:
            await asyncio.wait_for(incoming.cancelled.wait(), self.habits.after)
        except TimeoutError:
            pass

    async def _refuse(self, incoming, status):
        incoming.respond(status, [("Allow", ALLOW)])
        await self._end(status, "Refused By Us")
        return status

    async def dial(self, to, subject=None, by=None, provisional=None):
        """Asks somebody in. → the answer's status"""
        room = self.room
        self.peer = self.device = to
        self.aor, self.joined, self.by = names.aor(to), "dialed-out", by
        self.shape = Shape(accepts=[CPIM_TYPE], wrapped=["*"])
        title = room.title.replace("\\", "\\\\").replace('"', '\\"')
        request = self.request = Message("INVITE", to, headers=[
            ("From", f'"{title}" <{room.uri}>;tag={token()}'), ("To", f"<{to}>"), ("Call-ID", token(12)), ("CSeq", "1 INVITE")])
        self._describe(request)
        request.headers += [("Subject", subject)] if subject else []
        request.headers += [("Referred-By", f"<{by}>")] if by else []
        self.local = self._offer()
        self._put(request, self.local)
        self.become("calling")
        answer = await self.agent.send(request, provisional or self._provisional, self._another)
        if answer.status >= 300:
            self.how, self.why = "busy" if answer.status in (486, 600) else "failed", f"SIP;cause={answer.status}"
            await self._end(answer.status, answer.reason)
            return answer.status
        self.dialog = Dialog.of_response(request, answer)
        self.agent.dialogs[self.dialog.key] = self.within
        self.agent.acknowledge(self.dialog, 1)
        self.device, self.shown = address(answer.get("Contact") or to), names.display_name(answer.get("To"))
        room.enter(self)
        await self._take_answer(answer)
        return answer.status

    def _line(self, setup):
        media = super()._line(setup)
        self.sessions[-1].member = self
        if not self.habits.plain:
            can = ["nickname"] * self.habits.nicknames + ["private-messages"] * self.habits.private
            media.attributes.append(("chatroom", " ".join(can) or None))
        return media

    async def _begin(self, line, active):
        self._learn(line)
        await super()._begin(line, active)

    def _learn(self, line):
        """What the other side can (RFC 7701 §5.2, §8)."""
        shows = [value for name, value in line.attributes if name == "chatroom"]
        self.tokens = tuple((shows[0] or "").split()) if shows else None
        self.wrapped = line.wrapped or ("*",)
        if shows and len(set(self.tokens)) != len(self.tokens):
            self.agent.complain("RFC 7701 §8", f"a=chatroom:{shows[0]} has a token twice")
        self.tell(chatroom=None if self.tokens is None else list(self.tokens), accepts=list(line.accepts),
                  wrapped=list(self.wrapped))

    # Within the dialog.

    def within(self, incoming):
        method = incoming.request.method
        if method not in ("SUBSCRIBE", "REFER"):
            return super().within(incoming)
        number = incoming.request.cseq[0]
        if self.dialog.remote_cseq is not None and number <= self.dialog.remote_cseq:
            self.agent.complain("RFC 3261 §12.2.1.1", f"a {method} with CSeq {number} after {self.dialog.remote_cseq}")
        self.dialog.remote_cseq = number
        if method == "SUBSCRIBE":
            return self.room.subscribed(incoming, self)
        return self.room.referred(incoming, self)

    def nickname(self, value):
        """What a NICKNAME is answered: code and comment (RFC 7701 §7)."""
        self.tell(asks_nick=value)
        if self.habits.nick_status:
            return self.habits.nick_status, "As Told"
        if not self.habits.nicknames:
            return 403, "No Nicknames Here"
        try:
            nick = names.nickname(value, self.habits.bare_nicks)
        except names.Malformed as error:
            self.agent.complain("RFC 7701 §7.1", str(error))
            return 424, "Malformed nickname"
        if nick and self.room.taken(nick, self):
            return 425, "Nickname reserved or already in use"
        self.room.name(self, nick or None)
        return 200, "OK"

    def allows(self, message):
        """What a text is refused with, if it is (RFC 7701 §6)."""
        return self.room.screen(self, message)

    def deliver(self, body):
        """A text of the room."""
        if self.session is None or self.session.connection is None:
            if self.state not in ("lost", "ended", "dead") and len(self.waiting) < WAITING:
                self.waiting.append(body)
            return
        plan = Plan(whole=True, chars=True) if self.habits.loose else Plan()
        outgoing = self.session.start(body, CPIM_TYPE, success=self.habits.reports, plan=plan)
        self.agent.spawn(self._delivered(outgoing))

    async def _delivered(self, outgoing):
        status = await self.session.outcome(outgoing)
        if status != 200 and self.state == "open":
            self.tell(undelivered=outgoing.name, status=status)

    async def lose(self):
        """Its MSRP connection is gone: so is it, if it does not say goodbye by itself."""
        await asyncio.sleep(GRACE)
        if self.state == "lost":
            await self.leave("failed", why="the MSRP connection is lost")

    async def leave(self, how, reason=None, why=None):
        """A BYE from us. What it watches in this dialog ends before: there are peers that forget a dialog with its BYE."""
        self.how, self.why = how, why
        await self.room.unwatched(watch for watch in self.room.watches if watch.member is self)
        return await self.bye(reason)

    async def _end(self, status, why, by="peer"):
        over = self.state == "ended"
        await super()._end(status, why, by)
        if not over and self.entered is not None:
            self.how = self.how or "departed"
            self.room.gone(self)


def parts(request):
    """The SDP of an INVITE, and the people of a list beside it (RFC 5366); ValueErrors are the parser's."""
    kind = request.get("Content-Type") or ""
    if not kind.lower().startswith("multipart/"):
        return request.body, []
    whole = BytesParser().parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + request.body)
    body, guests = b"", []
    for part in whole.walk():
        if part.get_content_type() == SDP_TYPE:
            body = part.get_payload(decode=True)
        elif part.get_content_type() == LIST_TYPE:
            guests = re.findall(r'<(?:\w+:)?entry\s[^>]*uri="([^"]+)"', part.get_payload(decode=True).decode())
    return body, guests


