//! The session heuristics: what an informal XMPP chat does to negotiated MSRP sessions and the other way round
//! (RFC 7573 §§4–6, XEP-0085 §5), as rows of `mappings/sessions.yaml` that an admin can read and override.
//!
//! Here are the questions in typed form. They are asked by the features that carry messages; none of them decides such a
//! thing by an `if` of its own. How rows are read and compared is [`table`].

mod questions;
pub mod table;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::words::condition::{Condition, Kind};
use crate::xmpp::stanza::condition_name;
use questions::ABILITIES;
pub use questions::QUESTIONS;
use table::{Fact, Row, Table};

const EMBEDDED: &str = include_str!("../../../mappings/sessions.yaml");

/// The whole table: the one of an admin's folder, which was checked, else the built-in one, which a test reads.
pub fn whole(own: Option<&str>) -> Table {
    Table::read(own.unwrap_or(EMBEDDED), &QUESTIONS).unwrap_or_default()
}

/// What is wrong with a table of an admin's own.
pub fn check_table(text: &str) -> Result<(), String> {
    Table::read(text, &QUESTIONS).map(drop)
}

/// What a contact's devices have shown of MSRP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Msrp {
    /// Nothing.
    #[default]
    Unknown,
    /// That they speak it.
    Shown,
    /// That they do not, or not now.
    Refused,
}

/// How far a session with a contact is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// There is none.
    #[default]
    None,
    /// It has been offered.
    Opening,
    /// It is there.
    Open,
}

/// The option `msrp` of a SIP peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerMsrp {
    /// What is behind it shows itself.
    #[default]
    Learn,
    /// Everything behind it speaks MSRP.
    Yes,
    /// Nothing does.
    No,
}

/// What a user's client said last of her attention (XEP-0085).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing, or nothing that would still hold.
    #[default]
    Unknown,
    /// She looks at the conversation.
    Active,
    /// She is writing.
    Composing,
    /// She has stopped to write.
    Paused,
    /// She does something else.
    Inactive,
    /// She has closed it.
    Gone,
}

/// What a user and a contact show of their attention to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mood {
    /// What her client said last.
    pub state: State,
    /// He is writing just now.
    pub typing: bool,
}

impl Mood {
    fn facts(self) -> [(&'static str, Fact<'static>); 2] {
        let word = match self.state {
            State::Unknown => "unknown",
            State::Active => "active",
            State::Composing => "composing",
            State::Paused => "paused",
            State::Inactive => "inactive",
            State::Gone => "gone",
        };
        [("state", Fact::Word(word)), ("typing", Fact::Flag(self.typing))]
    }
}

/// The thread of a line, beside that of the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Thread {
    /// It has none.
    #[default]
    None,
    /// It is the session's.
    Same,
    /// It is another one, or there is no session.
    Other,
}

/// What the contact's devices have shown beside MSRP, a bit for each ability in the order of the table's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// What one of them takes.
    pub takes: u8,
    /// What none of those that said anything of it takes.
    pub lacks: u8,
}

/// By whom a session or a line goes, or came.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// What the contact's device calls itself.
    pub agent: Option<&'a str>,
    /// The `uri` of the SIP peer that carries it.
    pub via: &'a str,
    /// The contact's SIP domain.
    pub domain: &'a str,
}

impl<'a> Route<'a> {
    fn facts(self) -> [(&'static str, Fact<'a>); 3] {
        let agent = self.agent.map_or(Fact::Nothing, Fact::Text);
        [("agent", agent), ("via", Fact::Text(self.via)), ("domain", Fact::Text(self.domain))]
    }
}

/// What is known when an XMPP user writes to a SIP contact.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The stanza's type, as written.
    pub type_: Option<&'a str>,
    /// The session with the contact.
    pub session: Stage,
    /// For how long nobody has written in it.
    pub quiet: Option<Duration>,
    /// Its thread.
    pub thread: Thread,
    /// What both do.
    pub mood: Mood,
    /// What the contact's devices have shown of MSRP.
    pub msrp: Msrp,
    /// What else they have.
    pub shown: Shown,
    /// Where it goes.
    pub route: Route<'a>,
    /// The option of the peer that carries it.
    pub peer: PeerMsrp,
    /// Whether it is too long for a MESSAGE.
    pub long: bool,
    /// Whether it has emphasis (XEP-0071).
    pub html: bool,
}

