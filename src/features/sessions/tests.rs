//! What the built-in rows decide, and how an admin's rows change that.

use super::*;

fn table() -> Table {
    Table::read(EMBEDDED, &QUESTIONS).expect("the embedded table")
}

const CHAT: Line<'static> = Line {
    type_: Some("chat"),
    session: Stage::None,
    quiet: None,
    thread: Thread::None,
    mood: Mood { state: State::Unknown, typing: false },
    msrp: Msrp::Unknown,
    shown: Shown { takes: 0, lacks: 0 },
    route: ROUTE,
    peer: PeerMsrp::Learn,
    long: false,
    html: false,
};

const ROUTE: Route<'static> =
    Route { agent: None, via: "sip:192.0.2.1:5060;transport=tcp", domain: "example.net" };

fn by(agent: &'static str) -> Route<'static> {
    Route { agent: Some(agent), ..ROUTE }
}

#[test]
fn no_telephone_rings_for_a_line_of_text() {
    assert_eq!(CHAT.way(&table()), Way::Page { ask: true });
    assert_eq!(Line { long: true, ..CHAT }.way(&table()), Way::Page { ask: true });
    assert_eq!(Line { msrp: Msrp::Refused, ..CHAT }.way(&table()), Way::Page { ask: false });
    assert_eq!(
        Line { peer: PeerMsrp::No, msrp: Msrp::Shown, ..CHAT }.way(&table()),
        Way::Page { ask: false }
    );
    assert_eq!(Line { route: by("Zoiper 5"), ..CHAT }.way(&table()), Way::Page { ask: true });
}

#[test]
fn a_sign_of_msrp_opens_a_session_for_a_chat_alone() {
    for sign in [
        Line { msrp: Msrp::Shown, ..CHAT },
        Line { peer: PeerMsrp::Yes, ..CHAT },
        Line { route: by("sipsimple 5.5.0"), ..CHAT },
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
    assert_eq!(failed(&table(), Cause::Refused(488), ROUTE).0, hours(24));
    assert_eq!(failed(&table(), Cause::PortZero, ROUTE).0, hours(24));
    assert_eq!(failed(&table(), Cause::Refused(480), ROUTE).0, Duration::from_secs(120));
    assert_eq!(failed(&table(), Cause::NoConnection, ROUTE).0, hours(1));
    assert_eq!(failed(&table(), Cause::Refused(500), ROUTE).0, Duration::from_secs(600));
}

#[test]
fn who_opened_a_quiet_session_decides_when_it_ends() {
    let minutes = |minutes: u64| Some(Duration::from_secs(minutes * 60));
    assert_eq!(quiet(&table(), true, User::Online, Mood::default()), minutes(10));
    assert_eq!(quiet(&table(), false, User::Unknown, Mood::default()), None);
    assert_eq!(quiet(&table(), false, User::Offline, Mood::default()), minutes(1));
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
    assert_eq!(invited(&table(), User::Online, true, ROUTE), Invited::Answer);
    assert_eq!(invited(&table(), User::Offline, false, ROUTE), Invited::Ask);
    assert!(gone_hangs_up(&table(), false) && !gone_hangs_up(&table(), true));
    assert!(ended_says_gone(&table(), true) && !ended_says_gone(&table(), false));
    assert!(broken(&table(), Break::Lost) == Again::Next && !answer_is_receipt(&table()));
    assert_eq!(held(&table(), true), Some(Duration::from_secs(300)));
    assert!(extra_is_text(&table(), Extra::Reaction));
}

#[test]
fn rows_can_look_at_all_that_is_known_of_a_line() {
    let page = |when: &str, line: Line<'_>| {
        let text = format!("line: [{{ row: a, when: {{ {when} }}, do: page }}, {{ row: b, do: open }}]");
        let table = Table::read(&text, &QUESTIONS[..1]).expect("the test's own table");
        line.way(&table) != Way::Session
    };
    let minutes = |minutes: u64| Some(Duration::from_secs(minutes * 60));
    let mood = |state, typing| Mood { state, typing };
    for (when, line) in [
        ("thread: same", Line { thread: Thread::Same, ..CHAT }),
        ("thread: [same, other]", Line { thread: Thread::Other, ..CHAT }),
        ("quiet: 10m", Line { quiet: minutes(10), ..CHAT }),
        ("state: [composing, inactive]", Line { mood: mood(State::Inactive, false), ..CHAT }),
        ("typing: true", Line { mood: mood(State::Unknown, true), ..CHAT }),
        ("takes: [html, invite]", Line { shown: Shown { takes: 0b10_0000, lacks: 0 }, ..CHAT }),
        ("lacks: cpim", Line { shown: Shown { takes: 0, lacks: 1 }, ..CHAT }),
        ("content: html", Line { html: true, ..CHAT }),
        ("via: \"SIP:198.51\"", Line { route: Route { via: "sip:198.51.100.1", ..ROUTE }, ..CHAT }),
        ("domain: EXAMPLE.org", Line { route: Route { domain: "example.org", ..ROUTE }, ..CHAT }),
    ] {
        assert!(page(when, line) && !page(when, CHAT), "{when}");
    }
    assert!(!page("quiet: 10m", Line { quiet: minutes(9), ..CHAT }));
}

#[test]
fn who_writes_is_not_hung_up_on() {
    let half_an_hour = Some(Duration::from_secs(1800));
    let she = Mood { state: State::Composing, typing: false };
    let he = Mood { state: State::Active, typing: true };
    assert_eq!(quiet(&table(), true, User::Online, she), half_an_hour);
    assert_eq!(quiet(&table(), true, User::Online, he), half_an_hour);
    assert_eq!(quiet(&table(), true, User::Offline, he), Some(Duration::from_secs(60)));
    assert_eq!(quiet(&table(), false, User::Online, he), None);
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
    let bob = Line { route: by("BOB"), msrp: Msrp::Shown, ..CHAT };
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
        ("line:\n  - { row: a, when: { quiet: soon }, do: page }", "it is a duration such as 60s, 10m, 24h"),
        ("line:\n  - { row: a, when: { takes: coffee }, do: page }", "line 2: `takes` is never \"coffee\""),
        ("line:\n  - { row: a, do: page, for: 1m }", "a row that decides so has no `for`"),
        (
            "line:\n  - { row: a, do: page }\n  - { row: a, do: ask }",
            "line 3: two rows of `line` are called a",
        ),
        ("line:\n  - { row: a, when: { long: true }, do: page }", "has conditions"),
        ("line:\n  - { row: a, do: page, name: b }", "did you mean `row`?"),
        ("line:\n  - { row: a, do: page, then: ask }", "did you mean `do`?"),
        ("gone:\n  - { row: a, do: keep }", "`line` has no rows"),
    ] {
        let error = Table::read(wrong, &QUESTIONS).expect_err(wrong);
        assert!(error.contains(told), "{wrong}: {error}");
    }
}
