//! XMPP → SIP: a `<message/>` with a body becomes a MESSAGE (RFC 7572 §4), and its answer a stanza error or nothing; or it
//! goes in a session, which `ways.rs` is about.
//!
//! A message is kept on disk from before it is sent until its fate is known; after a restart it is sent again under the
//! same name, so that a phone that has it answers 482. What fails while the component link is down is told when the
//! link is back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::hold;
use super::late::Telling;
use super::meter::{self, Hushed, Moves, Way};
use super::pairs::Pairs;
use super::place::{Places, rank};
use super::post::Post;
use super::quota::Quota;
use super::table::{self, Outgoing, Text};
use super::turns::Turns;
use super::undecided::Undecided;
use super::verdict::{self, Verdict, Verdicts};
use super::ways::{Choice, takes_envelopes};
use crate::documents::cpim;
use crate::features::devices::Ability;
use crate::features::sessions::answer_is_receipt;
use crate::features::signal::{Sent, Whisper};
use crate::features::{Cx, Op, Signal, errors};
use crate::gateway::LinkId;
use crate::sabotage::{self, Fault as Mistake};
use crate::sip::message::{Answer, Failure, HeaderName, OutRequest};
use crate::sip::uri::Aor;
use crate::sip::usage::page::{Event, Fault, LaneKey, Page, Pages};
use crate::store::record::{Life, Restored};
use crate::words::condition::{Condition, Kind, Scope};
use crate::words::index::Index;
use crate::words::note::Level;
use crate::words::tally::Tally;
use crate::words::time::Tick;
use crate::xmpp::jid::Jid;
use crate::xmpp::stanza::{Stanza, condition_name};

/// How many messages wait: in all, of one sender, for one contact, and of that sender for that contact.
const LIMIT: usize = 10_000;
const LIMIT_SENDER: usize = 1_000;
const LIMIT_CONTACT: usize = 2_000;
const LIMIT_PAIR: usize = 500;
/// How many bytes of text of one sender wait.
const LIMIT_BYTES: usize = 64 * 1024 * 1024;

/// A MESSAGE that tells of a failure went out, or came to its end.
#[derive(Debug)]
pub struct Spoken {
    /// In whose name, bare.
    pub user: Jid,
    /// To whom.
    pub sender: Aor,
    /// It is out.
    pub speaking: bool,
}

/// A message that has not met its fate.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) post: Post,
    pub(super) lane: LaneKey,
    /// What it counts towards the sender's bytes.
    bytes: usize,
    /// A request is out for it, or a session has it.
    flying: bool,
    /// Whoever reports on it knows the names that it has as a MESSAGE.
    named: bool,
    /// It went in an envelope, which asks for notifications where they are wished.
    wrapped: bool,
    /// How long it may be kept for somebody who is away.
    until: Tick,
}

impl Live {
    /// It has not been sent.
    pub(super) fn waits(&self) -> bool {
        !self.flying
    }
}

/// The messages of one sender to one contact.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lane {
    /// How many there are.
    pub(super) count: usize,
    /// How many of them are notices: nobody minds whether texts overtake those.
    notices: usize,
    /// How many of them are kept until the contact is back.
    pub(super) held: usize,
    /// How many of them a session has. Then there are no others: what is behind never overtakes.
    pub(super) carried: usize,
}

impl Lane {
    /// Messages of it go as MESSAGEs, and are not there yet.
    pub(super) fn pages(&self) -> bool {
        self.count > self.notices
    }
}

