"""The phone: orders in, events out, both as dicts (as JSON lines in `chat_phone.py`).

Every order has `do` and its arguments; with `number` its end is told: {"done": number, …} or {"done": number, "error"}.
`Phone.do_*` are the orders, their doc strings the manual. Events, each with `call` where it belongs to one:

  registered, ready                    the phone is there
  state: offered calling ringing cancelled open mute dead ended
  message, sender, via, id, type       a text, from MESSAGE or MSRP, out of CPIM if it was wrapped
  typing, refresh                      isComposing: active or idle
  imdn, status, of                     a notification
  said, status                         our text has its transaction response
  report, status, range                a REPORT on it
  complaint, level, section            the peer broke a rule
  lost                                 the MSRP connection is gone

And those of rooms: see `room.py`.
"""

import asyncio
import itertools
import json
import re
import zlib
from dataclasses import dataclass, field, fields

from . import cpim, documents, misbehave, sdp
from .agent import ALLOW, Agent
from .call import SDP_TYPE, Call, Shape, fork
from .endpoint import Endpoint
from .message import address, token
from .room import InRooms
from .rules import accepted
from .sending import Plan
from .session import Manner

CPIM_TYPE = "message/cpim"
TEXT_TYPE = "text/plain; charset=utf-8"
# More than this of a body is not shown in an event.
SHOWN = 400_000
ACCEPT = "application/sdp, message/cpim, text/plain, application/im-iscomposing+xml, message/imdn+xml"


@dataclass
class Answers:
    """What becomes of an INVITE to us."""
    mode: str = "accept"
    status: int = 486
    after: float = 0
    ringing: bool = False
    shape: Shape = field(default_factory=Shape)


