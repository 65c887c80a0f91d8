"""A SIP phone that chats by MSRP, written from the RFCs alone: what the gateway's own MSRP is tried with.

It shares nothing with the gateway, neither code nor reading of the rules. It says loudly where its peer breaks a rule
(`complaint` events, each with the section of the RFC), and it can break them itself (`misbehave`).

wire        MSRP on the wire: URIs, frames, framing (RFC 4975 §6, §9)
rules       what RFC 4975 says of everything that arrives
sending     a connection's writer: chunks, interruption, fairness (RFC 4975 §7.1.1)
session     one session: messages, reports, responses (RFC 4975 §7)
endpoint    listeners and connections (RFC 4975 §5.4)
misbehave   what a bad peer does
cpim        message/cpim (RFC 3862)
documents   IMDN and isComposing (RFC 5438, RFC 3994)
sdp         offers and answers (RFC 4975 §8, RFC 6135)
message     SIP messages (RFC 3261)
transport   SIP over UDP and TCP
agent       transactions, dialogs, digest (RFC 3261)
call        one INVITE dialog with its MSRP session (RFC 4975 §8, RFC 6135)
conference  who is in a conference (RFC 4575)
room        what a phone does in rooms (RFC 7701, RFC 4579)
phone       the phone: commands in, events out

No relays (RFC 4976), no file transfer (RFC 5547), no SRV: it is told where the next hop is.
"""
