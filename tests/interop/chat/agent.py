"""A SIP user agent: transactions, dialogs, digest (RFC 3261 §12, §17, §22). It knows nothing of MSRP."""

import asyncio
import hashlib
import re

from .message import REASONS, Message, address, hostport, parameter, token
from .transport import Transport
from .wire import must

T1, T2, GIVE_UP = 0.5, 4, 32
ALLOW = "INVITE, ACK, BYE, CANCEL, UPDATE, OPTIONS, MESSAGE, NOTIFY"
MANDATORY = ("Via", "From", "To", "Call-ID", "CSeq", "Max-Forwards")


class Dialog:
    """§12: from our side."""

    def __init__(self, call_id, local, remote, target, routes, cseq=0, remote_cseq=None):
        """`local` and `remote`: the values of From and To, with their tags."""
        self.call_id, self.local, self.remote, self.target, self.routes = call_id, local, remote, target, routes
        self.cseq, self.remote_cseq = cseq, remote_cseq

    @classmethod
    def of_response(cls, request, response):
        return cls(request.call_id, request.get("From"), response.get("To"), address(response.get("Contact") or request.uri),
                   response.all("Record-Route")[::-1], request.cseq[0])

    @classmethod
    def of_request(cls, request, tag):
        return cls(request.call_id, f"{request.get('To')};tag={tag}", request.get("From"),
                   address(request.get("Contact") or ""), request.all("Record-Route"), 0, request.cseq[0])

    @property
    def key(self):
        return self.call_id, parameter(self.local, "tag")

    def request(self, method, cseq=None):
        if cseq is None:
            self.cseq += 1
            cseq = self.cseq
        headers = [("Route", route) for route in self.routes]
        headers += [("From", self.local), ("To", self.remote), ("Call-ID", self.call_id), ("CSeq", f"{cseq} {method}")]
        return Message(method, self.target, headers=headers)


class Incoming:
    """A request that somebody sent us, until its last answer."""

    def __init__(self, agent, request, back, protocol):
        self.agent, self.request, self.back, self.protocol = agent, request, back, protocol
        self.tag = request.tag("To") or token()
        # The last answer: retransmissions get it again.
        self.answer, self.final, self.cancelled = None, False, asyncio.Event()
        # By the To tag of each answer: a fork has several.
        self.acks = {}

    def respond(self, status, headers=(), body=b"", tag=None, reason=None):
        request = self.request
        answer = Message(status=status, reason=reason or REASONS.get(status, "Unknown"))
        answer.headers = [(name, value) for name, value in request.headers if name.lower() == "via"]
        if 100 < status < 300:
            answer.headers += [(name, value) for name, value in request.headers if name.lower() == "record-route"]
        to = request.get("To")
        if request.tag("To") is None and status > 100:
            to += f";tag={tag or self.tag}"
        answer.headers += [("From", request.get("From")), ("To", to), ("Call-ID", request.call_id),
                           ("CSeq", request.get("CSeq")), ("Server", self.agent.name), *headers]
        answer.body = body
        self.answer, self.final = answer, status >= 200
        self.back(answer)
        if request.method == "INVITE" and status >= 200:
            self.acks[answer.tag("To")] = asyncio.Event()
            self.agent.spawn(self._until_acknowledged(answer))
        return answer

    async def _until_acknowledged(self, answer):
        """A final answer to an INVITE again and again until its ACK; a 2xx also over TCP (§13.3.1.4, §17.2.1)."""
        if answer.status >= 300 and self.protocol != "UDP":
            return
        wait, waited = T1, 0
        while waited < GIVE_UP:
            try:
                await asyncio.wait_for(self.acks[answer.tag("To")].wait(), wait)
                return
            except TimeoutError:
                waited += wait
                wait = min(wait * 2, T2)
                self.back(answer)
        self.agent.complain("RFC 3261 §13.2.2.4", f"no ACK to our {answer.status} within {GIVE_UP} s")


