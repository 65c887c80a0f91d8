"""Chat sessions, played by any XMPP client with the chat phone.

Each scene begins with no call open and ends with a look at what the phone complains of: a rule that the gateway broke is
a miss, whatever else went well.
"""

import time

import processes
import scenes
import session_trouble
from chat.phone import filler
from processes import Missed
from session_steps import (LONG, another_device, arrives, exactly_once, in_session, known, opened, opened_by_xmpp, says,
                           session_scene, there_and_back)

RECEIPT = "<request xmlns='urn:xmpp:receipts'/>"
MARKABLE = "<markable xmlns='urn:xmpp:chat-markers:0'/>"
STATES = "http://jabber.org/protocol/chatstates"


# Opening and ending.

@session_scene
def from_sip(c):
    """The SIP user opens a session: it is answered at once, texts go both ways, and the BYE is answered."""
    call = opened(c)
    there_and_back(c, call)
    if c.phone.do("bye", call=call)["status"] != 200:
        raise Missed("the BYE was not answered with 200")


@session_scene
def from_xmpp(c):
    """The XMPP user writes to a phone that shows MSRP: a session opens, and texts go both ways in it."""
    c.phone.do("device", name="new")
    there_and_back(c, opened_by_xmpp(c))


@session_scene
def unknown_phone(c):
    """A phone of which nothing is known gets its text as a MESSAGE at once, and no INVITE rings it."""
    c.phone.do("device", name="old")
    c.phone.do("pager", msrp=False)
    since = c.phone.mark()
    text = says("Hark")
    c.client.message(c.romeo.jid, text)
    c.phone.wait_message(c.juliet.uri, text, 5)
    if c.phone.found(lambda event: event.get("state") == "offered", since):
        raise Missed("an INVITE came to a phone that has shown no MSRP")


@session_scene
def ends(c):
    """BYE comes to the XMPP user as gone, and her gone hangs up."""
    call = opened(c)
    there_and_back(c, call)
    c.client.chat(c.romeo.jid, None, f"<active xmlns='{STATES}'/>")
    since = c.client.mark()
    c.phone.do("bye", call=call)
    c.client.wait("gone", lambda s: s.kind == "message" and s.bare == c.romeo.jid and s.has("gone"), since=since)
    call = opened(c)
    there_and_back(c, call)
    c.client.chat(c.romeo.jid, None, f"<gone xmlns='{STATES}'/>")
    c.phone.wait_state("ended", call)


@session_scene
def unknown_user(c):
    """A session with an XMPP user who does not exist is refused with 404."""
    status = c.phone.do("invite", to=f"sip:nobody@{c.juliet.domain}")["status"]
    if status != 404:
        raise Missed(f"the INVITE was answered {status}")


@session_scene
def blocked(c):
    """Whom the XMPP user blocks gets no session, and one again when she lets him."""
    def ask(action):
        since = c.client.mark()
        c.client.raw(f"<iq type='set' id='{action}'><{action} xmlns='urn:xmpp:blocking'><item jid='{c.romeo.jid}'/></{action}></iq>")
        c.client.wait(f"an answer to {action}", lambda s: s.kind == "iq" and s.id == action and s.type == "result", since=since)

    ask("block")
    try:
        status = c.phone.do("invite", to=c.juliet.uri)["status"]
    finally:
        ask("unblock")
    if status != 404:
        raise Missed(f"the INVITE was answered {status}")
    there_and_back(c, opened(c))


@session_scene
def away(c):
    """The XMPP user is away: the session is taken, what is written is kept for her, and nothing else is."""
    c.client.offline()
    try:
        call = opened(c)
        text = says("When thou art back")
        if c.phone.do("say", call=call, text=text)["status"] != 200:
            raise Missed("the SEND was refused")
    finally:
        c.client.online()
    c.client.wait_message(c.romeo.jid, text)


@session_scene
def offers(c):
    """Audio beside the chat, several message lines, no SDP, no a=setup, an active offerer: the chat is taken."""
    for shape in ({"audio": "before"}, {"audio": "after", "lines": 2}, {"late": True}, {"setup": "none"}, {"setup": "active"}):
        since = c.phone.mark()
        call = opened(c, **shape)
        lines = next(iter(c.phone.found(lambda event: "lines" in event, since)), None)
        if lines and sum(port != 0 for port in lines["lines"]) != 1:
            raise Missed(f"of {shape} were taken: {lines['lines']}")
        there_and_back(c, call)
        c.phone.do("bye", call=call)


