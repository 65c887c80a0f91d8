//! An XMPP user adds a SIP contact and sees it come and go (RFC 8048 §5.2, §6 and §7.1; RFC 6665 as subscriber).
//!
//! For each pair of user and contact at most one subscription lives. A permission is long-lived and kept on disk; a
//! subscription lives while somebody is there to see it, or it waits for the contact's consent: [`asking`] holds the SIP
//! side, [`telling`] what the user is told, [`table`] the pure decisions; [`outage`] is for lost links and the stop,
//! [`returning`] for peers that were away. The user's own presence is read here and left to the feature that watches for
//! SIP users. What a contact without presence gets, and which refusals are believed, are rows of
//! `mappings/subscribe.yaml`; what differs from RFC 8048 is in `docs/decisions/contacts-without-presence.md`.

mod asking;
mod outage;
mod pair;
mod returning;
pub mod table;
mod telling;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use self::asking::{Ask, Owner};
use self::pair::{Check, KIND, KeptPair, Pair};
use self::returning::Return;
use crate::features::audit::view::View;
use crate::features::{Cx, Feature, Incoming, Manifest, Op, Signal};
use crate::features::{availability, errors};
use crate::gateway::io::{LinkId, StoreChange};
use crate::sip::message::{Answer, Method};
use crate::sip::uri::Aor;
use crate::sip::usage::package::PRESENCE;
use crate::sip::usage::subscription::Subscription;
use crate::store::record::Restored;
use crate::words::condition::{Condition, Kind};
use crate::words::note::Level;
use crate::words::time::Tick;
use crate::words::timers::Timers;
use crate::xmpp::jid::Jid;
use crate::xmpp::stanza::{Stanza, StanzaKind};

static MANIFEST: Manifest = Manifest {
    name: "contact",
    follows: &["RFC 8048 §5.2", "RFC 8048 §6.2", "RFC 8048 §7.1", "RFC 6665 §4.1", "RFC 3856 §6", "RFC 3863"],
    summary: "XMPP users add SIP contacts and see them come and go",
    methods: &["NOTIFY"],
    events: &[],
    disco: &[],
    records: &[KIND],
};

/// The most contacts of one user.
const CONTACTS: usize = 5_000;
/// The most looks that are under way for users who have not subscribed here.
const FETCHES: usize = 10_000;
/// How many contacts of all users one gateway keeps.
const PAIRS: usize = 2_000_000;
/// The user may come online as often as she likes: a contact is not asked again sooner than this because of it.
const ONLINE_PAUSE: Duration = Duration::from_secs(5);
/// The same for messages that cross.
const CROSSED_PAUSE: Duration = Duration::from_secs(300);

/// Why the feature wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// To ask this contact (again).
    Again(u64),
    /// This subscription has something to do: Timer N, a refresh, its expiry.
    Ask(u64),
    /// Nobody answered whether this pair's user is there.
    Check(u64),
    /// To tell the next users of this link what they may have missed.
    Tell(LinkId),
    /// To ask the next contacts of this peer, which was away.
    Return(usize),
    /// To take the next contacts offline: the process stops.
    Goodbye,
}

