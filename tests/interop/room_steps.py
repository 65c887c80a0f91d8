"""What the scenes of rooms have in common: who is there, how a room is made, and the steps that many take."""

import functools
import itertools
import time
import xml.etree.ElementTree as ElementTree
from urllib.parse import unquote
from xml.sax.saxutils import escape, quoteattr

import chat_phone
import processes
from place import ROOMS_DOMAIN
from processes import Missed
from session_steps import says
from xmpp import Client, local

MUC = "http://jabber.org/protocol/muc"
DATA = "jabber:x:data"
NICK = "Romeo Montague"
# What a phone says of itself that knows rooms.
CHATROOM = "nickname private-messages"

_numbers = itertools.count(1)


class Told:
    """What a room tells in a presence or a message: status codes, and what is in its item."""

    def __init__(self, stanza):
        xs = [child for child in ElementTree.fromstring(stanza.text) if local(child) == "x"]
        self.parts = {local(part): part for x in xs for part in x}
        self.codes = {int(part.get("code")) for x in xs for part in x if local(part) == "status" and part.get("code")}
        self.item = self.parts.get("item")

    def get(self, name):
        """An attribute of the item."""
        return None if self.item is None else self.item.get(name)


class Guest:
    """An XMPP user with a client, in a room under a nick."""

    def __init__(self, client, room, nick):
        self.client, self.room, self.nick = client, room, nick
        self.since = client.mark()

    def enter(self, password=None, seconds=20):
        """Enters; its self-presence, or the error."""
        since = self.client.mark()
        inner = f"<password>{escape(password)}</password>" if password else ""
        self.client.raw(f"<presence to={quoteattr(self.place())}><x xmlns='{MUC}'>{inner}<history maxstanzas='0'/></x></presence>")
        return self.client.wait("self-presence", lambda s: s.kind == "presence" and s.bare == self.room.jid and (
            s.type == "error" or 110 in Told(s).codes), seconds, since)

    def place(self, nick=None):
        return f"{self.room.jid}/{nick or self.nick}"

    def leave(self):
        self.client.raw(f"<presence to={quoteattr(self.place())} type='unavailable'/>")

    def rename(self, nick):
        self.nick = nick
        self.client.raw(f"<presence to={quoteattr(self.place())}/>")

    def mark(self):
        self.since = self.client.mark()
        return self.since

    # What it says.

    def send(self, kind, to, inner):
        name = f"r{next(_numbers)}"
        self.client.raw(f"<message to={quoteattr(to)} type='{kind}' id='{name}'>{inner}</message>")
        return name

    def say(self, text):
        return self.send("groupchat", self.room.jid, f"<body>{escape(text)}</body>")

    def whisper(self, nick, text):
        return self.send("chat", self.place(nick), f"<body>{escape(text)}</body><x xmlns='{MUC}#user'/>")

    def subject(self, text):
        return self.send("groupchat", self.room.jid, f"<subject>{escape(text)}</subject>")

    def invite(self, jid, reason):
        return self.send("normal", self.room.jid,
                         f"<x xmlns='{MUC}#user'><invite to='{jid}'><reason>{escape(reason)}</reason></invite></x>")

    def invite_directly(self, jid, reason, password=None):
        more = f" password={quoteattr(password)}" if password else ""
        return self.send("normal", jid, f"<x xmlns='jabber:x:conference' jid='{self.room.jid}' reason={quoteattr(reason)}{more}/>")

    # What it decides.

    def ask(self, kind, query, to=None):
        """An IQ, and its answer."""
        name, since = f"q{next(_numbers)}", self.client.mark()
        self.client.raw(f"<iq to='{to or self.room.jid}' type='{kind}' id='{name}'>{query}</iq>")
        return self.client.wait(f"an answer to {query[:60]}", lambda s: s.kind == "iq" and s.id == name, since=since)

    def decide(self, query):
        answer = self.ask("set", query)
        if answer.type != "result":
            raise Missed(f"the room answered {query} with {answer}")

    def configure(self, **options):
        fields = "".join(f"<field var='muc#roomconfig_{name}'><value>{value}</value></field>" for name, value in options.items())
        form = f"<field var='FORM_TYPE'><value>{MUC}#roomconfig</value></field>{fields}" if options else ""
        self.decide(f"<query xmlns='{MUC}#owner'><x xmlns='{DATA}' type='submit'>{form}</x></query>")

    def admin(self, reason=None, **attributes):
        """An item of muc#admin: nick or jid, role or affiliation."""
        named = "".join(f" {name}={quoteattr(value)}" for name, value in attributes.items())
        inner = f"<reason>{escape(reason)}</reason>" if reason else ""
        self.decide(f"<query xmlns='{MUC}#admin'><item{named}>{inner}</item></query>")

    def destroy(self, alternate, reason):
        self.decide(f"<query xmlns='{MUC}#owner'><destroy jid='{alternate}'><reason>{escape(reason)}</reason></destroy></query>")

    # What it sees.

    def sees(self, nick, kind=None, test=lambda told: True, seconds=20, since=None):
        """A presence of somebody in the room: there, or `unavailable`."""
        return Told(self.client.wait(f"presence {kind or 'available'} of {nick}", lambda s: (
            s.kind == "presence" and s.sender == self.place(nick) and s.type == kind and test(Told(s))), seconds,
            self.since if since is None else since))

    def hears(self, nick, text, seconds=20):
        """A line to all."""
        return self.client.wait(f"a line of {nick}: {text}", lambda s: s.kind == "message" and s.type == "groupchat"
                                and s.sender == self.place(nick) and s.body == text, seconds, self.since)

    def lines(self, since=None):
        """All lines to all, in order: nick and text."""
        found = self.client.all(lambda s: s.kind == "message" and s.type == "groupchat" and s.bare == self.room.jid and s.body,
                                self.since if since is None else since)
        return [(s.sender.partition("/")[2], s.body) for s in found]


