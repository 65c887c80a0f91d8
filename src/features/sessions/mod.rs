//! The session heuristics: what an informal XMPP chat does to negotiated MSRP sessions and the other way round
//! (RFC 7573 §§4–6, XEP-0085 §5), as rows of `mappings/sessions.yaml` that an admin can read and override.
//!
//! Here are the questions in typed form. They are asked by the features that carry messages; none of them decides such a
//! thing by an `if` of its own. How rows are read and compared is [`table`].

pub mod table;

use std::time::Duration;

use crate::words::condition::{Condition, Kind};
use crate::xmpp::stanza::condition_name;
use table::{Fact, Form, Question, Row, Table};

/// Every question, in the order of the file.
pub static QUESTIONS: [Question; 10] = [
    Question {
        name: "line",
        conditions: &[
            ("type", Form::Words(&["chat", "normal", "headline"])),
            ("session", Form::Words(&["none", "opening", "open"])),
            ("msrp", Form::Words(&["unknown", "shown", "refused"])),
            ("peer", Form::Words(&["learn", "yes", "no"])),
            ("long", Form::Flag),
            ("agent", Form::Beginning),
            ("thread", Form::Flag),
            ("content", Form::Words(&["plain", "html"])),
            ("domain", Form::Beginning),
        ],
        decisions: &[
            ("page", &[]),
            ("ask", &[]),
            ("open", &[]),
            ("use", &[]),
            ("wait", &[]),
            ("refuse", &["condition", "text"]),
        ],
    },
    Question {
        name: "failed",
        conditions: &[
            ("cause", Form::Words(&["refused", "port-zero", "silent", "unreachable", "no-connection"])),
            ("status", Form::Status),
        ],
        decisions: &[("page", &["for"])],
    },
    Question {
        name: "broken",
        conditions: &[("cause", Form::Words(&["lost", "ended", "no-answer", "restart"]))],
        decisions: &[("again", &[]), ("tell", &[])],
    },
    Question {
        name: "invited",
        conditions: &[("user", Form::Words(USER)), ("calls", Form::Flag)],
        decisions: &[("answer", &[]), ("ask", &[]), ("refuse", &["status", "text"])],
    },
    Question {
        name: "asked",
        conditions: &[("condition", Form::Words(CONDITIONS)), ("says", Form::Beginning)],
        decisions: &[("answer", &[]), ("refuse", &[])],
    },
    Question {
        name: "quiet",
        conditions: &[("opened", Form::Words(&["us", "them"])), ("user", Form::Words(USER))],
        decisions: &[("hang-up", &["after"]), ("never", &[])],
    },
    Question {
        name: "gone",
        conditions: &[("others", Form::Flag)],
        decisions: &[("hang-up", &[]), ("keep", &[])],
    },
    Question {
        name: "ended",
        conditions: &[("lines", Form::Flag)],
        decisions: &[("gone", &[]), ("nothing", &[])],
    },
    Question { name: "answered", conditions: &[], decisions: &[("received", &[]), ("nothing", &[])] },
    Question {
        name: "extra",
        conditions: &[("what", Form::Words(&["correction", "retraction", "reply", "reaction"]))],
        decisions: &[("text", &[]), ("drop", &[])],
    },
];

/// The conditions of RFC 6120 §8.3.3.
const CONDITIONS: &[&str] = &[
    "bad-request",
    "conflict",
    "feature-not-implemented",
    "forbidden",
    "gone",
    "internal-server-error",
    "item-not-found",
    "jid-malformed",
    "not-acceptable",
    "not-allowed",
    "not-authorized",
    "policy-violation",
    "recipient-unavailable",
    "redirect",
    "registration-required",
    "remote-server-not-found",
    "remote-server-timeout",
    "resource-constraint",
    "service-unavailable",
    "subscription-required",
    "undefined-condition",
    "unexpected-request",
];

const USER: &[&str] = &["online", "unknown", "offline"];

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

