//! A message on its way to SIP: what is kept of it, and the MESSAGE that it becomes (RFC 7572 §4).
//!
//! The body is plain text, unless the contact has shown that it takes CPIM (RFC 3862) and there is something that only an
//! envelope can say: the message's name and the wish for notifications (RFC 5438 §6), or that it is a notification itself.
//! What a session may have brought already has its name along too, unless that is known to be in vain.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::RETRY;
use super::place::rank;
use super::table::{self, one_line};
use super::ways;
use crate::documents::imdn::{self, Wanted};
use crate::documents::{cpim, date};
use crate::features::Cx;
use crate::features::audit::view::{Says, View};
use crate::features::devices::Ability;
use crate::features::rich;
use crate::sip::message::HeaderName;
use crate::sip::uri::{Aor, SipAddress};
use crate::sip::usage::page::{LaneKey, Page};
use crate::store::record::{Key, Record, Restored};
use crate::words::id::Partition;
use crate::words::text::is_language;
use crate::words::time::Wall;
use crate::xmpp::jid::Jid;
use crate::xmpp::ns;
use crate::xmpp::stanza::{Element, Stanza, StanzaKind};

/// The kind of these records in the store.
pub const RECORD: &str = "post";

/// The longest rich text that goes in a MESSAGE: with its headers it may have 1,300 bytes (RFC 3428 §8).
const HTML: usize = 512;

/// See the module.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Post {
    /// The sender, with the device; in a late error the XMPP user in whose name it is told.
    pub from: Jid,
    /// The addressee as written.
    pub to: Jid,
    /// The id of the stanza.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its type.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// The text.
    pub text: String,
    /// The text with its emphasis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rich: Option<String>,
    /// The subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The language of the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lang: Option<String>,
    /// The thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    /// Where it goes.
    pub target: SipAddress,
    /// Call-ID.
    pub call_id: String,
    /// The tag of From; also the record's name, and the message's name in reports (`imdn.Message-ID`).
    pub tag: String,
    /// When we took it.
    pub accepted: Wall,
    /// Its place in the order in which messages were taken (`place.rs`).
    pub order: u64,
    /// It tells of a failure: it is not answered, not counted and not kept for long.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// It is no message of a person's but this kind of document, and treated like a late error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    /// It waits until the contact is back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// When its sender was told last that messages to this contact are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Wall>,
    /// Max-Forwards: 70 where no request is the cause.
    pub hops: u8,
    /// The sender wants to know that it arrived (XEP-0184).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub receipt: bool,
    /// The sender wants to know that it was shown (XEP-0333).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub marker: bool,
    /// It was given to a session.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub session: bool,
    /// To how many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub carries: u8,
    /// A session may have brought it: where it comes again, its name shows that it is the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub enveloped: bool,
    /// It corrects the message whose stanza has this id (XEP-0308).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrects: Option<String>,
}

/// What a record says.
pub fn view(record: &Restored) -> Result<View, String> {
    let post: Post = record.read().map_err(|error| error.to_string())?;
    let says = match post.is_quiet() {
        true => Says::Notice,
        false => Says::Waits {
            to_xmpp: false,
            name: post.tag.clone(),
            rank: rank(post.accepted, post.order),
            is_refused: false,
        },
    };
    Ok(View { key: post.key(), user: Some(post.from), contact: Some(post.target.aor), says })
}

fn is_zero(count: &u8) -> bool {
    *count == 0
}

impl Post {
    /// A text of a user's for a contact, taken now, of which nothing else is known.
    pub fn new(
        cx: &mut Cx<'_>,
        from: Jid,
        to: Jid,
        target: &SipAddress,
        call_id: String,
        text: String,
        order: u64,
    ) -> Post {
        Post {
            tag: cx.token_for(&from),
            target: cx.facts.reachable(target),
            accepted: cx.now.wall,
            hops: super::HOPS,
            from,
            to,
            call_id,
            text,
            order,
            id: None,
            type_: None,
            rich: None,
            subject: None,
            lang: None,
            thread: None,
            late: false,
            notice: None,
            held: false,
            told: None,
            receipt: false,
            marker: false,
            session: false,
            carries: 0,
            enveloped: false,
            corrects: None,
        }
    }

    /// Whether nobody waits for its fate: it tells of a failure, or reports.
    pub fn is_quiet(&self) -> bool {
        self.late || self.notice.is_some()
    }

    /// What it is called in SIP and in XMPP.
    pub fn names(&self) -> (&str, &str) {
        (&self.call_id, self.id.as_deref().unwrap_or_default())
    }

    /// Its name in the store.
    pub fn key(&self) -> Key {
        Key { kind: RECORD, partition: Partition::of(self.from.bare_str()), id: self.tag.clone() }
    }

    /// What is kept of it. That is mostly so long besides its text.
    pub fn record(&self) -> Record {
        Record::with_room(self.key(), self, 512 + self.text.len())
    }

    /// What the sender sent, as far as an answer repeats it.
    pub fn stanza(&self) -> Stanza {
        let mut stanza = Stanza::new(StanzaKind::Message, &self.from, &self.to);
        if let Some(type_) = &self.type_ {
            stanza = stanza.with_type(type_);
        }
        if let Some(id) = &self.id {
            stanza = stanza.with_id(id);
        }
        let texts =
            [("subject", &self.subject), ("body", &Some(self.text.clone())), ("thread", &self.thread)];
        for (name, text) in texts {
            if let Some(text) = text {
                stanza = stanza.with_child(Element::new(name, ns::COMPONENT).with_text(text));
            }
        }
        stanza
    }

