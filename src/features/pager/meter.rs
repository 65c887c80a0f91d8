//! What is counted of messages. At every moment, in each direction: accepted = delivered + refused + expired + queued +
//! in flight. What was never taken is counted apart, as turned away.

use crate::features::Cx;
use crate::words::note::Level;

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

/// A message met its fate: `delivered`, `refused` or `expired`.
pub fn result(cx: &mut Cx<'_>, way: Way, result: &'static str) {
    cx.count("messages_total", &[way.label(), ("result", result)]);
}

/// A message was refused before we took it.
pub fn turned_away(cx: &mut Cx<'_>, way: Way, why: &'static str) {
    cx.count("messages_turned_away_total", &[way.label(), ("reason", why)]);
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
