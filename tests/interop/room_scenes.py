"""A SIP user in rooms of an XMPP server, played by any XMPP client with the chat phone.

Each scene makes rooms of its own and ends with a look at what the phones complain of: a rule that the gateway broke is a
miss, whatever else went well. The roster's rules (full first, versions rising by one) are looked at in all of them.
"""

import itertools

import profanity
import room_trouble
from chat.phone import filler
from place import ROOMS_DOMAIN
from processes import Missed
from scenes import NotWith
from room_steps import (CHATROOM, NICK, Caller, Guest, Room, Told, fresh, made, mercutio, names, nurse, romeo, room_scene, soon,
                        still, there_and_back)
from session_steps import LONG, says

CROWD = 10


# Coming and going.

@room_scene
def joins(c):
    """The SIP user calls the room and is in it under his display name; he sees who is there and what they may do."""
    juliet = made(c)
    nurse(c, juliet.room)
    caller = Caller(c.phone, juliet.room)
    caller.enter()
    tag = caller.wait("the answer", lambda event: "contact" in event and "tag" in event)
    if ";isfocus" not in tag["contact"]:
        raise Missed(f"the Contact is {tag['contact']}")
    lines = caller.wait("the answer's SDP", lambda event: "chatroom" in event)
    if lines["chatroom"] != [CHATROOM]:
        raise Missed(f"a=chatroom is {lines['chatroom']}")
    seen = juliet.sees(NICK)
    if seen.get("role") != "participant":
        raise Missed(f"he is shown as {seen.get('role')}")
    first = caller.watch()
    if (first["state"], sorted(names(first["roster"]))) != ("full", ["Juliet", "Nurse", NICK]):
        raise Missed(f"the roster is {first}")
    roles = {name: entry["roles"] for name, entry in names(first["roster"]).items()}
    if roles != {"Juliet": ["moderator"], "Nurse": ["participant"], NICK: ["participant"]}:
        raise Missed(f"the roles are {roles}")
    own = names(first["roster"])[NICK]
    if own.get("aors") != [c.romeo.uri] or own.get("status") != "connected" or own.get("joined") != "dialed-in":
        raise Missed(f"his own entry is {own}")
    there_and_back(juliet, caller)


@room_scene
def leaves(c):
    """He hangs up and is out at once; he calls again and is in."""
    juliet = made(c)
    for _number in range(2):
        caller = romeo(c, juliet.room)
        juliet.sees(NICK)
        caller.hang_up()
        juliet.sees(NICK, "unavailable")
        juliet.mark()


@room_scene
def conflict(c):
    """His name is taken: he gets a number; and a SIP user of the same name the next one."""
    juliet = made(c)
    nurse(c, juliet.room, NICK)
    first = romeo(c, juliet.room)
    juliet.sees(f"{NICK} 2")
    second = mercutio(c, juliet.room, name=NICK)
    juliet.sees(f"{NICK} 3")
    there_and_back(juliet, second, f"{NICK} 3")
    there_and_back(juliet, first, f"{NICK} 2")


@room_scene
def two_devices(c):
    """He calls with two devices: whether the room has them under one nick or two, both read on, and the roster shows him as long
    as one is there."""
    juliet = made(c)
    watcher = mercutio(c, juliet.room)
    watcher.watch()
    first, second = romeo(c, juliet.room), romeo(c, juliet.room)
    first.watch()
    own = lambda people: [name for name in people if name.startswith(NICK)]
    watcher.shows("him", own)
    text = says("To both of you")
    juliet.say(text)
    first.hears("Juliet", text)
    second.hears("Juliet", text)
    since = watcher.mark()
    first.hang_up()
    juliet.mark()
    nick = second.speak(says("Still here")) and NICK
    soon("his line", lambda: [line for line in juliet.lines() if line[0].startswith(nick)])
    still(2.5)
    last = ([event["roster"] for event in watcher.found(lambda event: "roster" in event, since)]
            or [watcher.found(lambda event: "roster" in event, 0)[-1]["roster"]])[-1]
    if len(own(names(last))) != 1:
        raise Missed(f"with one device left the roster shows {sorted(names(last))}")
    second.hang_up()
    watcher.shows("nobody of that name", lambda people: not own(people))


