//! What every message's fate was, as the people at both ends saw it, and whether that may be.

use std::collections::{BTreeMap, BTreeSet};

/// When it arrived, its number, its body.
type Arrival<'a> = (u64, u64, &'a String);

/// Sums over seeds, to see that the simulation does what it should.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub crossed: u64,
    pub refused: u64,
    pub ambiguous: u64,
    pub crashes: u64,
    pub link_losses: u64,
    pub late: u64,
    pub presence: u64,
}

impl Totals {
    pub fn add(&mut self, other: &Totals) {
        self.crossed += other.crossed;
        self.refused += other.refused;
        self.ambiguous += other.ambiguous;
        self.crashes += other.crashes;
        self.link_losses += other.link_losses;
        self.late += other.late;
        self.presence += other.presence;
    }
}

/// One message as its sender and its recipient saw it.
#[derive(Clone, Debug, Default)]
pub struct Fate {
    /// Which pair, and its number in the order of writing.
    pub pair: (String, String),
    pub number: u64,
    /// It has come to the gateway at least once.
    pub came: bool,
    /// The stanza ids (or SIP identities) under which the recipient got it.
    pub copies: BTreeSet<String>,
    /// Its place among what the recipient got from this sender.
    pub arrived: Option<u64>,
    /// Final answers that the sender heard: SIP statuses, or 200 and 500 for silence and an error stanza.
    pub answers: Vec<u16>,
    /// The sender was told of a failure after its answer.
    pub late: bool,
    /// The recipient said no (a non-2xx, an error stanza).
    pub refused_there: bool,
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
}

impl Ledger {
    /// A sender wrote something.
    pub fn written(&mut self, sip: bool, body: &str, pair: (String, String), number: u64) {
        let side = if sip { &mut self.from_sip } else { &mut self.from_xmpp };
        side.insert(body.to_owned(), Fate { pair, number, ..Fate::default() });
    }

    /// A message from SIP has come to the gateway. The network may have reordered what was written: what counts is the
    /// order of first arrival.
    pub fn reached_gateway(&mut self, message: &str) {
        self.arrivals += 1;
        let body = message.rsplit("\r\n").next().unwrap_or_default();
        if let Some(fate) = self.from_sip.get_mut(body)
            && !std::mem::replace(&mut fate.came, true)
        {
            fate.number = self.arrivals;
        }
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

    /// Judges every message when all is over.
    pub fn judge(&mut self) -> Result<(), String> {
        for (body, fate) in &self.from_sip {
            let answer = fate.answers.first().copied();
            let delivered = !fate.copies.is_empty();
            let wrong = match answer {
                Some(200..300) if !delivered && !fate.late => Some("was answered 2xx and is lost"),
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
        }
        for (body, fate) in &self.from_xmpp {
            let delivered = !fate.copies.is_empty();
            let told = !fate.answers.is_empty();
            let wrong = if fate.copies.len() > 1 {
                Some("was delivered twice under two identities")
            } else if !delivered && !told {
                Some("is lost and nobody was told")
            } else if delivered && told && !fate.doubt && !fate.refused_there {
                Some("was delivered and its sender was told that it failed")
            } else if fate.answers.len() > 1 {
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
        }
        self.judge_order(true)?;
        self.judge_order(false)
    }

    /// First in, first out for each pair.
    fn judge_order(&self, sip: bool) -> Result<(), String> {
        let side = if sip { &self.from_sip } else { &self.from_xmpp };
        let mut pairs: BTreeMap<&(String, String), Vec<Arrival<'_>>> = BTreeMap::new();
        for (body, fate) in side {
            if let Some(arrived) = fate.arrived {
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
