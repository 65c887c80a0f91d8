//! What can be seen at the gateway's own door, in every simulation: the log of what went in, came out and was counted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mostar::gateway::{Input, Output};
use mostar::sip::flow::SendId;
use mostar::sip::framing;
use mostar::sip::message::{HeaderName, Message, text};
use mostar::words::note::Note;
use mostar::words::time::Tick;
use mostar::xmpp::stanza::Stanza;

use super::{Checks, Invariant};

/// A request without an answer is given up after this (RFC 3261 §17.1.2.2, Timer F).
const PATIENCE: Duration = Duration::from_secs(32);

/// Kind, id and both addresses of a stanza, as its answer has them.
type Name = (String, String, String, String);

/// What the door remembers of a run.
#[derive(Debug, Default)]
pub struct Door {
    /// The final answer to each request that came in, by its branch, Call-ID and CSeq.
    answers: BTreeMap<String, u16>,
    /// MESSAGEs that went out and have no answer, by their From with its tag, which each has of its own: the attempt, when
    /// it began, and what the shell calls it.
    out: BTreeMap<String, (String, Tick, Option<SendId>)>,
    /// The Call-ID of each of them, by the same.
    names: BTreeMap<String, String>,
    /// Stanzas that came in as errors, and those that did not.
    errors: BTreeSet<Name>,
    asked: BTreeSet<Name>,
    figures: Figures,
}

/// What the figures of the gateway say: accepted = delivered + refused + expired + withdrawn + queued + in flight.
#[derive(Clone, Debug, Default)]
struct Figures {
    /// To XMPP, to SIP: accepted; what became of it; what waits or flies.
    sides: [[i64; 4]; 2],
    sessions: i64,
    seats: i64,
}

impl Door {
    /// Something goes in.
    pub fn goes_in(&mut self, input: &Input) {
        match input {
            Input::Stanza(_, stanza) => {
                let is_error = stanza.type_() == Some("error");
                let names = if is_error { &mut self.errors } else { &mut self.asked };
                names.insert(name_of(stanza, false));
            }
            Input::SendFailed(id, _) => self.out.retain(|_, (_, _, sent)| *sent != Some(*id)),
            Input::Sip(_, message) => {
                if let Message::Response(response) = &**message
                    && response.status.code() >= 200
                {
                    let own = branch(&text(&response.headers, &HeaderName::Via).unwrap_or_default());
                    self.out.retain(|_, (branch, ..)| *branch != own);
                }
            }
            _ => {}
        }
    }

    /// Something comes out; what overtakes need not wait for the disk.
    pub fn comes_out(&mut self, checks: &mut Checks, now: Tick, output: &Output, overtakes: bool) {
        if let Some((name, cseq, status)) = final_answer(output) {
            let is_kept = ["MESSAGE", "INVITE", "SUBSCRIBE"].iter().any(|method| cseq.ends_with(method));
            if is_kept && status < 300 {
                checks.hold(Invariant::Commit, !overtakes, || {
                    format!("{status} to {name} does not wait for the disk")
                });
            }
        }
        match output {
            Output::Stanza(_, stanza) if stanza.type_() == Some("error") => {
                let name = name_of(stanza, true);
                let for_error = self.errors.contains(&name) && !self.asked.contains(&name);
                checks.hold(Invariant::Quiet, !for_error, || {
                    format!("an error is answered by {}", stanza.to_xml())
                });
            }
            Output::Sip(out) if out.bytes.starts_with(b"MESSAGE ") => {
                if let Ok(Message::Request(request)) = framing::datagram(out.bytes.clone()) {
                    let field = |name| text(&request.headers, &name).unwrap_or_default();
                    let (from, own) = (field(HeaderName::From), branch(&field(HeaderName::Via)));
                    self.is_named(checks, &from, field(HeaderName::CallId));
                    self.is_sent(checks, now, from, own, out.id);
                }
            }
            _ => {}
        }
    }

    /// All attempts at a message have one Call-ID, over restarts too.
    fn is_named(&mut self, checks: &mut Checks, from: &str, call_id: String) {
        let known = self.names.entry(from.to_owned()).or_insert_with(|| call_id.clone());
        let is_same = *known == call_id;
        checks
            .hold(Invariant::Once, is_same, || format!("an attempt of {from} is {call_id}, and was {known}"));
    }

