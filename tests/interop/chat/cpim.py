"""message/cpim (RFC 3862): headers, then one MIME part."""

import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timezone

from .wire import must, should

NAMESPACE = "urn:ietf:params:cpim-headers:"
IMDN = "urn:ietf:params:imdn"
NAME = r"[!#-'*+\-0-9A-Za-z^_`|~]+"
HEADER = re.compile(rf"((?:{NAME}\.)?{NAME}):((?:;[^ ;]+)*) (.*)")
ADDRESS = re.compile(r'(?:("(?:[^"\\]|\\.)*"|(?:[^\s"<>]+ )+) ?)?<([A-Za-z][A-Za-z0-9+.\-]*:[^<>\s]+)>')
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})")
# Of this default namespace; each at most once, but for To, cc, Subject, NS and Require.
ONCE = ("From", "DateTime")
# In these a quoted name has escapes of its own (§3.6): they stay as they were written.
ADDRESSES = ("From", "To", "cc")
# As `\\` and a letter; anything else that is a control goes as \\uXXXX (§3.6).
ESCAPES = {"\b": "b", "\t": "t", "\n": "n", "\r": "r", '"': '"', "'": "'", "\\": "\\"}


@dataclass
class Cpim:
    content: bytes
    # (name, value), in order, values without their escapes.
    headers: list = field(default_factory=list)
    mime: list = field(default_factory=list)
    complaints: list = field(default_factory=list)

    def get(self, name, namespace=NAMESPACE):
        """The value of a header of a namespace, whatever its prefix."""
        return next(iter(self.all(name, namespace)), None)

    def all(self, name, namespace=NAMESPACE):
        prefixes, found = {"": NAMESPACE}, []
        for key, value in self.headers:
            prefix, _, local = key.rpartition(".")
            declared = re.fullmatch(r"(?:(\S+) )?<([^>]+)>", value) if key == "NS" else None
            if declared:
                prefixes[declared[1] or ""] = declared[2]
            elif local == name and prefixes.get(prefix) == namespace:
                found.append(value)
        return found

    @property
    def content_type(self):
        return next((value for key, value in self.mime if key.lower() == "content-type"), None)

    @property
    def disposition(self):
        return next((value for key, value in self.mime if key.lower() == "content-disposition"), None)

    def encode(self, line=b"\r\n"):
        parts = [f"{name}: {value if name in ADDRESSES else escape(value)}" for name, value in self.headers]
        inner = [f"{name}: {value}" for name, value in self.mime]
        return line.join([*(part.encode() for part in parts), b"", *(part.encode() for part in inner), b"", self.content])


def wrap(text, sender, recipient, content_type="text/plain; charset=utf-8", imdn=None, name=None, when=None,
         disposition=None):
    """A message of ours; `imdn`: what notifications it asks for, a list."""
    headers = [("From", f"<{sender}>"), ("To", f"<{recipient}>"), ("DateTime", when or now())]
    if imdn is not None or name is not None:
        headers += [("NS", f"imdn <{IMDN}>"), ("imdn.Message-ID", name or secrets.token_hex(8))]
    if imdn:
        headers.append(("imdn.Disposition-Notification", ", ".join(imdn)))
    mime = [("Content-Disposition", disposition)] if disposition else []
    mime.append(("Content-Type", content_type))
    return Cpim(text if isinstance(text, bytes) else text.encode(), headers, mime)


def wrap_loosely(text, sender, recipient, name="Romeo Montague"):
    """As a recorded client does: a name without quotes, fractions of a second, bare line feeds in the MIME part, a charset
    that does not exist and a Content-Transfer-Encoding of nothing."""
    when = datetime.now(timezone.utc).isoformat()
    head = f"From: {name} <{sender}>\r\nTo: <{recipient}>\r\nDateTime: {when}\r\n\r\n"
    encoding = "" if text.isascii() else "Content-Transfer-Encoding: \n"
    return (head + f'MIME-Version: 1.0\nContent-Type: text/plain; charset="utf8"\n{encoding}\n' + text).encode()


