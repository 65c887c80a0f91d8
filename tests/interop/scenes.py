"""What people do, played by any XMPP client with any SIP client. A scene ends by itself or misses something."""

import itertools

from phone import AWAY, CLOSED, OPEN, REFUSED
from processes import Missed

_numbers = itertools.count(1)


class NotWith(Exception):
    """This scene cannot be played with these clients; the text says why."""


class Couple:
    """Juliet (XMPP) and Romeo (SIP), and who does what for them."""

    def __init__(self, juliet, romeo, juliet_client, phone, module, server, gateway):
        self.juliet, self.romeo, self.server, self.gateway = juliet, romeo, server, gateway
        self.client, self.phone, self.away_is = juliet_client, phone, module.AWAY_IS
        self.direct = phone.way.direct
        # Other clients and phones, for as long as this conversation.
        self.more = []
        self.can = module.CAN - module.NOT_DIRECT if self.direct else module.CAN

    def need(self, *abilities):
        for ability in abilities:
            if ability not in self.can:
                raise NotWith(f"the phone cannot: {ability}")

    def tells_presence(self):
        return ("notify" if self.direct else "publish") in self.can


def says(couple, text):
    return f"{text} #{next(_numbers)}"


def message_to_sip(c):
    """A message from XMPP to SIP."""
    text = says(c, "Art thou not Romeo, and a Montague? 🌹 <&> ü")
    c.phone.mark()
    c.client.message(c.romeo.jid, text)
    c.phone.wait_message(c.juliet.uri, text)


def message_to_xmpp(c):
    """A message from SIP to XMPP."""
    text = says(c, "Neither, fair saint, if either thee dislike. – ü <&> 🌙")
    since = c.client.mark()
    status = c.phone.send(c.juliet.uri, text)
    c.client.wait_message(c.romeo.jid, text, since)
    if "status" in c.can and status not in (200, 202):
        raise Missed(f"the phone was told {status}")


def xmpp_adds(c):
    """The XMPP user adds the SIP user, is told yes, and sees her contact's presence."""
    since = c.client.mark()
    if c.tells_presence() and not c.direct:
        c.phone.publish(OPEN)
    c.client.add(c.romeo.jid)
    if c.tells_presence() and c.direct:
        c.phone.serve_subscription(OPEN)
    c.client.wait_presence(c.romeo.jid, "subscribed", since=since)
    if c.tells_presence():
        c.client.wait_presence(c.romeo.jid, None, since=since)
    else:
        message_to_sip(c)
        c.client.refuse_presence(c.romeo.jid, None, since)


def sip_adds(c):
    """The SIP user adds the XMPP user, who is asked, says yes, and is shown as open."""
    c.need("watch")
    since = c.client.mark()
    c.phone.watch(c.juliet.uri)
    c.client.wait_presence(c.romeo.jid, "subscribe", since=since)
    c.client.approve(c.romeo.jid)
    c.phone.wait_state(c.juliet.uri, OPEN)


def xmpp_states(c):
    """The XMPP user goes away and comes back; the phone shows it."""
    c.need("watch")
    c.phone.mark()
    c.client.show("away", "On the balcony")
    c.phone.wait_state(c.juliet.uri, c.away_is)
    c.phone.mark()
    c.client.show()
    c.phone.wait_state(c.juliet.uri, OPEN)


def sip_states(c):
    """The SIP user goes away and comes back; the XMPP client shows it."""
    if not c.tells_presence():
        raise NotWith("the phone does not tell its presence this way")
    c.need("publish-away")
    since = c.client.mark()
    c.phone.publish(AWAY)
    c.client.wait_presence(c.romeo.jid, None, "away", since)
    since = c.client.mark()
    c.phone.publish(OPEN)
    c.client.wait_presence(c.romeo.jid, None, None, since)


def xmpp_offline(c):
    """The XMPP user logs out: the phone shows it; logs in: shown again, and the contact is shown to her."""
    c.need("watch")
    c.phone.mark()
    c.client.offline()
    try:
        c.phone.wait_state(c.juliet.uri, CLOSED)
        c.phone.mark()
    finally:
        c.client.online()
    c.phone.wait_state(c.juliet.uri, OPEN)
    if c.tells_presence():
        c.client.wait_presence(c.romeo.jid, None)


