"""A room: who is in and was, what is said in it, who watches (RFC 4353, RFC 7701, RFC 4575)."""

import asyncio
import itertools
import uuid
from urllib.parse import quote

from chat import cpim, documents
from chat.agent import Dialog
from chat.message import address

from . import names, refer
from .document import Device, Person, State
from .member import Member
from .watch import Watch, wanted

# Of a user part (RFC 3261 §25.1).
UNESCAPED = "-_.!~*'()&=+$,;?/"
# Seconds for the last NOTIFYs of somebody who is sent out.
PATIENCE = 2


class Room:
    def __init__(self, focus, user, title=None, subject=""):
        self.focus, self.user, self.title, self.subject = focus, user, title or f"Room {user}", subject
        self.uri = f"sip:{quote(user, safe=UNESCAPED)}@{focus.domain}"
        self.instance = uuid.uuid4()
        self.members, self.watches, self.banned, self.moderators = {}, [], set(), set()
        # Who has left and is still shown as such.
        self.parting, self.lines = [], []
        self.locked, self.closed, self.versions = False, False, itertools.count(2)
        self.numbers, self.aliases = itertools.count(1), {}

    def tell(self, **event):
        self.focus.tell(room=self.user, **event)

    def contact(self):
        return self.focus.contact(self)

    def version(self):
        return next(self.versions)

    # Who is in.

    def refuses(self, member):
        """A status for who may not come in."""
        habits = self.focus.habits
        if habits.invite != 200:
            return habits.invite
        if names.key(member.aor) in self.banned or self.locked:
            return 403
        return 486 if len(self.members) >= habits.most else None

    def enter(self, member):
        member.entered = asyncio.get_running_loop().time()
        self.members[member.name] = member
        self.parting = [other for other in self.parting if other.device != member.device]
        self.tell(joined=member.aor, member=member.name, name=member.shown, how=member.joined)
        self.changed()
        if self.focus.habits.late_self:
            asyncio.get_running_loop().call_later(self.focus.habits.late_self + 0.01, self.changed)
        if self.focus.habits.history:
            for body in self.lines[-self.focus.habits.history:]:
                member.deliver(body)
        if self.focus.habits.chatty:
            member.deliver(self.own(f"Welcome! There are {len(self.members) - 1} more participants in the conference."))
            self.announce(f"{member.shown or ''} <{member.aor}> has joined the room with chat", member)

    def gone(self, member):
        """Its dialog is over."""
        if self.members.pop(member.name, None) is None:
            return
        self.tell(left=member.aor, member=member.name, how=member.how)
        self.parting.append(member)
        self.changed()
        # Long enough for every watcher to be told.
        asyncio.get_running_loop().call_later(2 * self.focus.habits.interval + 0.5, self._forget, member)
        if not self._devices(member.aor):
            for watch in self.watches:
                if names.key(watch.watcher) == names.key(member.aor):
                    watch.end("noresource")
        if self.focus.habits.chatty:
            self.announce(f"{member.shown or ''} <{member.aor}> has left the room")

    def _forget(self, member):
        if member in self.parting:
            self.parting.remove(member)
            self.changed()

    def _devices(self, aor):
        return [member for member in self.members.values() if names.key(member.aor) == names.key(aor)]

    def by_aor(self, aor):
        return next(iter(self._devices(aor)), None)

    def find(self, uri):
        """The devices of somebody by whatever address the roster shows: entity, AOR, or one of a device."""
        wanted_key = names.key(uri)
        return [member for member in self.members.values()
                if wanted_key in (names.key(member.aor), names.key(self.entity(member))) or uri == member.device]

    def moderates(self, aor):
        return names.key(aor) in self.moderators

    async def ask_in(self, uri, subject=None, by=None, provisional=None):
        """Dials somebody. → status"""
        member = Member(self, next(self.focus.numbers))
        return await member.dial(uri, subject, by, provisional)

    async def send_out(self, uri, by=None, reason=None, ban=False, why=None):
        """All devices of somebody. → status"""
        if ban:
            self.banned.add(names.key(names.aor(uri)))
        found = self.find(uri)
        why = why or (f"SIP;text=\"asked for by {by}\"" if by else None)
        for member in found:
            await member.leave("booted", reason, why)
        return 200 if found else 404

    async def close(self, reason=None):
        """Every subscription ends, everybody is sent home (RFC 4579 §5.12)."""
        self.closed = True
        await self.unwatched(self.watches)
        await asyncio.gather(*(member.leave("booted", reason) for member in list(self.members.values())))

    # Nicks.

    def taken(self, nick, member):
        """By somebody else, or by nobody ever (RFC 7701 §7.1)."""
        wanted_nick = names.same(nick)
        if wanted_nick in {names.same(reserved) for reserved in self.focus.habits.reserved}:
            return True
        return any(other.nick is not None and names.same(other.nick) == wanted_nick
                   and names.key(other.aor) != names.key(member.aor) for other in self.members.values())

    def name(self, member, nick):
        for device in self._devices(member.aor):
            device.nick = nick
        self.tell(nick=nick, member=member.name, who=member.aor)
        self.changed()

    # What is said.

    def screen(self, member, message):
        """What a text is refused with, if it is (RFC 7701 §6.1–6.3)."""
        sender, to = message.get("From"), message.all("To")
        if sender is None or names.key(address(sender)) not in (names.key(member.aor), names.key(self.entity(member))):
            self.tell(stranger=sender, member=member.name)
            return 403, "Not Your Address"
        if len(to) != 1 or message.all("cc"):
            return 403, "One Recipient, Please"
        if names.key(address(to[0])) == names.key(self.uri):
            return None
        found = self.find(address(to[0])) if self.focus.habits.private else []
        if not found:
            return 404, "Nobody There"
        if not any(other.private for other in found):
            return 428, "Private messages not supported"
        return None

    def said(self, member, name, body):
        """A whole message that was allowed: copies go out as it is."""
        message = cpim.parse(body)
        to, kind = address(message.get("To")), (message.content_type or "text/plain").split(";")[0].strip().lower()
        private = names.key(to) != names.key(self.uri)
        text = message.content.decode(errors="replace")
        self.tell(private=text, to=to, by=member.aor, type=kind) if private else self.tell(
            line=text, by=member.aor, type=kind, id=name, subject=message.get("Subject"), sender=message.get("From"))
        if kind == documents.COMPOSING_TYPE and not self.focus.habits.typing:
            return
        subject = message.get("Subject")
        if self.focus.habits.subjects and subject is not None and not text.strip() and not private:
            self.subject = subject
            return self.changed()
        others = [other for other in self.find(to) if other.private] if private else list(self.members.values())
        for other in others:
            if (other is not member or self.focus.habits.echo) and takes(other, kind):
                other.deliver(body)
        if not private and kind != documents.COMPOSING_TYPE:
            self.lines = [*self.lines[-99:], body]

    def own(self, text, sender=None, when=None):
        """A text of the room itself, or of whom a test names; as bytes."""
        message = cpim.wrap(text, sender or self.uri, self.uri, when=when)
        if sender is None:
            message.headers[0] = ("From", f'"{cpim.escape(self.title, quotes=True)}" <{self.uri}>')
        return message.encode()

    def announce(self, text, but=None, sender=None, when=None):
        body = self.own(text, sender, when)
        for member in list(self.members.values()):
            if member is not but:
                member.deliver(body)

    # Who watches.

    def subscribed(self, incoming, member=None):
        """A SUBSCRIBE: in a member's dialog, or in none."""
        request, habits = incoming.request, self.focus.habits
        watcher = names.aor(address(request.get("From")))
        seconds, wrong, more = wanted(request, habits.longest)
        if wrong or habits.watch != 200:
            return incoming.respond(wrong or habits.watch, more or [("Allow-Events", "refer")])
        if member is None and not habits.outsiders and not self._devices(watcher):
            return incoming.respond(403)
        self.tell(subscribed=watcher, expires=seconds, inside=member is not None)
        known = next((watch for watch in self.watches if member is not None and watch.member is member), None)
        if known is None:
            dialog = member.dialog if member else Dialog.of_request(request, incoming.tag)
            known = self._watch(Watch(self, dialog, watcher, member, request.get("Event")), incoming, seconds)
        else:
            self._answer(incoming, known, seconds)
        return known

    def _watch(self, watch, incoming, seconds):
        self.watches.append(watch)
        if watch.member is None:
            self.focus.agent.dialogs[watch.dialog.key] = lambda again: self._again(again, watch)
        if self.focus.habits.notify_first:
            watch.lasts(seconds)
            asyncio.get_running_loop().call_later(0.1, self._accept, incoming, seconds)
        else:
            self._accept(incoming, seconds)
            watch.lasts(seconds)
        self.focus.agent.spawn(watch.run())
        return watch

    def _again(self, incoming, watch):
        """Within the subscription's own dialog."""
        request = incoming.request
        if request.method == "REFER":
            return self.referred(incoming, None)
        if request.method != "SUBSCRIBE":
            return incoming.respond(405, [("Allow", "SUBSCRIBE")])
        seconds, wrong, more = wanted(request, self.focus.habits.longest)
        if wrong:
            return incoming.respond(wrong, more)
        if request.get("Contact"):
            watch.dialog.target = address(request.get("Contact"))
        self.tell(refreshed=watch.watcher, expires=seconds)
        return self._answer(incoming, watch, seconds)

    def _answer(self, incoming, watch, seconds):
        self._accept(incoming, seconds)
        watch.lasts(seconds)

    def _accept(self, incoming, seconds):
        incoming.respond(200, [("Contact", self.contact()), ("Expires", str(seconds))])

    async def unwatched(self, watches):
        """Ends subscriptions, and waits for the answers to their last NOTIFYs, but not for ever."""
        watches, until = list(watches), asyncio.get_running_loop().time() + PATIENCE
        for watch in watches:
            watch.end("noresource")
        while any(watch in self.watches for watch in watches) and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.01)

    def unwatch(self, watch):
        if watch in self.watches:
            self.watches.remove(watch)
        if watch.member is None:
            self.focus.agent.dialogs.pop(watch.dialog.key, None)
        self.tell(unwatched=watch.watcher, reason=watch.reason)

    def changed(self):
        for watch in self.watches:
            watch.changed()

    def referred(self, incoming, member=None):
        self.focus.agent.spawn(refer.referred(self, incoming, member))

    # What watchers see.

    def state(self):
        late = asyncio.get_running_loop().time() - self.focus.habits.late_self
        shown = [member for member in self.members.values() if member.entered <= late]
        if self.focus.habits.leaving == "disconnected":
            shown += self.parting
        people = {}
        for member in shown:
            people.setdefault(names.key(member.aor), []).append(member)
        return State(self.uri, self.title, self.subject, self.locked,
                     tuple(self._person(devices) for devices in people.values()))

    def _person(self, devices):
        first, habits = devices[0], self.focus.habits
        name, nick = first.nick or first.shown, None
        if habits.xcon and first.nick is not None:
            name, nick = first.shown, first.nick
        hidden = habits.entities in ("other", "room")
        roles = ("moderator",) if self.moderates(first.aor) else ("participant",)
        return Person(self.entity(first), name, tuple(device(member, name) for member in devices), nick,
                      (first.aor,) if hidden else (), roles)

    def entity(self, member):
        """How a member is called in the roster."""
        kind = self.focus.habits.entities
        if kind == "aor":
            return member.aor
        if kind == "room":
            return f"{self.uri};gr={quote(member.nick or member.shown or names.user(member.aor), safe='')}"
        number = self.aliases.setdefault(names.key(member.aor), len(self.aliases) + 1)
        return f"sip:anonymous{number}@anonymous.invalid" if kind == "hidden" else f"sip:user{number}@{self.focus.domain}"


def device(member, name):
    return Device(member.device, name, str(member.name), member.joined, member.when, member.by, member.how, member.why)


def takes(member, kind):
    """Whether it accepts a type inside of CPIM (RFC 7701 §6.1)."""
    entries = [entry.split(";")[0].lower() for entry in member.wrapped]
    return bool({"*", "*/*", kind, kind.split("/")[0] + "/*"} & set(entries))