@session_scene
def tls(c):
    """An offer of msrps, with the fingerprint of a certificate that nobody signed: the chat is taken."""
    there_and_back(c, opened(c, tls=True))


@session_scene
def changes(c):
    """Refreshed by UPDATE and re-INVITE, held, resumed, moved to another path: the session goes on."""
    call = opened(c)
    for method, options in (("UPDATE", {"refresh": True}), ("INVITE", {"refresh": True}), ("INVITE", {"hold": True}),
                            ("INVITE", {"hold": False}), ("INVITE", {"anew": True})):
        status = c.phone.do("change", call=call, method=method, **options)["status"]
        if status != 200:
            raise Missed(f"{method} {options} was answered {status}")
    there_and_back(c, call)


@session_scene
def forks(c):
    """Two devices of the SIP user answer: one keeps the session, the other is hung up, and texts come once."""
    known(c)
    c.phone.do("answer", mode="fork")
    since = c.phone.mark()
    texts = [says("To whom?"), says("To one")]
    for text in texts:
        c.client.message(c.romeo.jid, text)
    exactly_once(c, texts, since)
    c.phone.wait_state("ended")


# What a session carries.

def long_text(size):
    @session_scene
    def played(c):
        call = opened(c)
        text = filler(size)
        for plan in ({}, {"size": 2048}, {"whole": True}, {"total": False, "size": 2048}):
            since = c.client.mark()
            said = c.phone.do("say", call=call, text=text, **plan)
            if said["status"] != 200:
                raise Missed(f"sent as {plan or 'few chunks'}: answered {said['status']}")
            arrives(c, text, since)
        c.client.chat(c.romeo.jid, text)
        in_session(c, call, text)
    played.__doc__ = f"{size // 1000} kB go both ways: in few chunks, in small ones, in one, with an unknown total."
    return played


@session_scene
def quick_lines(c):
    """200 lines written at once come in order, both ways."""
    call = opened(c)
    since, begin = c.client.mark(), c.phone.mark()
    word = says("line")
    c.phone.do("say", call=call, text=word + " {}", count=200)
    expected = [f"{word} {number}" for number in range(200)]
    mine = lambda: [body for body in c.client.bodies(c.romeo.jid, since) if body.startswith(word)]
    processes.wait("200 lines at the XMPP client", lambda: len(mine()) >= 200, 30)
    if mine() != expected:
        raise Missed("the lines to XMPP are not in order, or not once")
    for text in expected:
        c.client.message(c.romeo.jid, text)
    exactly_once(c, expected, begin)


@session_scene
def two_at_once(c):
    """A long text does not keep a short one waiting, and neither is mixed up."""
    call = opened(c)
    since, text, short = c.client.mark(), filler(LONG), says("short")
    first = c.phone.tell("say", call=call, text=text)
    second = c.phone.tell("say", call=call, text=short)
    c.phone.end(first)
    c.phone.end(second)
    c.client.wait_message(c.romeo.jid, short, since)
    arrives(c, text, since)


@session_scene
def without_responses(c):
    """Texts with Failure-Report: no and partial arrive, and get no 200; one that is broken off does not arrive."""
    call = opened(c)
    for failure in ("no", "partial"):
        since, text = c.client.mark(), says(f"Failure-Report: {failure}")
        c.phone.do("say", call=call, text=text, failure=failure)
        arrives(c, text, since)
    since = c.client.mark()
    c.phone.do("say", call=call, text="broken off " * 1000, size=2048, abort=4096)
    there_and_back(c, call)
    if any("broken off" in body for body in c.client.bodies(c.romeo.jid, since)):
        raise Missed("a message was shown that ended with #")


@session_scene
def shared_connection(c):
    """Two devices share an MSRP connection: each has its session, and texts go into the one that wrote last."""
    first = opened(c)
    another_device(c)
    second = opened(c)
    for call in (first, second, first):
        there_and_back(c, call)
    c.phone.do("bye", call=second)
    there_and_back(c, first)


