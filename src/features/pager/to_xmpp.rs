//! SIP → XMPP: a MESSAGE becomes a `<message type='chat'/>` (RFC 7572 §5), and what the server says of it the answer.
//!
//! The answer waits for the commit and for the barrier: a ping to the recipient's domain that is answered after every
//! objection ([`crate::xmpp::barrier`]). An objection becomes the answer; otherwise, and after half a second without a
//! pong, it is 202: 200 would claim that a person has it. Without a stream messages queue, answered 202 while there is
//! room. What was in flight when a stream closed is sent again under the same id.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use self::suspects::Suspects;
use super::arrivals::{Arrival, Arrivals, Known, Name, Said};
use super::late::{self, Late, Telling};
use super::meter::{self, Hushed, Moves, Way};
use super::pairs::Pairs;
use super::place::Places;
use super::quota::Quota;
use super::sessions::{Letter, Refusal};
use super::table;
use super::to_sip::Spoken;
use crate::documents::date;
use crate::features::content::Content;
use crate::features::devices::Ability;
use crate::features::signal::{Asked, Told};
use crate::features::{Cx, Incoming, Op, Signal, content, errors, rich};
use crate::gateway::LinkId;
use crate::sabotage::{self, Fault as Mistake};
use crate::sip::message::{HeaderName, Reply, text};
use crate::sip::uri::{Aor, SipAddress};
use crate::store::record::Restored;
use crate::words::condition::{Condition, Kind, Scope};
use crate::words::note::Level;
use crate::words::tally::Tally;
use crate::words::time::{Tick, Wall};
use crate::words::timers::Timers;
use crate::xmpp::barrier::Barrier;
use crate::xmpp::element::text_at_most;
use crate::xmpp::jid::Jid;
use crate::xmpp::ns;
use crate::xmpp::stanza::{Element, Stanza, StanzaKind, condition_name};

mod flights;
mod suspects;

/// How many messages have no fate: in all, and for one domain, which leaves room for the others where its server is slow.
const LIMIT: usize = 10_000;
const LIMIT_DOMAIN: usize = LIMIT / 2;
/// The same for one domain, and of one sender, while the stream is down.
const LIMIT_DOMAIN_DOWN: usize = 1_000;
const LIMIT_SENDER_DOWN: usize = 200;
/// How many transactions of one request wait for its answer.
const WAITING_LIMIT: usize = 16;
/// A pong that takes longer is not waited for with the answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// With that to what may be a machine's answer it is, almost as long as its sender waits (Timer F, RFC 4975 §7.1.1).
const QUIET_PATIENCE: Duration = Duration::from_secs(20);
/// A message whose barrier is never answered is given up.
const GIVE_UP: Duration = Duration::from_secs(60);
/// Suspects that have not closed the stream for so long are none.
const SUSPECT: Duration = Duration::from_secs(5);
/// How many answers are forgotten in one step: after a start many are due at the same moment.
const FORGOTTEN_TOGETHER: usize = 1_000;
/// What a sender is told who writes too fast: by then a quarter of the bucket is full again.
const SLOW_DOWN: &str = "5";

/// The stream and the domain on it: within them order is kept.
type Lane = (LinkId, String);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// The answer is due, pong or no pong.
    Answer(Name),
    /// No pong came for so long that none will.
    GiveUp(Name),
    /// The suspects on this link have not closed the stream.
    Cleared(LinkId),
}

/// All messages to XMPP of one owner.
#[derive(Debug, Default)]
pub struct ToXmpp {
    pub(super) arrivals: Arrivals,
    /// What waits to be sent, in the order of coming.
    queue: BTreeMap<(LinkId, u64), Name>,
    barrier: Barrier<Lane, Name>,
    /// Messages without a fate per domain and per sender.
    unsettled: Tally<String>,
    senders: Tally<Aor>,
    crowded: Hushed,
    /// What goes again before anything else, because a stream closed when it was in flight.
    suspects: BTreeMap<LinkId, Suspects>,
    timers: Timers<Alarm>,
    quota: Quota,
    pub(super) moves: Moves,
    late: Late,
    /// What the owner of this machine is to tell SIP senders.
    tellings: Vec<Telling>,
    places: Places,
    /// How many came from the store: their turns, all before those of what was taken since.
    restored: u64,
    stopping: bool,
}

