"""What a bad peer does. Every entry of `ALL` is `await entry(session, uri, **options)` and gives what came of it:
`statuses` of the answers, `closed` when the other side closed the connection, `seconds`.

Those that say "in the session" send over its own connection; the others open connections of their own to the address in
the URI, and close them at the end.
"""

import asyncio
import contextlib
import resource
import secrets
import time

from .sending import Transaction
from .wire import Broken, Decoder, Frame, Uri, end_line, new_ident, new_tid

TEXT = ("Content-Type", "text/plain")


class Raw:
    """A connection without manners."""

    def __init__(self, reader, stream):
        self.reader, self.stream, self.decoder = reader, stream, Decoder()
        self.statuses, self.closed, self.began = [], False, time.monotonic()

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, uri):
        uri = Uri.parse(uri)
        raw = cls(*await asyncio.open_connection(uri.address, uri.port))
        try:
            yield raw
        finally:
            raw.stream.transport.abort()

    async def send(self, data):
        try:
            self.stream.write(data)
            await self.stream.drain()
        except OSError:
            self.closed = True

    async def listen(self, seconds=3, answers=None):
        """Until so many answers, the end of the connection, or time is up."""
        until = time.monotonic() + seconds
        while not self.closed and (answers is None or len(self.statuses) < answers):
            left = until - time.monotonic()
            if left <= 0:
                break
            try:
                data = await asyncio.wait_for(self.reader.read(65536), left)
                self.closed = not data
                self.statuses += [frame.status for frame in self.decoder.feed(data) if frame.status]
            except TimeoutError:
                break
            except (OSError, Broken):
                self.closed = True
        return self.result()

    def result(self, **more):
        return {"statuses": self.statuses, "closed": self.closed, "seconds": round(time.monotonic() - self.began, 3), **more}


def send_to(uri, body=b"boo", sender=None, flag="$", extent=None, name=None, method="SEND", tid=None, more=()):
    """A SEND to a URI from one that nobody knows."""
    sender = sender or f"msrp://127.0.0.1:9/{new_ident()};tcp"
    headers = [("To-Path", str(uri)), ("From-Path", sender), ("Message-ID", name or new_ident()),
               ("Byte-Range", extent or f"1-{len(body or b'')}/{len(body or b'')}"), *more]
    if body is not None:
        headers.append(TEXT)
    return Frame(tid or new_tid(body or b""), method, headers=headers, body=body, flag=flag)


class Probe:
    """Stands where a session would, and waits for the answer to one frame."""

    def __init__(self):
        self.future = asyncio.get_running_loop().create_future()

    def response(self, frame, _transaction):
        if not self.future.done():
            self.future.set_result(frame.status)

    def unanswered(self, _transaction):
        """Whoever asked waits no longer."""

    async def result(self, connection, seconds):
        """The status of the answer; None when there is none, 0 when the connection ends."""
        until = time.monotonic() + seconds
        while not self.future.done() and not connection.closing and time.monotonic() < until:
            await asyncio.sleep(0.005)
        return self.future.result() if self.future.done() else 0 if connection.closing else None


async def exchange(session, frame, seconds=3):
    """A frame in the session; the status of its answer: see `Probe.result`."""
    probe, connection = Probe(), session.connection
    connection.writer.frame(frame, Transaction(probe, frame.method))
    return await probe.result(connection, seconds)


def of(session, body=b"boo", **options):
    return send_to(session.remote[-1], body, sender=str(session.uri), **options)


async def _each(session, frames, seconds=3):
    statuses = []
    for frame in frames:
        if session.connection is None:
            statuses.append("lost")
            break
        statuses.append(await exchange(session, frame, seconds))
    return {"statuses": statuses, "closed": session.connection is None}


async def header_flood(_session, uri, size=20_000_000):
    """A SEND whose headers never end."""
    async with Raw.to(uri) as raw:
        await raw.send(f"MSRP {new_ident()} SEND\r\nTo-Path: {uri}\r\n".encode())
        sent = 0
        line = b"X-Flood: " + b"f" * 1000 + b"\r\n"
        while sent < size and not raw.closed:
            await raw.send(line * 60)
            sent += 60 * len(line)
            if raw.reader.at_eof():
                raw.closed = True
        return await raw.listen(2) | {"sent": sent}


