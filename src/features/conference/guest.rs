//! One INVITE dialog with a focus, for one person under one nick: however many of her clients are in the room by it. A
//! plain value.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::arrivals::Heard;
use super::before::Came;
use super::hall::{Ids, Mark, Old};
use super::watching::Watch;
use crate::documents::iscomposing;
use crate::features::leg::Leg;
use crate::sip::sdp::message::MessageLine;
use crate::sip::uri::Aor;
use crate::words::time::Tick;
use crate::xmpp::jid::Jid;
use crate::xmpp::muc::request::History;
use crate::xmpp::muc::{Affiliation, Departure, Role};
use crate::xmpp::stanza::Stanza;

/// Names a guest in memory.
pub type GuestId = u64;

/// How many lines of one guest may be without an answer, or wait, at once.
pub const SAID: usize = 200;
/// How many lines from the focus wait for the guest to be in, or for the link; then it is put out.
pub const EARLY: usize = 500;
/// How many clients of one person share a nick.
pub const CLIENTS: usize = 16;
/// How many of the lines that were reflected are known, in case the focus says them again.
const ECHOES: usize = 32;
/// How many former nicks are known.
const PAST: usize = 4;

/// Where a guest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The focus has called, and the person has not said whether she comes.
    Invited,
    /// The focus is called.
    Calling,
    /// It has accepted; what a member sees first is not together yet.
    Entering,
    /// It is in.
    In,
    /// It is out. Only loose ends of SIP may be left.
    Out,
}

/// What the focus can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Give nicks.
    pub nicknames: bool,
    /// Pass on what is for one alone.
    pub private: bool,
    /// Pass on that somebody types.
    pub composing: bool,
}

impl Abilities {
    /// As its line says.
    pub fn of(line: &MessageLine) -> Abilities {
        Abilities {
            nicknames: line.takes_nicknames(),
            private: line.takes_private_messages(),
            composing: line.accepts_wrapped(iscomposing::TYPE),
        }
    }
}

/// How it stands with the nick that was asked for on the way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// The focus has not answered.
    Asked,
    /// The focus has given it.
    Given,
    /// The focus knows no nicks: the display name stands.
    Left,
}

/// A line of the user's that the focus has not answered.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its Message-ID.
    pub message_id: String,
    /// The stanza, for its reflection or its error.
    pub stanza: Stanza,
    /// How it is known again.
    pub mark: Mark,
    /// What it is called; nothing where it is for one alone.
    pub ids: Option<Ids>,
    /// The envelope.
    pub body: Bytes,
}

/// A nick that a client wants.
#[derive(Clone, Debug)]
pub struct Renaming {
    /// Which.
    pub nick: Box<str>,
    /// The stanza, for the error.
    pub stanza: Stanza,
}

/// A client that is in the room, or wants to be.
#[derive(Clone, Debug)]
pub struct Client {
    /// What it wants to know of old lines.
    pub history: History,
    /// How it asked to be let in, until it is: for the error.
    pub asked: Option<Stanza>,
}

/// How somebody left, or did not come in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Farewell {
    /// Status codes.
    pub codes: Vec<u16>,
    /// By whom, why, and where to.
    pub departure: Departure,
}

impl Farewell {
    /// With this status code alone.
    pub fn of(code: u16) -> Farewell {
        Farewell { codes: vec![code], departure: Departure::default() }
    }

    /// The room is closed (332).
    pub fn closed() -> Farewell {
        Farewell::of(332)
    }

    /// The way to the room, or to the member, broke (333).
    pub fn broken() -> Farewell {
        Farewell::of(333)
    }
}

/// What waits for the link to the XMPP server.
#[derive(Clone, Debug)]
pub enum Missed {
    /// A line of somebody.
    Line(Old),
    /// A line of the guest's own, which the focus has taken then.
    Own(Said, Tick),
}

