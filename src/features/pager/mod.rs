//! Pager messages: RFC 7572 between RFC 3428 (MESSAGE) and RFC 6121 (`<message/>`), in both directions.
//!
//! What is promised: a message is kept on disk before anybody is told that it was taken; it is delivered once, in order,
//! or its sender is told why not in words; nothing is said that is not known. Chat sessions, receipts and typing are
//! other features, and a MESSAGE that carries only those is refused (415).

mod arrivals;
mod changes;
mod extras;
mod hold;
mod late;
mod links;
mod meter;
mod pairs;
mod place;
mod post;
mod quota;
mod sessions;
mod table;
#[cfg(test)]
mod tests;
mod to_sip;
mod to_xmpp;
mod turns;
mod undecided;
mod verdict;
mod ways;

use std::time::Duration;

use meter::Way;
use pairs::Pairs;
use to_sip::ToSip;
use to_xmpp::ToXmpp;

use super::audit::view::View;
use super::{Cx, Feature, Incoming, Manifest, Signal};
use crate::gateway::LinkId;
use crate::sabotage::{self, Fault as Mistake};
use crate::sip::message::{Answer, Method};
use crate::store::record::Restored;
use crate::words::time::Tick;
use crate::xmpp::stanza::{Stanza, StanzaKind};

/// 408, 503 and a lost transport are tried again for so long.
const RETRY: Duration = Duration::from_secs(60);

/// RFC 3261 §8.1.1.6. XMPP has no count of hops that could be carried over.
const HOPS: u8 = 70;

/// A stop waits so long for answers; what has none by then is on disk and goes out again after the start.
const GOODBYE: Duration = Duration::from_secs(3);

static MANIFEST: Manifest = Manifest {
    name: "pager",
    follows: &[
        "RFC 7572",
        "RFC 3428",
        "RFC 7247 §7",
        "RFC 6121 §5",
        "XEP-0066",
        "XEP-0071",
        "XEP-0199",
        "XEP-0203",
        "XEP-0308",
        "XEP-0334",
        "XEP-0424",
        "XEP-0428",
        "XEP-0444",
        "XEP-0446",
        "XEP-0447",
        "XEP-0461",
    ],
    summary: "Single messages between SIP and XMPP users, both ways",
    methods: &["MESSAGE"],
    events: &[],
    disco: &[],
    records: &[arrivals::RECORD, late::RECORD, post::RECORD, pairs::RECORD, verdict::RECORD],
};

/// See the module.
#[derive(Debug, Default)]
pub struct Pager {
    to_sip: ToSip,
    to_xmpp: ToXmpp,
    pairs: Pairs,
    goodbye: Option<Goodbye>,
}

/// How far a stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goodbye {
    /// Answers are waited for, until then.
    Until(Tick),
    /// No longer.
    Over,
}

impl Pager {
    /// What failed on the way to XMPP after its answer is told over SIP; what was told so is remembered, since a
    /// machine may answer it. And the figures are told.
    fn tell(&mut self, cx: &mut Cx<'_>) {
        for telling in self.to_xmpp.tellings() {
            self.to_sip.tell(cx, telling);
        }
        let spoken = self.to_sip.spoken();
        self.to_xmpp.spoken(cx, spoken);
        self.to_xmpp.moves.tell(cx, Way::SipToXmpp);
        self.to_sip.moves.tell(cx, Way::XmppToSip);
    }
}

impl Feature for Pager {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    fn stanza(&mut self, cx: &mut Cx<'_>, _link: LinkId, stanza: &Stanza) -> bool {
        let is_answer =
            matches!(stanza.type_(), Some("error" | "result")) && !sabotage::is(Mistake::ErrorTaken);
        match (stanza.kind, is_answer) {
            (StanzaKind::Message, false) => {
                self.to_sip.stanza(cx, &mut self.pairs, stanza);
                self.tell(cx);
                true
            }
            (StanzaKind::Message, true) => {
                if !self.to_xmpp.stanza(cx, stanza) {
                    cx.count("errors_unmatched_total", &[]);
                }
                self.tell(cx);
                true
            }
            (StanzaKind::Iq, true) => {
                let ours = self.to_xmpp.stanza(cx, stanza);
                self.tell(cx);
                ours
            }
            _ => false,
        }
    }

