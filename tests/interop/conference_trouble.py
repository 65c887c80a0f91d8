"""Rooms of a focus that is odd, breaks rules, or goes away; and a gateway that does."""

import processes
from conference_steps import conference_scene, focus_people, habits, hall, juliet, nurse, romeo, still, there_and_back
from processes import Missed
from session_steps import says
from xmpp import Client


def odd(text, **more):
    """A room of a focus with such habits: she enters, hears and is heard, each line once, sees who comes and goes."""
    @conference_scene
    def played(c):
        habits(c, **more)
        room = hall(c)
        sitter, visitor = romeo(c, room, watch=False), juliet(c, room)
        visitor.sees("Romeo", since=0)
        there_and_back(visitor, sitter)
        other = romeo(c, room, "Mercutio", 1, watch=False)
        visitor.sees("Mercutio")
        there_and_back(visitor, other, "Mercutio")
        visitor.mark()
        other.leave()
        visitor.sees("Mercutio", "unavailable")
        text = says("once only")
        visitor.say(text)
        visitor.hears("Juliet", text)
        still()
        if len([line for line in visitor.lines() if line[1] == text]) != 1:
            raise Missed(f"her line came {visitor.lines()}")
        visitor.leave()
        focus_people(c, room, lambda people: c.juliet.uri not in people, "she has left")
    played.__doc__ = text
    return played


@conference_scene
def no_roster(c):
    """A focus that lets nobody watch: she is in all the same, and lines go both ways."""
    habits(c, watch=489)
    room = hall(c)
    sitter, visitor = romeo(c, room, watch=False), juliet(c, room)
    text = says("unseen")
    visitor.say(text)
    sitter.hears(c.juliet, text)
    visitor.hears("Juliet", text)
    text = says("unknown")
    sitter.speak(text)
    visitor.gets("his line", lambda s: s.type == "groupchat" and s.body and text in s.body)


@conference_scene
def no_nicks(c):
    """A focus without nicknames calls her what it likes: she is told her nick with 210."""
    habits(c, nicknames=False)
    room = hall(c)
    visitor = juliet(c, room, "Somebody Else", enter=False)
    entered = visitor.enter()
    if entered.type == "error":
        raise Missed(f"she was not let in: {entered}")
    text = says("who am I?")
    visitor.say(text)
    visitor.gets("her own line", lambda s: s.type == "groupchat" and s.body == text and s.sender == entered.sender)


@conference_scene
def bad_documents(c):
    """Rosters that are no XML, go back, name nobody, name one twice, are huge: the talk goes on, the next good one counts."""
    room = hall(c)
    sitter, visitor = romeo(c, room), juliet(c, room)
    head = f'<conference-info xmlns="urn:ietf:params:xml:ns:conference-info" entity="{room.uri}"'
    user = '<user entity="sip:twin@elsewhere.example"><display-text>Twin</display-text></user>'
    crowd = "".join(f'<user entity="sip:u{number}@x.example"><display-text>U{number}</display-text></user>' for number in range(2000))
    for document in ("", "no XML", "<other/>", head + ">", f'{head} state="full"/>', f'{head} state="partial" version="0"/>',
                     f'{head} state="partial" version="99999999999999999999"/>',
                     f'{head} version="1000"><users state="full">{user}{user}</users></conference-info>',
                     f'{head} version="1001" state="partial"><users state="partial"><user state="deleted"/><user/></users></conference-info>',
                     f'{head} version="1002"><users><user entity="x:&#x202e;"><display-text>{"🌹" * 300}&#x202e;</display-text></user></users>'
                     "</conference-info>", f'{head} version="1003"><users>{crowd}</users></conference-info>'):
        c.phone.do("document", room=room.name, text=document)
    text = says("still here")
    visitor.say(text)
    sitter.hears(c.juliet, text)
    visitor.leave()
    visitor.sees("Juliet", "unavailable", seconds=40)


