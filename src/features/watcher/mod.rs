//! A SIP user watches an XMPP user: RFC 8048 §5.3, §6.2 and §7.2, over [`notifier`](crate::sip::usage::notifier).
//!
//! Two lives meet here. A *presence authorization* is permanent: what an XMPP user has said about one SIP watcher is
//! kept on disk ([`table::Consent`]), and no refresh, reboot or end of a dialog asks her again or takes it back. A
//! *notification dialog* is short: it is kept on disk too, so that a restart goes on in it.
//!
//! `subscribe.rs` answers SUBSCRIBE, `stanzas.rs` reads presence, `outage.rs` is for lost links, starts and stops.
//! `table.rs` decides what consent becomes, `pair.rs` holds what one watcher has seen.
//!
//! Deliberately not here: partial documents (RFC 5263), watcher information (RFC 3857), and ever sending
//! `unsubscribe`: SIP has no word for it.

mod outage;
mod pair;
mod stanzas;
mod subscribe;
pub mod table;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::pair::{Pair, Seen};
use self::table::Consent;
use super::{Cx, Feature, Incoming, Manifest, Signal};
use crate::features::audit::view::View;
use crate::gateway::LinkId;
use crate::sip::message::Answer;
use crate::sip::uri::Aor;
use crate::sip::usage::notifier::{Body, Kept, Notifier, Reason, Verdict};
use crate::store::record::{Key, Record, Restored};
use crate::words::id::Partition;
use crate::words::note::Level;
use crate::words::time::Tick;
use crate::words::timers::Timers;
use crate::xmpp::jid::Jid;
use crate::xmpp::stanza::{Stanza, StanzaKind};

static MANIFEST: Manifest = Manifest {
    name: "watcher",
    follows: &[
        "RFC 8048 §5.3",
        "RFC 8048 §6.2",
        "RFC 8048 §7.2",
        "RFC 6665 §4.2",
        "RFC 3856",
        "RFC 6446 §5.2",
        "XEP-0172",
    ],
    summary: "SIP users watch the presence of XMPP users",
    methods: &["SUBSCRIBE"],
    events: &["presence"],
    disco: &[],
    records: &[CONSENT, DIALOG],
};

/// The kind of the records of consent.
const CONSENT: &str = "watch";
/// The kind of the records of dialogs.
const DIALOG: &str = "watch-dialog";

/// How long a probe is waited for of which nothing comes back: the state is unknown then, and a fetch must be
/// answered within two seconds.
const SILENCE: Duration = Duration::from_millis(1500);

/// How long after an answer to a probe further devices are waited for, so that one document has them all.
const COLLECT: Duration = Duration::from_millis(150);

/// Names a pair in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PairId(u64);

/// Names a subscription in memory, and its NOTIFY among the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SubId(u64);

/// Why an alarm is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A link has been down for so long that what watchers see may be a lie.
    Dark(LinkId),
    /// More watchers are to be told that nobody is there.
    Close,
    /// More users are to be asked or probed after the link came back.
    Resume,
    /// A question cannot be lost with its link any more.
    Asked(PairId),
    /// A probe has been waited for long enough.
    Settle(PairId),
    /// A subscription has a NOTIFY to send, or expires.
    Subscription(SubId),
}

/// One notification dialog.
#[derive(Debug)]
struct Sub {
    pair: PairId,
    notifier: Notifier,
    /// It ends with its first NOTIFY, and is not kept.
    fetch: bool,
    /// The NOTIFY that must follow waits for a probe.
    held: bool,
    told: Told,
    /// The way to the watcher does not take long documents.
    short: bool,
}

/// What a watcher believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// He has seen no document yet.
    Nothing,
    /// The state of his last NOTIFY. An empty one would leave it standing.
    State,
    /// That nobody is there, since we could not see.
    Dark,
    /// What he was told before a restart.
    Something,
}

/// A link that is down.
#[derive(Clone, Copy, Debug)]
struct Down {
    since: Tick,
    /// The watchers have been told.
    dark: bool,
}

