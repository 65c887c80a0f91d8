//! One session as the chat sees it: whose it is, how far it has come, what the other side takes, and the lines that are
//! not settled. A plain value: what follows from it is said elsewhere.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::describe;
use super::probing::Question;
use crate::documents::{cpim, iscomposing};
use crate::features::leg::Leg;
use crate::features::sessions::Break;
use crate::features::signal::{Carry, Whisper};
use crate::msrp::connections::SessionId;
use crate::msrp::path::Path;
use crate::sip::sdp::message::MessageLine;
use crate::sip::uri::{Aor, SipAddress};
use crate::sip::usage::session::Body;
use crate::words::condition::Condition;
use crate::words::time::Tick;
use crate::xmpp::jid::Jid;

/// Another device that wrote so lately still talks (XEP-0085 knows only one).
const LATELY: Duration = Duration::from_secs(600);
/// A REPORT that left so lately may not have arrived: as long as an answer may take (RFC 4975 §7.1.1). How many such
/// are remembered.
const JUST_NOW: Duration = Duration::from_secs(30);
const REPORTED: usize = 32;
/// How many devices of the user are told apart.
const WRITERS: usize = 8;

/// Names a session in memory.
pub type TalkId = u64;

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Our offer is out, by INVITE or by a 200, and not answered.
    Calling,
    /// Their INVITE waits for our word.
    Asked,
    /// Both have agreed; the MSRP connection is not there yet.
    Agreed,
    /// It is there.
    Open,
    /// It takes no more lines; what is outstanding may still come.
    Parting,
    /// Only loose ends of SIP are left.
    Over,
}

/// How a text is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    Plain,
    /// In a CPIM envelope.
    Wrapped,
}

/// A line of the user's that is not settled.
#[derive(Debug)]
pub struct Line {
    /// What and for whom.
    pub carry: Arc<Carry>,
    /// The MSRP session that it was given to.
    pub sent: Option<SessionId>,
    /// The pager knows its fate; only a report is awaited.
    pub told: bool,
    /// It was refused in the one style, and sent in the other.
    pub turned: bool,
    /// It went as HTML.
    pub rich: bool,
}

/// An MSRP session that is left for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Which.
    pub session: SessionId,
    /// The other one is there; this one only finishes.
    pub replaced: bool,
}

/// An MSRP session with a newer path of ours (RFC 4976 §9.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewing {
    /// Which.
    pub session: SessionId,
    /// The path, once the relay has granted it, and the description that offers it.
    pub offered: Option<(Path, Body)>,
}

/// What the other side said that it takes.
#[derive(Debug, Default)]
pub struct Taste {
    /// Texts as they are.
    pub plain: bool,
    /// CPIM with a text in it.
    pub cpim: bool,
    /// CPIM before all else: then texts should go in nothing else (RFC 4975 §13).
    pub cpim_first: bool,
    /// Typing notifications, and how.
    pub composing: Option<Composing>,
    /// HTML, by its name: who takes all of `text/*` may show it with its tags.
    pub html: bool,
}

/// How typing notifications are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Composing {
    /// As they are.
    Bare,
    /// In CPIM alone.
    Wrapped,
}

impl Taste {
    /// Reads it from the line of a description.
    pub fn of(line: &MessageLine) -> Taste {
        let cpim = line.accepts(cpim::TYPE);
        let cpim_first = line.accept_types.first().is_some_and(|type_| type_ == cpim::TYPE);
        let composing = if line.accepts(iscomposing::TYPE) {
            Some(Composing::Bare)
        } else if cpim && line.accepts_wrapped(iscomposing::TYPE) {
            Some(Composing::Wrapped)
        } else {
            None
        };
        let named = |types: &[String]| types.iter().any(|type_| type_ == "text/html");
        let html = named(&line.accept_types) || cpim && named(&line.accept_wrapped_types);
        Taste { plain: line.accepts("text/plain"), cpim, cpim_first, composing, html }
    }
}

/// Failures that were reported.
#[derive(Debug, Default)]
struct Reports(VecDeque<Reported>);

/// When, in which MSRP session, of which stanza, and why.
#[derive(Debug)]
struct Reported {
    at: Tick,
    session: SessionId,
    id: String,
    failure: Condition,
}