def now():
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse(data):
    """Reads also bare line feeds and unquoted names, with complaints. ValueError when nothing can be made of it."""
    complaints = []
    head, rest = _section(data, complaints)
    headers = []
    for line in head:
        found = HEADER.fullmatch(line)
        if found:
            headers.append((found[1], found[3] if found[1] in ADDRESSES else unescape(found[3])))
            continue
        complaints.append(must("RFC 3862 §3.6", f"not a header: {line!r}"))
        name, _, value = line.partition(":")
        headers.append((name.strip(), unescape(value.strip())))
    if not headers:
        raise ValueError("no CPIM headers")
    mime, content = _section(rest, complaints)
    message = Cpim(content, headers, [tuple(part.strip() for part in line.split(":", 1)) for line in mime if ":" in line],
                   complaints)
    complaints += judge(message)
    return message


def _section(data, complaints):
    """The lines up to an empty one, and what follows it."""
    lines, at = [], 0
    while True:
        end = data.find(b"\n", at)
        if end < 0:
            raise ValueError("a section without an end")
        line, at = data[at:end], end + 1
        if line.endswith(b"\r"):
            line = line[:-1]
        elif not any("bare LF" in complaint.text for complaint in complaints):
            complaints.append(must("RFC 3862 §2", "a line ends in a bare LF"))
        if not line:
            return lines, data[at:]
        try:
            lines.append(line.decode())
        except UnicodeDecodeError:
            complaints.append(must("RFC 3862 §2.2", "a header is not UTF-8"))
            lines.append(line.decode(errors="replace"))


def judge(message):
    """What is wrong with its headers (RFC 3862 §4, RFC 5438 §6)."""
    told = []
    for name in ONCE:
        if len(message.all(name)) > 1:
            told.append(must("RFC 3862 §4", f"{name} occurs {len(message.all(name))} times"))
    if message.get("From") is None:
        told.append(should("RFC 3862 §4.1", "no From"))
    for name in ADDRESSES:
        for value in message.all(name):
            if not ADDRESS.fullmatch(value):
                told.append(must("RFC 3862 §4", f"{name}: {value!r} is no name and <URI>"))
    for value in message.all("DateTime"):
        if not TIME.fullmatch(value):
            told.append(must("RFC 3862 §4.4", f"DateTime: {value!r} is no time of RFC 3339"))
    declared = {"", *(re.split("[ <]", value)[0] for name, value in message.headers if name == "NS")}
    for name, _value in message.headers:
        if name.rpartition(".")[0] not in declared:
            told.append(must("RFC 3862 §3.4", f"{name}: its prefix is not declared by NS"))
    if message.content_type is None:
        told.append(must("RFC 3862 §2.4", "the content has no Content-Type"))
    wants = message.all("Disposition-Notification", IMDN)
    if wants and message.get("Message-ID", IMDN) is None:
        told.append(must("RFC 5438 §6.3", "notifications are asked for, but there is no imdn.Message-ID"))
    if wants and message.get("DateTime") is None:
        told.append(must("RFC 5438 §7.1.1.2", "notifications are asked for, but there is no DateTime"))
    if (message.content_type or "").lower().startswith("message/imdn+xml"):
        if wants:
            told.append(must("RFC 5438 §7.2.1", "a notification asks for notifications"))
        if message.get("Message-ID", IMDN) is None:
            told.append(must("RFC 5438 §7.2.1", "a notification without imdn.Message-ID"))
        if (message.disposition or "").lower() != "notification":
            told.append(must("RFC 5438 §7.2.1", f"the Content-Disposition of a notification is {message.disposition}"))
    for value in wants:
        for entry in value.split(","):
            if entry.split(";")[0].strip() not in ("positive-delivery", "negative-delivery", "processing", "display"):
                told.append(should("RFC 5438 §6.2", f"imdn.Disposition-Notification: {entry.strip()}"))
    return told


def escape(value, quotes=False):
    """§3.6: only what may not stand there as it is. `quotes`: what is in them."""
    out = []
    for char in value:
        if char in "\b\t\n\r\\" or (quotes and char == '"'):
            out.append("\\" + ESCAPES[char])
        elif ord(char) < 0x20 or ord(char) == 0x7f:
            out.append(f"\\u{ord(char):04X}")
        else:
            out.append(char)
    return "".join(out)


def unescape(value):
    back = {letter: char for char, letter in ESCAPES.items()}
    return re.sub(r"\\(?:u([0-9A-Fa-f]{4})|(.))",
                  lambda found: chr(int(found[1], 16)) if found[1] else back.get(found[2], found[2]), value)