class Outgoing:
    """A request of ours, until its last answer; an INVITE's stays for later answers of forks."""

    def __init__(self, request, provisional, forked):
        self.request, self.provisional, self.forked = request, provisional, forked
        self.final = asyncio.get_running_loop().create_future()
        self.proceeding, self.acks = False, {}


class Agent:
    """`received(incoming)` gets requests outside dialogs, `dialogs[key]` those inside, as `within(incoming)`."""

    def __init__(self, uri, password=None, name="chat-phone", tell=lambda event: None):
        self.uri, self.password, self.name, self.tell = uri, password, name, tell
        self.transport = Transport(self._arrived, lambda why: self.complain("RFC 3261 §7", why))
        self.hop, self.protocol = None, "UDP"
        self.outgoing, self.incoming, self.dialogs, self.tasks = {}, {}, {}, set()
        self.received = None
        self.contact_parameters = ""
        # Part of our Contact: one name, one device.
        self.device = None

    async def start(self, host, port, hop, protocol="UDP"):
        """`hop`: where everything outside dialogs goes, host and port."""
        await self.transport.start(host, port)
        self.hop, self.protocol = hop, protocol.upper()

    async def stop(self):
        for task in list(self.tasks):
            task.cancel()
        await self.transport.stop()

    def complain(self, section, text):
        complaint = must(section, text)
        self.tell({"complaint": complaint.text, "level": complaint.level, "section": complaint.section})

    def spawn(self, coroutine):
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task):
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.tell({"broken": repr(task.exception())})

    @property
    def contact(self):
        user = hostless(self.uri) + (f"-{self.device}" if self.device else "")
        transport = ";transport=tcp" if self.protocol == "TCP" else ""
        return f"<sip:{user}@{self.transport.host}:{self.transport.port}{transport}>"

    # What we send.

    def request(self, method, uri, to=None, call_id=None, cseq=1, tag=None, name=None):
        """One outside a dialog. `name`: our display name."""
        shown = f'"{name}" ' if name else ""
        return Message(method, uri, headers=[
            ("From", f"{shown}<{self.uri}>;tag={tag or token()}"), ("To", f"<{to or uri}>"), ("Call-ID", call_id or token(12)),
            ("CSeq", f"{cseq} {method}")])

    async def send(self, request, provisional=None, forked=None, dialog=None):
        """Its final answer, after a challenge the one to the second try; a 408 of our own when none comes.
        `forked(response)`: further 2xx to an INVITE."""
        answer = await self._try(request, provisional, forked)
        if answer.status in (401, 407) and self.password is not None:
            kept = [header for header in request.headers if header[0] not in ("Via", "Max-Forwards")]
            again = Message(request.method, request.uri, headers=kept, body=request.body)
            number = request.cseq[0] + 1
            again.put("CSeq", f"{number} {request.method}")
            if dialog is not None:
                dialog.cseq = number
            challenge = answer.get("WWW-Authenticate" if answer.status == 401 else "Proxy-Authenticate")
            again.headers.append(("Authorization" if answer.status == 401 else "Proxy-Authorization",
                                  digest(challenge, hostless(self.uri), self.password, request.method, request.uri)))
            request.headers, request.uri = again.headers, again.uri
            answer = await self._try(request, provisional, forked)
        return answer

    async def _try(self, request, provisional, forked):
        protocol, host, port = self._hop(request)
        branch = self._stamp(request, protocol)
        transaction = self.outgoing[branch, request.method] = Outgoing(request, provisional, forked)
        self.spawn(self._retransmit(transaction, request.encode(), protocol, host, port))
        try:
            return await transaction.final
        finally:
            if request.method != "INVITE":
                del self.outgoing[branch, request.method]

    def _stamp(self, request, protocol, branch=None):
        branch = branch or "z9hG4bK" + token(10)
        via = f"SIP/2.0/{protocol} {self.transport.host}:{self.transport.port};rport;branch={branch}"
        request.headers = [("Via", via), ("Max-Forwards", "70")] + [
            header for header in request.headers if header[0] not in ("Via", "Max-Forwards", "User-Agent")]
        request.headers.append(("User-Agent", self.name))
        return branch

    def _hop(self, request):
        """§8.1.2: along the route; to an address; where there is none, to our next hop."""
        routes = request.all("Route")
        inside = request.tag("To") is not None
        named = address(routes[0]) if routes else request.uri if inside else ""
        host, port, transport = hostport(named)
        if host is None or not re.fullmatch(r"[0-9.]+|[0-9a-fA-F:]+", host):
            host, port, transport = *self.hop, self.protocol
        via = re.match(r"SIP/2.0/(\S+)", request.get("Via") or "")
        # ACK and CANCEL go the way of what they belong to.
        protocol = via[1] if via else self.transport.protocol_for((transport or "UDP").upper(), len(request.encode()) + 200)
        return protocol, host, port or 5060

    async def _retransmit(self, transaction, data, protocol, host, port):
        invite = transaction.request.method == "INVITE"
        wait, waited = T1, 0
        while not transaction.final.done() and waited < GIVE_UP:
            if waited == 0 or (protocol == "UDP" and not (invite and transaction.proceeding)):
                try:
                    await self.transport.send(data, protocol, host, port)
                except OSError as error:
                    if not transaction.final.done():
                        transaction.final.set_result(Message(status=503, reason=f"Not Sent: {error}"))
                    return
            await asyncio.wait([transaction.final], timeout=wait)
            waited += 0 if invite and transaction.proceeding else wait
            wait = wait * 2 if invite else min(wait * 2, T2)
        if not transaction.final.done():
            transaction.final.set_result(Message(status=408, reason="No Answer"))

    def acknowledge(self, dialog, number):
        """ACK to a 2xx (§13.2.2.4); the same again for each retransmission."""
        ack = dialog.request("ACK", number)
        protocol, host, port = self._hop(ack)
        self._stamp(ack, protocol)
        self.spawn(self.transport.send(ack.encode(), protocol, host, port))

    def cancel(self, request):
        """§9.1: by the same branch, the same way."""
        cancel = Message("CANCEL", request.uri, headers=[
            *((name, value) for name, value in request.headers if name in ("Route", "From", "To", "Call-ID")),
            ("CSeq", f"{request.cseq[0]} CANCEL")])
        protocol, host, port = self._hop(request)
        branch = self._stamp(cancel, protocol, request.branch)
        transaction = self.outgoing[branch, "CANCEL"] = Outgoing(cancel, None, None)
        self.spawn(self._retransmit(transaction, cancel.encode(), protocol, host, port))

    async def register(self, expires=600):
        domain = "sip:" + self.uri.partition("@")[2]
        request = self.request("REGISTER", domain, self.uri, tag=token())
        request.headers += [("Contact", self.contact + self.contact_parameters), ("Expires", str(expires))]
        return (await self.send(request)).status

    # What arrives.

    def _arrived(self, message, back, protocol):
        try:
            self._message(message, back, protocol)
        except Exception as error:  # pylint: disable=broad-except
            # The connection goes on; tests look for this.
            self.tell({"broken": repr(error)})

    def _message(self, message, back, protocol):
        if message.status is not None:
            return self._response(message)
        self._check(message)
        key = (message.branch, "INVITE" if message.method == "ACK" else message.method)
        known = self.incoming.get(key)
        if message.method == "ACK":
            return self._ack(message, known)
        if known is not None:
            if known.answer is not None:
                back(known.answer)
            return
        incoming = self.incoming[key] = Incoming(self, message, back, protocol)
        asyncio.get_running_loop().call_later(2 * GIVE_UP, self.incoming.pop, key, None)
        if message.method == "CANCEL":
            return self._cancelled(incoming)
        if message.tag("To") is None:
            return self.received(incoming)
        within = self.dialogs.get((message.call_id, message.tag("To")))
        if within is None:
            incoming.respond(481)
        else:
            within(incoming)

    def _check(self, request):
        for name in MANDATORY:
            if request.get(name) is None:
                self.complain("RFC 3261 §8.1.1", f"a {request.method} without {name}")
        if request.tag("From") is None:
            self.complain("RFC 3261 §8.1.1.3", f"a {request.method} whose From has no tag")
        if request.cseq[1] != request.method:
            self.complain("RFC 3261 §8.1.1.5", f"a {request.method} with CSeq: {request.get('CSeq')}")
        if request.branch is None or not request.branch.startswith("z9hG4bK"):
            self.complain("RFC 3261 §8.1.1.7", f"a {request.method} with the branch {request.branch}")
        if request.method in ("INVITE", "UPDATE") and len(request.all("Contact")) != 1:
            self.complain("RFC 3261 §8.1.1.8", f"a {request.method} with {len(request.all('Contact'))} Contacts")
        if request.body and request.get("Content-Type") is None:
            self.complain("RFC 3261 §20.15", f"a {request.method} with a body without Content-Type")

    def _ack(self, request, known):
        if known is None:
            # To a 2xx: a transaction of its own.
            known = next((incoming for incoming in self.incoming.values() if incoming.request.method == "INVITE"
                          and incoming.request.call_id == request.call_id
                          and incoming.request.cseq[0] == request.cseq[0] and incoming.final), None)
        if known is None:
            return self.complain("RFC 3261 §17.1.1.3", f"an ACK to nothing: {request.call_id} {request.get('CSeq')}")
        if request.tag("To") in known.acks:
            known.acks[request.tag("To")].set()
        else:
            self.complain("RFC 3261 §13.2.2.4", f"an ACK with a To tag that no answer had: {request.get('To')}")
        within = self.dialogs.get((request.call_id, request.tag("To")))
        if within is not None:
            within(Incoming(self, request, lambda answer: None, "UDP"))

    def _cancelled(self, incoming):
        known = self.incoming.get((incoming.request.branch, "INVITE"))
        if known is None:
            return incoming.respond(481)
        incoming.respond(200)
        known.cancelled.set()
        if not known.final:
            known.respond(487)

    def _response(self, response):
        transaction = self.outgoing.get((response.branch, response.cseq[1]))
        if transaction is None:
            return
        if response.status < 200:
            transaction.proceeding = True
            if transaction.provisional:
                transaction.provisional(response)
            return
        first = not transaction.final.done()
        if response.cseq[1] == "INVITE":
            if response.status >= 300:
                self._ack_refusal(transaction.request, response)
            elif not first and transaction.forked:
                transaction.forked(response)
        if first:
            transaction.final.set_result(response)

    def _ack_refusal(self, request, response):
        """§17.1.1.3."""
        ack = Message("ACK", request.uri, headers=[
            *((name, value) for name, value in request.headers if name in ("Via", "Max-Forwards", "Route", "From", "Call-ID")),
            ("To", response.get("To")), ("CSeq", f"{request.cseq[0]} ACK")])
        protocol, host, port = self._hop(request)
        self.spawn(self.transport.send(ack.encode(), protocol, host, port))


def hostless(uri):
    return uri.partition(":")[2].partition("@")[0]


def digest(challenge, user, password, method, uri):
    """An answer to a challenge (§22.4, RFC 8760)."""
    get = lambda name: parameter(";" + re.sub(r",\s*", ";", challenge.partition(" ")[2]), name)
    algorithm = get("algorithm") or "MD5"
    sum_of = lambda text: hashlib.new(algorithm.lower().replace("-", ""), text.encode()).hexdigest()
    realm, nonce = get("realm"), get("nonce")
    first, second = sum_of(f"{user}:{realm}:{password}"), sum_of(f"{method}:{uri}")
    text = f'Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}", algorithm={algorithm}'
    if "auth" in (get("qop") or "").split(","):
        client = token()
        answer = sum_of(f"{first}:{nonce}:00000001:{client}:auth:{second}")
        text += f', qop=auth, nc=00000001, cnonce="{client}"'
    else:
        answer = sum_of(f"{first}:{nonce}:{second}")
    text += f', response="{answer}"'
    return text + (f', opaque="{get("opaque")}"' if get("opaque") else "")
