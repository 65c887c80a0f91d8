//! What the clients of XMPP users can do, by their capabilities (XEP-0115) and, for what those name, by disco#info.
//!
//! A client is asked once for each `ver` that is new; a hash that proves true speaks for all clients that show it (§5.4),
//! any other answer for the client alone that gave it. What is known is in [`Known`], among the facts: so far, whether a
//! client confirms what it receives (XEP-0184). Hashes other than SHA-1 are not computed, and clients without
//! capabilities are not asked: of them nothing is known.

mod hash;
mod known;

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Cx, Feature, Manifest};
use crate::gateway::LinkId;
use crate::words::time::Tick;
use crate::words::timers::Timers;
use crate::xmpp::jid::Jid;
use crate::xmpp::ns;
use crate::xmpp::stanza::{Element, Stanza, StanzaKind};

pub use known::{Ability, Known};

static MANIFEST: Manifest = Manifest {
    name: "clients",
    follows: &["XEP-0115 §5.4", "XEP-0115 §6.2", "XEP-0030 §3"],
    summary: "What XMPP clients can do is read from their capabilities",
    methods: &[],
    events: &[],
    disco: &[],
    records: &[],
};

/// How many questions are open at once.
const OPEN: usize = 1_000;
/// How long an answer is waited for.
const WAIT: Duration = Duration::from_secs(30);
/// The longest `ver` and `node` that are believed, in bytes.
const NAME: usize = 256;

#[derive(Debug)]
struct Question {
    client: Jid,
    /// What its answer must hash to, to speak for others.
    ver: String,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Clients {
    /// By the id of the IQ.
    open: BTreeMap<String, Question>,
    timers: Timers<String>,
}

impl Feature for Clients {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    fn stanza(&mut self, cx: &mut Cx<'_>, _link: LinkId, stanza: &Stanza) -> bool {
        match (stanza.kind, stanza.type_()) {
            (StanzaKind::Presence, None) => {
                self.available(cx, stanza);
                false
            }
            (StanzaKind::Presence, Some("unavailable")) => {
                if let Some(from) = stanza.from() {
                    cx.facts.clients.gone(from);
                }
                false
            }
            (StanzaKind::Iq, Some("result" | "error")) => self.answered(cx, stanza),
            _ => false,
        }
    }

    fn next_timeout(&self) -> Option<(Tick, &'static str)> {
        self.timers.next().map(|(at, _)| (at, "clients"))
    }

    fn timeout(&mut self, cx: &mut Cx<'_>) {
        while let Some(id) = self.timers.pop(cx.now.tick) {
            self.open.remove(&id);
        }
    }

    fn link_down(&mut self, cx: &mut Cx<'_>, _link: LinkId) {
        cx.facts.clients.forget_all();
        self.open.clear();
        self.timers = Timers::default();
    }

    fn load(&self) -> usize {
        self.open.len() + self.timers.len()
    }
}

impl Clients {
    fn available(&mut self, cx: &mut Cx<'_>, stanza: &Stanza) {
        let (Some(client), Some(contact)) = (stanza.from(), stanza.to()) else { return };
        if client.is_bare() {
            return;
        }
        let caps = stanza.element.child("c", ns::CAPS);
        let name = |attr| caps.and_then(|caps| caps.attr(attr)).filter(|name| name.len() <= NAME);
        // Before version 1.4 there was no hash, and `ver` was that of the program.
        let is_hash = name("hash").is_some_and(|hash| hash.eq_ignore_ascii_case("sha-1"));
        let Some(ver) = name("ver").filter(|_| is_hash) else {
            return cx.facts.clients.shows_nothing(client);
        };
        if !cx.facts.clients.shows(client, ver) || self.open.len() >= OPEN {
            return;
        }
        if self.open.values().any(|question| question.ver == ver) {
            return;
        }
        cx.facts.clients.asked(client);
        let id = cx.token_for(client);
        let node = format!("{}#{ver}", name("node").unwrap_or_default());
        let query = Element::new("query", ns::DISCO_INFO).with("node", &node);
        cx.stanza(
            Stanza::new(StanzaKind::Iq, contact, client).with_type("get").with_id(&id).with_child(query),
        );
        self.timers.set(id.clone(), cx.now.tick + WAIT);
        self.open.insert(id, Question { client: client.clone(), ver: ver.to_owned() });
    }

    /// An answer. False when it is none of ours.
    fn answered(&mut self, cx: &mut Cx<'_>, stanza: &Stanza) -> bool {
        let Some(id) = stanza.id() else { return false };
        if self.open.get(id).is_none_or(|question| stanza.from() != Some(&question.client)) {
            return false;
        }
        let Some(question) = self.open.remove(id) else { return false };
        self.timers.stop(&id.to_owned());
        let query = stanza.element.child("query", ns::DISCO_INFO);
        if let Some(query) = query.filter(|_| stanza.type_() == Some("result")) {
            let has = |wanted| hash::features(query).any(|feature| feature == wanted);
            let can = Ability { receipts: has(ns::RECEIPTS), states: has(ns::CHAT_STATES) };
            if hash::sha1(query).is_some_and(|ver| ver == question.ver) {
                cx.facts.clients.proved(&question.ver, can);
            } else {
                cx.facts.clients.says(&question.client, can);
            }
        }
        true
    }
}
