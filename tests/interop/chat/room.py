"""What a phone does in rooms (RFC 7701, RFC 4575, RFC 4579): a part of `Phone`.

Further events, each with `call` where it belongs to one:

  roster, version, state, subject   a document of the conference package, and what it makes of the whole list
  watch                             a subscription: active, terminated
  progress, of                      what became of a REFER: its sipfrag
"""

import re
from urllib.parse import quote

from . import conference, cpim, documents
from .agent import Dialog, hostless
from .message import address, parameter
from .sending import Plan

CPIM_TYPE = "message/cpim"
FRAGMENT = "message/sipfrag"


class Watch:
    """A subscription of ours: to a roster, or the one that a REFER makes."""

    def __init__(self, phone, call=None):
        self.phone, self.call = phone, call
        self.roster = conference.Roster(self.complain)
        self.dialog = None

    def tell(self, **event):
        self.phone.tell(**({"call": self.call.name} if self.call else {}), **event)

    def complain(self, complaint):
        self.tell(complaint=complaint.text, level=complaint.level, section=complaint.section)

    def within(self, incoming):
        """A request in a dialog of its own."""
        if incoming.request.method != "NOTIFY":
            return incoming.respond(405, [("Allow", "NOTIFY")])
        number = incoming.request.cseq[0]
        if self.dialog is not None:
            if self.dialog.remote_cseq is not None and number <= self.dialog.remote_cseq:
                self.phone.agent.complain("RFC 3261 §12.2.1.1", f"a NOTIFY with CSeq {number} after {self.dialog.remote_cseq}")
            self.dialog.remote_cseq = number
        return self.notified(incoming)

    def notified(self, incoming):
        request = incoming.request
        if self.phone.notify_status != 200:
            return incoming.respond(self.phone.notify_status)
        incoming.respond(200)
        state = request.get("Subscription-State")
        event = request.get("Event") or ""
        if state is None:
            self.phone.agent.complain("RFC 6665 §4.1.3", "a NOTIFY without Subscription-State")
            state = ""
        kind = (request.get("Content-Type") or "").split(";")[0].strip().lower()
        word = state.split(";")[0].strip()
        if event.split(";")[0].strip() == "refer":
            fragment = request.body.decode(errors="replace").split("\r\n")[0].strip()
            if kind != FRAGMENT or not re.match(r"SIP/2\.0 [1-6][0-9]{2}( |$)", fragment):
                self.phone.agent.complain("RFC 3515 §2.4.5", f"a NOTIFY of a REFER with {kind}: {fragment!r}")
            return self.tell(progress=fragment, of=parameter(f";{event}", "id"), watch=word, why=parameter(state, "reason"))
        self.tell(watch=word, why=parameter(state, "reason"))
        if not request.body:
            return None
        if kind != conference.TYPE:
            return self.phone.agent.complain("RFC 4575 §3.5", f"a NOTIFY with {kind}")
        document = self.roster.take(request.body)
        self.tell(roster=self.roster.users, version=self.roster.version, state=document, subject=self.roster.subject)
        return None


