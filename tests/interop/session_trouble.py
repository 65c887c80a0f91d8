"""Chat sessions in trouble: refused, cut off, restarted, with a peer that means harm (see `session_scenes.py`)."""

import os
import secrets
import subprocess
import sys

import processes
from processes import Missed
from session_steps import (another_device, exactly_once, fresh, in_session, known, opened, opened_by_xmpp, says, session_scene,
                           there_and_back)


def refused(how, **answer):
    """`how`: what the phone does, in words."""
    @session_scene
    def played(c):
        known(c)
        c.phone.do("answer", **answer)
        since = c.phone.mark()
        texts = [says(f"Refused {number}") for number in range(3)]
        for text in texts:
            c.client.message(c.romeo.jid, text)
        # The slowest is the phone that takes the call and then says nothing: 30 s for a SEND.
        exactly_once(c, texts, since, 60)
        if any(event["via"] != "message" for event in c.phone.found(lambda event: event.get("message") in texts, since)):
            raise Missed("a text came in a session that was refused")
        text = says("And after")
        c.client.message(c.romeo.jid, text)
        exactly_once(c, [text], since)
        calls = c.phone.found(lambda event: event.get("state") == "offered", since)
        if len(calls) != 1:
            raise Missed(f"{len(calls)} INVITEs, not one")
    played.__doc__ = f"The phone {how}: the texts come as MESSAGEs, once, in order, and no INVITE follows."
    return played


@session_scene
def killed_connection(c):
    """The MSRP connection dies: what was not confirmed comes by another way, once, and the SIP user opens another session."""
    call = opened(c)
    there_and_back(c, call)
    c.phone.do("manner", call=call, answer="never", reports="never")
    begin = c.phone.mark()
    texts = [says(f"Lost? {number}") for number in range(3)]
    for text in texts:
        c.client.message(c.romeo.jid, text)
        in_session(c, call, text)
    since = c.phone.mark()
    c.phone.do("drop", call=call)
    c.phone.do("manner")
    exactly_once(c, texts, since)
    c.phone.wait_state("ended", call)
    if c.phone.found(lambda event: "broken" in event, begin):
        raise Missed("the phone itself broke")
    there_and_back(c, opened(c))


@session_scene
def killed_in_the_middle(c):
    """The SIP user's connection dies within a SEND: nothing of it is shown, and he opens another session."""
    call, since = opened(c), c.client.mark()
    c.phone.do("misbehave", what="killed_in_the_middle", call=call)
    c.phone.wait_state("ended", call)
    there_and_back(c, opened(c))
    if any("kkkk" in body for body in c.client.bodies(c.romeo.jid, since)):
        raise Missed("half a message was shown")


def restarts(stop):
    @session_scene
    def played(c):
        call = opened(c)
        there_and_back(c, call)
        if stop and not c.gateway.stop():
            raise Missed("the gateway did not end by itself with status 0")
        if not stop:
            c.gateway.kill()
        c.phone.wait("the end of the session", lambda event: event.get("call") == call and (
            "lost" in event or event.get("state") == "ended"))
        if stop and not c.phone.found(lambda event: event.get("call") == call and event.get("state") == "ended"):
            raise Missed("the gateway went without a BYE")
        c.gateway.start()
        since, text = c.phone.mark(), says("After the night")
        c.client.message(c.romeo.jid, text)
        exactly_once(c, [text], since)
        there_and_back(c, opened(c))
    how = "stops: the session ends with a BYE" if stop else "is killed in the middle of a session"
    played.__doc__ = f"The gateway {how}; when it is back, texts arrive and sessions open."
    return played