/// What is known of an XMPP user who has contacts.
#[derive(Debug, Default)]
struct User {
    pairs: BTreeMap<Aor, u64>,
    /// Where her last probe, or any stanza, came from.
    last: Option<Jid>,
    /// She was online, and her last resource went away.
    gone: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Contacts {
    pairs: BTreeMap<u64, Pair>,
    users: BTreeMap<Jid, User>,
    asks: BTreeMap<u64, Ask>,
    by_call: HashMap<Box<str>, u64>,
    fetches: BTreeMap<(Jid, Aor), u64>,
    pings: BTreeMap<String, u64>,
    timers: Timers<Timer>,
    dirty: BTreeSet<u64>,
    last_id: u64,
    /// The last pair that was told when this link came up.
    telling: BTreeMap<LinkId, u64>,
    /// The first pair that came back since the last start.
    restored: Option<u64>,
    /// Peers that answer again, each with what has been done about it.
    returning: BTreeMap<usize, Return>,
    /// Since when answers do not leave: the store is down.
    mute: Option<Tick>,
    /// The process stops: the last pair that was taken offline.
    goodbye: Option<u64>,
    said_goodbye: bool,
}

impl Feature for Contacts {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    fn stanza(&mut self, cx: &mut Cx<'_>, _link: LinkId, stanza: &Stanza) -> bool {
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else { return false };
        if stanza.kind == StanzaKind::Iq
            && let Some(pair) = stanza.id().filter(|_| answers(stanza)).and_then(|id| self.pings.remove(id))
        {
            self.pong(cx, pair, stanza);
            self.flush(cx);
            return true;
        }
        if !from.is_bare()
            && !answers(stanza)
            && let Some(user) = self.users.get_mut(&from.bare())
        {
            user.last = Some(from.clone());
        }
        if stanza.kind != StanzaKind::Presence || from.local().is_none() || to.local().is_none() {
            return false;
        }
        let taken = self.presence(cx, stanza, from, to);
        self.flush(cx);
        taken
    }

    fn request(&mut self, cx: &mut Cx<'_>, incoming: &Incoming) -> bool {
        if incoming.request.method != Method::Notify {
            return false;
        }
        let ask = self.by_call.get(incoming.call_id.as_str()).copied();
        let Some(id) = ask.filter(|id| {
            let tag = incoming.to_tag.as_deref().unwrap_or_default();
            self.asks.get(id).is_some_and(|ask| ask.machine.has_tag(tag))
        }) else {
            return false;
        };
        let reply = self.notify(cx, id, incoming);
        // First what the answer promises is saved, then it is answered, then come stanzas and requests.
        cx.ops.push_front(Op::Reply(incoming.key, reply));
        self.flush(cx);
        true
    }

    fn answer(&mut self, cx: &mut Cx<'_>, token: u64, answer: &Answer) {
        self.answered(cx, token, answer);
        self.flush(cx);
    }

    fn next_timeout(&self) -> Option<(Tick, &'static str)> {
        let (at, timer) = self.timers.next()?;
        let why = match timer {
            Timer::Again(_) => "contact-again",
            Timer::Ask(_) => "contact-subscription",
            Timer::Check(_) => "contact-check",
            Timer::Tell(_) => "contact-tell",
            Timer::Return(_) => "contact-return",
            Timer::Goodbye => "contact-goodbye",
        };
        Some((at, why))
    }

    fn timeout(&mut self, cx: &mut Cx<'_>) {
        while let Some(timer) = self.timers.pop(cx.now.tick) {
            match timer {
                Timer::Again(pair) => self.again(cx, pair),
                Timer::Ask(id) => self.ask_timeout(cx, id),
                Timer::Check(pair) => self.check_failed(pair),
                Timer::Tell(link) => self.tell_link(cx, link),
                Timer::Return(peer) => self.ask_returned(cx, peer),
                Timer::Goodbye => {
                    self.take_offline(cx);
                    break;
                }
            }
        }
        self.flush(cx);
    }

    fn link_up(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        self.telling.insert(link, 0);
        self.tell_link(cx, link);
        self.flush(cx);
    }

    fn link_down(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        self.lose_link(cx, link);
        self.flush(cx);
    }

    fn peer_back(&mut self, cx: &mut Cx<'_>, peer: usize) {
        self.begin_return(cx, peer);
        self.flush(cx);
    }

    fn store(&mut self, cx: &mut Cx<'_>, change: StoreChange) {
        self.store_changes(cx, change);
        self.flush(cx);
    }