impl ToXmpp {
    /// A MESSAGE outside dialogs.
    pub fn request(&mut self, cx: &mut Cx<'_>, pairs: &mut Pairs, incoming: &Incoming) {
        let name = Name::of(incoming);
        match self.arrivals.get(name).filter(|_| !sabotage::is(Mistake::NotRecognised)) {
            Some(Known::Done(done)) => return cx.reply(incoming.key, done.said.reply()),
            Some(Known::Pending(arrival)) => {
                match &arrival.said {
                    Some(said) => cx.reply(incoming.key, said.reply()),
                    None if arrival.waiting.len() < WAITING_LIMIT => arrival.waiting.push(incoming.key),
                    None => cx.ops.push_back(Op::ReplyNow(incoming.key, Reply::new(482))),
                }
                return;
            }
            None => {}
        }
        match self.compose(cx, pairs, incoming) {
            Ok((link, arrival)) => self.take(cx, link, name, arrival),
            Err((reply, why)) => {
                let status = reply.status.to_string();
                let (names, words) = ((incoming.call_id.as_str(), ""), reply.reason.as_deref());
                meter::turned_away(cx, Way::SipToXmpp, names, ("status", &status), why, words);
                cx.ops.push_back(Op::ReplyNow(incoming.key, reply));
            }
        }
    }

    /// A stanza that may answer what we sent: a pong, or an error to a message. True when it does.
    pub fn stanza(&mut self, cx: &mut Cx<'_>, stanza: &Stanza) -> bool {
        let Some(id) = stanza.id() else { return false };
        if stanza.kind == StanzaKind::Iq {
            let Some(confirmed) = self.barrier.pong(cx.now.tick, id) else { return false };
            for name in confirmed {
                self.settle(cx, name, "delivered", None);
            }
            self.pump_all(cx);
            return true;
        }
        let Some(name) = self.arrivals.by_id(id) else { return false };
        self.objection(cx, name, stanza);
        true
    }

    /// Time has come.
    pub fn timeout(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.tick;
        while let Some(alarm) = self.timers.pop(now) {
            match alarm {
                Alarm::Answer(name) if self.arrivals.pending(name).is_some_and(|arrival| arrival.quiet) => {
                    self.give_up(cx, name);
                }
                Alarm::Answer(name) => self.answer_now(cx, name),
                Alarm::GiveUp(name) => self.give_up(cx, name),
                Alarm::Cleared(link) => {
                    if let Some(suspects) = self.suspects.get_mut(&link) {
                        suspects.clear();
                    }
                }
            }
        }
        self.pump_all(cx);
        for _ in 0..FORGOTTEN_TOGETHER {
            let Some(key) = self.arrivals.forgotten(now) else { break };
            cx.forget(key);
        }
        while let Some(telling) = self.late.due(cx) {
            self.tellings.extend(telling);
        }
        self.quota.timeout(cx, Way::SipToXmpp);
        self.crowded.timeout(cx, meter::CROWDED, Way::SipToXmpp);
    }

    /// No pong came in time.
    fn give_up(&mut self, cx: &mut Cx<'_>, name: Name) {
        let Some(arrival) = self.arrivals.pending(name) else { return };
        meter::ambiguous(cx, Way::SipToXmpp, arrival.names(), "unconfirmed");
        let (kind, scope) = match arrival.said {
            Some(_) => (Kind::RemoteServerTimeout, Scope::Bare),
            // It becomes the answer, which must not be 408 (RFC 4320 §4.2), but 480.
            None => (Kind::RecipientUnavailable, Scope::Full),
        };
        let text = "The XMPP server did not confirm it; it may not have arrived.";
        let condition = Condition { scope, ..Condition::new(kind, text) };
        self.settle(cx, name, "expired", Some(&condition));
    }

    /// When [`ToXmpp::timeout`] is wanted.
    pub fn next_timeout(&self) -> Option<Tick> {
        let timers = self.timers.next().map(|(at, _)| at);
        let (barrier, arrivals) = (self.barrier.next_timeout(), self.arrivals.next_timeout());
        let (late, quota) = (self.late.next_timeout(), self.quota.next_timeout());
        let crowded = self.crowded.next_timeout();
        [timers, barrier, arrivals, late, quota, crowded].into_iter().flatten().min()
    }

    /// A record of before the start.
    pub fn restored(&mut self, cx: &mut Cx<'_>, record: &Restored) {
        let read = match record.kind.as_str() {
            late::RECORD => self.late.restored(record),
            _ => self.arrivals.restored(record),
        };
        if let Err(error) = read {
            cx.unreadable(record, error);
        }
    }