/// See the module.
#[derive(Debug)]
pub struct Talk {
    /// The user, bare.
    pub user: Jid,
    /// The user as the other side addressed her, where it named a device.
    pub named: Option<Jid>,
    /// The contact.
    pub contact: Aor,
    /// The contact's address, with the device where that has a GRUU.
    pub sender: SipAddress,
    /// The same as a JID.
    pub jid: Jid,
    /// The device, as it is known in the facts: its `gr`, else its Contact; empty before it has shown one.
    pub device: String,
    /// The device that we meant when we called.
    pub meant: String,
    /// We opened it.
    pub ours: bool,
    /// SIP, and MSRP while there is one.
    pub leg: Leg,
    /// Their offer, while it is not answered.
    pub offer: Option<Box<describe::Offered>>,
    /// What the user's server is asked, while its answer is not known.
    pub question: Option<Box<Question>>,
    /// The MSRP session whose place the leg's takes, until it has said all.
    pub leaving: Option<Leaving>,
    /// The MSRP session that shall take its place, by our own wish.
    pub renewing: Option<Box<Renewing>>,
    /// How far it is.
    pub stage: Stage,
    /// It was open once.
    pub opened: bool,
    /// What they take.
    pub taste: Taste,
    /// How texts go.
    pub style: Style,
    /// Until when lines wait for them to let us go on.
    pub held_until: Option<Tick>,
    /// When typing was told last, and what has come since: the latest.
    pub typed: Option<Tick>,
    pub typing: Option<Arc<Whisper>>,
    /// Lines of the user's, the oldest first.
    pub lines: VecDeque<Line>,
    /// Which devices of hers wrote, and when, unless they have left the conversation since.
    writers: Vec<(String, Option<Tick>)>,
    /// When they wrote last.
    pub heard: Option<Tick>,
    /// How many lines they wrote.
    pub lines_in: u32,
    /// When anybody wrote last.
    pub last: Tick,
    /// When the others heard of that last.
    pub published: Option<Tick>,
    /// Messages of theirs whose fate is not known yet.
    pub arriving: u32,
    /// When it ends it waits for success REPORTs that are still to be sent in it.
    pub reports_first: bool,
    /// The last failures that were reported.
    reported: Option<Box<Reports>>,
    /// How it ends for lines that are not settled, once that is known.
    pub how: Option<Break>,
    /// Why it ends, in words.
    pub why: String,
    /// It is on disk.
    pub saved: bool,
}

impl Talk {
    /// A session that begins.
    pub fn new(now: Tick, user: Jid, sender: SipAddress, jid: Jid, leg: Leg) -> Talk {
        Talk {
            user,
            named: None,
            contact: sender.aor.clone(),
            sender,
            jid,
            device: String::new(),
            meant: String::new(),
            ours: false,
            leg,
            offer: None,
            question: None,
            leaving: None,
            renewing: None,
            stage: Stage::Asked,
            opened: false,
            taste: Taste::default(),
            style: Style::Plain,
            held_until: None,
            typed: None,
            typing: None,
            lines: VecDeque::new(),
            writers: Vec::new(),
            heard: None,
            lines_in: 0,
            last: now,
            published: None,
            arriving: 0,
            reports_first: false,
            reported: None,
            how: None,
            why: String::new(),
            saved: false,
        }
    }

    /// Whether lines may be given to it.
    pub fn takes_lines(&self) -> bool {
        matches!(self.stage, Stage::Calling | Stage::Agreed | Stage::Open)
    }

    /// Whether lines of its go out at once. While it moves they wait: what the old path still has comes first.
    pub fn may_send(&self) -> bool {
        let agreed = matches!(self.stage, Stage::Agreed | Stage::Open);
        agreed && self.leg.msrp.is_some() && self.leaving.is_none() && !self.leg.held
    }

    /// Whether a line in it has no fate yet.
    pub fn is_unsettled(&self) -> bool {
        self.lines.iter().any(|line| !line.told)
    }

    /// Whether a line in it has not been sent.
    pub fn has_waiting(&self) -> bool {
        self.lines.iter().any(|line| line.sent.is_none() && !line.told)
    }

    /// Whether anything was written.
    pub fn has_lines(&self) -> bool {
        self.lines_in > 0 || !self.writers.is_empty()
    }

    /// A device of the user's wrote.
    pub fn wrote(&mut self, now: Tick, resource: Option<&str>) {
        self.last = now;
        let resource = resource.unwrap_or_default();
        self.writers.retain(|(known, _)| known != resource);
        if self.writers.len() >= WRITERS {
            self.writers.remove(0);
        }
        self.writers.push((resource.to_owned(), Some(now)));
    }

    /// A device of the user's left the conversation.
    pub fn left(&mut self, resource: Option<&str>) {
        let resource = resource.unwrap_or_default();
        for (_, at) in self.writers.iter_mut().filter(|(known, _)| known == resource) {
            *at = None;
        }
    }

    /// They were told by a REPORT in this MSRP session that the stanza of this id failed.
    pub fn reports(&mut self, at: Tick, session: SessionId, id: String, failure: Condition) {
        let Reports(reported) = &mut **self.reported.get_or_insert_default();
        if reported.len() >= REPORTED {
            reported.pop_front();
        }
        reported.push_back(Reported { at, session, id, failure });
    }

