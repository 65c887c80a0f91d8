"""Chat phones in rooms of the focus, on loopback, without a gateway."""

import asyncio
import unittest

from chat.phone import Phone
from focus.focus import Focus

DOMAIN = "rooms.example"
ROOM = f"sip:verona@{DOMAIN}"


class One:
    """Something that takes orders, with its events."""

    def __init__(self, make):
        self.events = []
        self.it = make(self.events.append)

    async def do(self, kind, **order):
        number = len(self.events) + 1000000
        await asyncio.wait_for(self.it.obey({"do": kind, "number": number, **order}), 60)
        found = next(event for event in self.events if event.get("done") == number)
        if "error" in found:
            raise AssertionError(found["error"])
        return found

    def all(self, key, value=...):
        return [event for event in self.events if key in event and value in (..., event[key])]

    def mark(self):
        return len(self.events)

    async def until(self, what, test, since=0, seconds=20):
        try:
            async with asyncio.timeout(seconds):
                while not (found := [event for event in self.events[since:] if test(event)]):
                    await asyncio.sleep(0.002)
        except TimeoutError:
            raise AssertionError(f"not {what}: {self.events[-6:]}") from None
        return found[0]

    async def wait(self, key, value=..., since=0):
        return await self.until(f"{key} {value}", lambda event: key in event and value in (..., event[key]), since)


