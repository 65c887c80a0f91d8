"""SIP users of a load: all on one UDP socket of one asyncio loop, with the retransmissions of RFC 3261.

Alone they are the gateway's peer, each their own presence agent (RFC 3856); behind a proxy they are its users and only write.
Written for thousands of short transactions: no sound, no sessions, no parser of everything.
"""

import asyncio
import hashlib
import re
import secrets
import time
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import escape

from ledger import TO_XMPP

T1, T2, GIVE_UP = 0.5, 4.0, 32.0
PIDF = "{urn:ietf:params:xml:ns:pidf}"
SHORT = {"v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "l": "content-length", "c": "content-type",
         "o": "event"}
LATE = re.compile(r"^(Your message|Another message|(\d+) more messages) (could not be delivered|may not have arrived)")


class Message:
    """A request or a response: first line, headers in order, body."""

    def __init__(self, data):
        head, _, self.body = data.partition(b"\r\n\r\n")
        first, *lines = re.sub(r"\r\n[ \t]+", " ", head.decode("utf-8", "replace")).split("\r\n")
        self.first, self.headers = first, []
        for line in lines:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            self.headers.append((SHORT.get(name, name), value.strip()))

    @property
    def is_request(self):
        return not self.first.startswith("SIP/2.0 ")

    @property
    def status(self):
        return int(self.first.split()[1])

    @property
    def method(self):
        return self.first.split()[0] if self.is_request else self.get("cseq").split()[1]

    @property
    def branch(self):
        return part(r"branch=([^;,\s]+)", self.get("via"))

    def all(self, name):
        return [value for known, value in self.headers if known == name]

    def get(self, name, default=""):
        return next(iter(self.all(name)), default)


def part(pattern, text):
    found = re.search(pattern, text)
    return found[1] if found else ""


def uri_of(header):
    return part(r"<([^>]*)>", header) or header.split(";")[0].strip()


def tag_of(header):
    return part(r";\s*tag=([^;\s>]+)", header)


def bare(uri):
    return uri.split(";")[0].split("?")[0]


class Dialog:
    """A subscription, of either side."""

    def __init__(self, call, ours, local, theirs, remote, target, route=()):
        self.call, self.ours, self.theirs, self.target, self.route = call, ours, theirs, target, list(route)
        # Addresses of both ends.
        self.local, self.remote = local, remote
        self.cseq, self.told, self.telling, self.over, self.refresh = 0, None, False, False, False