    /// What was reported so lately that the end of the session may have come before it.
    pub fn unheard(&mut self, now: Tick) -> impl Iterator<Item = (String, Condition)> + use<> {
        let reported = self.reported.take().map(|reports| reports.0).unwrap_or_default();
        let lately = reported.into_iter().filter(move |known| known.at + JUST_NOW > now);
        lately.map(|known| (known.id, known.failure))
    }

    /// The same of a path that was left: who moves may not have heard what came there since.
    pub fn unheard_in(&mut self, now: Tick, session: SessionId) -> Vec<(String, Condition)> {
        let Some(Reports(reported)) = self.reported.as_deref_mut() else { return Vec::new() };
        let (there, elsewhere): (VecDeque<_>, _) =
            std::mem::take(reported).into_iter().partition(|known| known.session == session);
        *reported = elsewhere;
        let lately = there.into_iter().filter(|known| known.at + JUST_NOW > now);
        lately.map(|known| (known.id, known.failure)).collect()
    }

    /// Whether another device of hers wrote lately.
    pub fn others_wrote(&self, now: Tick, resource: Option<&str>) -> bool {
        let resource = resource.unwrap_or_default();
        let wrote_lately = |at: Option<Tick>| at.is_some_and(|at| at + LATELY > now);
        self.writers.iter().any(|(known, at)| known != resource && wrote_lately(*at))
    }

    /// The device of hers that wrote last.
    pub fn last_writer(&self) -> Option<&str> {
        self.writers.last().map(|(resource, _)| resource.as_str()).filter(|resource| !resource.is_empty())
    }

    /// A line that has not been sent says something else now, or is taken back. False where it has, or is not here.
    pub fn change(&mut self, number: u64, text: Option<&Arc<str>>) -> bool {
        change(&mut self.lines, number, text)
    }

    /// The place of the line with this name that was given to MSRP.
    pub fn place(&self, message_id: &str) -> Option<usize> {
        self.lines.iter().position(|line| line.sent.is_some() && line.carry.message_id == message_id)
    }

    /// What the other side's line says is taken over.
    pub fn adopt(&mut self, line: &MessageLine) {
        self.taste = Taste::of(line);
        if self.taste.cpim_first || self.taste.cpim && !self.taste.plain {
            self.style = Style::Wrapped;
        }
    }

    /// What an address of the contact's, with this device, is called here: a GRUU, or only the contact.
    pub fn set_device(&mut self, device: describe::Device) {
        self.sender = SipAddress { aor: self.contact.clone(), gr: device.gr };
        self.device = device.name;
    }
}

/// One of these lines that has not been sent says something else now, or is taken back. False where it has, or is not
/// among them.
pub fn change(lines: &mut VecDeque<Line>, number: u64, text: Option<&Arc<str>>) -> bool {
    let is_it = |line: &Line| line.carry.number == number && line.sent.is_none() && !line.told;
    let Some(place) = lines.iter().position(is_it) else { return false };
    match (text, lines.get_mut(place)) {
        (Some(text), Some(line)) => {
            line.carry = Arc::new(Carry { text: text.clone(), rich: None, ..(*line.carry).clone() });
        }
        _ => drop(lines.remove(place)),
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::sdp::Description;

    fn taste(types: &str) -> Taste {
        let text = format!(
            "v=0\r\no=- 1 1 IN IP4 a\r\ns=-\r\nt=0 0\r\nm=message 9 TCP/MSRP *\r\na=path:msrp://a:9/x;tcp\r\n{types}"
        );
        let read = Description::parse(text.as_bytes()).expect("a description");
        Taste::of(&read.message(0).expect("a line"))
    }

    #[test]
    fn what_they_take_is_read_with_its_wildcards() {
        let sdk = taste(
            "a=accept-types:message/cpim text/* application/im-iscomposing+xml\r\n\
             a=accept-wrapped-types:text/* application/im-iscomposing+xml\r\n",
        );
        assert!(sdk.plain && sdk.cpim && sdk.cpim_first && sdk.composing == Some(Composing::Bare));
        let second = taste("a=accept-types:text/plain message/cpim\r\n");
        assert!(second.plain && second.cpim && !second.cpim_first);
        let focus = taste("a=accept-types:message/cpim\r\na=accept-wrapped-types:*\r\n");
        assert!(!focus.plain && focus.cpim && focus.composing == Some(Composing::Wrapped));
        let phone = taste("a=accept-types:text/plain\r\n");
        assert!(phone.plain && !phone.cpim && phone.composing.is_none());
    }
}