@conference_scene
def refused_lines(c):
    """What the focus does not take comes back as an error; the talk goes on."""
    for status, conditions in ((403, ("forbidden", "not-allowed")), (413, ("policy-violation", "resource-constraint", "not-acceptable",
                               "not-allowed")), (481, None)):
        c.phone.do("manner", answer=status)
        visitor = juliet(c, hall(c))
        c.phone.do("manner")
        visitor.mark()
        found = visitor.refused(visitor.say(says(f"refused with {status}")), conditions)
        if "/" in found.sender and not found.sender.endswith("/Juliet"):
            raise Missed(f"the error is somebody else's: {found}")
        visitor.leave()


@conference_scene
def strangers(c):
    """Lines of the room itself and of somebody whom no roster shows come from the room, with the name in front."""
    room = hall(c)
    visitor = juliet(c, room)
    for sender, name in ((None, "Verona"), ("sip:ghost@elsewhere.example", "ghost")):
        text = says("From nobody")
        c.phone.do("say", room=room.name, text=text, sender=sender)
        line = visitor.gets("the line", lambda s: s.type == "groupchat" and s.body and text in s.body)
        if line.sender != room.jid and "/" in line.sender and line.sender.partition("/")[2] in ("Juliet", "Romeo"):
            raise Missed(f"it came as somebody's: {line}")
        if line.sender == room.jid and name not in line.body and sender is not None:
            raise Missed(f"nobody knows of whom it is: {line}")


@conference_scene
def focus_dies(c):
    """The focus is killed while they talk: everybody is told, and can enter again when it is back."""
    room = hall(c)
    visitor, other = juliet(c, room), nurse(c, room)
    there_and_back(visitor, romeo(c, room))
    visitor.mark()
    other.mark()
    c.phone.stop()
    try:
        for guest in (visitor, other):
            found = guest.sees(guest.nick, "unavailable", lambda told: 110 in told.codes, 90)
            if not {332, 333} & found.codes:
                raise Missed(f"{guest.nick} was told {found.codes}")
        refusal = visitor.enter(seconds=60)
        if refusal.type != "error":
            raise Missed(f"she is in a room of nobody: {refusal}")
    finally:
        c.phone.start()
        c.phone.mark()
        habits(c)
    again = hall(c)
    visitor.room = other.room = again
    visitor.must_enter()
    other.must_enter()
    there_and_back(visitor, romeo(c, again, number=1, nick="Romeo"))


@conference_scene
def lost_connection(c):
    """Her MSRP connection is torn off: she is told, or is in again by itself; never a ghost."""
    room = hall(c)
    visitor = juliet(c, room)
    visitor.mark()
    c.phone.do("drop", room=room.name, who=c.juliet.uri)
    visitor.sees("Juliet", "unavailable", lambda told: 110 in told.codes, 60)
    focus_people(c, room, lambda people: c.juliet.uri not in people, "no ghost is left")
    visitor.must_enter()
    there_and_back(visitor, romeo(c, room))


@conference_scene
def short_watch(c):
    """Subscriptions are short, and ended by the focus: they are refreshed and made again, and the roster stays right."""
    habits(c, longest=8)
    room = hall(c)
    visitor = juliet(c, room)
    begin = c.phone.mark()
    c.phone.wait("a refresh", lambda event: event.get("room") == room.name and ("refreshed" in event or "subscribed" in event), 20, begin)
    sitter = romeo(c, room, watch=False)
    visitor.sees("Romeo")
    c.phone.mark()
    c.phone.do("unwatch", room=room.name)
    c.phone.wait("another subscription", lambda event: event.get("room") == room.name and "subscribed" in event, 20)
    visitor.mark()
    sitter.leave()
    visitor.sees("Romeo", "unavailable")