/// All messages to SIP of one owner.
#[derive(Debug, Default)]
pub struct ToSip {
    pub(super) pages: Pages,
    pub(super) posts: BTreeMap<u64, Box<Live>>,
    pub(super) next: u64,
    pub(super) places: Places,
    /// What waits per sender and contact.
    pub(super) lanes: Index<LaneKey, Lane>,
    pub(super) undecided: Undecided,
    /// What goes by in [`Pages`] without being kept.
    pub(super) whispers: BTreeMap<u64, LaneKey>,
    /// The latest of these per lane that waits while something else of the lane is out, and since when.
    pub(super) hushed: BTreeMap<LaneKey, (Tick, Arc<Whisper>)>,
    /// What has failed and is to be told.
    pub(super) verdicts: Verdicts,
    told: hold::Told,
    quota: Quota,
    /// What people's messages wait, by sender and by contact.
    senders: Tally<Aor>,
    contacts: Tally<Aor>,
    /// How many bytes of each sender's.
    bytes: Tally<Aor>,
    crowded: Hushed,
    pub(super) moves: Moves,
    /// What [`ToSip::spoken`] gives next.
    spoken: Vec<Spoken>,
    /// What the store gave back, until its users are whole.
    restored: Vec<Post>,
    /// When the next of their lanes may begin.
    turns: Turns,
    pub(super) stopping: bool,
}

impl ToSip {
    /// A message that is no error, for a contact.
    pub fn stanza(&mut self, cx: &mut Cx<'_>, pairs: &mut Pairs, stanza: &Stanza) {
        let text = match table::outgoing(stanza, &cx.config.sessions) {
            Outgoing::Nothing => return,
            Outgoing::Refused(condition) => return turn_away(cx, stanza, &condition, "content"),
            Outgoing::Text(text) => text,
        };
        if let Some(change) = &text.changes
            && self.change(cx, stanza, change, &text.text)
        {
            return;
        }
        let changes = text.changes.clone();
        match self.compose(cx, pairs, stanza, text) {
            Ok((mut post, key, lane)) => {
                let choice = match self.choose(cx, &post, &key, lane) {
                    Ok(choice) => choice,
                    Err(condition) => return turn_away(cx, stanza, &condition, "table"),
                };
                post.session = choice == Choice::Session;
                post.carries = u8::from(post.session);
                post.enveloped = post.session && takes_envelopes(cx, &post.target.aor);
                if lane.held > 0 {
                    // It waits behind others, and as long as they.
                    post.held = !post.session;
                    self.notice(cx, &mut post);
                }
                // What she sends says that she does not write any more.
                self.hushed.remove(&key);
                cx.save(post.record().of_life(Life::First));
                meter::accepted(cx, Way::XmppToSip);
                meter::log(cx, Level::Debug, "message-accepted", Way::XmppToSip, post.names(), "");
                match choice {
                    Choice::Session => self.carry(cx, post, key, changes),
                    Choice::Wait => self.wait(cx, post, key, false),
                    Choice::Page => {
                        self.push(cx, post, key, false);
                        self.drive(cx);
                    }
                }
            }
            Err((condition, why)) => turn_away(cx, stanza, &condition, why),
        }
    }

    /// Tells a SIP user of a failure that came after the answer.
    pub fn tell(&mut self, cx: &mut Cx<'_>, telling: Telling) {
        let contact = cx.domains.contact_jid(&telling.sender.aor.address());
        let (Ok(contact), Ok(sender)) = (contact, cx.domains.user_sip(&telling.user)) else {
            return errors::untold(cx, &telling.user, &telling.sender.aor, "address");
        };
        if self.is_full() {
            return errors::untold(cx, &telling.user, &telling.sender.aor, "too-many");
        }
        let (order, call_id) = (self.places.next(), cx.token_for(&telling.user));
        let post = Post {
            lang: Some("en".into()),
            late: true,
            hops: telling.hops,
            ..Post::new(cx, telling.user, contact, &telling.sender, call_id, telling.text, order)
        };
        cx.save(post.record().of_life(Life::First));
        let lane = Arc::new((sender.aor, post.target.aor.clone()));
        self.push(cx, post, lane, false);
        self.drive(cx);
    }

    /// Which MESSAGEs that tell of failures went out or came to their end since the last call.
    pub fn spoken(&mut self) -> Vec<Spoken> {
        std::mem::take(&mut self.spoken)
    }

    /// What became of a request.
    pub fn answer(&mut self, cx: &mut Cx<'_>, token: u64, answer: &Answer) {
        self.pages.answer(cx.now.tick, cx.mint, token, answer);
        self.drive(cx);
    }

    /// The contact is back.
    pub fn opened(&mut self, cx: &mut Cx<'_>, user: &Jid, contact: &Aor) {
        if let Ok(sender) = cx.domains.user_sip(&user.bare()) {
            self.pages.wake(&sender.aor, contact);
            self.drive(cx);
        }
    }

