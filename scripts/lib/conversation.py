"""One conversation between an XMPP user and a SIP user through a running gateway, told so that a person can follow it.

Ends with status 0 only if everything was seen. Reads what it needs from a JSON file (see `scripts/try`).
"""

import json
import sys
import time
import xml.etree.ElementTree as ElementTree

import chat
import room
from sip_phone import Phone, pidf
from xmpp_client import CLIENT, Client

WAIT = 20


class Story:
    """Counts what was seen and what was not."""

    def __init__(self):
        self.missing = 0

    def part(self, title):
        print(f"\n{title}", flush=True)

    def saw(self, what, evidence):
        good = evidence is not None and evidence is not False
        if not good:
            self.missing += 1
        print(f"  {'ok     ' if good else 'MISSING'}  {what}", flush=True)
        return good


def body_of(stanza):
    return stanza.findtext(CLIENT + "body")


def bare(jid):
    return (jid or "").split("/")[0]


def error_of(stanza):
    error = stanza.find(CLIENT + "error")
    if error is None:
        return "no error"
    names = [child.tag.split("}")[1] for child in error if child.tag.endswith("}text") is False]
    text = next((child.text for child in error if child.tag.endswith("}text")), None)
    return f"{', '.join(names)}: {text}" if text else ", ".join(names)


def state_of(notify):
    """pending, active or terminated, and the basic states and RPID activities in the body."""
    state = notify.get("subscription-state").split(";")[0].strip()
    try:
        root = ElementTree.fromstring(notify.body) if notify.body.strip() else None
    except ElementTree.ParseError:
        return state, [], ["not well-formed"]
    if root is None:
        return state, [], []
    basics = [element.text.strip() for element in root.iter() if element.tag.endswith("}basic") and element.text]
    activities = [child.tag.split("}")[1] for element in root.iter() if element.tag.endswith("}activities")
                  for child in element]
    return state, basics, activities


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        setup = json.load(file)
    trace = open(setup["trace"], "w", encoding="utf-8")
    sip, xmpp = setup["sip"], setup["xmpp"]
    romeo_jid = f"{sip['user']}@{sip['domain']}"
    juliet_sip = f"sip:{xmpp['user']}@{xmpp['domain']}"
    story = Story()

    story.part(f"{sip['user']} switches on a SIP phone; {xmpp['user']} starts an XMPP client")
    phone = Phone(sip["user"], sip["password"], sip["domain"], (sip["host"], sip["port"]), trace)
    tuple_id = "phone"
    publish = lambda is_open, activity=None, note=None: phone.publish(
        pidf(phone.aor, tuple_id, is_open, activity, note, phone.aor)).status == 200
    story.saw("the SIP proxy lets the phone register", phone.register().status == 200)
    story.saw("the phone publishes that it is there", publish(True, note="In Verona"))
    client = Client(xmpp["user"], xmpp["password"], xmpp["domain"], (xmpp["host"], xmpp["port"]), "balcony", trace)
    client.presence()
    story.saw(f"the XMPP server lets the client in as {client.full}", bool(client.full))

    story.part(f"{xmpp['user']} (XMPP) adds {romeo_jid}")
    client.presence(to=romeo_jid, kind="subscribe")
    subscribed = client.wait("presence", lambda p: bare(p.get("from")) == romeo_jid and p.get("type") == "subscribed", WAIT)
    story.saw("the contact says yes", subscribed)
    there = lambda p: bare(p.get("from")) == romeo_jid and p.get("type") is None
    gone = lambda p: bare(p.get("from")) == romeo_jid and p.get("type") == "unavailable"
    shown = client.wait("presence", there, WAIT)
    words = f", “{shown.findtext(CLIENT + 'status')}”" if shown is not None and shown.findtext(CLIENT + "status") else ""
    story.saw(f"{romeo_jid} is shown online{words}", shown)

    story.part(f"{sip['user']} (SIP) adds {juliet_sip}")
    answer = phone.subscribe(juliet_sip)
    story.saw(f"the subscription is taken ({answer.first})", answer.status in (200, 202))
    asked = client.wait("presence", lambda p: bare(p.get("from")) == romeo_jid and p.get("type") == "subscribe", WAIT)
    story.saw(f"{xmpp['user']} is asked", asked)
    client.presence(to=romeo_jid, kind="subscribed")
    active = phone.wait("NOTIFY", lambda n: state_of(n)[0] == "active" and "open" in state_of(n)[1], WAIT)
    story.saw(f"after her yes the phone shows {xmpp['user']} as open", active)

    story.part("They come and go")
    client.presence(show="away", status="On the balcony")
    away = phone.wait("NOTIFY", lambda n: "away" in state_of(n)[2], WAIT)
    story.saw(f"{xmpp['user']} goes away: the phone shows “away”", away)
    story.saw("the phone says that it is closed", publish(False))
    story.saw(f"{xmpp['user']} sees the contact leave", client.wait("presence", gone, WAIT))
    story.saw("the phone says that it is open again", publish(True, "busy", "Back in Verona"))
    shown = client.wait("presence", there, WAIT)
    show = f" ({shown.findtext(CLIENT + 'show')})" if shown is not None and shown.findtext(CLIENT + "show") else ""
    story.saw(f"{xmpp['user']} sees the contact come back{show}", shown)

    story.part("They talk")
    said = "Art thou not Romeo, and a Montague? 🌹"
    client.message(romeo_jid, said)
    heard = phone.wait("MESSAGE", lambda m: m.body.decode("utf-8", "replace") == said, WAIT)
    story.saw(f"XMPP → SIP: “{said}”", heard)
    said = "Neither, fair saint, if either thee dislike. – ü"
    answer = phone.message(juliet_sip, said)
    story.saw(f"the gateway takes the answer ({answer.first})", answer.status in (200, 202))
    heard = client.wait("message", lambda m: bare(m.get("from")) == romeo_jid and body_of(m) == said, WAIT)
    story.saw(f"SIP → XMPP: “{said}”", heard)

    names = (sip["user"], phone.aor, romeo_jid, xmpp["user"], juliet_sip)
    chat.part(story, client, names, sip["password"], (sip["host"], sip["port"]), trace, WAIT)

    room.part(story, client, setup, trace, WAIT)

    story.part("Somebody who does not exist")
    nobody = f"nobody@{sip['domain']}"
    name = client.message(nobody, "Is there anybody?")
    refused = client.wait("message", lambda m: m.get("type") == "error" and m.get("id") == name, WAIT)
    told = error_of(refused) if refused is not None else "nothing"
    story.saw(f"{xmpp['user']} writes to {nobody} and is told: {told}", told.startswith("item-not-found"))
    answer = phone.message(f"sip:nobody@{xmpp['domain']}", "Is there anybody?")
    story.saw(f"{sip['user']} writes to sip:nobody@{xmpp['domain']} and is told: {answer.first[8:]}",
              answer.status == 404)

    story.part("They leave")
    phone.publish(None)
    story.saw("the phone withdraws its presence: the contact leaves", client.wait("presence", gone, WAIT))
    client.close()
    closed = phone.wait("NOTIFY", lambda n: state_of(n)[1] != [] and "open" not in state_of(n)[1], WAIT)
    story.saw(f"the client logs out: the phone shows {xmpp['user']} as closed", closed)
    phone.subscribe(juliet_sip, 0)
    phone.register(0)
    phone.close()
    time.sleep(0.2)

    print()
    if story.missing:
        print(f"{story.missing} of these things were not seen. Every message is in {setup['trace']}.")
        return 1
    print(f"Everything was seen. Every message is in {setup['trace']}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
