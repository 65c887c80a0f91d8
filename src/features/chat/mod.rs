//! Chat sessions: RFC 7573 between the chats of XMPP, which nobody opens, and MSRP sessions (RFC 4975), which are
//! negotiated by SIP (RFC 3261, RFC 3264).
//!
//! A session belongs to a user (bare), a contact and the contact's device. The pager keeps the messages and asks the table
//! which way each goes; what is to be carried comes here and leaves in the session that the contact wrote in last, in one
//! that opens, or in a new one. What does not arrive goes back to the pager in its order. What comes in a session is the
//! pager's to take, and is answered when it is safe. When a session is refused, when it hangs up and after how long are
//! rows of the table too.
//!
//! | file | what it holds |
//! |---|---|
//! | `talk.rs` | one session, a value |
//! | `open.rs` | sessions that we open |
//! | `invited.rs` | sessions that they open |
//! | `change.rs` | what either side changes in one |
//! | `relay.rs` | paths through a relay of our own |
//! | `probing.rs` | whether the user is there for who invites her |
//! | `lines.rs` | what goes to SIP |
//! | `arrivals.rs` | what comes from SIP |
//! | `ending.rs` | ends: BYE, `<gone/>`, silence, lost connections, stops and starts |
//! | `asking.rs` | OPTIONS in the background |
//! | `explained.rs` | which rows decide about sessions, for an admin |
//!
//! Not done: files, rooms, several connections of one session.

mod arrivals;
mod asking;
mod change;
mod ending;
mod explained;
mod invited;
mod lines;
mod open;
mod probing;
mod relay;
mod talk;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use self::arrivals::Arrivals;
use self::asking::Questions;
use self::ending::Goodbye;
use self::probing::Probing;
use self::relay::Admissions;
use self::talk::{Stage, Talk, TalkId};
use super::leg::{self, Done};
use super::{Cx, Feature, Incoming, Manifest, Signal, describe, facts, sessions};
use crate::features::audit::view::View;
use crate::gateway::LinkId;
use crate::msrp::connections::SessionId;
use crate::msrp::session::Event;
use crate::sip::message::{Answer, Method, Response, ServerKey};
use crate::sip::uri::Aor;
use crate::sip::usage::session::{self, of_token};
use crate::store::record::Restored;
use crate::words::tally::Tally;
use crate::words::time::Tick;
use crate::words::timers::Timers;
use crate::xmpp::jid::Jid;
use crate::xmpp::stanza::{Stanza, StanzaKind};

static MANIFEST: Manifest = Manifest {
    name: "chat",
    follows: &[
        "RFC 7573",
        "RFC 4975",
        "RFC 4976 §5.1",
        "RFC 6135",
        "RFC 6714",
        "RFC 3261 §13",
        "RFC 3264",
        "RFC 3311",
        "RFC 4028",
        "RFC 3862",
    ],
    summary: "Chats as MSRP sessions, opened and closed by either side",
    methods: &["INVITE", "ACK", "BYE", "CANCEL", "UPDATE"],
    events: &[],
    disco: &[],
    records: &[ending::RECORD],
};

/// How many sessions one gateway holds, how many with one contact, who may be a help desk, and how many of those with one
/// user.
const SESSIONS: usize = 20_000;
const PER_CONTACT: usize = 1_000;
const PER_PAIR: usize = 16;
/// A session in which nobody wrote for so long makes room for a newer one where there is none left.
const IDLE: Duration = Duration::from_secs(600);
/// The others hear no more often than this that somebody wrote.
const PUBLISHED: Duration = Duration::from_secs(1);

/// Why an alarm is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// The SIP machine of a session wants it.
    Call(TalkId),
    /// Their INVITE waits for the XMPP server; now it has waited long enough.
    Ask(TalkId),
    /// Nobody has written for long.
    Quiet(TalkId),
    /// What is outstanding in a session that ends has had its time.
    Part(TalkId),
    /// What is outstanding on a path that was left has had its time.
    Left(TalkId),
    /// Typing that came too soon after other typing may go.
    Typing(TalkId),
    /// Lines have waited long enough for the other side, which has put us on hold.
    Held(TalkId),
    /// Our relay has had its time to let a session in.
    Admit(SessionId),
    /// The path through our relay ends soon.
    Renew(TalkId),
    /// More sessions of before the start are to be ended.
    Resume,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Chat {
    talks: BTreeMap<TalkId, Box<Talk>>,
    /// By our tag.
    tags: HashMap<Box<str>, TalkId>,
    /// By the MSRP session.
    msrp: HashMap<SessionId, TalkId>,
    /// INVITEs and UPDATEs of theirs that are not answered.
    asked: BTreeMap<ServerKey, TalkId>,
    /// The sessions of a user with a contact that are not over, in the order of their beginning.
    pairs: BTreeMap<(Jid, Aor), Vec<TalkId>>,
    /// How many sessions each contact has that are not over.
    contacts: Tally<Aor>,
    probing: Probing,
    arrivals: Arrivals,
    questions: Questions,
    /// What waits for our relay.
    admissions: Admissions,
    /// Users who told us that they went offline.
    offline: BTreeSet<Jid>,
    timers: Timers<Alarm>,
    /// Sessions of before the start that have not been ended yet.
    restored: VecDeque<TalkId>,
    goodbye: Option<Goodbye>,
    /// How many requests in sessions have no final answer.
    in_flight: usize,
    next: u64,
}

