//! What the user agent core does for an INVITE and for no other request: CANCEL, ACK for a 2xx, further 2xx.

mod support;

use mostar::config::{Auth, Config, Secret};
use mostar::sip::flow::Transport::Udp;
use mostar::sip::message::{Answer, Failure, HeaderName, Method, Reply};
use support::node::{Node, answer_to, arriving, header, wanted};
use support::vector;

const PEER: &str = "192.0.2.1:5062";

fn config() -> Config {
    let mut config = vector::config();
    config.sip.peers[0].transport = Some(Udp);
    config
}

fn inviting(config: &Config) -> (Node, String) {
    let mut node = Node::new(config, 1);
    node.request(1, wanted(Method::Invite, "v=0"));
    let invite = node.only().1;
    (node, invite)
}

fn starts(texts: &[(mostar::sip::flow::SipOut, String)]) -> Vec<String> {
    texts.iter().map(|(_, text)| text.split(' ').next().unwrap_or_default().to_owned()).collect()
}

fn invite(branch: &str, extra: &str) -> String {
    arriving("INVITE", branch, &format!("Contact: <sip:r@192.0.2.1>\r\n{extra}"))
}

#[test]
fn a_cancel_waits_for_a_provisional_answer_and_looks_like_its_invite() {
    let (mut node, invite) = inviting(&config());
    node.cancel(1);
    node.advance(0.4);
    assert!(node.take().is_empty());
    node.receive(Udp, PEER, answer_to(&invite, "100 Trying", ""));
    let (_, cancel) = node.only();
    assert!(cancel.starts_with("CANCEL sip:romeo@example.net SIP/2.0\r\n"), "{cancel}");
    for name in ["Via", "From", "To", "Call-ID"] {
        assert_eq!(header(&cancel, name), header(&invite, name));
    }
    assert_eq!(header(&cancel, "CSeq"), "7 CANCEL");
    node.receive(Udp, PEER, answer_to(&cancel, "200 OK", ""));
    node.receive(Udp, PEER, answer_to(&invite, "487 Request Terminated", ""));
    assert_eq!(starts(&node.take()), ["ACK"]);
    assert!(
        matches!(&node.answers[..], [(1, Answer::Provisional(_)), (1, Answer::Final { response, .. })] if response.status.code() == 487)
    );
    node.advance(40.0);
    assert_eq!(node.agent.load(), 0);
}

#[test]
fn a_cancelled_invite_fails_when_nobody_ends_it() {
    let (mut node, invite) = inviting(&config());
    node.receive(Udp, PEER, answer_to(&invite, "180 Ringing", ""));
    node.advance(300.0);
    assert_eq!(node.answers.len(), 1, "it may ring for long");
    node.cancel(1);
    node.cancel(1);
    node.advance(33.0);
    assert!(matches!(node.answers.pop(), Some((1, Answer::Failed(Failure::Timeout)))));
    assert_eq!((node.answers.len(), node.agent.load()), (1, 0));
    node.cancel(1);
    assert!(node.take().iter().all(|(_, text)| text.starts_with("CANCEL")));
}

#[test]
fn a_2xx_that_crosses_the_cancel_is_told_and_so_is_each_further_one() {
    let (mut node, invite) = inviting(&config());
    node.receive(Udp, PEER, answer_to(&invite, "100 Trying", ""));
    node.cancel(1);
    let ok = answer_to(&invite, "200 OK", "");
    node.receive(Udp, PEER, ok.clone());
    assert!(matches!(&node.answers[..], [_, (1, Answer::Final { cseq: 7, .. })]));
    node.receive(Udp, PEER, ok.replace("tag=peer", "tag=fork"));
    node.receive(Udp, PEER, ok.clone());
    assert!(matches!(&node.further[..], [(1, 7, _), (1, 7, _)]));
    node.advance(33.0);
    node.receive(Udp, PEER, ok);
    assert_eq!((node.further.len(), node.agent.load()), (2, 0));
}

