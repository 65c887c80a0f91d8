"""Offers and answers of MSRP (RFC 4975 §8, RFC 6135, RFC 4566): in the shape that real clients give them."""

import re
import secrets
import time
from dataclasses import dataclass, field

from .wire import Uri, must, should

CHAT = ("message/cpim", "text/*", "application/im-iscomposing+xml")
WRAPPED = ("text/*", "application/im-iscomposing+xml", "message/imdn+xml")


@dataclass
class Media:
    """One m= section."""
    kind: str
    port: int
    protocol: str
    formats: list
    connection: str | None = None
    # (name, value or None), in order.
    attributes: list = field(default_factory=list)

    @property
    def is_msrp(self):
        return self.kind == "message" and self.protocol.upper() in ("TCP/MSRP", "TCP/TLS/MSRP")

    @property
    def path(self):
        return [Uri.parse(text) for text in (self.get("path") or "").split()]

    @property
    def accepts(self):
        return tuple((self.get("accept-types") or "*").split())

    @property
    def wrapped(self):
        return tuple((self.get("accept-wrapped-types") or "").split())

    @property
    def setup(self):
        """`holdconn` is to be ignored (RFC 6135 §4.2.1)."""
        value = self.get("setup")
        return value if value in ("active", "passive", "actpass") else None

    @property
    def direction(self):
        return next((name for name, _value in self.attributes
                     if name in ("sendrecv", "sendonly", "recvonly", "inactive")), "sendrecv")

    def get(self, name):
        return next((value for key, value in self.attributes if key == name), None)

    def encode(self):
        lines = [f"m={self.kind} {self.port} {self.protocol} {' '.join(self.formats)}"]
        lines += [f"c={self.connection}"] if self.connection else []
        return lines + [f"a={name}" if value is None else f"a={name}:{value}" for name, value in self.attributes]


@dataclass
class Sdp:
    origin: str
    media: list = field(default_factory=list)
    session: str = "-"
    connection: str | None = None
    attributes: list = field(default_factory=list)
    complaints: list = field(default_factory=list)

    def encode(self):
        lines = ["v=0", f"o={self.origin}", f"s={self.session}"]
        lines += [f"c={self.connection}"] if self.connection else []
        lines += ["t=0 0", *(f"a={name}" if value is None else f"a={name}:{value}" for name, value in self.attributes)]
        for media in self.media:
            lines += media.encode()
        return ("\r\n".join(lines) + "\r\n").encode()

    def msrp(self):
        """The message lines that somebody offers or takes."""
        return [media for media in self.media if media.is_msrp and media.port]

    def newer(self, media):
        """The same session's next document: the version of o= goes up (RFC 3264 §8)."""
        user, name, version, rest = self.origin.split(" ", 3)
        return Sdp(f"{user} {name} {int(version) + 1} {rest}", media, self.session, self.connection, self.attributes)


def origin(host):
    number = int(time.time()) + 2208988800 + secrets.randbelow(1000)
    return f"- {number} {number} IN {_family(host)} {host}"


def _family(host):
    return "IP6" if ":" in host else "IP4"


def message_line(uri, setup, accepts=CHAT, wrapped=WRAPPED, fingerprint=None, max_size=None, direction=None, chatroom="none"):
    """A line of ours for a session URI."""
    attributes = [("path", str(uri)), ("accept-types", " ".join(accepts))]
    attributes += [("accept-wrapped-types", " ".join(wrapped))] if wrapped else []
    attributes += [("max-size", str(max_size))] if max_size else []
    attributes += [("setup", setup)] if setup else []
    attributes += [("fingerprint", fingerprint)] if uri.secure and fingerprint else []
    attributes += [(direction, None)] if direction else []
    attributes += [("chatroom", chatroom or None)] if chatroom != "none" else []
    return Media("message", uri.port, "TCP/TLS/MSRP" if uri.secure else "TCP/MSRP", ["*"],
                 f"IN {_family(uri.address)} {uri.address}", attributes)


def audio_line(host, port=40000):
    return Media("audio", port, "RTP/AVP", ["0", "101"], f"IN {_family(host)} {host}",
                 [("rtpmap", "0 PCMU/8000"), ("rtpmap", "101 telephone-event/8000"), ("sendrecv", None)])