async def one_long_header(_session, uri, size=2_000_000):
    """A header without an end."""
    async with Raw.to(uri) as raw:
        await raw.send(f"MSRP {new_ident()} SEND\r\nTo-Path: ".encode() + b"m" * size)
        return await raw.listen(3)


async def wrong_session(_session, uri, count=1):
    """SENDs to a session that never was."""
    wrong = Uri.parse(uri)
    async with Raw.to(uri) as raw:
        for _number in range(count):
            await raw.send(send_to(Uri.of(wrong.address, wrong.port, new_ident().replace("%", "-"))).encode())
        return await raw.listen(5, count)


async def guess_session(_session, uri, count=200):
    """Session ids beside the right one: the last characters changed, its case, a prefix."""
    true = Uri.parse(uri)
    guesses = [true.session.swapcase(), true.session[:-1], true.session + "0"]
    while len(guesses) < count:
        cut = 1 + secrets.randbelow(4)
        guesses.append(true.session[:-cut] + secrets.token_hex(4)[:cut])
    guesses = [guess for guess in guesses if guess and guess != true.session]
    async with Raw.to(uri) as raw:
        for guess in guesses:
            await raw.send(send_to(Uri.of(true.address, true.port, guess)).encode())
        found = await raw.listen(10, len(guesses))
        return found | {"taken": sum(status == 200 for status in found["statuses"])}


async def second_connection(session, _uri):
    """Another connection for a session that has one: with the right paths, as an eavesdropper could."""
    async with Raw.to(str(session.remote[0])) as raw:
        await raw.send(of(session, None, extent="1-0/0").encode())
        await raw.send(of(session).encode())
        return await raw.listen(3, 2)


async def range_overflow(session, _uri):
    """In the session: ranges beyond every integer, backwards, from nought."""
    ranges = ["18446744073709551615-*/*", "1-99999999999999999999999999/99999999999999999999999999", "0-2/3", "9-1/3",
              "4294967295-4294967297/4294967297", "1-*/18446744073709551615", "9223372036854775807-*/9223372036854775807"]
    return await _each(session, [of(session, extent=extent, flag=flag) for extent in ranges for flag in "+$"])


async def end_line_in_body(session, _uri):
    """In the session: bodies with their own end-line in them, in a line and as a line."""
    first, second = new_tid(), new_tid()
    inside = of(session, b"x" + end_line(first, "$") + b"y", tid=first)
    as_line = of(session, b"x\r\n" + end_line(second, "$") + b"MSRP hidden", tid=second)
    return await _each(session, [inside, as_line])


async def never_finished(session, _uri, count=200, size=2048):
    """In the session: beginnings of messages that never end."""
    frames = [of(session, b"n" * size, flag="+", extent=f"1-*/{size * 10}") for _number in range(count)]
    statuses = []
    for frame in frames:
        if session.connection is None:
            break
        statuses.append(await exchange(session, frame))
    return {"statuses": statuses, "closed": session.connection is None}


async def slow_writer(session, _uri, size=200, pause=0.02):
    """In the session: a good SEND, byte by byte."""
    frame, probe, connection = of(session, b"s" * size), Probe(), session.connection
    connection.transactions[frame.tid] = Transaction(probe, "SEND")
    data = frame.encode()
    for at in range(len(data)):
        if connection.closing:
            return {"statuses": [], "closed": True, "sent": at}
        connection.writer.raw(data[at:at + 1])
        await asyncio.sleep(pause)
    found = await probe.result(connection, 3)
    return {"statuses": [found], "closed": connection.closing, "sent": len(data)}