    fn restored(&mut self, cx: &mut Cx<'_>, record: &Restored) {
        let kept: KeptPair = match record.read() {
            Ok(kept) => kept,
            Err(error) => return cx.unreadable(record, error),
        };
        let jid = match cx.domains.contact_jid(&kept.contact.address()) {
            Ok(jid) => jid,
            Err(problem) => return cx.unused(record, problem.text.unwrap_or_default()),
        };
        let (pair, spelled, dialog) = Pair::restore(kept, jid, cx.now);
        if let Some(spelled) = spelled {
            cx.facts.set_spelling(&pair.contact, &spelled);
        }
        let id = self.add(pair);
        self.restored.get_or_insert(id);
        if let Some(machine) = dialog.and_then(|kept| Subscription::restore(cx.now, kept, &PRESENCE)) {
            self.keep_ask(cx, Owner::Pair(id), machine);
        }
    }

    fn view(&self, record: &Restored) -> Result<View, String> {
        pair::view(record)
    }

    fn start(&mut self, cx: &mut Cx<'_>) {
        self.tell_restored(cx);
    }

    fn signal(&mut self, cx: &mut Cx<'_>, signal: &Signal) {
        if let Signal::Crossed { user, contact, .. } = signal
            && let Some(id) = self.find(user, contact)
            && self.rested(cx, id, CROSSED_PAUSE)
        {
            self.ask(cx, id);
            self.flush(cx);
        }
        // That somebody watches no more is told as his absence (RFC 8048 §5.3.3), which clients take for all his devices:
        // what is shown of him as her contact stays as it was (the note there).
        if let Signal::Parted { user, contact } = signal
            && let Some(pair) = self.find(user, contact).and_then(|id| self.pairs.get(&id))
            && pair.accepted
            && pair.is_open()
        {
            pair.tell_all(cx, &pair.user);
        }
    }

    fn stop(&mut self, cx: &mut Cx<'_>) -> bool {
        if self.goodbye.is_none() {
            self.goodbye = Some(0);
            self.take_offline(cx);
        }
        self.said_goodbye
    }

    fn load(&self) -> usize {
        self.asks.len() + self.pings.len() + self.timers.len() + self.dirty.len()
    }
}

/// What the user asks for, and what she tells of herself.
impl Contacts {
    fn presence(&mut self, cx: &mut Cx<'_>, stanza: &Stanza, from: &Jid, to: &Jid) -> bool {
        let type_ = stanza.type_();
        let is_ours = matches!(type_, Some("subscribe" | "unsubscribe" | "probe"));
        let contact = match cx.domains.contact_sip(to) {
            Ok(contact) => contact.aor,
            Err(problem) => {
                if matches!(type_, Some("subscribe" | "probe")) {
                    refuse(cx, stanza, &problem);
                }
                return is_ours;
            }
        };
        let user = from.bare();
        let pair = self.find(&user, &contact);
        match type_ {
            Some("subscribe") => {
                cx.signal(Signal::Added { user: user.clone(), contact: contact.clone() });
                self.subscribe(cx, stanza, &user, &contact, to);
            }
            Some("unsubscribe") => self.unsubscribe(cx, &user, &contact, to),
            Some("probe") => match pair.filter(|id| !self.forget_refused(cx, *id)) {
                Some(pair) => self.probe(cx, pair, from),
                None => self.fetch(cx, stanza, from, &contact),
            },
            None => {
                cx.facts.set_online(from, priority(stanza));
                self.available(cx, &user, pair);
            }
            Some("unavailable") => {
                cx.facts.set_offline(from);
                self.unavailable(cx, &user, pair);
            }
            Some(word @ ("subscribed" | "unsubscribed")) => {
                if let Some(id) = pair
                    && let Some(pair) = self.pairs.get_mut(&id)
                {
                    pair.shares = word == "subscribed";
                    self.dirty.insert(id);
                    if !pair.shares && pair.check == Check::Probing {
                        // Her server does not let the contact ask: her client is asked instead.
                        self.unauthorised(cx, id);
                    }
                }
            }
            Some("error") => {
                if let Some(id) = pair {
                    self.undeliverable(cx, id, stanza, from);
                }
            }
            Some(_) => {}
        }
        is_ours
    }

