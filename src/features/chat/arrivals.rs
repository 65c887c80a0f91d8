//! What comes from SIP in a session: texts, typing, notifications; and what their senders are told of them.
//!
//! A SEND is answered in the step in which the pager takes the message: so 200 leaves once it is on disk. (What may be a
//! machine's answer to words of ours is taken when it has arrived, see `pager/late.rs`.) What becomes of it later is told
//! by REPORT: a failure as soon as it is known; success when a client of the user's says so, or, where
//! none of hers can by its capabilities (else: has ever done so), when her server has it, and then only to somebody who
//! may see her presence (XEP-0184 §8). Proof or nothing. Nobody confirms a REPORT: what was reported just before a session
//! ended, or its path was left, is told by a MESSAGE too.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use sha1::{Digest, Sha1};

use super::talk::{Stage, Style, TalkId};
use super::{Chat, describe};
use crate::documents::cpim;
use crate::documents::{imdn, iscomposing};
use crate::features::content::Content;
use crate::features::devices::Ability;
use crate::features::signal::{Arrived, Heard};
use crate::features::{Cx, Signal, content};
use crate::msrp::connections::SessionId;
use crate::msrp::message::{InMessage, Receipt};
use crate::msrp::session::Ticket;
use crate::sip::uri::{Aor, SipAddress};
use crate::words::condition::{Condition, Kind};
use crate::xmpp::jid::Jid;

/// How many messages are remembered that a client may still confirm; the oldest go first.
const UNCONFIRMED: usize = 10_000;
/// How many users are remembered whose clients confirm; the first by address go first.
const CONFIRMING: usize = 50_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// With the pager, by the number that we gave it.
    with_pager: BTreeMap<u64, Arrival>,
    /// The same by name.
    names: HashMap<[u8; 20], u64>,
    /// Whose success REPORT is wanted and not sent, by the id of the stanza; gone with the session that it would go in.
    unconfirmed: BTreeMap<String, Unconfirmed>,
    /// The same by age, and by session.
    order: BTreeMap<u64, String>,
    owed: BTreeSet<(SessionId, u64)>,
    /// How many there were.
    count: u64,
    /// Users whose clients have confirmed something.
    confirming: BTreeSet<Jid>,
}

#[derive(Debug)]
struct Arrival {
    name: [u8; 20],
    talk: TalkId,
    session: SessionId,
    ticket: Ticket,
    receipt: Receipt,
    /// The id of the stanza.
    id: String,
    user: Jid,
    sender: SipAddress,
}

#[derive(Debug)]
struct Unconfirmed {
    number: u64,
    session: SessionId,
    receipt: Receipt,
    user: Jid,
}

impl Arrivals {
    /// How many messages have no fate, or one that their sender is to be told.
    pub fn load(&self) -> usize {
        self.with_pager.len() + self.unconfirmed.len()
    }

    fn remember(&mut self, id: String, session: SessionId, receipt: Receipt, user: Jid) {
        if self.order.len() >= UNCONFIRMED
            && let Some((_, oldest)) = self.order.pop_first()
            && let Some(gone) = self.unconfirmed.remove(&oldest)
        {
            self.owed.remove(&(gone.session, gone.number));
        }
        self.count += 1;
        let number = self.count;
        self.order.insert(number, id.clone());
        self.owed.insert((session, number));
        self.unconfirmed.insert(id, Unconfirmed { number, session, receipt, user });
    }

    fn forget(&mut self, id: &str) -> Option<Unconfirmed> {
        let found = self.unconfirmed.remove(id)?;
        self.order.remove(&found.number);
        self.owed.remove(&(found.session, found.number));
        Some(found)
    }

    /// The oldest that a session owes.
    fn first_owed(&self, session: SessionId) -> Option<u64> {
        self.owed.range((session, 0)..=(session, u64::MAX)).next().map(|(_, number)| *number)
    }

    /// A session is over: nothing can be reported in it any more.
    pub fn over(&mut self, session: SessionId) {
        while let Some(number) = self.first_owed(session) {
            self.owed.remove(&(session, number));
            if let Some(id) = self.order.remove(&number) {
                self.unconfirmed.remove(&id);
            }
        }
    }

    fn confirms(&mut self, user: Jid) {
        if self.confirming.len() >= CONFIRMING && !self.confirming.contains(&user) {
            self.confirming.pop_first();
        }
        self.confirming.insert(user);
    }
}

