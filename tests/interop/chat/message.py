"""SIP messages (RFC 3261 §7, §25): read loosely, written plainly."""

import re
import secrets
from dataclasses import dataclass, field

COMPACT = {"v": "Via", "f": "From", "t": "To", "i": "Call-ID", "m": "Contact", "l": "Content-Length", "c": "Content-Type",
           "e": "Content-Encoding", "k": "Supported", "s": "Subject", "o": "Event", "u": "Allow-Events", "x": "Session-Expires"}
REASONS = {100: "Trying", 180: "Ringing", 183: "Session Progress", 200: "OK", 202: "Accepted", 400: "Bad Request",
           403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout", 415: "Unsupported Media Type",
           480: "Temporarily Unavailable", 481: "No Such Dialog", 486: "Busy Here", 487: "Request Terminated",
           488: "Not Acceptable Here", 489: "Bad Event", 491: "Request Pending", 500: "Server Error", 501: "Not Implemented",
           503: "Service Unavailable", 600: "Busy Everywhere", 603: "Decline"}


class Garbled(Exception):
    """Not a SIP message."""


@dataclass
class Message:
    """A request (method, uri) or a response (status, reason)."""
    method: str | None = None
    uri: str | None = None
    status: int | None = None
    reason: str = ""
    headers: list = field(default_factory=list)
    body: bytes = b""

    def get(self, name):
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def all(self, name):
        """Every value, also those that share a line."""
        return [part for key, value in self.headers if key.lower() == name.lower() for part in split(value)]

    def put(self, name, value):
        """In the place of the one that is there, or last."""
        for at, (key, _value) in enumerate(self.headers):
            if key.lower() == name.lower():
                self.headers[at] = (name, value)
                return
        self.headers.append((name, value))

    def drop(self, name):
        self.headers = [(key, value) for key, value in self.headers if key.lower() != name.lower()]

    @property
    def call_id(self):
        return self.get("Call-ID")

    @property
    def cseq(self):
        """Number and method."""
        number, _, method = (self.get("CSeq") or "").partition(" ")
        return (int(number) if number.isdigit() else 0), method.strip()

    @property
    def branch(self):
        vias = self.all("Via")
        return parameter(vias[0], "branch") if vias else None

    def tag(self, name):
        return parameter(outside(self.get(name) or ""), "tag")

    def __str__(self):
        return self.method or f"{self.status} {self.reason}"

    def encode(self):
        first = f"{self.method} {self.uri} SIP/2.0" if self.method else f"SIP/2.0 {self.status} {self.reason}"
        lines = [first, *(f"{name}: {value}" for name, value in self.headers if name.lower() != "content-length"),
                 f"Content-Length: {len(self.body)}", "", ""]
        return "\r\n".join(lines).encode() + self.body


def parse_head(data):
    """The message without its body."""
    try:
        lines = re.sub(r"\r?\n[ \t]+", " ", data.decode()).replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError:
        raise Garbled("not UTF-8") from None
    first = lines[0].split(" ", 2)
    if len(first) < 2:
        raise Garbled(f"not a start line: {lines[0]!r}")
    if first[0] == "SIP/2.0" and first[1].isdigit():
        message = Message(status=int(first[1]), reason=first[2] if len(first) > 2 else "")
    elif first[-1] == "SIP/2.0" and len(first) == 3:
        message = Message(method=first[0], uri=first[1])
    else:
        raise Garbled(f"not a start line: {lines[0]!r}")
    for line in lines[1:]:
        if not line:
            continue
        name, colon, value = line.partition(":")
        if not colon:
            raise Garbled(f"not a header: {line!r}")
        message.headers.append((COMPACT.get(name.strip().lower(), name.strip()), value.strip()))
    return message


def parse(data):
    """A datagram."""
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator:
        raise Garbled("no end of the headers")
    message = parse_head(head)
    length = message.get("Content-Length")
    message.body = body[:int(length)] if length and length.isdigit() else body
    return message


class Stream:
    """Messages out of a TCP stream (§18.3)."""

    def __init__(self):
        self.buffer, self.head = bytearray(), None

    def feed(self, data):
        self.buffer += data
        found = []
        while True:
            while self.head is None and self.buffer[:2] == b"\r\n":
                del self.buffer[:2]
            if self.head is None:
                end = self.buffer.find(b"\r\n\r\n")
                if end < 0:
                    return found
                self.head = parse_head(bytes(self.buffer[:end]))
                del self.buffer[:end + 4]
            length = self.head.get("Content-Length") or ""
            if not length.isdigit():
                raise Garbled("no Content-Length over TCP")
            if len(self.buffer) < int(length):
                return found
            self.head.body = bytes(self.buffer[:int(length)])
            del self.buffer[:int(length)]
            found.append(self.head)
            self.head = None


def split(value):
    """By commas that are in no quotes and no angle brackets."""
    parts, depth, quoted, at = [], 0, False, 0
    for index, char in enumerate(value):
        if char == '"' and (index == 0 or value[index - 1] != "\\"):
            quoted = not quoted
        elif not quoted and char in "<>":
            depth += 1 if char == "<" else -1
        elif char == "," and not quoted and depth == 0:
            parts.append(value[at:index].strip())
            at = index + 1
    return [*parts, value[at:].strip()]


def outside(value):
    """What follows the address: the parameters of the header."""
    value = re.sub(r'^\s*"(?:[^"\\]|\\.)*"', "", value)
    return value.rpartition(">")[2] if "<" in value else value.partition(";")[1] + value.partition(";")[2]


def parameter(text, name):
    found = re.search(rf";\s*{re.escape(name)}(?:\s*=\s*(\"[^\"]*\"|[^;,\s>]*))?(?=[;,\s>]|$)", text, re.I)
    return None if not found else (found[1] or "").strip('"')


def address(value):
    """The URI of a name-addr or addr-spec; a quoted name may have brackets too."""
    value = re.sub(r'^\s*"(?:[^"\\]|\\.)*"', "", value)
    found = re.search(r"<([^>]*)>", value)
    return found[1] if found else value.split(";")[0].strip()


def hostport(uri):
    """Host, port or None, transport or None, of a SIP URI."""
    found = re.match(r"sips?:(?:[^@;?>]*@)?(\[[^\]]+\]|[^:;?>]+)(?::([0-9]+))?([^?>]*)", uri)
    if not found:
        return None, None, None
    return found[1].strip("[]"), int(found[2]) if found[2] else None, parameter(found[3], "transport")


def token(size=8):
    return secrets.token_hex(size)
