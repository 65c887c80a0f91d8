//! What is counted of messages. At every moment, in each direction: accepted + restored = delivered + refused + expired +
//! withdrawn + queued + in flight. What was never taken is counted apart, as turned away; so is, beside its fate, what may
//! have met another one than its sender was told: ambiguous.
//!
//! Counters begin with the process. What an earlier one accepted and left in the store is `restored`, so that `accepted`
//! over all processes counts every message once.

use std::time::Duration;

use crate::features::Cx;
use crate::sabotage::{self, Fault as Mistake};
use crate::words::note::Level;
use crate::words::time::Tick;

/// The event of a message that is turned away because so many wait.
pub const CROWDED: &str = "too-many-wait";
/// The first of such warnings is a line in the log at once, the rest of so long a time another.
const QUIET: Duration = Duration::from_secs(60);

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From a SIP user to an XMPP user.
    SipToXmpp,
    /// From an XMPP user to a SIP user.
    XmppToSip,
}

impl Way {
    /// As it stands in the log and in the figures.
    pub fn name(self) -> &'static str {
        self.label().1
    }

    fn label(self) -> (&'static str, &'static str) {
        match self {
            Way::SipToXmpp => ("direction", "sip_to_xmpp"),
            Way::XmppToSip => ("direction", "xmpp_to_sip"),
        }
    }
}

/// We took a message: its fate is ours now.
pub fn accepted(cx: &mut Cx<'_>, way: Way) {
    result(cx, way, "accepted");
}

/// A message that an earlier process took is ours now.
pub fn restored(cx: &mut Cx<'_>, way: Way) {
    result(cx, way, "restored");
}

/// A message of before the start is of a domain that is not listed any more: it stays in the store, for the day when that is
/// listed again, or for `mostar fsck`.
pub fn orphaned(cx: &mut Cx<'_>, way: Way, names: (&str, &str)) {
    log(cx, Level::Warn, "message-orphaned", way, names, "");
}

/// Its sender is told, or has heard, something that need not be what became of it: after a `restart`, or since nobody
/// confirmed it (`unconfirmed`).
pub fn ambiguous(cx: &mut Cx<'_>, way: Way, names: (&str, &str), reason: &'static str) {
    cx.count("messages_ambiguous_total", &[way.label(), ("reason", reason)]);
    log(cx, Level::Debug, "message-ambiguous", way, names, reason);
}

/// A message met its fate: `delivered`, `refused`, `expired`, or `withdrawn` by its sender.
pub fn result(cx: &mut Cx<'_>, way: Way, result: &'static str) {
    if result == "refused" && sabotage::is(Mistake::Miscounted) {
        return;
    }
    cx.count("messages_total", &[way.label(), ("result", result)]);
}

/// A message was refused before we took it: what it is called, what was said (`condition` or `status`), the reason in a
/// word for the figures and in a sentence for the log.
pub fn turned_away(
    cx: &mut Cx<'_>,
    way: Way,
    names: (&str, &str),
    said: (&'static str, &str),
    reason: &'static str,
    why: Option<&str>,
) {
    cx.count("messages_turned_away_total", &[way.label(), ("reason", reason)]);
    if !cx.logs(Level::Debug) {
        return;
    }
    let (corr, stanza) = names;
    let fields = [("corr", corr), ("direction", way.name()), ("stanza", stanza), said, ("reason", reason)];
    let fields = fields.into_iter().chain(why.map(|why| ("why", why)));
    let fields = fields.filter(|(_, value)| !value.is_empty());
    let fields = fields.map(|(name, value)| (name, value.to_owned())).collect();
    cx.log(Level::Debug, "message-turned-away", fields);
}

/// A warning that anybody could cause without end: said at once, and then once a minute with how many there were.
#[derive(Debug, Default)]
pub struct Hushed {
    /// Until when they are only counted, and how many were.
    quiet: Option<(Tick, u64)>,
}

impl Hushed {
    /// Says it, or counts it.
    pub fn say(&mut self, cx: &mut Cx<'_>, event: &'static str, fields: Vec<(&'static str, String)>) {
        match &mut self.quiet {
            Some((_, more)) => *more += 1,
            None => {
                self.quiet = Some((cx.now.tick + QUIET, 0));
                cx.log(Level::Warn, event, fields);
            }
        }
    }

    /// Time has come.
    pub fn timeout(&mut self, cx: &mut Cx<'_>, event: &'static str, way: Way) {
        let now = cx.now.tick;
        if let Some((_, more)) = self.quiet.take_if(|(until, _)| *until <= now)
            && more > 0
        {
            let fields = vec![("direction", way.name().to_owned()), ("again", more.to_string())];
            cx.log(Level::Warn, event, fields);
        }
    }

    /// When [`Hushed::timeout`] is wanted.
    pub fn next_timeout(&self) -> Option<Tick> {
        self.quiet.map(|(until, _)| until)
    }
}

/// How many more wait, and are out without being confirmed, than was told last. It is told once for each call, since most
/// messages pass through several states in one.
#[derive(Debug, Default)]
pub struct Moves {
    queued: i64,
    in_flight: i64,
}

impl Moves {
    /// More or fewer messages wait.
    pub fn queued(&mut self, by: i64) {
        self.queued += by;
    }

    /// More or fewer messages are out and not confirmed.
    pub fn in_flight(&mut self, by: i64) {
        self.in_flight += by;
    }

    /// Tells what has changed.
    pub fn tell(&mut self, cx: &mut Cx<'_>, way: Way) {
        let Moves { queued, in_flight } = std::mem::take(self);
        for (name, by) in [("messages_queued", queued), ("messages_in_flight", in_flight)] {
            if by != 0 {
                cx.gauge(name, &[way.label()], by);
            }
        }
    }
}

/// A line about one message: `corr`, the Call-ID, is what both legs are found by; `stanza` is its id in XMPP.
pub fn log(cx: &mut Cx<'_>, level: Level, event: &'static str, way: Way, names: (&str, &str), why: &str) {
    if !cx.logs(level) {
        return;
    }
    let (corr, stanza) = names;
    let mut fields = vec![("corr", corr.to_owned()), ("direction", way.name().to_owned())];
    if !stanza.is_empty() {
        fields.push(("stanza", stanza.to_owned()));
    }
    if !why.is_empty() {
        fields.push(("why", why.to_owned()));
    }
    cx.log(level, event, fields);
}
