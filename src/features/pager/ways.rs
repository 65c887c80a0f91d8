//! The ways of what goes to SIP: as a MESSAGE, or in a session that the chat carries it in. Which one is a row of
//! `mappings/sessions.yaml`; here is what keeps the order. While older messages of a sender to a contact are on one way,
//! newer ones take the same: so nothing overtakes. What comes back from a session goes on as MESSAGEs, each once.

use std::sync::Arc;
use std::time::Duration;

use super::extras::Change;
use super::meter::{self, Way};
use super::pairs::Pairs;
use super::post::Post;
use super::table::{self, Outgoing};
use super::to_sip::{Lane, Live, ToSip, refuses_content, sent};
use crate::documents::{imdn, iscomposing};
use crate::features::Cx;
use crate::features::devices::Ability;
use crate::features::sessions::{self, Again, Break, Line, PeerMsrp, Route, Stage, Thread};
use crate::features::signal::{Carried, Carry, Changes, Signal, Whisper};
use crate::sip::uri::Aor;
use crate::sip::usage::page::{Fault, LaneKey, Page};
use crate::store::record::Life;
use crate::words::condition::{Condition, Kind};
use crate::words::note::Level;
use crate::xmpp::jid::Jid;
use crate::xmpp::stanza::Stanza;

/// How long a MESSAGE without a long way may be, headers included (RFC 3428 §8), and what the headers need of it.
const PAGE: usize = 1_300;
const HEADERS: usize = 600;
/// In how many sessions a message is tried that is too long for a MESSAGE.
const CARRIES: u8 = 3;
/// What is whispered waits no longer than this for what went before: it would say what is no longer so.
const HUSHED: Duration = Duration::from_secs(10);

/// Whether an envelope may be sent to a contact to whom a session may have brought the message already: unless its
/// devices have said that they take none, since whoever has MSRP has CPIM (RFC 4975 §13).
pub(super) fn takes_envelopes(cx: &Cx<'_>, contact: &Aor) -> bool {
    let can = |ability| cx.facts.devices.any_can(cx.now.tick, contact, ability);
    can(Ability::Cpim).or(can(Ability::CpimInSessions)) != Some(false)
}

/// How a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// As a MESSAGE.
    Page,
    /// In a session.
    Session,
    /// That depends on what the contact says of itself.
    Wait,
}

impl ToSip {
    /// Decides how a message goes. An error when a row refuses it.
    pub(super) fn choose(
        &self,
        cx: &mut Cx<'_>,
        post: &Post,
        key: &LaneKey,
        lane: Lane,
    ) -> Result<Choice, Condition> {
        let line = line(cx, &post.from, &post.target.aor, post.into());
        let is_long = line.long;
        Ok(match line.way(&cx.config.sessions) {
            sessions::Way::Refuse(condition) => return Err(condition),
            // Behind older ones that are not there yet.
            _ if self.undecided.has(key) => Choice::Wait,
            _ if lane.carried > 0 => Choice::Session,
            _ if lane.pages() => Choice::Page,
            sessions::Way::Session => Choice::Session,
            sessions::Way::Page { ask: true } if is_long => Choice::Wait,
            sessions::Way::Page { ask } => {
                if ask {
                    cx.signal(Signal::Unknown { user: post.from.clone(), contact: post.target.clone() });
                }
                Choice::Page
            }
        })
    }

    /// Which row decides how a message goes.
    pub fn explain(&self, cx: &Cx<'_>, pairs: &Pairs, stanza: &Stanza) -> Option<String> {
        let (from, to) = (stanza.from()?, stanza.to()?);
        if cx.domains.link_of(from.domain()).is_some() {
            return Some("no row is asked about MESSAGEs of SIP users\n".to_owned());
        }
        if cx.domains.holds_sip_rooms(to.domain()) {
            // The room says it.
            return None;
        }
        if to.local().is_none() {
            return Some(format!("refused before any row is asked: there is nobody at {to}\n"));
        }
        let (sender, target) = match (cx.domains.user_sip(&from.bare()), cx.domains.contact_sip(to)) {
            (Ok(sender), Ok(target)) => (sender, target),
            (Err(problem), _) | (_, Err(problem)) => {
                let why = problem.text.unwrap_or_else(|| "an address is none of ours".to_owned());
                return Some(format!("refused before any row is asked: {why}\n"));
            }
        };
        let text = match table::outgoing(stanza, &cx.config.sessions) {
            Outgoing::Text(text) => text,
            Outgoing::Nothing => {
                return Some("nothing is sent: it says nothing that SIP could show\n".to_owned());
            }
            Outgoing::Refused(condition) => {
                return Some(format!("refused for its content: {}\n", condition.text.unwrap_or_default()));
            }
        };
        let mut said = String::new();
        match self.lanes.get(&(sender.aor, target.aor.clone())) {
            Some(lane) if lane.carried > 0 => {
                said.push_str("older messages are in a session: it follows them, unless a row refuses it\n");
            }
            Some(lane) if lane.pages() => {
                said.push_str("older messages wait: it follows them, unless a row refuses it\n");
            }
            _ => {}
        }
        let written = Written {
            type_: stanza.type_(),
            text: &text.text,
            thread: text.thread.as_deref(),
            call_id: text.thread.as_deref().and_then(|thread| match table::fits_call_id(thread) {
                true => Some(thread),
                false => pairs.call_id_of(from, &target.aor, thread),
            }),
            html: text.rich.is_some(),
        };
        let line = line(cx, from, &target.aor, written);
        said.push_str(&cx.config.sessions.explain("line", &line.facts()));
        Some(said)
    }