    fn is_sent(&mut self, checks: &mut Checks, now: Tick, from: String, own: String, id: Option<SendId>) {
        let before = self.out.get(&from).filter(|(_, began, _)| now < *began + PATIENCE);
        let is_alone = before.is_none_or(|(branch, ..)| *branch == own);
        checks.hold(Invariant::Once, is_alone, || format!("two requests are out for the message {from}"));
        let began = self.out.get(&from).filter(|(branch, ..)| *branch == own).map_or(now, |out| out.1);
        self.out.insert(from, (own, began, id));
    }

    /// Something leaves the process. An answer that dies with it is none.
    pub fn leaves(&mut self, checks: &mut Checks, output: &Output) {
        let Some((name, _, status)) = final_answer(output) else { return };
        // 503 asks for another attempt.
        let before = self.answers.insert(name.clone(), status);
        if let Some(before) = before.filter(|before| *before != 503) {
            checks.hold(Invariant::Again, before == status, || format!("{name} got {before}, then {status}"));
        }
    }

    /// The gateway counts something.
    pub fn counts(&mut self, note: &Note) {
        let side = |labels: &str| usize::from(labels.contains("xmpp_to_sip"));
        let figures = &mut self.figures;
        match note {
            Note::Count { name: "messages_total", labels, by } => {
                let side = &mut figures.sides[side(labels[0].1)];
                side[usize::from(!matches!(labels[1].1, "accepted" | "restored"))] += *by as i64;
            }
            Note::Gauge { name: "messages_queued", labels, by } => figures.sides[side(&labels[0].1)][2] += by,
            Note::Gauge { name: "messages_in_flight", labels, by } => {
                figures.sides[side(&labels[0].1)][3] += by;
            }
            Note::Gauge { name: "msrp_sessions", by, .. } => figures.sessions += by,
            Note::Gauge { name: "room_seats", by, .. } => figures.seats += by,
            _ => {}
        }
    }

    /// All of one step has been counted: the figures must add up.
    pub fn adds_up(&mut self, checks: &mut Checks) {
        let is_right = |[accepted, over, queued, flying]: &[i64; 4]| {
            *accepted == over + queued + flying && *queued >= 0 && *flying >= 0
        };
        let Figures { sides, sessions, seats } = &self.figures;
        let right = sides.iter().all(is_right) && *sessions >= 0 && *seats >= 0;
        checks.hold(Invariant::Fate, right, || format!("the figures do not add up: {:?}", self.figures));
    }

    /// How many seats of rooms there are, as the figures say.
    pub fn seats(&self) -> i64 {
        self.figures.seats
    }

    /// All is over: nothing waits, flies or is open.
    pub fn is_at_rest(&self, checks: &mut Checks) {
        let Figures { sides, sessions, seats } = &self.figures;
        let nothing = sides.iter().all(|[_, _, queued, flying]| *queued == 0 && *flying == 0);
        checks.hold(Invariant::Rest, nothing && *sessions == 0 && *seats == 0, || {
            format!("the figures say that something is left: {:?}", self.figures)
        });
    }

    /// The process has died: its figures begin anew, and what only it knew of answers is gone.
    pub fn dies(&mut self) {
        self.figures = Figures::default();
        self.out.clear();
        self.answers.retain(|name, _| name.ends_with("MESSAGE"));
    }
}

/// The request that a final SIP answer is to, by branch, Call-ID and CSeq; its CSeq; and the status.
fn final_answer(output: &Output) -> Option<(String, String, u16)> {
    let Output::Sip(out) = output else { return None };
    if !out.bytes.starts_with(b"SIP/2.0 ") {
        return None;
    }
    let Ok(Message::Response(response)) = framing::datagram(out.bytes.clone()) else { return None };
    let field = |name| text(&response.headers, &name).unwrap_or_default();
    let (status, cseq) = (response.status.code(), field(HeaderName::CSeq));
    let name = format!("{} {} {cseq}", branch(&field(HeaderName::Via)), field(HeaderName::CallId));
    (status >= 200).then_some((name, cseq, status))
}

/// The name of a transaction, of the topmost Via.
fn branch(via: &str) -> String {
    let branch = via.split("branch=").nth(1).unwrap_or_default();
    branch.split([';', ',']).next().unwrap_or_default().to_owned()
}

/// The name of a stanza, or of the one that this is the answer to.
fn name_of(stanza: &Stanza, turned: bool) -> Name {
    let address = |jid: Option<&mostar::xmpp::jid::Jid>| jid.map(ToString::to_string).unwrap_or_default();
    let (from, to) = (address(stanza.from()), address(stanza.to()));
    let (from, to) = if turned { (to, from) } else { (from, to) };
    (format!("{:?}", stanza.kind), stanza.id().unwrap_or_default().to_owned(), from, to)
}