/// What is known when an XMPP user writes to a SIP contact.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The stanza's type, as written.
    pub type_: Option<&'a str>,
    /// The session with the contact.
    pub session: Stage,
    /// What its devices have shown.
    pub msrp: Msrp,
    /// The option of the peer that carries it.
    pub peer: PeerMsrp,
    /// Whether it is too long for a MESSAGE.
    pub long: bool,
    /// What the contact's device calls itself.
    pub agent: Option<&'a str>,
    /// Whether it has a thread.
    pub thread: bool,
    /// Whether it has emphasis (XEP-0071).
    pub html: bool,
    /// The contact's SIP domain.
    pub domain: &'a str,
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
    pub fn facts(&self) -> [(&'static str, Fact<'_>); 9] {
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
            (
                "msrp",
                Fact::Word(match self.msrp {
                    Msrp::Unknown => "unknown",
                    Msrp::Shown => "shown",
                    Msrp::Refused => "refused",
                }),
            ),
            (
                "peer",
                Fact::Word(match self.peer {
                    PeerMsrp::Learn => "learn",
                    PeerMsrp::Yes => "yes",
                    PeerMsrp::No => "no",
                }),
            ),
            ("long", Fact::Flag(self.long)),
            ("agent", self.agent.map_or(Fact::Nothing, Fact::Text)),
            ("thread", Fact::Flag(self.thread)),
            ("content", Fact::Word(if self.html { "html" } else { "plain" })),
            ("domain", Fact::Text(self.domain)),
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

/// For how long no session is opened to that device. What waited goes on as pages.
pub fn failed(table: &Table, cause: Cause) -> Duration {
    let (word, status) = match cause {
        Cause::Refused(status) => ("refused", Fact::Status(status)),
        Cause::PortZero => ("port-zero", Fact::Nothing),
        Cause::Silent => ("silent", Fact::Nothing),
        Cause::Unreachable => ("unreachable", Fact::Nothing),
        Cause::NoConnection => ("no-connection", Fact::Nothing),
    };
    let row = table.ask("failed", &[("cause", Fact::Word(word)), ("status", status)]);
    row.and_then(|row| row.time).unwrap_or_default()
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

/// Whether unconfirmed lines go again by the next way; else the sender is told.
pub fn goes_again(table: &Table, how: Break) -> bool {
    let word = match how {
        Break::Lost => "lost",
        Break::Ended => "ended",
        Break::NoAnswer => "no-answer",
        Break::Restart => "restart",
    };
    table.ask("broken", &[("cause", Fact::Word(word))]).is_none_or(|row| row.then == "again")
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

/// What the table says to an INVITE; `calls`: there is more than the chat in its offer.
pub fn invited(table: &Table, user: User, calls: bool) -> Invited {
    let row = table.ask("invited", &[user.fact(), ("calls", Fact::Flag(calls))]);
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

/// After how long without a line a session is hung up; nothing means never. `ours`: we opened it.
pub fn quiet(table: &Table, ours: bool, user: User) -> Option<Duration> {
    let opened = ("opened", Fact::Word(if ours { "us" } else { "them" }));
    table.ask("quiet", &[opened, user.fact()]).and_then(|row| row.time)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table::read(EMBEDDED, &QUESTIONS).expect("the embedded table")
    }

    const CHAT: Line<'static> = Line {
        type_: Some("chat"),
        session: Stage::None,
        msrp: Msrp::Unknown,
        peer: PeerMsrp::Learn,
        long: false,
        agent: None,
        thread: false,
        html: false,
        domain: "example.net",
    };

    #[test]
    fn no_telephone_rings_for_a_line_of_text() {
        assert_eq!(CHAT.way(&table()), Way::Page { ask: true });
        assert_eq!(Line { long: true, ..CHAT }.way(&table()), Way::Page { ask: true });
        assert_eq!(Line { msrp: Msrp::Refused, ..CHAT }.way(&table()), Way::Page { ask: false });
        assert_eq!(
            Line { peer: PeerMsrp::No, msrp: Msrp::Shown, ..CHAT }.way(&table()),
            Way::Page { ask: false }
        );
        assert_eq!(Line { agent: Some("Zoiper 5"), ..CHAT }.way(&table()), Way::Page { ask: true });
    }

    #[test]
    fn a_sign_of_msrp_opens_a_session_for_a_chat_alone() {
        for sign in [
            Line { msrp: Msrp::Shown, ..CHAT },
            Line { peer: PeerMsrp::Yes, ..CHAT },
            Line { agent: Some("sipsimple 5.5.0"), ..CHAT },
            Line { session: Stage::Opening, ..CHAT },
            Line { session: Stage::Open, msrp: Msrp::Refused, ..CHAT },
        ] {
            assert_eq!(sign.way(&table()), Way::Session, "{sign:?}");
            let normal = Line { type_: None, ..sign };
            assert_eq!(normal.way(&table()), Way::Page { ask: false }, "{sign:?}");
        }
    }

    #[test]
    fn what_uses_a_session_opens_none() {
        for word in ["use", "wait"] {
            let table = Table::read(&format!("line: [{{ row: only, do: {word} }}]"), &QUESTIONS[..1]);
            let table = table.expect("the test's own table");
            assert_eq!(CHAT.way(&table), Way::Page { ask: false }, "{word}");
            assert_eq!(Line { session: Stage::Opening, ..CHAT }.way(&table), Way::Session, "{word}");
        }
    }

    #[test]
    fn a_refusal_is_believed_for_the_time_of_its_row() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        assert_eq!(failed(&table(), Cause::Refused(488)), hours(24));
        assert_eq!(failed(&table(), Cause::PortZero), hours(24));
        assert_eq!(failed(&table(), Cause::Refused(480)), Duration::from_secs(120));
        assert_eq!(failed(&table(), Cause::NoConnection), hours(1));
        assert_eq!(failed(&table(), Cause::Refused(500)), Duration::from_secs(600));
    }

    #[test]
    fn who_opened_a_quiet_session_decides_when_it_ends() {
        let minutes = |minutes: u64| Some(Duration::from_secs(minutes * 60));
        assert_eq!(quiet(&table(), true, User::Online), minutes(10));
        assert_eq!(quiet(&table(), false, User::Unknown), None);
        assert_eq!(quiet(&table(), false, User::Offline), minutes(1));
    }

    #[test]
    fn who_is_only_away_is_there() {
        let says = |kind, text| asked_is_there(&table(), kind, text);
        assert!(says(Kind::ServiceUnavailable, Some("User session not found")));
        assert!(says(Kind::RecipientUnavailable, None));
        assert!(!says(Kind::ServiceUnavailable, None));
        assert!(!says(Kind::ItemNotFound, Some("User session not found")));
    }

    #[test]
    fn the_other_questions_have_their_answers() {
        assert_eq!(invited(&table(), User::Online, true), Invited::Answer);
        assert_eq!(invited(&table(), User::Offline, false), Invited::Ask);
        assert!(gone_hangs_up(&table(), false) && !gone_hangs_up(&table(), true));
        assert!(ended_says_gone(&table(), true) && !ended_says_gone(&table(), false));
        assert!(goes_again(&table(), Break::Lost) && !answer_is_receipt(&table()));
        assert!(extra_is_text(&table(), Extra::Reaction));
    }

    #[test]
    fn rows_can_look_at_thread_content_and_domain() {
        let page = |when: &str, line: Line<'_>| {
            let text = format!("line: [{{ row: a, when: {{ {when} }}, do: page }}, {{ row: b, do: open }}]");
            let table = Table::read(&text, &QUESTIONS[..1]).expect("the test's own table");
            line.way(&table) != Way::Session
        };
        for (when, line) in [
            ("thread: true", Line { thread: true, ..CHAT }),
            ("content: html", Line { html: true, ..CHAT }),
            ("domain: EXAMPLE.org", Line { domain: "example.org", ..CHAT }),
        ] {
            assert!(page(when, line) && !page(when, CHAT), "{when}");
        }
    }

    #[test]
    fn an_admins_rows_replace_or_come_first() {
        let own = "line:
  - { row: unknown, do: page }
  - { row: bob, when: { agent: bob }, do: refuse, condition: gone }
";
        let mut mistakes = Vec::new();
        let root = crate::config::yaml::parse(own, &mut mistakes).expect("the test's own YAML");
        let table = table().with(Table::of(&root, &QUESTIONS, &mut mistakes));
        assert!(mistakes.is_empty(), "{mistakes:?}");
        assert_eq!(table.list("line").first().map(|row| row.name.as_str()), Some("bob"));
        assert_eq!(CHAT.way(&table), Way::Page { ask: false });
        let bob = Line { agent: Some("BOB"), msrp: Msrp::Shown, ..CHAT };
        assert!(matches!(bob.way(&table), Way::Refuse(condition) if condition.kind == Kind::Gone));
    }

    #[test]
    fn an_explanation_names_what_differed() {
        let told = table().explain("line", &CHAT.facts());
        assert!(
            told.contains("not in-session: session differs") && told.ends_with("unknown decides: ask\n"),
            "{told}"
        );
    }

    #[test]
    fn a_wrong_row_is_told_with_its_line() {
        for (wrong, told) in [
            ("lines: []", "did you mean `line`?"),
            ("line:\n  - { row: a, do: pag }", "line 2: `line` cannot decide \"pag\": decide one of: page"),
            ("line:\n  - { row: a, when: { sesion: open }, do: page }", "did you mean `session`?"),
            ("line:\n  - { row: a, when: { session: ajar }, do: page }", "it is one of: none, opening, open"),
            ("failed:\n  - { row: a, do: page }", "`for` is missing"),
            ("failed:\n  - { row: a, do: page, for: soon }", "`for` cannot be \"soon\""),
            ("line:\n  - { row: a, do: page, for: 1m }", "a row that decides so has no `for`"),
            (
                "line:\n  - { row: a, do: page }\n  - { row: a, do: ask }",
                "line 3: two rows of `line` are called a",
            ),
            ("line:\n  - { row: a, when: { long: true }, do: page }", "has conditions"),
            ("gone:\n  - { row: a, do: keep }", "`line` has no rows"),
        ] {
            let error = Table::read(wrong, &QUESTIONS).expect_err(wrong);
            assert!(error.contains(told), "{wrong}: {error}");
        }
    }
}
