//! What must be true, of each word as it comes, when all is at rest, and at the end.

use mostar::gateway::Output;
use mostar::xmpp::ns;
use mostar::xmpp::stanza::StanzaKind;

use super::phone::Stage;
use super::support::invariants::Invariant::*;
use super::support::process::Host;
use super::world::{Given, World};

crate::tally! {
    /// What has happened, so that nobody believes in a room where nothing does.
    Tally {
        called,
        entered,
        conflicts,
        said,
        whispered,
        heard,
        taken,
        renamed,
        expelled,
        subjects,
        pings,
        invited,
        declined,
        rang,
        referred,
        progress,
        watched,
        documents,
        held,
        cut,
        links,
        forgotten,
        in_at_rest,
    }
}

/// A line of a SIP user's.
#[derive(Debug)]
pub struct Line {
    call: usize,
    private: bool,
    /// Its places in what was said.
    pub orders: Vec<u64>,
    /// How often it was passed on to one alone.
    pub passed: u32,
    code: Option<u16>,
    /// A report has said that it did not arrive.
    failed: bool,
}

impl Line {
    pub fn new(call: usize, private: bool) -> Line {
        Line { call, private, orders: Vec::new(), passed: 0, code: None, failed: false }
    }
}

/// How much of what was given a call has heard.
#[derive(Debug, Default)]
pub struct Heard {
    /// So much of it is heard, or need not be.
    cursor: usize,
    /// The place of the last line that was heard.
    last: Option<u64>,
    /// Own lines were answered that stand here.
    floor: Option<u64>,
}

impl World {
    /// A line of the room reaches the gateway.
    pub fn given(&mut self, to: &str, given: Given) {
        if let Some(call) = self.calls.iter_mut().rfind(|call| call.jid.as_deref() == Some(to)) {
            let is_subject =
                |given: &&Given| given.text.starts_with("Subject") || given.text.starts_with("The room has");
            let before = call.given.iter().rfind(is_subject).map(|before| before.text.as_str());
            // That there is none is news only to who knew of one.
            let known =
                is_subject(&&given) && before.unwrap_or("The room has no subject any more") == given.text;
            if !known {
                call.given.push(given);
            }
        }
    }

    /// The gateway has made something.
    pub fn is_made(&mut self, output: &Output) {
        match output {
            Output::Stanza(_, stanza) if stanza.kind == StanzaKind::Presence && stanza.type_().is_none() => {
                let Some(from) = stanza.from().filter(|_| stanza.element.child("x", ns::MUC).is_some())
                else {
                    return;
                };
                let known = self.calls.iter().any(|call| call.jid.as_deref() == Some(from.as_str()));
                // Who picked up while the link was down enters later, and who called before the records were back.
                let (room, to) = (stanza.to().map(|to| to.bare().to_string()), from.to_string());
                let later = self.calls.iter().position(|call| {
                    call.jid.is_none()
                        && (matches!(call.stage, Stage::Calling | Stage::Up) || call.leaves)
                        && Some(&self.rooms[call.room].jid) == room.as_ref()
                        && to.starts_with(&format!("p{}@", call.phone))
                });
                match self.cause.or(later) {
                    _ if known => {}
                    Some(call) => self.calls[call].jid = Some(from.to_string()),
                    None => self.wrong(format!("{from} enters, and nobody has asked for it")),
                }
            }
            Output::Sip(out) if out.bytes.starts_with(b"NOTIFY") => {
                self.pace(&String::from_utf8_lossy(&out.bytes));
            }
            _ => {}
        }
    }

    /// A phone hears a line.
    pub fn hears_line(&mut self, call: usize, text: &str, private: bool) {
        self.tally.heard += 1;
        let it = &mut self.calls[call];
        let rest = &it.given[it.heard.cursor..];
        let fits = |given: &Given| given.text == text && !given.own;
        let Some(place) = rest.iter().position(fits) else {
            let given: Vec<&str> = rest.iter().map(|given| short(&given.text)).collect();
            let words = format!("call {call} hears {:?}, where {given:?} was said", short(text));
            return self.wrong(words);
        };
        let missing = rest[..place].iter().find(|given| given.needed).map(|given| given.text.clone());
        let order = rest[place].order;
        it.heard.cursor += place + 1;
        if let Some(order) = order {
            it.heard.last = Some(order);
            if !it.was_held && it.heard.floor.is_some_and(|floor| order < floor) {
                self.wrong(format!(
                    "call {call} hears {:?} behind an own line that came after it",
                    short(text)
                ));
            }
        }
        if private && order.is_some() {
            self.wrong(format!("call {call} hears {:?} as if it were for it alone", short(text)));
        }
        if let Some(missing) = missing {
            self.wrong(format!(
                "call {call} hears {:?}, and has not heard {:?}",
                short(text),
                short(&missing)
            ));
        }
    }

    /// A line of a phone's is answered.
    pub fn answered(&mut self, call: usize, text: &str, code: u16) {
        let Some(line) = self.lines.get_mut(text) else { return };
        line.code = Some(code);
        self.tally.taken += u64::from(code == 200);
        let (private, orders) = (line.private, line.orders.clone());
        if private {
            return;
        }
        let order = match (code, orders.as_slice()) {
            (200, [order]) => *order,
            (200, _) | (_, [_, _, ..]) => {
                let what =
                    format!("{:?} is answered {code}, and was said {} times", short(text), orders.len());
                return self.broken(Msrp, what);
            }
            (408, _) | (_, []) => return,
            _ => {
                return self.broken(Refused, format!("{:?} is refused ({code}), and was said", short(text)));
            }
        };
        if text.starts_with("Subject") {
            return;
        }
        let it = &mut self.calls[call];
        let last = it.heard.last;
        it.heard.floor = it.heard.floor.max(Some(order));
        if !it.was_held && last.is_some_and(|last| last > order) {
            let what = format!("call {call}: {:?} is answered behind a line that came after it", short(text));
            self.wrong(what);
        }
    }