impl Feature for Chat {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    fn stanza(&mut self, cx: &mut Cx<'_>, _link: LinkId, stanza: &Stanza) -> bool {
        match stanza.kind {
            StanzaKind::Presence => {
                self.presence(cx, stanza);
                false
            }
            StanzaKind::Iq => self.pong(cx, stanza),
            StanzaKind::Message => stanza.type_() == Some("error") && self.objected(cx, stanza),
        }
    }

    fn request(&mut self, cx: &mut Cx<'_>, incoming: &Incoming) -> bool {
        match (&incoming.request.method, &incoming.to_tag) {
            (_, Some(tag)) => self.inside(cx, tag, incoming),
            (Method::Invite, None) => {
                self.invited(cx, incoming);
                true
            }
            (Method::Subscribe, None) => {
                asking::overhear(cx, incoming);
                false
            }
            _ => false,
        }
    }

    fn ack(&mut self, cx: &mut Cx<'_>, incoming: &Incoming) -> bool {
        let Some((id, talk)) = incoming.to_tag.as_deref().and_then(|tag| self.held(tag, incoming)) else {
            return false;
        };
        talk.leg.call.acked(cx.now, &incoming.request);
        self.run(cx, id);
        true
    }

    fn cancelled(&mut self, cx: &mut Cx<'_>, key: ServerKey) -> bool {
        let Some(id) = self.asked.get(&key).copied() else { return false };
        let Some(talk) = self.talks.get_mut(&id) else { return false };
        let is_ours = talk.leg.call.cancelled(cx.now, key);
        self.run(cx, id);
        is_ours
    }