impl Chat {
    /// A whole message came.
    pub(super) fn came(
        &mut self,
        cx: &mut Cx<'_>,
        id: TalkId,
        session: SessionId,
        ticket: Ticket,
        message: &InMessage,
    ) {
        let code = match self.read(cx, id, session, ticket, message) {
            Ok(()) => return,
            Err(code) => code,
        };
        if code != 200 {
            cx.count("msrp_messages_refused_total", &[("reason", reason_of(code))]);
        }
        cx.msrp.answer(cx.now.tick, cx.mint, session, ticket, code);
    }

    /// Hands a message to whom it belongs. The code of its answer when that is nobody, or answers nothing.
    fn read(
        &mut self,
        cx: &mut Cx<'_>,
        id: TalkId,
        session: SessionId,
        ticket: Ticket,
        message: &InMessage,
    ) -> Result<(), u16> {
        let talk = self.talks.get_mut(&id).ok_or(481_u16)?;
        let type_ = message.content_type.as_deref();
        let encoding = describe::header(&message.headers, "Content-Encoding");
        if type_.is_some_and(cpim::is_type) && talk.taste.cpim {
            if talk.style == Style::Plain {
                cx.facts.devices.shows(cx.now.tick, &talk.contact, &talk.device, Ability::Cpim, true);
            }
            talk.style = Style::Wrapped;
        }
        for known in [iscomposing::TYPE, imdn::TYPE] {
            let found = type_.and_then(|type_| content::notice_in(type_, encoding, &message.body, known));
            let Some(body) = found else { continue };
            cx.signal(Signal::Heard(Arc::new(Heard {
                user: talk.user.clone(),
                contact: talk.jid.clone(),
                sender: talk.sender.clone(),
                type_: known.to_owned(),
                body: body.into_owned().into(),
            })));
            return Err(200);
        }
        let read = content::read_body(type_, encoding, &message.body);
        let content = read.map_err(|reply| describe::code_of(&reply))?;
        if content.text.is_empty() && content.subject.is_none() {
            // Some keep a connection alive with such things.
            return Err(200);
        }
        if content.has_html {
            // Who writes it shows it.
            talk.taste.html = true;
            cx.facts.devices.shows(cx.now.tick, &talk.contact, &talk.device, Ability::Html, true);
        }
        (talk.heard, talk.last) = (Some(cx.now.tick), cx.now.tick);
        talk.lines_in = talk.lines_in.saturating_add(1);
        talk.arriving += 1;
        let (user, sender) = (talk.user.clone(), talk.sender.clone());
        let arrived = Arrived {
            ticket: 0,
            name: name_of(&user, &talk.contact, &message.receipt.message_id, &content),
            user: talk.named.clone().unwrap_or_else(|| user.clone()),
            contact: talk.jid.clone(),
            sender: sender.clone(),
            call_id: talk.leg.call.call_id().to_owned(),
            id: cx.token_for(&user),
            receipt: message.receipt.success_report
                || content.asks.as_ref().is_some_and(|asks| asks.wanted.delivery),
            content,
        };
        let number = self.number();
        let receipt = message.receipt.clone();
        let stanza = arrived.id.clone();
        let name = arrived.name;
        let arrival = Arrival { name, talk: id, session, ticket, receipt, id: stanza, user, sender };
        if let Some(older) = self.arrivals.names.insert(name, number) {
            // The pager answers for both by the later one.
            self.arrived(older);
        }
        self.arrivals.with_pager.insert(number, arrival);
        self.spoken_in(cx, id);
        self.arm_quiet(cx, id);
        cx.signal(Signal::Arrived(Arc::new(Arrived { ticket: number, ..arrived })));
        Ok(())
    }

    /// The pager has taken a message, or not: its SEND is answered.
    pub(super) fn taken(&mut self, cx: &mut Cx<'_>, ticket: u64, refused: Option<&Condition>) {
        let Some(arrival) = self.arrivals.with_pager.get(&ticket) else { return };
        let (session, msrp_ticket) = (arrival.session, arrival.ticket);
        let code = match refused {
            None => {
                if arrival.receipt.success_report && cx.msrp.session(session).is_some() {
                    let (id, receipt, user) =
                        (arrival.id.clone(), arrival.receipt.clone(), arrival.user.clone());
                    self.arrivals.remember(id, session, receipt, user);
                }
                200
            }
            Some(condition) => {
                let code = refusal_of(condition);
                cx.count("msrp_messages_refused_total", &[("reason", reason_of(code))]);
                self.arrived(ticket);
                code
            }
        };
        cx.msrp.answer(cx.now.tick, cx.mint, session, msrp_ticket, code);
    }

