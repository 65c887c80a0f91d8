"""MSRP on the wire (RFC 4975 §6 and §9): URIs, frames, and the framing of a stream.

Frames end by their end-line, whatever Byte-Range says. What is against the syntax but can be read is read, with a
complaint; what cannot be framed any more raises `Broken`.
"""

import base64
import ipaddress
import re
import secrets
from dataclasses import dataclass, field

IDENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.\-+%=]{3,31}")
# authority: RFC 3986 without a password; session-id: unreserved, "+", "=", "/".
URI = re.compile(
    r"(?P<scheme>msrps?)://(?:(?P<user>[A-Za-z0-9\-._~!$&'()*+,;=%]+)@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~%]+)(?::(?P<port>[0-9]+))?"
    r"(?:/(?P<session>[A-Za-z0-9\-._~+=/]+))?;(?P<transport>[A-Za-z0-9]+)(?P<parameters>(?:;[^\s;]+)*)", re.I)
HEADER = re.compile(r"([A-Za-z][!#-'*+\-.0-9A-Z^-~]*):(.*)", re.S)
START = re.compile(r"MSRP (\S+) (?:([0-9]{3})(?: (.*))?|([A-Z]+))")
LOOSE_START = re.compile(r"MSRP\s+(\S+)\s+(\S+)(?:\s+(.*))?")
# More than this without the end of a header section is no MSRP.
HEAD_LIMIT = 64 * 1024


class Broken(Exception):
    """The stream cannot be framed any more."""


@dataclass(frozen=True)
class Complaint:
    """A rule that the peer broke. `level` is "must" or "should"."""
    level: str
    section: str
    text: str

    def __str__(self):
        return f"[{self.section}] {self.level}: {self.text}"


def must(section, text):
    return Complaint("must", section, text)


def should(section, text):
    return Complaint("should", section, text)


@dataclass(frozen=True)
class Uri:
    text: str
    scheme: str
    host: str
    port: int | None
    session: str | None
    transport: str

    @classmethod
    def parse(cls, text):
        """ValueError when it is not one."""
        found = URI.fullmatch(text)
        if not found:
            raise ValueError(f"not an MSRP URI: {text!r}")
        port = int(found["port"]) if found["port"] else None
        if port is not None and not 0 < port < 65536:
            raise ValueError(f"no such port: {text!r}")
        return cls(text, found["scheme"].lower(), found["host"].lower(), port, found["session"],
                   found["transport"].lower())

    @classmethod
    def of(cls, host, port, session, secure=False):
        shown = f"[{host}]" if ":" in host else host
        return cls.parse(f"{'msrps' if secure else 'msrp'}://{shown}:{port}/{session};tcp")

    @property
    def secure(self):
        return self.scheme == "msrps"

    @property
    def address(self):
        return self.host.strip("[]")

    @property
    def key(self):
        """What is compared (§6.1): scheme, host and port, session in its case, transport; never the user."""
        try:
            host = str(ipaddress.ip_address(self.address))
        except ValueError:
            host = re.sub("%[0-9a-f]{2}", lambda found: chr(int(found[0][1:], 16)), self.host)
        return self.scheme, host, self.port, self.session, self.transport

    def __str__(self):
        return self.text


@dataclass
class Frame:
    """A request (method) or a response (status)."""
    tid: str
    method: str | None = None
    status: int | None = None
    comment: str | None = None
    headers: list = field(default_factory=list)
    # None: no body, which is not an empty one.
    body: bytes | None = None
    flag: str = "$"
    complaints: list = field(default_factory=list)

    def get(self, name):
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def path(self, name):
        """The URIs of To-Path or From-Path; ValueError when one is not one."""
        value = self.get(name)
        if value is None:
            raise ValueError(f"no {name}")
        return [Uri.parse(text) for text in value.split(" ")]

    @property
    def size(self):
        return len(self.body or b"")

    def __str__(self):
        what = self.method or f"{self.status} {self.comment or ''}".strip()
        return f"{self.tid} {what} {self.get('Message-ID') or ''} {self.get('Byte-Range') or ''} {self.size} bytes {self.flag}"

    def encode(self):
        start = self.method if self.method else f"{self.status} {self.comment}" if self.comment else str(self.status)
        lines = [f"MSRP {self.tid} {start}", *(f"{name}: {value}" for name, value in self.headers)]
        head = "\r\n".join(lines).encode() + b"\r\n"
        middle = b"" if self.body is None else b"\r\n" + self.body + b"\r\n"
        return head + middle + end_line(self.tid, self.flag)


def end_line(tid, flag):
    return f"-------{tid}{flag}\r\n".encode()


def new_ident():
    """A transaction identifier, Message-ID or session id: 120 random bits in 20 characters that all may carry."""
    text = base64.b64encode(secrets.token_bytes(15), b".-").decode()
    return text if text[0].isalnum() else "x" + text[1:]


