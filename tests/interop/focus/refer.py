"""REFER to a room: asks somebody in, sends somebody out (RFC 4579 §5.5, §5.11; RFC 3515, RFC 4488, RFC 7647)."""

import asyncio
import re

from chat.agent import Dialog
from chat.message import address, outside, parameter

from . import names

FRAGMENT = "message/sipfrag;version=2.0"
WORDS = {100: "Trying", 180: "Ringing", 200: "OK", 403: "Forbidden", 404: "Not Found", 480: "Temporarily Unavailable",
         486: "Busy Here", 603: "Decline"}


def wish(request):
    """Whom a Refer-To names, and what is to be done with it; what is wrong with it, as a status."""
    targets = request.all("Refer-To")
    if len(targets) != 1:
        return None, None, 400
    uri, method = address(targets[0]), "INVITE"
    for text in (uri, outside(targets[0])):
        # In the URI as RFC 3261 has it, behind the brackets as a recorded client writes it.
        method = parameter(text, "method") or method
    uri = re.sub(r"(?i);method=[^;?>]*", "", uri.partition("?")[0])
    if names.split(uri) is None or method.upper() not in ("INVITE", "BYE"):
        return None, None, 400
    return uri, method.upper(), None


class Referral:
    """What becomes of one REFER, told to who sent it; `member`: whose dialog it came in, None: it has its own."""

    def __init__(self, room, incoming, member):
        self.room, self.agent, request = room, room.focus.agent, incoming.request
        self.quiet = (request.get("Refer-Sub") or "").strip().lower() == "false"
        self.dialog = member.dialog if member else Dialog.of_request(request, incoming.tag)
        # Which of several in one dialog (RFC 3515 §2.4.6).
        self.event = f"refer;id={request.cseq[0]}" if member else "refer"
        self.notices, self.done = asyncio.Queue(), False
        if member is None and not self.quiet:
            self.agent.dialogs[self.dialog.key] = self.within
        if not self.quiet:
            self.agent.spawn(self._run())

    def within(self, incoming):
        """It is over soon, whatever is asked."""
        incoming.respond(481)

    def tell(self, status, last=False):
        self.notices.put_nowait((status, last))

    async def _run(self):
        last = False
        while not last:
            status, last = await self.notices.get()
            request = self.dialog.request("NOTIFY")
            state = "terminated;reason=noresource" if last else "active;expires=60"
            request.headers += [("Contact", self.room.contact()), ("Event", self.event), ("Subscription-State", state),
                                ("Content-Type", FRAGMENT)]
            request.body = f"SIP/2.0 {status} {WORDS.get(status, 'Whatever')}".encode()
            answer = await self.agent.send(request, dialog=self.dialog)
            if answer.status >= 300:
                break
        self.agent.dialogs.pop(self.dialog.key, None) if self.agent.dialogs.get(self.dialog.key) == self.within else None


async def referred(room, incoming, member):
    """A REFER to the room, in the dialog of a member or in none."""
    request, habits = incoming.request, room.focus.habits
    target, method, wrong = wish(request)
    sender = member or room.by_aor(names.aor(address(request.get("From"))))
    room.tell(refer=method, target=target, by=sender and sender.aor)
    if not request.get("Contact"):
        room.focus.agent.complain("RFC 3515 §2.2", "a REFER without Contact")
    if wrong:
        return incoming.respond(wrong)
    right = habits.may_kick if method == "BYE" else habits.may_refer
    allowed = sender is not None and (right == "all" or (right == "moderators" and room.moderates(sender.aor)))
    if not allowed and habits.refuses == "answer":
        return incoming.respond(403)
    referral = Referral(room, incoming, member)
    more = [("Refer-Sub", "false")] if referral.quiet else []
    incoming.respond(habits.refer, [("Contact", room.contact()), *more])
    referral.tell(100)
    status = 403
    if allowed and method == "BYE":
        status = 200 if habits.deaf else await room.send_out(target, by=sender.aor)
    elif allowed:
        provisional = lambda answer: referral.tell(180) if answer.status == 180 else None
        status = await room.ask_in(target, f"{room.title}: {sender.aor} asks you in", sender.aor, provisional)
    return referral.tell(status, True)