@room_scene
def offers(c):
    """Refused with 488: no message/cpim, no chat at all. Taken: no a=chatroom, audio beside the chat, msrps, no SDP."""
    juliet = made(c)
    caller = Caller(c.phone, juliet.room)
    caller.enter(expect=488, accepts=["text/plain"])
    for shape in ({"chatroom": "none"}, {"audio": "before"}, {"tls": True}, {"late": True}, {"setup": "active"}):
        caller = romeo(c, juliet.room, **shape)
        there_and_back(juliet, caller)
        juliet.mark()
        caller.hang_up()
        juliet.sees(NICK, "unavailable")


@room_scene
def rosters(c):
    """People come, go, and change: each change is told, versions rise by one, a refresh brings all, two watch at once."""
    juliet = made(c)
    first, second = romeo(c, juliet.room), mercutio(c, juliet.room)
    first.watch()
    done = c.phone.do("watch", to=juliet.room.uri)
    if done["status"] != 200:
        raise Missed(f"a SUBSCRIBE of its own was answered {done['status']}")
    second.watch()
    for turn in range(3):
        guest = nurse(c, juliet.room, f"Nurse {turn}")
        for caller in (first, second):
            caller.shows("the nurse", lambda people, turn=turn: f"Nurse {turn}" in people)
            caller.mark()
        guest.leave()
        for caller in (first, second):
            caller.shows("no nurse", lambda people, turn=turn: f"Nurse {turn}" not in people and "Juliet" in people)
    since = c.phone.events.mark()
    if c.phone.do("watch", again=done["watch"])["status"] != 200:
        raise Missed("a refresh was refused")
    # What was due before may come first.
    whole = lambda event: event.get("state") == "full" and "roster" in event and "call" not in event
    found = c.phone.events.wait("a full document after the refresh", whole, since=since)
    if sorted(names(found["roster"])) != ["Juliet", "Mercutio", NICK]:
        raise Missed(f"after a refresh: {found}")
    since = c.phone.events.mark()
    c.phone.do("watch", again=done["watch"], expires=0)
    c.phone.events.wait("the last NOTIFY", lambda event: event.get("watch") == "terminated" and "call" not in event, since=since)
    second.hang_up()
    first.shows("no Mercutio", lambda people: "Mercutio" not in people)


@room_scene
def slow_watcher(c):
    """A watcher that refuses a NOTIFY loses no change: the next document is full."""
    juliet = made(c)
    caller = romeo(c, juliet.room)
    caller.watch()
    since = c.phone.events.mark()
    c.phone.do("notifies", status=500)
    guest = nurse(c, juliet.room)
    still(2)
    c.phone.do("notifies")
    guest.rename("Angelica")
    found = caller.wait("all who are there", lambda event: "roster" in event and "Angelica" in names(event["roster"]), 40, since)
    if found["state"] != "full" or sorted(names(found["roster"])) != ["Angelica", "Juliet", NICK]:
        raise Missed(f"the document was {found}")


# Talking.

@room_scene
def in_order(c):
    """Two XMPP users and two SIP users talk at once: everybody reads the others' lines in the same order, and nobody his own."""
    juliet = made(c)
    guest, first, second = nurse(c, juliet.room), romeo(c, juliet.room), mercutio(c, juliet.room)
    speaks(juliet, [juliet, guest], {NICK: first, "Mercutio": second}, 25)


def speaks(witness, guests, callers, count):
    """Everybody writes `count` lines; all is read by all, in the order that the witness sees."""
    for one in (*guests, *callers.values()):
        one.mark()
    word, orders = says("line"), []
    for caller in callers.values():
        orders.append((caller, [caller.phone.tell("speak", call=caller.call, text=f"{word} {number}") for number in range(count)]))
    for number in range(count):
        for guest in guests:
            guest.say(f"{word} {number}")
    for caller, numbers in orders:
        for number in numbers:
            done = caller.phone.end(number, 60)
            if done["status"] != 200:
                raise Missed(f"a SEND was answered {done['status']}")
    everything = count * (len(guests) + len(callers))
    of_all = lambda one: [line for line in one.lines() if line[1].startswith(word)]
    soon("all lines at the witness", lambda: len(of_all(witness)) >= everything, 60)
    order = of_all(witness)
    for guest in guests:
        soon("all lines at an XMPP user", lambda guest=guest: len(of_all(guest)) >= everything, 60)
        if of_all(guest) != order:
            raise Missed(f"{guest.nick} reads another order")
    for nick, caller in callers.items():
        expected = [line for line in order if line[0] != nick]
        soon(f"all lines at {nick}", lambda caller=caller, expected=expected: len(of_all(caller)) >= len(expected), 60)
        still(0.2)
        if of_all(caller) != expected:
            raise Missed(f"{nick} reads {of_all(caller)[:8]}, not {expected[:8]}")