def new_tid(body=b""):
    """One that does not occur in the body (§7.1)."""
    while True:
        tid = new_ident()
        if tid.encode() not in body:
            return tid


@dataclass(frozen=True)
class Range:
    """Byte-Range: `end` and `total` are None for "*"."""
    start: int
    end: int | None
    total: int | None

    @classmethod
    def parse(cls, text):
        found = re.fullmatch(r"([0-9]+)-([0-9]+|\*)/([0-9]+|\*)", text)
        if not found:
            raise ValueError(f"not a Byte-Range: {text!r}")
        start, end, total = (None if part == "*" else int(part) for part in found.groups())
        return cls(start, end, total)

    def __str__(self):
        star = lambda number: "*" if number is None else number
        return f"{self.start}-{star(self.end)}/{star(self.total)}"


class Decoder:
    """Bytes in, frames out."""

    def __init__(self):
        self.buffer = bytearray()
        # Of the frame that is being read: its head, where its body begins, and how far its end was looked for.
        self.frame, self.body, self.scan = None, 0, 0

    @property
    def empty(self):
        return not self.buffer and self.frame is None

    def feed(self, data):
        self.buffer += data
        found = []
        while (frame := self._next()) is not None:
            found.append(frame)
        return found

    def _next(self):
        if self.frame is None and not self._head():
            return None
        if self.frame.flag:
            return self._done(0, self.frame.flag)
        return self._find_end()

    def _head(self):
        """Reads start line and headers; whether they are there. A frame without a body ends here."""
        at, lines, complaints, frame = 0, [], [], None
        while True:
            end = self.buffer.find(b"\n", at)
            if end < 0:
                if len(self.buffer) > HEAD_LIMIT:
                    raise Broken(f"no end of the headers in {len(self.buffer)} bytes")
                return False
            if end > HEAD_LIMIT:
                raise Broken(f"headers of more than {HEAD_LIMIT} bytes")
            line = bytes(self.buffer[at:end])
            at = end + 1
            if line.endswith(b"\r"):
                line = line[:-1]
            else:
                complaints.append(must("RFC 4975 §9", "a line ends in a bare LF"))
            if frame is None:
                frame = start(line, complaints)
            elif not line:
                # The search for the end begins at the CRLF of the empty line: a body may be missing.
                self.body, self.scan = at, max(at - 2, 0)
                frame.flag = ""
                break
            elif line[:-1] == b"-------" + frame.tid.encode() and line[-1:] in (b"$", b"+", b"#"):
                frame.flag = line[-1:].decode()
                del self.buffer[:at]
                break
            else:
                lines.append(line)
                continue
        frame.headers = [header(line, complaints) for line in lines]
        frame.complaints = complaints
        self.frame = frame
        return True

    def _find_end(self):
        mark = b"\r\n-------" + self.frame.tid.encode()
        while (at := self.buffer.find(mark, self.scan)) >= 0:
            after = at + len(mark)
            if len(self.buffer) < after + 3:
                self.scan = at
                return None
            flag = self.buffer[after:after + 1]
            if flag in (b"$", b"+", b"#") and self.buffer[after + 1:after + 3] == b"\r\n":
                if at < self.body:
                    self.frame.complaints.append(
                        must("RFC 4975 §7.1", "an empty line before the end-line of a frame without a body"))
                else:
                    self.frame.body = bytes(self.buffer[self.body:at])
                return self._done(after + 3, flag.decode())
            self.scan = at + 1
        self.scan = max(self.scan, len(self.buffer) - len(mark))
        return None

    def _done(self, end, flag):
        frame, self.frame = self.frame, None
        frame.flag = flag
        del self.buffer[:end]
        return frame


def start(line, complaints):
    text = decode(line, complaints)
    found = START.fullmatch(text)
    if found:
        tid, status, comment, method = found.groups()
        return Frame(tid, method, int(status) if status else None, comment)
    found = LOOSE_START.fullmatch(text)
    if not found:
        raise Broken(f"not the start of a frame: {line[:80]!r}")
    complaints.append(must("RFC 4975 §9", f"the start line is {text!r}"))
    tid, what, comment = found.groups()
    if re.fullmatch("[0-9]{3}", what):
        return Frame(tid, None, int(what), comment)
    return Frame(tid, what)


def header(line, complaints):
    text = decode(line, complaints)
    found = HEADER.fullmatch(text)
    if not found:
        complaints.append(must("RFC 4975 §9", f"not a header: {text!r}"))
        name, _, value = text.partition(":")
        return name.strip(), value.strip()
    name, value = found.groups()
    if not value.startswith(" ") or value != " " + value.strip():
        complaints.append(must("RFC 4975 §9", f"{name}: is not followed by one space and the value alone: {text!r}"))
    return name, value.strip()


def decode(line, complaints):
    try:
        return line.decode()
    except UnicodeDecodeError:
        complaints.append(must("RFC 4975 §9", "a header is not UTF-8"))
        return line.decode(errors="replace")
