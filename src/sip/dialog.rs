//! A dialog: what two user agents remember of each other between requests (RFC 3261 §12, RFC 6665 §4.4.1).
//!
//! A plain value, kept on disk by whoever owns the usage inside it. From and To are remembered as whole header values,
//! tags included, and so are the routes: what a peer sent is repeated to it byte for byte. The value does not know
//! how many usages share it, and it sends nothing: [`Dialog::request`] makes the next request, and the agent finds the
//! next hop from its routes.

use serde::{Deserialize, Serialize};

use super::message::{self, HeaderName, Headers, Method, OutRequest, Request, Response};
use crate::words::id::Partition;

/// One dialog, from our side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dialog {
    /// Call-ID.
    pub call_id: String,
    /// Our address with our tag: From of what we send.
    pub local: String,
    /// Our tag.
    pub local_tag: String,
    /// The peer's address with its tag: To of what we send.
    pub remote: String,
    /// The peer's tag; empty for a peer of before RFC 3261.
    pub remote_tag: String,
    /// The CSeq number of our last request; zero when we have sent none.
    pub local_cseq: u32,
    /// The CSeq number of the peer's last request.
    pub remote_cseq: Option<u32>,
    /// The route set, in the order in which our requests follow it.
    pub routes: Vec<String>,
    /// The remote target: the Request-URI of what we send.
    pub target: String,
    /// The domain whose peer carries our requests.
    pub domain: String,
    /// The partition that our branches name.
    pub partition: Partition,
}

/// Why a message makes no dialog; reads as a reason phrase.
pub type NoDialog = &'static str;

impl Dialog {
    /// The dialog that a NOTIFY makes with the SUBSCRIBE that it answers (RFC 6665 §4.4.1): the notifier is who sent
    /// the NOTIFY, which need not be who sent the 200. Where it has no Contact, which liblinphone leaves out, the remote
    /// target is what we sent the SUBSCRIBE to, until the 2xx tells better.
    pub fn of_notify(sent: &OutRequest, cseq: u32, notify: &Request) -> Result<Dialog, NoDialog> {
        Ok(Dialog {
            remote: message::text(&notify.headers, &HeaderName::From).ok_or("no From")?,
            remote_tag: message::tag(&notify.headers, &HeaderName::From).unwrap_or_default(),
            remote_cseq: message::cseq(&notify.headers),
            routes: message::list(&notify.headers, &HeaderName::RecordRoute),
            target: match message::address(&notify.headers, &HeaderName::Contact) {
                Some(_) => contact(&notify.headers)?,
                None => sent.uri.clone(),
            },
            ..Dialog::of_sent(sent, cseq)?
        })
    }

    /// The dialog of a request that we accept with `local_tag` in To (RFC 3261 §12.1.1). The peer of the domain in
    /// From carries our requests.
    pub fn of_request(request: &Request, local_tag: &str, partition: Partition) -> Result<Dialog, NoDialog> {
        let headers = &request.headers;
        let from = message::address(headers, &HeaderName::From).ok_or("no From")?;
        let host = from.uri.host().map(|host| host.to_string().to_ascii_lowercase());
        let mut local = message::text(headers, &HeaderName::To).ok_or("no To")?;
        if message::tag(headers, &HeaderName::To).is_none() {
            local = format!("{local};tag={local_tag}");
        }
        Ok(Dialog {
            call_id: message::text(headers, &HeaderName::CallId).ok_or("no Call-ID")?,
            local,
            local_tag: local_tag.to_owned(),
            remote: message::text(headers, &HeaderName::From).ok_or("no From")?,
            remote_tag: from.tag().map(|tag| String::from_utf8_lossy(tag).into_owned()).unwrap_or_default(),
            local_cseq: 0,
            remote_cseq: message::cseq(headers),
            routes: message::list(headers, &HeaderName::RecordRoute),
            target: contact(headers)?,
            domain: host.unwrap_or_default(),
            partition,
        })
    }

    /// What is known of a dialog from our request alone.
    pub fn of_sent(sent: &OutRequest, cseq: u32) -> Result<Dialog, NoDialog> {
        let from = message::headers::Address::parse(sent.from.as_bytes(), "From").map_err(|_| "bad From")?;
        let tag = from.tag().ok_or("no tag in From")?;
        Ok(Dialog {
            call_id: sent.call_id.clone(),
            local: sent.from.clone(),
            local_tag: String::from_utf8_lossy(tag).into_owned(),
            remote: sent.to.clone(),
            remote_tag: String::new(),
            local_cseq: cseq,
            remote_cseq: None,
            routes: Vec::new(),
            target: sent.uri.clone(),
            domain: sent.domain.clone(),
            partition: sent.partition,
        })
    }