    fn answer(&mut self, cx: &mut Cx<'_>, token: u64, answer: &Answer) {
        let (id, exchange) = of_token(token);
        if self.answered(cx, id, answer) {
            return;
        }
        if matches!(answer, Answer::Final { .. } | Answer::Failed(_)) {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        let Some(talk) = self.talks.get_mut(&id) else { return };
        talk.leg.call.answer(cx.now, cx.mint, exchange, answer);
        self.run(cx, id);
    }

    fn further(&mut self, cx: &mut Cx<'_>, token: u64, cseq: u32, response: &Response) {
        let (id, exchange) = of_token(token);
        let Some(talk) = self.talks.get_mut(&id) else { return };
        talk.leg.call.further(exchange, cseq, response);
        self.run(cx, id);
    }

    fn msrp(&mut self, cx: &mut Cx<'_>, session: SessionId, event: &Event) -> bool {
        if self.admissions.opening.contains_key(&session) {
            match event {
                Event::Admitted { path, expires } => self.let_in(cx, session, path, *expires),
                Event::Ended { why, .. } => self.not_let_in(cx, session, why),
                _ => {}
            }
            return true;
        }
        if matches!(event, Event::Ended { .. }) {
            self.arrivals.over(session);
        }
        let Some(id) = self.msrp.get(&session).copied() else { return false };
        match event {
            Event::Opened => self.opened(cx, id, session),
            Event::Incoming { ticket, message } => self.came(cx, id, session, *ticket, message),
            Event::Sent { message_id } => self.sent(cx, id, message_id),
            Event::Delivered { message_id } => self.delivered(cx, id, message_id),
            Event::Failed { message_id, code, comment, by } => {
                self.failed(cx, id, message_id, *code, comment, *by);
            }
            // Told of sessions that take or ask for nicknames, which a chat of two does not.
            Event::Nickname { .. } | Event::Named { .. } => {}
            Event::Ended { why, unconfirmed } => self.ended(cx, id, session, why, unconfirmed),
            Event::Admitted { path, expires } => self.admitted(cx, id, session, path, *expires),
        }
        true
    }

    fn next_timeout(&self) -> Option<(Tick, &'static str)> {
        let goodbye = self.goodbye.and_then(Goodbye::until).map(|at| (at, "chat-stop"));
        let ping = self.probing.next_timeout().map(|at| (at, "chat-ping"));
        let timer = self.timers.next().map(|(at, alarm)| {
            let why = match alarm {
                Alarm::Call(_) => "chat-call",
                Alarm::Ask(_) => "chat-ask",
                Alarm::Quiet(_) => "chat-quiet",
                Alarm::Part(_) => "chat-part",
                Alarm::Left(_) => "chat-left",
                Alarm::Typing(_) => "chat-typing",
                Alarm::Held(_) => "chat-held",
                Alarm::Admit(_) => "chat-admit",
                Alarm::Renew(_) => "chat-renew",
                Alarm::Resume => "chat-resume",
            };
            (at, why)
        });
        [goodbye, ping, timer].into_iter().flatten().min()
    }

    fn timeout(&mut self, cx: &mut Cx<'_>) {
        while let Some(alarm) = self.timers.pop(cx.now.tick) {
            match alarm {
                Alarm::Call(id) => {
                    if let Some(talk) = self.talks.get_mut(&id) {
                        talk.leg.call.timeout(cx.now);
                        self.run(cx, id);
                    }
                }
                Alarm::Ask(id) => self.asked_enough(cx, id),
                Alarm::Quiet(id) => self.quiet(cx, id),
                Alarm::Part(id) => self.part_now(cx, id),
                Alarm::Left(id) => self.left(cx, id),
                Alarm::Typing(id) => self.whisper_now(cx, id),
                Alarm::Held(id) => self.held_enough(cx, id),
                Alarm::Admit(session) => cx.msrp.close(cx.now.tick, cx.mint, session),
                Alarm::Renew(id) => self.renew(cx, id),
                Alarm::Resume => self.resume(cx),
            }
        }
        self.ping(cx);
        self.goodbye_timeout(cx);
    }

    fn link_down(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        self.offline.clear();
        for id in self.probing.close(link) {
            self.asked_in_vain(cx, id);
        }
    }

    fn restored(&mut self, cx: &mut Cx<'_>, record: &Restored) {
        if let Err(error) = self.restore(cx, record) {
            cx.unreadable(record, error);
        }
    }

    fn view(&self, record: &Restored) -> Result<View, String> {
        ending::view(record)
    }

    fn start(&mut self, cx: &mut Cx<'_>) {
        self.resume(cx);
    }

    fn signal(&mut self, cx: &mut Cx<'_>, signal: &Signal) {
        match signal {
            Signal::Carry(carry) => self.carry(cx, carry),
            Signal::Taken { ticket, refused } => self.taken(cx, *ticket, refused.as_ref()),
            Signal::Met { ticket, failure } => self.met(cx, *ticket, failure.as_ref()),
            Signal::Received { id, user, .. } => self.received(cx, user, id),
            Signal::Whisper(whisper) => self.whisper(cx, whisper),
            Signal::Attention { user, contact, gone: true } => self.gone(cx, user, contact),
            Signal::Unknown { user, contact } => self.ask(cx, user, contact),
            Signal::Mood(pair) => self.mood(cx, pair),
            _ => {}
        }
    }

    fn explain(&self, cx: &mut Cx<'_>, stanza: &Stanza) -> Option<String> {
        self.explained(cx, stanza)
    }

    fn stop(&mut self, cx: &mut Cx<'_>) -> bool {
        self.say_goodbye(cx)
    }

    fn load(&self) -> usize {
        let questions = self.questions.load();
        let waiting = self.admissions.opening.len() + self.probing.load();
        self.talks.len() + self.timers.len() + self.arrivals.load() + questions + waiting
    }
}

impl Chat {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Remembers a session that begins.
    fn add(&mut self, cx: &mut Cx<'_>, id: TalkId, talk: Talk) {
        self.tags.insert(talk.leg.call.tag().into(), id);
        self.pairs.entry((talk.user.clone(), talk.contact.clone())).or_default().push(id);
        self.contacts.add(&talk.contact);
        let is_asked = talk.stage == Stage::Asked;
        self.talks.insert(id, Box::new(talk));
        // One that is only asked for changes nothing for the others.
        if !is_asked {
            self.publish(cx, id);
        }
    }

    /// The session in whose dialog a request is; `tag` is that of To.
    fn held(&mut self, tag: &str, incoming: &Incoming) -> Option<(TalkId, &mut Talk)> {
        let id = *self.tags.get(tag)?;
        let talk = self.talks.get_mut(&id)?;
        talk.leg.call.holds(&incoming.call_id, tag, &incoming.from_tag).then_some((id, &mut **talk))
    }

