"""A small SIP phone for demonstrations: UDP, REGISTER, PUBLISH, SUBSCRIBE, MESSAGE, digest. Standard library only.

It follows RFC 3261 as far as a client of one proxy needs: retransmissions, Record-Route, challenges. It has no media.
"""

import hashlib
import queue
import re
import secrets
import socket
import threading
import time

T1 = 0.5
GIVE_UP = 32.0


class Message:
    """A SIP message: first line, headers in order with full lower-case names, body."""

    SHORT = {"v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "l": "content-length",
             "c": "content-type", "o": "event", "s": "subject", "u": "allow-events", "e": "content-encoding"}

    def __init__(self, data):
        head, _, self.body = data.partition(b"\r\n\r\n")
        lines = re.sub(r"\r\n[ \t]+", " ", head.decode("utf-8", "replace")).split("\r\n")
        self.first = lines[0]
        self.headers = []
        for line in lines[1:]:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            self.headers.append((self.SHORT.get(name, name), value.strip()))

    @property
    def is_request(self):
        return not self.first.startswith("SIP/2.0 ")

    @property
    def status(self):
        return int(self.first.split()[1])

    @property
    def method(self):
        return self.first.split()[0] if self.is_request else self.get("cseq").split()[1]

    def all(self, name):
        return [value for known, value in self.headers if known == name]

    def get(self, name, default=""):
        return next(iter(self.all(name)), default)


def uri_of(header):
    """The URI in a From, To or Contact."""
    inside = re.search(r"<([^>]*)>", header)
    return inside.group(1) if inside else header.split(";")[0].strip()


def tag_of(header):
    found = re.search(r";\s*tag=([^;\s>]+)", header)
    return found.group(1) if found else None


def parameters(header):
    """The parameters of a challenge."""
    return {name.lower(): quoted or plain
            for name, quoted, plain in re.findall(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,]+))', header)}