    /// Gives a message that is kept to the chat, with what it changes of others that the chat has.
    pub(super) fn carry(&mut self, cx: &mut Cx<'_>, post: Post, key: LaneKey, change: Option<Change>) {
        let number = self.number();
        let changes = change.and_then(|change| self.changes(&key, change));
        self.moves.queued(1);
        let lane = self.lanes.entry(key.clone()).or_default();
        lane.count += 1;
        lane.carried += 1;
        self.insert(cx, number, post, key);
        self.hand(cx, number, changes);
    }

    /// Gives a message to the chat that waited elsewhere, or comes back from it.
    pub(super) fn give(&mut self, cx: &mut Cx<'_>, number: u64) {
        let Some(live) = self.posts.get_mut(&number) else { return };
        if !std::mem::replace(&mut live.post.session, true)
            && let Some(lane) = self.lanes.get_mut(&live.lane)
        {
            lane.carried += 1;
        }
        live.post.carries = live.post.carries.saturating_add(1);
        live.post.enveloped |= takes_envelopes(cx, &live.post.target.aor);
        cx.save(live.post.record());
        self.hand(cx, number, None);
    }

    fn hand(&mut self, cx: &mut Cx<'_>, number: u64, changes: Option<Changes>) {
        let Some(post) = self.posts.get(&number).map(|live| &live.post) else { return };
        let carry = Carry {
            number,
            user: post.from.clone(),
            contact: post.to.clone(),
            to: post.target.clone(),
            id: post.id.clone(),
            text: post.text.as_str().into(),
            rich: post.rich.as_deref().map(Into::into),
            lang: post.lang.clone(),
            subject: post.subject.clone(),
            message_id: post.tag.clone(),
            call_id: post.call_id.clone(),
            written: post.accepted,
            receipt: post.receipt,
            marker: post.marker,
            changes,
        };
        sent(cx, post, false);
        self.flies(number, true);
        cx.signal(Signal::Carry(Arc::new(carry)));
    }

    /// What became of a message in a session.
    pub fn carried(&mut self, cx: &mut Cx<'_>, number: u64, fate: &Carried) {
        let condition = match fate {
            Carried::Delivered => {
                let Some(live) = self.settle(cx, number, "delivered") else { return };
                cx.forget(live.post.key());
                let (user, contact) = (live.post.from.bare(), live.post.target.aor);
                return cx.signal(Signal::Crossed { user, contact, to_xmpp: false });
            }
            Carried::Merged { into, text } => return self.merged(cx, number, *into, text.as_deref()),
            Carried::Withdrawn => return self.take_back(cx, number),
            Carried::NoSession(_) => {
                // An earlier session may have brought it there.
                let sent = self.posts.get(&number).is_some_and(|live| live.post.carries > 1);
                return self.return_to_pages(cx, number, sent);
            }
            Carried::Broken { how, sent } => {
                let again = sessions::broken(&cx.config.sessions, *how);
                match self.after_a_break(cx, number, again) {
                    Some(Choice::Session) => return self.give(cx, number),
                    Some(_) => return self.return_to_pages(cx, number, *sent),
                    None => broken(),
                }
            }
            Carried::Refused(condition) => condition.clone(),
        };
        let Some(live) = self.take(cx, number) else { return };
        let words = condition.text.clone().unwrap_or_default();
        meter::log(cx, Level::Warn, "message-refused", Way::XmppToSip, live.post.names(), &words);
        if matches!(fate, Carried::Broken { sent: true, .. }) {
            meter::ambiguous(cx, Way::XmppToSip, live.post.names(), "unconfirmed");
        }
        self.say(cx, live.post, condition, false);
    }

