//! What every message's fate was, as the people at both ends saw it, and whether that may be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mostar::words::time::Tick;

use super::support::invariants::Invariant::{self, *};
use super::support::invariants::{Broken, Checks};

/// A disk that has failed writes after this, and a process that dies sooner has forgotten nothing.
const UNWRITTEN: Duration = Duration::from_secs(6);
/// What is on its way when its sender is told arrives within this.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// What is kept is tried for so long beyond its time.
const LAST_TRIES: Duration = Duration::from_secs(120);

/// When it arrived, its number, its body.
type Arrival<'a> = (u64, u64, &'a String);

crate::tally! {
    /// Sums over seeds, to see that the simulation does what it should.
    Totals {
        crossed,
        refused,
        ambiguous,
        /// Starts whose records came back while the world went on.
        slow_starts,
        link_losses,
        late,
        presence,
        /// Sessions that were agreed on, and lines that crossed in them.
        sessions,
        in_sessions,
        /// Lines that never went, since their sender took them back.
        dropped,
        /// Lines that the recipient got twice, because a session broke before they were confirmed.
        twice,
        receipts,
        /// MSRP messages of which a piece never came, in sessions that lived.
        torn,
        /// MSRP connections that died.
        cut,
        /// Messages that were kept for who was away, and arrived.
        kept,
    }
}

/// One message as its sender and its recipient saw it.
#[derive(Clone, Debug, Default)]
pub struct Fate {
    /// A phone sends it in an MSRP session.
    pub in_session: bool,
    /// Which pair, and its number in the order of writing.
    pub pair: (String, String),
    pub number: u64,
    /// A record of it is on disk, or was.
    pub safe: bool,
    /// The stanza ids (or SIP identities) under which the recipient got it.
    pub copies: BTreeSet<String>,
    /// By how many ways it came: the MSRP session, or nothing for a MESSAGE.
    pub ways: Vec<Option<String>>,
    /// The gateway knows that the recipient has it.
    pub confirmed: bool,
    /// Its place among what the recipient got from this sender.
    pub arrived: Option<u64>,
    /// Final answers that the sender heard: SIP statuses, or 200 and 500 for silence and an error stanza.
    pub answers: Vec<u16>,
    /// The sender was told of a failure after its answer.
    pub late: bool,
    /// When the sender was told that it has failed, unless a crash makes us say it, and try it, again.
    pub told_at: Option<Tick>,
    /// When words about a failure left for the sender.
    pub telling: Option<Tick>,
    /// They were lost with the process, or with the stream that carried them: neither XEP-0114 nor a REPORT is ever
    /// confirmed.
    pub in_vain: bool,
    /// The recipient said no (a non-2xx, an error stanza).
    pub refused_there: bool,
    /// And no time will change that.
    pub refused_for_good: bool,
    /// Until when it is kept if its recipient is away.
    pub keep: Option<Tick>,
    /// It is kept, as the disk says.
    pub kept: bool,
    /// Its sender took it back: it may never arrive, and nobody is told.
    pub retracted: bool,
    /// A crash, a lost connection or an unheard answer happened while it was under way.
    pub doubt: bool,
}

/// All messages, by their body.
#[derive(Default)]
pub struct Ledger {
    pub from_sip: BTreeMap<String, Fate>,
    pub from_xmpp: BTreeMap<String, Fate>,
    pub totals: Totals,
    pub checks: Checks,
    arrivals: u64,
}

/// The key of a message in a text that holds its body: `from-sip-17`.
pub fn key_of(text: &str) -> Option<&str> {
    let from = text.find("from-sip-").or_else(|| text.find("from-xmpp-"))?;
    let digits = from + text[from..].find(|c: char| c.is_ascii_digit())?;
    let length = text[digits..].find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len() - digits);
    Some(&text[from..digits + length])
}

impl Ledger {
    /// A sender wrote something.
    pub fn written(&mut self, sip: bool, body: &str, pair: (String, String), number: u64) {
        let side = if sip { &mut self.from_sip } else { &mut self.from_xmpp };
        side.insert(body.to_owned(), Fate { pair, number, ..Fate::default() });
    }