    /// Records are there, of some users whole: what has no fate waits for its stream again.
    pub fn start(&mut self, cx: &mut Cx<'_>) {
        self.late.start(cx);
        let (pending, last) = self.arrivals.start(cx.now);
        self.places.taken(last);
        for name in pending {
            let Some(arrival) = self.arrivals.pending(name) else { continue };
            let turn = self.restored;
            self.restored += 1;
            arrival.turn = turn;
            let names = arrival.names();
            let Some(link) = cx.domains.link_of(arrival.from.domain()) else {
                meter::orphaned(cx, Way::SipToXmpp, names);
                self.arrivals.drop(name);
                continue;
            };
            meter::restored(cx, Way::SipToXmpp);
            if arrival.said.is_none() {
                meter::ambiguous(cx, Way::SipToXmpp, names, "restart");
                self.timers.set(Alarm::Answer(name), cx.now.tick + patience(arrival));
            }
            self.enqueue(link, name, turn);
        }
        self.pump_all(cx);
    }

    /// Begins nothing more; true when nothing is in flight. What waits is on disk.
    pub fn stop(&mut self) -> bool {
        self.stopping = true;
        self.barrier.is_empty()
    }

    /// What SIP senders are to be told.
    pub fn tellings(&mut self) -> Vec<Telling> {
        std::mem::take(&mut self.tellings)
    }

    /// MESSAGEs that tell of failures went out, or came to their end.
    pub fn spoken(&mut self, cx: &mut Cx<'_>, spoken: Vec<Spoken>) {
        for Spoken { user, sender, speaking } in spoken {
            self.late.speaks(cx, user, &sender, speaking);
        }
    }

    /// How much is held.
    pub fn load(&self) -> usize {
        let waiting = self.queue.len() + self.barrier.len() + self.timers.len();
        self.arrivals.len() + waiting + self.late.len() + self.quota.len()
    }

    fn compose(
        &mut self,
        cx: &mut Cx<'_>,
        pairs: &mut Pairs,
        incoming: &Incoming,
    ) -> Result<(LinkId, Box<Arrival>), (Reply, &'static str)> {
        let refuse = |condition: Condition| (errors::reply_of(&condition), "address");
        let (user, from) = match &incoming.jids {
            Some(jids) => jids.clone(),
            None => {
                let user = cx.domains.user_jid(&incoming.target).map_err(refuse)?;
                (user, cx.domains.contact_jid(&incoming.from).map_err(refuse)?)
            }
        };
        if user.local().is_none() {
            return Err((Reply::new(404).because("the address names no user"), "address"));
        }
        if incoming.from.aor.user.is_none() {
            return Err((Reply::new(403).because("From names no user"), "address"));
        }
        let bytes = incoming.request.body().len();
        self.has_room(cx, &user, &incoming.from.aor, bytes).map_err(Refusal::reply)?;
        let content = content::read(&incoming.request).map_err(|reply| (reply, "content"))?;
        if let Some(name) = &incoming.from_name {
            cx.facts.set_name(&incoming.from.aor, name);
        }
        learn(cx, incoming, &content);
        let trusted = cx.config.sip.peers.get(incoming.peer).is_some_and(|peer| peer.trust_dates);
        let letter = Letter {
            user,
            from,
            sender: incoming.from.clone(),
            call_id: &incoming.call_id,
            written: content.date.filter(|_| trusted),
            receipt: content.asks.as_ref().is_some_and(|asks| asks.wanted.delivery),
            marker: content.asks.as_ref().is_some_and(|asks| asks.wanted.display),
            content,
            id: None,
            expires: expires(incoming, cx.now.wall),
            hops: incoming.max_forwards,
        };
        let (link, mut arrival) = self.admit(cx, pairs, letter).map_err(Refusal::reply)?;
        arrival.waiting.push(incoming.key);
        Ok((link, arrival))
    }

