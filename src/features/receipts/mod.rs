//! Receipts and read marks: XEP-0184 and XEP-0333 between RFC 5438 (IMDN) and the reports of MSRP sessions.
//!
//! Proof or nothing: what a SIP device reports is passed to the client that asked, and what an XMPP client confirms to the
//! SIP user who asked; nothing is confirmed here that nobody has said, no confirmation is confirmed, and each is passed
//! once however many devices give it. That a message failed on the way is told by whoever carried it; a notification
//! of failure (`failed`) is the only one that becomes an error.
//!
//! What XMPP users sent is remembered in memory, bounded; what SIP users asked is kept on disk, since a person may read
//! a message after a restart. Reports inside sessions are the chat's: it hears from here what clients confirm.

mod asked;
mod sent;
mod unanswered;

use std::sync::Arc;
use std::time::Duration;

use self::asked::{Question, Questions};
use self::sent::{Memory, Remembered};
use self::unanswered::Unanswered;
use super::devices::Ability;
use super::signal::{Heard, Told, Whisper};
use super::{Cx, Feature, Incoming, Manifest, Signal, content, errors};
use crate::documents::imdn::{self, Imdn, Status};
use crate::features::audit::view::View;
use crate::gateway::LinkId;
use crate::sip::message::{Method, Reply};
use crate::store::record::Restored;
use crate::words::condition::{Condition, Kind};
use crate::words::time::Tick;
use crate::xmpp::jid::Jid;
use crate::xmpp::ns;
use crate::xmpp::stanza::{Element, Stanza, StanzaKind};

static MANIFEST: Manifest = Manifest {
    name: "receipts",
    follows: &["RFC 7573 §7", "RFC 5438 §7", "XEP-0184", "XEP-0333"],
    summary: "Who asks whether a message arrived or was read is told when somebody has proof",
    methods: &["MESSAGE"],
    events: &[],
    disco: &[ns::RECEIPTS, ns::MARKERS],
    records: &[asked::RECORD],
};

/// A contact that may not or cannot give notifications is not asked again for so long.
const UNTOLD: Duration = Duration::from_secs(24 * 3600);

/// See the module.
#[derive(Debug, Default)]
pub struct Receipts {
    /// What XMPP users sent.
    sent: Memory,
    /// What SIP users asked.
    questions: Questions,
    /// Who is asked and does not answer.
    unanswered: Unanswered,
}

impl Feature for Receipts {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    fn stanza(&mut self, cx: &mut Cx<'_>, _link: LinkId, stanza: &Stanza) -> bool {
        if stanza.kind != StanzaKind::Message || matches!(stanza.type_(), Some("error" | "groupchat")) {
            return false;
        }
        let Some(user) = stanza.from() else { return false };
        let mut found = false;
        for child in stanza.element.children() {
            let displayed = match (child.name(), child.ns()) {
                ("received", ns::RECEIPTS) | ("received", ns::MARKERS) => false,
                // `acknowledged` was part of older versions, and says as much.
                ("displayed" | "acknowledged", ns::MARKERS) => true,
                _ => continue,
            };
            let Some(id) = child.attr("id") else { continue };
            found = true;
            cx.signal(Signal::Received { id: id.to_owned(), user: user.clone(), displayed });
            for (question, status) in self.questions.confirmed(user, id, displayed) {
                if let Some(status) = status {
                    notify(cx, &question, status);
                }
                if question.is_answered() {
                    cx.forget(question.key());
                } else {
                    cx.save(question.record());
                }
            }
        }
        // With a body it is a message as well, and the pager's.
        found && !stanza.element.children().any(|child| child.is("body", ns::COMPONENT))
    }

    fn request(&mut self, cx: &mut Cx<'_>, incoming: &Incoming) -> bool {
        if incoming.request.method != Method::Message || incoming.to_tag.is_some() {
            return false;
        }
        let Some(body) = content::notice(&incoming.request, imdn::TYPE) else { return false };
        let Some((user, contact)) = incoming.jids.clone() else { return false };
        let heard = Heard {
            user,
            contact,
            sender: incoming.from.clone(),
            type_: imdn::TYPE.to_owned(),
            body: body.into_owned().into(),
        };
        let reply = match self.heard(cx, &heard) {
            Ok(()) => Reply::new(200),
            Err(reason) => Reply::new(400).because(reason),
        };
        cx.reply(incoming.key, reply);
        true
    }