@room_scene
def crowd(c):
    """Ten XMPP users and ten SIP users: all see all, and everybody's lines come to all, once and in one order."""
    juliet = made(c)
    guests = [juliet] + [nurse(c, juliet.room, f"Nurse {number}", number) for number in range(CROWD - 1)]
    callers = {NICK: romeo(c, juliet.room)}
    callers |= {f"Mercutio {number}": mercutio(c, juliet.room, number, f"Mercutio {number}") for number in range(CROWD - 1)}
    everybody = {guest.nick for guest in guests} | set(callers)
    for caller in callers.values():
        caller.watch()
        caller.shows("everybody", lambda people: set(people) == everybody, since=0)
    for guest in guests:
        for nick in callers:
            guest.sees(nick, since=0)
    speaks(juliet, guests, callers, 5)
    for part in [*c.more]:
        stop = getattr(part, "stop", None) or part.offline
        stop()
    c.more.clear()
    callers[NICK].shows("two people", lambda people: sorted(people) == ["Juliet", NICK], 60)


def long_line(size):
    @room_scene
    def played(c):
        juliet = made(c)
        caller = romeo(c, juliet.room)
        text = filler(size)
        caller.speak(text)
        juliet.client.wait("the long line", lambda s: s.kind == "message" and s.type == "groupchat"
                           and (s.body or "").rstrip() == text.rstrip(), since=juliet.since)
        juliet.say(text)
        caller.wait("the long line", lambda event: event.get("message", "").rstrip() == text.rstrip())
    played.__doc__ = f"A line of {size // 1000} kB goes both ways."
    return played


@room_scene
def reports(c):
    """Success-Report: yes: the REPORT comes once the room has the line, once; none comes unasked."""
    juliet = made(c)
    caller = romeo(c, juliet.room)
    said = caller.speak(says("Hast thou it?"), success=True)
    reported = lambda event: event.get("report") == said["ids"][0] and event["status"] == 200
    caller.wait("a success REPORT", reported)
    caller.speak(says("And this?"))
    still()
    if len(caller.found(lambda event: "report" in event)) != 1:
        raise Missed("more REPORTs than were asked for")


@room_scene
def private(c):
    """Private lines go both ways, also between two SIP users; nobody else reads them. To one who is not there: 404."""
    juliet = made(c)
    guest, first, second = nurse(c, juliet.room), romeo(c, juliet.room), mercutio(c, juliet.room)
    text = says("For thee alone ü")
    juliet.whisper(NICK, text)
    first.hears("Juliet", text, private_to=NICK)
    text = says("And this for thee")
    first.speak(text, to="Juliet")
    juliet.client.wait("a private line", lambda s: s.kind == "message" and s.type == "chat" and s.sender == juliet.place(NICK)
                       and s.body == text, since=juliet.since)
    between = says("Between us")
    first.speak(between, to="Mercutio")
    second.hears(NICK, between, private_to="Mercutio")
    first.speak("Anybody?", 404, to="Nobody")
    still()
    if guest.client.all(lambda s: s.body and s.bare == juliet.room.jid and s.type != "groupchat", guest.since):
        raise Missed("the nurse reads private lines")
    if [line for line in second.lines() if line[1] != between]:
        raise Missed(f"Mercutio reads {second.lines()}")


@room_scene
def not_private(c):
    """A client without a=chatroom gets no private lines: their sender is told."""
    juliet = made(c)
    caller = romeo(c, juliet.room, chatroom="none")
    name = juliet.whisper(NICK, says("For thee alone"))
    juliet.client.wait("an error", lambda s: s.kind == "message" and s.type == "error" and s.id == name, since=juliet.since)
    there_and_back(juliet, caller)
    if len(caller.lines()) != 1:
        raise Missed(f"he reads {caller.lines()}")