    /// A record of these messages is on disk. Only now has the gateway taken them: what a crash takes before comes again,
    /// perhaps in another order.
    pub fn saved(&mut self, text: &str) {
        let Some(body) = key_of(text) else { return };
        self.arrivals += 1;
        let arrivals = self.arrivals;
        if let Some(fate) = self.from_sip.get_mut(body) {
            if !std::mem::replace(&mut fate.safe, true) {
                fate.number = arrivals;
            }
        } else if let Some(fate) = self.from_xmpp.get_mut(body) {
            fate.safe = true;
            fate.kept |= text.contains("\"held\":true");
        }
    }

    /// The gateway tells an XMPP sender that a message has failed: not one that it promised to keep.
    pub fn given_up(&mut self, now: Tick, body: &str) {
        let Some(fate) = self.from_xmpp.get_mut(body) else { return };
        fate.answers.push(500);
        fate.told_at.get_or_insert(now);
        if fate.kept && !fate.refused_for_good && fate.keep.is_some_and(|until| now < until) {
            self.wrong(Fate, format!("{body} was kept and given up too early, at {now:?}"));
        }
    }

    /// A message, by the key in its body.
    pub fn of(&mut self, body: &str) -> Option<&mut Fate> {
        self.from_sip.get_mut(body).or_else(|| self.from_xmpp.get_mut(body))
    }

    /// Somebody has seen something that may not be.
    pub fn wrong(&mut self, invariant: Invariant, what: String) {
        self.checks.broken(invariant, what);
    }

    /// The gateway tells a SIP sender that it has his message: it must be on disk.
    pub fn acknowledged(&mut self, body: &str, how: &str) {
        if let Some(fate) = self.from_sip.get(body) {
            self.checks
                .hold(Commit, fate.safe, || format!("{body} was acknowledged ({how}) before its commit"));
        }
    }

    /// The gateway says that a recipient has it: that must be so.
    pub fn proven(&mut self, body: &str, how: &str) {
        self.totals.receipts += 1;
        let nobody = self.of(body).is_some_and(|fate| fate.copies.is_empty());
        self.checks.hold(Fate, !nobody, || format!("{body} was called received ({how}), and nobody has it"));
    }

    /// The process dies: what an XMPP user wrote and was not on disk was never taken, and nobody knows.
    /// What was said since `unremembered` is said again.
    pub fn crashed(&mut self, now: Tick, unremembered: Tick) {
        self.doubt();
        self.unheard(unremembered, true);
        for fate in self.from_xmpp.values_mut() {
            fate.confirmed = false;
            // What is forgotten of it may not have been written.
            fate.told_at = fate.told_at.filter(|at| *at + UNWRITTEN < now);
        }
        self.from_xmpp.retain(|_, fate| fate.safe || !fate.answers.is_empty());
    }

    /// A recipient got it.
    pub fn arrived(&mut self, now: Tick, sip: bool, body: &str, identity: &str) {
        self.arrivals += 1;
        let arrivals = self.arrivals;
        let side = if sip { &mut self.from_sip } else { &mut self.from_xmpp };
        let Some(fate) = side.get_mut(body) else { return };
        if fate.arrived.is_none() {
            let told = fate.told_at.is_some_and(|at| at + ON_ITS_WAY < now) && !fate.doubt && !fate.in_vain;
            self.checks.hold(Refused, !told, || {
                format!("{body} arrives after its sender was told that it failed: {fate:?}")
            });
            let kept = fate.keep.filter(|_| fate.kept);
            self.checks.hold(Fate, kept.is_none_or(|until| now < until + LAST_TRIES), || {
                format!("{body} arrives after it had expired: {fate:?}")
            });
        }
        fate.arrived.get_or_insert(arrivals);
        fate.copies.insert(identity.to_owned());
    }

    /// Something happened that leaves open what became of whatever was under way.
    pub fn doubt(&mut self) {
        for fate in self.from_sip.values_mut().chain(self.from_xmpp.values_mut()) {
            if fate.answers.is_empty() {
                fate.doubt = true;
            }
        }
    }

    /// What is on its way to an XMPP sender, or to a SIP sender too, is lost.
    pub fn unheard(&mut self, now: Tick, sip: bool) {
        let is_on_its_way =
            |fate: &Fate, millis| fate.telling.is_some_and(|at| at + Duration::from_millis(millis) > now);
        for fate in self.from_xmpp.values_mut() {
            fate.in_vain |= is_on_its_way(fate, 100);
        }
        // Some phones read slowly.
        for fate in self.from_sip.values_mut().filter(|_| sip) {
            fate.in_vain |= is_on_its_way(fate, 30_000);
        }
    }

