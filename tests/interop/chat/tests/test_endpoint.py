"""Two endpoints talking to each other on loopback."""

import asyncio
import os
import subprocess
import tempfile
import unittest

from chat.endpoint import Endpoint
from chat.sending import Plan
from chat.wire import Frame, Uri

TEXT = "text/plain"


class Side:
    """An endpoint with its sessions' events."""

    def __init__(self, **options):
        self.events = []
        self.endpoint = Endpoint(tell=self.events.append, **options)

    def session(self, **options):
        return self.endpoint.session(self.events.append, **options)

    def all(self, key):
        return [event for event in self.events if key in event]

    async def wait(self, key, count=1, seconds=60):
        async with asyncio.timeout(seconds):
            while len(self.all(key)) < count:
                await asyncio.sleep(0.002)
        return self.all(key)[count - 1]


class Pair(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.ann, self.bob = Side(), Side()
        await self.ann.endpoint.start()
        await self.bob.endpoint.start()

    async def asyncTearDown(self):
        await self.ann.endpoint.stop()
        await self.bob.endpoint.stop()

    async def sessions(self, **options):
        one, other = self.ann.session(**options), self.bob.session(**options)
        one.meet([other.uri], other.accepts)
        other.meet([one.uri], one.accepts)
        self.assertEqual(await one.connect(), 200)
        await other.bound.wait()
        return one, other

    def no_complaints(self):
        self.assertEqual(self.ann.all("complaint") + self.bob.all("complaint"), [])

    async def test_text_goes_both_ways(self):
        one, other = await self.sessions()
        self.assertEqual(await one.send("héllo 😀".encode(), TEXT), 200)
        self.assertEqual(await other.send(b"", TEXT), 200)
        self.assertEqual((await self.bob.wait("received"))["body"].decode(), "héllo 😀")
        self.assertEqual((await self.ann.wait("received"))["body"], b"")
        self.no_complaints()

    async def test_200_kilobytes_in_chunks_in_one_and_as_it_comes(self):
        one, _other = await self.sessions()
        body = b"0123456789\r\n-------" * 10527
        for number, plan in enumerate((Plan(size=2048), Plan(), Plan(size=2048, end=False, total=False), Plan(size=50000)), 1):
            self.assertEqual(await one.send(body, TEXT, success=True, plan=plan), 200)
            self.assertEqual((await self.bob.wait("received", number))["body"], body)
        await one.send(body, TEXT, plan=Plan(whole=True))
        self.assertEqual((await self.bob.wait("received", 5))["pieces"], 1)
        await self.ann.wait("report", 4)
        self.no_complaints()

    async def test_two_messages_share_a_connection(self):
        one, _other = await self.sessions()
        long = one.start(b"l" * 500000, TEXT)
        short = one.start(b"short", TEXT)
        await asyncio.gather(one.outcome(long), one.outcome(short))
        await self.bob.wait("received", 2)
        self.assertEqual([event["received"] for event in self.bob.all("received")], [short.name, long.name])
        self.assertGreater(self.bob.all("received")[1]["pieces"], 1)
        self.no_complaints()

    async def test_reports_are_whole_each_odd_or_none(self):
        one, other = await self.sessions()
        for kind, count in (("whole", 1), ("each", 3), ("odd", 3)):
            before = len(self.ann.all("report"))
            other.manner.reports = kind
            outgoing = await one.send(b"r" * 5000, TEXT, success=True, plan=Plan(size=2048), wait=False)
            await self.ann.wait("report", before + count)
            self.assertTrue(outgoing.covered)
        other.manner.reports = "never"
        outgoing = await one.send(b"r", TEXT, success=True, wait=False)
        self.assertEqual(await one.outcome(outgoing), 200)
        await one.close()
        self.assertEqual(self.ann.all("unreported"), [{"unreported": outgoing.name}])
        self.no_complaints()

    async def test_failure_reports(self):
        one, other = await self.sessions()
        other.manner.reports = 408
        outgoing = await one.send(b"f", TEXT, wait=False)
        await self.ann.wait("report")
        self.assertEqual(outgoing.status, 408)
        other.manner.answer = 413
        self.assertEqual(await one.send(b"f" * 100000, TEXT), 413)
        self.no_complaints()

    async def test_failure_report_no_and_partial_are_not_answered(self):
        one, other = await self.sessions(accepts=(TEXT,))
        for failure in ("no", "partial"):
            self.assertIsNone(await one.send(b"x", TEXT, failure=failure))
        await self.bob.wait("received", 2)
        one.start(b"x", "image/png", failure="partial")
        one.start(b"x", "image/png", failure="no")
        self.assertEqual((await self.ann.wait("response", 2))["response"], 415)
        self.assertEqual(await one.send(b"x", TEXT), 200)
        self.assertEqual(len(self.ann.all("response")), 3)
        self.assertTrue(all("accept-types" in event["complaint"] for event in self.bob.all("complaint")))

    async def test_an_aborted_message_is_forgotten(self):
        one, other = await self.sessions()
        self.assertEqual(await one.send(b"x" * 9000, TEXT, plan=Plan(size=2048, abort=4096)), 200)
        await self.bob.wait("aborted")
        self.assertEqual(other.incoming, {})
        self.no_complaints()

    async def test_several_sessions_share_a_connection(self):
        one, _other = await self.sessions()
        two, _fourth = await self.sessions()
        self.assertIs(one.connection, two.connection)
        await asyncio.gather(one.send(b"1" * 99999, TEXT), two.send(b"2" * 99999, TEXT))
        await self.bob.wait("received", 2)
        self.no_complaints()

    async def test_unknown_and_taken_sessions_are_refused(self):
        one, other = await self.sessions()
        stranger = self.ann.session()
        stranger.meet([Uri.of("127.0.0.1", self.bob.endpoint.ports[False], "nobody123")])
        self.assertEqual(await stranger.connect(), 481)
        taken = self.ann.session()
        taken.meet([other.uri])
        taken.connection = await self.ann.endpoint.connection_to(other.uri, anew=True)
        taken.connection.sessions.append(taken)
        taken.active = True
        self.assertEqual(await taken.send(b"x", TEXT), 506)
        self.assertEqual(await one.send(b"x", TEXT), 200)

    async def test_an_unknown_method_is_501(self):
        one, _other = await self.sessions()
        one.connection.writer.frame(Frame("abcdefghijklmnop", "NICKNAME", headers=one.paths()))
        await self.bob.wait("method")
        self.assertEqual((await self.ann.wait("complaint"))["section"], "RFC 4975 §7.2")

    async def test_wrong_reports_and_answers_are_complained_of(self):
        one, other = await self.sessions()
        plain = await one.send(b"12345", TEXT, failure="no", wait=False)
        other.report(plain.name, 1, 5, 5)
        other.report(plain.name, 1, 5, 5, 408)
        other.report("nobodysmessage", 1, 5, 5)
        asked = await one.send(b"12345", TEXT, success=True, wait=False)
        await self.ann.wait("report", 4)
        other.report(asked.name, 1, 9, 9)
        await self.ann.wait("report", 5)
        sends = [tid for tid, each in one.connection.transactions.items() if each.message is asked]
        reports = [tid for tid, each in other.connection.transactions.items() if each.method == "REPORT"]
        one.connection.writer.frame(Frame(reports[0], None, 200, "OK", one.paths()))
        other.connection.writer.frame(Frame(sends[0], None, 299, "Odd", other.paths()))
        other.connection.writer.frame(Frame("abcdefghijkl", None, 200, "OK", other.paths()))
        await self.ann.wait("complaint", 8)
        await self.bob.wait("complaint")
        told = " | ".join(event["complaint"] for event in self.ann.all("complaint") + self.bob.all("complaint"))
        for text in ("nobody asked for", "in spite of Failure-Report: no", "which we did not send", "of a message of 5 bytes",
                     "a REPORT was answered", "no code 299", "answered a second time", "an answer to nothing"):
            self.assertIn(text, told)

    async def test_a_send_without_an_answer_is_complained_of(self):
        one, other = await self.sessions()
        self.ann.endpoint.patience = 0.05
        other.manner.answer = "never"
        self.assertEqual(await one.send(b"x", TEXT), 408)
        self.assertIn("no response", self.ann.all("complaint")[0]["complaint"])

    async def test_a_lost_connection_ends_its_sessions(self):
        one, other = await self.sessions()
        other.manner.answer = "never"
        outgoing = await one.send(b"x", TEXT, wait=False)
        await self.bob.wait("received")
        other.connection.abort()
        self.assertEqual(await one.outcome(outgoing), 0)
        await self.ann.wait("lost")

    async def test_pieces_in_any_order_overlapping_and_twice(self):
        one, _other = await self.sessions()
        pieces = ((5, b"EFGH", "$"), (3, b"cdXX", "+"), (3, b"cdXX", "+"), (5, b"EF", "+"), (1, b"ab", "+"))
        for number, (start, body, flag) in enumerate(pieces):
            headers = one.paths() + [("Message-ID", "pieces1"), ("Byte-Range", f"{start}-*/8"), ("Content-Type", TEXT)]
            one.connection.writer.frame(Frame(f"piece{number}abcdefgh", "SEND", headers=headers, body=body, flag=flag))
        self.assertEqual((await self.bob.wait("received"))["body"], b"abcdEFGH")


class Tls(unittest.IsolatedAsyncioTestCase):
    async def test_msrps_with_a_fingerprint_right_and_wrong(self):
        with tempfile.TemporaryDirectory() as folder:
            certificate, key = os.path.join(folder, "certificate.pem"), os.path.join(folder, "key.pem")
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                            "-subj", "/CN=bob", "-keyout", key, "-out", certificate], check=True, capture_output=True)
            ann, bob = Side(), Side(certificate=certificate, key=key)
            await bob.endpoint.start(secure=True)
            other = bob.session(secure=True)
            one = ann.session()
            one.meet([other.uri])
            other.meet([one.uri])
            fingerprint = bob.endpoint.fingerprint()
            with self.assertRaises(ConnectionError):
                await one.connect(fingerprint[:-2] + ("00" if fingerprint[-2:] != "00" else "11"))
            self.assertEqual(await one.connect(fingerprint), 200)
            self.assertEqual(await one.send(b"secret", TEXT, success=True), 200)
            self.assertEqual((await bob.wait("received"))["body"], b"secret")
            await ann.endpoint.stop()
            await bob.endpoint.stop()
            self.assertEqual(ann.all("complaint") + bob.all("complaint"), [])


if __name__ == "__main__":
    unittest.main()