    /// Whether there is room for one more session of this user with this contact. Where they have too many, the one that
    /// is silent for the longest time ends for it.
    fn make_room(&mut self, cx: &mut Cx<'_>, user: &Jid, contact: &Aor) -> bool {
        if self.talks.len() + self.admissions.opening.len() >= SESSIONS {
            return false;
        }
        let pair = (user.clone(), contact.clone());
        let of_pair = self.pairs.get(&pair).map_or(&[][..], Vec::as_slice);
        let is_idle = |id: &&TalkId| {
            self.talks.get(*id).is_some_and(|talk| {
                talk.stage == Stage::Open && talk.last + IDLE <= cx.now.tick && !talk.is_unsettled()
            })
        };
        let last = |id: &&TalkId| self.talks.get(*id).map(|talk| talk.last);
        let silent = if of_pair.len() >= PER_PAIR {
            of_pair.iter().filter(is_idle).min_by_key(last)
        } else if self.contacts.of(contact) >= PER_CONTACT {
            let all = self.pairs.iter().filter(|((_, other), _)| other == contact);
            all.flat_map(|(_, all)| all).filter(is_idle).min_by_key(last)
        } else {
            return true;
        };
        let Some(silent) = silent.copied() else { return false };
        self.part(cx, silent, "a newer session needs its place");
        true
    }

    /// The sessions of a user with a contact that are not over.
    fn of_pair(&self, user: &Jid, contact: &Aor) -> Vec<TalkId> {
        self.pairs.get(&(user.clone(), contact.clone())).cloned().unwrap_or_default()
    }

    /// Tells the others how far the sessions of this one's pair are.
    fn publish(&self, cx: &mut Cx<'_>, id: TalkId) {
        let Some(talk) = self.talks.get(&id) else { return };
        let (user, contact) = (&talk.user, &talk.contact);
        let all = self.of_pair(user, contact);
        let all = || all.iter().filter_map(|id| self.talks.get(id));
        let open = all().filter(|talk| talk.stage == Stage::Open);
        let open = open.max_by_key(|talk| (talk.heard, talk.opened));
        let opening = || all().rfind(|talk| matches!(talk.stage, Stage::Calling | Stage::Agreed));
        let (talk, stage) = match open {
            Some(talk) => (Some(talk), sessions::Stage::Open),
            None => (opening(), sessions::Stage::Opening),
        };
        let last = all().map(|talk| talk.last).max().unwrap_or_default();
        let talking =
            talk.map(|talk| facts::Talking { stage, call_id: talk.leg.call.call_id().into(), last });
        cx.facts.set_talking(user, contact, talking);
    }

    /// Somebody wrote in a session. The others need not know to the second.
    fn spoken_in(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        let Some(talk) = self.talks.get_mut(&id) else { return };
        if talk.published.is_some_and(|at| cx.now.tick < at + PUBLISHED) {
            return;
        }
        talk.published = Some(cx.now.tick);
        self.publish(cx, id);
    }

    /// One of the two, or both, do something else than before.
    fn mood(&mut self, cx: &mut Cx<'_>, pair: &(Jid, Aor)) {
        for id in self.pairs.get(pair).cloned().unwrap_or_default() {
            self.arm_quiet(cx, id);
        }
    }

    /// Does what the SIP machine of a session wants, and buries a session that is over.
    fn run(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        while let Some(act) = self.talks.get_mut(&id).and_then(|talk| talk.leg.call.poll()) {
            match leg::carry_out(cx, id, act) {
                Done::Asked => self.in_flight += 1,
                Done::Sent => {}
                Done::Replied(key, _) => {
                    self.asked.remove(&key);
                }
                Done::Told(event) => self.told(cx, id, event),
            }
        }
        let Some(talk) = self.talks.get(&id) else { return };
        let at = talk.leg.call.next_timeout();
        self.timers.arm(Alarm::Call(id), at);
        self.bury(cx, id);
    }

    fn told(&mut self, cx: &mut Cx<'_>, id: TalkId, event: session::Event) {
        match event {
            session::Event::Ringing(_) | session::Event::Withdrawn => {}
            session::Event::Declined(_) => self.not_renewed(cx, id),
            session::Event::Accepted { response, answer } => {
                self.accepted(cx, id, &response, answer.as_ref())
            }
            session::Event::Confirmed { answer } => self.confirmed(cx, id, answer.as_ref()),
            session::Event::Offered(offer) => self.offered(cx, id, offer.as_ref()),
            session::Event::Answered(answer) if self.is_renewal(id) => self.renewed(cx, id, answer.as_ref()),
            session::Event::Answered(answer) => self.refreshed(cx, id, answer.as_ref()),
            session::Event::Over(end) => self.call_over(cx, id, &end),
        }
    }
}