/// The feature. See the module.
#[derive(Debug, Default)]
pub struct Watcher {
    pairs: BTreeMap<PairId, Pair>,
    /// The pairs of each user.
    names: BTreeMap<Jid, BTreeMap<Aor, PairId>>,
    /// The pairs of each watcher in which she has been asked and has not answered.
    asking: BTreeMap<Aor, BTreeSet<PairId>>,
    subs: BTreeMap<SubId, Sub>,
    /// Dialogs by our tag.
    tags: BTreeMap<Box<str>, SubId>,
    timers: Timers<Timer>,
    /// The number of the next pair or subscription.
    next: u64,
    down: BTreeMap<LinkId, Down>,
    closing: VecDeque<SubId>,
    resuming: VecDeque<PairId>,
    /// What came back since the last start: pairs, of which some may be named twice, and their subscriptions.
    restored_pairs: Vec<PairId>,
    restored_subs: Vec<SubId>,
    /// How many NOTIFYs await their answers.
    in_flight: usize,
    /// When the process began to stop.
    stopping: Option<Tick>,
}

/// A dialog on disk.
#[derive(Serialize, Deserialize)]
struct KeptDialog {
    user: Jid,
    contact: Aor,
    subscription: Kept,
}

/// Consent on disk.
#[derive(Serialize, Deserialize)]
struct KeptConsent {
    user: Jid,
    contact: Aor,
    consent: Consent,
    /// The question may not have arrived, should the process have died.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    in_doubt: bool,
}

impl Feature for Watcher {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    fn stanza(&mut self, cx: &mut Cx<'_>, _link: LinkId, stanza: &Stanza) -> bool {
        stanza.kind == StanzaKind::Presence && self.presence(cx, stanza)
    }

    fn request(&mut self, cx: &mut Cx<'_>, incoming: &Incoming) -> bool {
        self.subscribe(cx, incoming)
    }

    fn answer(&mut self, cx: &mut Cx<'_>, token: u64, answer: &Answer) {
        let id = SubId(token);
        let Some(sub) = self.subs.get_mut(&id) else { return };
        let before = sub.notifier.is_in_flight();
        let verdict = sub.notifier.answered(answer, cx.now);
        self.in_flight -= usize::from(before && !sub.notifier.is_in_flight());
        match verdict {
            Verdict::Keep => self.tend(cx, id),
            Verdict::Shorten => {
                if !std::mem::replace(&mut sub.short, true) {
                    sub.notifier.want_now(cx.now);
                }
                self.tend(cx, id);
            }
            Verdict::Gone => {
                cx.count("subscriptions_lost_total", &[("direction", "sip_to_xmpp")]);
                self.drop_sub(cx, id);
            }
        }
    }

    fn next_timeout(&self) -> Option<(Tick, &'static str)> {
        let (at, timer) = self.timers.next()?;
        let why = match timer {
            Timer::Dark(_) => "watcher-dark",
            Timer::Close => "watcher-close",
            Timer::Resume => "watcher-resume",
            Timer::Asked(_) => "watcher-asked",
            Timer::Settle(_) => "watcher-settle",
            Timer::Subscription(_) => "watcher-subscription",
        };
        Some((at, why))
    }

    fn timeout(&mut self, cx: &mut Cx<'_>) {
        while let Some(timer) = self.timers.pop(cx.now.tick) {
            match timer {
                Timer::Dark(link) => self.darken(cx, link),
                Timer::Close => self.close_some(cx),
                Timer::Resume => self.resume_some(cx),
                Timer::Asked(pair) => self.has_arrived(cx, pair),
                Timer::Settle(pair) => self.settle(cx, pair),
                Timer::Subscription(sub) => self.tend(cx, sub),
            }
        }
    }

    fn link_up(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        self.link_is_up(cx, link);
    }

    fn link_down(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        self.link_is_down(cx, link);
    }

    fn restored(&mut self, cx: &mut Cx<'_>, record: &Restored) {
        self.restore(cx, record);
    }

    fn view(&self, record: &Restored) -> Result<View, String> {
        outage::view(record)
    }