    /// Says what waited for this link.
    pub fn link_up(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        self.verdicts.link_up(cx, &mut self.moves, link);
    }

    /// A message of before the start.
    pub fn restored(&mut self, cx: &mut Cx<'_>, record: &Restored) {
        let read = match record.kind.as_str() {
            verdict::RECORD => self.verdicts.restored(record),
            _ => record.read::<Post>().map_err(|error| error.to_string()).map(|post| {
                self.places.taken(post.order);
                self.restored.push(post);
            }),
        };
        if let Err(error) = read {
            cx.unreadable(record, error);
        }
    }

    /// Messages of before the start are there, of some senders whole: they go out in their order, not all at once.
    pub fn start(&mut self, cx: &mut Cx<'_>) {
        self.verdicts.start(cx, &mut self.moves);
        let mut posts = std::mem::take(&mut self.restored);
        posts.sort_by_key(|post| rank(post.accepted, post.order));
        let key = |cx: &Cx<'_>, post: &Post| {
            cx.domains.user_sip(&post.from.bare()).ok().map(|sender| (sender.aor, post.target.aor.clone()))
        };
        let long: BTreeSet<(Aor, Aor)> = posts
            .iter()
            .filter_map(|post| {
                let lane = Arc::new(key(cx, post)?);
                ToSip::needs_session(cx, post, &lane).then(|| (*lane).clone())
            })
            .collect();
        for post in posts {
            let Ok(sender) = cx.domains.user_sip(&post.from.bare()) else {
                // There is nobody who could be told.
                meter::orphaned(cx, Way::XmppToSip, post.names());
                continue;
            };
            if !post.is_quiet() {
                meter::restored(cx, Way::XmppToSip);
            }
            self.told.restored(&post, cx.now.wall);
            let lane = Arc::new((sender.aor, post.target.aor.clone()));
            let waits = long.contains(&*lane);
            let turn = if waits || self.pages.has(&lane) { None } else { self.turns.next(cx.now.tick) };
            self.again(cx, post, lane.clone(), waits);
            if let Some(at) = turn {
                self.pages.delay(&lane, at);
            }
        }
        self.decide_overdue(cx);
        self.drive(cx);
    }

    /// Time has come.
    pub fn timeout(&mut self, cx: &mut Cx<'_>) {
        self.pages.timeout(cx.now.tick);
        self.decide_overdue(cx);
        self.quota.timeout(cx, Way::XmppToSip);
        self.crowded.timeout(cx, meter::CROWDED, Way::XmppToSip);
        self.verdicts.timeout(cx);
        self.drive(cx);
    }

    /// When [`ToSip::timeout`] is wanted.
    pub fn next_timeout(&self) -> Option<Tick> {
        let waits = [self.pages.next_timeout(), self.undecided.next_timeout()];
        let waits = waits.into_iter().flatten().filter(|_| !self.stopping);
        let complaints =
            [self.quota.next_timeout(), self.crowded.next_timeout(), self.verdicts.next_timeout()];
        waits.chain(complaints.into_iter().flatten()).min()
    }

    /// Begins nothing more; true when no answer is waited for. What is not sent is on disk.
    pub fn stop(&mut self) -> bool {
        self.stopping = true;
        self.pages.halt();
        self.pages.outstanding() == 0
    }

    /// How much is held.
    pub fn load(&self) -> usize {
        let whispers = self.whispers.len() + self.hushed.len();
        self.posts.len() + whispers + self.pages.len() + self.verdicts.len() + self.quota.len()
    }

    /// The message, and its lane as it is without it.
    fn compose(
        &mut self,
        cx: &mut Cx<'_>,
        pairs: &mut Pairs,
        stanza: &Stanza,
        text: Text,
    ) -> Result<(Post, LaneKey, Lane), (Condition, &'static str)> {
        let refuse = |kind, text: &str, why| Err((Condition::new(kind, text), why));
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else {
            return refuse(Kind::JidMalformed, "The message has no address.", "address");
        };
        if to.local().is_none() {
            let text = format!("There is nobody at {to}; write to name@{}.", to.domain());
            return refuse(Kind::ItemNotFound, &text, "address");
        }
        let sender = cx.domains.user_sip(&from.bare()).map_err(|problem| (problem, "domain"))?;
        let target = cx.domains.contact_sip(to).map_err(|problem| (problem, "address"))?;
        if !cx.accepting {
            let text = "The gateway cannot take messages at the moment; please try again later.";
            return refuse(Kind::ResourceConstraint, text, "store");
        }
        let most = cx.config.messages.max_message;
        if stanza.element.length_at_most() > most
            && let bytes = stanza.to_xml().len()
            && bytes > most
        {
            let text = format!("This message has {bytes} bytes; at most {most} can be sent.");
            return refuse(Kind::PolicyViolation, &text, "too-long");
        }
        let key = Arc::new((sender.aor, target.aor.clone()));
        let lane = self.lanes.get(&key).copied().unwrap_or_default();
        if let Some((limit, text)) = self.crowd(&key, lane) {
            let (from, direction) = (from.bare().to_string(), Way::XmppToSip.name().to_owned());
            let fields = vec![("from", from), ("direction", direction), ("limit", limit.to_owned())];
            self.crowded.say(cx, meter::CROWDED, fields);
            return refuse(Kind::ResourceConstraint, &text, "queue-full");
        }
        if !self.quota.admits(cx, Way::XmppToSip, from.bare_str()) {
            let rate = cx.config.messages.rate;
            let text = format!(
                "You write faster than {rate} messages a second; please wait a few seconds and send it again."
            );
            return refuse(Kind::ResourceConstraint, &text, "rate");
        }
        let call_id = self.call_id(cx, pairs, from, &target.aor, text.thread.as_deref());
        let order = self.places.next();
        let post = Post {
            id: stanza.id().map(str::to_owned),
            type_: stanza.type_().map(str::to_owned),
            rich: text.rich,
            subject: text.subject,
            lang: text.lang,
            thread: text.thread,
            receipt: text.receipt,
            marker: text.marker,
            corrects: text.changes.filter(|change| !change.takes_back).map(|change| change.id),
            ..Post::new(cx, from.clone(), to.clone(), &target, call_id, text.text, order)
        };
        Ok((post, key, lane))
    }

    /// The thread where it fits, else the Call-ID that this thread already has, else a new one.
    fn call_id(
        &mut self,
        cx: &mut Cx<'_>,
        pairs: &mut Pairs,
        from: &Jid,
        contact: &Aor,
        thread: Option<&str>,
    ) -> String {
        let call_id = match thread {
            Some(thread) if table::fits_call_id(thread) => thread.to_owned(),
            Some(thread) => match pairs.call_id_of(from, contact, thread) {
                Some(known) => known.to_owned(),
                None => cx.token_for(from),
            },
            None => cx.token_for(from),
        };
        pairs.sent(cx.now.wall, from, contact, &call_id, thread);
        call_id
    }

    /// A number for what comes next.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Takes a message that is kept into [`Pages`], behind what is there.
    pub(super) fn push(&mut self, cx: &mut Cx<'_>, post: Post, key: LaneKey, tried: bool) {
        let number = self.number();
        if !post.is_quiet() {
            self.moves.queued(1);
        }
        let lane = self.lanes.entry(key.clone()).or_default();
        lane.count += 1;
        lane.notices += usize::from(post.notice.is_some());
        lane.held += usize::from(post.held);
        let page = post.page(cx, &key, tried);
        self.insert(cx, number, post, key);
        self.pages.push(number, page);
    }

    pub(super) fn insert(&mut self, cx: &Cx<'_>, number: u64, post: Post, lane: LaneKey) {
        let bytes = post.text.len();
        if !post.is_quiet() {
            self.senders.add(&lane.0);
            self.contacts.add(&lane.1);
            self.bytes.add_all(&lane.0, bytes);
        }
        let until = hold::until(cx, &post);
        let live = Live { post, lane, bytes, flying: false, named: false, wrapped: false, until };
        self.posts.insert(number, Box::new(live));
    }

    /// Which limit a message more would exceed, and what its sender is told.
    fn crowd(&self, key: &LaneKey, lane: Lane) -> Option<(&'static str, String)> {
        let (limit, text) = if lane.count >= LIMIT_PAIR {
            ("pair", format!("{LIMIT_PAIR} of your messages wait for this contact"))
        } else if self.senders.of(&key.0) >= LIMIT_SENDER {
            ("sender", format!("{LIMIT_SENDER} of your messages wait to be delivered"))
        } else if self.bytes.of(&key.0) >= LIMIT_BYTES {
            ("bytes", "So many long messages of yours wait to be delivered".to_owned())
        } else if self.contacts.of(&key.1) >= LIMIT_CONTACT {
            ("contact", "Too many messages wait for this contact".to_owned())
        } else if self.is_full() {
            ("all", "Too many messages wait in the gateway".to_owned())
        } else {
            return None;
        };
        Some((limit, format!("{text}; please try again later.")))
    }

    /// Whether nothing more can wait.
    pub(super) fn is_full(&self) -> bool {
        self.posts.len() >= LIMIT
    }

    pub(super) fn drive(&mut self, cx: &mut Cx<'_>) {
        while let Some(event) = self.pages.poll(cx.now.tick) {
            match event {
                Event::Send(number, mut request) => {
                    self.flies(number, true);
                    let live = self.posts.get_mut(&number);
                    let whisper = || self.whispers.get(&number).map(|lane| &lane.1);
                    if let Some(contact) = live.as_ref().map(|live| &live.post.target.aor).or_else(whisper) {
                        spell(cx, contact, &mut request);
                    }
                    if let Some(live) = live {
                        if sabotage::is(Mistake::ForgottenEarly) {
                            cx.forget(live.post.key());
                        }
                        live.wrapped = is_envelope(&request.headers);
                        // A retry has the same names.
                        if !std::mem::replace(&mut live.named, true) {
                            sent(cx, &live.post, true);
                        }
                    }
                    cx.request(number, *request);
                }
                Event::Waits(number) => self.flies(number, false),
                Event::NoDevice(device) => cx.facts.unshow(&device),
                Event::Arrived(number, status, agent) => {
                    if let Some(lane) = self.whispers.remove(&number) {
                        self.say_hushed(cx, &lane);
                    }
                    let Some(live) = self.settle(cx, number, "delivered") else { continue };
                    if agent.is_some() {
                        let device = live.post.target.gr.as_deref().unwrap_or_default();
                        cx.facts.devices.heard(&live.post.target.aor, device, agent.as_deref());
                    }
                    cx.forget(live.post.key());
                    // Whoever says 202 only keeps it.
                    if live.post.receipt && status == 200 && answer_is_receipt(&cx.config.sessions) {
                        prove(cx, &live.post);
                    }
                    if live.wrapped && status == 200 {
                        await_report(cx, &live.post);
                    }
                    if !live.post.is_quiet() {
                        let (user, contact) = (live.post.from.bare(), live.post.target.aor);
                        cx.signal(Signal::Crossed { user, contact, to_xmpp: false });
                    }
                }
                Event::Failed(number, page, fault) => self.failed(cx, number, *page, &fault),
            }
        }
    }

    fn failed(&mut self, cx: &mut Cx<'_>, number: u64, page: Page, fault: &Fault) {
        self.flies(number, false);
        if let Some(lane) = self.whispers.remove(&number) {
            self.hushed.remove(&lane);
            return self.not_understood(cx, &page, fault);
        }
        let Some(live) = self.posts.get_mut(&number) else { return };
        if refuses_content(fault) && live.post.is_html(cx) {
            // It says so of HTML, and perhaps of the envelope around it, which the plain text will show.
            cx.facts.devices.refuses(cx.now.tick, &live.post.target.aor, Ability::Html);
            let plain = Page { cseq: page.cseq + 1, ..live.post.page(cx, &live.lane, page.tried) };
            return self.pages.put_back(number, plain, cx.now.tick);
        }
        if is_envelope(&page.headers) && refuses_content(fault) {
            // It takes no CPIM, whatever others of his devices have shown: remembered, and the same goes without.
            cx.facts.devices.refuses(cx.now.tick, &live.post.target.aor, Ability::Cpim);
            let plain = Page { cseq: page.cseq + 1, ..live.post.page(cx, &live.lane, page.tried) };
            return self.pages.put_back(number, plain, cx.now.tick);
        }
        if let Some(at) = hold::again_at(cx, &live.post, live.until, fault) {
            if !live.post.held {
                self.hold(cx, number);
            }
            return self.pages.put_back(number, page, at);
        }
        if sabotage::is(Mistake::RefusedLater) {
            self.pages.put_back(number, page.clone(), cx.now.tick + super::GOODBYE);
        }
        let gave_up = is_passing(fault) || live.post.held && hold::is_away(&live.post, fault);
        let Some(live) = self.take(cx, number) else { return };
        let scope = if page.to.gr.is_some() { Scope::Full } else { Scope::Bare };
        let condition = match fault {
            Fault::Refused(response) => errors::condition_of_response(response, scope, cx.domains),
            Fault::Silent(failure) => errors::condition_of_failure(failure, scope),
        };
        let words = condition.text.clone().unwrap_or_default();
        meter::log(cx, Level::Warn, "message-refused", Way::XmppToSip, live.post.names(), &words);
        if live.post.late {
            errors::untold(cx, &live.post.from, &live.post.target.aor, "refused");
        }
        if may_be_there(fault) && !live.post.is_quiet() {
            meter::ambiguous(cx, Way::XmppToSip, live.post.names(), "unconfirmed");
        }
        self.say(cx, live.post, condition, gave_up);
    }

    /// Keeps a message, and what waits behind it as long, until the contact is back.
    fn hold(&mut self, cx: &mut Cx<'_>, number: u64) {
        let Some(live) = self.posts.get(&number) else { return };
        let (mut post, key) = (live.post.clone(), live.lane.clone());
        self.notice(cx, &mut post);
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        let is_alone = lane.count == 1;
        for (known, live) in self.posts.range_mut(number..) {
            let is_behind = *known > number && live.lane == key && !live.post.session;
            if *known == number || is_behind && !live.post.held && !live.post.is_quiet() {
                live.post.held = true;
                live.post.told = post.told;
                lane.held += 1;
                cx.save(live.post.record());
            }
            if is_alone {
                return;
            }
        }
    }

    /// Tells the sender that a message is kept, unless she knows. The record says when.
    fn notice(&mut self, cx: &mut Cx<'_>, post: &mut Post) {
        if cx.link_is_up(&post.to)
            && let Some(line) = self.told.notice(cx, post)
        {
            cx.stanza(line);
        }
        post.told = self.told.of(post);
    }

    /// Tells the sender of a message that is out of the queue, now or when the link is back.
    pub(super) fn say(&mut self, cx: &mut Cx<'_>, post: Post, condition: Condition, expired: bool) {
        self.verdicts.pass(cx, &mut self.moves, Verdict { post, condition, expired });
    }

    /// A message has met its fate, and nobody is to be told.
    pub(super) fn settle(&mut self, cx: &mut Cx<'_>, number: u64, result: &'static str) -> Option<Box<Live>> {
        let live = self.take(cx, number)?;
        if !live.post.is_quiet() {
            self.moves.queued(-1);
            meter::result(cx, Way::XmppToSip, result);
        }
        Some(live)
    }

    /// Takes a message out of the queue; it is still counted there.
    pub(super) fn take(&mut self, cx: &mut Cx<'_>, number: u64) -> Option<Box<Live>> {
        self.flies(number, false);
        let live = self.posts.remove(&number)?;
        self.undecided.settled(cx.now.tick, &live.lane, number);
        if let Some(state) = self.lanes.get_mut(&live.lane) {
            state.count -= 1;
            state.notices -= usize::from(live.post.notice.is_some());
            state.held -= usize::from(live.post.held);
            state.carried -= usize::from(live.post.session);
            if state.count == 0 {
                self.lanes.remove(&live.lane);
                self.say_hushed(cx, &live.lane);
            }
        }
        if !live.post.is_quiet() {
            self.senders.take(&live.lane.0);
            self.contacts.take(&live.lane.1);
            self.bytes.take_all(&live.lane.0, live.bytes);
        }
        Some(live)
    }

    /// Moves a message between queued and in flight.
    pub(super) fn flies(&mut self, number: u64, flying: bool) {
        let Some(live) = self.posts.get_mut(&number) else { return };
        if live.flying != flying && !live.post.is_quiet() {
            let by = if flying { 1 } else { -1 };
            self.moves.queued(-by);
            self.moves.in_flight(by);
        }
        if live.flying != flying && live.post.late {
            let (user, sender) = (live.post.from.clone(), live.post.target.aor.clone());
            self.spoken.push(Spoken { user, sender, speaking: flying });
        }
        live.flying = flying;
    }
}