@room_scene
def subjects(c):
    """The subject changes from both sides, and shows in the roster; who may not change it is refused with 403."""
    juliet = made(c, changesubject="1")
    juliet.subject("Two households")
    caller = romeo(c, juliet.room)
    caller.wait("the subject", lambda event: event.get("subject") == "Two households" and "message" in event)
    if caller.watch()["subject"] != "Two households":
        raise Missed("the roster has another subject")
    juliet.mark()
    caller.speak("", subject="Both alike in dignity")
    juliet.client.wait("the subject", lambda s: s.kind == "message" and s.type == "groupchat" and s.text.count(
        "<subject>Both alike in dignity</subject>"), since=juliet.since)
    caller.wait("the roster's subject", lambda event: "roster" in event and event["subject"] == "Both alike in dignity")
    juliet.configure(changesubject="0")
    caller.speak("", 403, subject="Ancient grudge")


# Names.

@room_scene
def nicknames(c):
    """NICKNAME: with quotes and without, shown to all as a change of nick; 425 where it is taken. Others change theirs."""
    juliet = made(c)
    guest, caller = nurse(c, juliet.room), romeo(c, juliet.room)
    caller.watch()
    for nick, quotes, expect in (("Rosaline's Fool", True, 200), ("Romeo", False, 200), ("Nurse", True, 425), ("Romeo", True, 200),
                                 ("Römeo of Vérona", True, 200)):
        juliet.mark()
        status = c.phone.do("nick", call=caller.call, nick=nick, quotes=quotes)["status"]
        if status != expect:
            raise Missed(f"NICKNAME {nick} was answered {status}")
    juliet.sees("Römeo of Vérona")
    juliet.sees("Romeo", "unavailable", lambda told: 303 in told.codes and told.get("nick") == "Römeo of Vérona")
    caller.shows("his new name", lambda people: sorted(people) == ["Juliet", "Nurse", "Römeo of Vérona"])
    guest.rename("Angelica")
    caller.shows("her new name", lambda people: "Angelica" in people and "Nurse" not in people)
    juliet.mark()
    there_and_back(juliet, caller, "Römeo of Vérona")


# What a room decides.

@room_scene
def kicked(c):
    """Expelled: the call ends with the reason, the others see how; he may call again."""
    juliet = made(c)
    first, second = romeo(c, juliet.room), mercutio(c, juliet.room)
    second.watch()
    juliet.admin("Peace!", nick=NICK, role="none")
    why = first.ended()
    if "cause=403" not in why or "expelled" not in why or "Peace!" not in why:
        raise Missed(f"the Reason is {why}")
    second.shows("one less", lambda people: NICK not in people)
    there_and_back(juliet, romeo(c, juliet.room))


@room_scene
def banned(c):
    """Banned: the call ends, and the next one is refused with 403 and words."""
    juliet = made(c)
    caller = romeo(c, juliet.room)
    juliet.admin("Hence from Verona art thou banished", jid=c.romeo.jid, affiliation="outcast")
    why = caller.ended()
    if "cause=403" not in why or "banned" not in why:
        raise Missed(f"the Reason is {why}")
    reason = Caller(c.phone, juliet.room).enter(expect=403)["reason"]
    if "banned" not in reason:
        raise Missed(f"the words are {reason}")
    juliet.admin(jid=c.romeo.jid, affiliation="none")
    romeo(c, juliet.room)


@room_scene
def members(c):
    """A room for members: 403 for others; a member is let in, and put out when he is none any more."""
    juliet = made(c, membersonly="1")
    reason = Caller(c.phone, juliet.room).enter(expect=403)["reason"]
    if "members" not in reason:
        raise Missed(f"the words are {reason}")
    juliet.admin(jid=c.romeo.jid, affiliation="member")
    caller = romeo(c, juliet.room)
    juliet.admin(jid=c.romeo.jid, affiliation="none")
    why = caller.ended()
    if "cause=403" not in why or "member" not in why:
        raise Missed(f"the Reason is {why}")