    /// Whether so many bytes of content for a user may be taken at all.
    pub(super) fn has_room(
        &mut self,
        cx: &mut Cx<'_>,
        user: &Jid,
        sender: &Aor,
        bytes: usize,
    ) -> Result<(), Refusal> {
        if !cx.accepting {
            return Err(Refusal::busy("Not taking messages now", "store"));
        }
        if bytes > cx.config.messages.max_message {
            return Err(Refusal::too_long(cx));
        }
        // What concerns this sender alone is 480: 503 tells a proxy to leave us alone with everybody's requests
        // (RFC 3261 §21.5.4).
        // While the stream is there nobody's messages stay for long, however many come at once.
        let (of_sender, of_domain) = (self.senders.of(sender), self.unsettled.of(user.domain()));
        let is_down = || cx.domains.link_of_contact(sender).is_none_or(|link| !cx.is_up(link));
        let (limit, status, reason) = if of_sender >= LIMIT_SENDER_DOWN && is_down() {
            ("sender", 480, format!("{LIMIT_SENDER_DOWN} of your messages wait to be delivered"))
        } else if of_domain >= LIMIT_DOMAIN || of_domain >= LIMIT_DOMAIN_DOWN && is_down() {
            ("domain", 503, format!("Too many messages wait for {}", user.domain()))
        } else if self.arrivals.unsettled() >= LIMIT {
            ("all", 503, "Too many messages wait".to_owned())
        } else {
            return Ok(());
        };
        let (from, direction) = (sender.text(), Way::SipToXmpp.name().to_owned());
        let fields = vec![("from", from), ("direction", direction), ("limit", limit.to_owned())];
        self.crowded.say(cx, meter::CROWDED, fields);
        Err(Refusal { status, ..Refusal::busy(&reason, "queue-full") })
    }

    /// What is written becomes an arrival, unless it cannot.
    pub(super) fn admit(
        &mut self,
        cx: &mut Cx<'_>,
        pairs: &mut Pairs,
        letter: Letter<'_>,
    ) -> Result<(LinkId, Box<Arrival>), Refusal> {
        let refusal = |status, reason: &str, why| Refusal { status, reason: reason.into(), retry: None, why };
        let Some(link) = cx.domains.link_of(letter.from.domain()) else {
            return Err(refusal(404, "Not found", "address"));
        };
        let content = letter.content;
        let subject = content.subject.filter(|subject| !subject.is_empty());
        let rich = content.rich;
        let (text, subject) = match (content.text.is_empty(), subject) {
            (true, None) => return Err(refusal(400, "The message has no text", "content")),
            (true, Some(subject)) => (subject, None),
            (false, subject) => (content.text, subject),
        };
        if !self.quota.admits(cx, Way::SipToXmpp, &letter.sender.aor.text()) {
            // It concerns this sender alone: 503 would tell the proxy to leave us alone (RFC 3261 §21.5.4).
            let reason = "Too many messages at once, wait a few seconds".to_owned();
            return Err(Refusal { status: 480, reason, retry: Some(SLOW_DOWN), why: "rate" });
        }
        cx.facts.show(&letter.sender);
        let named = !letter.user.is_bare();
        let known = pairs.received(cx.now.wall, &letter.user, &letter.sender.aor, letter.call_id);
        let to = address(cx, letter.user, known.resource);
        let quiet = self.late.is_quiet(cx.now.tick, &to, &letter.sender.aor);
        if quiet && !cx.is_up(link) {
            let reason = "The XMPP server is away, and later nobody could tell you that it failed";
            return Err(Refusal { status: 480, ..Refusal::busy(reason, "quiet") });
        }
        let order = self.places.next();
        let mut arrival = Box::new(Arrival {
            id: letter.id.unwrap_or_else(|| cx.token_for(&to)),
            chosen: to.resource().is_some() && !named,
            thread: known.thread,
            quiet,
            from: letter.from,
            to,
            sender: letter.sender,
            call_id: letter.call_id.to_owned(),
            text,
            rich,
            lang: content.lang,
            subject,
            written: letter.written.unwrap_or(cx.now.wall),
            accepted: cx.now.wall,
            expires: letter.expires,
            hops: letter.hops,
            order,
            turn: order,
            flights: 0,
            receipt: letter.receipt,
            marker: letter.marker,
            asked: content.asks.as_ref().is_some_and(|asks| asks.wanted.failure),
            asks: content.asks,
            said: None,
            ticket: None,
            waiting: Vec::new(),
            flying: false,
        });
        let most = cx.config.messages.max_message;
        let is_too_long = |arrival: &Arrival| {
            may_exceed(arrival, most) && stanza(arrival, cx.now.wall).to_xml().len() > most
        };
        if is_too_long(&arrival) && (arrival.rich.take().is_none() || is_too_long(&arrival)) {
            return Err(Refusal::too_long(cx));
        }
        Ok((link, arrival))
    }

