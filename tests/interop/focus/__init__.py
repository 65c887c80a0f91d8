"""A conference focus with chat rooms, written from the RFCs alone: what the gateway joins SIP rooms with.

It stands on the modules of `chat/` and, as they do, shares nothing with the gateway. It says where its peer breaks a rule
(`complaint` events), and it can be as odd as real ones are (`habits`).

names       nicknames and addresses: what is malformed, what is the same (RFC 7701 §7, RFC 7700)
habits      what this focus does and what it does not, one switch each
document    conference-info documents (RFC 4575)
watch       subscriptions to a room (RFC 6665, RFC 4575)
switch      the MSRP side of one member: what it may send to whom (RFC 7701 §6, §7)
member      one INVITE dialog with the focus, dialled in or out (RFC 4579 §5.1, §5.2)
refer       REFER: asks somebody in, sends somebody out (RFC 4579 §5.5, §5.11, RFC 3515, RFC 7647)
room        who is in, what is said
focus       orders in, events out

No passwords, no sidebars, no floor control, no cascades, no media but MSRP.
"""
