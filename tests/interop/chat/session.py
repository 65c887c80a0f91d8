"""One MSRP session: what it sends, how it answers what it gets (RFC 4975 §7)."""

import asyncio
import re
from dataclasses import dataclass, field

from .rules import Judge, accepted
from .sending import Outgoing, Plan, Transaction
from .wire import Frame, Range, must, new_tid

# The longest message that we put together.
LONGEST = 64 * 1024 * 1024


@dataclass
class Manner:
    """How a session answers what it gets.

    answer       "yes"; "never": no response to anything; or a code for every SEND with content
    reports      "whole", "each" (one for every chunk), "odd" (overlapping pieces, out of order), "never", or a code: a
                 failure REPORT after the 200
    report_after seconds before a REPORT
    slow_after   seconds before a response
    """
    answer: object = "yes"
    reports: object = "whole"
    report_after: float = 0
    slow_after: float = 0


@dataclass
class Assembly:
    """A message of the peer that is not complete yet. Where pieces overlap, the last one counts (§7.3.1)."""
    data: bytearray = field(default_factory=bytearray)
    pieces: list = field(default_factory=list)
    total: int | None = None

    def add(self, start, body, last):
        if len(self.data) < start - 1 + len(body):
            self.data.extend(bytes(start - 1 + len(body) - len(self.data)))
        self.data[start - 1:start - 1 + len(body)] = body
        self.pieces.append((start, start + len(body) - 1))
        if last:
            self.total = start + len(body) - 1

    @property
    def complete(self):
        if self.total is None:
            return False
        at = 1
        for start, end in sorted(self.pieces):
            if start > at:
                return False
            at = max(at, end + 1)
        return at > self.total