    fn start(&mut self, cx: &mut Cx<'_>) {
        self.begin(cx);
    }

    fn signal(&mut self, cx: &mut Cx<'_>, signal: &Signal) {
        if let Signal::Added { user, contact } = signal {
            self.pardon(cx, user, contact);
        }
    }

    fn stop(&mut self, cx: &mut Cx<'_>) -> bool {
        self.say_goodbye(cx)
    }

    fn load(&self) -> usize {
        self.subs.len() + self.timers.len() + self.closing.len() + self.resuming.len()
    }
}

impl Watcher {
    /// The pair of a user and a watcher, made if need be. Nothing if no component speaks for the watcher.
    fn pair(&mut self, cx: &Cx<'_>, user: Jid, contact: Aor) -> Option<PairId> {
        if let Some(id) = self.find(&user, &contact) {
            return Some(id);
        }
        let link = cx.domains.link_of_contact(&contact)?;
        let id = PairId(self.next);
        self.next += 1;
        self.names.entry(user.clone()).or_default().insert(contact.clone(), id);
        let pair = Pair {
            user,
            contact,
            link,
            consent: Consent::Unasked,
            asked: None,
            subs: Vec::new(),
            seen: Seen::default(),
        };
        self.pairs.insert(id, pair);
        Some(id)
    }

    fn find(&self, user: &Jid, contact: &Aor) -> Option<PairId> {
        self.names.get(user)?.get(contact).copied()
    }

    /// Remembers a subscription of a pair, for the caller to count.
    fn add_sub(&mut self, sub: Sub) -> SubId {
        let id = SubId(self.next);
        self.next += 1;
        if let Some(pair) = self.pairs.get_mut(&sub.pair) {
            pair.subs.push(id);
        }
        self.tags.insert(sub.notifier.tag().into(), id);
        self.subs.insert(id, sub);
        id
    }

    /// Forgets a subscription, on disk too; and its pair, if nothing was ever said about it.
    fn drop_sub(&mut self, cx: &mut Cx<'_>, id: SubId) {
        let Some(sub) = self.subs.remove(&id) else { return };
        self.in_flight -= usize::from(sub.notifier.is_in_flight());
        self.tags.remove(sub.notifier.tag());
        self.timers.stop(&Timer::Subscription(id));
        count_subs(cx, -1);
        let Some(pair) = self.pairs.get_mut(&sub.pair) else { return };
        pair.subs.retain(|other| *other != id);
        if !sub.fetch {
            let partition = Partition::of(pair.user.as_str());
            cx.forget(Key { kind: DIALOG, partition, id: sub.notifier.tag().to_owned() });
        }
        self.drop_if_void(sub.pair);
    }

    /// Forgets a pair about which nothing is to be known.
    fn drop_if_void(&mut self, id: PairId) {
        let void = |pair: &Pair| pair.subs.is_empty() && pair.consent == Consent::Unasked;
        if self.pairs.get(&id).is_some_and(void) {
            self.timers.stop(&Timer::Settle(id));
            if let Some(pair) = self.pairs.remove(&id)
                && let Some(contacts) = self.names.get_mut(&pair.user)
            {
                contacts.remove(&pair.contact);
                if contacts.is_empty() {
                    self.names.remove(&pair.user);
                }
            }
        }
    }

    /// Sends the NOTIFY that is due, if one is, and arms the alarm for the next.
    fn tend(&mut self, cx: &mut Cx<'_>, id: SubId) {
        let Some(sub) = self.subs.get_mut(&id) else { return };
        if sub.notifier.is_due(cx.now) {
            self.notify(cx, id);
        }
        let Some(sub) = self.subs.get(&id) else { return };
        let at = sub.notifier.next();
        self.timers.arm(Timer::Subscription(id), at);
    }