    /// Judges every message when all is over.
    pub fn judge(&mut self) -> Result<(), Broken> {
        self.judge_from_sip();
        self.judge_from_xmpp();
        self.judge_order(true);
        self.judge_order(false);
        self.checks.verdict()
    }

    fn judge_from_sip(&mut self) {
        // What tells Romeo of a failure waits behind the lines to him, and fails with them if nobody answers for a minute.
        let unreachable: BTreeSet<(String, String)> = self
            .from_xmpp
            .values()
            .filter(|fate| fate.copies.is_empty() && !fate.answers.is_empty())
            .map(|fate| (fate.pair.1.clone(), fate.pair.0.clone()))
            .collect();
        for (body, fate) in &self.from_sip {
            let answer = fate.answers.first().copied();
            let untold = fate.refused_there && unreachable.contains(&fate.pair);
            let delivered = !fate.copies.is_empty();
            let knows = delivered || fate.late || fate.in_vain || untold;
            let is_lost = matches!(answer, Some(200..300)) && !knows;
            let comes_back = answer >= Some(300) && delivered && !fate.doubt && !fate.refused_there;
            let answers = fate.answers.iter().collect::<BTreeSet<_>>().len();
            let twice = if fate.in_session { Msrp } else { Again };
            let laws = [
                (Fate, !is_lost, "was answered 2xx and is lost"),
                (Fate, answer.is_some() || fate.doubt, "got no answer"),
                (Refused, !comes_back, "was refused and delivered all the same"),
                (twice, fate.copies.len() <= 1, "was delivered twice under two ids"),
                (Again, answers <= 1, "got two different answers"),
            ];
            for (law, holds, what) in laws {
                self.checks.hold(law, holds, || format!("SIP to XMPP: {body} {what}: {fate:?}"));
            }
            self.totals.crossed += u64::from(delivered);
            self.totals.refused += u64::from(answer.is_some_and(|status| status >= 300));
            self.totals.ambiguous += u64::from(answer.is_none());
            self.totals.late += u64::from(fate.late);
            self.totals.in_sessions += u64::from(delivered && fate.in_session);
        }
    }

    fn judge_from_xmpp(&mut self) {
        for (body, fate) in &self.from_xmpp {
            let delivered = !fate.copies.is_empty();
            let told = !fate.answers.is_empty();
            let knows = delivered || told || fate.in_vain || fate.retracted;
            let comes_back = delivered && told && !fate.doubt && !fate.refused_there;
            // What was on its way when the process died is told again: its record is forgotten after it was told.
            let told_once = fate.answers.len() <= 1 || fate.in_vain;
            let laws = [
                (Fate, knows, "is lost and nobody was told"),
                (Refused, !comes_back, "was delivered and its sender was told that it failed"),
                (Once, fate.copies.len() <= 1, "was delivered twice under two identities"),
                (Once, told_once, "failed twice"),
            ];
            for (law, holds, what) in laws {
                self.checks.hold(law, holds, || format!("XMPP to SIP: {body} {what}: {fate:?}"));
            }
            self.totals.crossed += u64::from(delivered);
            self.totals.refused += u64::from(told);
            self.totals.ambiguous += u64::from(told && delivered);
            self.totals.in_sessions += u64::from(fate.ways.iter().any(Option::is_some));
            self.totals.twice += u64::from(fate.ways.len() > 1);
            self.totals.kept += u64::from(fate.kept && delivered);
            self.totals.dropped += u64::from(fate.retracted && !delivered && !told);
        }
    }

    /// First in, first out for each pair.
    fn judge_order(&mut self, sip: bool) {
        let side = if sip { &self.from_sip } else { &self.from_xmpp };
        let mut pairs: BTreeMap<&(String, String), Vec<Arrival<'_>>> = BTreeMap::new();
        for (body, fate) in side {
            // What one device refused is tried at the others: by then the next line may have arrived. And a line that was
            // given up goes again if the process dies with those words: those behind it may have gone before.
            let is_out_of_line = if sip { fate.refused_there } else { fate.in_vain };
            if let Some(arrived) = fate.arrived.filter(|_| !is_out_of_line) {
                pairs.entry(&fate.pair).or_default().push((arrived, fate.number, body));
            }
        }
        for (pair, mut got) in pairs {
            got.sort();
            for two in got.windows(2) {
                self.checks.hold(Order, two[0].1 <= two[1].1, || {
                    format!("{} overtook {} of {pair:?}", two[0].2, two[1].2)
                });
            }
        }
    }
}
