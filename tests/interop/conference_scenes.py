"""Rooms of a SIP focus, entered by any XMPP client as it enters any other room.

The focus and its rooms are ours (`focus/`), written from the RFCs; SIP users sit in them with the chat phone, not through
the gateway. Each scene begins in a new room with a focus that does what the RFCs say, and ends with a look at what the
focus complains of: a rule that the gateway broke is a miss, whatever else went well.
"""

import xml.etree.ElementTree as ElementTree

import conference_trouble
import processes
from conference_steps import (Sitter, Visitor, another_client, conference_scene, decline, focus_people, habits, hall, invitation,
                              juliet, nurse, occupant_id, romeo, sip_phone, still, there_and_back)
from place import FOCUS_DOMAIN
from processes import Missed
from room_steps import MUC
from scenes import NotWith
from session_steps import says
from xmpp import local

STATES = "http://jabber.org/protocol/chatstates"
ITEMS, INFO = "http://jabber.org/protocol/disco#items", "http://jabber.org/protocol/disco#info"


# Coming in.

@conference_scene
def joins(c):
    """She enters: first who is there, then herself with 110, then the subject; everybody has an occupant id."""
    room = hall(c, "Two households, both alike in dignity")
    first, second = romeo(c, room), romeo(c, room, "Mercutio", 1)
    visitor = juliet(c, room, enter=False)
    since = visitor.mark()
    visitor.must_enter()
    found = visitor.people(since)
    if [nick for nick, _codes in found[-1:]] != ["Juliet"] or sorted(nick for nick, _codes in found) != ["Juliet", "Mercutio", "Romeo"]:
        raise Missed(f"the presences were {found}")
    if any(110 in codes for nick, codes in found if nick != "Juliet"):
        raise Missed(f"somebody else has 110: {found}")
    subject = visitor.gets("the subject", lambda s: s.has("subject") and not s.body, since)
    if subject.type != "groupchat" or ElementTree.fromstring(subject.text).find("{*}subject").text != "Two households, both alike in dignity":
        raise Missed(f"the subject is {subject}")
    ids = {stanza.sender: occupant_id(stanza) for stanza in
           visitor.client.all(lambda s: s.kind == "presence" and s.bare == room.jid, since)}
    if None in ids.values() or len(set(ids.values())) != 3:
        raise Missed(f"the occupant ids are {ids}")
    # Who is there sees her, under her nick.
    for sitter in (first, second):
        sitter.shows("Juliet", lambda people: "Juliet" in people)


@conference_scene
def comes_and_goes(c):
    """Who comes and goes is seen; she leaves, and is told so; the focus has nobody of hers any more."""
    room = hall(c)
    visitor = juliet(c, room)
    sitter = romeo(c, room)
    visitor.sees("Romeo")
    visitor.mark()
    sitter.leave()
    visitor.sees("Romeo", "unavailable")
    visitor.mark()
    visitor.leave()
    if 110 not in visitor.sees("Juliet", "unavailable").codes:
        raise Missed("her own leaving has no 110")
    focus_people(c, room, lambda people: not people, "nobody is in the room")


@conference_scene
def talks(c):
    """Lines go both ways, each once, in order; hers come back to her under their ids; a long one is whole."""
    room = hall(c)
    sitter, visitor = romeo(c, room), juliet(c, room)
    there_and_back(visitor, sitter)
    sitter.mark()
    visitor.mark()
    hers, his = [says("hers") for _ in range(50)], [says("his") for _ in range(50)]
    for one, other in zip(hers, his):
        visitor.say(one)
        sitter.speak(other)
    processes.wait("all lines", lambda: len(visitor.lines()) >= 100 and len(sitter.lines()) >= 50, 30)
    if sitter.lines() != hers:
        raise Missed(f"he has {sitter.lines()}")
    for nick, expected in (("Juliet", hers), ("Romeo", his)):
        found = [text for who, text in visitor.lines() if who == nick]
        if found != expected:
            raise Missed(f"of {nick} she has {found}")
    text = ("so it goes on " * 2000).strip()
    sitter.speak(text)
    visitor.hears("Romeo", text)
    if len(c.phone.do("who", room=room.name)["devices"]) != 2:
        raise Missed("she is not one device of the room")