@room_scene
def closes(c):
    """A room becomes one for members only: who is none is put out, and told why."""
    juliet = made(c)
    caller = romeo(c, juliet.room)
    juliet.configure(membersonly="1")
    why = caller.ended()
    if "cause=403" not in why or "members" not in why:
        raise Missed(f"the Reason is {why}")


@room_scene
def passwords(c):
    """A room with a password: 403 without and with another one; the right one, with odd letters, opens it."""
    juliet = made(c, passwordprotectedroom="1", roomsecret="balc ony/ü")
    for user in ("", ":other"):
        reason = Caller(c.phone, juliet.room).enter(expect=403, to=f"sip:{juliet.room.name}{user}@{ROOMS_DOMAIN}")["reason"]
        if "password" not in reason:
            raise Missed(f"the words are {reason}")
    caller = romeo(c, juliet.room, to=f"sip:{juliet.room.name}:balc%20ony%2F%C3%BC@{ROOMS_DOMAIN}")
    there_and_back(juliet, caller)


@room_scene
def destroyed(c):
    """The room is destroyed: the call ends, and names where the room went on."""
    juliet = made(c)
    caller = romeo(c, juliet.room)
    other = Room()
    juliet.destroy(other.jid, "Too hot")
    why = caller.ended()
    if "cause=410" not in why or other.uri not in why or "Too hot" not in why:
        raise Missed(f"the Reason is {why}")


@room_scene
def voice(c):
    """In a moderated room he may only listen: 403 for what he says, until he is given voice."""
    juliet = made(c, moderatedroom="1")
    caller = romeo(c, juliet.room)
    caller.watch()
    # Some servers give voice to whoever comes.
    juliet.admin(nick=NICK, role="visitor")
    caller.shows("an observer", lambda people: people.get(NICK, {}).get("roles") == ["observer"], since=0)
    caller.speak(says("May I?"), 403)
    juliet.admin(nick=NICK, role="participant")
    caller.shows("a participant", lambda people: people.get(NICK, {}).get("roles") == ["participant"])
    there_and_back(juliet, caller)


@room_scene
def addresses(c):
    """Real addresses are in the roster where the room shows them to all, and not where it does not."""
    juliet = made(c, whois="moderators")
    caller = romeo(c, juliet.room)
    hidden = names(caller.watch()["roster"])["Juliet"].get("aors")
    caller.hang_up()
    juliet = made(c, whois="anyone")
    caller = romeo(c, juliet.room)
    shown = names(caller.watch()["roster"])["Juliet"].get("aors")
    if (hidden, shown) != (None, [c.juliet.uri]):
        raise Missed(f"hidden: {hidden}; shown: {shown}")


# Asking in, putting out.

@room_scene
def invited(c):
    """An invitation through the room, and a direct one: the phone rings, with the reason; taken, he is in the room."""
    for direct in (False, True):
        juliet = made(c)
        since = c.phone.mark()
        (juliet.invite_directly if direct else juliet.invite)(c.romeo.jid, "Come, gentle night")
        call = rings(c, juliet.room, since)
        nick = comes(c, juliet)
        taken = Caller(c.phone, juliet.room)
        taken.call, taken.since = call["call"], since
        there_and_back(juliet, taken, nick)
        first = taken.watch()
        own = names(first["roster"])[nick]
        if own.get("joined") != "dialed-out":
            raise Missed(f"his own entry is {own}")
        taken.hang_up()
        juliet.sees(nick, "unavailable")


def comes(c, juliet):
    """The SIP user is in the room, under the name that he last called with, or his user part; it."""
    nicks = (NICK, c.romeo.user)
    seen = juliet.client.wait("him in the room", lambda s: s.kind == "presence" and s.type is None and s.sender in [
        juliet.place(nick) for nick in nicks], since=juliet.since)
    return seen.sender.partition("/")[2]


def rings(c, room, since, reason="Come, gentle night"):
    """The call of a focus."""
    call = c.phone.wait("a call from the room", lambda event: event.get("state") == "offered", since=since)
    if call["caller"] != room.uri or ";isfocus" not in (call["contact"] or "") or reason not in (call["subject"] or ""):
        raise Missed(f"the call was {call}")
    return call