class Rooms(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.focus = One(lambda tell: Focus(DOMAIN, tell))
        self.phones = []
        await self.focus.it.start(("127.0.0.1", 9))
        # Nobody waits for the rate of documents here.
        await self.habits()

    async def asyncTearDown(self):
        for phone in self.phones:
            await phone.it.stop()
        await self.focus.it.stop()
        for one in (self.focus, *self.phones):
            self.assertEqual(one.all("broken"), [])

    async def habits(self, **habits):
        await self.focus.do("habits", **{"interval": 0.05, **habits})

    def no_complaints(self):
        for one in (self.focus, *self.phones):
            self.assertEqual(one.all("complaint"), [])

    async def phone(self, user):
        one = One(lambda tell: Phone(f"sip:{user}@a.example", tell))
        self.phones.append(one)
        await one.it.start(("127.0.0.1", self.focus.it.agent.transport.port), register=False)
        await self.focus.do("route", uri=f"sip:{user}@a.example", port=one.it.agent.transport.port)
        return one

    async def joined(self, user, room=ROOM, watch=True, **shape):
        one, shape = await self.phone(user), {"chatroom": "nickname private-messages", "name": user.title(), **shape}
        found = await one.do("invite", to=room, call="a", **shape)
        self.assertEqual(found["status"], 200)
        await one.wait("state", "open")
        if watch:
            self.assertEqual((await one.do("watch", call="a"))["status"], 200)
            await one.wait("roster")
        return one

    async def roster(self, one, names, since=0):
        """Until a roster has these names."""
        return await one.until(f"a roster of {names}", lambda event: "roster" in event and sorted(
            user.get("name") or "" for user in event["roster"].values()) == sorted(names), since)

    async def said(self, one, text, **options):
        return (await one.do("speak", call="a", text=text, **options))["status"]

    async def test_two_talk_and_nobody_hears_himself(self):
        ann, bob = await self.joined("ann"), await self.joined("bob")
        for number in range(20):
            self.assertEqual(await self.said(ann, f"ann {number}"), 200)
            self.assertEqual(await self.said(bob, f"bob {number}"), 200)
        await ann.wait("message", "bob 19")
        await bob.wait("message", "ann 19")
        self.assertEqual([event["message"] for event in bob.all("message")], [f"ann {number}" for number in range(20)])
        self.assertEqual([event["message"] for event in ann.all("message")], [f"bob {number}" for number in range(20)])
        self.assertEqual(bob.all("message")[0]["sender"], "sip:ann@a.example")
        self.no_complaints()

    async def test_a_long_text_arrives_as_it_was(self):
        ann, bob = await self.joined("ann"), await self.joined("bob")
        text = "so it goes on " * 20_000
        self.assertEqual(await self.said(ann, text, size=2048), 200)
        self.assertEqual((await bob.wait("message"))["message"], text)
        self.no_complaints()

    async def test_the_roster_follows_who_comes_and_goes(self):
        ann = await self.joined("ann")
        since = ann.mark()
        bob = await self.joined("bob")
        self.assertEqual((await self.roster(ann, ["Ann", "Bob"], since))["state"], "partial")
        since = ann.mark()
        await bob.do("bye", call="a")
        left = await ann.until("who left", lambda event: "roster" in event and any(
            user.get("left") for user in event["roster"].values()), since)
        self.assertEqual(left["roster"]["sip:bob@a.example"]["left"], "departed")
        await self.roster(ann, ["Ann"], since)
        # In a dialog of its own, and refreshed.
        watch = (await ann.do("watch", to=ROOM))["watch"]
        since = ann.mark()
        await ann.do("watch", again=watch)
        self.assertEqual((await ann.wait("roster", since=since))["state"], "full")
        since = ann.mark()
        await ann.do("watch", again=watch, expires=0)
        self.assertEqual((await ann.wait("watch", "terminated", since))["why"], "timeout")
        self.no_complaints()

    async def test_nicknames(self):
        ann, bob = await self.joined("ann"), await self.joined("bob")
        nick = lambda one, text, **more: one.do("nick", call="a", nick=text, **more)
        self.assertEqual((await nick(ann, "Juliet \"Jule\""))["status"], 200)
        await self.roster(bob, ['Juliet "Jule"', "Bob"])
        self.assertEqual((await nick(bob, "juliet  \"jule\""))["status"], 425)
        self.assertEqual((await nick(bob, "Romeo"))["status"], 200)
        self.assertEqual((await nick(ann, "ROMEO"))["status"], 425)
        await self.roster(ann, ['Juliet "Jule"', "Romeo"])
        self.assertEqual((await nick(bob, ""))["status"], 200)
        await self.roster(ann, ['Juliet "Jule"', "Bob"])
        self.assertEqual((await nick(ann, "romeo"))["status"], 200)
        self.no_complaints()
        self.assertEqual((await nick(ann, "bare", quotes=False))["status"], 424)
        self.assertEqual(len(self.focus.all("complaint")), 1)
        await self.habits(nicknames=False)
        self.assertEqual((await nick(ann, "any"))["status"], 403)

    async def test_private_messages(self):
        ann, bob, cat = await self.joined("ann"), await self.joined("bob"), await self.joined("cat", chatroom="none")
        self.assertEqual(await self.said(ann, "for thee alone", to="sip:bob@a.example"), 200)
        self.assertEqual((await bob.wait("message"))["to"], "sip:bob@a.example")
        self.assertEqual(await self.said(ann, "for cat", to="sip:cat@a.example"), 428)
        self.assertEqual(await self.said(ann, "for nobody", to="sip:dan@a.example"), 404)
        self.assertEqual(await self.said(ann, "not I", sender="sip:bob@a.example"), 403)
        self.assertEqual(await self.said(ann, "for all"), 200)
        await cat.wait("message", "for all")
        self.assertEqual([event["message"] for event in cat.all("message")], ["for all"])
        self.no_complaints()

    async def test_what_is_not_wrapped_is_refused(self):
        ann = await self.joined("ann")
        self.assertEqual((await ann.do("say", call="a", text="bare", wrap=False))["status"], 415)
        ann = await self.phone("old")
        self.assertEqual((await ann.do("invite", to=ROOM, accepts=["text/plain"]))["status"], 488)

    async def test_somebody_is_kicked_and_banned(self):
        ann, bob = await self.joined("ann"), await self.joined("bob")
        since = ann.mark()
        await self.focus.do("kick", room="verona", who="sip:bob@a.example", ban=True, reason='SIP;cause=403;text="Out"')
        ended = await bob.wait("state", "ended")
        self.assertIn("cause=403", ended["why"])
        self.assertEqual((await bob.wait("watch", "terminated"))["why"], "noresource")
        left = await ann.until("who was kicked", lambda event: "roster" in event and any(
            user.get("left") for user in event["roster"].values()), since)
        self.assertEqual(left["roster"]["sip:bob@a.example"]["left"], "booted")
        self.assertEqual((await bob.do("invite", to=ROOM))["status"], 403)
        await self.focus.do("unban", room="verona", who="sip:bob@a.example")
        self.assertEqual((await bob.do("invite", to=ROOM))["status"], 200)
        self.no_complaints()

    async def test_refer_asks_in_and_sends_out(self):
        ann, bob = await self.joined("ann"), await self.phone("bob")
        await bob.do("answer", chatroom="private-messages")
        self.assertEqual((await ann.do("refer", call="a", target="sip:bob@a.example"))["status"], 200)
        asked = await bob.wait("state", "offered")
        self.assertEqual(asked["referred"], "<sip:ann@a.example>")
        self.assertIn(";isfocus", asked["contact"])
        await bob.wait("state", "open")
        await ann.wait("progress", "SIP/2.0 200 OK")
        self.assertEqual([event["progress"] for event in ann.all("progress")], ["SIP/2.0 100 Trying", "SIP/2.0 200 OK"])
        self.assertEqual(await self.said(ann, "welcome"), 200)
        await bob.wait("message", "welcome")
        since = ann.mark()
        self.assertEqual((await ann.do("refer", to=ROOM, target="sip:bob@a.example", method="BYE"))["status"], 200)
        await bob.wait("state", "ended")
        await ann.wait("progress", "SIP/2.0 200 OK", since)
        self.no_complaints()
        await self.habits(may_kick="moderators", refuses="progress")
        await ann.do("refer", to=ROOM, target="sip:ann@a.example", method="BYE")
        await ann.wait("progress", "SIP/2.0 403 Forbidden")
        await bob.do("answer", mode="refuse", status=603)
        await ann.do("refer", to=ROOM, target="sip:bob@a.example")
        await ann.wait("progress", "SIP/2.0 603 Decline")
        self.assertEqual((await bob.do("refer", to=ROOM, target="sip:x@y", method="OPTIONS"))["status"], 400)

    async def test_a_factory_makes_a_room_and_asks_its_guests_in(self):
        ann, bob = await self.phone("ann"), await self.phone("bob")
        found = await ann.do("invite", to=f"sip:new@{DOMAIN}", call="a", chatroom="", factory=True, guests=["sip:bob@a.example"])
        self.assertEqual(found["status"], 200)
        self.assertNotIn("new@", found["focus"])
        await bob.wait("state", "open")
        self.no_complaints()

    async def test_a_room_is_closed(self):
        ann, bob = await self.joined("ann"), await self.joined("bob")
        await self.focus.do("close", room="verona")
        for one in (ann, bob):
            await one.wait("state", "ended")
            await one.wait("state", "deleted")
            await one.wait("watch", "terminated")
        self.no_complaints()

    async def test_a_lost_connection_is_a_failure(self):
        ann, bob = await self.joined("ann"), await self.joined("bob")
        since = ann.mark()
        await bob.do("drop", call="a")
        left = await ann.until("who was lost", lambda event: "roster" in event and any(
            user.get("left") for user in event["roster"].values()), since)
        self.assertEqual(left["roster"]["sip:bob@a.example"]["left"], "failed")

    async def test_two_devices_are_one_person(self):
        ann, bob, other = await self.joined("ann"), await self.joined("bob"), await self.joined("bob")
        self.assertEqual((await other.do("nick", call="a", nick="Rob"))["status"], 200)
        await self.roster(ann, ["Ann", "Rob"])
        self.assertEqual(await self.said(ann, "to both", to="sip:bob@a.example"), 200)
        self.assertEqual(await self.said(bob, "to the others"), 200)
        for one in (bob, other):
            await one.wait("message", "to both")
        await other.wait("message", "to the others")
        self.no_complaints()

    async def test_rosters_that_say_otherwise_who_somebody_is(self):
        for entities, expected in (("other", "sip:user1@"), ("hidden", "sip:anonymous1@"), ("room", f"{ROOM};gr=Ann")):
            with self.subTest(entities):
                await self.habits(entities=entities)
                ann = await self.joined("ann")
                found = ann.all("roster")[0]["roster"]
                self.assertTrue(all(entity.startswith(expected) for entity in found), found)
                self.assertEqual("aors" in next(iter(found.values())), entities != "hidden")
                await ann.do("bye", call="a")
                await self.focus.do("close", room="verona")

    async def test_as_the_recorded_focus(self):
        ann = await self.joined("ann", watch=False)
        await self.said(ann, "before")
        await self.habits(recorded=True)
        bob = await self.joined("bob")
        await bob.wait("message", "before")
        self.assertTrue(any("Welcome" in event["message"] for event in bob.all("message")))
        self.assertEqual((await bob.do("nick", call="a", nick="Bobby", quotes=False))["status"], 200)
        await self.roster(bob, ["Ann", "Bobby"])
        self.assertEqual({event["state"] for event in bob.all("roster")}, {"full"})
        self.assertEqual((await bob.do("refer", call="a", target="sip:ann@a.example", method="BYE"))["status"], 202)
        await bob.wait("progress", "SIP/2.0 200 OK")
        self.assertEqual((await self.focus.do("who", room="verona"))["people"],
                         {"sip:ann@a.example": "Ann", "sip:bob@a.example": "Bobby"})

    async def test_an_echo_no_subscription_and_a_full_room(self):
        await self.habits(echo=True, watch=489, most=1)
        ann = await self.joined("ann", watch=False)
        self.assertEqual((await ann.do("watch", call="a"))["status"], 489)
        await self.said(ann, "hello")
        await ann.wait("message", "hello")
        bob = await self.phone("bob")
        self.assertEqual((await bob.do("invite", to=ROOM))["status"], 486)
        self.no_complaints()

    async def test_a_notify_before_the_answer_and_gaps(self):
        await self.habits(notify_first=True, gaps=True, late_self=0.2)
        ann = await self.joined("ann")
        self.assertEqual(ann.all("roster")[0]["roster"], {})
        await self.roster(ann, ["Ann"])


class OverTcp(Rooms):
    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.focus.it.agent.protocol = "TCP"

    async def phone(self, user):
        one = await super().phone(user)
        one.it.agent.protocol = "TCP"
        return one
