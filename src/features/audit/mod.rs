//! Whether a whole store is in order: the books of messages and of consent, record by record, without doing anything.
//!
//! [`Audit`] is told every record and says at the end what is wrong with which one, what that means, and what would mend
//! it. It judges by what it reads, by the configuration and by the time, in one pass; of each message and each subscription
//! it keeps some bytes, so that a million of each take less than 200 MB.
//!
//! What is mended is never dropped: a record that has to go is set aside in a file, whole. `mostar fsck` is the shell of this;
//! simulations and tests ask [`Audit::books`] what a store says of messages.

mod finding;
pub mod view;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

pub use self::finding::{Finding, Repair};
use self::view::{Books, FIRST, Says, View};
use crate::config::Config;
use crate::features::{self, Feature};
use crate::gateway::domains::Domains;
use crate::sip::uri::Aor;
use crate::sip::usage::package::PRESENCE;
use crate::sip::usage::subscription::LONGEST;
use crate::store::record::Restored;
use crate::words::time::Wall;
use crate::xmpp::jid::Jid;

/// Clocks of a store's writer and of ours may differ by so much.
const SLACK: Duration = Duration::from_secs(300);

/// See the module.
pub struct Audit {
    features: Vec<Box<dyn Feature + Send>>,
    domains: Domains,
    now: Wall,
    books: Books,
    kinds: BTreeMap<String, u64>,
    findings: Vec<Finding>,
    /// By direction and name: the record that says that it waits; nothing where it has met its fate.
    messages: HashMap<u64, Option<Box<str>>>,
    /// The places that are taken in each queue, and the last of all.
    ranks: HashSet<u64>,
    last: u64,
    /// Records whose place is another's, each with what it says.
    crowded: Vec<(String, Vec<u8>)>,
    /// Who has consented to whom.
    granted: HashSet<u64>,
    /// Subscriptions that show something: of whom to whom, and the record.
    shown: Vec<(u64, Box<str>)>,
    over: u64,
}

impl Audit {
    /// A look at a store of this configuration, at this time.
    pub fn new(config: &Config, now: Wall) -> Audit {
        Audit {
            features: features::registry(),
            domains: Domains::new(config),
            now,
            books: Books::default(),
            kinds: BTreeMap::new(),
            findings: Vec::new(),
            messages: HashMap::new(),
            ranks: HashSet::new(),
            last: 0,
            crowded: Vec::new(),
            granted: HashSet::new(),
            shown: Vec::new(),
            over: 0,
        }
    }

    /// One record, by its name and its value. To be told in the order of their names.
    pub fn look(&mut self, name: &[u8], value: &[u8]) {
        let Ok(name) = std::str::from_utf8(name) else {
            count(&mut self.kinds, "?");
            return self.add(&String::from_utf8_lossy(name), Finding::NAMELESS, "", Repair::Nothing);
        };
        let Some(record) = Restored::parse(name, value.to_vec()) else {
            count(&mut self.kinds, "?");
            return self.find(name, Finding::NAMELESS, "");
        };
        let Some(feature) = self.keeper(&record.kind) else {
            let is_newer = record.kind.split_once('.').is_some_and(|(kind, _)| self.keeper(kind).is_some());
            count(&mut self.kinds, &record.kind);
            return self.find(name, if is_newer { Finding::NEWER } else { Finding::UNKNOWN }, "");
        };
        let view = feature.view(&record);
        count(&mut self.kinds, &record.kind);
        match view {
            Ok(view) => self.judge(name, &record, view),
            Err(why) => self.find(name, Finding::UNREADABLE, &why),
        }
    }

    /// Who reads records of this kind. A kind that changes its meaning has a number behind its name: `page.2`.
    fn keeper(&self, kind: &str) -> Option<&(dyn Feature + Send)> {
        self.features
            .iter()
            .find(|feature| feature.manifest().records.contains(&kind))
            .map(|feature| &**feature)
    }

    fn judge(&mut self, name: &str, record: &Restored, view: View) {
        if view.key.kind != record.kind || view.key.partition != record.partition || view.key.id != record.id
        {
            return self.find(name, Finding::MISPLACED, &view.key.text());
        }
        if let Some(stranger) = self.stranger(&view) {
            self.books += &view.says;
            return self.find(name, Finding::ORPHAN, &stranger);
        }
        if let Some((finding, repair)) = self.contradiction(name, record, &view) {
            return self.add(name, finding, "", repair);
        }
        self.books += &view.says;
    }

    /// Whose domain is not configured any more, of those whom the record needs.
    fn stranger(&self, view: &View) -> Option<String> {
        let needs_user = match &view.says {
            Says::Waits { to_xmpp, .. } => !to_xmpp,
            Says::Failed { .. } | Says::Notice | Says::Watch { .. } | Says::Contact { .. } => true,
            Says::Consent { .. } | Says::Settled { .. } | Says::Memory => false,
        };
        let needs_contact = !matches!(view.says, Says::Settled { .. } | Says::Memory);
        let user =
            view.user.as_ref().filter(|user| needs_user && !self.domains.is_user_domain(user.domain()));
        if let Some(user) = user {
            return Some(user.domain().to_owned());
        }
        let contact = view.contact.as_ref().filter(|_| needs_contact);
        let contact = contact.filter(|contact| self.domains.link_of_contact(contact).is_none())?;
        Some(contact.host.clone())
    }