@conference_scene
def history(c):
    """What was said before comes as such: with a delay, before anything new."""
    habits(c, history=5)
    room = hall(c)
    sitter, old = romeo(c, room), says("long ago")
    sitter.speak(old)
    # Longer than clocks may differ.
    still(3.5)
    visitor = juliet(c, room, enter=False)
    visitor.mark()
    visitor.enter(old=10)
    line = visitor.hears("Romeo", old)
    if not line.has("delay"):
        raise Missed(f"an old line without delay: {line}")
    there_and_back(visitor, sitter)


@conference_scene
def subjects(c):
    """A new subject is shown; one of hers is taken or refused, but never ignored."""
    room = hall(c, "Day")
    sitter, visitor = romeo(c, room), juliet(c, room)
    c.phone.do("subject", room=room.name, subject="Night & <day>")
    visitor.gets("the new subject", lambda s: s.type == "groupchat" and not s.body and s.has("subject")
                 and ElementTree.fromstring(s.text).find("{*}subject").text == "Night & <day>")
    visitor.mark()
    habits(c, subjects=True)
    name = visitor.subject("Dawn")
    visitor.client.wait("her subject, or an error on it", lambda s: s.kind == "message" and s.bare == room.jid and (
        (s.type == "error" and s.id == name) or (s.type == "groupchat" and s.has("subject") and not s.body)), since=visitor.since)
    there_and_back(visitor, sitter)


# Nicks.

@conference_scene
def nick_taken(c):
    """A nick that somebody has is a conflict, for entering and for changing; the old one stays."""
    room = hall(c)
    sitter = romeo(c, room)
    visitor = juliet(c, room, "romeo", enter=False)
    refusal = visitor.enter()
    if refusal.condition != "conflict":
        raise Missed(f"not a conflict: {refusal}")
    focus_people(c, room, lambda people: c.juliet.uri not in people, "she is not in")
    visitor.nick = "Juliet"
    visitor.must_enter()
    visitor.mark()
    visitor.client.raw(f"<presence to='{room.jid}/Romeo'/>")
    visitor.client.wait("a conflict", lambda s: s.kind == "presence" and s.type == "error" and s.bare == room.jid
                        and s.condition == "conflict", since=visitor.since)
    there_and_back(visitor, sitter)


@conference_scene
def nick_changes(c):
    """She changes her nick: 303 and 110, and he sees it; he changes his, and she sees that."""
    room = hall(c)
    sitter, visitor, other = romeo(c, room), juliet(c, room), nurse(c, room)
    other.mark()
    visitor.mark()
    visitor.rename("Capulet")
    for guest, own in ((visitor, True), (other, False)):
        gone = guest.sees("Juliet", "unavailable")
        if 303 not in gone.codes or gone.get("nick") != "Capulet" or (own and 110 not in gone.codes):
            raise Missed(f"the old nick went with {gone.codes} and {gone.get('nick')}")
        guest.sees("Capulet", test=lambda told: not own or 110 in told.codes)
    sitter.shows("Capulet", lambda people: "Capulet" in people and "Juliet" not in people)
    visitor.mark()
    sitter.rename("Montague")
    if 303 not in visitor.sees("Romeo", "unavailable").codes:
        raise Missed("his old nick went without 303")
    visitor.sees("Montague")
    there_and_back(visitor, sitter, "Montague")


@conference_scene
def odd_nicks(c):
    """Nicks with quotes and backslashes, of other scripts, that run to the left, of many bytes come as they are, both ways."""
    room = hall(c)
    sitter = romeo(c, room)
    visitor = juliet(c, room)
    for nick, his in (('Ju"l\\i\'e"t', 'R"o\\m\'eo'), ("ジュリエット", "ロミオ"), ("יוליה", "רומיאו"), ("J" * 500, "R" * 500), ("<&>'", "'&<>")):
        visitor.mark()
        sitter.mark()
        visitor.rename(nick)
        visitor.sees(nick, test=lambda told: 110 in told.codes)
        sitter.shows(nick[:9], lambda people, nick=nick: nick in people)
        sitter.rename(his)
        visitor.sees(his)
        there_and_back(visitor, sitter, his)


