"""Rooms in trouble: lost connections, restarts in the middle of talk, peers that mean harm (see `room_scenes.py`)."""

import wire
import xmpp
from processes import Missed
from room_steps import NICK, Caller, Guest, Told, made, nurse, romeo, room_scene, soon, still, there_and_back
from session_steps import says


@room_scene
def lost_connection(c):
    """His MSRP connection dies without a word: he is out within seconds, and can call again."""
    juliet = made(c)
    caller = romeo(c, juliet.room)
    there_and_back(juliet, caller)
    c.phone.do("drop", call=caller.call)
    juliet.sees(NICK, "unavailable", seconds=10)
    caller.ended(10)
    there_and_back(juliet, romeo(c, juliet.room))


@room_scene
def bad_peers(c):
    """NICKNAME without end, SEND to another room, plain text, From of somebody else, too many calls: refused, and the others
    read on."""
    juliet = made(c)
    guest, caller = nurse(c, juliet.room), romeo(c, juliet.room)
    numbers = [c.phone.tell("nick", call=caller.call, nick=f"Romeo {number}") for number in range(60)]
    statuses = {c.phone.end(number)["status"] for number in numbers}
    if not statuses <= {200, 403, 425}:
        raise Missed(f"a flood of NICKNAMEs was answered {statuses}")
    c.phone.do("nick", call=caller.call, nick=NICK)
    for text, expect, how in ((says("not wrapped"), 415, {}),):
        status = c.phone.do("say", call=caller.call, text=text, wrap=False)["status"]
        if status != expect:
            raise Missed(f"plain text was answered {status}")
    caller.speak(says("as the nurse"), 403, sender=f"{juliet.room.uri};gr=Nurse")
    caller.speak(says("as Juliet"), 403, sender=c.juliet.uri)
    if c.phone.do("nick", call=caller.call, nick="")["status"] not in (403, 424):
        raise Missed("no nick at all was taken")
    there_and_back(juliet, caller)
    if [line for line in guest.lines() if line[0] == "Nurse" or "as " in line[1]]:
        raise Missed(f"the nurse reads {guest.lines()}")


def link_lost(noticed):
    @room_scene
    def played(c):
        way = wire.Wire(c.gateway.place.component_port)
        restart_behind(c, way.port)
        try:
            juliet = made(c)
            caller = romeo(c, juliet.room)
            there_and_back(juliet, caller)
            texts = [says(f"Line {number}: once, and in order") for number in range(7)]
            for number, text in enumerate(texts):
                if number == 2:
                    way.cut(noticed)
                    c.gateway.wait_unready()
                if number == 5:
                    way.mend()
                    c.gateway.wait_ready(90)
                    soon("he is in", lambda: not out(juliet), 60)
                juliet.say(text)
                juliet.hears("Juliet", text)
            caller.hears("Juliet", texts[-1])
            still()
            heard = [text for nick, text in caller.lines() if nick == "Juliet" and text in texts]
            if heard != texts:
                raise Missed(f"he heard {heard}, not {texts}")
            said = [event["when"][:19] for event in caller.found(lambda event: event.get("message") in texts)]
            if said != sorted(said):
                raise Missed(f"by their DateTime they were said {said}")
            there_and_back(juliet, caller)
        finally:
            way.end()
            restart_behind(c, None)
    how = "is lost, and the server notices" if noticed else "is half open: the server sends into nothing"
    played.__doc__ = f"The link {how}; when it is back he hears what was said meanwhile, once and in order."
    return played


def restart_behind(c, port):
    c.gateway.stop()
    c.gateway.configure(server=port)
    c.gateway.start()


def gateway_restarts(stop):
    @room_scene
    def played(c):
        juliet = made(c)
        caller = romeo(c, juliet.room)
        caller.watch()
        there_and_back(juliet, caller)
        if stop:
            if not c.gateway.stop():
                raise Missed("the gateway did not end by itself with status 0")
            caller.ended()
            juliet.sees(NICK, "unavailable")
        else:
            c.gateway.kill()
        juliet.mark()
        c.gateway.start()
        if not stop:
            # What is on disk is enough for the BYE and the farewell; the server may have shown him out before.
            caller.ended()
            soon("he is out", lambda: out(juliet))
        caller = romeo(c, juliet.room)
        there_and_back(juliet, caller)
        still()
        if [nick for nick in present(juliet) if nick not in ("Juliet", NICK)]:
            raise Missed(f"in the room are {present(juliet)}")
    how = "stops: he is out, and the call ends" if stop else "is killed: when it is back, the call ends, and no ghost is in the room"
    played.__doc__ = f"The gateway {how}; he calls again and is in."
    return played


def present(guest):
    """Who is in the room, by all that a client has been shown."""
    found = {}
    for s in guest.client.all(lambda s: s.kind == "presence" and s.bare == guest.room.jid and s.type in (None, "unavailable")):
        found[s.sender.partition("/")[2]] = s.type is None
    # The room itself may have a presence, too.
    return sorted(nick for nick, there in found.items() if there and nick)


def out(guest):
    return NICK not in present(guest)


def server_restarts(stop):
    @room_scene
    def played(c):
        juliet = made(c)
        room = juliet.room
        caller = romeo(c, room)
        there_and_back(juliet, caller)
        for part in [*c.more]:
            if isinstance(part, xmpp.Client):
                part.gone()
                c.more.remove(part)
        (c.server.stop if stop else c.server.kill)()
        c.gateway.wait_unready()
        c.client.gone()
        c.server.start()
        c.client.online()
        c.gateway.wait_ready(90)
        juliet = Guest(c.client, room, "Juliet")
        entered = soon("the room lets her in", lambda: (found := juliet.enter()).type is None and found, 60)
        if 201 in Told(entered).codes:
            # She made it anew; until she has unlocked it nobody comes in.
            juliet.configure()
        ended = lambda: caller.found(lambda event: event.get("state") == "ended")
        soon("he is in, or told why not", lambda: ended() or not out(juliet), 60)
        if ended():
            if not ended()[0]["why"]:
                raise Missed("the call ended without a reason")
            caller = romeo(c, room)
            juliet.sees(NICK, since=0)
        juliet.mark()
        there_and_back(juliet, caller)
    how = "stops" if stop else "is killed"
    played.__doc__ = f"The XMPP server {how} and comes back: he is in the room again, or was told why not; it goes on both ways."
    return played