    /// A message of before the start; `waits`: it, or another of its lane, is too long for a MESSAGE.
    pub(super) fn again(&mut self, cx: &mut Cx<'_>, mut post: Post, key: LaneKey, waits: bool) {
        let was_in_session = std::mem::take(&mut post.session);
        if was_in_session {
            if sessions::broken(&cx.config.sessions, Break::Restart) == Again::Tell {
                self.moves.queued(1);
                meter::ambiguous(cx, Way::XmppToSip, post.names(), "restart");
                return self.say(cx, post, broken(), false);
            }
            cx.save(post.record());
        }
        if waits && !post.is_quiet() && !post.held {
            let is_first = !self.undecided.has(&key) && !self.undecided.has_first(&key);
            if was_in_session || !is_first || ToSip::needs_session(cx, &post, &key) {
                return self.wait(cx, post, key, true);
            }
            // Its MESSAGE may have been out. In a session nobody would know it again.
            self.undecided.goes_first(key.clone(), self.next);
        }
        self.push(cx, post, key, true);
    }

    /// Whether a message of before the start is too long for a MESSAGE on its way, by itself or with its name.
    pub(super) fn needs_session(cx: &Cx<'_>, post: &Post, lane: &LaneKey) -> bool {
        let too_long = || is_long(cx, &post.target.aor, post.text.len());
        !post.is_quiet() && (too_long() || post.is_named_at_length(cx, lane))
    }

    /// How a message goes whose session ended: in another, where it or one behind it is too long for a MESSAGE, by itself or
    /// with its name, or a row wants that for all, and the rows still say so, or those before it do; nothing where that has
    /// failed too often, or it does not go again at all.
    fn after_a_break(&self, cx: &Cx<'_>, number: u64, again: Again) -> Option<Choice> {
        if again == Again::Tell {
            return None;
        }
        let Some(live) = self.posts.get(&number).filter(|_| !self.stopping) else {
            return Some(Choice::Page);
        };
        let needs_session = |post: &Post| {
            let line = line(cx, &post.from, &post.target.aor, post.into());
            let may = again == Again::Session || post.is_named_at_length(cx, &live.lane);
            let wants = line.long || may && post.carries < CARRIES;
            wants && line.way(&cx.config.sessions) == sessions::Way::Session
        };
        if live.post.carries >= CARRIES {
            return (!needs_session(&live.post)).then_some(Choice::Page);
        }
        let with_chat = |other: &Live| other.post.session && other.lane == live.lane;
        let follows = self.posts.range(..number).any(|(_, other)| with_chat(other));
        let leads = || {
            let mut behind = self.posts.range(number..).map(|(_, other)| other);
            behind.any(|other| with_chat(other) && other.post.carries < CARRIES && needs_session(&other.post))
        };
        Some(if follows || leads() { Choice::Session } else { Choice::Page })
    }

    /// A session does not have it, or perhaps not: it goes as a MESSAGE, under the same name.
    fn return_to_pages(&mut self, cx: &mut Cx<'_>, number: u64, sent: bool) {
        self.flies(number, false);
        let Some(live) = self.posts.get_mut(&number) else { return };
        if !std::mem::take(&mut live.post.session) {
            return;
        }
        // It may be there already.
        live.post.enveloped = sent && takes_envelopes(cx, &live.post.target.aor);
        if let Some(lane) = self.lanes.get_mut(&live.lane) {
            lane.carried -= 1;
            if lane.held > 0 {
                // One that came back before it is kept.
                live.post.held = true;
                lane.held += 1;
            }
        }
        cx.save(live.post.record());
        let page = live.post.page(cx, &live.lane, sent);
        self.pages.push(number, page);
        self.drive(cx);
    }

    /// Something that is no message goes as a MESSAGE: kept until it is answered, or at once and never again.
    pub fn whisper(&mut self, cx: &mut Cx<'_>, whisper: &Whisper) {
        let contact = &whisper.to.aor;
        let in_session = whisper.type_ == iscomposing::TYPE
            && cx.facts.session(&whisper.user.bare(), contact) == Stage::Open;
        let Ok(sender) = cx.domains.user_sip(&whisper.user.bare()) else { return };
        let key: LaneKey = Arc::new((sender.aor, contact.clone()));
        if in_session {
            return;
        }
        if !whisper.keep && self.is_busy(&key) {
            self.hushed.insert(key, (cx.now.tick, Arc::new(whisper.clone())));
            return;
        }
        let Some(post) = self.notice_of(cx, whisper) else { return };
        if whisper.keep {
            cx.save(post.record().of_life(Life::First));
            self.push(cx, post, key, false);
        } else {
            let number = self.number();
            // One attempt: a later one would say what is no longer so.
            let page = Page { until: cx.now.tick, ..post.page(cx, &key, false) };
            self.whispers.insert(number, key);
            self.pages.push(number, page);
        }
        self.drive(cx);
    }

