"""One INVITE dialog with its MSRP session: offers, answers, who connects, how it ends (RFC 3261 §13–15, RFC 3264,
RFC 3311, RFC 4975 §8, RFC 6135)."""

import asyncio
from dataclasses import dataclass, field, replace

from . import sdp
from .agent import ALLOW, Dialog
from .conference import guests
from .message import address, token
from .room import focus_of
from .wire import Uri

SDP_TYPE = "application/sdp"
LIST_TYPE = "application/resource-lists+xml"


@dataclass
class Shape:
    """What our offers and answers look like.

    setup     of a=setup; "none": without it (a peer of RFC 4975 alone); None: actpass in an offer, passive in an answer
    tls       msrps, with the fingerprint of our certificate
    lines     how many message lines an offer has
    audio     an audio line beside them: "before" or "after"
    path      an a=path that is not ours, to lead the peer astray
    own       an MSRP connection that is not shared with other sessions
    late      the INVITE has no SDP: the peer offers, our ACK answers
    chatroom  a=chatroom with these values (RFC 7701 §8); "none": without it
    name      our display name, as the caller
    guests    addresses that a new room is to ask in (RFC 5366)
    factory   who is called makes a new room: its address is the Contact of the answer (RFC 4579 §5.4)
    """
    setup: str | None = None
    tls: bool = False
    accepts: list = field(default_factory=lambda: list(sdp.CHAT))
    wrapped: list = field(default_factory=lambda: list(sdp.WRAPPED))
    max_size: int | None = None
    direction: str | None = None
    lines: int = 1
    audio: str | None = None
    path: str | None = None
    own: bool = False
    late: bool = False
    chatroom: str = "none"
    name: str | None = None
    guests: list = field(default_factory=list)
    factory: bool = False