    /// A server could not deliver what the user was told. Where it says that there is no such account, nobody may see
    /// more, least of all a new account of that name; a user who is there after all asks through her server's probe.
    /// Other errors may pass: they only say that a probe was in vain.
    fn undeliverable(&mut self, cx: &mut Cx<'_>, id: u64, stanza: &Stanza, from: &Jid) {
        let kind = stanza.stanza_error().map(|error| error.kind);
        if from.is_bare() && matches!(kind, Some(Kind::Gone | Kind::ItemNotFound)) {
            if let Some(mut pair) = self.remove(cx, id) {
                let fields = vec![("user", pair.user.to_string()), ("contact", pair.contact.to_string())];
                cx.log(Level::Info, "contact-user-gone", fields);
                if let Some(ask) = pair.ask.take() {
                    self.abandon(cx, ask, &pair);
                }
            }
        } else if self.pairs.get(&id).is_some_and(|pair| pair.check == Check::Probing) {
            self.check_failed(id);
        }
    }

    fn subscribe(&mut self, cx: &mut Cx<'_>, stanza: &Stanza, user: &Jid, contact: &Aor, to: &Jid) {
        let known = self.find(user, contact).filter(|id| !self.forget_refused(cx, *id));
        if let Some(id) = known {
            if let Some(pair) = self.pairs.get_mut(&id).filter(|pair| pair.accepted) {
                // RFC 6121 §3.1.3: who is already allowed is told so again, with all that is known.
                pair.say_subscribed(cx);
                pair.tell_all(cx, user);
            }
            return self.ask(cx, id);
        }
        let full = self.has_enough(user);
        if self.pairs.len() >= PAIRS {
            cx.count("subscribes_refused_total", &[("reason", "no-room")]);
            let text = "so many people watch contacts here that there is no room for more";
            return refuse(cx, stanza, &Condition::new(Kind::ResourceConstraint, text));
        }
        if full || !cx.accepting {
            let text = if full { "you have too many contacts here" } else { "try again in a few minutes" };
            return refuse(cx, stanza, &Condition::new(Kind::ResourceConstraint, text));
        }
        let id = self.add(Pair::new(user.clone(), contact.clone(), to.bare()));
        self.dirty.insert(id);
        self.ask(cx, id);
    }

    /// Forgets a pair if the contact has refused it: whoever asks again begins anew.
    fn forget_refused(&mut self, cx: &mut Cx<'_>, id: u64) -> bool {
        self.pairs.get(&id).is_some_and(|pair| pair.refused) && self.remove(cx, id).is_some()
    }

    /// RFC 8048 §5.2.3: the subscription is ended; then, or at once where there is none, the user is told.
    fn unsubscribe(&mut self, cx: &mut Cx<'_>, user: &Jid, contact: &Aor, to: &Jid) {
        let Some(mut pair) = self.find(user, contact).and_then(|id| self.remove(cx, id)) else {
            return unsubscribed(cx, &to.bare(), user);
        };
        pair.vanish(cx);
        match pair.ask.take() {
            Some(ask) => self.say_farewell(cx, ask, &pair),
            None => unsubscribed(cx, &pair.jid, user),
        }
    }

    /// RFC 8048 §7.1: answered from what we know, and what we do not know is asked for. Servers probe for users who are
    /// online (RFC 6121 §4.3.1), whom we may have seen go: one who shares her presence no more is not seen to come back.
    fn probe(&mut self, cx: &mut Cx<'_>, id: u64, from: &Jid) {
        let Some(pair) = self.pairs.get(&id) else { return };
        if let Some(user) = self.users.get_mut(&pair.user) {
            user.gone = false;
        }
        if pair.accepted && (pair.known || pair.ask.is_none()) {
            pair.tell_all(cx, from);
        }
        self.came(cx, id);
    }

    fn available(&mut self, cx: &mut Cx<'_>, user: &Jid, pair: Option<u64>) {
        if let Some(user) = self.users.get_mut(user) {
            user.gone = false;
        }
        let Some(id) = pair else { return };
        let Some(pair) = self.pairs.get_mut(&id) else { return };
        let was_present = std::mem::replace(&mut pair.present, true);
        if pair.check != Check::None || !was_present {
            self.came(cx, id);
        }
    }