    pub(super) fn take(&mut self, cx: &mut Cx<'_>, link: LinkId, name: Name, arrival: Box<Arrival>) {
        let (turn, up) = (arrival.turn, cx.link_is_up(&arrival.from));
        let (answered, patience) = (arrival.said.is_some(), patience(&arrival));
        ask(cx, &arrival);
        meter::log(cx, Level::Debug, "message-accepted", Way::SipToXmpp, arrival.names(), "");
        let record = self.arrivals.insert(name, arrival);
        cx.save(record);
        meter::accepted(cx, Way::SipToXmpp);
        self.enqueue(link, name, turn);
        if up {
            if !answered {
                self.timers.set(Alarm::Answer(name), cx.now.tick + patience);
            }
            self.pump(cx, link);
            self.ping(cx);
        } else {
            self.answer_now(cx, name);
        }
    }

    fn enqueue(&mut self, link: LinkId, name: Name, turn: u64) {
        let Some(arrival) = self.arrivals.pending(name) else { return };
        self.unsettled.add(arrival.to.domain());
        self.senders.add(&arrival.sender.aor);
        self.queue.insert((link, turn), name);
        self.moves.queued(1);
    }

    /// An error came to a message of ours.
    fn objection(&mut self, cx: &mut Cx<'_>, name: Name, error: &Stanza) {
        let Some(said) = error.stanza_error() else { return };
        match self.arrivals.get(name) {
            None => {}
            Some(Known::Pending(arrival)) => {
                if arrival.chosen && arrival.flying && is_about_a_device(said.kind) {
                    // The device that we chose is gone; the sender meant the person.
                    (arrival.to, arrival.chosen) = (arrival.to.bare(), false);
                    let again = stanza(arrival, cx.now.wall);
                    let link = cx.domains.link_of(arrival.from.domain());
                    let Some(link) = link.filter(|_| cx.link_is_up(&arrival.from)) else { return };
                    let lane = (link, arrival.to.domain().to_owned());
                    cx.stanza(again);
                    self.barrier.uncover(&lane, |covered| *covered == name);
                    if self.barrier.sent(cx.now.tick, &lane, name) {
                        self.ping_lane(cx, &lane);
                    }
                    return;
                }
                let scope = if arrival.to.is_bare() { Scope::Bare } else { Scope::Full };
                let condition = errors::condition_of_error(&said, scope, cx.domains);
                self.settle(cx, name, "refused", Some(&condition));
                self.pump_all(cx);
            }
            Some(Known::Done(done)) => {
                if done.failed || !done.said.is_success() || std::mem::replace(&mut done.objected, true) {
                    return;
                }
                let is_quiet = done.quiet;
                let (sender, hops, done_asked) = (done.sender.clone(), done.hops, done.asked);
                let Some((user, contact)) = error.from().zip(error.to()) else { return };
                let scope = if user.is_bare() { Scope::Bare } else { Scope::Full };
                let condition = errors::condition_of_error(&said, scope, cx.domains);
                let sender = sender.map(|sender| *sender);
                let sender = sender.or_else(|| cx.domains.contact_sip(contact).ok());
                let user = user.bare();
                if let Some(record) = self.arrivals.changed(name) {
                    cx.save(record);
                }
                let Some(sender) = sender else { return };
                if is_quiet && !done_asked {
                    return late::stays_untold(cx, &user, &sender.aor);
                }
                let id = error.id().unwrap_or_default().to_owned();
                let told = if done_asked { Told::No } else { Told::Yes };
                let contact = sender.aor.clone();
                cx.signal(Signal::Undelivered { user: user.clone(), contact, id, told });
                if !done_asked {
                    self.tell(cx, &user, &sender, hops, &condition);
                }
            }
        }
    }

    /// The answer is due: 202, whatever comes later.
    fn answer_now(&mut self, cx: &mut Cx<'_>, name: Name) {
        let Some(arrival) = self.arrivals.pending(name) else { return };
        if arrival.said.is_some() {
            return;
        }
        let reply = Reply::new(202);
        arrival.said = Some(Said::of(&reply));
        let waiting = std::mem::take(&mut arrival.waiting);
        if arrival.flying {
            self.timers.set(Alarm::GiveUp(name), cx.now.tick + GIVE_UP);
        }
        if let Some(record) = self.arrivals.changed(name) {
            cx.save(record);
        }
        waiting.into_iter().for_each(|key| cx.reply(key, reply.clone()));
    }