    /// The dialog that a 2xx to our INVITE makes (RFC 3261 §12.1.2), where `self` is what is known from the INVITE
    /// alone: each fork makes its own. Without a Contact, which it must have, the remote target stays the Request-URI.
    pub fn answered(&self, response: &Response, cseq: u32) -> Dialog {
        let headers = &response.headers;
        let mut routes = message::list(headers, &HeaderName::RecordRoute);
        routes.reverse();
        Dialog {
            remote: message::text(headers, &HeaderName::To).unwrap_or_else(|| self.remote.clone()),
            remote_tag: message::tag(headers, &HeaderName::To).unwrap_or_default(),
            local_cseq: cseq.max(self.local_cseq),
            routes,
            target: contact(headers).unwrap_or_else(|_| self.target.clone()),
            ..self.clone()
        }
    }

    /// What names it, without what its requests are made of: for a usage that shares it.
    pub fn name(&self) -> Dialog {
        Dialog {
            call_id: self.call_id.clone(),
            local: String::new(),
            local_tag: self.local_tag.clone(),
            remote: String::new(),
            remote_tag: self.remote_tag.clone(),
            local_cseq: 0,
            remote_cseq: None,
            routes: Vec::new(),
            target: String::new(),
            domain: self.domain.clone(),
            partition: self.partition,
        }
    }

    /// The ACK for a 2xx to the INVITE of this number (RFC 3261 §13.2.2.4).
    pub fn ack(&self, cseq: u32) -> OutRequest {
        OutRequest { cseq, ..self.clone().request(Method::Ack) }
    }

    /// The next request: CSeq counts up, 70 hops, no body and no further headers yet.
    pub fn request(&mut self, method: Method) -> OutRequest {
        self.local_cseq = self.local_cseq.saturating_add(1);
        OutRequest {
            method,
            uri: self.target.clone(),
            from: self.local.clone(),
            to: self.remote.clone(),
            call_id: self.call_id.clone(),
            cseq: self.local_cseq,
            max_forwards: 70,
            routes: self.routes.clone(),
            headers: Vec::new(),
            body: bytes::Bytes::new(),
            partition: self.partition,
            domain: self.domain.clone(),
            over: None,
        }
    }

    /// A challenge made the agent use higher numbers than it was asked to: go on from `used`.
    pub fn used_cseq(&mut self, used: u32) {
        self.local_cseq = self.local_cseq.max(used);
    }

    /// Whether a request with this number comes in order (RFC 3261 §12.2.2), and remembers it; false means 500.
    pub fn accepts_cseq(&mut self, cseq: u32) -> bool {
        if self.remote_cseq.is_some_and(|last| cseq < last) {
            return false;
        }
        self.remote_cseq = Some(cseq);
        true
    }

    /// Takes the Contact of a target refresh request or of its 2xx as the new remote target; without one the old
    /// stays.
    pub fn refresh_target(&mut self, headers: &Headers) {
        if let Ok(target) = contact(headers) {
            self.target = target;
        }
    }

    /// Whether a 2xx to a request of ours comes from the other end of this dialog, and not from another fork.
    pub fn answers(&self, headers: &Headers) -> bool {
        message::tag(headers, &HeaderName::To).unwrap_or_default() == self.remote_tag
    }

    /// Whether a request from the peer belongs to this dialog: Call-ID and both tags.
    pub fn holds(&self, headers: &Headers) -> bool {
        message::text(headers, &HeaderName::CallId).as_deref() == Some(&self.call_id)
            && message::tag(headers, &HeaderName::To).as_deref() == Some(&self.local_tag)
            && message::tag(headers, &HeaderName::From).unwrap_or_default() == self.remote_tag
    }

    /// The same, where Call-ID and the tags of To and From have been read.
    pub fn is(&self, call_id: &str, to_tag: &str, from_tag: &str) -> bool {
        call_id == self.call_id && to_tag == self.local_tag && from_tag == self.remote_tag
    }
}

