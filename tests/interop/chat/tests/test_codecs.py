"""CPIM, IMDN, isComposing, SDP."""

import unittest

from chat import cpim, documents, sdp
from chat.wire import Uri

RECORDED = ('From: alice Lab <sip:alice@sip.lab>\r\nTo: <sip:bob@sip.lab>\r\n'
            'DateTime: 2026-11-20T10:29:46.817753+00:00\r\n\r\n'
            'MIME-Version: 1.0\nContent-Type: text/plain; charset="utf8"\nContent-Transfer-Encoding: \n\n'
            'over MSRP é 😀').encode()


class Cpim(unittest.TestCase):
    def test_what_we_write_we_read_without_complaint(self):
        written = cpim.wrap("Grüße\r\n\r\nx", "sip:a@b", "sip:c@d", imdn=["positive-delivery", "display"])
        read = cpim.parse(written.encode())
        self.assertEqual((read.content, read.headers, read.mime), (written.content, written.headers, written.mime))
        self.assertEqual(read.complaints, [])
        self.assertEqual(read.get("Disposition-Notification", cpim.IMDN), "positive-delivery, display")

    def test_mixed_line_ends_of_a_real_client_are_read_and_named(self):
        read = cpim.parse(RECORDED)
        self.assertEqual(read.content.decode(), "over MSRP é 😀")
        self.assertEqual(read.content_type, 'text/plain; charset="utf8"')
        self.assertEqual([complaint.text for complaint in read.complaints], ["a line ends in a bare LF"])

    def test_prefixes_are_local(self):
        read = cpim.parse(f"From: <sip:a@b>\r\nNS: x <{cpim.IMDN}>\r\nx.Message-ID: 7\r\n\r\n"
                          "Content-Type: text/plain\r\n\r\n".encode())
        self.assertEqual(read.get("Message-ID", cpim.IMDN), "7")
        self.assertEqual(read.complaints, [])

    def test_escapes(self):
        value = 'a\tb\\c\x01"é'
        self.assertEqual(cpim.unescape(cpim.escape(value)), value)

    def test_what_is_wrong_is_named(self):
        read = cpim.parse(b"From: sip:a@b\r\nDateTime: yesterday\r\nimdn.Message-ID: 7\r\n"
                          b"Subject:x\r\n\r\nContent-Type: text/plain\r\n\r\n")
        self.assertEqual(len(read.complaints), 4)

    def test_a_notification_has_an_id_and_its_disposition_and_asks_for_nothing(self):
        body = documents.imdn("x").encode()
        good = cpim.wrap(body, "sip:a@b", "sip:c@d", documents.IMDN_TYPE, name="n1", disposition="notification")
        self.assertEqual(cpim.parse(good.encode()).complaints, [])
        bad = cpim.wrap(body, "sip:a@b", "sip:c@d", documents.IMDN_TYPE)
        self.assertEqual(len(cpim.parse(bad.encode()).complaints), 2)
        bad = cpim.wrap(body, "sip:a@b", "sip:c@d", documents.IMDN_TYPE, imdn=["display"], disposition="notification")
        self.assertEqual(len(cpim.parse(bad.encode()).complaints), 1)

    def test_no_cpim(self):
        for data in (b"", b"hello", b"\r\n\r\n", b"From: <sip:a@b>\r\n\r\nContent-Type: text/plain\r\n"):
            with self.assertRaises(ValueError):
                cpim.parse(data)


class Documents(unittest.TestCase):
    def test_notifications_go_round(self):
        for kind, statuses in documents.STATUSES.items():
            for status in (*statuses, *documents.COMMON):
                read = documents.parse_imdn(documents.imdn("a&b<", kind, status).encode())
                self.assertEqual((read.name, read.kind, read.status, read.complaints), ("a&b<", kind, status, []))

    def test_a_wrong_notification_is_named(self):
        wrong = documents.imdn("x", "display", "delivered", "now").encode()
        self.assertEqual(len(documents.parse_imdn(wrong).complaints), 2)
        with self.assertRaises(ValueError):
            documents.parse_imdn(b"<imdn/>")

    def test_typing_goes_round(self):
        for state, refresh in (("active", 60), ("active", None), ("idle", None)):
            read = documents.parse_composing(documents.Composing(state, refresh, "text/plain").encode())
            self.assertEqual((read.state, read.refresh, read.complaints), (state, refresh, []))

    def test_an_unknown_state_is_idle_and_a_hasty_refresh_is_named(self):
        read = documents.parse_composing(documents.Composing("dreaming", 5).encode())
        self.assertEqual((read.state, len(read.complaints)), ("idle", 2))


class Sdp(unittest.TestCase):
    uri = Uri.parse("msrp://127.0.0.1:39461/963cdeb3e3a09218098d;tcp")

    def document(self, **options):
        return sdp.Sdp(sdp.origin("127.0.0.1"), [sdp.message_line(self.uri, "actpass", **options)])

    def test_what_we_write_we_read_without_complaint(self):
        read = sdp.parse(self.document(max_size=10000, direction="sendonly").encode())
        self.assertEqual(read.complaints, [])
        line, = read.msrp()
        self.assertEqual(([uri.text for uri in line.path], line.setup, line.accepts, line.direction),
                         ([self.uri.text], "actpass", sdp.CHAT, "sendonly"))

    def test_a_refused_line_is_none(self):
        offer = self.document()
        answer = sdp.Sdp(offer.origin, [sdp.refused(offer.media[0])])
        read = sdp.parse(answer.encode(), offer)
        self.assertEqual((read.msrp(), read.complaints), ([], []))

    def test_what_is_wrong_is_named(self):
        text = self.document().encode().replace(b"m=message 39461", b"m=message 9").replace(b"setup:actpass", b"setup:passive")
        text = text.replace(b"c=IN IP4 127.0.0.1", b"c=IN IP4 127.0.0.2").replace(b"a=accept-types", b"a=types")
        self.assertEqual(len(sdp.parse(text).complaints), 4)
        self.assertEqual(sdp.parse(text.replace(b"a=path", b"a=way")).complaints[0].text, "a message line without a=path")


if __name__ == "__main__":
    unittest.main()