    /// A message meets its fate; `why` when it was not delivered. The sender hears of it, by the answer if that is still
    /// to be said.
    fn settle(&mut self, cx: &mut Cx<'_>, name: Name, result: &'static str, why: Option<&Condition>) {
        let Some(arrival) = self.arrivals.pending(name) else { return };
        let reply = match (&arrival.said, why) {
            (Some(said), _) => said.reply(),
            (None, Some(why)) => errors::reply_of(why),
            (None, None) => Reply::new(202),
        };
        let answered = arrival.said.is_some();
        let by_address = cx.domains.is_contact(&arrival.from, &arrival.sender);
        let sender = (!by_address).then(|| arrival.sender.clone());
        let ticket = arrival.ticket.take();
        if let Some(why) = why {
            self.fail(cx, name, why, ticket.is_some());
        }
        if let Some(ticket) = ticket {
            if !answered {
                cx.signal(Signal::Taken { ticket, refused: why.cloned() });
            }
            if answered || why.is_none() {
                cx.signal(Signal::Met { ticket, failure: why.cloned() });
            }
        }
        let said = Said::of(&reply);
        let Some((arrival, record)) = self.arrivals.settle(cx.now, name, said, why.is_some(), sender) else {
            return;
        };
        cx.save(record);
        if let Some(key) = self.arrivals.forgotten(cx.now.tick) {
            cx.forget(key);
        }
        arrival.waiting.iter().for_each(|key| cx.reply(*key, reply.clone()));
        self.timers.stop(&if answered { Alarm::GiveUp(name) } else { Alarm::Answer(name) });
        self.unsettled.take(arrival.to.domain());
        self.senders.take(&arrival.sender.aor);
        if arrival.flying {
            self.moves.in_flight(-1);
        } else {
            self.moves.queued(-1);
        }
        meter::result(cx, Way::SipToXmpp, result);
        let link = cx.domains.link_of(arrival.from.domain());
        if let Some(link) = link {
            if why.is_some() {
                self.barrier.uncover(&(link, arrival.to.domain().to_owned()), |covered| *covered == name);
            }
            self.queue.remove(&(link, arrival.turn));
            if self.suspects.get_mut(&link).is_some_and(|suspects| suspects.settle(name)) {
                self.timers.stop(&Alarm::Cleared(link));
            }
        }
        match why {
            Some(why) => {
                let words = why.text.as_deref().unwrap_or_else(|| condition_name(why.kind));
                let words = format!("{words} (SIP answer {})", reply.status);
                meter::log(cx, Level::Warn, "message-refused", Way::SipToXmpp, arrival.names(), &words);
            }
            None => {
                let (user, contact) = (arrival.to.bare(), arrival.sender.aor);
                cx.signal(Signal::Crossed { user, contact, to_xmpp: true });
            }
        }
    }

    /// A message failed. Its sender hears of it late where neither an answer nor a session can tell, and no confirmation
    /// is about it any more.
    fn fail(&mut self, cx: &mut Cx<'_>, name: Name, why: &Condition, in_session: bool) {
        let Some(arrival) = self.arrivals.pending(name) else { return };
        let (user, sender, hops) = (arrival.to.bare(), arrival.sender.clone(), arrival.hops);
        let is_late = arrival.said.is_some() && !in_session;
        let is_quiet = is_late && arrival.quiet;
        let told = match is_late && arrival.asked {
            true => Told::No,
            false if in_session => Told::Perhaps,
            false => Told::Yes,
        };
        if arrival.receipt || arrival.marker || arrival.asked {
            let (contact, id) = (sender.aor.clone(), arrival.id.clone());
            cx.signal(Signal::Undelivered { user: user.clone(), contact, id, told });
        }
        if is_quiet && told == Told::Yes {
            late::stays_untold(cx, &user, &sender.aor);
        } else if is_late && told == Told::Yes {
            self.tell(cx, &user, &sender, hops, why);
        }
    }

    pub(super) fn tell(
        &mut self,
        cx: &mut Cx<'_>,
        user: &Jid,
        sender: &SipAddress,
        hops: u8,
        why: &Condition,
    ) {
        let telling = self.late.failed(cx, user, sender, hops, why);
        self.tellings.extend(telling);
    }
}