class Call:
    """`tell(**event)`: what happens; each event has the call's name."""
    allow = ALLOW

    def __init__(self, phone, name):
        self.phone, self.name, self.agent, self.endpoint = phone, name, phone.agent, phone.endpoint
        self.shape, self.dialog, self.request, self.incoming = Shape(), None, None, None
        # Of each message line of ours; `session` is the one in use.
        self.sessions, self.session = [], None
        self.local, self.remote, self.peer = None, None, None
        self.state, self.mute = "new", False
        # Why it was refused; the address of the room that it made.
        self.reason, self.focus = None, None

    def tell(self, **event):
        self.phone.tell(call=self.name, **event)

    def become(self, state, **more):
        self.state = state
        self.tell(state=state, **more)

    @property
    def contact(self):
        """What our Contact says in this dialog."""
        return self.agent.contact + self.agent.contact_parameters

    # As the caller.

    async def invite(self, to, shape, cancel_after=None):
        """The status of the answer."""
        self.shape, self.peer = shape, to
        request = self.request = self.agent.request("INVITE", to, name=shape.name)
        self._describe(request)
        if not shape.late:
            self.local = self._offer()
            self._put(request, self.local)
        if shape.guests:
            with_guests(request, shape.guests)
        self.become("calling")
        if cancel_after is not None:
            asyncio.get_running_loop().call_later(cancel_after, self.cancel)
        answer = await self.agent.send(request, self._provisional, self._another)
        if answer.status >= 300:
            self.reason = answer.reason
            self.tell(refused=answer.status, reason=answer.reason, contact=answer.get("Contact"))
            await self._end(answer.status, answer.reason)
            return answer.status
        self.focus = focus_of(answer) if shape.factory else None
        self.dialog = Dialog.of_response(request, answer)
        self.agent.dialogs[self.dialog.key] = self.within
        self.tell(tag=answer.tag("To"), contact=answer.get("Contact"))
        await self._answered(answer)
        return answer.status

    async def _answered(self, answer):
        number = self.request.cseq[0]
        if self.shape.late:
            await self._answer_late(answer, number)
            return
        self.agent.acknowledge(self.dialog, number)
        if self.state == "cancelled":
            # The answer crossed our CANCEL.
            return await self.bye()
        await self._take_answer(answer)

    async def _answer_late(self, answer, number):
        """The offer was in the 200: our answer is in the ACK."""
        offer = self._read(answer)
        ack = self.dialog.request("ACK", number)
        if offer is None or not offer.msrp():
            self.agent.acknowledge(self.dialog, number)
            return await self.bye()
        self.local = self._answer_to(offer, "passive")
        self._put(ack, self.local)
        protocol, host, port = self.agent._hop(ack)
        self.agent._stamp(ack, protocol)
        await self.agent.transport.send(ack.encode(), protocol, host, port)
        await self._begin(offer.msrp()[0], self.local.msrp()[0].setup == "active")

    async def _take_answer(self, answer):
        remote = self.remote = self._read(answer, self.local)
        taken = [(line, session) for line, session in zip(remote.media if remote else [], self._by_line()) if line.is_msrp
                 and line.port and session]
        if remote is not None:
            self.tell(lines=[line.port for line in remote.media], chatroom=[line.get("chatroom") for line in remote.media])
        if not taken:
            self.tell(nothing_taken=True)
            return await self.bye()
        line, self.session = taken[0]
        for other in self.sessions:
            if other is not self.session:
                await other.close()
        await self._begin(line, line.setup != "active")

    def _by_line(self):
        """Our session of each line, None for audio."""
        sessions = iter(self.sessions)
        return [next(sessions) if media.is_msrp else None for media in self.local.media]

    def _provisional(self, response):
        if response.status > 100:
            self.become("ringing", status=response.status)

    def _another(self, response):
        """A 2xx after the first: the same one again, or another fork, which we do not want (§13.2.2.4)."""
        dialog = Dialog.of_response(self.request, response)
        self.agent.acknowledge(dialog, self.request.cseq[0])
        self.agent.spawn(self._one_too_many(dialog, response.tag("To")))

    async def _one_too_many(self, dialog, tag):
        while self.dialog is None:
            # The first 2xx came with the same packet and is looked at next.
            await asyncio.sleep(0.005)
        if dialog.remote != self.dialog.remote:
            self.tell(forked=tag)
            await self.agent.send(dialog.request("BYE"))

    def cancel(self):
        if self.state in ("calling", "ringing"):
            self.become("cancelled")
            self.agent.cancel(self.request)

    # As the callee.

    async def offered(self, incoming, manner):
        """Answers as `manner` says: see `Phone.do_answer`."""
        self.incoming, request = incoming, incoming.request
        self.peer = address(request.get("From"))
        self.shape = manner.shape
        self.become("offered", mode=manner.mode, caller=self.peer, subject=request.get("Subject"),
                    contact=request.get("Contact"), referred=request.get("Referred-By"))
        offer = self._read(request) if request.body else None
        if offer is not None:
            self.tell(offer=[f"{line.kind} {line.port} {line.setup}" for line in offer.media])
        if manner.mode == "silent":
            return
        incoming.respond(100)
        if manner.ringing or manner.mode == "ring":
            incoming.respond(180, [("Contact", self.contact), ("Allow", self.allow)])
        if manner.mode == "ring":
            return
        if manner.after:
            try:
                await asyncio.wait_for(incoming.cancelled.wait(), manner.after)
            except TimeoutError:
                pass
        if incoming.cancelled.is_set():
            return await self._end(487, "Cancelled")
        if manner.mode == "refuse":
            incoming.respond(manner.status, [("Allow", ALLOW)])
            return await self._end(manner.status, "Refused By Us")
        if offer is not None and not offer.msrp():
            incoming.respond(488)
            return await self._end(488, "No MSRP")
        await self._accept(incoming, offer, manner)

    async def _accept(self, incoming, offer, manner):
        self.mute = manner.mode == "mute"
        setup = manner.shape.setup or "passive"
        if offer is None:
            self.local = self._offer()
        elif manner.mode == "port0":
            self.local = sdp.Sdp(sdp.origin(self.endpoint.host), [sdp.refused(line) for line in offer.media])
        else:
            self.local = self._answer_to(offer, "active" if offer.msrp()[0].setup == "passive" else setup)
        self._answer_with(incoming, self.local)
        if offer is not None and manner.mode != "port0":
            await self._begin(offer.msrp()[0], self.local.msrp()[0].setup == "active")

    def _answer_with(self, incoming, document, tag=None):
        tag = tag or incoming.tag
        self.dialog = Dialog.of_request(incoming.request, tag)
        self.agent.dialogs[self.dialog.key] = self.within
        incoming.respond(200, [("Contact", self.contact), ("Allow", self.allow), ("Content-Type", SDP_TYPE)], document.encode(), tag)

    # Inside the dialog.

    def within(self, incoming):
        request = incoming.request
        if request.method == "ACK":
            return self._acknowledged(request)
        number = request.cseq[0]
        if self.dialog.remote_cseq is not None and number <= self.dialog.remote_cseq:
            self.agent.complain("RFC 3261 §12.2.1.1", f"a {request.method} with CSeq {number} after {self.dialog.remote_cseq}")
        self.dialog.remote_cseq = number
        if request.method == "BYE":
            incoming.respond(200)
            self.agent.spawn(self._end(None, request.get("Reason") or "", by="peer"))
        elif request.method in ("INVITE", "UPDATE"):
            self._changed(incoming)
        elif request.method == "OPTIONS":
            incoming.respond(200, [("Allow", ALLOW)])
        elif request.method == "MESSAGE":
            self.phone.page(incoming)
        elif request.method == "NOTIFY":
            self.phone.notified(incoming, self)
        else:
            incoming.respond(501)

    def _changed(self, incoming):
        """An offer inside the session, or a refresh without one."""
        request = incoming.request
        if request.get("Contact"):
            self.dialog.target = address(request.get("Contact"))
        self.tell(again=request.method, expires=request.get("Session-Expires"))
        if self.phone.glare:
            return incoming.respond(491)
        headers = [("Contact", self.contact), ("Allow", self.allow)]
        if request.get("Session-Expires"):
            headers += [("Session-Expires", request.get("Session-Expires")), ("Require", "timer")]
        if not request.body and request.method == "UPDATE":
            return incoming.respond(200, headers)
        if request.body:
            offer = self._read(request)
            if offer is None:
                return incoming.respond(488)
            self.tell(offer=[f"{line.kind} {line.port} {line.setup} {line.direction}" for line in offer.media])
            lines = [line if line.is_msrp and line.port else None for line in offer.media]
            own = self.local.msrp()[0] if self.local.msrp() else None
            self.local = self.local.newer([own if line is not None and own is not None else sdp.refused(media)
                                           for line, media in zip(lines, offer.media)])
            self._moved(offer)
        incoming.respond(200, headers + [("Content-Type", SDP_TYPE)], self.local.encode())

    def _moved(self, offer):
        """The peer's path may be another one now (RFC 4975 §8.4)."""
        line = next(iter(offer.msrp()), None)
        if self.session is None or line is None:
            return
        if [uri.key for uri in line.path] == [uri.key for uri in self.session.remote]:
            return
        self.tell(moved=[str(uri) for uri in line.path])
        self.session.meet(line.path, line.accepts)
        # A new path is a new connection (§5.4): the one that was there has served its time.
        self.session.unbind()
        self.agent.spawn(self._until_bound())

    def _acknowledged(self, request):
        if self.state == "offered" and not request.body:
            self.tell(acknowledged=True)
        if self.local is not None and not self.local.msrp():
            # We refused its line with port 0; it is up to the caller to hang up.
            self.tell(acknowledged=True)
        if request.body and self.session is None and self.local is not None:
            remote = self._read(request, self.local)
            if remote is not None and remote.msrp():
                self.session = self.sessions[0]
                self.agent.spawn(self._begin(remote.msrp()[0], remote.msrp()[0].setup != "active"))

    async def bye(self, reason=None):
        if self.dialog is None or self.state == "ended":
            return None
        request = self.dialog.request("BYE")
        if reason:
            request.headers.append(("Reason", reason))
        await self._end(None, "we hang up", by="us")
        return (await self.agent.send(request, dialog=self.dialog)).status

    async def change(self, method, **options):
        """re-INVITE or UPDATE: `refresh` (no SDP in an UPDATE, the same SDP in an INVITE), `hold`, `anew` (another path)."""
        request = self.dialog.request(method)
        request.headers += [("Contact", self.contact), ("Allow", self.allow)]
        if not (method == "UPDATE" and options.get("refresh")):
            if options.get("anew"):
                old, self.session, self.sessions = self.sessions, None, []
                self.local = self.local.newer([self._line("actpass")])
            elif not options.get("refresh"):
                line, *others = self.local.media
                attributes = [(name, value) for name, value in line.attributes if name not in ("sendonly", "inactive", "setup")]
                attributes += [("setup", "actpass")] + ([("sendonly", None)] if options.get("hold") else [])
                self.local = self.local.newer([sdp.Media(line.kind, line.port, line.protocol, line.formats, line.connection,
                                                         attributes), *others])
            self._put(request, self.local)
        answer = await self.agent.send(request, dialog=self.dialog)
        if answer.status < 300:
            if method == "INVITE":
                self.agent.acknowledge(self.dialog, request.cseq[0])
            remote = self._read(answer, self.local) if answer.body else None
            if options.get("anew") and remote and remote.msrp():
                await self._begin(remote.msrp()[0], remote.msrp()[0].setup != "active")
                for session in old:
                    await session.close()
            elif remote:
                self._moved(remote)
        return answer.status

    # SDP and MSRP.

    def _line(self, setup):
        shape = self.shape
        session = self.endpoint.session(self._media, shape.tls, accepts=tuple(shape.accepts), max_size=shape.max_size)
        session.manner = replace(self.phone.manner)
        self.sessions.append(session)
        uri = Uri.parse(shape.path) if shape.path else session.uri
        return sdp.message_line(uri, None if setup == "none" else setup, shape.accepts, shape.wrapped,
                                self.endpoint.fingerprint() if shape.tls else None, shape.max_size, shape.direction,
                                shape.chatroom)

    def _offer(self):
        lines = [self._line(self.shape.setup or "actpass") for _number in range(self.shape.lines)]
        audio = sdp.audio_line(self.endpoint.host)
        lines = {None: lines, "before": [audio, *lines], "after": [*lines, audio]}[self.shape.audio]
        return sdp.Sdp(sdp.origin(self.endpoint.host), lines, self.agent.name)

    def _answer_to(self, offer, setup):
        """The first message line is taken, every other line refused."""
        wanted, lines = offer.msrp()[0], []
        self.shape.tls = wanted.path[0].secure if wanted.path else False
        for media in offer.media:
            lines.append(self._line(setup) if media is wanted else sdp.refused(media))
        self.session = self.sessions[0]
        return sdp.Sdp(sdp.origin(self.endpoint.host), lines, self.agent.name)

    def _put(self, request, document):
        request.put("Content-Type", SDP_TYPE)
        request.body = document.encode()

    def _describe(self, request):
        request.headers += [("Contact", self.contact), ("Allow", self.allow), ("Supported", "timer")]

    def _read(self, message, answer_to=None):
        try:
            document = sdp.parse(message.body, answer_to)
        except (ValueError, UnicodeDecodeError) as error:
            self.agent.complain("RFC 4566 §5", f"{message}: {error}")
            return None
        for complaint in document.complaints:
            self.tell(complaint=complaint.text, level=complaint.level, section=complaint.section)
        return document

    async def _begin(self, line, active):
        """Both sides' paths are known: whoever is active connects at once."""
        self.session = self.session or self.sessions[0]
        self.session.meet(line.path, line.accepts)
        if self.mute:
            self.session.manner.answer = "never"
            return self.become("mute")
        if not active:
            self.agent.spawn(self._until_bound())
            return
        try:
            status = await self.session.connect(line.get("fingerprint"), self.shape.own)
        except OSError as error:
            self.tell(unreachable=str(line.path[0]), why=str(error))
            return
        self.become("open" if status == 200 else "dead", status=status, active=True)

    async def _until_bound(self):
        await self.session.bound.wait()
        self.become("open", active=False)

    def _media(self, event):
        self.phone.media(self, event)

    async def _end(self, status, why, by="peer"):
        if self.state == "ended":
            return
        if self.dialog is not None:
            self.agent.dialogs.pop(self.dialog.key, None)
        self.become("ended", status=status, why=why, by=by)
        for session in self.sessions:
            if not session.closed:
                await session.close()