    /// Sends a NOTIFY with the newest state, whatever is outstanding.
    fn notify(&mut self, cx: &mut Cx<'_>, id: SubId) {
        let Some(sub) = self.subs.get(&id) else { return };
        let Some(pair) = self.pairs.get(&sub.pair) else { return };
        let body = self.body(cx, sub, pair);
        let told = match body {
            None => sub.told,
            Some(_) if pair.seen.known && self.is_lit(cx, pair) => Told::State,
            Some(_) => Told::Dark,
        };
        let contact = our_contact(cx, pair);
        let Some(sub) = self.subs.get_mut(&id) else { return };
        sub.held = false;
        let is_first = std::mem::replace(&mut sub.told, told) == Told::Something;
        self.in_flight += usize::from(!sub.notifier.is_in_flight());
        let request = sub.notifier.notify(contact, body, cx.now);
        let ended = sub.notifier.has_ended();
        cx.request(id.0, request);
        if ended {
            self.drop_sub(cx, id);
        } else if is_first {
            // A process that goes on from here must not give its NOTIFYs the numbers of this one's.
            self.keep(cx, id);
        }
    }

    /// What a watcher is told now. Nothing where he may not know, or where nothing is known (RFC 8048 §5.3.2).
    fn body(&self, cx: &Cx<'_>, sub: &Sub, pair: &Pair) -> Option<Body> {
        let user = user_aor(cx, pair)?;
        match sub.notifier.ending() {
            Some(Reason::Timeout) if !sub.fetch => return Some(pair::closed(&user)),
            Some(Reason::Timeout) | None => {}
            Some(_) => return None,
        }
        if pair.consent != Consent::Granted && !(sub.fetch && pair.consent == Consent::Unasked) {
            return None;
        }
        match (self.is_lit(cx, pair), pair.seen.known) {
            (true, true) => Some(pair.seen.document(&user, sub.short)),
            (true, false) => (sub.told != Told::Nothing).then(|| pair::closed(&user)),
            (false, _) => (pair.consent == Consent::Granted).then(|| pair::closed(&user)),
        }
    }

    /// Whether we can see anybody, and shall.
    fn is_lit(&self, cx: &Cx<'_>, pair: &Pair) -> bool {
        self.stopping.is_none() && cx.is_up(pair.link)
    }

    /// Sets what a user has said, and keeps it.
    fn decide(&mut self, cx: &mut Cx<'_>, id: PairId, consent: Consent) {
        let Some(pair) = self.pairs.get_mut(&id) else { return };
        pair.consent = consent;
        if !matches!(consent, Consent::Asked { .. }) {
            pair.asked = None;
            self.timers.stop(&Timer::Asked(id));
        }
        note_question(&mut self.asking, id, pair);
        cx.facts.set_shares(&pair.user, &pair.contact, consent == Consent::Granted);
        let lost_sight = consent != Consent::Granted && pair.seen.probe.is_some();
        if consent != Consent::Granted {
            pair.seen.forget();
            self.timers.stop(&Timer::Settle(id));
        }
        let key = Key::of_pair(CONSENT, pair.user.bare_str(), &pair.contact);
        let word = match consent {
            Consent::Unasked => "none",
            Consent::Asked { .. } => "asked",
            Consent::Granted => "granted",
            Consent::Refused { .. } => "refused",
        };
        let fields = vec![
            ("user", pair.user.to_string()),
            ("watcher", pair.contact.to_string()),
            ("consent", word.to_owned()),
        ];
        cx.log(Level::Info, "watch-consent", fields);
        if consent == Consent::Unasked {
            cx.forget(key);
        } else {
            cx.save(Record::new(key, &kept(pair)));
        }
        if lost_sight {
            self.release(cx, id);
        }
        self.drop_if_void(id);
    }

    /// Keeps a dialog on disk.
    fn keep(&self, cx: &mut Cx<'_>, id: SubId) {
        let Some(sub) = self.subs.get(&id).filter(|sub| !sub.fetch) else { return };
        let Some(pair) = self.pairs.get(&sub.pair) else { return };
        let partition = Partition::of(pair.user.as_str());
        let kept = KeptDialog {
            user: pair.user.clone(),
            contact: pair.contact.clone(),
            subscription: sub.notifier.kept(cx.now),
        };
        cx.save(Record::new(Key { kind: DIALOG, partition, id: sub.notifier.tag().to_owned() }, &kept));
    }

