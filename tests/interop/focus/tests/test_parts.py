"""Nicknames, addresses and documents, without a socket."""

import unittest
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

from chat.conference import Roster
from chat.message import parse
from focus import document, names, refer

ROOM = "sip:verona@rooms.example"


class Names(unittest.TestCase):
    def test_a_nickname_is_a_quoted_string(self):
        self.assertEqual(names.nickname('"Ann \\"the\\" \\\\ one"'), 'Ann "the" \\ one')
        self.assertEqual(names.nickname('""'), "")
        self.assertEqual(names.nickname('"Ünü 🌹"'), "Ünü 🌹")

    def test_what_is_malformed(self):
        for value in (None, "", "Ann", '"Ann', 'Ann"', '"a"b"', '"a\\b"', '"a\nb"', '"  "', f'"{"ü" * 512}"'):
            with self.assertRaises(names.Malformed, msg=value):
                names.nickname(value)
        self.assertEqual(len(names.nickname(f'"{"x" * 1023}"')), 1023)

    def test_a_nickname_without_quotes_where_that_is_let_pass(self):
        self.assertEqual(names.nickname("Ann", bare=True), "Ann")

    def test_nicknames_that_look_alike_are_the_same(self):
        self.assertEqual(names.same("  Foo   Bar "), names.same("foo bar"))
        self.assertEqual(names.same("\u212bngström"), names.same("ångström"))
        self.assertNotEqual(names.same("ann"), names.same("anna"))

    def test_addresses_that_are_the_same(self):
        for other in ("sips:verona@Rooms.Example", "sip:ver%6fna@rooms.example", f"{ROOM};transport=tcp", f"{ROOM};gr=urn:uuid:1"):
            self.assertEqual(names.key(other), names.key(ROOM), other)
        for other in ("sip:Verona@rooms.example", "sip:verona@rooms.example:5060", f"{ROOM};gr=Ann"):
            self.assertNotEqual(names.key(other), names.key(ROOM), other)
        self.assertEqual(names.key(f"{ROOM};gr=A%20b"), (*names.key(ROOM), "A b"))

    def test_an_address_of_record_has_no_parameters(self):
        self.assertEqual(names.aor("sip:ann@a.example;gr=urn:uuid:1?X=1"), "sip:ann@a.example")

    def test_names_before_addresses(self):
        self.assertEqual(names.display_name('"Ann \\"A\\"" <sip:a@b>;tag=1'), 'Ann "A"')
        self.assertEqual(names.display_name("Ann Lee <sip:a@b>"), "Ann Lee")
        self.assertIsNone(names.display_name("<sip:a@b>;tag=1"))


class Documents(unittest.TestCase):
    def setUp(self):
        ann = document.Person("sip:ann@a.example", "Ann", (document.Device("sip:ann@1.2.3.4", "Ann", "1", "dialed-in", "now"),))
        bob = document.Person("sip:bob@a.example", "B & \"ob\"", (document.Device("sip:bob@5", None, "2", "dialed-out", "now"),),
                              aors=("tel:+1",), roles=("participant",))
        self.both = document.State(ROOM, "Verona", "Today <&> now", False, (ann, bob))
        self.roster, self.complaints = None, []
        self.roster = Roster(self.complaints.append)

    def take(self, data):
        ElementTree.fromstring(data)
        self.roster.take(data)
        self.assertEqual(self.complaints, [])

    def test_changes_make_of_the_old_state_the_new_one(self):
        writer, before = document.Writer(), self.both
        self.take(writer.full(before, 1))
        self.assertEqual(self.roster.subject, "Today <&> now")
        self.assertEqual(self.roster.users["sip:bob@a.example"]["name"], 'B & "ob"')
        ann, bob = before.people
        gone = replace(ann.devices[0], left="booted", why="SIP;text=\"out\"")
        states = [replace(before, people=(replace(ann, devices=(gone,)), bob)), replace(before, people=(bob,)),
                  replace(before, people=(bob,), subject=""), replace(before, people=(replace(bob, nick="Bobby"),), locked=True)]
        for version, after in enumerate(states, 2):
            self.take(writer.partial(before, after, version))
            expected = Roster(self.complaints.append)
            expected.take(writer.full(after, 1))
            self.assertEqual((self.roster.users, self.roster.subject), (expected.users, expected.subject))
            before = after
        self.assertEqual(self.roster.users["sip:bob@a.example"]["name"], "Bobby")

    def test_only_what_has_changed_is_in_a_partial_document(self):
        ann, bob = self.both.people
        data = document.Writer().partial(self.both, replace(self.both, people=(ann, replace(bob, name="Rob"))), 2).decode()
        self.assertIn("Rob", data)
        self.assertNotIn("Ann", data)
        self.assertNotIn("conference-description", data)

    def test_addresses_escaped_as_a_recorded_focus_does(self):
        data = document.Writer(escaped=True).full(self.both, 1).decode()
        self.assertIn("<uri>sip%3Averona%40rooms.example</uri>", data)
        self.assertIn('entity="sip:ann@a.example"', data)


class Wishes(unittest.TestCase):
    def wish(self, *targets):
        lines = "".join(f"Refer-To: {target}\r\n" for target in targets)
        return refer.wish(parse(f"REFER {ROOM} SIP/2.0\r\n{lines}\r\n".encode()))

    def test_the_method_stands_in_the_address_or_behind_it(self):
        self.assertEqual(self.wish("<sip:ann@a.example>"), ("sip:ann@a.example", "INVITE", None))
        self.assertEqual(self.wish("<sip:ann@a.example;method=BYE>"), ("sip:ann@a.example", "BYE", None))
        self.assertEqual(self.wish("<sip:ann@a.example>;method=BYE"), ("sip:ann@a.example", "BYE", None))
        self.assertEqual(self.wish(f"<{ROOM};gr=Ann;method=BYE>"), (f"{ROOM};gr=Ann", "BYE", None))

    def test_none_several_and_others_are_bad_requests(self):
        for targets in ((), ("<sip:a@b>", "<sip:c@d>"), ("<mailto:a@b>",), ("<sip:a@b;method=SUBSCRIBE>",)):
            self.assertEqual(self.wish(*targets)[2], 400)
