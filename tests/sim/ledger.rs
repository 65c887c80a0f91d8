//! What every message's fate was, as the people at both ends saw it, and whether that may be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mostar::words::time::Tick;

/// When it arrived, its number, its body.
type Arrival<'a> = (u64, u64, &'a String);

/// Sums over seeds, to see that the simulation does what it should.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub crossed: u64,
    pub refused: u64,
    pub ambiguous: u64,
    pub crashes: u64,
    /// Starts whose records came back while the world went on.
    pub slow_starts: u64,
    pub link_losses: u64,
    pub late: u64,
    pub presence: u64,
    /// Sessions that were agreed on, and lines that crossed in them.
    pub sessions: u64,
    pub in_sessions: u64,
    /// Lines that never went, since their sender took them back.
    pub dropped: u64,
    /// Lines that the recipient got twice, because a session broke before they were confirmed.
    pub twice: u64,
    pub receipts: u64,
    /// MSRP connections that died.
    pub cut: u64,
    pub commits: u64,
    /// Messages that were kept for who was away, and arrived.
    pub kept: u64,
}

impl Totals {
    pub fn add(&mut self, other: &Totals) {
        self.crossed += other.crossed;
        self.refused += other.refused;
        self.ambiguous += other.ambiguous;
        self.crashes += other.crashes;
        self.slow_starts += other.slow_starts;
        self.link_losses += other.link_losses;
        self.late += other.late;
        self.presence += other.presence;
        self.sessions += other.sessions;
        self.in_sessions += other.in_sessions;
        self.twice += other.twice;
        self.dropped += other.dropped;
        self.receipts += other.receipts;
        self.cut += other.cut;
        self.commits += other.commits;
        self.kept += other.kept;
    }
}

/// One message as its sender and its recipient saw it.
#[derive(Clone, Debug, Default)]
pub struct Fate {
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
    arrivals: u64,
    wrongs: Vec<String>,
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
        if fate.kept && !fate.refused_for_good && fate.keep.is_some_and(|until| now < until) {
            self.wrong(format!("{body} was kept and given up too early, at {now:?}"));
        }
    }

    /// A message, by the key in its body.
    pub fn of(&mut self, body: &str) -> Option<&mut Fate> {
        self.from_sip.get_mut(body).or_else(|| self.from_xmpp.get_mut(body))
    }

    /// Somebody has seen something that may not be.
    pub fn wrong(&mut self, what: String) {
        self.wrongs.push(what);
    }

    /// The gateway tells a SIP sender that it has his message: it must be on disk.
    pub fn acknowledged(&mut self, body: &str, how: &str) {
        if self.from_sip.get(body).is_some_and(|fate| !fate.safe) {
            self.wrong(format!("{body} was acknowledged ({how}) before its commit"));
        }
    }

    /// The gateway says that a recipient has it: that must be so.
    pub fn proven(&mut self, body: &str, how: &str) {
        self.totals.receipts += 1;
        if self.of(body).is_some_and(|fate| fate.copies.is_empty()) {
            self.wrong(format!("{body} was called received ({how}), and nobody has it"));
        }
    }

    /// The process dies: what an XMPP user wrote and was not on disk was never taken, and nobody knows.
    pub fn crashed(&mut self, now: Tick) {
        self.doubt();
        self.unheard(now, true);
        for fate in self.from_xmpp.values_mut() {
            fate.confirmed = false;
        }
        self.from_xmpp.retain(|_, fate| fate.safe || !fate.answers.is_empty());
    }

    /// A recipient got it.
    pub fn arrived(&mut self, sip: bool, body: &str, identity: &str) -> bool {
        self.arrivals += 1;
        let arrivals = self.arrivals;
        let side = if sip { &mut self.from_sip } else { &mut self.from_xmpp };
        let Some(fate) = side.get_mut(body) else { return false };
        fate.arrived.get_or_insert(arrivals);
        fate.copies.insert(identity.to_owned());
        true
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
    pub fn judge(&mut self) -> Result<(), String> {
        if let Some(wrong) = self.wrongs.first() {
            return Err(wrong.clone());
        }
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
            let wrong = match answer {
                Some(200..300) if !delivered && !fate.late && !fate.in_vain && !untold => {
                    Some("was answered 2xx and is lost")
                }
                Some(300..) if delivered && !fate.doubt && !fate.refused_there => {
                    Some("was refused and delivered all the same")
                }
                _ if fate.copies.len() > 1 => Some("was delivered twice under two ids"),
                _ if fate.answers.iter().collect::<BTreeSet<_>>().len() > 1 => {
                    Some("got two different answers")
                }
                None if !fate.doubt => Some("got no answer"),
                _ => None,
            };
            if let Some(wrong) = wrong {
                return Err(format!("SIP to XMPP: {body} {wrong}: {fate:?}"));
            }
            self.totals.crossed += u64::from(delivered);
            self.totals.refused += u64::from(answer.is_some_and(|status| status >= 300));
            self.totals.ambiguous += u64::from(answer.is_none());
            self.totals.late += u64::from(fate.late);
            self.totals.in_sessions += u64::from(delivered && fate.ways.iter().any(Option::is_some));
        }
        for (body, fate) in &self.from_xmpp {
            let delivered = !fate.copies.is_empty();
            let told = !fate.answers.is_empty();
            let wrong = if fate.copies.len() > 1 {
                Some("was delivered twice under two identities")
            } else if !delivered && !told && !fate.in_vain && !fate.retracted {
                Some("is lost and nobody was told")
            } else if delivered && told && !fate.doubt && !fate.refused_there {
                Some("was delivered and its sender was told that it failed")
            } else if fate.answers.len() > 1 && !fate.in_vain {
                // What was on its way when the process died is told again: its record is forgotten after it was told.
                Some("failed twice")
            } else {
                None
            };
            if let Some(wrong) = wrong {
                return Err(format!("XMPP to SIP: {body} {wrong}: {fate:?}"));
            }
            self.totals.crossed += u64::from(delivered);
            self.totals.refused += u64::from(told);
            self.totals.ambiguous += u64::from(told && delivered);
            self.totals.in_sessions += u64::from(fate.ways.iter().any(Option::is_some));
            self.totals.twice += u64::from(fate.ways.len() > 1);
            self.totals.kept += u64::from(fate.kept && delivered);
            self.totals.dropped += u64::from(fate.retracted && !delivered && !told);
        }
        self.judge_order(true)?;
        self.judge_order(false)
    }

    /// First in, first out for each pair.
    fn judge_order(&self, sip: bool) -> Result<(), String> {
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
            if let Some(late) = got.windows(2).find(|two| two[0].1 > two[1].1) {
                return Err(format!("{} overtook {} of {pair:?}", late[0].2, late[1].2));
            }
        }
        Ok(())
    }
}