@room_scene
def declined(c):
    """He refuses the call: who has invited is told no, in words."""
    juliet = made(c)
    c.phone.do("answer", mode="refuse", status=486)
    since = c.phone.mark()
    juliet.invite(c.romeo.jid, "Come, gentle night")
    rings(c, juliet.room, since)
    found = juliet.client.wait("a no", lambda s: s.kind == "message" and s.bare == juliet.room.jid and "decline" in Told(s).parts,
                               since=juliet.since)
    if "busy" not in found.text:
        raise Missed(f"the no says {found}")


@room_scene
def asks_in(c):
    """REFER in the call, and outside of it: the nurse is asked in by the room, and the last word of the REFER is 100."""
    juliet = made(c, allowinvites="1")
    guest, caller = nurse(c, juliet.room, enter=False), romeo(c, juliet.room)
    target = guest.client.person.uri
    for how in ({"call": caller.call}, {"to": juliet.room.uri}):
        guest.mark()
        since = c.phone.events.mark()
        done = c.phone.do("refer", target=target, **how)
        if done["status"] != 200:
            raise Missed(f"the REFER was answered {done['status']}")
        guest.client.wait("an invitation", lambda s: s.kind == "message" and s.bare == juliet.room.jid
                          and "invite" in Told(s).parts, since=guest.since)
        c.phone.events.wait("the end of the REFER", lambda event: event.get("progress") == "SIP/2.0 100 Trying"
                            and event["watch"] == "terminated" and event["why"] == "noresource", since=since)
    juliet.mark()
    guest.enter()
    juliet.sees("Nurse")
    if c.phone.do("refer", target="sip:x@elsewhere.example", call=caller.call)["status"] != 404:
        raise Missed("somebody who cannot be reached was asked in")


@room_scene
def asks_sip(c):
    """REFER for a SIP user: his phone rings, and he is in the room."""
    juliet = made(c, allowinvites="1")
    caller = mercutio(c, juliet.room)
    since = c.phone.mark()
    if caller.phone.do("refer", target=c.romeo.uri, call=caller.call)["status"] != 200:
        raise Missed("the REFER was refused")
    call = c.phone.wait("a call from the room", lambda event: event.get("state") == "offered", since=since)
    if call["caller"] != juliet.room.uri:
        raise Missed(f"the call was {call}")
    comes(c, juliet)


@room_scene
def expels(c):
    """REFER with method=BYE: refused by the room with 403 for one who may not; done for a moderator, by nick and by address."""
    juliet = made(c)
    caller = romeo(c, juliet.room)
    expelled(c, caller, juliet.room.occupant("Juliet"), 403)
    juliet.admin(nick=NICK, role="moderator")
    caller.watch()
    caller.shows("a moderator", lambda people: people.get(NICK, {}).get("roles") == ["moderator"], since=0)
    guest = nurse(c, juliet.room)
    caller.shows("the nurse", lambda people: "Nurse" in people)
    expelled(c, caller, juliet.room.occupant("Nurse"), 200)
    guest.sees("Nurse", "unavailable", lambda told: 307 in told.codes)
    other = mercutio(c, juliet.room)
    expelled(c, caller, other.phone.person.uri, 200, outside=True)
    if "expelled" not in other.ended():
        raise Missed("Mercutio was not told why")
    if c.phone.do("refer", target=juliet.room.occupant("Nobody"), method="BYE", call=caller.call)["status"] != 404:
        raise Missed("somebody was put out who is not there")
    if c.phone.do("refer", target=juliet.room.occupant("Juliet"), method="OPTIONS", call=caller.call)["status"] != 400:
        raise Missed("a REFER with another method was taken")


def expelled(c, caller, target, status, **how):
    since = c.phone.events.mark()
    done = c.phone.do("refer", target=target.replace(" ", "%20"), method="BYE", call=caller.call, **how)
    if done["status"] != 200:
        raise Missed(f"the REFER was answered {done['status']}")
    c.phone.events.wait(f"{status} of the REFER", lambda event: (event.get("progress") or "").startswith(f"SIP/2.0 {status}")
                        and event["watch"] == "terminated", since=since)