def sip_offline(c):
    """The SIP user says that he is closed: shown as unavailable; and open again."""
    if not c.tells_presence():
        raise NotWith("the phone does not tell its presence this way")
    since = c.client.mark()
    c.phone.publish(CLOSED)
    c.client.wait_presence(c.romeo.jid, "unavailable", since=since)
    since = c.client.mark()
    c.phone.publish(OPEN)
    c.client.wait_presence(c.romeo.jid, None, since=since)


def unknown_to_sip(c):
    """A message to a SIP user who does not exist comes back as an error that says so."""
    if c.direct:
        raise NotWith("a lone phone takes what comes")
    since = c.client.mark()
    name = c.client.message(f"nobody@{c.romeo.domain}", "Is there anybody?")
    found = c.client.wait("an error", lambda s: s.kind == "message" and s.type == "error" and s.id == name, since=since)
    if found.condition != "item-not-found":
        raise Missed(f"the error is {found.condition}: {found.reason}")


def unknown_to_xmpp(c):
    """A message to an XMPP user who does not exist is refused with 404."""
    c.need("status")
    status = c.phone.send(f"sip:nobody@{c.juliet.domain}", "Is there anybody?")
    if status not in (404, REFUSED):
        raise Missed(f"the phone was told {status}")


def without_presence(c):
    """A SIP user whose phone tells no presence can be added all the same, and messages go."""
    if c.direct and "silent" not in c.can:
        raise NotWith("this phone always tells its presence when asked" if c.tells_presence()
                      else "“XMPP adds SIP” was that")
    contact = f"silent@{c.romeo.domain}"
    since = c.client.mark()
    c.client.add(contact)
    c.client.wait_presence(contact, "subscribed", since=since)
    c.client.wait_presence(contact, "unavailable", since=since)
    c.client.refuse_presence(contact, None, since)


def gateway_restarts(c):
    """The gateway stops: no green light stays. It starts again: both are shown as they are, and nobody is asked."""
    c.need("restarts")
    since = c.client.mark()
    c.phone.mark()
    if not c.gateway.stop():
        raise Missed(f"the gateway did not end by itself with status 0: {c.gateway.child.process.returncode}")
    c.client.wait_presence(c.romeo.jid, "unavailable", since=since)
    c.phone.wait_state(c.juliet.uri, CLOSED)
    since = c.client.mark()
    c.phone.mark()
    c.gateway.start()
    c.phone.wait_state(c.juliet.uri, OPEN)
    c.client.wait_presence(c.romeo.jid, None, since=since)
    c.client.refuse_presence(c.romeo.jid, "subscribe", since)


def server_dies(c):
    """The XMPP server dies: a message from SIP is kept, and comes when the server and the client are there again."""
    c.need("restarts")
    text = says(c, "Are you still there?")
    c.server.kill()
    c.gateway.wait_unready()
    status = c.phone.send(c.juliet.uri, text)
    if status != 202:
        raise Missed(f"without the XMPP server the phone was told {status}")
    c.client.gone()
    c.server.start()
    c.client.online()
    c.gateway.wait_ready(90)
    c.client.wait_message(c.romeo.jid, text, seconds=60)
    c.client.wait_presence(c.romeo.jid, None)
    message_to_sip(c)


# In the order in which they are played: later ones build on contacts that earlier ones added.
ALL = [
    ("message XMPP → SIP", message_to_sip),
    ("message SIP → XMPP", message_to_xmpp),
    ("XMPP adds SIP", xmpp_adds),
    ("SIP adds XMPP", sip_adds),
    ("states XMPP → SIP", xmpp_states),
    ("states SIP → XMPP", sip_states),
    ("XMPP offline", xmpp_offline),
    ("SIP offline", sip_offline),
    ("unknown SIP user", unknown_to_sip),
    ("unknown XMPP user", unknown_to_xmpp),
    ("no presence", without_presence),
    ("gateway restarts", gateway_restarts),
    ("server dies", server_dies),
]
