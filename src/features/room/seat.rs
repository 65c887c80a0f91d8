//! One INVITE dialog in a room, or on its way in or out. A plain value.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use super::heard::{Catching, Number};
use super::watching::WatchId;
use crate::documents::conference::Joining;
use crate::features::leg::Leg;
use crate::msrp::connections::SessionId;
use crate::msrp::message::Receipt;
use crate::msrp::session::Ticket;
use crate::sip::uri::Aor;
use crate::words::time::Tick;
use crate::xmpp::jid::Jid;
use crate::xmpp::muc::Invitation;

/// Names a seat in memory.
pub type SeatId = u64;

/// How many lines to a room may be without an answer at once.
pub const SAID: usize = 500;
/// How many lines wait for who has put us on hold; then he is put out.
pub const WAITING: usize = 500;
/// How many private lines are remembered whose failure would be told.
const WHISPERED: usize = 100;

/// Where a seat is in the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The room has been asked to let it in.
    Entering,
    /// It is in.
    In,
    /// The room has been told that it leaves.
    Leaving,
    /// It is out, or never was in.
    Out,
}

/// A line to the room whose SEND is not answered.
#[derive(Clone, Debug)]
pub struct Said {
    /// The id of the stanza.
    pub id: String,
    /// For the answer.
    pub session: SessionId,
    /// For the answer.
    pub ticket: Ticket,
    /// What the sender wants to be told.
    pub receipt: Receipt,
    /// When it went to the room.
    pub at: Tick,
    /// Its number among what this seat asked of the room.
    pub number: u64,
    /// To one alone, who is not told by a reflection.
    pub private: bool,
    /// The room has said it, behind lines that the seat has not been told yet: its answer waits for those.
    pub reflected: bool,
}

/// A private line to SIP, until it has arrived.
#[derive(Clone, Debug)]
pub struct Whispered {
    /// Its Message-ID.
    pub message_id: String,
    /// The occupant who said it.
    pub from: Jid,
    /// The id of the stanza.
    pub id: Option<String>,
}

/// An invitation that the room has not dealt with.
#[derive(Clone, Debug)]
pub struct Inviting {
    /// The id of the stanza.
    pub id: String,
    /// Its number among what this seat asked of the room.
    pub number: u64,
    /// Who wants to know.
    pub watch: Option<WatchId>,
}

/// A NICKNAME that the room has to decide.
#[derive(Clone, Debug)]
pub struct Renaming {
    /// What is wanted.
    pub nick: String,
    /// For the answer.
    pub session: SessionId,
    /// For the answer.
    pub ticket: Ticket,
}

/// A question whether we are in.
#[derive(Clone, Debug)]
pub struct Ping {
    /// The id of the stanza.
    pub id: String,
    /// Its number among what this seat asked of the room: what has a lower one went before.
    pub number: u64,
    /// The nick that was asked after.
    pub nick: String,
}

/// See the module.
#[derive(Debug)]
pub struct Seat {
    /// The room, bare.
    pub room: Jid,
    /// Our address for it in XMPP: the contact, with a resource of its own.
    pub own: Jid,
    /// The nick that it has, or asks for.
    pub nick: String,
    /// The nick that was wanted first.
    pub wanted: String,
    /// How many others were tried.
    pub tries: u32,
    /// Who it is.
    pub contact: Aor,
    /// What opens the room.
    pub password: Option<String>,
    /// Its client can tell private lines from others.
    pub private: bool,
    /// Its client shows that somebody types.
    pub composing: bool,
    /// Who is to be asked in once it is in.
    pub guests: Vec<Jid>,
    /// SIP and MSRP.
    pub leg: Leg,
    /// Where it is in the room.
    pub stage: Stage,
    /// Its call stands already: it was called, or is on its way back.
    pub stands: bool,
    /// Why it is called, until it has accepted.
    pub invitation: Option<Invitation>,
    /// How it came.
    pub joining: Joining,
    /// Invitations of its that the room has not dealt with.
    pub inviting: Vec<Inviting>,
    /// The room has let it in once.
    pub was_in: bool,
    /// It has made the room, or may have, and the link lost the news: nobody else can enter before it is unlocked.
    pub locked: bool,
    /// The room knew it under another nick as it entered, and has only changed that: who else is there it has not told.
    pub renamed: bool,
    /// Who has been seen on the way in.
    pub seen: BTreeSet<Box<str>>,
    /// How much it has asked of the room.
    asked: u64,
    /// Lines to the room, the oldest first.
    pub said: VecDeque<Said>,
    /// Lines that were answered before the room said them, or passed them on, the oldest first: it may still do so, or not.
    pub late: VecDeque<Said>,
    /// Lines from the room for who has put us on hold, the oldest first: each with its Message-ID.
    pub waiting: VecDeque<(String, Bytes)>,
    /// The subject, as it was told last.
    pub subject: Box<str>,
    /// Private lines from the room that may fail.
    pub whispered: VecDeque<Whispered>,
    /// The nick that it wants to have.
    pub renaming: Option<Renaming>,
    /// Ids of its stanzas that wait for an answer, the oldest first.
    pub questions: VecDeque<String>,
    /// The question whether it is in, while it is out.
    pub ping: Option<Ping>,
    /// When the room was heard last.
    pub heard: Tick,
    /// When it came in first.
    pub came: Tick,
    /// The last line that it has heard.
    pub line: Number,
    /// It has been told what was said before it came.
    pub listens: bool,
    /// It may have missed something, and will be told.
    pub catching: Option<Box<Catching>>,
    /// The MSRP connection was there once.
    pub opened: bool,
    /// The room has not been told that it left, since the link was away.
    pub owes_farewell: bool,
    /// It is on disk.
    pub saved: bool,
}