@session_scene
def bad_peers(c):
    """Everything that a bad peer does to a session, while a good one goes on beside it."""
    good = opened(c)
    # Another device: a newer session of the same one would replace the good one.
    another_device(c)
    expected = {"wrong_session": {481}, "second_connection": {506}, "unknown_method": {501}, "ranges_in_characters": {200}}
    for what in ("wrong_session", "guess_session", "second_connection", "unknown_method", "ranges_in_characters", "many_ids",
                 "broken_requests", "broken_reports", "answers_to_nothing", "range_overflow", "never_finished", "not_msrp",
                 "header_flood", "one_long_header", "slow_writer", "half_open", "end_line_in_body", "silent"):
        bad = opened(c, own=True)
        found = c.phone.do("misbehave", what=what, call=bad, seconds=60)
        statuses = set(found.get("statuses", []))
        if what in expected and statuses != expected[what]:
            raise Missed(f"{what}: answered {found['statuses']}")
        if found.get("taken"):
            raise Missed(f"{what}: {found['taken']} guesses were right")
        if not c.gateway.child.alive() or c.gateway.get("/readyz")[0] != 200:
            raise Missed(f"{what}: the gateway is not ready any more")
        if c.phone.do("state")["calls"][good] != "open":
            raise Missed(f"{what}: the good session is {c.phone.do('state')['calls'][good]}")
        c.phone.do("bye", call=bad)
    there_and_back(c, good)


@session_scene
def forbidden_paths(c):
    """An a=path that points where the gateway must not connect: refused, and nothing is sent there."""
    for path in ("msrp://169.254.169.254:80/abcdefghijklmnop;tcp", f"msrp://127.0.0.1:{c.gateway.port}/abcdefghijklmnop;tcp",
                 "msrp://0.0.0.0:2855/abcdefghijklmnop;tcp", "msrp://[::ffff:169.254.169.254]:80/abcdefghijklmnop;tcp"):
        # The phone, as the passive answerer, waits for the gateway to connect.
        known(c)
        c.phone.do("answer", path=path)
        since, text = c.phone.mark(), says("Thither?")
        c.client.message(c.romeo.jid, text)
        exactly_once(c, [text], since)
        fresh(c)
    if "169.254.169.254" not in c.gateway.log():
        raise Missed("no word in the log of the address that was refused")


class Relay:
    """`msrp_relay.py`, with a certificate of its own for 127.0.0.1."""

    user = "mostar"

    def __init__(self, place):
        self.place, self.port, self.password = place, processes.free_port(), secrets.token_hex(8)
        self.uri = f"msrps://127.0.0.1:{self.port}"
        self.certificate, self.key = place.path("relay.pem"), place.path("relay-key.pem")
        self.secret = place.write("relay-secret", self.password + "\n")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=relay",
             "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE",
             "-keyout", self.key, "-out", self.certificate], check=True, capture_output=True)

    def start(self):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "msrp_relay.py")
        self.child = processes.Talker(
            "relay", [sys.executable, script, "--port", self.port, "--certificate", self.certificate, "--key", self.key,
                      "--user", self.user], self.place.folder, {"MSRP_RELAY_PASSWORD": self.password})
        self.child.events.wait("the relay is ready", lambda event: "ready" in event)

    def wait_forwarded(self, outwards):
        self.child.events.wait("a SEND through the relay",
                               lambda event: event.get("forwarded") == "SEND" and event["outwards"] == outwards)


def restart_with(c, relay):
    c.gateway.stop()
    c.gateway.configure(relay)
    c.gateway.start()


@session_scene
def own_relay(c):
    """Sessions of both sides through a relay of the gateway's; without the relay texts come as MESSAGEs, and with it again
    sessions open."""
    relay = Relay(c.gateway.place)
    relay.start()
    restart_with(c, relay)
    try:
        call = opened(c, tls=True)
        there_and_back(c, call)
        relay.wait_forwarded(True)
        relay.wait_forwarded(False)
        c.phone.do("bye", call=call)
        call = opened_by_xmpp(c)
        there_and_back(c, call)
        since, text = c.phone.mark(), says("Without a relay")
        relay.child.kill()
        c.phone.wait_state("ended", call)
        c.client.message(c.romeo.jid, text)
        exactly_once(c, [text], since)
        relay.start()
        another_device(c)
        there_and_back(c, opened(c, tls=True))
    finally:
        restart_with(c, None)
        relay.child.kill()