    /// The MESSAGE in its lane, in the name of the lane's sender; `tried`: it was sent before and may have arrived.
    pub fn page(&self, cx: &Cx<'_>, lane: &LaneKey, tried: bool) -> Page {
        let sender = &lane.0;
        let from = match self.from.resource().filter(|_| cx.config.messages.from_gruu) {
            Some(device) => SipAddress { gr: Some(device.to_owned()), ..sender.address() }.text(),
            None => sender.text(),
        };
        let (type_, body) = match self.envelope(cx, sender) {
            Some(envelope) => (cpim::TYPE.to_owned(), Bytes::from(envelope)),
            None => (self.content_type(cx), Bytes::from(self.body(cx))),
        };
        let mut headers = vec![(HeaderName::ContentType, type_)];
        if let Some(lang) = self.lang.as_deref().filter(|lang| is_language(lang)) {
            headers.push((HeaderName::ContentLanguage, lang.to_owned()));
        }
        if let Some(subject) = self.subject.as_deref().map(one_line).filter(|subject| !subject.is_empty()) {
            headers.push((HeaderName::Subject, subject));
        }
        if tried || !cx.config.messages.hold.is_zero() {
            // It may go out long after it was written.
            headers.push((HeaderName::Date, date::write_sip(self.accepted)));
        }
        Page {
            lane: lane.clone(),
            from: ["<", &from, ">"].concat(),
            to: self.target.clone(),
            call_id: self.call_id.clone(),
            tag: self.tag.clone(),
            cseq: 1,
            headers,
            body,
            partition: Partition::of(self.from.bare_str()),
            until: cx.now.tick + RETRY,
            max_forwards: self.hops,
            tried,
        }
    }

    /// Whether it goes as HTML: where the contact has shown some, and it is short enough for any way.
    pub fn is_html(&self, cx: &Cx<'_>) -> bool {
        let is_short = self.rich.as_ref().is_some_and(|rich| rich.len() <= HTML);
        is_short && cx.facts.devices.any_can(cx.now.tick, &self.target.aor, Ability::Html) == Some(true)
    }

    fn body(&self, cx: &Cx<'_>) -> String {
        match self.rich.as_ref().filter(|_| self.is_html(cx)) {
            Some(rich) => rich::document(rich),
            None => self.text.clone(),
        }
    }

    fn content_type(&self, cx: &Cx<'_>) -> String {
        if self.is_html(cx) {
            return "text/html;charset=UTF-8".to_owned();
        }
        self.notice.clone().unwrap_or_else(|| table::content_type(&self.text).to_owned())
    }

    /// The CPIM message, where one is wanted and taken. A notification of disposition goes in nothing else (RFC 5438
    /// §7.2.1): whoever asked for it sent an envelope.
    fn envelope(&self, cx: &Cx<'_>, sender: &Aor) -> Option<Vec<u8>> {
        let (now, contact) = (cx.now.tick, &self.target.aor);
        let can = |ability| cx.facts.devices.any_can(now, contact, ability);
        let is_report = self.notice.as_deref() == Some(imdn::TYPE);
        let asks =
            self.notice.is_none() && (self.receipt || self.marker) && can(Ability::Imdn) != Some(false);
        let takes = can(Ability::Cpim) == Some(true);
        let again = self.enveloped && can(Ability::Cpim) != Some(false);
        let is_wanted =
            is_report && can(Ability::Cpim) != Some(false) || takes && (asks || self.notice.is_some());
        if !again && !is_wanted {
            return None;
        }
        let envelope = self.enveloped_for(cx, sender, asks);
        (is_wanted || !ways::is_long(cx, contact, envelope.len())).then_some(envelope)
    }

    /// Whether it may have arrived under a name that would not fit into a MESSAGE beside its text: then another session is
    /// the better way.
    pub fn is_named_at_length(&self, cx: &Cx<'_>, lane: &LaneKey) -> bool {
        let can = cx.facts.devices.any_can(cx.now.tick, &self.target.aor, Ability::Cpim);
        let is_named = self.enveloped && !self.is_quiet() && can != Some(false);
        is_named && ways::is_long(cx, &self.target.aor, self.enveloped_for(cx, &lane.0, false).len())
    }

    fn enveloped_for(&self, cx: &Cx<'_>, sender: &Aor, asks: bool) -> Vec<u8> {
        let is_report = self.notice.as_deref() == Some(imdn::TYPE);
        let wanted = Wanted { delivery: asks && self.receipt, failure: asks, display: asks && self.marker };
        let (from, to) = (format!("<{}>", sender.address()), format!("<{}>", self.target));
        let written = date::write_rfc3339(self.accepted);
        let mut headers = vec![("From", from), ("To", to), ("DateTime", written)];
        headers.extend(imdn::headers(&self.tag, wanted));
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let type_ = self.content_type(cx);
        let mut part = vec![("Content-Type", type_.as_str())];
        if is_report {
            part.push(("Content-Disposition", "notification"));
        }
        cpim::write(&headers, &part, self.body(cx).as_bytes())
    }
}