class People(asyncio.DatagramProtocol):
    """The socket, and everybody behind it."""

    def __init__(self, ledger, hop, people, proxied):
        self.ledger, self.hop, self.proxied = ledger, hop, proxied
        self.people = {person.uri: person for person in people}
        self.waiting, self.answers, self.known = {}, {}, {}
        # SIP user → their presence: words; and (their, tag) → dialogs in which we notify, (their, tag) in which we watch.
        self.status, self.notifying, self.watching = {}, {}, {}
        self.transport, self.tasks = None, set()
        self.names = {}
        # How long a MESSAGE waits for its answer; whether nobody takes anything.
        self.delay, self.silent = 0.0, False

    async def start(self, port, reached_at):
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", port))
        self.port, self.reached_at = port, reached_at

    async def stop(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.transport.close()

    def spawn(self, work):
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    # What people do.

    async def register(self, person):
        """Until the proxy takes it."""
        while True:
            answer = await self.request("REGISTER", f"sip:{person.uri.partition('@')[2]}", person.uri, person.uri,
                                        [("Contact", self.contact(person.uri)), ("Expires", "3600")], give_up=4)
            if answer is not None and answer.status == 200:
                return
            await asyncio.sleep(0.3)

    async def message(self, pair):
        """Writes the next message of a pair, and waits for its answer."""
        message, text = self.ledger.say(pair)
        kind, body = "text/plain;charset=UTF-8", text
        if pair.reports:
            name = f"p{pair.index}m{message.number}"
            self.names[name] = (pair, message.number)
            kind = "message/cpim"
            body = (f"From: <{pair.sender}>\r\nTo: <{pair.recipient_uri}>\r\nDateTime: {stamp()}\r\n"
                    f"NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: {name}\r\n"
                    f"imdn.Disposition-Notification: negative-delivery\r\n\r\nContent-Type: text/plain;charset=UTF-8\r\n\r\n{text}")
        answer = await self.request("MESSAGE", pair.recipient_uri, pair.sender, pair.recipient_uri,
                                    [("Content-Type", kind)], body)
        if answer is None:
            self.ledger.no_answer(pair, message)
            return
        # Who made the answer: the gateway, or a proxy on the way for itself.
        self.ledger.answer(pair, message, answer.status, answer.get("server").partition("/")[0].lower())
        after = answer.get("retry-after")
        if answer.status >= 300:
            await asyncio.sleep(min(float(part(r"(\d+)", after) or 0.5), 3))

    def show(self, uri, status):
        """Another presence of a SIP user: told to whoever watches."""
        self.status[uri] = status
        jid = uri.removeprefix("sip:")
        for shown in self.ledger.shown.values():
            if shown.watched == jid:
                shown.true((True, status))
        for dialog in self.notifying.values():
            if dialog.local == uri:
                self._notify(dialog)

    async def watch(self, uri, whom):
        """Watches an XMPP user for as long as we live."""
        while True:
            dialog = Dialog(secrets.token_hex(8), secrets.token_hex(6), uri, "", whom, whom)
            self.watching[dialog.call] = dialog
            answer = await self._subscribe(dialog)
            if answer is None or answer.status >= 300:
                del self.watching[dialog.call]
                await asyncio.sleep(1)
                continue
            dialog.theirs = dialog.theirs or tag_of(answer.get("to"))
            dialog.route = list(reversed(answer.all("record-route")))
            dialog.target = uri_of(answer.get("contact", whom))
            while not dialog.over:
                await asyncio.sleep(0.2)
                if dialog.refresh:
                    dialog.refresh = False
                    answer = await self._subscribe(dialog)
                    dialog.over = answer is not None and answer.status == 481
            del self.watching[dialog.call]

    def _subscribe(self, dialog):
        return self.request("SUBSCRIBE", dialog.target, dialog.local, dialog.remote, [
            ("Event", "presence"), ("Accept", "application/pidf+xml"), ("Contact", self.contact(dialog.local)),
            ("Expires", "3600")], dialog=dialog)

    def refresh(self):
        """All refresh what they watch, as they would some time: a notifier gives up who did not answer for half a minute (RFC 6665
        §4.2.2), and a watcher hears of it then."""
        for dialog in self.watching.values():
            dialog.refresh = True

    # Requests of ours.

    def contact(self, uri):
        return f"<sip:{uri[4:].partition('@')[0]}@127.0.0.1:{self.reached_at}>"

    async def request(self, method, target, sender, to, headers=(), body="", dialog=None, give_up=GIVE_UP):
        """The final answer, one challenge answered; none if nobody answers."""
        call, tag = (dialog.call, dialog.ours) if dialog else (secrets.token_hex(10), secrets.token_hex(6))
        credentials = []
        cseq = 0
        for _attempt in range(2):
            if dialog:
                dialog.cseq += 1
                cseq = dialog.cseq
            else:
                cseq += 1
            branch, payload = "z9hG4bK" + secrets.token_hex(8), body.encode()
            lines = [f"{method} {dialog.target if dialog else target} SIP/2.0",
                     f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};rport;branch={branch}", "Max-Forwards: 70",
                     f"From: <{sender}>;tag={tag}", f"To: <{to}>" + (f";tag={dialog.theirs}" if dialog and dialog.theirs else ""),
                     f"Call-ID: {call}", f"CSeq: {cseq} {method}",
                     *(f"Route: {value}" for value in (dialog.route if dialog else ())),
                     *(f"{name}: {value}" for name, value in [*headers, *credentials]), f"Content-Length: {len(payload)}"]
            answer = await self._exchange("\r\n".join(lines).encode() + b"\r\n\r\n" + payload, branch, method, give_up)
            if answer is None or answer.status not in (401, 407):
                return answer
            credentials = [self._authorize(answer, method, target, self.people[sender])]
        return answer

    async def _exchange(self, data, branch, method, give_up):
        future = asyncio.get_running_loop().create_future()
        self.waiting[branch, method] = future
        until, pause = time.monotonic() + give_up, T1
        try:
            while time.monotonic() < until:
                self.transport.sendto(data, ("127.0.0.1", self.hop))
                done, _ = await asyncio.wait([future], timeout=min(pause, max(0.01, until - time.monotonic())))
                if done:
                    return future.result()
                pause = min(pause * 2, T2)
            return None
        finally:
            del self.waiting[branch, method]

    @staticmethod
    def _authorize(answer, method, target, person):
        proxy = answer.status == 407
        challenge = {name.lower(): quoted or plain for name, quoted, plain in re.findall(
            r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,]+))', answer.get("proxy-authenticate" if proxy else "www-authenticate"))}
        def md5(text):
            return hashlib.md5(text.encode()).hexdigest()
        realm, nonce = challenge.get("realm", ""), challenge.get("nonce", "")
        one, two = md5(f"{person.user}:{realm}:{person.password}"), md5(f"{method}:{target}")
        value = (f'Digest username="{person.user}", realm="{realm}", nonce="{nonce}", uri="{target}", algorithm=MD5, ')
        if "auth" in challenge.get("qop", "").split(","):
            own = secrets.token_hex(8)
            value += f'qop=auth, nc=00000001, cnonce="{own}", response="{md5(f"{one}:{nonce}:00000001:{own}:auth:{two}")}"'
        else:
            value += f'response="{md5(f"{one}:{nonce}:{two}")}"'
        return ("Proxy-Authorization" if proxy else "Authorization", value)

    # What arrives.

    def datagram_received(self, data, source):
        if not data.strip() or self.silent:
            return
        message = Message(data)
        if not message.is_request:
            future = self.waiting.get((message.branch, message.method))
            if future is not None and not future.done() and message.status >= 200:
                future.set_result(message)
            return
        key = (message.branch, message.get("cseq"))
        if key not in self.answers:
            self.answers[key] = None
            status, extra = self._judge(message)
            answer = self._response(message, status, extra)
            if self.delay and message.method == "MESSAGE":
                asyncio.get_running_loop().call_later(self.delay, self._respond, key, answer, source)
                return
            self.answers[key] = answer
        if self.answers[key] is not None:
            self.transport.sendto(self.answers[key], source)

    def _respond(self, key, answer, source):
        self.answers[key] = answer
        if not self.transport.is_closing():
            self.transport.sendto(answer, source)

    def error_received(self, _error):
        pass  # Nobody listens there now: the request's own timer tells.

    def _response(self, message, status, extra=()):
        to = message.get("to")
        # The same for every copy of a request.
        if not tag_of(to):
            to += ";tag=" + hashlib.md5(message.get("call-id").encode()).hexdigest()[:12]
        lines = [f"SIP/2.0 {status}", *(f"Via: {value}" for value in message.all("via")),
                 *(f"Record-Route: {value}" for value in message.all("record-route")),
                 f"From: {message.get('from')}", f"To: {to}", f"Call-ID: {message.get('call-id')}",
                 f"CSeq: {message.get('cseq')}", *(f"{name}: {value}" for name, value in extra), "Content-Length: 0"]
        return "\r\n".join(lines).encode() + b"\r\n\r\n"

    def _judge(self, message):
        """Does what a request asks for; its answer."""
        if message.method == "MESSAGE":
            return self._message(message)
        if message.method == "OPTIONS":
            return "200 OK", [("Allow", "MESSAGE, NOTIFY, OPTIONS, SUBSCRIBE")]
        if message.method == "NOTIFY":
            return self._notified(message)
        if message.method == "SUBSCRIBE" and not self.proxied:
            return self._subscribed(message)
        return "405 Method Not Allowed", [("Allow", "MESSAGE, NOTIFY, OPTIONS, SUBSCRIBE")]

    def _message(self, message):
        # RFC 3261 §8.2.2.2: the same request over another way.
        name = (message.get("call-id"), tag_of(message.get("from")), message.get("cseq"))
        body = message.body.decode("utf-8", "replace")
        sender, recipient = bare(uri_of(message.get("from"))), bare(uri_of(message.get("to")))
        if name in self.known:
            self.ledger.hear_again(body)
            return "200 OK", ()
        self.known[name] = True
        if message.get("content-type").startswith("message/cpim"):
            found = part(r"<message-id>([^<]*)</message-id>", body)
            if found:
                pair, number = self.names.get(found, (None, None))
                if pair is not None and "<failed/>" in body:
                    self.ledger.tell(pair, number, "a notification: failed")
                return "200 OK", ()
        late = LATE.match(body)
        if late:
            pair = next((pair for pair in self.ledger.pairs if pair.way == TO_XMPP and pair.sender == recipient
                         and pair.recipient_uri == sender), None)
            if pair is not None:
                self.ledger.tell_unnamed(pair, int(late[2] or 1), body)
            return "200 OK", ()
        self.ledger.hear(body, recipient.removeprefix("sip:"), "/".join(name))
        return "200 OK", ()

    def _notified(self, message):
        dialog = self.watching.get(message.get("call-id"))
        if dialog is None or tag_of(message.get("to")) != dialog.ours:
            return "481 Subscription Does Not Exist", ()
        dialog.theirs = dialog.theirs or tag_of(message.get("from"))
        state = message.get("subscription-state")
        watched, watcher = dialog.remote.removeprefix("sip:"), dialog.local.removeprefix("sip:")
        if state.startswith("terminated"):
            dialog.over = True
            self.ledger.show(watched, watcher, (False, None))
        elif state.startswith("active") and message.body.strip():
            root = ElementTree.fromstring(message.body)
            devices = [tuple_ for tuple_ in root.iter(PIDF + "tuple") if tuple_.findtext(f"{PIDF}status/{PIDF}basic") == "open"]
            note = devices[0].findtext(PIDF + "note") if devices else None
            self.ledger.show(watched, watcher, (bool(devices), note))
        return "200 OK", ()

    # Presence that we tell.

    def _subscribed(self, message):
        call, theirs = message.get("call-id"), tag_of(message.get("from"))
        known, expires = self.notifying.get((call, theirs)), int(message.get("expires", "3600"))
        if known is None and tag_of(message.get("to")):
            return "481 Subscription Does Not Exist", ()
        if known is None:
            # The answer gets this tag too.
            ours = hashlib.md5(call.encode()).hexdigest()[:12]
            known = Dialog(call, ours, bare(uri_of(message.get("to"))), theirs, bare(uri_of(message.get("from"))),
                           uri_of(message.get("contact")), message.all("record-route"))
            self.notifying[call, theirs] = known
            shown = self.ledger.shown.get((known.local.removeprefix("sip:"), known.remote.removeprefix("sip:")))
            if shown is not None:
                shown.given_up = None
        known.target = uri_of(message.get("contact"))
        known.expires = time.monotonic() + expires
        known.told = None
        if expires == 0:
            known.over = True
        # Behind the answer.
        asyncio.get_running_loop().call_soon(self._notify, known)
        return "200 OK", [("Contact", self.contact(known.local)), ("Expires", str(expires))]

    def _notify(self, dialog):
        if not dialog.telling:
            dialog.telling = True
            self.spawn(self._tell(dialog))

    async def _tell(self, dialog):
        """NOTIFYs, one at a time, until the newest state is told."""
        try:
            while True:
                status, over = self.status.get(dialog.local, ""), dialog.over
                if dialog.told == (status, over):
                    return
                left = max(0, int(dialog.expires - time.monotonic()))
                answer = await self.request("NOTIFY", dialog.target, dialog.local, dialog.remote, [
                    ("Event", "presence"), ("Contact", self.contact(dialog.local)), ("Content-Type", "application/pidf+xml"),
                    ("Subscription-State", "terminated;reason=timeout" if over else f"active;expires={left}")],
                    pidf(dialog.local, status), dialog)
                if answer is None or answer.status == 481 or over:
                    # RFC 6665 §4.2.2. The watcher hears of it when he refreshes.
                    self.notifying.pop((dialog.call, dialog.theirs), None)
                    shown = self.ledger.shown.get((dialog.local.removeprefix("sip:"), dialog.remote.removeprefix("sip:")))
                    if shown is not None and answer is None:
                        shown.given_up = time.monotonic()
                    return
                if answer.status >= 300:
                    await asyncio.sleep(1)
                    continue
                dialog.told = (status, over)
                shown = self.ledger.shown.get((dialog.local.removeprefix("sip:"), dialog.remote.removeprefix("sip:")))
                if shown is not None and shown.truth == (True, status):
                    shown.handed = time.monotonic()
        finally:
            dialog.telling = False


def pidf(entity, status):
    """Open, with a note (RFC 3863)."""
    return ('<?xml version="1.0" encoding="UTF-8"?>\n<presence xmlns="urn:ietf:params:xml:ns:pidf" '
            f'entity="{entity}"><tuple id="t1"><status><basic>open</basic></status><contact>{entity}</contact>'
            f"<note>{escape(status)}</note></tuple></presence>")


def stamp():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