    /// A message has met its fate.
    pub(super) fn met(&mut self, cx: &mut Cx<'_>, ticket: u64, failure: Option<&Condition>) {
        let Some(arrival) = self.arrived(ticket) else { return };
        match failure {
            Some(failure) => {
                self.arrivals.forget(&arrival.id);
                let code = code_of(failure);
                let is_open = cx.msrp.session(arrival.session).is_some_and(|session| session.is_open());
                if is_open && arrival.receipt.wants(code) {
                    cx.msrp.report(cx.now.tick, cx.mint, arrival.session, &arrival.receipt, code);
                    if let Some(talk) = self.talks.get_mut(&arrival.talk) {
                        talk.reports(cx.now.tick, arrival.session, arrival.id, failure.clone());
                    }
                } else {
                    let (user, sender, id) = (arrival.user, arrival.sender, arrival.id);
                    cx.signal(Signal::Unreported { user, sender, id, failure: failure.clone() });
                }
            }
            None => {
                let confirms = cx.facts.clients.confirms(&arrival.user);
                let confirms = confirms.unwrap_or_else(|| self.arrivals.confirming.contains(&arrival.user));
                if !confirms
                    && cx.facts.shares(&arrival.user, &arrival.sender.aor)
                    && let Some(known) = self.arrivals.forget(&arrival.id)
                {
                    cx.msrp.report(cx.now.tick, cx.mint, known.session, &known.receipt, 200);
                }
            }
        }
        self.part_if_done(cx, arrival.talk);
    }

    /// A client of the user's has a message.
    pub(super) fn received(&mut self, cx: &mut Cx<'_>, user: &Jid, id: &str) {
        let user = user.bare();
        self.arrivals.confirms(user.clone());
        if self.arrivals.unconfirmed.get(id).is_none_or(|known| known.user != user) {
            return;
        }
        if let Some(known) = self.arrivals.forget(id) {
            cx.msrp.report(cx.now.tick, cx.mint, known.session, &known.receipt, 200);
            if let Some(talk) = self.msrp.get(&known.session).copied() {
                self.part_if_done(cx, talk);
            }
        }
    }

    /// A message is not with the pager any more.
    fn arrived(&mut self, ticket: u64) -> Option<Arrival> {
        let arrival = self.arrivals.with_pager.remove(&ticket)?;
        if self.arrivals.names.get(&arrival.name) == Some(&ticket) {
            self.arrivals.names.remove(&arrival.name);
        }
        if let Some(talk) = self.talks.get_mut(&arrival.talk) {
            talk.arriving = talk.arriving.saturating_sub(1);
        }
        Some(arrival)
    }

    /// Whether something is still to be told, in a session that ends, of messages of theirs.
    pub(super) fn owes(&self, id: TalkId) -> bool {
        let Some(talk) = self.talks.get(&id) else { return false };
        let owed = |session| self.arrivals.first_owed(session).is_some();
        talk.arriving > 0 || talk.reports_first && talk.leg.msrp.is_some_and(owed)
    }

    /// A session that ends and owes nothing more to messages of theirs finishes.
    fn part_if_done(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        let owes = self.owes(id);
        let Some(talk) = self.talks.get(&id) else { return };
        if talk.stage == Stage::Parting
            && !owes
            && talk.leg.call.is_up()
            && let Some(session) = talk.leg.msrp
        {
            cx.msrp.finish(cx.now.tick, cx.mint, session);
        }
    }
}

/// The name of a message for ever: what its sender gave it, which is the same when it comes again in another session
/// (RFC 4975 §5.4), with its text, since there are clients that count. Its envelope may be new, with another date.
fn name_of(user: &Jid, contact: &Aor, message_id: &str, content: &Content) -> [u8; 20] {
    let mut digest = Sha1::new();
    let subject = content.subject.as_deref().unwrap_or_default();
    let (contact, body) = (contact.to_string(), content.text.as_bytes());
    for part in [user.as_str(), &contact, message_id, subject] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    digest.update((body.len() as u64).to_be_bytes());
    if body.len() < LONG {
        digest.update(body);
    } else {
        digest.update(folded(body));
    }
    digest.finalize().into()
}

/// A body of so many bytes is folded for its name, which is many times faster than to digest it: who makes two that fold
/// alike under one Message-ID loses a message of his own.
const LONG: usize = 16 * 1024;

/// All of a long text in 32 bytes: four sums side by side, in which the place of every byte counts.
fn folded(body: &[u8]) -> [u8; 32] {
    /// Odd, without a pattern: the fraction of the golden ratio.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut sums = [1_u64, 2, 3, 4];
    let mut add = |block: &[u8; 32]| {
        for (sum, word) in sums.iter_mut().zip(block.as_chunks::<8>().0) {
            *sum = (sum.rotate_left(29) ^ u64::from_le_bytes(*word)).wrapping_mul(SPREAD);
        }
    };
    let (blocks, rest) = body.as_chunks::<32>();
    blocks.iter().for_each(&mut add);
    let mut last = [0; 32];
    last.iter_mut().zip(rest).for_each(|(byte, of)| *byte = *of);
    add(&last);
    let mut out = [0; 32];
    for (out, sum) in out.as_chunks_mut::<8>().0.iter_mut().zip(sums) {
        *out = sum.to_le_bytes();
    }
    out
}