    fn unavailable(&mut self, cx: &mut Cx<'_>, user: &Jid, pair: Option<u64>) {
        let Some(id) = pair.filter(|_| !cx.facts.is_anyone_online(user)) else { return };
        let Some(pair) = self.pairs.get_mut(&id) else { return };
        let was_probed = pair.check == Check::Probing;
        // Of who was not seen since the link came up, other resources may be online.
        if std::mem::replace(&mut pair.present, false) || was_probed {
            self.users.entry(user.clone()).or_default().gone = true;
        }
        if was_probed {
            self.check_failed(id);
        }
    }

    /// The user is there: the contact is asked, or a subscription that was left to expire is refreshed.
    fn came(&mut self, cx: &mut Cx<'_>, id: u64) {
        let Some(pair) = self.pairs.get(&id) else { return };
        if pair.lapsing || pair.check != Check::None {
            return self.refresh(cx, id);
        }
        if self.rested(cx, id, ONLINE_PAUSE) {
            self.ask(cx, id);
        }
    }
}

/// The books.
impl Contacts {
    fn find(&self, user: &Jid, contact: &Aor) -> Option<u64> {
        self.users.get(user)?.pairs.get(contact).copied()
    }

    /// Whether a user has as many contacts as one may have.
    fn has_enough(&self, user: &Jid) -> bool {
        self.users.get(user).is_some_and(|known| known.pairs.len() >= CONTACTS)
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn add(&mut self, pair: Pair) -> u64 {
        let id = self.next_id();
        self.users.entry(pair.user.clone()).or_default().pairs.insert(pair.contact.clone(), id);
        self.pairs.insert(id, pair);
        id
    }

    /// Forgets a pair, its record and its timers; its subscription stays, for the caller to end.
    fn remove(&mut self, cx: &mut Cx<'_>, id: u64) -> Option<Pair> {
        let pair = self.pairs.remove(&id)?;
        if let Some(user) = self.users.get_mut(&pair.user) {
            user.pairs.remove(&pair.contact);
            if user.pairs.is_empty() {
                self.users.remove(&pair.user);
            }
        }
        if let Check::Pinging(ping) = &pair.check {
            self.pings.remove(ping);
        }
        self.timers.stop(&Timer::Again(id));
        self.timers.stop(&Timer::Check(id));
        self.dirty.remove(&id);
        cx.forget(pair.key());
        Some(pair)
    }

    /// Saves what has changed: once for each pair and step.
    fn flush(&mut self, cx: &mut Cx<'_>) {
        while let Some(id) = self.dirty.pop_first() {
            let Some(pair) = self.pairs.get(&id) else { continue };
            let spelled = cx.facts.spelled(&pair.contact);
            let dialog = pair.ask.and_then(|ask| self.asks.get_mut(&ask)).and_then(|ask| {
                ask.kept = ask.machine.expires_at();
                ask.machine.keep(cx.now)
            });
            let record = pair.record(cx.now, spelled, dialog);
            // Before everything else that this call asks for: an answer must not leave before what it promises.
            cx.ops.push_front(Op::Save(record));
        }
    }
}

/// Whether the stanza answers one of ours.
fn answers(stanza: &Stanza) -> bool {
    matches!(stanza.type_(), Some("result" | "error"))
}

fn priority(stanza: &Stanza) -> i8 {
    availability::of_presence(stanza).priority
}

fn unsubscribed(cx: &mut Cx<'_>, contact: &Jid, user: &Jid) {
    cx.stanza(Stanza::new(StanzaKind::Presence, contact, user).with_type("unsubscribed"));
}

/// Answers a presence stanza of the user with a failure.
fn refuse(cx: &mut Cx<'_>, stanza: &Stanza, problem: &Condition) {
    if let Some(error) = errors::stanza_error(stanza, problem) {
        cx.ops.push_back(Op::Refuse(error));
    }
}
