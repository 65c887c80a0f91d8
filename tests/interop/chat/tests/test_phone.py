"""Two phones calling each other on loopback, over UDP and TCP."""

import asyncio
import unittest

from chat import agent
from chat.phone import Phone, filler

ANN, BOB = "sip:ann@127.0.0.1", "sip:bob@127.0.0.1"


class One:
    """A phone with its events."""

    def __init__(self, uri):
        self.events = []
        self.phone = Phone(uri, self.events.append)

    async def do(self, kind, **order):
        await asyncio.wait_for(self.phone.obey({"do": kind, "number": len(self.events) + 1000000, **order}), 90)
        found = [event for event in self.events if "done" in event][-1]
        if "error" in found:
            raise AssertionError(found["error"])
        return found

    def all(self, key, value=...):
        return [event for event in self.events if key in event and value in (..., event[key])]

    async def wait(self, key, value=..., count=1, seconds=60):
        try:
            async with asyncio.timeout(seconds):
                while len(self.all(key, value)) < count:
                    await asyncio.sleep(0.002)
        except TimeoutError:
            raise AssertionError(f"no {count} of {key} {value}: {self.events[-6:]}") from None
        return self.all(key, value)[count - 1]


class Calls(unittest.IsolatedAsyncioTestCase):
    protocol = "UDP"

    async def asyncSetUp(self):
        self.ann, self.bob = One(ANN), One(BOB)
        for one in (self.ann, self.bob):
            await one.phone.start(("127.0.0.1", 9), self.protocol, register=False)
        for one, other in ((self.ann, self.bob), (self.bob, self.ann)):
            one.phone.agent.hop = ("127.0.0.1", other.phone.agent.transport.port)

    async def asyncTearDown(self):
        await self.ann.phone.stop()
        await self.bob.phone.stop()
        self.assertEqual(self.ann.all("broken") + self.bob.all("broken"), [])

    def no_complaints(self):
        self.assertEqual(self.ann.all("complaint") + self.bob.all("complaint"), [])

    async def call(self, **shape):
        self.assertEqual((await self.ann.do("invite", to=BOB, call="a", **shape))["status"], 200)
        await self.ann.wait("state", "open")
        return (await self.bob.wait("state", "open"))["call"]

    async def test_a_chat_from_hello_to_goodbye(self):
        other = await self.call()
        self.assertEqual((await self.ann.do("say", call="a", text="héllo", success=True))["status"], 200)
        self.assertEqual((await self.bob.wait("message"))["message"], "héllo")
        await self.ann.wait("report")
        await self.bob.do("typing", call=other, state="active", refresh=60)
        await self.ann.wait("typing", "active")
        await self.bob.do("say", call=other, text="line {}", count=200)
        await self.ann.wait("message", count=200)
        self.assertEqual([event["message"] for event in self.ann.all("message")], [f"line {number}" for number in range(200)])
        self.assertEqual((await self.ann.do("bye", call="a"))["status"], 200)
        await self.bob.wait("state", "ended")
        self.no_complaints()

    async def test_a_long_text_as_real_clients_send_it(self):
        await self.call(accepts=["text/plain"], wrapped=[])
        await self.ann.do("say", call="a", length=200_000, whole=True)
        self.assertEqual(self.bob.all("pieces")[0]["pieces"], 1)
        await self.ann.do("say", call="a", length=200_000, size=2048)
        await self.bob.wait("message", count=2)
        self.assertEqual(self.bob.all("pieces")[1]["pieces"], 98)
        self.assertEqual((await self.bob.wait("message"))["message"], filler(200_000))
        self.no_complaints()

    async def test_a_recorded_client_is_understood_and_judged(self):
        await self.call()
        self.assertEqual((await self.ann.do("say", call="a", text="héllo 😀", loose=True))["status"], 200)
        self.assertEqual((await self.bob.wait("message"))["message"], "héllo 😀")
        self.assertEqual({event["section"] for event in self.bob.all("complaint")}, {"RFC 4975 §7.1.1", "RFC 3862 §2"})

    async def test_receipts_on_request(self):
        await self.bob.do("pager", notify=["delivery", "display"])
        sent = await self.ann.do("message", to=BOB, text="seen?", imdn=["positive-delivery", "display"])
        self.assertEqual(sent["status"], 200)
        await self.ann.wait("imdn", "display")
        self.assertEqual([event["of"] for event in self.ann.all("imdn")], [sent["imdn_id"]] * 2)
        await self.call()
        await self.ann.do("say", call="a", text="and in a session?", imdn=["display"], imdn_id="s1")
        await self.ann.wait("of", "s1")
        self.no_complaints()

    async def test_pages_in_all_forms(self):
        for options in ({}, {"wrap": True}, {"deflate": True}, {"wrap": True, "deflate": True}):
            await self.ann.do("message", to=BOB, text="x" * 3000, **options)
        await self.bob.wait("message", count=4)
        await self.ann.do("typing", to=BOB, state="active")
        await self.bob.wait("typing", "active")
        await self.bob.do("pager", status=480)
        self.assertEqual((await self.ann.do("message", to=BOB, text="x"))["status"], 480)
        self.no_complaints()

    async def test_another_device_has_another_contact(self):
        before = (await self.ann.do("options", to=BOB))["contact"]
        await self.bob.do("device", name="two")
        self.assertNotEqual((await self.ann.do("options", to=BOB))["contact"], before)

    async def test_options_show_what_we_can(self):
        found = await self.ann.do("options", to=BOB)
        self.assertIn("m=message", found["sdp"])
        self.assertIn(";message", found["contact"])
        await self.bob.do("pager", msrp=False)
        self.assertEqual((await self.ann.do("options", to=BOB))["sdp"], "")

    async def test_refusals(self):
        for status in (486, 488, 415, 603):
            await self.bob.do("answer", mode="refuse", status=status, ringing=True)
            self.assertEqual((await self.ann.do("invite", to=BOB))["status"], status)
        self.assertEqual(len(self.ann.all("state", "ringing")), 4)
        self.no_complaints()

    async def test_port_0_is_a_refusal_as_well(self):
        await self.bob.do("answer", mode="port0")
        self.assertEqual((await self.ann.do("invite", to=BOB))["status"], 200)
        await self.ann.wait("nothing_taken")
        await self.bob.wait("state", "ended")
        self.no_complaints()

    async def test_cancelled_while_it_rings(self):
        for mode in ("ring", "silent"):
            await self.bob.do("answer", mode=mode)
            self.assertEqual((await self.ann.do("invite", to=BOB, cancel_after=0.1))["status"], 487)
        self.no_complaints()

    async def test_two_forks_answer_and_one_is_left(self):
        await self.bob.do("answer", mode="fork")
        await self.ann.do("invite", to=BOB, call="a")
        await self.ann.wait("state", "open")
        await self.ann.wait("forked")
        await self.bob.wait("state", "ended")
        await self.bob.wait("state", "open")
        self.assertEqual((await self.ann.do("say", call="a", text="to the one"))["status"], 200)
        self.no_complaints()

    async def test_audio_and_more_message_lines_are_refused(self):
        await self.call(audio="before", lines=2)
        offer, lines = self.bob.all("offer")[0]["offer"], self.ann.all("lines")[0]["lines"]
        self.assertEqual([line.split()[0] for line in offer], ["audio", "message", "message"])
        self.assertEqual((lines[0], lines[2]), (0, 0))
        await self.ann.do("say", call="a", text="x")
        self.no_complaints()

    async def test_an_invite_without_sdp(self):
        await self.call(late=True)
        await self.ann.do("say", call="a", text="x")
        await self.bob.wait("message", "x")
        self.no_complaints()

    async def test_the_answerer_connects_when_it_is_active(self):
        await self.bob.do("answer", setup="active")
        await self.call()
        self.assertTrue(self.bob.all("state", "open")[0]["active"])
        await self.ann.do("say", call="a", text="x")
        self.no_complaints()

    async def test_refresh_hold_and_another_path(self):
        other = await self.call()
        for method, options in (("UPDATE", {"refresh": True}), ("INVITE", {"refresh": True}), ("INVITE", {"hold": True}),
                                ("UPDATE", {"hold": False})):
            self.assertEqual((await self.ann.do("change", call="a", method=method, **options))["status"], 200)
        await self.bob.do("say", call=other, text="still here")
        await self.ann.wait("message")
        await self.bob.do("answer", glare=True)
        self.assertEqual((await self.ann.do("change", call="a"))["status"], 491)
        await self.bob.do("answer")
        self.assertEqual((await self.ann.do("change", call="a", anew=True))["status"], 200)
        await self.bob.wait("moved")
        await self.bob.wait("state", "open", 2)
        await self.bob.do("say", call=other, text="and there")
        await self.ann.wait("message", "and there")
        self.no_complaints()

    async def test_mute_is_never_heard(self):
        await self.bob.do("answer", mode="mute")
        self.ann.phone.endpoint.patience = 0.1
        await self.ann.do("invite", to=BOB, call="a")
        await self.ann.wait("state", "dead")

    async def test_a_forbidden_path_is_what_the_peer_is_told(self):
        self.ann.phone.endpoint.patience = 0.1
        await self.bob.do("answer", setup="active")
        await self.ann.do("invite", to=BOB, path="msrp://127.0.0.1:9/abcdefghijklmnop;tcp")
        await self.bob.wait("unreachable")

    async def test_a_torn_connection_is_told(self):
        other = await self.call()
        await self.bob.do("drop", call=other)
        await self.ann.wait("lost")

    async def test_every_misbehaviour_is_survived(self):
        """By this endpoint, which stands for any."""
        small = {"header_flood": {"size": 200_000}, "one_long_header": {"size": 200_000},
                 "slow_writer": {"size": 20, "pause": 0}, "half_open": {"count": 20, "seconds": 0.2},
                 "never_finished": {"count": 5}, "guess_session": {"count": 20}}
        await self.call()
        self.bob.phone.endpoint.patience = self.ann.phone.endpoint.patience = 1
        expected = {"wrong_session": [481], "second_connection": [506, 506], "unknown_method": [501],
                    "ranges_in_characters": [200]}
        for what in ("wrong_session", "guess_session", "second_connection", "unknown_method", "ranges_in_characters",
                     "range_overflow", "never_finished", "many_ids", "broken_reports", "broken_requests", "answers_to_nothing",
                     "slow_writer", "header_flood", "one_long_header", "not_msrp", "half_open", "end_line_in_body"):
            found = await self.ann.do("misbehave", what=what, call="a", **small.get(what, {}))
            if what in expected:
                self.assertEqual(found["statuses"], expected[what], what)
            if what == "guess_session":
                self.assertEqual(found["taken"], 0)
        await self.ann.wait("lost")
        self.assertTrue(self.bob.all("complaint"))

    async def test_killed_in_the_middle(self):
        await self.call()
        await self.ann.do("misbehave", what="killed_in_the_middle", call="a")
        await self.bob.wait("lost")


class CallsByTcp(Calls):
    protocol = "TCP"


class Digest(unittest.TestCase):
    def test_an_answer_names_what_it_answers(self):
        header = agent.digest('Digest realm="testrealm@host.com", nonce="dcd98b", opaque="5c", algorithm=MD5', "Mufasa",
                              "Circle Of Life", "GET", "/dir/index.html")
        self.assertIn('opaque="5c"', header)
        self.assertRegex(header, 'response="[0-9a-f]{32}"')


if __name__ == "__main__":
    unittest.main()