class Caller:
    """A SIP user with a phone, in a room."""

    def __init__(self, phone, room):
        self.phone, self.room, self.call = phone, room, None
        self.since = phone.events.mark()

    def mark(self):
        self.since = self.phone.events.mark()
        return self.since

    def enter(self, name=NICK, expect=200, to=None, **shape):
        """Calls the room; what came of it."""
        self.mark()
        shape = {"chatroom": CHATROOM, "accepts": ["message/cpim"], "name": name, **shape}
        done = self.phone.do("invite", to=to or self.room.uri, **shape)
        if done["status"] != expect:
            raise Missed(f"the INVITE was answered {done['status']} {done.get('reason')}")
        if expect == 200:
            self.call = done["call"]
            self.wait("the MSRP connection", lambda event: event.get("state") == "open")
        return done

    def wait(self, what, test, seconds=20, since=None):
        """An event of this call."""
        return self.phone.events.wait(what, lambda event: event.get("call") == self.call and test(event), seconds,
                                      self.since if since is None else since)

    def found(self, test, since=None):
        since = self.since if since is None else since
        return [event for event in self.phone.events.list[since:] if event.get("call") == self.call and test(event)]

    def watch(self):
        """Subscribes in the dialog of the call; the first document."""
        since = self.phone.events.mark()
        done = self.phone.do("watch", call=self.call)
        if done["status"] != 200:
            raise Missed(f"the SUBSCRIBE was answered {done['status']}")
        return self.wait("the first document", lambda event: "roster" in event, since=since)

    def shows(self, what, test, seconds=20, since=None):
        """The roster is such that it passes: by address in it."""
        return self.wait(f"a roster with {what}", lambda event: "roster" in event and test(names(event["roster"])), seconds,
                         since)["roster"]

    def hang_up(self):
        self.phone.do("bye", call=self.call)

    def ended(self, seconds=20):
        """The room has hung up; its words."""
        return self.wait("the end of the call", lambda event: event.get("state") == "ended" and event.get("by") == "peer",
                         seconds)["why"]

    # What it says and hears.

    def speak(self, text, expect=200, **how):
        done = self.phone.do("speak", call=self.call, text=text, **how)
        if done["status"] != expect:
            raise Missed(f"the SEND of {text[:40]!r} was answered {done['status']}, not {expect}")
        return done

    def hears(self, nick, text, seconds=20, private_to=None):
        """A line of somebody: its CPIM names who said it, and to whom."""
        event = self.wait(f"a line of {nick}: {text[:60]}", lambda event: event.get("message") == text, seconds)
        expected = (self.room.occupant(nick), self.room.occupant(private_to) if private_to else self.room.uri, nick)
        if (unquote(event["sender"]), unquote(event["to"]), event["name"]) != expected:
            raise Missed(f"From, To and name are {event['sender']}, {event['to']}, {event['name']}; not {expected}")
        return event

    def lines(self, since=None):
        """All lines, in order: nick and text."""
        return [(unquote(event["sender"]).partition(";gr=")[2], event["message"])
                for event in self.found(lambda event: "message" in event, since)]