@conference_scene
def no_nicks_of_xmpp(c):
    """He has names that are none in XMPP, or somebody's in other letters: she sees him all the same, and hears him."""
    room = hall(c)
    sitter, visitor = romeo(c, room), juliet(c, room)
    for nick in ("שלום Julie", "a\u200b\u202eb", "🌹" * 255, "ＪＵＬＩＥＴ Ⅳ", "\u00a0 x \u2003 y "):
        visitor.mark()
        sitter.rename(nick)
        still(0.5)
        text = says("still I")
        sitter.speak(text, shown="")
        line = visitor.gets("his line", lambda s: s.type == "groupchat" and s.body and text in s.body)
        if line.sender == visitor.place():
            raise Missed(f"his line is hers: {line}")
        if "/" not in line.sender:
            raise Missed(f"he is nobody as {nick!r}: {line}")
        visitor.sees(line.sender.partition("/")[2], since=0)


@conference_scene
def bad_nicks(c):
    """What the focus says of a nick is told as such: malformed, forbidden."""
    room = hall(c)
    visitor = juliet(c, room)
    for status, conditions in ((424, ("not-acceptable", "jid-malformed")), (423, ("not-acceptable",)), (425, ("conflict",)),
                               (403, ("forbidden", "not-allowed", "not-acceptable"))):
        habits(c, nick_status=status)
        visitor.mark()
        visitor.client.raw(f"<presence to='{room.jid}/Other'/>")
        found = visitor.client.wait("an error", lambda s: s.kind == "presence" and s.type == "error" and s.bare == room.jid,
                                    since=visitor.since)
        if found.condition not in conditions:
            raise Missed(f"{status} came as {found}")
    habits(c)
    there_and_back(visitor, romeo(c, room))


# Among few.

@conference_scene
def whispers(c):
    """Private messages go both ways, and to nobody else; to somebody who is not there they are refused."""
    room = hall(c)
    sitter, visitor, other = romeo(c, room), juliet(c, room), nurse(c, room)
    third = romeo(c, room, "Mercutio", 1)
    visitor.sees("Mercutio")
    text = says("My only love ü 🌹")
    visitor.whisper("Romeo", text)
    event = sitter.hears(c.juliet, text)
    if event["to"].split(";")[0] == room.uri and ";gr" not in event["to"]:
        raise Missed(f"it went to all: {event}")
    text = says("sprung from my only hate")
    sitter.speak(text, to=c.juliet.uri)
    visitor.gets("his answer", lambda s: s.type == "chat" and s.sender == f"{room.jid}/Romeo" and s.body == text)
    text = says("to the nurse")
    visitor.whisper("Nurse", text)
    other.gets("a whisper", lambda s: s.type == "chat" and s.sender == f"{room.jid}/Juliet" and s.body == text)
    visitor.refused(visitor.whisper("Tybalt", says("Who?")), ("item-not-found", "recipient-unavailable"))
    still()
    if third.lines() or [text for nick, text in other.lines()]:
        raise Missed(f"others heard it: {third.lines()} {other.lines()}")


@conference_scene
def types(c):
    """Who types to whom alone is shown, both ways."""
    room = hall(c)
    sitter, visitor = romeo(c, room), juliet(c, room)
    there_and_back(visitor, sitter)
    visitor.send("chat", visitor.place("Romeo"), f"<composing xmlns='{STATES}'/><x xmlns='{MUC}#user'/>")
    sitter.wait("that she types", lambda event: event.get("typing") == "active")
    visitor.mark()
    sitter.phone.do("whisper_typing", call=sitter.call, state="active", to=c.juliet.uri)
    visitor.gets("that he types", lambda s: s.type == "chat" and s.sender == visitor.place("Romeo") and s.has("composing"))


@conference_scene
def no_whispers(c):
    """Where the focus has no private messages, and where he has none, she is told; nothing goes to all."""
    habits(c, private=False)
    room = hall(c)
    sitter, visitor = romeo(c, room), juliet(c, room)
    visitor.refused(visitor.whisper("Romeo", says("unheard")))
    still()
    if sitter.lines():
        raise Missed(f"he heard {sitter.lines()}")
    there_and_back(visitor, sitter)