    /// What in the record contradicts itself or another one.
    fn contradiction(
        &mut self,
        record_name: &str,
        record: &Restored,
        view: &View,
    ) -> Option<(finding::Words, Repair)> {
        let aside = |finding| Some((finding, Repair::SetAside));
        match &view.says {
            Says::Waits { is_refused: true, .. } => return aside(Finding::REFUSED_AND_WAITS),
            Says::Waits { to_xmpp, name, rank, .. } => {
                match self.messages.entry(hash(&(to_xmpp, name))) {
                    Entry::Occupied(known) if known.get().is_some() => return aside(Finding::TWICE),
                    Entry::Occupied(_) => return aside(Finding::SETTLED_AND_WAITS),
                    Entry::Vacant(free) => free.insert(Some(record_name.into())),
                };
                self.last = self.last.max(rank.0);
                let place = hash(&(to_xmpp, &view.user.as_ref().map(Jid::bare), &view.contact, rank));
                if !self.ranks.insert(place) {
                    self.crowded.push((record_name.to_owned(), record.value.clone()));
                }
            }
            Says::Settled { name, until, .. } => {
                self.is_over(true, name);
                if *until > self.now + SLACK * 4 {
                    return self.too_late(record, &["done", "until"], self.now + SLACK);
                }
            }
            Says::Failed { name } => self.is_over(false, name),
            Says::Consent { is_granted } => {
                if let (true, Some(pair)) = (is_granted, pair(view)) {
                    self.granted.insert(pair);
                }
            }
            Says::Watch { is_active, until } => {
                if let (true, Some(pair)) = (is_active, pair(view)) {
                    self.shown.push((pair, record_name.into()));
                }
                if *until > self.now + PRESENCE.longest() + SLACK {
                    let most = self.now + PRESENCE.longest();
                    return self.too_late(record, &["subscription", "until"], most);
                }
                self.over += u64::from(*until <= self.now);
            }
            Says::Contact { is_refused: true, until: Some(_) } => return aside(Finding::REFUSED_AND_WATCHED),
            Says::Contact { until: Some(until), .. } => {
                if *until > self.now + LONGEST + SLACK {
                    return self.too_late(record, &["dialog", "expires"], self.now + LONGEST);
                }
                self.over += u64::from(*until <= self.now);
            }
            Says::Contact { .. } | Says::Notice | Says::Memory => {}
        }
        None
    }

    /// A message has met its fate: a record that says that it waits is wrong.
    fn is_over(&mut self, to_xmpp: bool, name: &str) {
        let Some(Some(waiting)) = self.messages.insert(hash(&(to_xmpp, name)), None) else { return };
        let side = if to_xmpp { &mut self.books.to_xmpp } else { &mut self.books.to_sip };
        side.waiting -= 1;
        self.find(&waiting, Finding::SETTLED_AND_WAITS, "");
    }

    /// Something in the record would last longer than anything may.
    fn too_late(&self, record: &Restored, place: &[&str], most: Wall) -> Option<(finding::Words, Repair)> {
        let shortened = finding::with_number(&record.value, place, most.0);
        Some((Finding::TOO_LONG, shortened.map_or(Repair::SetAside, Repair::Replace)))
    }

    fn find(&mut self, name: &str, words: finding::Words, why: &str) {
        self.add(name, words, why, Repair::SetAside);
    }

    fn add(&mut self, name: &str, words: finding::Words, why: &str, repair: Repair) {
        self.findings.push(Finding { record: name.to_owned(), words, why: why.to_owned(), repair });
    }

    /// What the records that are in order say of messages, so far.
    pub fn books(&self) -> Books {
        self.books
    }

    /// How many subscriptions of either direction have come to their end since: the next start ends them.
    pub fn over(&self) -> u64 {
        self.over
    }

    /// How many records there are of each kind, so far.
    pub fn kinds(&self) -> &BTreeMap<String, u64> {
        &self.kinds
    }

    /// All records have been told: what is wrong, in the order in which it was found.
    pub fn finish(&mut self) -> Vec<Finding> {
        for (pair, name) in std::mem::take(&mut self.shown) {
            if !self.granted.contains(&pair) {
                self.find(&name, Finding::WITHOUT_CONSENT, "");
            }
        }
        for (name, value) in std::mem::take(&mut self.crowded) {
            self.last = self.last.max(FIRST) + 1;
            let moved = ["pending", "order"];
            let place = if name.starts_with("page/") { &moved[..] } else { &moved[1..] };
            let repair =
                finding::with_number(&value, place, self.last).map_or(Repair::SetAside, Repair::Replace);
            self.add(&name, Finding::SAME_PLACE, "", repair);
        }
        std::mem::take(&mut self.findings)
    }
}

fn count(kinds: &mut BTreeMap<String, u64>, kind: &str) {
    match kinds.get_mut(kind) {
        Some(count) => *count += 1,
        None => drop(kinds.insert(kind.to_owned(), 1)),
    }
}

fn pair(view: &View) -> Option<u64> {
    let pair: (&Jid, &Aor) = (view.user.as_ref()?, view.contact.as_ref()?);
    Some(hash(&pair))
}

/// Sixty-four bits stand for a text: of two million texts two are taken for one once in ten million stores.
fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}