class InRooms:
    """Orders for rooms; mixed into `Phone`."""

    # What NOTIFYs are answered; 0: not at all.
    notify_status = 200

    def notified(self, incoming, call):
        """A NOTIFY in the dialog of a call."""
        event = incoming.request.get("Event") or ""
        kind = "refer" if event.startswith("refer") else "roster"
        self.watch_of(call, kind).notified(incoming)

    def watch_of(self, call, kind):
        watches = call.__dict__.setdefault("watches", {})
        return watches.setdefault(kind, Watch(self, call))

    def _within(self, method, call, to):
        """A request in the dialog of a call, or in one of its own to an address; who gets the NOTIFYs; the dialog."""
        if to is None:
            return self.calls[call].dialog.request(method), None, self.calls[call].dialog
        request, watch = self.agent.request(method, to), Watch(self)
        # The NOTIFY may come before the answer (RFC 6665 §4.1.2.4).
        self.agent.dialogs[request.call_id, request.tag("From")] = watch.within
        return request, watch, None

    async def _sent(self, request, watch, dialog):
        request.headers.append(("Contact", self.agent.contact))
        answer = await self.agent.send(request, dialog=dialog)
        if watch is not None and answer.status < 300:
            known, watch.dialog = watch.dialog, Dialog.of_response(request, answer)
            watch.dialog.remote_cseq = known and known.remote_cseq
        return {"status": answer.status, "reason": answer.reason, "contact": answer.get("Contact"),
                "expires": answer.get("Expires"), "of": str(request.cseq[0])}

    async def do_watch(self, call=None, to=None, expires=600, again=None):
        """SUBSCRIBE to who is in a conference: in the dialog of a call, or to an address, in one of its own. `again`: the
        number of such a one, for a refresh or the end. → status, watch (its number)"""
        if again is not None:
            watch = self.watches[again]
            request, dialog = watch.dialog.request("SUBSCRIBE"), watch.dialog
            watch, again = None, again
        else:
            request, watch, dialog = self._within("SUBSCRIBE", call, to)
        request.headers += [("Event", "conference"), ("Accept", conference.TYPE), ("Expires", str(expires))]
        found = await self._sent(request, watch, dialog)
        if watch is not None:
            self.watches.append(watch)
            again = len(self.watches) - 1
        return {**found, "watch": again}

    async def do_refer(self, target, call=None, to=None, method=None, outside=False, quiet=False):
        """REFER: asks somebody into a conference, or with `method="BYE"` out of it. `outside`: the method behind the
        brackets, as some write it. `quiet`: Refer-Sub: false. → status, of (what its NOTIFYs say in Event's id)"""
        request, watch, dialog = self._within("REFER", call, to)
        inside, behind = ("", f";method={method}") if outside else (f";method={method}", "")
        request.headers.append(("Refer-To", f"<{target}{inside if method else ''}>{behind if method else ''}"))
        if quiet:
            request.headers += [("Refer-Sub", "false"), ("Supported", "norefersub")]
        return await self._sent(request, watch, dialog)

    async def do_nick(self, call, nick, quotes=True):
        """NICKNAME (RFC 7701 §7). → status"""
        escaped = nick.replace("\\", "\\\\").replace('"', '\\"')
        return {"status": await self._session(call).ask("NICKNAME", [("Use-Nickname", f'"{escaped}"' if quotes else nick)])}

    async def do_speak(self, call, text, to=None, subject=None, sender=None, shown=None, success=False, name=None, **plan):
        """A text to all of a room, or to the nick or address `to`; `subject`: a new subject; `shown`: our display name in it.
        → status, ids"""
        session, room = self._session(call), self.room_of(call)
        message = cpim.wrap(text, sender or self.uri, occupant(room, to) if to else room)
        if shown is not None:
            message.headers[0] = ("From", f'"{cpim.escape(shown, quotes=True)}" <{sender or self.uri}>')
        if subject is not None:
            message.headers.append(("Subject", subject))
        outgoing = session.start(message.encode(), CPIM_TYPE, success=success, name=name, plan=Plan(**plan))
        status = await session.outcome(outgoing)
        return {"status": status, "ids": [outgoing.name]}

    async def do_whisper_typing(self, call, state, to, refresh=60):
        """isComposing to one in a room. → status"""
        body = documents.Composing(state, refresh if state == "active" else None).encode()
        message = cpim.wrap(body, self.uri, occupant(self.room_of(call), to), documents.COMPOSING_TYPE)
        return {"status": await self._session(call).send(message.encode(), CPIM_TYPE, failure="no")}

    async def do_notifies(self, status=200):
        """How NOTIFYs are answered from now on."""
        self.notify_status = status

    def room_of(self, call):
        """The address of a room without its password; of a new one that which its focus has told."""
        call = self.calls[call]
        uri = call.focus or call.peer
        return f"sip:{hostless(uri).split(':')[0]}@{uri.partition('@')[2].split(';')[0]}"


def occupant(room, nick):
    """Somebody's address in a room (RFC 7702 §4), or the one that the roster shows (RFC 7701 §6.2)."""
    return nick if nick.startswith("sip:") else f"{room};gr={quote(nick, safe='')}"


def focus_of(answer):
    """The address in a Contact that says isfocus; None: there is no focus, or it is where one has called."""
    contact = answer.get("Contact") or ""
    return address(contact) if re.search(r";\s*isfocus", contact.rpartition(">")[2]) else None