class Phone:
    """One user on one proxy. What arrives is put into `events` as (kind, who, Message)."""

    def __init__(self, user, password, domain, proxy, trace=None):
        self.user, self.password, self.domain, self.proxy = user, password, domain, proxy
        self.aor = f"sip:{user}@{domain}"
        self.trace = trace
        self.events = queue.Queue()
        self.answers = {}
        self.seen = {}
        self.dialogs = {}
        self.call_id, self.tag, self.cseq = secrets.token_hex(8), secrets.token_hex(4), 0
        self.etag = None
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((proxy[0], 0))
        self.host, self.port = self.socket.getsockname()
        self.contact = f"<sip:{user}@{self.host}:{self.port}>"
        self.open = True
        threading.Thread(target=self._listen, daemon=True).start()

    # What a user does.

    def register(self, expires=600):
        return self.request("REGISTER", f"sip:{self.domain}", to=self.aor, call_id=self.call_id,
                            headers=[("Contact", self.contact), ("Expires", str(expires))])

    def publish(self, document, expires=600):
        """Publishes a PIDF; none withdraws it."""
        headers = [("Event", "presence"), ("Expires", str(expires if document else 0))]
        if self.etag:
            headers.append(("SIP-If-Match", self.etag))
        if document:
            headers.append(("Content-Type", "application/pidf+xml"))
        answer = self.request("PUBLISH", self.aor, to=self.aor, headers=headers, body=document or "")
        self.etag = answer.get("sip-etag") or None if document and answer.status == 200 else None
        return answer

    def subscribe(self, whom, expires=600):
        """Watches the presence of an address, or refreshes that, or ends it (0)."""
        headers = [("Event", "presence"), ("Accept", "application/pidf+xml"), ("Contact", self.contact),
                   ("Expires", str(expires))]
        dialog = self.dialogs.get(whom)
        if not dialog:
            dialog = {"call_id": secrets.token_hex(8), "tag": secrets.token_hex(4), "cseq": 0, "to": None,
                      "target": whom, "route": []}
            self.dialogs[whom] = dialog
        answer = self.request("SUBSCRIBE", dialog["target"], to=whom, to_tag=dialog["to"],
                              call_id=dialog["call_id"], tag=dialog["tag"], dialog=dialog,
                              route=dialog["route"], headers=headers)
        if answer.status < 300 and dialog["to"] is None:
            dialog["to"] = tag_of(answer.get("to"))
            dialog["route"] = list(reversed(answer.all("record-route")))
            dialog["target"] = uri_of(answer.get("contact", whom))
        return answer

    def message(self, whom, text):
        return self.request("MESSAGE", whom, to=whom, headers=[("Content-Type", "text/plain;charset=UTF-8")],
                            body=text)

    def wait(self, kind, test=lambda message: True, seconds=15):
        """The next event of a kind that passes the test; others before it are dropped. None when time is up."""
        until = time.monotonic() + seconds
        while True:
            try:
                found, who, message = self.events.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return None
            if found == kind and test(message):
                return message

    def close(self):
        self.open = False
        self.socket.close()

    # How it is done.

    def request(self, method, target, to, to_tag=None, call_id=None, tag=None, dialog=None, route=(), headers=(),
                body=""):
        """Sends a request, answers one challenge, gives the final answer (a made-up 408 when none comes)."""
        call_id, tag = call_id or secrets.token_hex(8), tag or (self.tag if method == "REGISTER" else secrets.token_hex(4))
        authorization = []
        for attempt in range(2):
            if dialog is not None:
                dialog["cseq"] += 1
                cseq = dialog["cseq"]
            else:
                self.cseq += 1
                cseq = self.cseq
            branch = "z9hG4bK" + secrets.token_hex(8)
            payload = body.encode()
            lines = [f"{method} {target} SIP/2.0",
                     f"Via: SIP/2.0/UDP {self.host}:{self.port};rport;branch={branch}",
                     "Max-Forwards: 70",
                     f"From: <{self.aor}>;tag={tag}",
                     f"To: <{to}>" + (f";tag={to_tag}" if to_tag else ""),
                     f"Call-ID: {call_id}",
                     f"CSeq: {cseq} {method}",
                     "User-Agent: mostar-try"]
            lines += [f"Route: {value}" for value in route]
            lines += [f"{name}: {value}" for name, value in [*headers, *authorization]]
            lines.append(f"Content-Length: {len(payload)}")
            answer = self._exchange("\r\n".join(lines).encode() + b"\r\n\r\n" + payload, branch, method)
            if attempt or answer.status not in (401, 407):
                return answer
            authorization = [self._authorize(answer, method, target)]
        return answer

    def _exchange(self, data, branch, method):
        box = self.answers[(branch, method)] = queue.Queue()
        started, interval = time.monotonic(), T1
        try:
            while time.monotonic() - started < GIVE_UP:
                self._send(data)
                try:
                    answer = box.get(timeout=interval)
                    while answer.status < 200:
                        answer = box.get(timeout=GIVE_UP)
                    return answer
                except queue.Empty:
                    interval = min(interval * 2, 4.0)
            return Message(f"SIP/2.0 408 Nobody answered\r\nCSeq: 1 {method}\r\n\r\n".encode())
        finally:
            del self.answers[(branch, method)]

    def _authorize(self, answer, method, target):
        proxy = answer.status == 407
        challenge = parameters(answer.get("proxy-authenticate" if proxy else "www-authenticate"))
        md5 = lambda text: hashlib.md5(text.encode()).hexdigest()
        realm, nonce = challenge.get("realm", ""), challenge.get("nonce", "")
        one, two = md5(f"{self.user}:{realm}:{self.password}"), md5(f"{method}:{target}")
        value = f'Digest username="{self.user}", realm="{realm}", nonce="{nonce}", uri="{target}", algorithm=MD5'
        if "auth" in challenge.get("qop", "").split(","):
            cnonce = secrets.token_hex(8)
            value += f', qop=auth, nc=00000001, cnonce="{cnonce}"'
            value += f', response="{md5(f"{one}:{nonce}:00000001:{cnonce}:auth:{two}")}"'
        else:
            value += f', response="{md5(f"{one}:{nonce}:{two}")}"'
        return ("Proxy-Authorization" if proxy else "Authorization", value)

    def _send(self, data):
        self._show(">", data)
        try:
            self.socket.sendto(data, self.proxy)
        except OSError:
            pass  # The request's own timer tells.

    def _show(self, direction, data):
        if self.trace:
            self.trace.write(f"--- {self.user} {direction}\n{data.decode('utf-8', 'replace')}\n")
            self.trace.flush()

    def _listen(self):
        while self.open:
            try:
                data, source = self.socket.recvfrom(65536)
            except OSError:
                continue
            if len(data.strip()) == 0:
                continue
            self._show("<", data)
            message = Message(data)
            try:
                if message.is_request:
                    self._answer(message, source)
                else:
                    branch = re.search(r"branch=([^;,\s]+)", message.get("via"))
                    box = self.answers.get((branch.group(1) if branch else "", message.method))
                    if box:
                        box.put(message)
            except (ValueError, IndexError) as error:
                print(f"the phone of {self.user} did not understand a message: {error}")

    def _answer(self, message, source):
        branch = re.search(r"branch=([^;,\s]+)", message.get("via"))
        key = (branch.group(1) if branch else "", message.get("cseq"))
        if key not in self.seen:
            status = {"NOTIFY": "200 OK", "MESSAGE": "200 OK", "OPTIONS": "200 OK"}.get(
                message.method, "405 Method Not Allowed")
            known = any(dialog["call_id"] == message.get("call-id") for dialog in self.dialogs.values())
            if message.method == "NOTIFY" and not known:
                status = "481 Subscription Does Not Exist"
            to = message.get("to")
            if not tag_of(to):
                to += f";tag={secrets.token_hex(4)}"
            lines = [f"SIP/2.0 {status}"]
            lines += [f"Via: {value}" for value in message.all("via")]
            lines += [f"Record-Route: {value}" for value in message.all("record-route")]
            lines += [f"From: {message.get('from')}", f"To: {to}", f"Call-ID: {message.get('call-id')}",
                      f"CSeq: {message.get('cseq')}", f"Contact: {self.contact}", "Allow: MESSAGE, NOTIFY, OPTIONS",
                      "Content-Length: 0"]
            self.seen[key] = "\r\n".join(lines).encode() + b"\r\n\r\n"
            if status.startswith("200"):
                self.events.put((message.method, uri_of(message.get("from")), message))
        self._show(">", self.seen[key])
        try:
            self.socket.sendto(self.seen[key], source)
        except OSError:
            pass  # The phone has been switched off meanwhile.


def pidf(aor, tuple_id, is_open, activity=None, note=None, contact=None):
    """A presence document as phones publish it (RFC 3863, RFC 4480)."""
    person = ""
    if activity:
        person = (f'<dm:person id="p{tuple_id}"><rpid:activities><rpid:{activity}/></rpid:activities></dm:person>')
    return ('<?xml version="1.0" encoding="UTF-8"?>\n'
            '<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"'
            f' xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" entity="{aor}">'
            f'<tuple id="{tuple_id}"><status><basic>{"open" if is_open else "closed"}</basic></status>'
            + (f"<contact>{contact}</contact>" if contact else "")
            + (f"<note>{note}</note>" if note else "")
            + f"</tuple>{person}</presence>\n")