/// See the module.
#[derive(Debug)]
pub struct Guest {
    /// The room, bare.
    pub room: Jid,
    /// The person, bare.
    pub user: Jid,
    /// The same in SIP.
    pub own: Aor,
    /// The nick that it has, or wants.
    pub nick: Box<str>,
    /// The nick that was wanted first.
    pub wanted: Box<str>,
    /// Its clients.
    pub clients: BTreeMap<Jid, Client>,
    /// The focus has called, and does not know yet that the call is accepted: the id of the invitation that this became.
    pub invitation: Option<String>,
    /// SIP and MSRP.
    pub leg: Leg,
    /// Where it is.
    pub stage: Stage,
    /// What the focus can do.
    pub abilities: Abilities,
    /// The nick on the way in.
    pub naming: Naming,
    /// The nick that is asked for now.
    pub renaming: Option<Renaming>,
    /// Nicks that it had: a roster may lag behind.
    pub past: VecDeque<Box<str>>,
    /// The MSRP connection is there.
    pub opened: bool,
    /// The roster will not come, or not in time.
    pub goes_without: bool,
    /// The subscription to the roster.
    pub watch: Option<Box<Watch>>,
    /// How often the subscription failed in a row.
    pub failures: u32,
    /// What it may do, as the roster says.
    pub role: Role,
    /// What it is, as the roster says.
    pub affiliation: Affiliation,
    /// The roster says that the room is the guest's own.
    pub is_owner: bool,
    /// How it ends, where the focus has said so before the end.
    pub fate: Option<Farewell>,
    /// When the focus let it in.
    pub came: Came,
    /// Lines that wait to be sent, the oldest first.
    pub waiting: VecDeque<Said>,
    /// Lines that were sent and are not answered, the oldest first.
    pub said: VecDeque<Said>,
    /// What the focus may say again.
    pub echoes: VecDeque<Mark>,
    /// Lines that came before the guest was in, the oldest first.
    pub early: VecDeque<Heard>,
    /// What the room said while the link was down, in order.
    pub missed: VecDeque<Missed>,
    /// Clients that have not been told that the room is lost, since the link was down.
    pub owes: Vec<Jid>,
    /// When the last full document was asked for.
    pub asked_at: Option<Tick>,
    /// It is on disk.
    pub saved: bool,
}

impl Guest {
    /// A guest that begins.
    pub fn new(room: Jid, user: Jid, own: Aor, nick: &str, leg: Leg) -> Guest {
        Guest {
            room,
            user,
            own,
            nick: nick.into(),
            wanted: nick.into(),
            clients: BTreeMap::new(),
            invitation: None,
            leg,
            stage: Stage::Calling,
            abilities: Abilities::default(),
            naming: Naming::Left,
            renaming: None,
            past: VecDeque::new(),
            opened: false,
            goes_without: false,
            watch: None,
            failures: 0,
            role: Role::Participant,
            affiliation: Affiliation::None,
            is_owner: false,
            fate: None,
            came: Came::default(),
            waiting: VecDeque::new(),
            said: VecDeque::new(),
            echoes: VecDeque::new(),
            early: VecDeque::new(),
            missed: VecDeque::new(),
            owes: Vec::new(),
            asked_at: None,
            saved: false,
        }
    }

    /// Nothing more will come of it.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Out
            && self.leg.call.is_done()
            && self.leg.msrp.is_none()
            && self.watch.is_none()
            && self.owes.is_empty()
    }

    /// Its address in the room.
    pub fn occupant(&self) -> Jid {
        self.room.with_resource(&self.nick).unwrap_or_else(|_| self.room.clone())
    }

    /// It has another nick from now on.
    pub fn take_nick(&mut self, nick: &str) {
        if self.past.len() >= PAST {
            self.past.pop_front();
        }
        self.past.push_back(std::mem::replace(&mut self.nick, nick.into()));
    }

    /// The line of this name is answered.
    pub fn take_said(&mut self, message_id: &str) -> Option<Said> {
        let place = self.said.iter().position(|said| said.message_id == message_id)?;
        self.said.remove(place)
    }

    /// A line was reflected: the focus may say it again.
    pub fn was_reflected(&mut self, mark: Mark) {
        if self.echoes.len() >= ECHOES {
            self.echoes.pop_front();
        }
        self.echoes.push_back(mark);
    }

    /// What a log line says of it. The Call-ID is that of the dialog.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("corr", self.leg.call.call_id().to_owned()),
            ("room", self.room.to_string()),
            ("user", self.user.to_string()),
            ("nick", self.nick.to_string()),
        ]
    }
}