    fn signal(&mut self, cx: &mut Cx<'_>, signal: &Signal) {
        match signal {
            Signal::Heard(heard) if heard.type_ == imdn::TYPE => {
                // In a session nobody waits for an answer.
                let _ = self.heard(cx, heard);
            }
            Signal::Sent(sent) => self.sent.remember(sent),
            Signal::Awaited { user, contact, device, name } => {
                let known = self.sent.reported(user, contact, name);
                if known.is_some_and(|known| known.receipt && !known.delivered && !known.failed) {
                    self.unanswered.asked(cx.now.tick, contact, device);
                }
            }
            Signal::Asked(asked) => {
                let (record, oldest) = self.questions.ask(cx.now.wall, asked);
                cx.save(record);
                oldest.into_iter().for_each(|key| cx.forget(key));
            }
            Signal::Undelivered { user, contact, id, told } => {
                let Some((question, is_told)) = self.questions.failed(user, id, *told) else {
                    // Where it was answered, a client has the message, and the sender knows.
                    if *told == Told::No && self.questions.was_forgotten(id) {
                        errors::untold(cx, user, contact, "too-old");
                    }
                    return;
                };
                if is_told {
                    notify(cx, &question, Status::Failed);
                }
                if question.is_answered() {
                    cx.forget(question.key());
                } else {
                    cx.save(question.record());
                }
            }
            Signal::Proved { user, to, id, contact, name } => match self.sent.reported(user, contact, name) {
                Some(remembered) => deliver(cx, remembered),
                None => {
                    let answer = receipt(cx, user, to, id, "received", ns::RECEIPTS);
                    cx.stanza(answer);
                }
            },
            _ => {}
        }
    }

    fn restored(&mut self, cx: &mut Cx<'_>, record: &Restored) {
        if let Err(error) = self.questions.restored(record) {
            cx.unreadable(record, error);
        }
    }

    fn view(&self, record: &Restored) -> Result<View, String> {
        asked::Question::view(record)
    }

    fn start(&mut self, cx: &mut Cx<'_>) {
        self.timeout(cx);
    }

    fn next_timeout(&self) -> Option<(Tick, &'static str)> {
        let at = [self.questions.next_timeout(), self.unanswered.next_timeout()];
        at.into_iter().flatten().min().map(|at| (at, "receipts"))
    }

    fn timeout(&mut self, cx: &mut Cx<'_>) {
        for key in self.questions.expired(cx.now) {
            cx.forget(key);
        }
        while let Some((contact, device)) = self.unanswered.silent(cx.now.tick) {
            cx.facts.devices.shows(cx.now.tick, &contact, &device, Ability::Imdn, false);
        }
    }
}

impl Receipts {
    /// A contact reports on a message; the reason when that cannot be read.
    fn heard(&mut self, cx: &mut Cx<'_>, heard: &Heard) -> Result<(), String> {
        let told = Imdn::parse(&heard.body).map_err(|error| {
            cx.count("notices_unreadable_total", &[("type", "report")]);
            error.to_string()
        })?;
        self.unanswered.answered(&heard.sender.aor);
        let (contact, device) = (&heard.sender.aor, heard.sender.gr.as_deref().unwrap_or_default());
        if told.status == Status::Untold {
            cx.facts.devices.lacks(cx.now.tick, contact, device, Ability::Imdn, UNTOLD);
        } else {
            cx.facts.devices.shows(cx.now.tick, contact, device, Ability::Imdn, true);
        }
        let Some(remembered) = self.sent.reported(&heard.user, contact, &told.message_id) else {
            cx.count("reports_unmatched_total", &[]);
            return Ok(());
        };
        match told.status {
            Status::Delivered => deliver(cx, remembered),
            Status::Displayed => {
                deliver(cx, remembered);
                if remembered.marker && !std::mem::replace(&mut remembered.displayed, true) {
                    let (user, to, id) = (&remembered.user, &remembered.to, &remembered.id);
                    let marker = receipt(cx, user, to, id, "displayed", ns::MARKERS);
                    cx.stanza(marker);
                }
            }
            Status::Failed if !remembered.delivered && !std::mem::replace(&mut remembered.failed, true) => {
                let text = "The other side's device says that it could not be delivered.";
                let stanza = Stanza::new(StanzaKind::Message, &remembered.user, &remembered.to)
                    .with_type("chat")
                    .with_id(&remembered.id);
                let condition = Condition::new(Kind::RecipientUnavailable, text);
                if let Some(error) = errors::stanza_error(&stanza, &condition) {
                    cx.stanza(error);
                }
            }
            Status::Failed | Status::Untold | Status::Other => {}
        }
        Ok(())
    }
}

