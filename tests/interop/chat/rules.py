"""What RFC 4975 says of everything that arrives. A `Judge` looks at the frames of one session and names what is wrong.

It knows what was said before: the pieces of each message, what we asked of the peer, what it has answered.
"""

import re
from dataclasses import dataclass

from .wire import IDENT, Range, must, should

# Chunks above this must be interruptible (§5.1).
CHUNK = 2048
# Bodies of requests other than SEND (§7.1).
OTHER_BODY = 10240
# Of RFC 4975 §10 and RFC 7701 §11.2.
CODES = {200, 400, 403, 404, 408, 413, 415, 423, 424, 425, 428, 481, 501, 506}
REPORTING = ("Success-Report", "Failure-Report")
KNOWN = ("To-Path", "From-Path", "Message-ID", "Byte-Range", "Status", *REPORTING, "Content-Type")
MEDIA_TYPE = re.compile(r"[!#-'*+\-.0-9A-Z^-~]+/[!#-'*+\-.0-9A-Z^-~]+"
                        r'(?:; ?[!#-\'*+\-.0-9A-Z^-~]+(?:=(?:[!#-\'*+\-.0-9A-Z^-~]+|"(?:[^"\\]|\\.)*"))?)*', re.I)


@dataclass
class Progress:
    """A message of the peer, as far as it has come."""
    reports: tuple
    content_type: str | None
    next: int = 1
    total: int | None = None
    small: bool = False
    over: bool = False


