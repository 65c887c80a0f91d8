"""What the scenes of chat sessions have in common: how each begins and ends, and the steps that many take."""

import functools
import itertools
import time

import processes
from processes import Missed

_numbers = itertools.count(1)
# The longest text that is played: the gateway takes it as it is configured by nobody.
LONG = 200_000


def session_scene(act):
    """Starts anew, plays, and looks whether the gateway kept the rules."""
    @functools.wraps(act)
    def played(c):
        since = fresh(c)
        act(c)
        if not c.gateway.child.alive():
            raise Missed(f"the gateway ended; see {c.gateway.child.log}")
        broken = c.phone.complaints(since)
        if broken:
            raise Missed("rules broken: " + "; ".join(dict.fromkeys(broken)))
    return played


def fresh(c):
    """No call is open, and the phone answers as it should."""
    for name, state in c.phone.do("state")["calls"].items():
        if state not in ("ended", "cancelled"):
            c.phone.do("bye", call=name)
    for order in ("answer", "manner", "pager"):
        c.phone.do(order)
    return c.phone.mark()


def says(text):
    return f"{text} #{next(_numbers)}"


def opened(c, **shape):
    """A session that the SIP user opens; its name."""
    call = c.phone.do("invite", to=c.juliet.uri, **shape)
    if call["status"] != 200:
        raise Missed(f"the INVITE was answered {call['status']}")
    c.phone.wait_state("open", call["call"])
    return call["call"]


def known(c):
    """The phone is a device that the gateway has not met, and shows at once that it takes sessions: by opening one."""
    another_device(c)
    c.phone.do("bye", call=opened(c))


def opened_by_xmpp(c, tries=4):
    """A session that the gateway opens, at the latest when its OPTIONS has shown what the phone can; its name."""
    since = c.phone.mark()
    for number in range(tries):
        text = says(f"Art thou there? {number}")
        c.client.message(c.romeo.jid, text)
        c.phone.wait_message(c.juliet.uri, text)
        call = next(iter(c.phone.found(lambda event: event.get("state") == "open", since)), None)
        if call is not None:
            return call["call"]
        time.sleep(1)
    raise Missed(f"no session was opened for {tries} messages")


def in_session(c, call, text, seconds=20):
    """A text that has come to the phone in this call."""
    return c.phone.wait("a text in the session", lambda event: event.get("message") == text and event.get("call") == call
                        and event["via"] == "msrp", seconds)


def arrives(c, text, since):
    """A text has come to the XMPP client; it may have lost its last line end."""
    c.client.wait("the text", lambda s: s.kind == "message" and s.body is not None and s.body.rstrip() == text.rstrip(),
                  since=since)


def there_and_back(c, call):
    """The session works both ways."""
    text, since = says("Neither, fair saint – ü 🌙"), c.client.mark()
    said = c.phone.do("say", call=call, text=text)
    if said["status"] != 200:
        raise Missed(f"the SEND was answered {said['status']}")
    c.client.wait_message(c.romeo.jid, text, since)
    text = says("Art thou not Romeo? 🌹 <&> ü")
    c.client.message(c.romeo.jid, text)
    in_session(c, call, text)


def exactly_once(c, texts, since, seconds=30):
    """Every text has come to the phone, once, in this order, in a session or not."""
    found = lambda: [event["message"] for event in c.phone.found(lambda event: event.get("message") in texts, since)]
    processes.wait("all the texts", lambda: len(found()) >= len(texts), seconds)
    if found() != texts:
        raise Missed(f"the texts came as {found()}")


def another_device(c):
    """The SIP user goes on with a device that the gateway has not met."""
    c.phone.do("device", name=str(next(_numbers)))