/// What is answered to a message that is not taken.
fn refusal_of(condition: &Condition) -> u16 {
    match condition.kind {
        Kind::PolicyViolation => 413,
        // The sender shall stop sending for now (RFC 4975 §10.5).
        Kind::ResourceConstraint => 413,
        Kind::BadRequest | Kind::JidMalformed => 400,
        Kind::NotAcceptable => 415,
        Kind::RecipientUnavailable | Kind::RemoteServerTimeout => 408,
        _ => 403,
    }
}

/// What is reported of a message that did not arrive.
fn code_of(condition: &Condition) -> u16 {
    match condition.kind {
        Kind::BadRequest | Kind::JidMalformed => 400,
        Kind::Forbidden
        | Kind::NotAllowed
        | Kind::NotAuthorized
        | Kind::RegistrationRequired
        | Kind::SubscriptionRequired => 403,
        Kind::RemoteServerTimeout => 408,
        Kind::PolicyViolation | Kind::ResourceConstraint => 413,
        Kind::NotAcceptable => 415,
        Kind::FeatureNotImplemented => 501,
        _ => 404,
    }
}

fn reason_of(code: u16) -> &'static str {
    match code {
        400 => "malformed",
        413 => "too-long",
        415 => "type",
        481 => "no-session",
        _ => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_one_name_in_all_sessions() {
        let user = Jid::parse("juliet@example.com").expect("a JID");
        let contact = Aor { user: Some("romeo".into()), host: "example.net".into() };
        let name = |message_id: &str, text: &str| {
            let content = Content { text: text.to_owned(), ..Content::default() };
            name_of(&user, &contact, message_id, &content)
        };
        assert_eq!(name("1", "Hi"), name("1", "Hi"));
        assert_ne!(name("1", "Hi"), name("2", "Hi"));
        assert_ne!(name("1", "Hi"), name("1", "Ho"));
        assert_ne!(name("1", "1Hi"), name("11", "Hi"));
    }

    #[test]
    fn each_byte_of_a_long_message_counts_for_its_name() {
        let user = Jid::parse("juliet@example.com").expect("a JID");
        let contact = Aor { user: Some("romeo".into()), host: "example.net".into() };
        let long = vec![b'x'; LONG + 5];
        let name = |text: &[u8]| {
            let text = String::from_utf8_lossy(text).into_owned();
            name_of(&user, &contact, "1", &Content { text, ..Content::default() })
        };
        assert_eq!(name(&long), name(&long.clone()));
        let places = (0..64).chain(LONG / 2..LONG / 2 + 64).chain(LONG - 64..LONG + 5);
        let mut names: std::collections::BTreeSet<_> = places
            .map(|place| {
                let mut other = long.clone();
                other[place] = b'y';
                name(&other)
            })
            .collect();
        names.insert(name(&long));
        names.insert(name(&long[1..]));
        assert_eq!(names.len(), 64 + 64 + 69 + 2, "no two alike");
    }

    #[test]
    fn what_waits_for_a_client_is_bounded() {
        let mut arrivals = Arrivals::default();
        let user = Jid::parse("juliet@example.com").expect("a JID");
        let receipt = Receipt {
            message_id: "m".into(),
            length: 1,
            success_report: true,
            failure_report: crate::msrp::frame::FailureReport::Yes,
        };
        for number in 0..=UNCONFIRMED {
            arrivals.remember(number.to_string(), SessionId(1), receipt.clone(), user.clone());
        }
        assert_eq!((arrivals.unconfirmed.len(), arrivals.order.len()), (UNCONFIRMED, UNCONFIRMED));
        assert!(arrivals.forget("0").is_none() && arrivals.forget("1").is_some());
        assert_eq!(arrivals.owed.len(), UNCONFIRMED - 1);
        assert_eq!((arrivals.unconfirmed.len(), arrivals.order.len()), (UNCONFIRMED - 1, UNCONFIRMED - 1));
        arrivals.remember("of another".into(), SessionId(2), receipt, user);
        arrivals.over(SessionId(1));
        assert_eq!((arrivals.unconfirmed.len(), arrivals.order.len(), arrivals.owed.len()), (1, 1, 1));
        assert!(arrivals.forget("of another").is_some() && arrivals.owed.is_empty());
    }
}