impl Seat {
    /// A seat that begins.
    pub fn new(now: Tick, room: Jid, own: Jid, contact: Aor, nick: String, leg: Leg) -> Seat {
        Seat {
            room,
            own,
            wanted: nick.clone(),
            nick,
            tries: 0,
            contact,
            password: None,
            private: false,
            composing: false,
            guests: Vec::new(),
            leg,
            stage: Stage::Entering,
            stands: false,
            invitation: None,
            joining: Joining::DialedIn,
            inviting: Vec::new(),
            was_in: false,
            locked: false,
            renamed: false,
            seen: BTreeSet::new(),
            asked: 0,
            said: VecDeque::new(),
            late: VecDeque::new(),
            waiting: VecDeque::new(),
            subject: Box::default(),
            whispered: VecDeque::new(),
            renaming: None,
            questions: VecDeque::new(),
            ping: None,
            heard: now,
            came: now,
            line: 0,
            listens: false,
            catching: None,
            opened: false,
            owes_farewell: false,
            saved: false,
        }
    }

    /// Nothing more will come of it.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Out && self.leg.call.is_done() && self.leg.msrp.is_none()
    }

    /// It may speak and hear: it is in, or was, and is on its way back.
    pub fn takes_part(&self) -> bool {
        self.stage == Stage::In || self.stage == Stage::Entering && self.was_in
    }

    /// Its address in the room.
    pub fn occupant(&self) -> Option<Jid> {
        self.room.with_resource(&self.nick).ok()
    }

    /// Another nick than the one that is taken: `Romeo 2`.
    pub fn vary(&mut self) {
        self.tries += 1;
        let number = format!(" {}", self.tries + 1);
        let mut end = self.wanted.len().min(1023 - number.len());
        while !self.wanted.is_char_boundary(end) {
            end -= 1;
        }
        self.nick = format!("{}{number}", self.wanted[..end].trim_end());
    }

    /// The number of what it asks of the room now. Times would not do: two things may go in one moment.
    pub fn number(&mut self) -> u64 {
        self.asked += 1;
        self.asked
    }

    /// A plainer nick than one that the room does not like: servers whose tables of characters are of 2002 refuse emoji. First
    /// without what is no letter, then the user part. False when it is as plain as can be.
    pub fn plainer(&mut self) -> bool {
        let is_plain = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.' | '\'');
        let letters: String = self.wanted.chars().filter(is_plain).collect();
        let letters = letters.split_whitespace().collect::<Vec<_>>().join(" ");
        let user = self.contact.user.as_deref().unwrap_or("guest");
        let plain = if letters.is_empty() || letters == self.wanted && !letters.is_ascii() {
            user.to_owned()
        } else {
            letters
        };
        if plain == self.wanted {
            return false;
        }
        self.nick.clone_from(&plain);
        self.wanted = plain;
        true
    }

    /// Whether the room says to all what this seat said: under its nick; or under one that it did not know to be its own,
    /// since news of that went with a lost link, and has from then on. What is of old says only which it had then. Nobody else
    /// knows the id of a line before the room has said it.
    pub fn takes_for_own(&mut self, nick: Option<&str>, id: Option<&str>, is_old: bool) -> bool {
        let Some(nick) = nick else { return false };
        if nick == self.nick {
            return true;
        }
        let is_own = self.has_said(id);
        if is_own && !is_old {
            nick.clone_into(&mut self.nick);
        }
        is_own
    }

    /// Whether a line of this id is its own, whatever has been answered.
    pub fn has_said(&self, id: Option<&str>) -> bool {
        let mut said = self.said.iter().chain(&self.late);
        said.any(|said| !said.private && id == Some(said.id.as_str()))
    }

    /// The line of this id is answered.
    pub fn take_said(&mut self, id: &str) -> Option<Said> {
        let place = self.said.iter().position(|said| said.id == id)?;
        self.said.remove(place)
    }

    /// A line is answered, and the room has not said it.
    pub fn is_late(&mut self, said: &Said) {
        if self.late.len() >= SAID {
            self.late.pop_front();
        }
        self.late.push_back(said.clone());
    }

    /// The room has said a line of this id after all, or does not take it.
    pub fn take_late(&mut self, id: &str) -> Option<Said> {
        let place = self.late.iter().position(|said| said.id == id)?;
        self.late.remove(place)
    }

    /// A private line goes to SIP.
    pub fn whispers(&mut self, whispered: Whispered) {
        if self.whispered.len() >= WHISPERED {
            self.whispered.pop_front();
        }
        self.whispered.push_back(whispered);
    }

    /// A private line has arrived, or has not.
    pub fn take_whispered(&mut self, message_id: &str) -> Option<Whispered> {
        let place = self.whispered.iter().position(|one| one.message_id == message_id)?;
        self.whispered.remove(place)
    }

    /// What a log line says of it. The Call-ID is that of the dialog.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("corr", self.leg.call.call_id().to_owned()),
            ("room", self.room.to_string()),
            ("contact", self.contact.to_string()),
            ("nick", self.nick.clone()),
        ]
    }
}
