"""Framing and syntax."""

import unittest

from chat.rules import Judge
from chat.wire import Broken, Decoder, Frame, Range, Uri, new_ident, IDENT

ME = Uri.parse("msrp://127.0.0.1:2855/me12345;tcp")
PEER = Uri.parse("msrp://127.0.0.1:2856/peer123;tcp")
PATHS = [("To-Path", str(ME)), ("From-Path", str(PEER))]
TEXT = ("Content-Type", "text/plain")


def send(body=b"hello", *headers, tid="a786hjs2k3l4", flag="$", name="1234abcd", extent=None):
    extent = extent or f"1-{len(body)}/{len(body)}"
    return Frame(tid, "SEND", headers=[*PATHS, ("Message-ID", name), ("Byte-Range", extent), *headers, TEXT], body=body,
                 flag=flag)


def decode(data, step=None):
    decoder, found = Decoder(), []
    for at in range(0, len(data), step or len(data)):
        found += decoder.feed(data[at:at + (step or len(data))])
    return found


def complaints(*frames):
    told = []
    judge = Judge(lambda complaint: told.append(complaint.text), ME, ("text/plain",))
    judge.remote = [PEER]
    for frame in frames:
        for parsed in decode(frame.encode() if isinstance(frame, Frame) else frame):
            judge.request(parsed)
    return told


class Framing(unittest.TestCase):
    def test_a_frame_survives_any_cut(self):
        data = send(b"one\r\n-------a786hjs2k3lX$\r\ntwo").encode() + send(b"").encode()
        for step in (None, 1, 2, 7):
            first, second = decode(data, step)
            self.assertEqual(first.body, b"one\r\n-------a786hjs2k3lX$\r\ntwo")
            self.assertEqual(second.body, b"")

    def test_a_bodiless_request_has_no_body_and_no_empty_line(self):
        frame = Frame("a786hjs2k3l4", "SEND", headers=[*PATHS, ("Message-ID", "1234"), ("Byte-Range", "1-0/0")])
        self.assertNotIn(b"\r\n\r\n", frame.encode())
        self.assertIsNone(decode(frame.encode(), 1)[0].body)
        self.assertEqual(complaints(frame), [])

    def test_an_empty_line_without_a_body_is_read_and_named(self):
        data = b"MSRP a786hjs2k3l4 SEND\r\nTo-Path: %s\r\nFrom-Path: %s\r\nMessage-ID: 1234\r\n\r\n-------a786hjs2k3l4$\r\n"
        told = complaints(data % (str(ME).encode(), str(PEER).encode()))
        self.assertEqual(told, ["an empty line before the end-line of a frame without a body"])

    def test_an_end_line_with_a_wrong_flag_is_body(self):
        frame = send(b"x\r\n-------a786hjs2k3l4!\r\ny")
        self.assertEqual(decode(frame.encode())[0].body, frame.body)

    def test_bare_line_feeds_are_read_and_named(self):
        self.assertIn("a line ends in a bare LF", complaints(send().encode().replace(b"\r\nTo-Path", b"\nTo-Path")))

    def test_what_is_not_msrp_breaks(self):
        for data in (b"HTTP/1.1 200 OK\r\n", b"x" * 70000, b"MSRP abcd SEND\r\n" + b"A: b\r\n" * 20000):
            with self.assertRaises(Broken):
                decode(data)

    def test_idents_are_idents(self):
        for _ in range(500):
            self.assertTrue(IDENT.fullmatch(new_ident()))


