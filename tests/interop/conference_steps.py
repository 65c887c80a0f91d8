"""What the scenes of SIP rooms have in common: who is there, how a room is entered, and the steps that many take."""

import functools
import time
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import escape, quoteattr

import chat_phone
import processes
from phone import Way
from place import FOCUS_DOMAIN
from processes import Missed
from room_steps import CHATROOM, MUC, Guest, Told
from session_steps import says
from xmpp import Client, local

# Documents come as fast as they change: the focus's own rate is tried once.
QUICK = 0.1


class Hall:
    """A room of the focus, and what its guests are to each other."""

    def __init__(self, name):
        self.name, self.jid, self.uri = name, f"{name}@{FOCUS_DOMAIN}", f"sip:{name}@{FOCUS_DOMAIN}"


class Visitor(Guest):
    """An XMPP user in a room of the focus."""

    def enter(self, password=None, seconds=30, old=0):
        """Enters; its self-presence, or the error. `old`: how many old lines it wants."""
        since = self.client.mark()
        self.client.raw(f"<presence to={quoteattr(self.place())}><x xmlns='{MUC}'><history maxstanzas='{old}'/></x></presence>")
        return self.client.wait("self-presence", lambda s: s.kind == "presence" and s.bare == self.room.jid and (
            s.type == "error" or 110 in Told(s).codes), seconds, since)

    def must_enter(self):
        entered = self.enter()
        if entered.type == "error":
            raise Missed(f"{self.nick} was not let in: {entered}")
        return self

    def gets(self, what, test, since=None, seconds=20):
        """A message of the room."""
        return self.client.wait(what, lambda s: s.kind == "message" and s.bare == self.room.jid and test(s), seconds,
                                self.since if since is None else since)

    def refused(self, name, condition=None):
        """The room's error on a stanza of ours."""
        found = self.client.wait(f"an error on {name}", lambda s: s.id == name and s.type == "error", 40, self.since)
        if condition and found.condition not in condition:
            raise Missed(f"{name} was refused with {found.condition}: {found}")
        return found

    def people(self, since):
        """The nicks of the presences so far, in order, the codes of each."""
        found = self.client.all(lambda s: s.kind == "presence" and s.bare == self.room.jid and s.type is None, since)
        return [(stanza.sender.partition("/")[2], Told(stanza).codes) for stanza in found]


class Sitter:
    """A SIP user with a phone in a room of the focus; the phone does not go through the gateway."""

    def __init__(self, phone, room):
        self.phone, self.room, self.call = phone, room, None
        self.since = phone.events.mark()

    @property
    def uri(self):
        return self.phone.person.uri

    def enter(self, nick=None, watch=True):
        done = self.phone.do("invite", to=self.room.uri, chatroom=CHATROOM, accepts=["message/cpim"], name=self.phone.person.user)
        if done["status"] != 200:
            raise Missed(f"the focus answered {done['status']}")
        self.sits(done["call"])
        if nick:
            self.rename(nick)
        if watch:
            self.phone.do("watch", call=self.call)
        return self

    def sits(self, call):
        self.call = call
        self.wait("its MSRP connection", lambda event: event.get("state") == "open", since=0)

    def rename(self, nick, expect=200):
        status = self.phone.do("nick", call=self.call, nick=nick)["status"]
        if status != expect:
            raise Missed(f"NICKNAME {nick} was answered {status}")

    def mark(self):
        self.since = self.phone.events.mark()

    def wait(self, what, test, seconds=20, since=None):
        return self.phone.events.wait(what, lambda event: event.get("call") == self.call and test(event), seconds,
                                      self.since if since is None else since)

    def speak(self, text, expect=200, **how):
        status = self.phone.do("speak", call=self.call, text=text, **how)["status"]
        if status != expect:
            raise Missed(f"the SEND of {text[:40]!r} was answered {status}, not {expect}")

    def hears(self, person, text, seconds=20):
        """A line of an XMPP user: by its own address."""
        event = self.wait(f"a line of {person.jid}: {text[:60]}", lambda event: event.get("message") == text, seconds)
        if event["sender"].split(";")[0] != person.uri:
            raise Missed(f"the line says that it is from {event['sender']}, not {person.uri}")
        return event

    def shows(self, what, test, seconds=20):
        """The roster passes: nick → entry."""
        return self.wait(f"a roster with {what}", lambda event: "roster" in event and test(
            {entry.get("name"): entry for entry in event["roster"].values()}), seconds)

    def lines(self):
        return [event["message"] for event in self.phone.events.list[self.since:]
                if event.get("call") == self.call and "message" in event]

    def leave(self):
        self.phone.do("bye", call=self.call)