@conference_scene
def asks_in(c):
    """She asks a SIP user in: the focus calls him, and he is there; who declines is told of."""
    room = hall(c)
    visitor = juliet(c, room)
    phone = sip_phone(c)
    begin = phone.mark()
    visitor.invite(c.romeo.jid, "Come hither")
    asked = phone.wait_state("open")
    sitter = Sitter(phone, room)
    sitter.sits(asked["call"])
    offered = next(iter(phone.found(lambda event: event.get("state") == "offered", begin)))
    if "isfocus" not in (offered["contact"] or ""):
        raise Missed(f"he was not called by a focus: {offered}")
    focus_people(c, room, lambda people: c.romeo.uri in people, "he is in the room")
    text = says("Here thou art")
    visitor.say(text)
    sitter.hears(c.juliet, text)
    phone.do("bye", call=asked["call"])
    phone.do("answer", mode="refuse", status=603)
    visitor.mark()
    try:
        visitor.invite(c.romeo.jid, "And again")
        visitor.gets("that he declines", lambda s: "decline" in s.text)
    finally:
        phone.do("answer", chatroom="nickname private-messages", accepts=["message/cpim"])


@conference_scene
def is_asked_in(c):
    """A SIP user asks her in: she gets an invitation, enters, and is there; another declines."""
    room = hall(c)
    sitter = romeo(c, room)
    since = c.client.mark()
    done = sitter.phone.do("refer", call=sitter.call, target=c.juliet.uri)
    if done["status"] != 200:
        raise Missed(f"the focus answered {done['status']}")
    c.client.wait("an invitation", lambda s: s.kind == "message" and invitation(s) == room.jid, since=since)
    visitor = juliet(c, room)
    focus_people(c, room, lambda people: people.get(c.juliet.uri) == "Juliet", "she is in the room")
    there_and_back(visitor, sitter)
    other = another_client(c, 0)
    since, begin = other.mark(), sitter.phone.events.mark()
    sitter.phone.do("refer", call=sitter.call, target=other.person.uri)
    other.wait("an invitation", lambda s: s.kind == "message" and invitation(s) == room.jid, since=since)
    decline(other, room, c.romeo.jid, "Not now")
    sitter.wait("the end of the REFER", lambda event: "progress" in event and event.get("watch") == "terminated", 60, begin)


@conference_scene
def kicks(c):
    """Sent out by the focus she is told with 307 and 110; she sends somebody out, and may not always."""
    room = hall(c)
    sitter, visitor, other = romeo(c, room), juliet(c, room), nurse(c, room)
    other.mark()
    visitor.mark()
    c.phone.do("kick", room=room.name, who=c.juliet.uri, reason='SIP;cause=403;text="Out"')
    told = visitor.sees("Juliet", "unavailable", lambda told: 110 in told.codes)
    if 307 not in told.codes:
        raise Missed(f"she was sent out with {told.codes}")
    other.sees("Juliet", "unavailable")
    visitor.must_enter()
    visitor.mark()
    visitor.admin(nick="Romeo", role="none", reason="Enough")
    sitter.wait("that he is sent out", lambda event: event.get("state") == "ended" and event.get("by") == "peer")
    visitor.sees("Romeo", "unavailable", lambda told: 307 in told.codes)
    habits(c, may_kick="nobody")
    sitter = romeo(c, room)
    visitor.sees("Romeo")
    answer = visitor.ask("set", f"<query xmlns='{MUC}#admin'><item nick='Romeo' role='none'/></query>")
    if answer.type != "error" or answer.condition not in ("forbidden", "not-allowed"):
        raise Missed(f"the room answered {answer}")
    there_and_back(visitor, sitter)


@conference_scene
def banned(c):
    """Who is banned is out, and does not come in again until that is over."""
    room = hall(c)
    visitor = juliet(c, room)
    c.phone.do("kick", room=room.name, who=c.juliet.uri, ban=True)
    visitor.sees("Juliet", "unavailable")
    refusal = visitor.enter()
    if refusal.type != "error" or refusal.condition not in ("forbidden", "not-allowed"):
        raise Missed(f"she was answered {refusal}")
    c.phone.do("unban", room=room.name, who=c.juliet.uri)
    visitor.must_enter()


@conference_scene
def roles(c):
    """A moderator of the focus is shown as one; somebody whom the focus sends out goes with 307."""
    room = hall(c, moderators=[c.romeo.uri])
    sitter, visitor = romeo(c, room), juliet(c, room, enter=False)
    visitor.mark()
    visitor.must_enter()
    if visitor.sees("Romeo").get("role") != "moderator" or visitor.sees("Juliet").get("role") != "participant":
        raise Missed("the roles are not those of the roster")
    visitor.mark()
    c.phone.do("kick", room=room.name, who=c.romeo.uri)
    if 307 not in visitor.sees("Romeo", "unavailable").codes:
        raise Missed("he went without 307")
    sitter.wait("his end", lambda event: event.get("state") == "ended")