/// How a line goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// As a MESSAGE; `ask`: with OPTIONS in the background.
    Page {
        /// Whether the contact is asked what it can do.
        ask: bool,
    },
    /// In a session: the one that is there or opens, else a new one.
    Session,
    /// It does not.
    Refuse(Condition),
}

impl Line<'_> {
    /// The facts as rows compare them.
    pub fn facts(&self) -> [(&'static str, Fact<'_>); 15] {
        let [state, typing] = self.mood.facts();
        let [agent, via, domain] = self.route.facts();
        [
            (
                "type",
                Fact::Word(match self.type_ {
                    Some("chat") => "chat",
                    Some("headline") => "headline",
                    _ => "normal",
                }),
            ),
            (
                "session",
                Fact::Word(match self.session {
                    Stage::None => "none",
                    Stage::Opening => "opening",
                    Stage::Open => "open",
                }),
            ),
            ("quiet", self.quiet.map_or(Fact::Nothing, Fact::Time)),
            (
                "thread",
                Fact::Word(match self.thread {
                    Thread::None => "none",
                    Thread::Same => "same",
                    Thread::Other => "other",
                }),
            ),
            state,
            typing,
            (
                "msrp",
                Fact::Word(match self.msrp {
                    Msrp::Unknown => "unknown",
                    Msrp::Shown => "shown",
                    Msrp::Refused => "refused",
                }),
            ),
            ("takes", Fact::Among(ABILITIES, self.shown.takes)),
            ("lacks", Fact::Among(ABILITIES, self.shown.lacks)),
            agent,
            (
                "peer",
                Fact::Word(match self.peer {
                    PeerMsrp::Learn => "learn",
                    PeerMsrp::Yes => "yes",
                    PeerMsrp::No => "no",
                }),
            ),
            via,
            domain,
            ("long", Fact::Flag(self.long)),
            ("content", Fact::Word(if self.html { "html" } else { "plain" })),
        ]
    }

    /// What the table says.
    pub fn way(&self, table: &Table) -> Way {
        let Some(row) = table.ask("line", &self.facts()) else { return Way::Page { ask: false } };
        match row.then {
            "use" | "wait" if self.session == Stage::None => Way::Page { ask: false },
            "open" | "use" | "wait" => Way::Session,
            "refuse" => Way::Refuse(refusal(row)),
            then => Way::Page { ask: then == "ask" },
        }
    }
}

fn refusal(row: &Row) -> Condition {
    let text =
        row.text.clone().unwrap_or_else(|| format!("A rule of this gateway refuses it ({}).", row.name));
    Condition::new(row.condition.unwrap_or(Kind::NotAcceptable), text)
}

/// Why a session that we opened failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// By this final answer.
    Refused(u16),
    /// By a 200 that refuses the message line.
    PortZero,
    /// Nobody answered in time.
    Silent,
    /// The INVITE could not be sent.
    Unreachable,
    /// By a 200, but no MSRP connection came about.
    NoConnection,
}

/// For how long no session is opened to that device, and why what waited does not go on as MESSAGEs, if it does not.
pub fn failed(table: &Table, cause: Cause, route: Route<'_>) -> (Duration, Option<Condition>) {
    let (word, status) = match cause {
        Cause::Refused(status) => ("refused", Fact::Status(status)),
        Cause::PortZero => ("port-zero", Fact::Nothing),
        Cause::Silent => ("silent", Fact::Nothing),
        Cause::Unreachable => ("unreachable", Fact::Nothing),
        Cause::NoConnection => ("no-connection", Fact::Nothing),
    };
    let [agent, via, domain] = route.facts();
    let row = table.ask("failed", &[("cause", Fact::Word(word)), ("status", status), agent, via, domain]);
    let refuses = row.filter(|row| row.then == "refuse").map(refusal);
    (row.and_then(|row| row.time).unwrap_or_default(), refuses)
}

/// How a session with unconfirmed lines ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// The connection broke.
    Lost,
    /// The other side hung up.
    Ended,
    /// A line was not answered in time.
    NoAnswer,
    /// We were started anew.
    Restart,
}

/// What becomes of lines that were not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// They go again: in a session where they are too long for a MESSAGE, else as MESSAGEs.
    Next,
    /// They go again in a new session, if the rows about lines say so; else as MESSAGEs.
    Session,
    /// The sender is told.
    Tell,
}

/// What becomes of lines that were not confirmed when a session ended.
pub fn broken(table: &Table, how: Break) -> Again {
    let word = match how {
        Break::Lost => "lost",
        Break::Ended => "ended",
        Break::NoAnswer => "no-answer",
        Break::Restart => "restart",
    };
    match table.ask("broken", &[("cause", Fact::Word(word))]).map(|row| row.then) {
        Some("tell") => Again::Tell,
        Some("session") => Again::Session,
        _ => Again::Next,
    }
}