def conference_scene(act):
    """Starts anew, plays, and looks whether the gateway kept the rules."""
    @functools.wraps(act)
    def played(c):
        habits(c)
        c.visitors, since = [], c.phone.mark()
        try:
            act(c)
        finally:
            for visitor in c.visitors:
                if visitor.client.child is not None:
                    visitor.leave()
        if not c.gateway.child.alive():
            raise Missed(f"the gateway ended; see {c.gateway.child.log}")
        broken = c.phone.complaints(since)
        if broken:
            raise Missed("rules broken: " + "; ".join(dict.fromkeys(broken)))
    return played


def habits(c, **more):
    c.phone.do("habits", **{"interval": QUICK, **more})


_halls = iter(range(1, 1_000_000))


def hall(c, subject="", **more):
    """A new room."""
    found = Hall(f"verona{next(_halls)}-{c.juliet.user}")
    c.phone.do("room", room=found.name, title="Verona", subject=subject, **more)
    return found


def juliet(c, room, nick="Juliet", enter=True):
    """The XMPP user of the pair, in the room."""
    return _visitor(c, c.client, room, nick, enter)


def nurse(c, room, nick="Nurse", number=0, enter=True):
    """Another XMPP user."""
    return _visitor(c, another_client(c, number), room, nick, enter)


def _visitor(c, client, room, nick, enter):
    visitor = Visitor(client, room, nick)
    c.visitors.append(visitor)
    return visitor.must_enter() if enter else visitor


def another_client(c, number, person=None, resource="balcony"):
    person = person or c.gateway.place.xmpp_crowd[number]
    known = next((part for part in c.more if isinstance(part, Client) and (part.person, part.resource) == (person, resource)), None)
    if known is None:
        known = Client(c.client.module, c.gateway.place, person, resource)
        c.more.append(known)
    if known.child is None:
        known.online()
    return known


def sip_phone(c, number=0):
    """Of a SIP user; behind the proxy when there is one, but it dials the focus all the same."""
    place, way = c.gateway.place, c.phone.way
    person = c.romeo if number == 0 else place.sip_crowd[number - 1]
    known = next((part for part in c.more if isinstance(part, chat_phone.Phone) and part.person is person), None)
    if known is None:
        known = chat_phone.Phone(place, person, Way(c.phone.port, processes.free_port()) if way.direct else way)
        known.start()
        known.do("answer", chatroom=CHATROOM, accepts=["message/cpim"])
        c.phone.do("route", uri=person.uri, port=known.port)
        c.more.append(known)
    return known


def romeo(c, room, nick="Romeo", number=0, watch=True):
    """A SIP user, in the room."""
    return Sitter(sip_phone(c, number), room).enter(nick, watch)


def there_and_back(visitor, sitter, nick="Romeo"):
    """The room works both ways; the line of the visitor comes back to it, under the id that it had."""
    visitor.sees(nick, since=0)
    text = says("Is Romeo here? ü 🌹 <&>")
    name = visitor.say(text)
    sitter.hears(visitor.client.person, text)
    own = visitor.hears(visitor.nick, text)
    if own.id != name:
        raise Missed(f"her own line came back with the id {own.id}, not {name}")
    text = says("I am here. ü 🌙 <&>")
    # Phones write a name there; ours does too.
    sitter.speak(text, shown=nick)
    visitor.hears(nick, text)


def focus_people(c, room, test, what):
    """Who is in, as the focus has it: nicks by address."""
    return processes.wait(what, lambda: test(c.phone.do("who", room=room.name)["people"]), 20)


def occupant_id(stanza):
    return next((child.get("id") for child in ElementTree.fromstring(stanza.text) if local(child) == "occupant-id"), None)


def invitation(stanza):
    """The room that a message asks to; None when it asks to none."""
    root = ElementTree.fromstring(stanza.text)
    for child in root:
        if local(child) == "x" and any(local(part) == "invite" for part in child):
            return stanza.bare
        if local(child) == "x" and child.get("jid"):
            return child.get("jid")
    return None


def still(seconds=1.0):
    """Long enough for what should not come."""
    time.sleep(seconds)


def decline(guest, room, to, reason):
    guest.raw(f"<message to={quoteattr(room.jid)}><x xmlns='{MUC}#user'><decline to={quoteattr(to)}>"
              f"<reason>{escape(reason)}</reason></decline></x></message>")