class Phone(InRooms):
    def __init__(self, uri, tell, password=None, host="127.0.0.1", certificate=None, key=None, authorities=None):
        self.uri, self._tell = uri, tell
        self.agent = Agent(uri, password, tell=self._event)
        self.agent.received = self._received
        # RFC 3840, RFC 4569: this device takes messages in sessions.
        self.agent.contact_parameters = ";message"
        self.endpoint = Endpoint(host, certificate, key, authorities, tell=self._event)
        self.calls, self.numbers = {}, itertools.count(1)
        self.answers, self.manner, self.glare = Answers(), Manner(), False
        # What we notify unasked or asked: of "delivery" and "display".
        self.notify, self.pager_status, self.shows_msrp = (), 200, True
        self.registered = False
        # Subscriptions with a dialog of their own.
        self.watches = []

    def tell(self, **event):
        self._tell(event)

    def _event(self, event):
        self._tell(event)

    async def start(self, hop, protocol="UDP", port=0, register=True):
        await self.endpoint.start()
        if self.endpoint.certificate:
            await self.endpoint.start(secure=True)
        await self.agent.start(self.endpoint.host, port, hop, protocol)
        self.registered = register
        if register:
            status = await self.agent.register()
            self.tell(registered=status)
            if status != 200:
                return
        self.tell(ready=True, port=self.agent.transport.port, msrp=self.endpoint.ports.get(False))

    async def stop(self):
        await self.endpoint.stop()
        await self.agent.stop()

    async def obey(self, order):
        """One order; never raises."""
        order = dict(order)
        number, name = order.pop("number", None), order.pop("do", None)
        act = getattr(self, f"do_{name}", None)
        try:
            if act is None:
                raise ValueError(f"no such order: {name}")
            result = await act(**order) or {}
        except asyncio.CancelledError:
            raise
        except Exception as error:  # pylint: disable=broad-except
            result = {"error": f"{type(error).__name__}: {error}"}
        if number is not None or "error" in result:
            self.tell(done=number, **result)

    # What arrives.

    def _received(self, incoming):
        """A request outside dialogs."""
        request = incoming.request
        if request.method == "INVITE":
            self._invited(incoming)
        elif request.method == "MESSAGE":
            self.page(incoming)
        elif request.method == "OPTIONS":
            self._asked(incoming)
        else:
            incoming.respond(405, [("Allow", ALLOW)])

    def _invited(self, incoming):
        call = self._call(None)
        if self.answers.mode == "fork":
            fork(call, self._call(None), incoming, self.answers)
        else:
            self.agent.spawn(call.offered(incoming, self.answers))

    def _asked(self, incoming):
        """OPTIONS: with the SDP that an INVITE would have (RFC 3261 §11.2)."""
        self.tell(options=address(incoming.request.get("From")))
        headers = [("Allow", ALLOW), ("Accept", ACCEPT), ("Supported", "timer")]
        headers.append(("Contact", self.agent.contact + (self.agent.contact_parameters if self.shows_msrp else "")))
        if not self.shows_msrp:
            return incoming.respond(200, headers)
        line = sdp.Media("message", self.endpoint.ports[False], "TCP/MSRP", ["*"], f"IN IP4 {self.endpoint.host}",
                         [("accept-types", " ".join(sdp.CHAT)), ("accept-wrapped-types", " ".join(sdp.WRAPPED))])
        document = sdp.Sdp(sdp.origin(self.endpoint.host), [line])
        incoming.respond(200, headers + [("Content-Type", SDP_TYPE)], document.encode())

    def page(self, incoming):
        """MESSAGE (RFC 3428)."""
        request = incoming.request
        incoming.respond(self.pager_status)
        if self.pager_status >= 300:
            return
        if request.get("Contact") is not None:
            self.agent.complain("RFC 3428 §4", "a MESSAGE with a Contact")
        body = request.body
        if (request.get("Content-Encoding") or "").lower() == "deflate":
            body = zlib.decompress(body)
        content_type = request.get("Content-Type") or "text/plain"
        self._content(body, content_type, address(request.get("From")), request.call_id, "message")

    def media(self, call, event):
        """What happens in a session of a call."""
        if "received" in event:
            call.tell(**{key: value for key, value in event.items() if key not in ("body",)}, size=len(event["body"]))
            if not event["again"]:
                self._content(event["body"], event["type"], call.peer, event["received"], "msrp", call)
            return
        if "lost" in event:
            call.state = "lost"
        call.tell(**event)

    def _content(self, body, content_type, sender, name, via, call=None):
        """A body, wrapped or not: a text, a state, a notification."""
        tell = call.tell if call else self.tell
        wrapped, around = None, {}
        if kind_of(content_type) == CPIM_TYPE:
            try:
                wrapped = cpim.parse(body)
            except ValueError as error:
                return self._complain(tell, "must", "RFC 3862 §3", str(error))
            for complaint in wrapped.complaints:
                self._complain(tell, complaint.level, complaint.section, complaint.text)
            body, content_type = wrapped.content, wrapped.content_type or "text/plain"
            inner = wrapped.get("From")
            sender = address(inner) if inner else sender
            around = {"name": name_of(inner or ""), "to": address(wrapped.get("To") or ""), "subject": wrapped.get("Subject")}
        details = {"sender": sender, "via": via, "id": name, "wrapped": wrapped is not None, **around}
        kind = kind_of(content_type)
        try:
            if kind == documents.COMPOSING_TYPE:
                found = documents.parse_composing(body)
                tell(typing=found.state, refresh=found.refresh, **details)
            elif kind == documents.IMDN_TYPE:
                found = documents.parse_imdn(body)
                tell(imdn=found.kind, status=found.status, of=found.name, **details)
            else:
                return self._text(tell, body, content_type, wrapped, details, call)
        except ValueError as error:
            return self._complain(tell, "must", "RFC 5438 §11, RFC 3994 §6", str(error))
        for complaint in found.complaints:
            self._complain(tell, complaint.level, complaint.section, complaint.text)

    def _text(self, tell, body, content_type, wrapped, details, call):
        asked, name, when = [], None, None
        if wrapped is not None:
            asked = [part.strip() for value in wrapped.all("Disposition-Notification", cpim.IMDN) for part in value.split(",")]
            name, when = wrapped.get("Message-ID", cpim.IMDN), wrapped.get("DateTime")
        try:
            text = body.decode()
        except UnicodeDecodeError:
            self._complain(tell, "must", "RFC 3629", f"a {content_type} that is not UTF-8")
            text = body.decode(errors="replace")
        tell(message=text[:SHOWN], type=content_type, length=len(body), imdn_id=name, asked=asked, when=when, **details)
        for kind in self.notify:
            self.agent.spawn(self.do_notify(call.name if call else None, name or details["id"], kind, to=details["sender"]))

    def _complain(self, tell, level, section, text):
        tell(complaint=text, level=level, section=section)

    # Orders.

    async def do_message(self, to, text="", type=TEXT_TYPE, wrap=False, imdn=None, imdn_id=None, deflate=False):
        """A MESSAGE; `wrap`: in CPIM; `imdn`: asks for these notifications. → status, id (Call-ID), imdn_id"""
        return await self._page(to, text.encode(), type, wrap, imdn, imdn_id, deflate=deflate)

    async def _page(self, to, body, content_type, wrap, imdn=None, imdn_id=None, disposition=None, deflate=False, more=()):
        request = self.agent.request("MESSAGE", to)
        if wrap or imdn:
            message = cpim.wrap(body, self.uri, to, content_type, imdn, imdn_id, disposition=disposition)
            imdn_id = message.get("Message-ID", cpim.IMDN)
            body, content_type = message.encode(), CPIM_TYPE
        request.headers += [*more, ("Content-Type", content_type)]
        if deflate:
            request.headers.append(("Content-Encoding", "deflate"))
            body = zlib.compress(body)
        request.body = body
        answer = await self.agent.send(request)
        return {"status": answer.status, "id": request.call_id, "imdn_id": imdn_id}

    async def do_invite(self, to, call=None, cancel_after=None, **shape):
        """Opens a session; `shape`: see `call.Shape`. → status, call"""
        call = self._call(call)
        status = await call.invite(to, Shape(**shape), cancel_after)
        return {"status": status, "call": call.name, "reason": call.reason, "focus": call.focus}

    async def do_answer(self, mode="accept", status=486, after=0, ringing=False, glare=False, **shape):
        """What becomes of INVITEs from now on: accept, refuse (with `status`), port0, ring (180 for ever), silent, mute (200,
        and not a word of MSRP), fork (two 200). `glare`: 491 to what comes inside a session. `shape`: see `call.Shape`."""
        if mode not in ("accept", "refuse", "port0", "ring", "silent", "mute", "fork"):
            raise ValueError(f"no such mode: {mode}")
        self.glare = glare
        self.answers = Answers(mode, status, after, ringing, Shape(**shape))

    async def do_manner(self, call=None, **manner):
        """How sessions answer from now on, and a call's at once: see `session.Manner`."""
        self.manner = Manner(**manner)
        if call is not None:
            self._session(call).manner = self.manner

    async def do_pager(self, status=200, notify=(), msrp=True):
        """How MESSAGE and OPTIONS are answered; which notifications are sent for each text, asked or not."""
        self.pager_status, self.notify, self.shows_msrp = status, tuple(notify), msrp

    async def do_say(self, call, text=None, length=None, type=TEXT_TYPE, wrap=None, imdn=None, imdn_id=None, success=False,
                     failure="yes", count=1, name=None, loose=False, **plan):
        """A text in a session, or `count` of them (`{}` in it is the number), or one of `length` bytes. `wrap`: in CPIM or not
        (None: as the peer's accept-types want it). `loose`: as a recorded client writes it, against the rules. `plan`: see
        `sending.Plan`. → status, ids"""
        session = self._session(call)
        session_plan = {key: value for key, value in plan.items() if key in {each.name for each in fields(Plan)}}
        if len(session_plan) != len(plan):
            raise ValueError(f"no such plan: {plan}")
        text = text if length is None else filler(length)
        if loose:
            session_plan |= {"whole": True, "chars": True}
        started = []
        for number in range(count):
            body, content_type = self._body(session, text.replace("{}", str(number)), type, wrap, imdn, imdn_id)
            if loose:
                body = cpim.wrap_loosely(text.replace("{}", str(number)), self.uri, self.calls_of(session).peer)
                content_type = CPIM_TYPE
            started.append(session.start(body, content_type, success=success, failure=failure, name=name,
                                         plan=Plan(**session_plan)))
        statuses = [await session.outcome(outgoing) for outgoing in started]
        for outgoing, status in zip(started, statuses):
            self.tell(call=call, said=outgoing.name, status=status)
        return {"status": next((status for status in statuses if status not in (None, 200)), statuses[0]),
                "ids": [outgoing.name for outgoing in started]}

    def _body(self, session, text, content_type, wrap, imdn=None, imdn_id=None, disposition=None):
        if wrap is None:
            wrap = bool(imdn) or accepted(CPIM_TYPE, session.remote_accepts)
        if not wrap:
            return text if isinstance(text, bytes) else text.encode(), content_type
        peer = self.calls_of(session).peer
        return cpim.wrap(text, self.uri, peer, content_type, imdn, imdn_id, disposition=disposition).encode(), CPIM_TYPE

    async def do_typing(self, state, call=None, to=None, refresh=None, wrap=None, content="text/plain"):
        """isComposing, in a session or as a MESSAGE. → status"""
        body = documents.Composing(state, refresh, content).encode()
        if call is None:
            return await self._page(to, body, documents.COMPOSING_TYPE, bool(wrap), more=[("Expires", "0")])
        session = self._session(call)
        body, content_type = self._body(session, body, documents.COMPOSING_TYPE, wrap)
        # As recorded clients do: nobody answers a state.
        return {"status": await session.send(body, content_type, failure="no")}

    async def do_notify(self, call, of, kind="delivery", status=None, to=None, wrap=True):
        """An IMDN on a message: delivered, failed, displayed … → status"""
        words = {"delivery": "delivered", "display": "displayed", "processing": "processed"}
        body = documents.imdn(of, kind, status or words[kind]).encode()
        if call is None:
            return await self._page(to, body, documents.IMDN_TYPE, wrap, imdn_id=token(), disposition="notification")
        session = self._session(call)
        body, content_type = self._body(session, body, documents.IMDN_TYPE, True, imdn_id=token(),
                                        disposition="notification")
        return {"status": await session.send(body, content_type)}

    async def do_bye(self, call, reason=None):
        """→ status of the BYE"""
        return {"status": await self.calls[call].bye(reason)}

    async def do_cancel(self, call):
        """Of an INVITE that is not answered yet."""
        self.calls[call].cancel()

    async def do_change(self, call, method="INVITE", **options):
        """re-INVITE or UPDATE: refresh, hold, anew (another path). → status"""
        return {"status": await self.calls[call].change(method, **options)}

    async def do_options(self, to):
        """→ status, allow, accept, contact, sdp"""
        answer = await self.agent.send(self.agent.request("OPTIONS", to))
        return {"status": answer.status, "allow": answer.get("Allow"), "accept": answer.get("Accept"),
                "contact": answer.get("Contact"), "sdp": answer.body.decode()}

    async def do_device(self, name):
        """Another device of the same user from now on: another Contact, another User-Agent; the old one is gone."""
        if self.registered:
            await self.agent.register(0)
        self.agent.device, self.agent.name = name, f"chat-phone/{name}"
        if self.registered:
            return {"status": await self.agent.register()}

    async def do_register(self, expires=600):
        """→ status"""
        return {"status": await self.agent.register(expires)}

    async def do_drop(self, call):
        """Tears the MSRP connection off, without a word."""
        self._session(call).connection.abort()

    async def do_state(self):
        """→ calls: name → state"""
        return {"calls": {name: call.state for name, call in self.calls.items()}}

    async def do_misbehave(self, what, call=None, uri=None, **options):
        """See `misbehave.ALL`. In a session, or at the address of an MSRP URI. → what came of it"""
        session = self._session(call) if call is not None else None
        target = uri or str(session.remote[0])
        return await misbehave.ALL[what](session, target, **options)

    # Calls.

    def _call(self, name):
        name = name or f"call{next(self.numbers)}"
        if name in self.calls:
            raise ValueError(f"there is a call {name}")
        call = self.calls[name] = Call(self, name)
        return call

    def _session(self, name):
        session = self.calls[name].session
        if session is None or session.connection is None:
            raise ValueError(f"{name} has no MSRP session: it is {self.calls[name].state}")
        return session

    def calls_of(self, session):
        return next(call for call in self.calls.values() if call.session is session)


def kind_of(content_type):
    return content_type.split(";")[0].strip().lower()


def name_of(value):
    """The display name before an address."""
    found = re.match(r'\s*"((?:[^"\\]|\\.)*)"\s*<|\s*([^"<]*?)\s*<', value)
    return None if not found else re.sub(r"\\(.)", r"\1", found[1]) if found[1] is not None else found[2] or None


def filler(size):
    """A text of so many bytes that shows where it was cut or mixed up."""
    lines = (f"{number:07d} and so on\n" for number in itertools.count())
    text = "".join(itertools.islice(lines, size // 18 + 1))
    return text[:size]


async def serve(phone, orders):
    """Orders from a stream of JSON lines, until it ends."""
    while line := await orders.readline():
        try:
            order = json.loads(line)
        except ValueError:
            phone.tell(done=None, error=f"not JSON: {line!r}")
            continue
        # Each by itself: an INVITE may wait while others go on.
        phone.agent.spawn(phone.obey(order))
    await phone.stop()