fn opened(ours: bool) -> (&'static str, Fact<'static>) {
    ("opened", Fact::Word(if ours { "us" } else { "them" }))
}

/// After how long on hold what waits goes as MESSAGEs; nothing means never. `ours`: we opened the session.
pub fn held(table: &Table, ours: bool) -> Option<Duration> {
    table.ask("held", &[opened(ours)]).and_then(|row| row.time)
}

/// What is known of an XMPP user's presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// A device is online.
    Online,
    /// She has told us nothing.
    Unknown,
    /// She told us that she went offline.
    Offline,
}

impl User {
    fn fact(self) -> (&'static str, Fact<'static>) {
        let word = match self {
            User::Online => "online",
            User::Unknown => "unknown",
            User::Offline => "offline",
        };
        ("user", Fact::Word(word))
    }
}

/// What is done with an INVITE for a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invited {
    /// It is answered at once.
    Answer,
    /// The XMPP server is asked first.
    Ask,
    /// It is refused with this status and these words.
    Refuse(u16, Option<String>),
}

/// What is known when a SIP user opens a session; `calls`: there is more than the chat in his offer.
pub fn invited_facts(user: User, calls: bool, route: Route<'_>) -> [(&'static str, Fact<'_>); 5] {
    let [agent, via, domain] = route.facts();
    [user.fact(), ("calls", Fact::Flag(calls)), agent, via, domain]
}

/// What the table says to an INVITE.
pub fn invited(table: &Table, user: User, calls: bool, route: Route<'_>) -> Invited {
    let row = table.ask("invited", &invited_facts(user, calls, route));
    match row.map(|row| (row.then, row.status, row.text.clone())) {
        Some(("answer", ..)) => Invited::Answer,
        Some(("refuse", status, text)) => Invited::Refuse(status.unwrap_or(488), text),
        _ => Invited::Ask,
    }
}

/// Whether an error with which the user's server answers the question about her means that she is there all the same.
pub fn asked_is_there(table: &Table, kind: Kind, says: Option<&str>) -> bool {
    let condition = ("condition", Fact::Word(condition_name(kind)));
    let says = ("says", says.map_or(Fact::Nothing, |text| Fact::Text(text.trim())));
    table.ask("asked", &[condition, says]).is_some_and(|row| row.then == "answer")
}

/// What is known of a session in which nobody writes; `ours`: we opened it.
pub fn quiet_facts(ours: bool, user: User, mood: Mood) -> [(&'static str, Fact<'static>); 4] {
    let [state, typing] = mood.facts();
    [opened(ours), user.fact(), state, typing]
}

/// After how long without a line a session is hung up; nothing means never.
pub fn quiet(table: &Table, ours: bool, user: User, mood: Mood) -> Option<Duration> {
    table.ask("quiet", &quiet_facts(ours, user, mood)).and_then(|row| row.time)
}

/// Whether a `<gone/>` hangs up; `others`: another device of the user wrote a short time ago.
pub fn gone_hangs_up(table: &Table, others: bool) -> bool {
    table.ask("gone", &[("others", Fact::Flag(others))]).is_some_and(|row| row.then == "hang-up")
}

/// Whether the XMPP user is told `<gone/>` when the SIP side hangs up; `lines`: something was written.
pub fn ended_says_gone(table: &Table, lines: bool) -> bool {
    table.ask("ended", &[("lines", Fact::Flag(lines))]).is_some_and(|row| row.then == "gone")
}

/// Whether a 2xx to a MESSAGE counts as a receipt.
pub fn answer_is_receipt(table: &Table) -> bool {
    table.ask("answered", &[]).is_some_and(|row| row.then == "received")
}

/// What an XMPP client may say about an earlier message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// XEP-0308.
    Correction,
    /// XEP-0424.
    Retraction,
    /// XEP-0461.
    Reply,
    /// XEP-0444.
    Reaction,
}

/// Whether it is told to the SIP side as a line of text.
pub fn extra_is_text(table: &Table, extra: Extra) -> bool {
    let word = match extra {
        Extra::Correction => "correction",
        Extra::Retraction => "retraction",
        Extra::Reply => "reply",
        Extra::Reaction => "reaction",
    };
    table.ask("extra", &[("what", Fact::Word(word))]).is_some_and(|row| row.then == "text")
}