class Session:
    """One MSRP session. `tell(event)` gets what happens; every event is a dict with one key that names it."""

    def __init__(self, endpoint, uri, tell, accepts=("*",), max_size=None):
        self.endpoint, self.uri, self._tell = endpoint, uri, tell
        self.manner = Manner()
        self.judge = Judge(self.complain, uri, accepts, max_size)
        self.accepts, self.remote, self.remote_accepts = accepts, None, ("*",)
        self.connection, self.bound, self.closed = None, asyncio.Event(), False
        # Until the first request of the active side the passive one does not know who is there (§5.4).
        self.active = False
        self.incoming, self.seen, self.outgoing = {}, set(), {}
        self.complaints = []

    def tell(self, **event):
        self._tell(event)

    def complain(self, complaint):
        self.complaints.append(complaint)
        self.tell(complaint=complaint.text, level=complaint.level, section=complaint.section)

    def paths(self):
        return [("To-Path", " ".join(str(uri) for uri in self.remote)), ("From-Path", str(self.uri))]

    def meet(self, remote, accepts=("*",)):
        """What the peer's SDP says."""
        self.remote, self.remote_accepts = list(remote), tuple(accepts)
        self.judge.remote = self.remote

    async def connect(self, fingerprint=None, own=False):
        """The active side: a connection to the first URI of the path, or one that is there already unless it is to have
        its own; then the bodiless SEND. Whether it was answered with 200."""
        self.active = True
        self.connection = await self.endpoint.connection_to(self.remote[0], fingerprint, own)
        self.connection.sessions.append(self)
        self.bound.set()
        return await self.send(None, None)

    async def send(self, body, content_type, wait=True, **options):
        """A message; its status: the worst code of its chunks, 408 for a chunk without an answer, None where nobody
        is to answer. Without body: the SEND that binds a connection."""
        outgoing = self.start(body, content_type, **options)
        return await self.outcome(outgoing) if wait else outgoing

    def start(self, body, content_type, **options):
        if content_type is not None and not accepted(content_type, self.remote_accepts):
            self.tell(note=f"{content_type} is not what the peer accepts: {' '.join(self.remote_accepts)}")
        options = {key: value for key, value in options.items() if value is not None}
        options["plan"] = options.get("plan") or Plan()
        outgoing = Outgoing(self, body or b"", content_type, **options)
        self.outgoing[outgoing.name] = outgoing
        if self.connection is None:
            raise ConnectionError("the session has no connection")
        self.connection.writer.message(outgoing)
        return outgoing

    async def outcome(self, outgoing):
        while not self._settled(outgoing):
            outgoing.changed.clear()
            await outgoing.changed.wait()
        return outgoing.status

    async def ask(self, method, headers):
        """A request of another kind, without a body; its status, 408 when none comes."""
        frame = Frame(new_tid(), method, headers=self.paths() + headers)
        transaction = Transaction(self, method, result=asyncio.get_running_loop().create_future())
        self.connection.writer.frame(frame, transaction)
        try:
            return await asyncio.wait_for(transaction.result, self.endpoint.patience)
        except TimeoutError:
            self.complain(must("RFC 4975 §7.2", f"no response to {method} within {self.endpoint.patience} s"))
            return 408

    def _settled(self, outgoing):
        if self.closed or outgoing.status not in (None, 200):
            return True
        return outgoing.ended and outgoing.open == 0

    def unbind(self):
        """From its connection; the next one that names it has it."""
        if self.connection is not None:
            self.connection.sessions.remove(self)
            self.connection, self.active = None, False
        self.bound.clear()

    async def close(self):
        """No more of this session; the connection goes when nobody else uses it (§5.4)."""
        self.closed = True
        self.endpoint.sessions.pop(self.uri.session, None)
        connection, self.connection = self.connection, None
        for outgoing in self.outgoing.values():
            outgoing.changed.set()
            if outgoing.success and not outgoing.covered and outgoing.status in (None, 200):
                self.tell(unreported=outgoing.name)
        if connection is not None:
            connection.sessions.remove(self)
            if not connection.sessions:
                await connection.close()

    # What arrives.

    def request(self, frame, connection):
        self.judge.request(frame)
        if frame.method == "SEND":
            self._send(frame, connection)
        elif frame.method == "REPORT":
            self._report(frame)
        else:
            self.tell(method=frame.method, headers=frame.headers)
            self.respond(frame, 501, "Not Understood", connection)

    def respond(self, frame, code, comment=None, connection=None):
        """What the rules and our manner let out (§7.2)."""
        failure = frame.get("Failure-Report") or "yes"
        if failure == "no" or (failure == "partial" and code == 200) or self.manner.answer == "never":
            return
        try:
            to_path = [str(uri) for uri in frame.path("From-Path")]
        except ValueError:
            return
        if frame.method == "SEND":
            to_path = to_path[:1]
        answer = Frame(frame.tid, None, code, comment or ("OK" if code == 200 else None),
                       [("To-Path", " ".join(to_path)), ("From-Path", str(self.uri))])
        self._later(self.manner.slow_after, lambda: (connection or self.connection).writer.frame(answer))

    def _later(self, seconds, act):
        def now():
            if not self.closed and self.connection is not None:
                act()
        if seconds:
            asyncio.get_running_loop().call_later(seconds, now)
        else:
            now()

    def _send(self, frame, connection):
        if frame.body is None:
            self.tell(bodiless=frame.get("Message-ID"))
            return self.respond(frame, 200, connection=connection)
        if isinstance(self.manner.answer, int):
            return self.respond(frame, self.manner.answer, "As Told", connection)
        content_type, name = frame.get("Content-Type"), frame.get("Message-ID")
        if content_type is None or name is None:
            return self.respond(frame, 400, "Unintelligible", connection)
        if not accepted(content_type, self.accepts):
            return self.respond(frame, 415, "Not Understood", connection)
        try:
            extent = Range.parse(frame.get("Byte-Range") or f"1-*/{'*' if frame.flag == '+' else frame.size}")
        except ValueError:
            return self.respond(frame, 400, "Unintelligible", connection)
        if extent.start + frame.size > LONGEST:
            return self.respond(frame, 413, "Too Long", connection)
        self.respond(frame, 200, connection=connection)
        self._piece(frame, name, extent)

    def _piece(self, frame, name, extent):
        if frame.flag == "#":
            self.incoming.pop(name, None)
            return self.tell(aborted=name)
        assembly = self.incoming.setdefault(name, Assembly())
        assembly.add(max(extent.start, 1), frame.body, frame.flag == "$")
        self.tell(chunk=name, start=extent.start, size=frame.size, flag=frame.flag)
        wants = frame.get("Success-Report") == "yes"
        if wants and self.manner.reports == "each":
            self.report(name, extent.start, extent.start + frame.size - 1, extent.total or "*")
        if assembly.complete:
            del self.incoming[name]
            again = name in self.seen
            self.seen.add(name)
            self.tell(received=name, type=frame.get("Content-Type"), body=bytes(assembly.data[:assembly.total]),
                      pieces=len(assembly.pieces), again=again, success=frame.get("Success-Report") == "yes",
                      failure=frame.get("Failure-Report") or "yes")
            if wants or isinstance(self.manner.reports, int):
                self._reports(name, assembly.total)

    def _reports(self, name, total):
        kind = self.manner.reports
        if kind == "whole":
            self.report(name, 1, total, total)
        elif kind == "odd":
            middle = max(total // 2, 1)
            for start, end in ((middle, total), (1, middle), (1, total)):
                self.report(name, start, end, total)
        elif isinstance(kind, int):
            self.report(name, 1, total, total, kind)

    def report(self, name, start, end, total, code=200):
        comment = " OK" if code == 200 else ""
        headers = self.paths() + [("Message-ID", name), ("Byte-Range", f"{start}-{end}/{total}"),
                                  ("Status", f"000 {code}{comment}")]
        frame = Frame(new_tid(), "REPORT", headers=headers)
        self._later(self.manner.report_after,
                    lambda: self.connection.writer.frame(frame, Transaction(self, "REPORT")))

    def _report(self, frame):
        outgoing = self.outgoing.get(frame.get("Message-ID") or "")
        self.judge.report(frame, outgoing)
        status = re.fullmatch(r"000 ([0-9]{3})(?: .*)?", frame.get("Status") or "")
        code = int(status[1]) if status else None
        self.tell(report=frame.get("Message-ID"), status=code, range=frame.get("Byte-Range"))
        if outgoing is None or code is None:
            return
        if code != 200:
            return outgoing.refuse(code)
        found = re.match(r"([0-9]+)-([0-9]+)/", frame.get("Byte-Range") or f"1-{len(outgoing.body)}/")
        if found:
            outgoing.reported.append((int(found[1]), int(found[2])))
        outgoing.changed.set()

    def response(self, frame, transaction):
        self.judge.response(frame, transaction)
        transaction.answered = True
        if transaction.timer:
            transaction.timer.cancel()
        outgoing = transaction.message
        if transaction.result is not None and not transaction.result.done():
            transaction.result.set_result(frame.status)
        self.tell(response=frame.status, to=outgoing.name if outgoing else None)
        if outgoing is None:
            return
        outgoing.open -= 1
        if frame.status != 200:
            outgoing.refuse(frame.status)
        elif outgoing.status is None:
            outgoing.status = 200
        outgoing.changed.set()

    def unanswered(self, transaction):
        if not self.closed and not transaction.answered:
            self.complain(must("RFC 4975 §7.2", f"no response within {self.endpoint.patience} s"))
            transaction.message.open -= 1
            transaction.message.refuse(408)

    def lost(self, why):
        """Its connection is gone, and so is it (§5.4)."""
        self.connection = None
        self.bound.clear()
        self.tell(lost=why)
        for outgoing in self.outgoing.values():
            if not self._settled(outgoing):
                outgoing.refuse(0)