@conference_scene
def refreshes(c):
    """The focus refreshes its dialog by re-INVITE and UPDATE: she stays in."""
    room = hall(c)
    sitter, visitor = romeo(c, room), juliet(c, room)
    for method in ("UPDATE", "INVITE"):
        statuses = c.phone.do("refresh", room=room.name, who=c.juliet.uri, method=method)["statuses"]
        if statuses != [200]:
            raise Missed(f"{method} was answered {statuses}")
        there_and_back(visitor, sitter)


@conference_scene
def server_restarts(c):
    """The XMPP server is killed and comes back: nobody is a ghost in the focus's room, and she can enter again."""
    room = hall(c)
    sitter, visitor = romeo(c, room), juliet(c, room)
    there_and_back(visitor, sitter)
    c.server.kill()
    for client in [c.client, *(part for part in c.more if isinstance(part, Client))]:
        if client.child is not None:
            client.gone()
    c.server.start()
    c.gateway.wait_ready()
    c.client.online()
    focus_people(c, room, lambda people: c.juliet.uri not in people, "no ghost is left")
    juliet(c, room)
    there_and_back(c.visitors[-1], sitter)


def restarts(stop):
    @conference_scene
    def played(c):
        room = hall(c)
        sitter, visitor = romeo(c, room), juliet(c, room)
        there_and_back(visitor, sitter)
        visitor.mark()
        if stop:
            if not c.gateway.stop():
                raise Missed("the gateway did not stop by itself")
            visitor.sees("Juliet", "unavailable", lambda told: 110 in told.codes and 332 in told.codes)
        else:
            c.gateway.kill()
        focus_people(c, room, lambda people: c.juliet.uri not in people, "the focus has no ghost")
        c.gateway.start()
        # Whoever believes to be in is told that it is not (XEP-0410).
        answer = processes.wait("an answer to the self-ping", lambda: (
            found := visitor.ask("get", "<ping xmlns='urn:xmpp:ping'/>", visitor.place())).condition != "remote-server-not-found"
            and found, 30)
        if answer.type == "result":
            raise Missed("she is told that she is in, and is not")
        visitor.refused(visitor.say(says("lost")), ("not-acceptable",))
        visitor.must_enter()
        there_and_back(visitor, sitter)
    played.__doc__ = f"The gateway {'stops' if stop else 'is killed'} in the middle of talk: no ghost on either side, and she is in again."
    return played


ALL = [
    ("as recorded", odd("A focus as the recorded one: whole documents with gaps, escaped addresses, its own lines.", recorded=True)),
    ("echo", odd("A focus that sends copies to their senders too: she sees her lines once.", echo=True)),
    ("gaps", odd("A focus whose partial documents have gaps in their versions.", gaps=True)),
    ("NOTIFY first", odd("A NOTIFY before the answer, and herself late in the roster.", notify_first=True, late_self=0.5)),
    ("other entities", odd("Addresses in the roster that are not those in lines, but for associated-aors.", entities="other")),
    ("hidden entities", odd("Addresses in the roster that say nothing: lines are matched by names.", entities="hidden")),
    ("occupants' entities", odd("Addresses in the roster that are the room's (RFC 7702 §4).", entities="room", xcon=True)),
    ("once a second", odd("Documents once a second, as the focus would have it; who leaves is gone at once.", interval=1, leaving="deleted")),
    ("no chatroom in SDP", odd("A focus that says nothing of chat rooms: she is in, under the name of her call.", plain=True)),
    ("no roster", no_roster),
    ("refused lines", refused_lines),
    ("no nicknames", no_nicks),
    ("bad rosters", bad_documents),
    ("strangers", strangers),
    ("lost connection", lost_connection),
    ("focus dies", focus_dies),
    ("short subscriptions", short_watch),
    ("refreshes", refreshes),
    ("active focus", odd("A focus that opens the MSRP connections itself.", active=True)),
    ("server restarts", server_restarts),
    ("gateway stops in a room", restarts(stop=True)),
    ("gateway killed in a room", restarts(stop=False)),
]