class Room:
    def __init__(self, name=None):
        self.name = name or f"verona{next(_numbers)}"
        self.jid, self.uri = f"{self.name}@{ROOMS_DOMAIN}", f"sip:{self.name}@{ROOMS_DOMAIN}"

    def occupant(self, nick):
        """Somebody's address in SIP, without escapes."""
        return f"{self.uri};gr={nick}"


def names(roster):
    """Name → entry."""
    return {entry.get("name"): entry for entry in roster.values()}


def room_scene(act):
    """Starts anew, plays, and looks whether the gateway kept the rules."""
    @functools.wraps(act)
    def played(c):
        since = fresh(c)
        act(c)
        if not c.gateway.child.alive():
            raise Missed(f"the gateway ended; see {c.gateway.child.log}")
        broken = [complaint for phone, mark in since for complaint in phone.complaints(mark)]
        if broken:
            raise Missed("rules broken: " + "; ".join(dict.fromkeys(broken)))
    return played


def fresh(c):
    """Nobody is in a room, and the phones answer as they should; where each phone's events are now."""
    found = []
    for phone in [c.phone, *(part for part in c.more if isinstance(part, chat_phone.Phone))]:
        for name, state in phone.do("state")["calls"].items():
            if state not in ("ended", "cancelled"):
                phone.do("bye", call=name)
        for order in ("manner", "notifies"):
            phone.do(order)
        phone.do("answer", chatroom=CHATROOM, accepts=["message/cpim"])
        found.append((phone, phone.mark()))
    return found


def made(c, nick="Juliet", unlocked=True, **options):
    """A new room, made by Juliet, who is in it; her."""
    juliet = Guest(c.client, Room(), nick)
    entered = juliet.enter()
    if entered.type == "error":
        raise Missed(f"the server made no room: {entered}")
    if unlocked:
        juliet.configure(**options)
    juliet.mark()
    return juliet


def nurse(c, room, nick="Nurse", number=0, enter=True):
    """Another XMPP user, in the room."""
    client = another_client(c, number)
    guest = Guest(client, room, nick)
    if enter:
        guest.enter()
        guest.mark()
    return guest


def another_client(c, number):
    person = c.gateway.place.xmpp_crowd[number]
    known = next((part for part in c.more if isinstance(part, Client) and part.person is person), None)
    if known is None or known.child is None:
        known = known or Client(c.client.module, c.gateway.place, person)
        known.online()
        if known not in c.more:
            c.more.append(known)
    return known


def romeo(c, room, **shape):
    """The SIP user, in the room."""
    caller = Caller(c.phone, room)
    caller.enter(**shape)
    return caller


def mercutio(c, room, number=0, name="Mercutio", **shape):
    """Another SIP user, in the room."""
    caller = Caller(another_phone(c, number), room)
    caller.enter(name=name, **shape)
    return caller


def another_phone(c, number):
    person = c.gateway.place.sip_crowd[number]
    known = next((part for part in c.more if isinstance(part, chat_phone.Phone) and part.person is person), None)
    if known is None:
        known = chat_phone.Phone(c.gateway.place, person, c.phone.way)
        # Who calls from another port than the gateway's peer is not called.
        known.port = processes.free_port()
        known.start()
        c.more.append(known)
    return known


def there_and_back(juliet, romeo, nick=NICK):
    """The room works both ways."""
    text = says("Is Romeo here? ü 🌹 <&>")
    juliet.say(text)
    romeo.hears(juliet.nick, text)
    text = says("I am here. ü 🌙 <&>")
    romeo.speak(text)
    juliet.hears(nick, text)


def soon(what, test, seconds=20):
    return processes.wait(what, test, seconds)


def still(seconds=1.0):
    """Long enough for what should not come."""
    time.sleep(seconds)
