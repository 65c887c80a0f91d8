"""What leaves a connection (RFC 4975 §7.1.1): responses and REPORTs first, then the messages of all sessions in turn,
each a chunk at a time; a long chunk is interrupted when others wait."""

import asyncio
from collections import deque
from dataclasses import dataclass, field

from .rules import CHUNK
from .wire import Frame, Range, end_line, new_ident, new_tid


@dataclass
class Plan:
    """How a message is cut.

    size    bytes of a chunk; None: as long as nobody else waits (what the RFC strongly recommends)
    whole   one SEND, whatever waits (what recorded clients do)
    end     False: "*" as the end of each range, although it is known
    total   False: "*" as the total of each chunk but the last
    abort   after so many bytes the flag # ends it
    chars   ranges that count characters, not bytes (what recorded clients do, against the rules)
    bare    no Byte-Range where the RFC allows that: a message in one SEND
    pause   seconds between two chunks
    """
    size: int | None = None
    whole: bool = False
    end: bool = True
    total: bool = True
    abort: int | None = None
    chars: bool = False
    bare: bool = False
    pause: float = 0


@dataclass
class Outgoing:
    """A message of ours."""
    session: object
    body: bytes
    content_type: str | None
    success: bool = False
    failure: str = "yes"
    name: str = field(default_factory=new_ident)
    plan: Plan = field(default_factory=Plan)
    extra: list = field(default_factory=list)
    # What is written so far.
    position: int = 0
    chunks: int = 0
    ended: bool = False
    # Chunks that wait for their response.
    open: int = 0
    status: int | None = None
    reported: list = field(default_factory=list)

    def __post_init__(self):
        self.changed = asyncio.Event()

    @property
    def covered(self):
        """Whether success REPORTs have named every byte."""
        at = 1
        for start, end in sorted(self.reported):
            if start > at:
                return False
            at = max(at, end + 1)
        return at > len(self.body)

    def refuse(self, status):
        """The first code that is not 200 stays; nothing more is sent (§7.3.2, §10.5)."""
        if self.status in (None, 200):
            self.status = status
        self.changed.set()


@dataclass
class Transaction:
    """A request of ours that may be answered."""
    session: object
    method: str
    message: Outgoing | None = None
    answered: bool = False
    timer: object = None
    # Of one without a message: a future of its status.
    result: object = None


class Writer:
    """The one who writes to a connection."""

    def __init__(self, stream, track, failed):
        """`track(tid, transaction)` is called before a request leaves; `failed(why)` when nothing leaves any more."""
        self.stream, self.track, self.failed = stream, track, failed
        self.urgent, self.messages = deque(), deque()
        self.wake = asyncio.Event()
        self.task = asyncio.get_running_loop().create_task(self._run())

    def frame(self, frame, transaction=None):
        self.urgent.append((frame.tid, frame.encode(), transaction))
        self.wake.set()

    def raw(self, data):
        self.urgent.append((None, data, None))
        self.wake.set()

    def message(self, outgoing):
        self.messages.append(outgoing)
        self.wake.set()

    async def flush(self):
        while self.urgent or self.messages:
            await asyncio.sleep(0.005)

    async def _run(self):
        try:
            while True:
                await self._urgent()
                if not self.messages:
                    self.wake.clear()
                    if not self.urgent:
                        await self.wake.wait()
                    continue
                outgoing = self.messages[0]
                await self._chunk(outgoing)
                self.messages.popleft()
                if not outgoing.ended:
                    # Behind those who wait.
                    self.messages.append(outgoing)
                if outgoing.plan.pause:
                    await self._pause(outgoing.plan.pause)
        except (OSError, asyncio.IncompleteReadError) as error:
            self.failed(f"writing: {error or type(error).__name__}")

    async def _pause(self, seconds):
        """Messages wait, answers do not."""
        until = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < until:
            await self._urgent()
            await asyncio.sleep(0.01)

    async def _urgent(self):
        while self.urgent:
            tid, data, transaction = self.urgent.popleft()
            if transaction is not None:
                self.track(tid, transaction)
            self.stream.write(data)
            await self.stream.drain()

    async def _chunk(self, outgoing):
        """One SEND of a message."""
        body, plan, begin = outgoing.body, outgoing.plan, outgoing.position
        if outgoing.status not in (None, 200) and outgoing.chunks and not plan.whole:
            # Refused between two chunks: nothing more of it may be sent (§10.5).
            outgoing.ended = True
            return outgoing.changed.set()
        limit = len(body) if plan.whole or plan.size is None else min(len(body), begin + plan.size)
        if plan.abort is not None:
            limit = min(limit, plan.abort)
        known = plan.end and (limit - begin <= CHUNK) and not plan.whole
        if known or plan.whole or plan.size is not None:
            await self._write(outgoing, begin, limit, self._flag(outgoing, limit), "end" if known else "*")
        else:
            await self._interruptible(outgoing, begin, limit)

    def _flag(self, outgoing, end):
        if outgoing.plan.abort is not None and end >= outgoing.plan.abort:
            return "#"
        return "$" if end == len(outgoing.body) else "+"

    def _head(self, outgoing, begin, limit, end):
        body, plan = outgoing.body, outgoing.plan
        tid = new_tid(body[begin:limit])
        last = limit == len(body)
        extent = Range(1 if not body else begin + 1, limit if end == "end" else None,
                       len(body) if plan.total or (last and end == "end") else None)
        if plan.chars:
            count = len(body.decode())
            extent = Range(1, count if len(body) <= CHUNK else None, count)
        headers = outgoing.session.paths() + [("Message-ID", outgoing.name)]
        if not (plan.bare and begin == 0 and last):
            headers.append(("Byte-Range", str(extent)))
        headers += ([("Success-Report", "yes")] if outgoing.success else [])
        headers += ([("Failure-Report", outgoing.failure)] if outgoing.failure != "yes" else [])
        headers += outgoing.extra
        bodiless = outgoing.content_type is None
        if not bodiless:
            headers.append(("Content-Type", outgoing.content_type))
        transaction = Transaction(outgoing.session, "SEND", outgoing)
        self.track(tid, transaction)
        outgoing.chunks += 1
        outgoing.open += 1
        head = Frame(tid, "SEND", headers=headers).encode()[:-len(end_line(tid, "$"))]
        return tid, head + (b"" if bodiless else b"\r\n")

    async def _write(self, outgoing, begin, limit, flag, end):
        tid, head = self._head(outgoing, begin, limit, end)
        tail = (b"" if outgoing.content_type is None else b"\r\n") + end_line(tid, flag)
        self.stream.write(head + outgoing.body[begin:limit] + tail)
        self._written(outgoing, limit, flag)
        await self.stream.drain()

    async def _interruptible(self, outgoing, begin, limit):
        tid, head = self._head(outgoing, begin, limit, "*")
        self.stream.write(head)
        at = begin
        while at < limit:
            piece = outgoing.body[at:min(at + CHUNK, limit)]
            self.stream.write(piece)
            at += len(piece)
            await self.stream.drain()
            await asyncio.sleep(0)
            refused = outgoing.status not in (None, 200)
            if at < limit and (refused or self.urgent or len(self.messages) > 1):
                break
        flag = "#" if outgoing.status not in (None, 200) and at < limit else self._flag(outgoing, at)
        self.stream.write(b"\r\n" + end_line(tid, flag))
        self._written(outgoing, at, flag)
        await self.stream.drain()

    def _written(self, outgoing, at, flag):
        outgoing.position = at
        outgoing.ended = flag != "+"
        outgoing.changed.set()