    /// Something of a lane met its fate: what was whispered meanwhile can be said, by whichever way is now the right one.
    pub(super) fn say_hushed(&mut self, cx: &mut Cx<'_>, lane: &LaneKey) {
        if self.hushed.is_empty() || self.is_busy(lane) {
            return;
        }
        if let Some((since, whisper)) = self.hushed.remove(lane)
            && cx.now.tick <= since + HUSHED
        {
            cx.signal(Signal::Whisper(whisper));
        }
    }

    /// Whether anything of a lane is on its way or waits.
    fn is_busy(&self, lane: &LaneKey) -> bool {
        self.lanes.contains_key(lane) || self.pages.has(lane)
    }

    /// What was whispered did not arrive. Where it is not understood, it is not said again for a day.
    pub(super) fn not_understood(&mut self, cx: &mut Cx<'_>, page: &Page, fault: &Fault) {
        if refuses_content(fault) {
            cx.facts.devices.refuses(cx.now.tick, &page.to.aor, Ability::Composing);
        }
    }

    fn notice_of(&mut self, cx: &mut Cx<'_>, whisper: &Whisper) -> Option<Post> {
        let to = cx.domains.contact_jid(&whisper.to.aor.address()).ok()?;
        if self.is_full() {
            cx.count("notices_dropped_total", &[("type", kind_of(whisper.type_))]);
            return None;
        }
        let (user, call_id) = (whisper.user.clone(), cx.token_for(&whisper.user));
        let (text, order) = (whisper.body.to_string(), self.places.next());
        Some(Post {
            notice: Some(whisper.type_.to_owned()),
            ..Post::new(cx, user, to, &whisper.to, call_id, text, order)
        })
    }
}

/// What rows may ask about a message itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written<'a> {
    type_: Option<&'a str>,
    text: &'a str,
    thread: Option<&'a str>,
    /// The Call-ID that stands for its thread, where there is one.
    call_id: Option<&'a str>,
    html: bool,
}

impl<'a> From<&'a Post> for Written<'a> {
    fn from(post: &'a Post) -> Written<'a> {
        Written {
            type_: post.type_.as_deref(),
            text: &post.text,
            thread: post.thread.as_deref(),
            call_id: Some(&post.call_id),
            html: post.rich.is_some(),
        }
    }
}

/// Whether a body of so many bytes is too long for a MESSAGE on the way to this contact.
pub(super) fn is_long(cx: &Cx<'_>, contact: &Aor, length: usize) -> bool {
    let peer = cx.config.sip.peer_for(&contact.host).and_then(|peer| cx.config.sip.peers.get(peer));
    length + HEADERS > PAGE && !peer.is_some_and(|peer| peer.long_messages)
}

/// What is known when a message goes to a contact.
pub(super) fn line<'a>(cx: &'a Cx<'_>, from: &Jid, contact: &'a Aor, written: Written<'a>) -> Line<'a> {
    let peer = cx.config.sip.peer_for(&contact.host).and_then(|peer| cx.config.sip.peers.get(peer));
    let (user, now) = (from.bare(), cx.now.tick);
    let talking = cx.facts.talking(&user, contact);
    let is_its = |call_id: &str| talking.is_some_and(|talking| *talking.call_id == *call_id);
    Line {
        type_: written.type_,
        session: talking.map(|talking| talking.stage).unwrap_or_default(),
        quiet: talking
            .filter(|talking| talking.stage == Stage::Open)
            .map(|talking| Duration::from_micros(now.0.saturating_sub(talking.last.0))),
        thread: match written.thread {
            None => Thread::None,
            Some(_) if written.call_id.is_some_and(is_its) => Thread::Same,
            Some(_) => Thread::Other,
        },
        mood: cx.facts.mood(&user, contact),
        msrp: cx.facts.devices.msrp(now, contact).0,
        shown: cx.facts.devices.shown(now, contact),
        route: Route {
            agent: cx.facts.devices.agent(contact),
            via: peer.map_or("", |peer| &peer.uri),
            domain: &contact.host,
        },
        peer: peer.map_or(PeerMsrp::No, |peer| peer.msrp),
        long: is_long(cx, contact, written.text.len()),
        html: written.html,
    }
}

fn kind_of(type_: &str) -> &'static str {
    if type_ == imdn::TYPE { "report" } else { "typing" }
}

fn broken() -> Condition {
    let text =
        "The connection to the other side broke before it confirmed this message; it may have arrived.";
    Condition::new(Kind::RemoteServerTimeout, text)
}