/// How long the fate of a message is waited for with its answer. What comes while we tell of a failure may be a machine's
/// answer to that, and another failure cannot be told of then: so it is taken only when it has arrived.
fn patience(arrival: &Arrival) -> Duration {
    if arrival.quiet { QUIET_PATIENCE } else { PATIENCE }
}

/// To whom: the device that the sender named, else the one that `wrote_last` while it is online, else the person.
fn address(cx: &Cx<'_>, user: Jid, wrote_last: Option<&str>) -> Jid {
    if !user.is_bare() {
        return user;
    }
    wrote_last
        .and_then(|resource| user.with_resource(resource).ok())
        .filter(|full| cx.facts.is_online(full))
        .unwrap_or(user)
}

/// Expires counts from the arrival (RFC 3428 §4): our clock and the sender's may differ.
fn expires(incoming: &Incoming, now: Wall) -> Option<Wall> {
    let seconds: u64 = text(&incoming.request.headers, &HeaderName::Expires)?.parse().ok()?;
    Some(now + Duration::from_secs(seconds))
}

/// What a MESSAGE shows of the device that sent it.
fn learn(cx: &mut Cx<'_>, incoming: &Incoming, content: &Content) {
    let device = incoming.from.gr.as_deref().unwrap_or_default();
    let agent = text(&incoming.request.headers, &HeaderName::UserAgent);
    cx.facts.devices.heard(&incoming.from.aor, device, agent.as_deref());
    for (shown, ability) in [(content.wrapped, Ability::Cpim), (content.has_html, Ability::Html)] {
        if shown {
            cx.facts.devices.shows(cx.now.tick, &incoming.from.aor, device, ability, true);
        }
    }
}

/// Whoever asked for notifications is remembered, to be told when a client says so.
fn ask(cx: &mut Cx<'_>, arrival: &Arrival) {
    let wanted = arrival.receipt || arrival.marker || arrival.asked;
    if let Some(asks) = arrival.asks.as_ref().filter(|_| wanted) {
        cx.signal(Signal::Asked(Arc::new(Asked {
            user: arrival.to.bare(),
            sender: arrival.sender.clone(),
            id: arrival.id.clone(),
            message_id: asks.message_id.clone(),
            wanted: asks.wanted,
            written: arrival.written,
        })));
    }
}

/// An error that only says that this device does not take it.
fn is_about_a_device(kind: Kind) -> bool {
    matches!(kind, Kind::ItemNotFound | Kind::RecipientUnavailable | Kind::ServiceUnavailable | Kind::Gone)
}

/// Whether the stanza could be longer than `most` bytes: no character becomes more than six, and a JID at most 3 KiB.
fn may_exceed(arrival: &Arrival, most: usize) -> bool {
    let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let texts = optional(&arrival.rich) + optional(&arrival.subject) + optional(&arrival.thread);
    let others =
        6 * (texts + arrival.from.as_str().len() + arrival.to.as_str().len() + optional(&arrival.lang)) + 512;
    others + 6 * arrival.text.len() > most && others + text_at_most(&arrival.text) > most
}

/// The stanza of a message, as it is sent at `now`.
fn stanza(arrival: &Arrival, now: Wall) -> Stanza {
    let mut stanza =
        Stanza::new(StanzaKind::Message, &arrival.from, &arrival.to).with_type("chat").with_id(&arrival.id);
    if let Some(lang) = &arrival.lang {
        stanza.element.set_lang(lang);
    }
    if let Some(subject) = &arrival.subject {
        stanza = stanza.with_child(Element::new("subject", ns::COMPONENT).with_text(subject));
    }
    stanza = stanza.with_child(Element::new("body", ns::COMPONENT).with_text(&arrival.text));
    if let Some(html) = arrival.rich.as_deref().and_then(rich::element) {
        stanza = stanza.with_child(html);
    }
    if let Some(thread) = &arrival.thread {
        stanza = stanza.with_child(Element::new("thread", ns::COMPONENT).with_text(thread));
    }
    if arrival.receipt {
        stanza = stanza.with_child(Element::new("request", ns::RECEIPTS));
    }
    if arrival.marker {
        stanza = stanza.with_child(Element::new("markable", ns::MARKERS));
    }
    if table::is_delayed(arrival.written, now) {
        let delay = Element::new("delay", ns::DELAY).with("stamp", &date::write_rfc3339(arrival.written));
        stanza = stanza.with_child(delay);
    }
    stanza
}