def refused(media):
    """The same line with port 0 (RFC 3264 §6)."""
    return Media(media.kind, 0, media.protocol, media.formats)


def parse(data, answer_to=None):
    """ValueError when it is no SDP. `answer_to`: our offer."""
    lines = data.decode().replace("\r\n", "\n").rstrip("\n").split("\n")
    if not lines or lines[0] != "v=0":
        raise ValueError("no v=0")
    document = Sdp("")
    if b"\n" in data.replace(b"\r\n", b""):
        document.complaints.append(must("RFC 4566 §9", "a line does not end in CRLF"))
    for line in lines[1:]:
        kind, equals, value = line.partition("=")
        if not equals or len(kind) != 1:
            raise ValueError(f"not a line of SDP: {line!r}")
        _line(document, kind, value)
    document.complaints += judge(document, answer_to)
    return document


def _line(document, kind, value):
    place = document.media[-1] if document.media else document
    if kind == "o":
        document.origin = value
    elif kind == "s":
        document.session = value
    elif kind == "c":
        place.connection = value
    elif kind == "a":
        name, colon, rest = value.partition(":")
        place.attributes.append((name, rest if colon else None))
    elif kind == "m":
        parts = value.split(" ")
        if len(parts) < 4 or not parts[1].split("/")[0].isdigit():
            raise ValueError(f"not a media line: {value!r}")
        document.media.append(Media(parts[0], int(parts[1].split("/")[0]), parts[2], parts[3:]))


def judge(document, answer_to=None):
    """What RFC 4975 §8 and RFC 6135 say of it."""
    told = []
    if not re.fullmatch(r"\S+ [0-9]+ [0-9]+ IN IP[46] \S+", document.origin):
        told.append(must("RFC 4566 §5.2", f"o={document.origin}"))
    if answer_to is not None:
        offered = [(media.kind, media.protocol) for media in answer_to.media]
        if [(media.kind, media.protocol) for media in document.media] != offered:
            told.append(must("RFC 3264 §6", f"the lines of the answer are not those of the offer: {offered}"))
    for media in document.msrp():
        told += _judge_line(media, media.connection or document.connection, answer_to is not None)
    return told


def _judge_line(media, connection, is_answer):
    told = []
    try:
        path = media.path
    except ValueError as error:
        return [must("RFC 4975 §8.2", f"a=path: {error}")]
    if not path:
        return [must("RFC 4975 §8.2", "a message line without a=path")]
    own = path[-1]
    for uri in path:
        if uri.port is None:
            told.append(must("RFC 4975 §8.2", f"no port in {uri}"))
    if own.session is None or len(own.session) * 6 < 80:
        told.append(should("RFC 4975 §8.2", f"the session id of {own} can be guessed"))
    if media.port != own.port:
        told.append(must("RFC 4975 §8.1", f"m= has the port {media.port}, a=path {own.port}"))
    if connection is None or connection.split(" ")[-1].lower() != own.address:
        told.append(must("RFC 4975 §8.1", f"c= is {connection}, a=path has {own.address}"))
    if media.formats != ["*"]:
        told.append(must("RFC 4975 §8.1", f"the formats are {media.formats}"))
    if media.get("accept-types") is None:
        told.append(must("RFC 4975 §8.6", "a message line without a=accept-types"))
    if path[0].secure != (media.protocol.upper() == "TCP/TLS/MSRP"):
        told.append(must("RFC 4975 §8.1", f"{media.protocol} with {path[0]}"))
    setup = media.get("setup")
    if setup is None:
        told.append(must("RFC 6135 §4.2.1", "no a=setup"))
    elif setup == "holdconn":
        told.append(must("RFC 6135 §4.2.1", "a=setup:holdconn"))
    elif setup not in (("active", "passive") if is_answer else ("active", "actpass")):
        told.append(must("RFC 6135 §4.2.2", f"a=setup:{setup} in {'an answer' if is_answer else 'an offer'}"))
    if media.get("connection") is not None:
        told.append(must("RFC 6135 §4.4", "a=connection"))
    if (media.get("max-size") or "1").isdigit() is False:
        told.append(must("RFC 4975 §8.6", f"a=max-size:{media.get('max-size')}"))
    return told