@room_scene
def factory(c):
    """He calls new@: a new room that is not locked, and whoever is on his list is asked in."""
    juliet = Guest(c.client, Room("x"), "Juliet")
    c.client.child.events.mark()
    since = c.client.mark()
    caller = Caller(c.phone, Room("new"))
    done = caller.enter(factory=True, guests=[c.juliet.uri])
    if not done["focus"]:
        raise Missed("the answer names no room")
    room = Room(done["focus"].partition(":")[2].partition("@")[0])
    if len(room.name) < 16 or done["focus"].partition("@")[2] != ROOMS_DOMAIN:
        raise Missed(f"the new room is {done['focus']}")
    c.client.wait("an invitation", lambda s: s.kind == "message" and s.bare == room.jid and "invite" in Told(s).parts, since=since)
    juliet.room = caller.room = room
    if juliet.enter().type == "error":
        raise Missed("the new room does not let her in")
    juliet.mark()
    there_and_back(juliet, caller)


@room_scene
def profanity_user(c):
    """A person at Profanity, who knows nothing of gateways: enters, talks, whispers, sets the subject, invites, expels."""
    if profanity.VERSION is None:
        raise NotWith("Profanity is not installed")
    juliet = made(c, whois="moderators", changesubject="1")
    room = juliet.room
    person = c.gateway.place.xmpp_crowd[CROWD - 1]
    terminal = profanity.Profanity(c.gateway.place, person)
    c.more.append(terminal)
    terminal.start()
    terminal.type(f"/join {room.jid} nick Nurse")
    juliet.sees("Nurse")
    caller = romeo(c, room)
    caller.watch()
    text = says("I am here, gentle nurse")
    caller.speak(text)
    terminal.shows(room, text)
    text = says("Is it e'en so? ü")
    terminal.type(text)
    caller.hears("Nurse", text)
    terminal.type("/subject set Two households")
    caller.wait("the subject", lambda event: event.get("subject") == "Two households" and "message" in event)
    text = says("For thee alone")
    terminal.type(f'/msg "{NICK}" {text}')
    caller.hears("Nurse", text, private_to=NICK)
    caller.hang_up()
    juliet.sees(NICK, "unavailable")
    since = c.phone.mark()
    juliet.mark()
    terminal.type("/win 2")
    terminal.type(f"/invite send {c.romeo.jid} Come, gentle night")
    rings(c, room, since)
    nick = comes(c, juliet)
    juliet.admin(nick="Nurse", role="moderator")
    still()
    terminal.type(f'/kick "{nick}" Peace')
    c.phone.wait("the end of the call", lambda event: event.get("state") == "ended" and "expelled" in (event.get("why") or ""),
                 since=since)


SLOW = frozenset(("20 people", "200 kB", "slow watcher", "server stops", "gateway stops"))
ALL = [
    ("join", joins),
    ("leave", leaves),
    ("name taken", conflict),
    ("two devices", two_devices),
    ("offers", offers),
    ("lines in order", in_order),
    ("30 kB", long_line(30_000)),
    ("200 kB", long_line(LONG)),
    ("REPORTs", reports),
    ("private lines", private),
    ("no private lines", not_private),
    ("subject", subjects),
    ("NICKNAME", nicknames),
    ("rosters", rosters),
    ("slow watcher", slow_watcher),
    ("addresses", addresses),
    ("kick", kicked),
    ("ban", banned),
    ("members only", members),
    ("becomes members only", closes),
    ("password", passwords),
    ("destroyed", destroyed),
    ("voice", voice),
    ("invitations", invited),
    ("invitation refused", declined),
    ("REFER: ask in", asks_in),
    ("REFER: ask a SIP user in", asks_sip),
    ("REFER: put out", expels),
    ("new room", factory),
    ("lost connection", room_trouble.lost_connection),
    ("bad peers", room_trouble.bad_peers),
    ("Profanity", profanity_user),
    ("20 people", crowd),
    ("link lost", room_trouble.link_lost(noticed=True)),
    ("link half open", room_trouble.link_lost(noticed=False)),
    ("gateway stops", room_trouble.gateway_restarts(stop=True)),
    ("gateway killed", room_trouble.gateway_restarts(stop=False)),
    ("server stops", room_trouble.server_restarts(stop=True)),
    ("server killed", room_trouble.server_restarts(stop=False)),
]