/// Refuses a message that we have not taken.
fn turn_away(cx: &mut Cx<'_>, stanza: &Stanza, condition: &Condition, why: &'static str) {
    let names = ("", stanza.id().unwrap_or_default());
    let said = ("condition", condition_name(condition.kind));
    meter::turned_away(cx, Way::XmppToSip, names, said, why, condition.text.as_deref());
    if let Some(error) = errors::stanza_error(stanza, condition) {
        cx.ops.push_back(Op::Refuse(error));
    }
}

/// Writes the addressee as it writes itself.
fn spell(cx: &Cx<'_>, known: &Aor, request: &mut OutRequest) {
    if let Some(spelled) = cx.facts.own_spelling(known) {
        let (known, spelled) = (known.to_string(), spelled.to_string());
        request.uri = request.uri.replacen(&known, &spelled, 1);
        request.to = request.to.replacen(&known, &spelled, 1);
    }
}

/// Whoever reports on a message later must find it.
pub(super) fn sent(cx: &mut Cx<'_>, post: &Post, as_message: bool) {
    if !(post.receipt || post.marker) {
        return;
    }
    let Some(id) = &post.id else { return };
    let mut names = vec![post.tag.clone()];
    names.extend(as_message.then(|| post.call_id.clone()));
    cx.signal(Signal::Sent(Arc::new(Sent {
        user: post.from.clone(),
        to: post.to.clone(),
        contact: post.target.aor.clone(),
        id: id.clone(),
        names,
        receipt: post.receipt,
        marker: post.marker,
    })));
}