@conference_scene
def thinks_better(c):
    """She leaves while the focus still thinks of letting her in: it is called off, and nobody is in."""
    habits(c, after=3)
    room = hall(c)
    visitor = juliet(c, room, enter=False)
    visitor.client.raw(f"<presence to='{room.jid}/Juliet'><x xmlns='{MUC}'/></presence>")
    still()
    visitor.leave()
    still(4)
    focus_people(c, room, lambda people: not people, "nobody is in the room")
    habits(c)
    visitor.must_enter()


@conference_scene
def vanishes(c):
    """Her client dies without a word: she has left the room of the focus, too."""
    room = hall(c)
    sitter, other = romeo(c, room), nurse(c, room)
    sitter.shows("the nurse", lambda people: "Nurse" in people)
    if c.client.module.KEY == "strophe":
        raise NotWith("its session waits for it to come back (XEP-0198)")
    other.client.gone()
    focus_people(c, room, lambda people: other.client.person.uri not in people, "the nurse has left")
    sitter.shows("no nurse", lambda people: "Nurse" not in people or people["Nurse"].get("left"))


# Several at once.

@conference_scene
def twenty(c):
    """Ten XMPP users and ten SIP users: everybody sees everybody, and hears every line of the others, once, in one order."""
    room = hall(c)
    guests = [juliet(c, room, "X0"), *(nurse(c, room, f"X{number}", number - 1) for number in range(1, 10))]
    sitters = [romeo(c, room, f"S{number}", number, watch=number < 2) for number in range(10)]
    everybody = {f"X{number}" for number in range(10)} | {f"S{number}" for number in range(10)}
    for guest in guests:
        since = guest.since
        processes.wait(f"{guest.nick} sees all", lambda: everybody - {guest.nick} <= {nick for nick, _ in guest.people(0)}, 30)
        guest.since = since
    for sitter in sitters[:2]:
        sitter.shows("all", lambda people: everybody <= set(people))
    for part in (*guests, *sitters):
        part.mark()
    texts = [says(f"{round_} of {number}") for round_ in range(3) for number in range(10)]
    for number, text in enumerate(texts):
        guests[number % 10].say(f"x {text}")
        sitters[number % 10].speak(f"s {text}")
    for guest in guests:
        processes.wait(f"{guest.nick} has all", lambda: len(guest.lines()) >= 60, 40)
    for number, sitter in enumerate(sitters):
        processes.wait(f"S{number} has all", lambda: len(sitter.lines()) >= 57, 40)
    # One's own line stands where its answer arrived: the others' are in one order for all.
    order = [text for nick, text in guests[0].lines() if nick.startswith("S")]
    for guest in guests:
        if len(guest.lines()) != 60 or [text for nick, text in guest.lines() if nick.startswith("S")] != order:
            raise Missed(f"{guest.nick} has {guest.lines()}")
    for sitter in sitters:
        if len(sitter.lines()) != 57 or [text for text in sitter.lines() if text.startswith("s ")] != [
                text for text in order if text in sitter.lines()]:
            raise Missed(f"a SIP user has {sitter.lines()}")
    for guest in guests:
        guest.leave()
    focus_people(c, room, lambda people: len(people) == 10, "no ghost is left")


@conference_scene
def second_resource(c):
    """She enters with a second client under the same nick: both hear all; one leaves, and the other stays."""
    room = hall(c)
    sitter, visitor = romeo(c, room), juliet(c, room)
    other = another_client(c, 0, c.juliet, "orchard")
    second = Visitor(other, room, "Juliet")
    c.visitors.append(second)
    second.must_enter()
    visitor.mark()
    second.mark()
    text = says("to both")
    sitter.speak(text)
    for guest in (visitor, second):
        guest.hears("Romeo", text)
    text = says("from one")
    visitor.say(text)
    sitter.hears(c.juliet, text)
    second.hears("Juliet", text)
    visitor.leave()
    visitor.sees("Juliet", "unavailable")
    there_and_back(second, sitter)
    if any(stanza.type == "unavailable" for stanza in second.client.all(
            lambda s: s.kind == "presence" and s.sender == f"{room.jid}/Juliet", second.since)):
        raise Missed("the second client was told that it is out")
    second.leave()
    focus_people(c, room, lambda people: c.juliet.uri not in people, "she has left")