#[test]
fn an_ack_carries_the_credentials_of_its_invite_and_a_branch_of_its_own() {
    let mut config = config();
    config.sip.peers[0].auth = Some(Auth { username: "mostar".into(), password: Secret::new("s") });
    let (mut node, first) = inviting(&config);
    let challenge = "Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n";
    node.receive(Udp, PEER, answer_to(&first, "407 Prove", challenge));
    let (_, invite) = node.take().pop().expect("an INVITE");
    node.receive(Udp, PEER, answer_to(&invite, "200 OK", ""));
    let mut ack = wanted(Method::Ack, "");
    ack.cseq = 8;
    ack.to += ";tag=peer";
    node.agent.ack(&mut node.mint, 1, ack);
    node.drain();
    let (out, ack) = node.only();
    assert_eq!((out.id, out.target.remote.to_string().as_str()), (None, "192.0.2.1:5060"));
    assert_eq!(header(&ack, "CSeq"), "8 ACK");
    assert_eq!(header(&ack, "Proxy-Authorization"), header(&invite, "Proxy-Authorization"));
    assert_ne!(header(&ack, "Via"), header(&invite, "Via"));
}

#[test]
fn a_cancel_of_a_peer_is_answered_here_and_told_once() {
    let mut node = Node::new(&config(), 1);
    node.receive(Udp, PEER, invite("1", ""));
    let key = node.requests[0].key;
    node.receive(Udp, PEER, arriving("CANCEL", "1", ""));
    let ok = node.only().1;
    assert!(ok.starts_with("SIP/2.0 200") && header(&ok, "CSeq") == "1 CANCEL");
    assert_eq!(node.cancelled, [key]);
    node.reply(Reply::new(487));
    let gone = node.only().1;
    assert_eq!(header(&gone, "To"), header(&ok, "To"), "both answers have one tag");
    node.receive(Udp, PEER, arriving("CANCEL", "1", ""));
    node.receive(Udp, PEER, arriving("CANCEL", "2", ""));
    let again = node.take();
    assert_eq!(again.len(), 2, "the first again, and one that names no INVITE");
    assert!(again[0].1.starts_with("SIP/2.0 200") && again[1].1.starts_with("SIP/2.0 481"), "{again:?}");
    assert_eq!((node.cancelled.len(), node.requests.len()), (1, 0));
}

#[test]
fn a_2xx_to_an_invite_is_repeated_as_often_as_its_owner_wants() {
    let mut node = Node::new(&config(), 1);
    node.receive(Udp, PEER, invite("1", "Require: timer\r\n"));
    let key = node.requests[0].key;
    let ok = Reply::new(200).carrying("application/sdp", b"v=0\r\n");
    for _ in 0..2 {
        node.agent.reply(node.clock(), &mut node.mint, key, ok.clone());
        node.agent.reply(node.clock(), &mut node.mint, key, Reply::new(486));
    }
    node.drain();
    let sent = node.take();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].1, sent[1].1);
    assert!(sent[0].1.ends_with("Content-Length: 5\r\n\r\nv=0\r\n"), "{}", sent[0].1);
    let ack = arriving("ACK", "2", "").replace("example.com>\r\nCall", "example.com>;tag=x\r\nCall");
    node.receive(Udp, PEER, ack);
    assert_eq!(node.acks.len(), 1);
    node.advance(33.0);
    assert_eq!(node.agent.load(), 0);
}

#[test]
fn an_invite_may_ring_longer_than_other_requests() {
    let mut node = Node::new(&config(), 1);
    node.receive(Udp, PEER, invite("1", "Require: 100rel, timer\r\n"));
    let refused = node.only().1;
    assert_eq!(header(&refused, "Unsupported"), "100rel");
    node.receive(Udp, PEER, arriving("ACK", "1", ""));
    node.receive(Udp, PEER, invite("2", "").replace("Call-ID: c1", "Call-ID: c2"));
    let key = node.requests[0].key;
    node.agent.reply(
        node.clock(),
        &mut node.mint,
        key,
        Reply::new(180).with(HeaderName::Contact, "<sip:a@b>"),
    );
    node.drain();
    node.take();
    node.advance(179.0);
    assert!(node.take().is_empty());
    node.advance(2.0);
    assert!(node.take()[0].1.starts_with("SIP/2.0 500"));
}

#[test]
fn what_was_cancelled_is_not_tried_elsewhere() {
    let mut config = config();
    config.sip.peers[0].transport = None;
    let mut node = Node::new(&config, 1);
    node.request(1, wanted(Method::Invite, &"x".repeat(1400)));
    let (out, _) = node.only();
    node.cancel(1);
    node.fail(&out);
    assert!(node.take().is_empty(), "it would go back to UDP");
    assert!(matches!(&node.answers[..], [(1, Answer::Failed(Failure::Transport(_)))]));
    assert_eq!(node.agent.load(), 0);
}
