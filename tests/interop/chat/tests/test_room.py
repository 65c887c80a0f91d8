"""Rosters of conferences, and what a phone says in rooms."""

import unittest

from chat.conference import Roster, guests
from chat.message import Message
from chat.phone import name_of
from chat.room import focus_of, occupant


def document(version, users, state="partial", around="partial"):
    return (f'<conference-info xmlns="urn:ietf:params:xml:ns:conference-info" entity="sip:r@x" state="{state}" version="{version}">'
            f'<users state="{around}">{users}</users></conference-info>')


def user(name, state="full"):
    return f'<user entity="sip:r@x;gr={name}" state="{state}"><display-text>{name}</display-text></user>'


class Rosters(unittest.TestCase):
    def setUp(self):
        self.complaints = []
        self.roster = Roster(lambda complaint: self.complaints.append(complaint.text))

    def names(self):
        return sorted(entry.get("name") for entry in self.roster.users.values())

    def test_partial_documents_change_what_the_full_one_said(self):
        self.roster.take(document(5, user("Ann") + user("Bob"), "full", "full"))
        self.roster.take(document(6, user("Ann", "deleted") + user("Cid")))
        self.assertEqual((self.names(), self.complaints), (["Bob", "Cid"], []))

    def test_the_first_document_is_full_and_versions_rise_by_one(self):
        self.roster.take(document(5, user("Ann")))
        self.roster.take(document(7, user("Bob")))
        self.roster.take(document(7, user("Bob")))
        self.assertEqual(len(self.complaints), 3)

    def test_a_full_document_may_say_again_what_was_said(self):
        self.roster.take(document(5, user("Ann"), "full", "full"))
        self.roster.take(document(6, user("Bob")))
        self.roster.take(document(6, user("Ann") + user("Bob"), "full", "full"))
        self.assertEqual((self.names(), self.complaints), (["Ann", "Bob"], []))

    def test_what_is_no_document_is_complained_of(self):
        for data in ("<", "<other/>", '<conference-info xmlns="urn:ietf:params:xml:ns:conference-info"/>'):
            self.roster.take(data)
        self.assertEqual(len(self.complaints), 3)


class Words(unittest.TestCase):
    def test_names_before_addresses(self):
        for value, name in (('"Ann \\"A\\"" <sip:a@x>', 'Ann "A"'), ("Ann A <sip:a@x>", "Ann A"), ("<sip:a@x>", None)):
            self.assertEqual(name_of(value), name)

    def test_somebody_in_a_room(self):
        self.assertEqual(occupant("sip:r@x", "Ann ü"), "sip:r@x;gr=Ann%20%C3%BC")

    def test_a_focus_says_so_behind_the_brackets(self):
        contact = lambda value: Message(status=200, headers=[("Contact", value)])
        self.assertEqual(focus_of(contact("<sip:r@x>;isfocus")), "sip:r@x")
        self.assertIsNone(focus_of(contact("<sip:r@x;isfocus>")))

    def test_a_list_of_guests(self):
        self.assertIn(b'<entry uri="sip:a@x"/><entry uri="sip:b@x"/>', guests(["sip:a@x", "sip:b@x"]))


if __name__ == "__main__":
    unittest.main()