/// The sender's client is told that it arrived.
fn prove(cx: &mut Cx<'_>, post: &Post) {
    if let Some(id) = post.id.clone() {
        let (user, to, contact) = (post.from.clone(), post.to.clone(), post.target.aor.clone());
        cx.signal(Signal::Proved { user, to, id, contact, name: post.tag.clone() });
    }
}

/// A device has taken what asks for notifications: now it is its turn.
fn await_report(cx: &mut Cx<'_>, post: &Post) {
    let device = post.target.gr.clone().unwrap_or_default();
    let (user, contact, name) = (post.from.clone(), post.target.aor.clone(), post.tag.clone());
    cx.signal(Signal::Awaited { user, contact, device, name });
}

/// The body is a CPIM message.
fn is_envelope(headers: &[(HeaderName, String)]) -> bool {
    headers.iter().any(|(name, value)| *name == HeaderName::ContentType && value == cpim::TYPE)
}

/// The answer says that this kind of content is not understood (RFC 3261 §21.4.13, §21.4.26).
pub(super) fn refuses_content(fault: &Fault) -> bool {
    matches!(fault, Fault::Refused(response) if matches!(response.status.code(), 415 | 488 | 606))
}

/// A failure that time might have mended.
fn is_passing(fault: &Fault) -> bool {
    match fault {
        Fault::Refused(response) => matches!(response.status.code(), 408 | 503),
        Fault::Silent(failure) => matches!(failure, Failure::Timeout | Failure::Transport(_)),
    }
}

/// It went out, and nobody said what became of it there.
fn may_be_there(fault: &Fault) -> bool {
    match fault {
        Fault::Refused(response) => response.status.code() == 408,
        Fault::Silent(failure) => matches!(failure, Failure::Timeout | Failure::Transport(_)),
    }
}
