"""Typing, receipts and read marks beside sessions, in MESSAGEs, played by any XMPP client with a phone that has them: first
in plain MESSAGEs, then in CPIM (RFC 3862), as the phone does both.
"""

import time

from processes import Missed
from scenes import says

RECEIPT = "<request xmlns='urn:xmpp:receipts'/>"
MARKABLE = "<markable xmlns='urn:xmpp:chat-markers:0'/>"
STATES = "http://jabber.org/protocol/chatstates"


def state(name):
    return f"<{name} xmlns='{STATES}'/>"


def about(c, name, stanza_id):
    """Tests for what the XMPP user is told about her message."""
    return lambda s: s.kind == "message" and s.bare == c.romeo.jid and s.type != "error" and s.has(name, "id", stanza_id)


def typing_to_xmpp(c):
    """The SIP user types and is shown as typing; what he sends ends that. Nothing of it shows as a message."""
    text = says(c, "I can be told")
    c.phone.mark()
    c.client.chat(c.romeo.jid, text, state("active"))
    c.phone.wait_message(c.juliet.uri, text)
    since = c.client.mark()
    c.phone.compose(c.juliet.uri)
    c.client.wait("composing", lambda s: s.kind == "message" and s.bare == c.romeo.jid and s.has("composing"), since=since)
    text = says(c, "I typed this")
    c.phone.write(c.juliet.uri, text)
    c.client.wait_message(c.romeo.jid, text, since)
    if c.client.bodies(c.romeo.jid, since) != [text]:
        raise Missed(f"beside the text came {c.client.bodies(c.romeo.jid, since)}")


def typing_to_sip(c):
    """The XMPP user types and is shown as typing; she pauses, and is not."""
    c.phone.mark()
    c.client.chat(c.romeo.jid, None, state("composing"))
    c.phone.wait_typing(c.juliet.uri, True)
    c.client.chat(c.romeo.jid, None, state("paused"))
    c.phone.wait_typing(c.juliet.uri, False)


def receipt_for_xmpp(c):
    """The XMPP user asks for a receipt and a read mark: each comes when the phone says so, once, and no sooner."""
    c.need("report")
    since, text = c.client.mark(), says(c, "Hast thou it?")
    c.phone.mark()
    name = c.client.chat(c.romeo.jid, text, RECEIPT, MARKABLE)
    c.phone.wait_message(c.juliet.uri, text)
    c.client.wait("a receipt", about(c, "received", name), since=since)
    if c.client.all(about(c, "displayed", name), since):
        raise Missed("displayed before it was read")
    c.phone.read(c.juliet.uri)
    c.client.wait("a displayed marker", about(c, "displayed", name), since=since)
    time.sleep(0.5)
    for kind in ("received", "displayed"):
        if len(c.client.all(about(c, kind, name), since)) != 1:
            raise Missed(f"{kind} came {len(c.client.all(about(c, kind, name), since))} times")


def no_receipt(c):
    """Who asks for nothing is told nothing, though the phone reports on every message."""
    c.need("report")
    since, text = c.client.mark(), says(c, "Thou needst not say")
    c.phone.mark()
    name = c.client.chat(c.romeo.jid, text)
    c.phone.wait_message(c.juliet.uri, text)
    c.phone.read(c.juliet.uri)
    receipt_for_xmpp(c)
    if c.client.all(lambda s: about(c, "received", name)(s) or about(c, "displayed", name)(s), since):
        raise Missed("a receipt that nobody asked for")


def in_cpim(c):
    """From here on the phone wraps what it sends in CPIM: texts go both ways, and show as they were written."""
    c.phone.use_cpim(c.juliet.uri)
    for _number in range(2):
        since, text = c.client.mark(), says(c, "Wrapped: – ü <&> 🌙")
        c.phone.write(c.juliet.uri, text)
        c.client.wait_message(c.romeo.jid, text, since)
        text = says(c, "And back: 🌹 <&> ü")
        c.phone.mark()
        c.client.message(c.romeo.jid, text)
        c.phone.wait_message(c.juliet.uri, text)


def receipt_for_sip(c):
    """The phone asks for notifications: “delivered” comes when the XMPP client says so, “displayed” when it says that."""
    since, text = c.client.mark(), says(c, "Hast thou it?")
    number = c.phone.write(c.juliet.uri, text)
    stanza = c.client.wait_message(c.romeo.jid, text, since)
    if not stanza.has("request") or not stanza.has("markable"):
        raise Missed(f"the message does not ask: {stanza}")
    # Some clients do it by themselves; said twice it is still one receipt.
    c.client.chat(stanza.sender, None, f"<received xmlns='urn:xmpp:receipts' id='{stanza.id}'/>")
    c.phone.wait_report(number, "delivered")
    c.client.chat(stanza.sender, None, f"<displayed xmlns='urn:xmpp:chat-markers:0' id='{stanza.id}'/>")
    c.phone.wait_report(number, "displayed")


ALL = [
    ("typing SIP → XMPP", typing_to_xmpp),
    ("typing XMPP → SIP", typing_to_sip),
    ("receipts for XMPP", receipt_for_xmpp),
    ("none unasked", no_receipt),
    ("CPIM", in_cpim),
    ("receipts for SIP, CPIM", receipt_for_sip),
    ("receipts for XMPP, CPIM", receipt_for_xmpp),
    ("typing SIP → XMPP, CPIM", typing_to_xmpp),
    ("typing XMPP → SIP, CPIM", typing_to_sip),
]