/// The URI in Contact.
pub fn contact(headers: &Headers) -> Result<String, NoDialog> {
    let contact = message::address(headers, &HeaderName::Contact).ok_or("no Contact")?;
    if !contact.uri.scheme().is_sip() {
        return Err("Contact is no SIP URI");
    }
    String::from_utf8(contact.uri.to_bytes().to_vec()).map_err(|_| "bad Contact")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipx_sip::{Limits, Message, parse_datagram};

    fn parse(lines: &[&str]) -> Message {
        let text = lines.join("\r\n") + "\r\n\r\n";
        parse_datagram(text.into(), &Limits::datagram()).expect("test message")
    }

    fn subscribe() -> OutRequest {
        OutRequest {
            method: Method::Subscribe,
            uri: "sip:romeo@example.net".into(),
            from: "<sip:juliet@example.com>;tag=j1".into(),
            to: "<sip:romeo@example.net>".into(),
            call_id: "call-1".into(),
            cseq: 1,
            max_forwards: 70,
            routes: Vec::new(),
            headers: Vec::new(),
            body: bytes::Bytes::new(),
            partition: Partition(7),
            domain: "example.net".into(),
            over: None,
        }
    }

    #[test]
    fn a_notify_from_a_fork_makes_its_own_dialog() {
        let Message::Request(notify) = parse(&[
            "NOTIFY sip:mostar@192.0.2.9 SIP/2.0",
            "From: <sip:romeo@example.net>;tag=fork",
            "To: <sip:juliet@example.com>;tag=j1",
            "Call-ID: call-1",
            "CSeq: 9 NOTIFY",
            "Record-Route: <sip:p0;lr>, <sip:p1;lr>",
            "Contact: sip:romeo@192.0.2.7",
        ]) else {
            panic!("a request")
        };
        let mut dialog = Dialog::of_notify(&subscribe(), 1, &notify).expect("a dialog");
        assert_eq!(dialog.routes, ["<sip:p0;lr>", "<sip:p1;lr>"]);
        assert!(dialog.holds(&notify.headers));
        assert!(!dialog.accepts_cseq(8));
        assert!(dialog.accepts_cseq(10));
        let request = dialog.request(Method::Subscribe);
        assert_eq!((request.cseq, request.partition), (2, Partition(7)));
        assert_eq!(
            (request.uri.as_str(), request.to.as_str()),
            ("sip:romeo@192.0.2.7", "<sip:romeo@example.net>;tag=fork")
        );
        let kept = serde_json::to_string(&dialog).expect("JSON");
        assert_eq!(serde_json::from_str::<Dialog>(&kept).expect("a dialog"), dialog);
    }

    #[test]
    fn a_notify_without_contact_leaves_the_target_to_the_2xx() {
        let Message::Request(notify) = parse(&[
            "NOTIFY sip:juliet@192.0.2.1 SIP/2.0",
            "From: <sip:romeo@example.net>;tag=r2",
            "To: <sip:juliet@example.com>;tag=j1",
            "Call-ID: call-1",
            "CSeq: 9 NOTIFY",
        ]) else {
            panic!("a request")
        };
        let dialog = Dialog::of_notify(&subscribe(), 1, &notify).expect("a dialog");
        assert_eq!(dialog.target, "sip:romeo@example.net");
        let bad = [
            "NOTIFY sip:juliet@192.0.2.1 SIP/2.0",
            "From: <sip:romeo@example.net>;tag=r2",
            "Contact: <tel:1>",
        ];
        let Message::Request(bad) = parse(&bad) else { panic!("a request") };
        assert_eq!(Dialog::of_notify(&subscribe(), 1, &bad), Err("Contact is no SIP URI"));
    }

    #[test]
    fn each_2xx_to_an_invite_makes_a_dialog_with_the_routes_turned_round() {
        let mut base =
            Dialog::of_sent(&OutRequest { method: Method::Invite, ..subscribe() }, 1).expect("a base");
        let invite = base.request(Method::Invite);
        assert_eq!((invite.cseq, invite.to.as_str()), (2, "<sip:romeo@example.net>"));
        let lines = [
            "SIP/2.0 200 OK",
            "To: <sip:romeo@example.net>;tag=r1",
            "Record-Route: <sip:p2;lr>, <sip:p1;lr>",
            "Contact: <sip:romeo@192.0.2.7>",
        ];
        let Message::Response(ok) = parse(&lines) else { panic!("a response") };
        let mut dialog = base.answered(&ok, 3);
        assert_eq!(dialog.routes, ["<sip:p1;lr>", "<sip:p2;lr>"]);
        let ack = dialog.ack(3);
        assert_eq!((ack.cseq, ack.method, ack.uri.as_str()), (3, Method::Ack, "sip:romeo@192.0.2.7"));
        assert_eq!(dialog.request(Method::Bye).cseq, 4);
        let Message::Response(bare) = parse(&lines[..2]) else { panic!("a response") };
        assert_eq!(base.answered(&bare, 3).target, "sip:romeo@example.net");
    }

    #[test]
    fn an_accepted_request_gets_our_tag_and_needs_a_contact() {
        let lines = [
            "SUBSCRIBE sip:juliet@example.com SIP/2.0",
            "From: Romeo <sip:romeo@Example.NET>;tag=r1",
            "To: sip:juliet@example.com",
            "Call-ID: call-2",
            "CSeq: 5 SUBSCRIBE",
            "Contact: <sip:romeo@192.0.2.7>",
        ];
        let Message::Request(request) = parse(&lines) else { panic!("a request") };
        let mut dialog = Dialog::of_request(&request, "ours", Partition(1)).expect("a dialog");
        let notify = dialog.request(Method::Notify);
        assert_eq!(notify.from, "sip:juliet@example.com;tag=ours");
        assert_eq!(notify.to, "Romeo <sip:romeo@Example.NET>;tag=r1");
        assert_eq!((notify.cseq, notify.domain.as_str()), (1, "example.net"));
        let Message::Request(bare) = parse(&lines[..5]) else { panic!("a request") };
        assert_eq!(Dialog::of_request(&bare, "ours", Partition(1)), Err("no Contact"));
    }
}