    /// Ends every dialog of a pair.
    fn end_all(&mut self, cx: &mut Cx<'_>, id: PairId, reason: Reason, retry_after: Option<Duration>) {
        for sub in self.subs_of(id) {
            if let Some(sub) = self.subs.get_mut(&sub) {
                sub.notifier.end(reason, retry_after, cx.now);
            }
            self.tend(cx, sub);
            // Where the last word waits for an answer, the book must not say any more that he was let in.
            self.keep(cx, sub);
        }
    }

    /// Asks the server how a user is. False if the link is down.
    fn probe(&mut self, cx: &mut Cx<'_>, id: PairId, patience: Duration) -> bool {
        let Some(pair) = self.pairs.get_mut(&id) else { return false };
        if !cx.is_up(pair.link) {
            return false;
        }
        let Some(stanza) = from_watcher(cx, pair, "probe") else { return false };
        let deadline = cx.now.tick + patience;
        pair.seen.begin(deadline);
        self.timers.set(Timer::Settle(id), deadline);
        cx.stanza(stanza.with_id(stanzas::PROBE));
        true
    }

    /// A probe is over: who waited for it is told, and who sees something else now.
    fn settle(&mut self, cx: &mut Cx<'_>, id: PairId) {
        self.timers.stop(&Timer::Settle(id));
        let Some(pair) = self.pairs.get_mut(&id) else { return };
        let changed = pair.seen.settle();
        let open = pair.seen.is_open();
        for id in self.subs_of(id) {
            let Some(sub) = self.subs.get_mut(&id) else { continue };
            let news = match sub.told {
                Told::Nothing | Told::State => changed,
                Told::Dark => open,
                Told::Something => true,
            };
            if sub.held {
                sub.notifier.want_now(cx.now);
            } else if sub.notifier.is_active() && news {
                sub.notifier.want(cx.now);
            }
            self.tend(cx, id);
        }
    }

    fn subs_of(&self, id: PairId) -> Vec<SubId> {
        self.pairs.get(&id).map(|pair| pair.subs.clone()).unwrap_or_default()
    }
}

/// What a user has said, as it is kept.
fn kept(pair: &Pair) -> KeptConsent {
    KeptConsent {
        user: pair.user.clone(),
        contact: pair.contact.clone(),
        consent: pair.consent,
        in_doubt: pair.asked.is_some(),
    }
}

/// Keeps the list of a watcher's open questions.
fn note_question(asking: &mut BTreeMap<Aor, BTreeSet<PairId>>, id: PairId, pair: &Pair) {
    if matches!(pair.consent, Consent::Asked { .. }) {
        asking.entry(pair.contact.clone()).or_default().insert(id);
    } else if let Some(open) = asking.get_mut(&pair.contact) {
        open.remove(&id);
        if open.is_empty() {
            asking.remove(&pair.contact);
        }
    }
}

/// There are so many subscriptions more.
fn count_subs(cx: &mut Cx<'_>, more: i64) {
    cx.gauge("subscriptions", &[("direction", "sip_to_xmpp")], more);
}

/// A presence stanza from a watcher to the user whom he watches.
fn from_watcher(cx: &Cx<'_>, pair: &Pair, type_: &str) -> Option<Stanza> {
    let from = cx.domains.contact_jid(&pair.contact.address()).ok()?;
    Some(Stanza::new(StanzaKind::Presence, &from, &pair.user).with_type(type_))
}

/// The user's address in SIP. Nothing once the admin has taken her domain off the list.
fn user_aor(cx: &Cx<'_>, pair: &Pair) -> Option<Aor> {
    cx.domains.user_sip(&pair.user).ok().map(|address| address.aor)
}

/// Where a watcher's requests inside a dialog reach us.
fn our_contact(cx: &Cx<'_>, pair: &Pair) -> String {
    let user = user_aor(cx, pair).unwrap_or_else(|| pair.contact.clone());
    cx.config.sip.contact(&user, &pair.contact.host)
}

#[cfg(test)]
mod tests;
