"""The focus: orders in, events out, both as dicts, as the chat phone has them (see `chat/phone.py`).

`Focus.do_*` are the orders, their doc strings the manual. Events, each with `room` where it belongs to one:

  ready, port, msrp                     it is there
  joined, name, how; left, how          somebody came, went
  nick, who                             somebody's nick; None: none
  line, by, type, id; private, to, by   what was said
  denied, status                        a text was refused
  refer, target, by                     a REFER
  subscribed, refreshed, unwatched      who watches
  notified, status, version             a NOTIFY was answered
  state: calling open lost ended …      of one member's dialog, with `member`
  complaint, level, section             the peer broke a rule
"""

import itertools
from dataclasses import fields

from chat.agent import Agent
from chat.message import token
from chat.session import Manner

from . import document, names
from .habits import RECORDED, Habits
from .member import ALLOW, Member, parts
from .room import Room
from .switch import Switch


class Router(Agent):
    """Some people are not reached through the next hop: `routes` has their port, by address."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.routes = {}

    def _hop(self, request):
        port = self.routes.get(names.key(request.uri)) if request.tag("To") is None else None
        return super()._hop(request) if port is None else (self.protocol, "127.0.0.1", port)


class Focus:
    def __init__(self, domain, tell, host="127.0.0.1", certificate=None, key=None):
        self.domain, self._tell = domain, tell
        self.agent = Router(f"sip:{domain}", name="test-focus", tell=self._event)
        self.agent.received = self._received
        self.endpoint = Switch(host, certificate, key, tell=self._event)
        self.habits, self.rooms, self.numbers = Habits(), {}, itertools.count(1)
        # What members' calls ask of a phone.
        self.manner, self.glare = Manner(), False

    def tell(self, **event):
        self._tell(event)

    def _event(self, event):
        self._tell(event)

    async def start(self, hop, protocol="UDP", port=0):
        await self.endpoint.start()
        if self.endpoint.certificate:
            await self.endpoint.start(secure=True)
        await self.agent.start(self.endpoint.host, port, hop, protocol)
        self.tell(ready=True, port=self.agent.transport.port, msrp=self.endpoint.ports.get(False))

    async def stop(self):
        await self.endpoint.stop()
        await self.agent.stop()

    async def obey(self, order):
        """One order; never raises."""
        order = dict(order)
        number, name = order.pop("number", None), order.pop("do", None)
        act = getattr(self, f"do_{name}", None)
        try:
            if act is None:
                raise ValueError(f"no such order: {name}")
            result = await act(**order) or {}
        except Exception as error:  # pylint: disable=broad-except
            result = {"error": f"{type(error).__name__}: {error}"}
        if number is not None or "error" in result:
            self.tell(done=number, **result)

    def contact(self, room):
        """Where a room is reached: a GRUU, or not (RFC 5627)."""
        transport = self.agent.transport
        user = "focus" if self.habits.nameless else room.uri.partition(":")[2].partition("@")[0]
        gr = f";gr=urn:uuid:{room.instance}" if self.habits.gruu else ""
        tcp = ";transport=tcp" if self.agent.protocol == "TCP" else ""
        return f"<sip:{user}@{transport.host}:{transport.port}{tcp}{gr}>"

    # What arrives.

    def _received(self, incoming):
        """A request outside dialogs."""
        act = {"INVITE": self._invited, "SUBSCRIBE": self._watched, "REFER": self._referred, "OPTIONS": self._asked}
        act = act.get(incoming.request.method)
        if act is None:
            return incoming.respond(405, [("Allow", ALLOW)])
        return act(incoming)

    def _room(self, incoming):
        return self.rooms.get(names.user(incoming.request.uri).lower())

    def _invited(self, incoming):
        user = names.user(incoming.request.uri)
        room, guests = self._room(incoming), []
        if user == "new":
            room = self.make(token(6))
            guests = parts(incoming.request)[1]
        elif room is None and not self.habits.listed and user:
            room = self.make(user)
        if room is None:
            return incoming.respond(404)
        return self.agent.spawn(self._let_in(room, incoming, guests))

    async def _let_in(self, room, incoming, guests):
        status = await Member(room, next(self.numbers)).join(incoming)
        if status == 200:
            for guest in guests:
                await room.ask_in(guest)

    def _watched(self, incoming):
        room = self._room(incoming)
        return incoming.respond(404) if room is None else room.subscribed(incoming)

    def _referred(self, incoming):
        room = self._room(incoming)
        return incoming.respond(404) if room is None else room.referred(incoming)

    def _asked(self, incoming):
        """OPTIONS (RFC 4579 §5.13)."""
        room = self._room(incoming)
        if room is None and names.user(incoming.request.uri) not in ("", "new"):
            return incoming.respond(404)
        contact = [("Contact", self.contact(room) + ";isfocus")] if room else []
        return incoming.respond(200, [("Allow", ALLOW), ("Allow-Events", "conference, refer"), *contact,
                                      ("Accept", f"application/sdp, {document.TYPE}, message/sipfrag")])

    def media(self, member, event):
        """What happens in the MSRP session of a member."""
        if "received" in event:
            if not event["again"]:
                member.room.said(member, event["received"], event["body"])
            return
        if event.get("nothing") or {"chunk", "response", "bodiless", "bound"} & set(event):
            return
        if "lost" in event:
            member.state = "lost"
            member.tell(**event)
            return self.agent.spawn(member.lose())
        member.tell(**event)

    def page(self, incoming):
        """MESSAGE in a dialog: not here."""
        incoming.respond(405, [("Allow", ALLOW)])

    def notified(self, incoming, _member):
        """NOTIFY: we watch nobody."""
        incoming.respond(481)

    # Orders.

    def make(self, user, **more):
        room = self.rooms[user.lower()] = Room(self, user, **more)
        return room

    async def do_habits(self, recorded=False, **habits):
        """What the focus does from now on: see `habits.Habits`; what is not named is as the RFCs have it. `recorded`: as the
        recorded one did."""
        names_of = {each.name for each in fields(Habits)}
        if set(habits) - names_of:
            raise ValueError(f"no such habits: {set(habits) - names_of}")
        for name, value in vars(Habits(**{**(RECORDED if recorded else {}), **habits})).items():
            setattr(self.habits, name, value)

    async def do_room(self, room, title=None, subject="", moderators=()):
        """Makes a room, or changes one. `moderators`: addresses"""
        made = self.rooms.get(room.lower()) or self.make(room)
        made.title, made.subject = title or made.title, subject
        made.moderators = {names.key(uri) for uri in moderators}
        made.changed()
        return {"uri": made.uri}

    async def do_subject(self, room, subject):
        """What it is about."""
        self.rooms[room].subject = subject
        self.rooms[room].changed()

    async def do_lock(self, room, locked=True):
        """Nobody comes in any more."""
        self.rooms[room].locked = locked
        self.rooms[room].changed()

    async def do_who(self, room):
        """→ people: AOR → nick or name; watchers"""
        found = self.rooms.get(room)
        members = found.members.values() if found else ()
        return {"people": {member.aor: member.nick or member.shown for member in members},
                "devices": [member.device for member in members], "states": [member.state for member in members],
                "watchers": [watch.watcher for watch in found.watches] if found else []}

    async def do_say(self, room, text, sender=None, when=None):
        """A line of the room itself, or of whom is named, whether in or not; `when`: its DateTime."""
        self.rooms[room].announce(text, None, sender, when)

    async def do_ask(self, room, to, subject=None, by=None):
        """Asks somebody in. → status"""
        return {"status": await (self.rooms.get(room) or self.make(room)).ask_in(to, subject, by)}

    async def do_kick(self, room, who, ban=False, reason=None, why=None):
        """Sends somebody out, by an address of the roster; `reason`: the Reason of the BYE. → status"""
        return {"status": await self.rooms[room].send_out(who, None, reason, ban, why)}

    async def do_unban(self, room, who):
        """May come in again."""
        self.rooms[room].banned.discard(names.key(names.aor(who)))

    async def do_close(self, room, reason=None):
        """The room is no more."""
        await self.rooms.pop(room).close(reason)

    async def do_drop(self, room, who):
        """Tears somebody's MSRP connection off, without a word."""
        for member in self.rooms[room].find(who):
            member.session.connection.abort()

    async def do_route(self, uri, port):
        """Somebody is on this port of this machine."""
        self.agent.routes[names.key(uri)] = port

    async def do_unwatch(self, room, reason="deactivated"):
        """Ends all subscriptions to a room."""
        for watch in self.rooms[room].watches:
            watch.end(reason)

    async def do_refresh(self, room, who, method="INVITE", **options):
        """A re-INVITE or UPDATE to somebody: see `chat.call.Call.change`. → statuses"""
        return {"statuses": [await member.change(method, refresh=True, **options) for member in self.rooms[room].find(who)]}

    async def do_document(self, room, text):
        """A NOTIFY with this body to every watcher."""
        for watch in self.rooms[room].watches:
            watch.give(text.encode())

    async def do_manner(self, **manner):
        """How sessions made from now on answer: see `chat.session.Manner`."""
        self.manner = Manner(**manner)