    fn request(&mut self, cx: &mut Cx<'_>, incoming: &Incoming) -> bool {
        // Inside a dialog there is none of ours that a MESSAGE could belong to: the gateway answers 481.
        if incoming.request.method != Method::Message || incoming.to_tag.is_some() {
            return false;
        }
        self.to_xmpp.request(cx, &mut self.pairs, incoming);
        self.tell(cx);
        true
    }

    fn answer(&mut self, cx: &mut Cx<'_>, token: u64, answer: &Answer) {
        self.to_sip.answer(cx, token, answer);
        self.tell(cx);
    }

    fn next_timeout(&self) -> Option<(Tick, &'static str)> {
        let goodbye = match self.goodbye {
            Some(Goodbye::Until(at)) => Some(at),
            _ => None,
        };
        let (to_sip, to_xmpp) = (self.to_sip.next_timeout(), self.to_xmpp.next_timeout());
        let at = [to_sip, to_xmpp, self.pairs.next_timeout(), goodbye];
        let at = at.into_iter().flatten().min()?;
        Some((at, "pager"))
    }

    fn timeout(&mut self, cx: &mut Cx<'_>) {
        self.to_sip.timeout(cx);
        self.to_xmpp.timeout(cx);
        self.tell(cx);
        if matches!(self.goodbye, Some(Goodbye::Until(at)) if at <= cx.now.tick) {
            self.goodbye = Some(Goodbye::Over);
        }
    }

    fn link_up(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        self.to_sip.link_up(cx, link);
        self.to_xmpp.link_up(cx, link);
        self.tell(cx);
    }

    fn link_down(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        self.to_xmpp.link_down(cx, link);
        self.tell(cx);
    }

    fn restored(&mut self, cx: &mut Cx<'_>, record: &Restored) {
        match record.kind.as_str() {
            arrivals::RECORD | late::RECORD => self.to_xmpp.restored(cx, record),
            pairs::RECORD => {
                if let Err(error) = self.pairs.restored(record) {
                    cx.unreadable(record, error);
                }
            }
            _ => self.to_sip.restored(cx, record),
        }
    }

    fn view(&self, record: &Restored) -> Result<View, String> {
        match record.kind.as_str() {
            arrivals::RECORD => arrivals::view(record),
            late::RECORD => late::view(record),
            pairs::RECORD => pairs::view(record),
            verdict::RECORD => verdict::view(record),
            _ => post::view(record),
        }
    }

    fn start(&mut self, cx: &mut Cx<'_>) {
        self.pairs.start(cx);
        self.to_sip.start(cx);
        self.to_xmpp.start(cx);
        self.tell(cx);
    }

    fn signal(&mut self, cx: &mut Cx<'_>, signal: &Signal) {
        match signal {
            Signal::Known { contact } => self.to_sip.known(cx, contact),
            Signal::Opened { user, contact } => self.to_sip.opened(cx, user, contact),
            Signal::Carried { number, fate } => self.to_sip.carried(cx, *number, fate),
            Signal::Whisper(whisper) => self.to_sip.whisper(cx, whisper),
            Signal::Arrived(arrived) => self.to_xmpp.arrived(cx, &mut self.pairs, arrived),
            Signal::Unreported { user, sender, id, failure } => {
                self.to_xmpp.unreported(cx, user, sender, id, failure)
            }
            _ => return,
        }
        self.tell(cx);
    }

    fn explain(&self, cx: &mut Cx<'_>, stanza: &Stanza) -> Option<String> {
        self.to_sip.explain(cx, &self.pairs, stanza)
    }

    fn stop(&mut self, cx: &mut Cx<'_>) -> bool {
        let goodbye = *self.goodbye.get_or_insert(Goodbye::Until(cx.now.tick + GOODBYE));
        let written = self.pairs.stop(cx);
        self.to_sip.verdicts.stop(cx);
        let (sip, xmpp) = (self.to_sip.stop(), self.to_xmpp.stop());
        written && (sip && xmpp || goodbye == Goodbye::Over)
    }

    fn load(&self) -> usize {
        self.to_sip.load() + self.to_xmpp.load()
    }
}