def with_guests(request, addresses):
    """A list of people beside the offer (RFC 5366 §4)."""
    mark = token(10)
    parts = [(SDP_TYPE, "", request.body)] if request.body else []
    parts.append((LIST_TYPE, "Content-Disposition: recipient-list\r\n", guests(addresses)))
    body = b"".join(f"--{mark}\r\nContent-Type: {kind}\r\n{more}\r\n".encode() + data + b"\r\n" for kind, more, data in parts)
    request.put("Content-Type", f'multipart/mixed;boundary="{mark}"')
    request.headers.append(("Require", "recipient-list-invite"))
    request.body = body + f"--{mark}--\r\n".encode()


def fork(call, other, incoming, manner):
    """Two devices answer at once: two 2xx with two tags, two sessions (§13.2.2.4). The caller keeps one."""
    for branch, tag in ((call, token()), (other, token())):
        branch.incoming, branch.shape, branch.peer = incoming, manner.shape, address(incoming.request.get("From"))
        offer = branch._read(incoming.request)
        branch.local = branch._answer_to(offer, manner.shape.setup or "passive")
        branch.become("offered", mode="fork", caller=branch.peer)
        branch._answer_with(incoming, branch.local, tag)
        branch.agent.spawn(branch._begin(offer.msrp()[0], branch.local.msrp()[0].setup == "active"))