class Judge:
    def __init__(self, tell, local, accepts=("*",), max_size=None):
        """`tell` takes each complaint."""
        self.tell, self.local, self.accepts, self.max_size = tell, local, accepts, max_size
        # The URIs of the peer's a=path, once they are known.
        self.remote = None
        self.messages, self.tids = {}, set()

    # What every frame must be.

    def form(self, frame):
        for complaint in frame.complaints:
            self.tell(complaint)
        if not IDENT.fullmatch(frame.tid):
            self.tell(must("RFC 4975 §9", f"the transaction id {frame.tid!r} is no ident: 4 to 32 of ALPHANUM . - + % ="))
        names = [name.lower() for name, _value in frame.headers]
        if names[:2] != ["to-path", "from-path"]:
            self.tell(must("RFC 4975 §9", f"the first headers are {names[:2]}, not To-Path and From-Path"))
        for name in KNOWN:
            if names.count(name.lower()) > 1:
                self.tell(must("RFC 4975 §9", f"{name} occurs {names.count(name.lower())} times"))
            if name.lower() in names and name not in [key for key, _value in frame.headers]:
                self.tell(should("RFC 4975 §9", f"{name} is written in another case"))
        self._paths(frame)

    def _paths(self, frame):
        for name in ("To-Path", "From-Path"):
            try:
                uris = frame.path(name)
            except ValueError as error:
                self.tell(must("RFC 4975 §9", f"{name}: {error}"))
                continue
            for uri in uris:
                if uri.port is None:
                    self.tell(must("RFC 4975 §8.2", f"{name}: no port in {uri}"))
                if uri.transport != "tcp":
                    self.tell(must("RFC 4975 §6", f"{name}: the transport of {uri} is not tcp"))
            if name == "To-Path" and (len(uris) != 1 or uris[0].key != self.local.key):
                self.tell(must("RFC 4975 §7.3", f"To-Path is {[str(uri) for uri in uris]}, not {self.local} alone"))
            if name == "From-Path" and self.remote is not None:
                # A response to a SEND comes from the next hop alone.
                expected = [self.remote, self.remote[:1]] if frame.status else [self.remote]
                if [uri.key for uri in uris] not in [[uri.key for uri in path] for path in expected]:
                    self.tell(must("RFC 4975 §7.1", f"From-Path is {[str(uri) for uri in uris]}, but a=path was "
                                                    f"{[str(uri) for uri in self.remote]}"))

    def request(self, frame):
        self.form(frame)
        if frame.tid in self.tids:
            self.tell(must("RFC 4975 §7.1", f"the transaction id {frame.tid} came before"))
        self.tids.add(frame.tid)
        if len(frame.tid) * 6 < 64:
            self.tell(must("RFC 4975 §7.1", f"the transaction id {frame.tid} has no room for 64 random bits"))
        if f"-------{frame.tid}".encode() in (frame.body or b""):
            after = frame.body.split(f"-------{frame.tid}".encode(), 1)[1][:1]
            if after in (b"$", b"+", b"#"):
                self.tell(must("RFC 4975 §7.1", "the end-line is in the body"))
        if frame.method == "SEND":
            self._send(frame)
        elif frame.method == "REPORT":
            self._content(frame)
        else:
            if frame.size > OTHER_BODY:
                self.tell(must("RFC 4975 §7.1", f"a {frame.method} with a body of {frame.size} bytes"))
            self._content(frame)

    # SEND.

    def _send(self, frame):
        name = frame.get("Message-ID")
        if name is None:
            self.tell(must("RFC 4975 §7.1.1", "a SEND without Message-ID"))
        elif not IDENT.fullmatch(name):
            self.tell(must("RFC 4975 §9", f"the Message-ID {name!r} is no ident: 4 to 32 of ALPHANUM . - + % ="))
        for key, allowed in zip(REPORTING, (("yes", "no"), ("yes", "no", "partial"))):
            value = frame.get(key)
            if value is not None and value not in allowed:
                self.tell(must("RFC 4975 §9", f"{key}: {value}"))
        if frame.get("Status") is not None:
            self.tell(should("RFC 4975 §7.1.2", "a SEND with a Status"))
        self._content(frame)
        self._acceptable(frame)
        extent = self._range(frame)
        if name is not None:
            self._message(frame, name, extent)

    def _content(self, frame):
        mime = [name for name, _value in frame.headers if name.lower().startswith("content-")]
        if any(name.lower() == "content-transfer-encoding" for name in mime):
            self.tell(must("RFC 4975 §7.1.1", "Content-Transfer-Encoding: bodies are binary"))
        if frame.body is None:
            if mime:
                self.tell(must("RFC 4975 §7.1", f"no body, but {mime[0]}"))
            return
        if frame.get("Content-Type") is None:
            self.tell(must("RFC 4975 §7.1", "a body without Content-Type"))
        elif frame.headers[-1][0].lower() != "content-type":
            self.tell(must("RFC 4975 §7.1", f"Content-Type is not the last header, {frame.headers[-1][0]} is"))
        elif not MEDIA_TYPE.fullmatch(frame.get("Content-Type")):
            self.tell(must("RFC 4975 §9", f"Content-Type: {frame.get('Content-Type')}"))

    def _acceptable(self, frame):
        content_type = frame.get("Content-Type")
        if content_type is not None and not accepted(content_type, self.accepts):
            self.tell(must("RFC 4975 §8.6", f"{content_type} was not offered in a=accept-types: {' '.join(self.accepts)}"))

    def _range(self, frame):
        text = frame.get("Byte-Range")
        if text is None:
            if frame.body is not None:
                self.tell(should("RFC 4975 §7.1.1", "a SEND without Byte-Range"))
            return None
        try:
            extent = Range.parse(text)
        except ValueError as error:
            self.tell(must("RFC 4975 §9", str(error)))
            return None
        last = extent.start + frame.size - 1
        if extent.start < 1:
            self.tell(must("RFC 4975 §7.1.1", f"Byte-Range {text} does not begin at 1 or later"))
        if frame.size == 0 and extent.start != 1:
            self.tell(must("RFC 4975 §7.1.1", f"nothing is sent, but Byte-Range {text} does not begin at 1"))
        if extent.end is not None and extent.end != last:
            self.tell(must("RFC 4975 §7.1.1", f"Byte-Range {text}, but the body has {frame.size} bytes and ends at {last}"))
        if extent.total is not None:
            if frame.flag == "$" and last != extent.total:
                self.tell(must("RFC 4975 §7.1.1", f"Byte-Range {text}, but the message ends at {last}"))
            elif last > extent.total:
                self.tell(must("RFC 4975 §7.1.1", f"Byte-Range {text}, but this chunk ends at {last}"))
            elif frame.flag == "+" and last == extent.total:
                self.tell(should("RFC 4975 §7.1", f"Byte-Range {text} is complete, but the flag is +"))
        if frame.size > CHUNK and extent.end is not None:
            self.tell(must("RFC 4975 §7.1.1", f"a chunk of {frame.size} bytes that cannot be interrupted: Byte-Range {text}"))
        if self.max_size is not None and max(last, extent.total or 0) > self.max_size:
            self.tell(should("RFC 4975 §8.6", f"Byte-Range {text} is beyond a=max-size:{self.max_size}"))
        return extent

    def _message(self, frame, name, extent):
        reports = tuple(frame.get(key) for key in REPORTING)
        content_type = frame.get("Content-Type")
        known = self.messages.get(name)
        first = known is None or known.over
        if first:
            known = self.messages[name] = Progress(reports, content_type)
        elif extent is None:
            self.tell(must("RFC 4975 §7.1.1", "a later chunk without Byte-Range"))
        if not first and known.reports != reports:
            self.tell(must("RFC 4975 §7.1.1", f"chunks of {name} ask for other reports: {known.reports}, {reports}"))
        if not first and known.content_type != content_type:
            self.tell(must("RFC 4975 §7.1.1", f"chunks of {name} have other types: {known.content_type}, {content_type}"))
        start = extent.start if extent else 1
        if start != known.next:
            self.tell(must("RFC 4975 §7.1.1", f"chunks of {name} are not in order: byte {start} after {known.next - 1}"))
        if known.small:
            self.tell(should("RFC 4975 §7.1.1", f"a chunk of {name} that is not the last has less than {CHUNK} bytes"))
        if extent and extent.total is not None:
            if known.total is not None and known.total != extent.total:
                self.tell(must("RFC 4975 §7.1.1", f"the total of {name} was {known.total} and is {extent.total}"))
            known.total = extent.total
        known.next = start + frame.size
        known.small = frame.flag == "+" and frame.size < CHUNK
        known.over = frame.flag != "+"

    # What answers us.

    def report(self, frame, outgoing):
        """`outgoing`: what we sent under this Message-ID, or None."""
        for name in REPORTING:
            if frame.get(name) is not None:
                self.tell(must("RFC 4975 §7.1.2", f"a REPORT with {name}"))
        if frame.flag != "$":
            self.tell(must("RFC 4975 §7.1.2", f"a REPORT with the flag {frame.flag}"))
        if frame.size > OTHER_BODY:
            self.tell(must("RFC 4975 §7.1", f"a REPORT with a body of {frame.size} bytes"))
        if frame.get("Message-ID") is None:
            self.tell(must("RFC 4975 §7.1.2", "a REPORT without Message-ID"))
        status = re.fullmatch(r"([0-9]{3}) ([0-9]{3})(?: .*)?", frame.get("Status") or "")
        if not status:
            self.tell(must("RFC 4975 §7.1.2", f"a REPORT with Status: {frame.get('Status')}"))
            return
        code = int(status[2])
        if status[1] != "000":
            self.tell(must("RFC 4975 §7.1.3", f"the namespace of Status is {status[1]}"))
        elif code not in CODES:
            self.tell(must("RFC 4975 §10", f"there is no code {code}"))
        if outgoing is None:
            self.tell(should("RFC 4975 §7.1.2", f"a REPORT on {frame.get('Message-ID')}, which we did not send"))
            return
        if code == 200 and not outgoing.success:
            self.tell(must("RFC 4975 §7.1.3", "a success REPORT that nobody asked for"))
        if code != 200 and outgoing.failure == "no":
            self.tell(must("RFC 4975 §7.1.4", f"a failure REPORT ({code}) in spite of Failure-Report: no"))
        self._reported(frame, outgoing, code)

    def _reported(self, frame, outgoing, code):
        text = frame.get("Byte-Range")
        if text is None:
            if code == 200 or outgoing.chunks > 1:
                self.tell(must("RFC 4975 §7.1.3", "a REPORT that does not say on which bytes"))
            return
        try:
            extent = Range.parse(text)
        except ValueError as error:
            self.tell(must("RFC 4975 §9", str(error)))
            return
        size = len(outgoing.body)
        if extent.end is None:
            self.tell(must("RFC 4975 §7.1.4", f"a REPORT on Byte-Range {text}: its end is known to who reports"))
        elif extent.end > size or extent.start < 1 or extent.start > max(extent.end, 1):
            self.tell(must("RFC 4975 §7.1.3", f"a REPORT on Byte-Range {text} of a message of {size} bytes"))
        if extent.total is not None and extent.total != size and outgoing.ended:
            self.tell(must("RFC 4975 §7.1.3", f"a REPORT on Byte-Range {text} of a message of {size} bytes"))

    def response(self, frame, transaction):
        """`transaction`: the request of ours that it answers: method, and the message when it is a SEND."""
        self.form(frame)
        if frame.status not in CODES:
            self.tell(must("RFC 4975 §10", f"there is no code {frame.status}"))
        if frame.flag != "$":
            self.tell(must("RFC 4975 §7.2", f"a response with the flag {frame.flag}"))
        if frame.body is not None:
            self.tell(must("RFC 4975 §9", "a response with a body"))
        if transaction.method == "REPORT":
            self.tell(must("RFC 4975 §7.1.2", f"a REPORT was answered with {frame.status}"))
            return
        if transaction.answered:
            self.tell(must("RFC 4975 §7.2", f"{frame.tid} was answered a second time"))
        failure = transaction.message.failure if transaction.message else "yes"
        if failure == "no":
            self.tell(must("RFC 4975 §7.1.4", f"{frame.status} in spite of Failure-Report: no"))
        if failure == "partial" and frame.status == 200:
            self.tell(must("RFC 4975 §7.1.4", "200 in spite of Failure-Report: partial"))


def accepted(content_type, types):
    """Whether a=accept-types has a type (§8.6): itself, its whole kind, or all; parameters do not matter."""
    wanted = content_type.split(";")[0].strip().lower()
    listed = {entry.split(";")[0].lower() for entry in types}
    return bool(listed & {"*", "*/*", wanted, wanted.split("/")[0] + "/*"})