/// Tells who asked what became of his message.
fn notify(cx: &mut Cx<'_>, question: &Question, status: Status) {
    let told = Imdn { message_id: question.message_id.clone(), datetime: Some(question.written), status };
    cx.signal(Signal::Whisper(Arc::new(Whisper {
        user: question.user.clone(),
        to: question.sender.clone(),
        type_: imdn::TYPE,
        body: told.write().into(),
        keep: true,
    })));
}

/// Tells the sender once that a device has it, if she asked.
fn deliver(cx: &mut Cx<'_>, remembered: &mut Remembered) {
    if !std::mem::replace(&mut remembered.delivered, true) && remembered.receipt {
        let (user, to, id) = (&remembered.user, &remembered.to, &remembered.id);
        let receipt = receipt(cx, user, to, id, "received", ns::RECEIPTS);
        cx.stanza(receipt);
    }
}

/// A confirmation to an XMPP user, from the contact as she wrote it. It asks for none itself (XEP-0184 §5.3).
fn receipt(cx: &mut Cx<'_>, user: &Jid, to: &Jid, id: &str, name: &'static str, ns: &'static str) -> Stanza {
    let own = cx.token_for(user);
    let stanza = Stanza::new(StanzaKind::Message, to, user).with_id(&own);
    stanza.with_type("chat").with_child(Element::new(name, ns).with("id", id))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::config::Config;
    use crate::documents::imdn::Wanted;
    use crate::features::Op;
    use crate::features::facts::Facts;
    use crate::features::signal::Asked;
    use crate::gateway::Domains;
    use crate::msrp::connections::Connections;
    use crate::msrp::reassembly::Limits;
    use crate::sip::uri::SipAddress;
    use crate::words::id::{Mint, Seed};
    use crate::words::note::{Level, Note};
    use crate::words::time::Now;

    /// What the feature does when it hears this.
    fn hears(receipts: &mut Receipts, signal: &Signal) -> Vec<Op> {
        let (config, mut ops) = (Config::empty(), VecDeque::new());
        let mut cx = Cx {
            now: Now::default(),
            mint: &mut Mint::new(Seed([1; 32])),
            config: &config,
            domains: &Domains::new(&config),
            facts: &mut Facts::default(),
            msrp: &mut Connections::new(Limits { message: 0, session: 0 }, 0),
            links: &[true],
            restoring: false,
            accepting: true,
            level: Level::Debug,
            ops: &mut ops,
        };
        receipts.signal(&mut cx, signal);
        ops.into()
    }

    #[test]
    fn a_failure_whose_question_was_forgotten_is_counted_and_logged() {
        let user = Jid::parse("juliet@example.com").unwrap();
        let sender = SipAddress::parse("sip:romeo@example.net").unwrap();
        let wanted = Wanted { delivery: false, failure: true, display: false };
        let undelivered = |id: &str| Signal::Undelivered {
            user: user.clone(),
            contact: sender.aor.clone(),
            id: id.into(),
            told: Told::No,
        };
        let mut receipts = Receipts::default();
        let (id, message_id, written) = ("m1".to_owned(), "imdn1".to_owned(), crate::words::time::Wall(1));
        let asked = Asked { user: user.clone(), sender: sender.clone(), id, message_id, wanted, written };
        hears(&mut receipts, &Signal::Asked(asked.clone().into()));
        let is_untold = |op: &Op| {
            matches!(op, Op::Note(Note::Count { name, .. }) if *name == "late_errors_untold_total")
                || matches!(op, Op::Note(Note::Log { event, .. }) if *event == "late-error-untold")
        };
        let told = hears(&mut receipts, &undelivered("m1"));
        assert!(told.iter().any(|op| matches!(op, Op::Signal(Signal::Whisper(_)))));
        assert_eq!(told.iter().filter(|op| is_untold(op)).count(), 0);
        let ask = |receipts: &mut Receipts, id: &str| {
            let asked = Asked { id: id.into(), message_id: id.into(), ..asked.clone() };
            hears(receipts, &Signal::Asked(asked.into()));
        };
        // What a client has is answered: an error that comes all the same is no failure that nobody hears of.
        ask(&mut receipts, "m2");
        receipts.questions.confirmed(&user, "m2", false);
        assert_eq!(hears(&mut receipts, &undelivered("m2")).iter().filter(|op| is_untold(op)).count(), 0);
        ask(&mut receipts, "m3");
        let start = Now::default();
        receipts.questions.expired(start);
        let week = Duration::from_secs(7 * 24 * 3600);
        let later = Now { tick: start.tick + week, wall: start.wall_at(start.tick + week) };
        assert_eq!(receipts.questions.expired(later).len(), 1);
        assert_eq!(hears(&mut receipts, &undelivered("m3")).iter().filter(|op| is_untold(op)).count(), 2);
    }
}
