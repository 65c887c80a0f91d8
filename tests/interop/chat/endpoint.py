"""An MSRP endpoint: listeners and connections, of any number of sessions (RFC 4975 §5.4; RFC 6135 for who connects)."""

import asyncio
import hashlib
import ssl

from .sending import Writer
from .session import Session
from .wire import Broken, Decoder, Frame, Uri, must, new_ident

# How long a SEND waits for its 200 (§7.1.1).
PATIENCE = 30
# The active side must send at once (§5.4); this long is not at once any more.
AT_ONCE = 5
# What is read at a time.
PIECE = 256 * 1024


class Connection:
    """A TCP or TLS connection, of any number of sessions."""

    def __init__(self, endpoint, reader, stream, remote=None):
        """`remote`: the URI that we connected to; None: somebody connected to us."""
        self.endpoint, self.remote, self.reader, self.stream = endpoint, remote, reader, stream
        self.sessions, self.transactions, self.decoder = [], {}, Decoder()
        self.closing = False
        self.writer = Writer(stream, self._track, self._end)
        self.task = asyncio.get_running_loop().create_task(self._read())

    def _track(self, tid, transaction):
        self.transactions[tid] = transaction
        message = transaction.message
        if message is None:
            return
        if message.failure in ("no", "partial"):
            message.open -= 1
            return
        transaction.timer = asyncio.get_running_loop().call_later(
            self.endpoint.patience, transaction.session.unanswered, transaction)

    async def _read(self):
        why = "closed by the peer"
        try:
            while data := await self.reader.read(PIECE):
                for frame in self.decoder.feed(data):
                    self.endpoint.received(self, frame)
            if not self.decoder.empty:
                why = "closed by the peer in the middle of a frame"
        except Broken as error:
            why = f"broken: {error}"
            for session in self.sessions:
                session.complain(must("RFC 4975 §9", str(error)))
        except (OSError, ssl.SSLError) as error:
            why = f"reading: {error}"
        self._end(why)

    def _end(self, why):
        if self.closing:
            return
        self.closing = True
        for transaction in self.transactions.values():
            if transaction.timer:
                transaction.timer.cancel()
        self.endpoint.connections.discard(self)
        self.writer.task.cancel()
        self.stream.close()
        for session in list(self.sessions):
            session.lost(why)

    async def close(self):
        """Says what is left to say, then goes."""
        try:
            await asyncio.wait_for(self.writer.flush(), 2)
        except TimeoutError:
            pass
        self.sessions.clear()
        self._end("closed by us")
        self.task.cancel()

    def abort(self):
        """Without a word: RST."""
        self.stream.transport.abort()


class Endpoint:
    """Everybody's sessions at one host."""

    def __init__(self, host="127.0.0.1", certificate=None, key=None, authorities=None, tell=lambda event: None):
        """`certificate` and `key`: files, for TLS; `authorities`: whom we believe where no fingerprint is named."""
        self.host, self.certificate, self.key, self.authorities = host, certificate, key, authorities
        self.tell, self.patience = tell, PATIENCE
        self.sessions, self.connections, self.servers, self.ports = {}, set(), [], {}

    async def start(self, secure=False, port=0):
        context = None
        if secure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate, self.key)
        server = await asyncio.start_server(self._accepted, self.host, port, ssl=context, limit=PIECE)
        self.servers.append(server)
        self.ports[secure] = server.sockets[0].getsockname()[1]
        return self.ports[secure]

    async def stop(self):
        for server in self.servers:
            server.close()
        for connection in list(self.connections):
            connection.sessions.clear()
            connection._end("we stop")
            connection.task.cancel()

    def fingerprint(self):
        """Of our certificate, as a=fingerprint has it (RFC 4975 §14.4)."""
        with open(self.certificate, encoding="ascii") as file:
            return fingerprint_of(ssl.PEM_cert_to_DER_cert(file.read()))

    def session(self, tell, secure=False, **options):
        """A new session with a URI of its own (§8.2)."""
        name = new_ident().replace("%", "-")
        uri = Uri.of(self.host, self.ports.get(secure, 9), name, secure)
        session = self.sessions[name] = Session(self, uri, tell, **options)
        return session

    async def connection_to(self, uri, fingerprint=None, anew=False):
        """One that is there, or a new one (§5.4)."""
        for connection in self.connections:
            if not anew and connection.remote is not None and connection.remote.key[:3] == uri.key[:3]:
                return connection
        context = None
        if uri.secure:
            context = ssl.create_default_context(cafile=self.authorities)
            if fingerprint is not None or self.authorities is None:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
        reader, stream = await asyncio.open_connection(uri.address, uri.port, ssl=context, limit=PIECE)
        if uri.secure and fingerprint is not None:
            shown = fingerprint_of(stream.get_extra_info("ssl_object").getpeercert(True), fingerprint.split()[0])
            if shown.lower() != " ".join(fingerprint.split()).lower():
                stream.close()
                raise ConnectionError(f"the certificate is {shown}, but the SDP says {fingerprint}")
        connection = Connection(self, reader, stream, uri)
        self.connections.add(connection)
        return connection

    def _accepted(self, reader, stream):
        connection = Connection(self, reader, stream)
        self.connections.add(connection)
        self.tell({"accepted": "%s:%s" % stream.get_extra_info("peername")[:2]})

        def late():
            if not connection.sessions and not connection.closing and connection in self.connections:
                self.tell({"complaint": f"connected, and sent nothing for {AT_ONCE} s", "level": "must",
                           "section": "RFC 4975 §5.4"})
        asyncio.get_running_loop().call_later(AT_ONCE, late)

    def received(self, connection, frame):
        if frame.status is not None:
            transaction = connection.transactions.get(frame.tid)
            if transaction is None:
                self.tell({"complaint": f"an answer to nothing: {frame}", "level": "must", "section": "RFC 4975 §7.2"})
            else:
                transaction.session.response(frame, transaction)
            return
        try:
            session = self.sessions.get(frame.path("To-Path")[0].session)
        except ValueError as error:
            session = None
            self.tell({"complaint": f"{frame}: {error}", "level": "must", "section": "RFC 4975 §9"})
        if session is None:
            self.tell({"refused": 481, "to": frame.get("To-Path")})
            return self._refuse(connection, frame, 481, "No Such Session")
        if session.connection is None and not session.active:
            self._bind(session, connection)
        if session.connection is not connection:
            self.tell({"refused": 506, "to": frame.get("To-Path")})
            return self._refuse(connection, frame, 506, "On Another Connection")
        session.request(frame, connection)

    def _bind(self, session, connection):
        session.connection = connection
        connection.sessions.append(session)
        session.tell(bound=str(session.uri))
        session.bound.set()

    def _refuse(self, connection, frame, code, comment):
        if frame.method == "REPORT" or frame.get("Failure-Report") == "no":
            return
        headers = [("To-Path", (frame.get("From-Path") or "").split(" ")[0]),
                   ("From-Path", (frame.get("To-Path") or "").split(" ")[-1])]
        connection.writer.frame(Frame(frame.tid, None, code, comment, headers))


def fingerprint_of(der, method="SHA-256"):
    digest = hashlib.new(method.lower().replace("-", ""), der).hexdigest().upper()
    return f"{method} " + ":".join(digest[at:at + 2] for at in range(0, len(digest), 2))