class Uris(unittest.TestCase):
    def test_equal_as_the_rfc_says(self):
        key = lambda text: Uri.parse(text).key
        self.assertEqual(key("MSRP://Ann@Host.Example:1/aB;TCP"), key("msrp://host.example:1/aB;tcp"))
        self.assertEqual(key("msrp://[2001:db8::1]:1/a;tcp"), key("msrp://[2001:DB8:0::1]:1/a;tcp"))
        for other in ("msrps://host.example:1/aB;tcp", "msrp://host.example:2/aB;tcp", "msrp://host.example:1/ab;tcp",
                      "msrp://host.example/aB;tcp", "msrp://host.example:1;tcp"):
            self.assertNotEqual(key("msrp://host.example:1/aB;tcp"), key(other))

    def test_no_uri(self):
        for text in ("http://a:1/b;tcp", "msrp://a:1/b", "msrp://a:99999/b;tcp", "msrp://u:p@a:1/b;tcp", "msrp://:1/b;tcp"):
            with self.assertRaises(ValueError):
                Uri.parse(text)


class Rules(unittest.TestCase):
    def test_a_good_message_is_not_complained_of(self):
        self.assertEqual(complaints(send()), [])
        self.assertEqual(complaints(send(b"a" * 2048, flag="+", extent="1-2048/2050"),
                                    send(b"bb", tid="b786hjs2k3l4", extent="2049-2050/2050")), [])
        self.assertEqual(complaints(send(b"a" * 5000, extent="1-*/*")), [])

    def wrong(self, frame, text):
        told = complaints(*(frame if isinstance(frame, tuple) else (frame,)))
        self.assertTrue(any(text in complaint for complaint in told), told)

    def test_what_is_against_the_rules_is_named(self):
        self.wrong(send(tid="abc"), "no ident")
        self.wrong(send(tid="abcd1234"), "64 random bits")
        self.wrong((send(), send(name="other")), "came before")
        self.wrong(send(name="12-345678901234567890123456789012"), "no ident")
        self.wrong(send("né".encode(), extent="1-2/2"), "ends at 3")
        self.wrong(send(b"a" * 2049), "cannot be interrupted")
        self.wrong(send(b"abc", extent="1-*/4"), "the message ends at 3")
        self.wrong(send(b"abc", extent="0-2/3"), "does not begin at 1")
        self.wrong(send(b"abc", extent="1-3"), "not a Byte-Range")
        self.wrong(send(b"x-------a786hjs2k3l4$"), "the end-line is in the body")
        self.wrong(send(b"a", ("Failure-Report", "maybe")), "Failure-Report: maybe")
        self.wrong(send(b"a", ("Content-Transfer-Encoding", "binary")), "Content-Transfer-Encoding")
        frame = send()
        frame.headers = [frame.headers[1], frame.headers[0], *frame.headers[2:]]
        self.wrong(frame, "not To-Path and From-Path")
        frame = send()
        frame.headers.append(("Success-Report", "no"))
        self.wrong(frame, "Content-Type is not the last header")
        frame = send()
        frame.headers[-1] = ("Content-Type", "text/html")
        self.wrong(frame, "was not offered")
        frame.headers[-1] = ("Subject", "x")
        self.wrong(frame, "a body without Content-Type")
        frame = send()
        frame.headers[0] = ("To-Path", "msrp://127.0.0.1:2855/other;tcp")
        self.wrong(frame, "alone")
        frame = send()
        del frame.headers[2]
        self.wrong(frame, "without Message-ID")
        self.wrong((send(b"a" * 2048, flag="+", extent="1-2048/*"),
                    send(b"b", tid="b786hjs2k3l4", extent="2050-2050/2050")), "not in order")
        self.wrong((send(b"a" * 20, flag="+", extent="1-20/21"),
                    send(b"b", tid="b786hjs2k3l4", extent="21-21/21")), "less than 2048")
        self.wrong((send(b"a" * 2048, flag="+", extent="1-2048/2049"),
                    send(b"b", ("Success-Report", "yes"), tid="b786hjs2k3l4", extent="2049-2049/2049")), "other reports")
        self.wrong(send().encode().replace(b"Message-ID: ", b"Message-ID:"), "not followed by one space")

    def test_ranges(self):
        self.assertEqual(str(Range.parse("1-*/*")), "1-*/*")
        self.assertEqual(Range.parse("5-8/8"), Range(5, 8, 8))


if __name__ == "__main__":
    unittest.main()
