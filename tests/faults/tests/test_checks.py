"""The checks bite: each small book has one fault, or none."""

import os
import sys
import unittest

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "interop")]

import checks  # noqa: E402
from ledger import TO_SIP, TO_XMPP, Break, Ledger  # noqa: E402


class Checks(unittest.TestCase):
    def setUp(self):
        self.ledger = Ledger()
        self.to_sip = self.ledger.pair(TO_SIP, "juliet@x", "romeo@s")
        self.to_xmpp = self.ledger.pair(TO_XMPP, "sip:romeo@s", "juliet@x")

    def said(self, pair, when=10.0):
        message, text = self.ledger.say(pair)
        message.said = when
        return message, text

    def found(self):
        """The numbers of the invariants that are violated, and how many are ambiguous."""
        findings = checks.Findings()
        checks.of_messages(self.ledger, findings)
        return [invariant for invariant, _text in findings.violations], findings.count["ambiguous"]

    def broken(self, what, begin, end):
        self.ledger.breaks.append(Break(what, begin))
        self.ledger.breaks[-1].end = end

    def delivered(self, pair, when=10.0, name="n"):
        message, text = self.said(pair, when)
        message.heard.append((when + 0.1, f"{name}{message.number}", False))
        if pair is self.to_xmpp:
            message.answers.append((when + 0.1, 202, "mostar"))
        return message, text

    def test_what_is_delivered_or_told_is_well(self):
        self.delivered(self.to_sip)
        self.delivered(self.to_xmpp)
        message, _ = self.said(self.to_sip)
        message.told.append((11.0, "gone"))
        message, _ = self.said(self.to_xmpp)
        message.answers.append((11.0, 404, "mostar"))
        self.assertEqual(self.found(), ([], 0))

    def test_what_was_accepted_and_is_gone_is_lost(self):
        message, _ = self.said(self.to_xmpp)
        message.answers.append((10.1, 202, "mostar"))
        self.assertEqual(self.found(), ([1], 0))

    def test_a_gateway_that_dies_loses_nothing_that_it_accepted_and_a_server_may(self):
        message, _ = self.said(self.to_xmpp)
        message.answers.append((10.1, 202, "mostar"))
        self.broken("mostar", 10.2, 11.0)
        self.assertEqual(self.found(), ([1], 0))
        self.broken("Prosody", 10.2, 11.0)
        self.assertEqual(self.found(), ([], 1))

    def test_what_was_in_flight_when_a_link_broke_is_in_doubt_and_what_was_before_it_is_not(self):
        self.said(self.to_sip, 10.0)
        self.broken("mostar", 10.1, 11.0)
        self.assertEqual(self.found(), ([], 1))
        self.delivered(self.to_sip, 10.05)
        self.assertEqual(self.found(), ([1], 0))

    def test_what_is_lost_without_a_fault_is_lost(self):
        self.said(self.to_sip)
        self.assertEqual(self.found(), ([1], 0))

    def test_what_was_refused_and_comes_is_a_violation(self):
        message, _ = self.delivered(self.to_xmpp)
        message.answers[:] = [(10.1, 503, "mostar")]
        self.assertEqual(self.found(), ([3], 0))
        message.answers[:] = [(10.1, 408, "kamailio")]
        self.assertEqual(self.found(), ([], 1))

    def test_an_error_about_what_came_is_a_violation(self):
        message, _ = self.delivered(self.to_sip)
        message.told.append((11.0, "gone"))
        self.assertEqual(self.found(), ([3], 0))

    def test_what_comes_twice_is_a_violation_but_for_a_broken_link_and_one_name(self):
        message, _ = self.delivered(self.to_xmpp)
        message.heard.append((12.0, message.heard[0][1], False))
        self.assertEqual(self.found(), ([4], 0))
        self.broken("Prosody", 10.5, 11.0)
        self.assertEqual(self.found(), ([], 1))
        message.heard.append((12.1, "another", False))
        self.assertIn(4, self.found()[0])

    def test_an_error_is_told_once(self):
        message, _ = self.said(self.to_sip)
        message.told += [(11.0, "gone"), (11.1, "gone")]
        self.assertEqual(self.found(), ([6], 0))

    def test_nothing_overtakes(self):
        first, _ = self.delivered(self.to_sip, 10.0)
        self.delivered(self.to_sip, 10.2)
        first.heard[0] = (10.9, "n1", False)
        self.assertEqual(self.found(), ([7], 0))

    def test_what_a_server_that_died_had_put_aside_comes_again_with_what_it_had_shown(self):
        first, _ = self.delivered(self.to_xmpp, 10.0)
        second, _ = self.delivered(self.to_xmpp, 10.2)
        first.heard[0] = (12.0, "n1", False)
        self.broken("mostar", 10.5, 11.9)
        self.assertEqual(self.found(), ([7], 0))
        self.broken("ejabberd", 10.5, 11.9)
        self.assertEqual(self.found(), ([7], 0))
        second.heard.append((12.1, second.heard[0][1], False))
        self.assertEqual(self.found(), ([], 1))
        second.heard[1] = (11.8, second.heard[0][1], False)
        self.assertIn(7, self.found()[0])

    def test_failures_without_a_name_are_counted(self):
        for _ in range(2):
            message, _text = self.said(self.to_xmpp)
            message.answers.append((10.1, 202, "mostar"))
        self.to_xmpp.unnamed.append((70.0, 1))
        self.assertEqual(self.found(), ([1], 0))
        self.to_xmpp.unnamed.append((71.0, 1))
        self.assertEqual(self.found(), ([], 0))

    def test_what_nobody_wrote_is_a_violation(self):
        self.ledger.hear("Speak ~0.7~", "romeo@s", "n")
        self.assertEqual(self.found(), ([3], 0))

    def test_presence_is_true_in_time(self):
        shown = self.ledger.watch(TO_XMPP, "romeo@s", "juliet@x")
        shown.true((True, "a"))
        shown.seen, shown.at = (True, "b"), 5.0
        findings = checks.Findings()
        checks.of_presence(self.ledger, findings, {shown: 10.0})
        self.assertEqual([invariant for invariant, _ in findings.violations], [9])
        shown.seen, findings = (True, "a"), checks.Findings()
        checks.of_presence(self.ledger, findings, {shown: 10.0})
        self.assertEqual(findings.violations, [])
        checks.of_presence(self.ledger, findings, {shown: 4.0})
        self.assertEqual([invariant for invariant, _ in findings.violations], [9])

    def test_figures_add_up(self):
        text = ('mostar_messages_total{direction="sip_to_xmpp",result="accepted"} 5\n'
                'mostar_messages_total{direction="sip_to_xmpp",result="delivered"} 3\n'
                'mostar_messages_total{direction="sip_to_xmpp",result="refused"} 1\n')
        findings = checks.Findings()
        checks.of_figures(text, findings)
        self.assertEqual([invariant for invariant, _ in findings.violations], [1])
        findings = checks.Findings()
        checks.of_figures(text + 'mostar_messages_total{direction="sip_to_xmpp",result="expired"} 1\n', findings)
        self.assertEqual(findings.violations, [])


if __name__ == "__main__":
    unittest.main()