@session_scene
def typing(c):
    """Typing shows on both sides, and ends."""
    call = opened(c)
    there_and_back(c, call)
    c.client.chat(c.romeo.jid, says("I write"), f"<active xmlns='{STATES}'/>")
    for state, shown in (("active", "composing"), ("idle", None)):
        since = c.client.mark()
        c.phone.do("typing", call=call, state=state, refresh=60 if state == "active" else None)
        c.client.wait(f"the chat state for {state}", lambda s: s.kind == "message" and s.bare == c.romeo.jid and (
            s.has("composing") if shown else s.has("active") or s.has("paused")), since=since)
    for state, shown in (("composing", "active"), ("paused", "idle")):
        begin = c.phone.mark()
        c.client.chat(c.romeo.jid, None, f"<{state} xmlns='{STATES}'/>")
        c.phone.wait(f"isComposing for {state}",
                     lambda event: event.get("typing") == shown and event.get("call") == call, since=begin)


def confirms(c, stanza):
    """The XMPP client has a message. Some clients say so by themselves; said twice it is still one receipt."""
    if not stanza.has("request"):
        raise Missed("the message asks for no receipt")
    c.client.chat(stanza.sender, None, f"<received xmlns='urn:xmpp:receipts' id='{stanza.id}'/>")


@session_scene
def receipts(c):
    """A receipt that was asked for comes, both ways; none comes unasked."""
    call = opened(c)
    there_and_back(c, call)
    begin, since, text = c.phone.mark(), c.client.mark(), says("Hast thou it?")
    said = c.phone.do("say", call=call, text=text, success=True)
    confirms(c, c.client.wait_message(c.romeo.jid, text, since))
    reported = lambda event: event.get("report") == said["ids"][0] and event["status"] == 200
    c.phone.wait("a success REPORT", reported, 30, begin)
    since = c.client.mark()
    name = c.client.chat(c.romeo.jid, says("And thou?"), RECEIPT)
    received = lambda name: lambda s: s.kind == "message" and s.bare == c.romeo.jid and s.has("received", "id", name)
    c.client.wait("a receipt", received(name), since=since)
    c.phone.do("manner", call=call, reports="never")
    since = c.client.mark()
    text = says("Nor this?")
    name = c.client.chat(c.romeo.jid, text, RECEIPT)
    in_session(c, call, text)
    time.sleep(2)
    if c.client.child.events.find(lambda event: "stanza" in event and received(name)(c.client.stanza(event)), since):
        raise Missed("a receipt was invented")
    if len(c.phone.found(reported, begin)) != 1:
        raise Missed("several REPORTs on one message")


@session_scene
def pager_receipts(c):
    """Without a session: typing, a delivery that the SIP user asks for by IMDN, and one that the XMPP user asks for."""
    another_device(c)
    c.phone.do("pager", msrp=False, notify=["delivery"])
    since = c.client.mark()
    c.phone.do("typing", to=c.juliet.uri, state="active", refresh=60)
    c.client.wait("composing", lambda s: s.kind == "message" and s.bare == c.romeo.jid and s.has("composing"), since=since)
    begin, text = c.phone.mark(), says("By courier")
    sent = c.phone.do("message", to=c.juliet.uri, text=text, imdn=["positive-delivery"])
    confirms(c, c.client.wait_message(c.romeo.jid, text, since))
    delivered = lambda event: event.get("of") == sent["imdn_id"] and event["status"] == "delivered"
    c.phone.wait("an IMDN: delivered", delivered, since=begin)
    since = c.client.mark()
    name = c.client.chat(c.romeo.jid, says("And back"), RECEIPT)
    c.client.wait("a receipt", lambda s: s.kind == "message" and s.has("received", "id", name), since=since)
    if len(c.phone.found(delivered, begin)) != 1:
        raise Missed("several notifications for one message")


@session_scene
def odd_reports(c):
    """REPORTs in pieces, overlapping and out of order make one receipt, once all bytes are covered."""
    call = opened(c)
    for kind in ("each", "odd"):
        c.phone.do("manner", call=call, reports=kind)
        since = c.client.mark()
        name = c.client.chat(c.romeo.jid, filler(9000), RECEIPT)
        received = lambda s: s.kind == "message" and s.has("received", "id", name)
        c.client.wait("a receipt", received, since=since)
        time.sleep(0.5)
        count = sum("stanza" in event and received(c.client.stanza(event)) for event in c.client.child.events.list[since:])
        if count != 1:
            raise Missed(f"{count} receipts for REPORTs in the manner {kind!r}")