# What it says of itself.

@conference_scene
def discovers(c):
    """The service and the room say what they are; the room says who is in; what SIP has nothing for is refused."""
    room = hall(c)
    romeo(c, room)
    visitor = juliet(c, room)

    def ask(kind, query, to):
        root = ElementTree.fromstring(visitor.ask(kind, query, to).text)
        return root.get("type"), {child.get("var") for child in root.iter() if local(child) == "feature"}, [
            (child.get("category"), child.get("type")) for child in root.iter() if local(child) == "identity"], [
            child.get("jid") for child in root.iter() if local(child) == "item"]

    for to in (FOCUS_DOMAIN, room.jid):
        kind, features, identities, _ = ask("get", f"<query xmlns='{INFO}'/>", to)
        if kind != "result" or MUC not in features or not any(category == "conference" for category, _ in identities):
            raise Missed(f"{to} says {kind} {features} {identities}")
    kind, _, _, items = ask("get", f"<query xmlns='{ITEMS}'/>", room.jid)
    if kind != "result" or not set(items) <= {f"{room.jid}/Romeo", f"{room.jid}/Juliet"}:
        raise Missed(f"in the room are {kind} {items}")
    for query in (f"<query xmlns='{MUC}#owner'/>", f"<query xmlns='{MUC}#admin'><item affiliation='outcast'/></query>"):
        answer = visitor.ask("get", query)
        if answer.type not in ("result", "error"):
            raise Missed(f"{query} was answered {answer}")
    answer = visitor.ask("get", "<ping xmlns='urn:xmpp:ping'/>", visitor.place())
    if answer.type != "result":
        raise Missed(f"the self-ping was answered {answer}")
    visitor.leave()
    visitor.sees("Juliet", "unavailable")
    answer = visitor.ask("get", "<ping xmlns='urn:xmpp:ping'/>", visitor.place())
    if answer.condition != "not-acceptable":
        raise Missed(f"the self-ping from outside was answered {answer}")


@conference_scene
def refusals(c):
    """A room that is not there, is locked, is full, declines: each is an error that says so."""
    for status, conditions in ((404, ("item-not-found",)), (403, ("forbidden", "not-allowed")), (486, ("service-unavailable",
                               "recipient-unavailable", "resource-constraint")), (488, ("not-acceptable", "feature-not-implemented")),
                               (603, ("forbidden", "not-allowed", "recipient-unavailable", "service-unavailable", "not-acceptable"))):
        habits(c, invite=status)
        refusal = juliet(c, hall(c), enter=False).enter()
        if refusal.type != "error" or refusal.condition not in conditions:
            raise Missed(f"{status} came as {refusal}")


def told_of(c, visitor, what, codes):
    """Told that the room is gone."""
    found = visitor.sees("Juliet", "unavailable", lambda told: 110 in told.codes, 60)
    if not codes & found.codes:
        raise Missed(f"{what} came with {found.codes}")


@conference_scene
def closes(c):
    """The room is closed by its focus: she is out and told so; a new one of that name can be entered."""
    room = hall(c)
    visitor = juliet(c, room)
    visitor.mark()
    c.phone.do("close", room=room.name)
    told_of(c, visitor, "the end of the room", {332, 333, 307})
    visitor.must_enter()
    there_and_back(visitor, romeo(c, room))


ALL = [
    ("enters", joins),
    ("comes and goes", comes_and_goes),
    ("talks", talks),
    ("history", history),
    ("subject", subjects),
    ("nick taken", nick_taken),
    ("nick changes", nick_changes),
    ("odd nicks", odd_nicks),
    ("names of others", no_nicks_of_xmpp),
    ("bad nicks", bad_nicks),
    ("private messages", whispers),
    ("typing", types),
    ("no private messages", no_whispers),
    ("asks in", asks_in),
    ("is asked in", is_asked_in),
    ("kicks", kicks),
    ("banned", banned),
    ("roles", roles),
    ("thinks better of it", thinks_better),
    ("vanishes", vanishes),
    ("twenty", twenty),
    ("second client", second_resource),
    ("disco", discovers),
    ("refusals", refusals),
    ("closes", closes),
    *conference_trouble.ALL,
]