    /// A report about a line comes.
    pub fn reported(&mut self, call: usize, _message_id: &str, code: u16) {
        if code != 200 {
            let late =
                self.lines.values_mut().filter(|line| line.call == call && line.private && line.passed == 0);
            late.for_each(|line| line.failed = true);
        }
    }

    /// NICKNAME is answered.
    pub fn named(&mut self, call: usize, nick: &str, code: u16) {
        let Some(jid) = self.calls[call].jid.clone() else { return };
        let has = self.rooms[self.calls[call].room].nick_of(&jid).as_deref() == Some(nick);
        if code == 200 && !has && !self.named.contains(&(jid, nick.to_owned())) {
            self.wrong(format!("call {call} is told that it is {nick}, and never was"));
        }
    }

    /// Everything has come to rest, and people are in the rooms.
    pub fn judge_rest(&mut self) {
        self.process.checks.held(Rooms);
        let up: Vec<usize> =
            (0..self.calls.len()).filter(|call| self.calls[*call].stage == Stage::Up).collect();
        let mut there: Vec<String> =
            self.rooms.iter().flat_map(|room| room.of_sip()).map(|(_, jid)| jid).collect();
        self.tally.in_at_rest += up.len() as u64;
        for call in up {
            let it = &self.calls[call];
            let (jid, room) = (it.jid.clone().unwrap_or_default(), it.room);
            if self.rooms[room].nick_of(&jid).is_none() {
                self.wrong(format!("call {call} is up, and {jid} is not in the room"));
            }
            there.retain(|other| *other != jid);
            let it = &self.calls[call];
            if it.conn.is_none() || !it.open {
                self.wrong(format!("call {call} is up, and cannot talk"));
            } else if let Some(missing) = it.given[it.heard.cursor..].iter().find(|given| given.needed) {
                let missing = short(&missing.text).to_owned();
                self.wrong(format!("call {call} has not heard {missing:?}"));
            } else if !it.waiting.is_empty() {
                self.wrong(format!("call {call} has no answer to {:?}", it.waiting));
            }
        }
        if !there.is_empty() {
            self.wrong(format!("ghosts: {there:?}"));
        }
        if self.rooms.iter().any(|room| room.locked && !room.of_sip().is_empty()) {
            self.wrong("a room stays locked".into());
        }
        for number in 0..self.subs.len() {
            self.judge_watcher(number);
        }
        let seats = self.calls.iter().filter(|call| call.stage == Stage::Up).count() as i64;
        let said = self.process.door.seats();
        self.hold(Rooms, said == seats, || format!("the figures say {said} seats, and there are {seats}"));
    }

    fn judge_watcher(&mut self, number: usize) {
        let sub = &self.subs[number];
        if sub.over || !sub.active || self.calls[sub.call].stage != Stage::Up {
            return;
        }
        let room = &self.rooms[self.calls[sub.call].room];
        let there: std::collections::BTreeMap<String, String> = room
            .occupants
            .iter()
            .map(|(nick, occupant)| (entity(&room.jid, nick), occupant.role.to_owned()))
            .collect();
        let seen: std::collections::BTreeMap<String, String> = sub
            .users
            .iter()
            .map(|(entity, role)| {
                (
                    entity.clone(),
                    if role == "visitor" || role == "observer" { "visitor".into() } else { role.clone() },
                )
            })
            .collect();
        if seen != there {
            let text = format!("watcher {number} sees {seen:?}, and there are {there:?}");
            return self.wrong(text);
        }
        if sub.subject != room.subject {
            let text = format!("watcher {number} reads {:?}, the subject is {:?}", sub.subject, room.subject);
            self.wrong(text);
        }
    }

    /// Everybody has left.
    pub fn judge_end(&mut self) {
        let ghosts: Vec<(String, String)> = self.rooms.iter().flat_map(|room| room.of_sip()).collect();
        if !ghosts.is_empty() {
            self.wrong(format!("ghosts at the end: {ghosts:?}"));
        }
        let wires = self.wires.iter().any(|wire| wire.kept);
        let (checks, process) = (&mut self.process.checks, &self.process.gateway);
        let (load, timeout) = (process.load(), process.next_timeout());
        checks.hold(Rest, load == 0, || format!("{load} things are still held: {timeout:?}"));
        let kept: Vec<&String> = self.process.store.keys().collect();
        checks.hold(Rest, kept.is_empty(), || format!("still kept: {kept:?}"));
        checks.hold(Rest, !wires, || "a connection is still kept".into());
        self.process.door.is_at_rest(checks);
        for (text, line) in &self.lines {
            let once = line.orders.len() <= 1 && line.passed <= 1;
            let lost = line.private && line.code == Some(200) && line.passed == 0 && !line.failed;
            let refused = line.private && line.passed > 0 && !matches!(line.code, None | Some(200 | 408));
            let what = || format!("{:?}: {line:?}", short(text));
            checks.hold(Msrp, once, what);
            checks.hold(Fate, !lost, what);
            checks.hold(Refused, !refused, what);
        }
    }
}

/// How somebody is named in a roster.
fn entity(room: &str, nick: &str) -> String {
    let mut text = format!("sip:{room};gr=");
    for byte in nick.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => text.push(byte as char),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

fn short(text: &str) -> &str {
    &text[..text.len().min(40)]
}