@session_scene
def failed_reports(c):
    """A failure REPORT after the 200 comes to the XMPP user as an error on her message."""
    call = opened(c)
    there_and_back(c, call)
    c.phone.do("manner", call=call, reports=408)
    since = c.client.mark()
    name = c.client.chat(c.romeo.jid, says("Will it arrive?"), RECEIPT)
    c.client.wait("an error", lambda s: s.kind == "message" and s.type == "error" and s.id == name, 40, since)


@session_scene
def markers(c):
    """What the SIP user wants to know as displayed is marked so, and the other way round."""
    call = opened(c, wrapped=["*"])
    since, text = c.client.mark(), says("Read this")
    c.phone.do("say", call=call, text=text, imdn=["positive-delivery", "display"], imdn_id="markers1")
    stanza = c.client.wait_message(c.romeo.jid, text, since)
    if not stanza.has("markable"):
        raise Missed("the message is not markable")
    begin = c.phone.mark()
    c.client.chat(stanza.sender, None, f"<displayed xmlns='urn:xmpp:chat-markers:0' id='{stanza.id}'/>")
    c.phone.wait("an IMDN: displayed",
                 lambda event: event.get("of") == "markers1" and event["status"] == "displayed", since=begin)
    begin, since = c.phone.mark(), c.client.mark()
    text = says("And this")
    name = c.client.chat(c.romeo.jid, text, MARKABLE)
    seen = in_session(c, call, text)
    c.phone.do("notify", call=call, of=seen["imdn_id"] or seen["id"], kind="display")
    c.client.wait("a displayed marker", lambda s: s.kind == "message" and s.has("displayed", "id", name), since=since)


@session_scene
def as_recorded(c):
    """Texts as the recorded client writes them – ranges in characters, bare line feeds, a strange charset – are understood."""
    call = opened(c)
    for text in (says("ASCII"), says("Nurse's “anon” ü 🌙"), "Zeile ü\n" * 4000):
        since = c.client.mark()
        said = c.phone.do("say", call=call, text=text, loose=True, success=True)
        if said["status"] != 200:
            raise Missed(f"answered {said['status']}")
        arrives(c, text, since)


ALL = [
    # First, while the gateway knows nothing of the phone.
    ("unknown phone", unknown_phone),
    ("session XMPP → SIP", from_xmpp),
    ("session SIP → XMPP", from_sip),
    # What every phone does goes on beside sessions.
    ("message XMPP → SIP", scenes.message_to_sip),
    ("message SIP → XMPP", scenes.message_to_xmpp),
    ("ends", ends),
    ("unknown XMPP user", unknown_user),
    ("blocked", blocked),
    ("XMPP user away", away),
    ("offers", offers),
    ("msrps", tls),
    ("changes", changes),
    ("forks", forks),
    ("30 kB", long_text(30_000)),
    ("200 kB", long_text(LONG)),
    ("200 lines", quick_lines),
    ("two at once", two_at_once),
    ("no responses", without_responses),
    ("shared connection", shared_connection),
    ("typing", typing),
    ("receipts", receipts),
    ("receipts without a session", pager_receipts),
    ("odd REPORTs", odd_reports),
    ("failure REPORTs", failed_reports),
    ("markers", markers),
    ("as recorded", as_recorded),
    ("refused: 486", session_trouble.refused("refuses the session with 486", mode="refuse", status=486)),
    ("refused: 488", session_trouble.refused("refuses the session with 488", mode="refuse", status=488)),
    ("refused: 415", session_trouble.refused("refuses the session with 415", mode="refuse", status=415)),
    ("refused: port 0", session_trouble.refused("answers 200, with port 0", mode="port0")),
    ("no answer", session_trouble.refused("rings and rings", mode="ring")),
    ("no MSRP after 200", session_trouble.refused("takes the session and says nothing in it", mode="mute")),
    ("killed connection", session_trouble.killed_connection),
    ("killed within a SEND", session_trouble.killed_in_the_middle),
    ("bad peers", session_trouble.bad_peers),
    ("forbidden paths", session_trouble.forbidden_paths),
    ("gateway stops", session_trouble.restarts(stop=True)),
    ("gateway killed", session_trouble.restarts(stop=False)),
]