async def half_open(_session, uri, count=1000, seconds=5, say=0):
    """Connections that say nothing, or the first `say` bytes of a SEND, and stay."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, count + 200), hard), hard))
    target, opened, refused, raws = Uri.parse(uri), 0, 0, []
    for _number in range(count):
        try:
            raw = Raw(*await asyncio.wait_for(asyncio.open_connection(target.address, target.port), 5))
        except (OSError, TimeoutError):
            refused += 1
            continue
        opened += 1
        raws.append(raw)
        if say:
            await raw.send(send_to(uri).encode()[:say])
    began = time.monotonic()
    open_still = len(raws)
    while open_still and time.monotonic() < began + seconds:
        await asyncio.sleep(0.2)
        open_still = sum(not raw.reader.at_eof() and not raw.stream.is_closing() for raw in raws)
    for raw in raws:
        raw.stream.transport.abort()
    return {"opened": opened, "refused": refused, "open_still": open_still, "seconds": round(time.monotonic() - began, 3)}


async def killed_in_the_middle(session, _uri, size=50_000):
    """In the session: half of a SEND, then the connection is torn off."""
    data = of(session, b"k" * size, extent=f"1-*/{size}").encode()
    connection = session.connection
    connection.writer.raw(data[:len(data) // 2])
    await connection.writer.flush()
    connection.abort()
    return {}


async def ranges_in_characters(session, _uri, text="héllo 😀"):
    """In the session: Byte-Range counts characters, as the recorded SDK does."""
    return await _each(session, [of(session, text.encode(), extent=f"1-{len(text)}/{len(text)}")])


async def unknown_method(session, _uri, method="NICKNAME"):
    """In the session: NICKNAME, FILE_OFFSET, or whatever is named."""
    more = [("Use-Nickname", '"Romeo"')] if method == "NICKNAME" else []
    frame = Frame(new_tid(), method, headers=session.paths() + more)
    return await _each(session, [frame])


async def silent(session, _uri):
    """In the session: from now on nothing is answered."""
    session.manner.answer = "never"
    session.manner.reports = "never"
    return {}


async def broken_reports(session, _uri):
    """In the session: REPORTs on nothing, without Status, with ranges beyond their message. None may be answered."""
    paths = session.paths()
    kinds = [[("Message-ID", new_ident()), ("Byte-Range", "1-10/10"), ("Status", "000 200 OK")],
             [("Message-ID", new_ident()), ("Byte-Range", "1-10/10")],
             [("Status", "000 200 OK")],
             [("Message-ID", new_ident()), ("Byte-Range", "9-1/x"), ("Status", "999 999")]]
    kinds += [[("Message-ID", name), ("Byte-Range", f"1-{10 ** 30}/7"), ("Status", "000 200")] for name in session.outgoing]
    return await _each(session, [Frame(new_tid(), "REPORT", headers=paths + kind) for kind in kinds[:8]], 0.3)


async def broken_requests(session, _uri):
    """In the session: without Message-ID, without a type, of a type that nobody wants, the paths swapped."""
    frames = [of(session) for _number in range(4)]
    frames[0].headers = [header for header in frames[0].headers if header[0] != "Message-ID"]
    frames[1].headers = frames[1].headers[:-1]
    frames[2].headers[-1] = ("Content-Type", "application/x-nobody-wants-this")
    frames[3].headers[:2] = frames[3].headers[1::-1]
    return await _each(session, frames)


async def answers_to_nothing(session, _uri, count=100):
    """In the session: responses that nobody waits for."""
    for _number in range(count):
        session.connection.writer.frame(Frame(new_tid(), None, 200, "OK", session.paths()))
    await session.connection.writer.flush()
    return await _each(session, [of(session)])


async def not_msrp(_session, uri):
    """Somebody else's protocol."""
    async with Raw.to(uri) as raw:
        await raw.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return await raw.listen(3)


async def many_ids(session, _uri, size=1000):
    """In the session: a Message-ID far beyond 32 characters, and one with what may not be in it."""
    return await _each(session, [of(session, name="i" * size), of(session, name="a b\tc<d>")])


ALL = {entry.__name__: entry for entry in (
    header_flood, one_long_header, wrong_session, guess_session, second_connection, range_overflow, end_line_in_body,
    never_finished, slow_writer, half_open, killed_in_the_middle, ranges_in_characters, unknown_method, silent, broken_reports,
    broken_requests, answers_to_nothing, not_msrp, many_ids)}
