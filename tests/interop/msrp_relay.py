#!/usr/bin/python3
"""A small MSRP relay (RFC 4976), to go through: AUTH with digest, one URI for each session, forwarding both ways.

It deliberately knows one user, no other relays on its own side, and no limits. It tells what happens, one JSON object a line:

    tests/interop/msrp_relay.py --port 2855 --certificate c.pem --key k.pem --user mostar [--expires 900]

The password is in MSRP_RELAY_PASSWORD.
"""

import argparse
import asyncio
import hashlib
import hmac
import json
import os
import re
import secrets
import ssl

from chat.wire import Broken, Decoder, Frame, Uri, new_tid

REALM = "relay"
PIECE = 256 * 1024


def tell(**event):
    print(json.dumps(event), flush=True)


class Link:
    """A connection, whoever opened it."""

    def __init__(self, relay, reader, stream):
        self.relay, self.reader, self.stream = relay, reader, stream
        # Our transactions on it: who asked, for a failure REPORT.
        self.pending = {}

    async def run(self):
        decoder = Decoder()
        try:
            while data := await self.reader.read(PIECE):
                for frame in decoder.feed(data):
                    await self.relay.received(self, frame)
        except (OSError, ssl.SSLError, Broken, ValueError) as error:
            tell(broken=str(error))
        self.relay.gone(self)
        self.stream.close()

    def send(self, frame):
        if not self.stream.is_closing():
            self.stream.write(frame.encode())


class Relay:
    def __init__(self, host, port, user, password, expires):
        self.host, self.port, self.user, self.password, self.expires = host, port, user, password, expires
        self.nonces = set()
        # Session of each URI that we gave out → the client's connection (§6.3: it is good on that one alone).
        self.grants = {}
        # Scheme, host and port → a connection that we opened; a whole URI → the one over which it came to us.
        self.opened, self.came = {}, {}
        self.tasks = set()

    def accepted(self, reader, stream):
        self.start(Link(self, reader, stream))

    def start(self, link):
        task = asyncio.get_running_loop().create_task(link.run())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return link

    def gone(self, link):
        self.grants = {session: client for session, client in self.grants.items() if client is not link}
        self.opened = {key: other for key, other in self.opened.items() if other is not link}
        self.came = {key: other for key, other in self.came.items() if other is not link}

    async def received(self, link, frame):
        if frame.status is not None:
            return self.answered(link, frame)
        to = frame.path("To-Path")
        if frame.method == "AUTH":
            return self.auth(link, frame, to)
        client = self.grants.get(to[0].session)
        if client is None or len(to) < 2:
            return self.respond(link, frame, 481, "No Such Session")
        # §6.4: from the client outwards, or from anywhere to the client.
        try:
            if link is not client:
                self.came[frame.path("From-Path")[0].key] = link
            onward = await self.link_to(to[1]) if link is client else client
        except OSError as error:
            tell(unreachable=str(to[1]), why=str(error))
            return self.respond(link, frame, 408, "Nobody There")
        if frame.method == "SEND" and frame.get("Failure-Report") not in ("no", "partial"):
            self.respond(link, frame, 200, "OK")
        headers = [(name, value) for name, value in frame.headers if name.lower() not in ("to-path", "from-path")]
        paths = [("To-Path", " ".join(str(uri) for uri in to[1:])), ("From-Path", f"{to[0]} {frame.get('From-Path')}")]
        tid = new_tid(frame.body or b"")
        onward.pending[tid] = (link, frame, to[0])
        onward.send(Frame(tid, frame.method, headers=paths + headers, body=frame.body, flag=frame.flag))
        tell(forwarded=frame.method, outwards=link is client)

    async def link_to(self, uri):
        found = self.came.get(uri.key) or self.opened.get(uri.key[:3])
        if found is None:
            context = None
            if uri.secure:
                # Phones vouch for themselves; a relay has not seen their SDP.
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            found = self.opened[uri.key[:3]] = self.start(
                Link(self, *await asyncio.open_connection(uri.address, uri.port, ssl=context)))
        return found

    def answered(self, link, frame):
        """A hop answers for itself; what failed later is reported to who sent it (§6.5)."""
        origin, sent, own = link.pending.pop(frame.tid, (None, None, None))
        if origin is None or frame.status == 200 or sent.method != "SEND" or sent.get("Failure-Report") == "no":
            return
        headers = [("To-Path", sent.get("From-Path")), ("From-Path", str(own)), ("Message-ID", sent.get("Message-ID")),
                   ("Byte-Range", sent.get("Byte-Range") or "1-*/*"), ("Status", f"000 {frame.status}")]
        origin.send(Frame(new_tid(), "REPORT", headers=headers))

    def respond(self, link, frame, status, comment, more=()):
        if frame.method == "REPORT":
            return
        headers = [("To-Path", frame.get("From-Path").split(" ")[0]), ("From-Path", frame.get("To-Path").split(" ")[0])]
        link.send(Frame(frame.tid, None, status, comment, headers + list(more)))

    def auth(self, link, frame, to):
        given = dict(re.findall(r'(\w+)="?([^",]*)"?', frame.get("Authorization") or ""))
        if not given:
            tell(auth="challenged")
            return self.challenge(link, frame)
        if given.get("nonce") not in self.nonces or not self.is_right(given, str(to[-1])):
            tell(auth="refused")
            return self.respond(link, frame, 403, "Forbidden")
        self.nonces.discard(given["nonce"])
        session = secrets.token_hex(12)
        self.grants[session] = link
        tell(auth="granted")
        use = Uri.of(self.host, self.port, session, True)
        expires = min(int(frame.get("Expires") or self.expires), self.expires)
        self.respond(link, frame, 200, "OK", [("Use-Path", str(use)), ("Expires", str(expires))])

    def challenge(self, link, frame):
        nonce = secrets.token_hex(12)
        self.nonces.add(nonce)
        value = f'Digest realm="{REALM}", qop="auth", nonce="{nonce}"'
        self.respond(link, frame, 401, "Unauthorized", [("WWW-Authenticate", value)])

    def is_right(self, given, uri):
        """RFC 2617 with qop=auth; the URI is the last one of To-Path (§9.1)."""
        def hashed(*parts):
            return hashlib.md5(":".join(parts).encode()).hexdigest()
        need = ("username", "realm", "nonce", "uri", "qop", "nc", "cnonce", "response")
        if any(name not in given for name in need) or given["uri"] != uri or given["username"] != self.user:
            return False
        first, second = hashed(self.user, REALM, self.password), hashed("AUTH", uri)
        right = hashed(first, given["nonce"], given["nc"], given["cnonce"], given["qop"], second)
        return hmac.compare_digest(right, given["response"])


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--expires", type=int, default=900)
    options = parser.parse_args()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.certificate, options.key)
    relay = Relay(options.host, options.port, options.user, os.environ["MSRP_RELAY_PASSWORD"], options.expires)
    server = await asyncio.start_server(relay.accepted, options.host, options.port, ssl=context, limit=PIECE)
    tell(ready=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
