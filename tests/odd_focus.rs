//! Conferences of SIP under a focus that does what it likes: whatever is answered, said, lost or restarted, every client
//! knows in the end that it is out, and nothing is held any more. One seed is one conversation; a failure names it.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mostar::words::time::Tick;
use support::vector::{Side, World};
use support::written::header_of;

const ROOM: &str = "mantua@conference.example.net";
const CLIENTS: [&str; 5] = [
    "juliet@example.com/balcony",
    "juliet@example.com/orchard",
    "nurse@example.com/kitchen",
    "tybalt@example.com/street",
    "paris@example.com/tomb",
];
const NICKS: [&str; 4] = ["Juliet", "Nurse", "Romeo", "A \u{202e}\u{5d0} 9"];

/// What is drawn: the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn one<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len() as u64) as usize]
    }

    fn is(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A dialog that the gateway has with the focus: an INVITE's or a SUBSCRIBE's.
struct Dialog {
    call_id: String,
    theirs: String,
    target: String,
    tag: String,
    cseq: u32,
}

/// The focus, and the world around the gateway.
struct Play {
    world: World,
    dice: Dice,
    now: u64,
    calls: Vec<Dialog>,
    watches: Vec<Dialog>,
    /// Our paths, by connection, with theirs.
    lines: BTreeMap<u64, (String, String)>,
    /// Connections that have not said a word yet, with the path of the description that led to them.
    silent: Vec<u64>,
    connections: u64,
    names: u64,
    version: u32,
    people: BTreeSet<&'static str>,
    /// Lines that their senders know nothing of yet, by their ids.
    open: BTreeMap<String, &'static str>,
    /// What a client has been told, so that it is told once.
    told: BTreeSet<(String, String)>,
    /// The clients that believe to be in.
    inside: BTreeSet<String>,
    is_up: bool,
    /// The focus behaves from now on.
    is_kind: bool,
    /// Who is in the roster, instead of those who come and go.
    roster: Option<String>,
    /// Nicks that were shown.
    shown: BTreeSet<String>,
}

impl Play {
    fn new(seed: u64) -> Play {
        let mut config = support::vector::config();
        support::config::add_conference(&mut config, "conference.example.net");
        let (calls, watches, silent) = (Vec::new(), Vec::new(), Vec::new());
        Play {
            world: World::new(config),
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            now: 0,
            calls,
            watches,
            lines: BTreeMap::new(),
            silent,
            connections: 0,
            names: 0,
            version: 0,
            people: BTreeSet::new(),
            open: BTreeMap::new(),
            told: BTreeSet::new(),
            inside: BTreeSet::new(),
            is_up: true,
            is_kind: false,
            roster: None,
            shown: BTreeSet::new(),
        }
    }

    /// Whether the focus does what is hoped.
    fn does_well(&mut self, percent: u64) -> bool {
        self.is_kind || self.dice.is(percent)
    }

    fn advance(&mut self, by: Duration) {
        // In steps, so that what comes out is answered before its time is over.
        for _ in 0..20 {
            self.now += by.as_micros() as u64 / 20;
            self.world.advance(Tick(self.now)).expect("alarms end");
            self.settle();
        }
    }

    /// Answers what came out, as the focus likes.
    fn settle(&mut self) {
        while let Some(side) = self.world.first_waiting() {
            let Some(taken) = self.world.take(side) else { return };
            match side {
                Side::Xmpp => self.stanza(&taken.text),
                Side::Sip(_) => self.sip(&taken.text),
                Side::Msrp => self.msrp(&taken.text),
            }
        }
    }

    fn stanza(&mut self, text: &str) {
        let to = text.split(" to='").nth(1).and_then(|rest| rest.split('\'').next()).unwrap_or_default();
        if text.starts_with("<message ") && !text.contains("<subject") && !text.contains("<delay ") {
            let id = text.split(" id='").nth(1).and_then(|rest| rest.split('\'').next()).unwrap_or_default();
            self.open.remove(id);
            assert!(self.told.insert((id.to_owned(), to.to_owned())), "{to} is told twice: {text}");
        }
        if let Some(nick) = text.strip_prefix(&format!("<presence from='{ROOM}/")) {
            self.shown.insert(nick.split('\'').next().unwrap_or_default().to_owned());
        }
        if !text.starts_with("<presence ") || !text.contains("code='110'") {
            return;
        }
        let is_gone = text.contains(" type='unavailable'");
        if is_gone && !text.contains("code='303'") {
            // Who has left asks no more.
            self.open.retain(|_, client| *client != to);
            self.inside.remove(to);
        } else if !is_gone {
            self.inside.insert(to.to_owned());
        }
    }

    fn sip(&mut self, text: &str) {
        let method = text.split(' ').next().unwrap_or_default();
        let to = header_of(text, "To").unwrap_or_default();
        self.names += 1;
        let tag = if to.contains(";tag=") { String::new() } else { format!(";tag=f{}", self.names) };
        let dialog = || Dialog {
            call_id: header_of(text, "Call-ID").unwrap_or_default().to_owned(),
            theirs: header_of(text, "From").unwrap_or_default().to_owned(),
            target: header_of(text, "Contact")
                .and_then(|contact| contact.split(['<', '>']).nth(1))
                .unwrap_or_default()
                .to_owned(),
            tag: tag.trim_start_matches(";tag=").to_owned(),
            cseq: 0,
        };
        match method {
            "INVITE" => {
                if !self.does_well(80) {
                    let answers = ["404 Not Found", "486 Busy Here", "302 Moved", ""];
                    let answer = self.dice.one(&answers);
                    if !answer.is_empty() {
                        self.world.answer_last(text, &format!("SIP/2.0 {answer}\nTo: {to}{tag}\n"));
                    }
                    return;
                }
                let call = dialog();
                let focus = if self.does_well(95) { ";isfocus" } else { "" };
                let room = self.dice.one(&["a=chatroom:nickname private-messages", "a=chatroom", "a=x"]);
                self.world.answer_last(text, &format!(
                    "SIP/2.0 200 OK\nTo: {to}{tag}\nContact: <sip:mantua@192.0.2.1:5070;transport=tcp>{focus}\n\
                     Content-Type: application/sdp\n\nv=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\n\
                     m=message 12763 TCP/MSRP *\na=path:msrp://192.0.2.1:12763/focus{};tcp\na=accept-types:message/cpim\n\
                     a=accept-wrapped-types:*\na=setup:passive\n{room}\n",
                    self.names
                ));
                self.calls.push(call);
            }
            "SUBSCRIBE" => {
                if !self.does_well(85) {
                    let answers = ["489 Bad Event", "481 Gone", ""];
                    let answer = self.dice.one(&answers);
                    if !answer.is_empty() {
                        self.world.answer_last(text, &format!("SIP/2.0 {answer}\nTo: {to}{tag}\n"));
                    }
                    return;
                }
                let expires = header_of(text, "Expires").unwrap_or("0").to_owned();
                self.world.answer_last(text, &format!(
                    "SIP/2.0 200 OK\nTo: {to}{tag}\nContact: <sip:mantua@192.0.2.1:5070;transport=tcp>\nExpires: {expires}\n"
                ));
                if !tag.is_empty() {
                    self.watches.push(dialog());
                }
                let call_id = header_of(text, "Call-ID").unwrap_or_default();
                if let Some(place) = self.watches.iter().position(|watch| watch.call_id == call_id) {
                    self.notify(place, expires == "0", true);
                }
            }
            "BYE" | "CANCEL" if self.does_well(90) => self.world.answer_last(text, "SIP/2.0 200 OK\n"),
            _ => {}
        }
    }

    /// A roster, or something that is none.
    fn notify(&mut self, place: usize, ends: bool, is_full: bool) {
        let users: String = self.people.iter().map(|name| format!(
            "<user entity=\"sip:{name}@example.net\" state=\"full\"><display-text>{name}</display-text></user>"
        )).collect();
        let users = self.roster.clone().unwrap_or(users);
        self.version += 1 + u32::from(!self.does_well(90));
        let state = if is_full { "full" } else { "partial" };
        let body = if self.does_well(95) {
            format!(
                "<conference-info xmlns=\"urn:ietf:params:xml:ns:conference-info\" entity=\"sip:{ROOM}\" state=\"{state}\" \
                 version=\"{}\"><users state=\"{state}\">{users}</users></conference-info>",
                self.version
            )
        } else {
            "<x/>".to_owned()
        };
        let Some(watch) = self.watches.get_mut(place) else { return };
        watch.cseq += 1;
        let state = if ends { "terminated;reason=timeout" } else { "active;expires=3600" };
        let head = format!(
            "NOTIFY {} SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bK{}n{}\r\nFrom: <sip:{ROOM}>;tag={}\r\n\
             To: {}\r\nCall-ID: {}\r\nCSeq: {} NOTIFY\r\nMax-Forwards: 70\r\nContact: <sip:mantua@192.0.2.1:5070>\r\n\
             Event: conference\r\nSubscription-State: {state}\r\nContent-Type: application/conference-info+xml\r\n\
             Content-Length: {}\r\n\r\n{body}",
            watch.target,
            watch.call_id,
            watch.cseq,
            watch.tag,
            watch.theirs,
            watch.call_id,
            watch.cseq,
            body.len()
        );
        self.arrive(head);
    }

    fn arrive(&mut self, text: String) {
        self.world.arrive(mostar::sip::flow::Transport::Tcp, None, text.into_bytes());
    }

    fn msrp(&mut self, text: &str) {
        if text.starts_with("CONNECT ") {
            self.connections += 1;
            let connection = self.connections.to_string();
            if self.does_well(93) {
                self.silent.push(self.connections);
                self.world.act(&["msrp", "connected", "conn", &connection], "").expect("it was asked for");
            } else {
                self.world.act(&["msrp", "refused"], "").expect("it was asked for");
            }
            return;
        }
        let (to, from) = (
            header_of(text, "To-Path").unwrap_or_default(),
            header_of(text, "From-Path").unwrap_or_default(),
        );
        let known = self.lines.iter().find(|(_, (ours, _))| ours == from).map(|(connection, _)| *connection);
        let connection = match known {
            Some(connection) => connection,
            None => {
                let Some(connection) = self.silent.pop() else { return };
                self.lines.insert(connection, (from.to_owned(), to.to_owned()));
                connection
            }
        };
        let mut words = text.lines().next().unwrap_or_default().split(' ');
        let (tid, method) = (words.nth(1).unwrap_or_default(), words.next().unwrap_or_default());
        let answer = match method {
            "SEND" if self.does_well(92) => "200 OK",
            "NICKNAME" if self.does_well(80) => "200 OK",
            "SEND" => self.dice.one(&["403 No", "481 Who", "413 Long", ""]),
            "NICKNAME" => self.dice.one(&["425 Taken", "424 What", "501 Huh", ""]),
            _ => "",
        };
        if !answer.is_empty() {
            self.frame(connection, &format!("MSRP {tid} {answer}\nTo-Path: {from}\nFrom-Path: {to}\n"));
        }
    }

    fn frame(&mut self, connection: u64, text: &str) {
        self.world.act(&["msrp", "in", "conn", &connection.to_string()], text).expect("a frame");
    }

    /// Somebody does something.
    fn step(&mut self) {
        let client = self.dice.one(&CLIENTS);
        let nick = self.dice.one(&NICKS);
        let number = self.names;
        self.names += 1;
        let some = |all: &BTreeMap<u64, (String, String)>, dice: &mut Dice| {
            let place = dice.below(all.len().max(1) as u64) as usize;
            all.iter().nth(place).map(|(connection, paths)| (*connection, paths.clone()))
        };
        let what = self.dice.below(20);
        if what < 12 && !self.is_up {
            // Nothing comes over a link that is down.
            return;
        }
        match what {
            0..5 => {
                let history = self.dice.one(&["", "<history maxstanzas='0'/>", "<history seconds='10'/>"]);
                self.world.stanza_in(&format!(
                    "<presence from='{client}' to='{ROOM}/{nick}'><x xmlns='http://jabber.org/protocol/muc'>{history}</x></presence>"
                ));
            }
            5 => self.world.stanza_in(&format!("<presence from='{client}' to='{ROOM}/{nick}'/>")),
            6 => self.world.stanza_in(&format!("<presence from='{client}' to='{ROOM}/{nick}' type='unavailable'/>")),
            7..10 => {
                self.open.insert(format!("m{number}"), client);
                self.world.stanza_in(&format!(
                    "<message from='{client}' to='{ROOM}' type='groupchat' id='m{number}'><body>Line {number}</body></message>"
                ));
            }
            10 => self.world.stanza_in(&format!(
                "<message from='{client}' to='{ROOM}/{nick}' type='chat' id='m{number}'><body>Psst</body></message>"
            )),
            11 => {
                self.inside.remove(client);
                self.open.retain(|_, sender| *sender != client);
                self.world.stanza_in(&format!(
                    "<message from='{client}' to='{ROOM}' type='error'><error type='cancel'>\
                     <recipient-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
                ));
            }
            12 | 13 => {
                let name = self.dice.one(&["romeo", "ben", "mercutio"]);
                if !self.people.remove(name) {
                    self.people.insert(name);
                }
                let is_full = self.dice.is(60);
                for place in 0..self.watches.len() {
                    self.notify(place, false, is_full);
                    self.settle();
                }
            }
            14 | 15 => {
                let Some((connection, (ours, theirs))) = some(&self.lines, &mut self.dice) else { return };
                let from = self.dice.one(&["\"romeo\" <sip:romeo@example.net>", "<sip:juliet@example.com>", "<sip:x@y.invalid>"]);
                let text = format!(
                    "MSRP t{number} SEND\nTo-Path: {ours}\nFrom-Path: {theirs}\nMessage-ID: f{number}\nByte-Range: 1-*/*\n\
                     Success-Report: yes\nContent-Type: message/cpim\n\nFrom: {from}\nTo: <sip:{ROOM}>\n\
                     DateTime: 2026-11-21T00:00:00Z\n\nContent-Type: text/plain\n\nHeard {number}"
                );
                self.frame(connection, &text);
            }
            16 => {
                if let Some((connection, _)) = some(&self.lines, &mut self.dice) {
                    self.lines.remove(&connection);
                    self.world.act(&["msrp", "lost", "conn", &connection.to_string()], "").expect("it is lost");
                }
            }
            17 => {
                let place = self.dice.below(self.calls.len().max(1) as u64) as usize;
                let Some(call) = self.calls.get_mut(place) else { return };
                call.cseq += 1;
                let text = format!(
                    "BYE {} SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKbye{number}\r\nFrom: <sip:{ROOM}>;tag={}\r\n\
                     To: {}\r\nCall-ID: {}\r\nCSeq: {} BYE\r\nMax-Forwards: 70\r\nReason: SIP;cause=403\r\nContent-Length: 0\r\n\r\n",
                    call.target, call.tag, call.theirs, call.call_id, call.cseq
                );
                self.arrive(text);
            }
            18 if self.dice.is(30) => {
                self.is_up = !self.is_up;
                let word = if self.is_up { "up" } else { "down" };
                // Errors do not wait for a link.
                self.open.clear();
                self.world.act(&["xmpp", word, "link", "1"], "").expect("a link");
            }
            19 if self.dice.is(15) => {
                self.is_up = true;
                self.open.clear();
                self.lines.clear();
                self.silent.clear();
                self.world.act(&["restart"], "").expect("it starts");
            }
            _ => {}
        }
    }
}

fn play(seed: u64) {
    let mut play = Play::new(seed);
    for _ in 0..60 {
        play.step();
        play.settle();
        let wait = play.dice.one(&[&0, &1, &40, &2_500, &31_000]);
        play.advance(Duration::from_millis(*wait));
    }
    play.is_kind = true;
    if !play.is_up {
        play.is_up = true;
        play.world.act(&["xmpp", "up", "link", "1"], "").expect("a link");
    }
    play.advance(Duration::from_secs(120));
    assert!(play.open.is_empty(), "seed {seed}: nobody has told of {:?}", play.open);
    for client in CLIENTS {
        for nick in NICKS {
            play.world
                .stanza_in(&format!("<presence from='{client}' to='{ROOM}/{nick}' type='unavailable'/>"));
            play.settle();
        }
    }
    play.advance(Duration::from_secs(600));
    assert!(play.inside.is_empty(), "seed {seed}: {:?} believe to be in", play.inside);
    assert_eq!(play.world.load(), World::new(support::vector::config()).load(), "seed {seed}: the books");
}

#[test]
fn whatever_a_focus_does_everybody_is_out_in_the_end_and_the_books_are_empty() {
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(40);
    let only = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in only.map_or(1..seeds + 1, |seed: u64| seed..seed + 1) {
        if let Err(panic) = std::panic::catch_unwind(|| play(seed)) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// A play in which juliet is in, with this roster.
fn with_roster(users: &str) -> Play {
    let mut play = Play::new(1);
    play.is_kind = true;
    play.settle();
    play.roster = Some(users.to_owned());
    let enter = format!(
        "<presence from='{}' to='{ROOM}/Juliet'><x xmlns='http://jabber.org/protocol/muc'/></presence>",
        CLIENTS[0]
    );
    play.world.stanza_in(&enter);
    play.settle();
    play.advance(Duration::from_secs(15));
    play
}

#[test]
fn a_room_of_two_thousand_is_shown_whole() {
    let user = |number| {
        format!("<user entity='sip:u{number}@example.net'><display-text>User {number}</display-text></user>")
    };
    let play = with_roster(&(0..2_000).map(user).collect::<String>());
    assert!(play.inside.contains(CLIENTS[0]));
    assert_eq!(play.shown.len(), 2_001);
}

#[test]
fn a_roster_of_megabytes_keeps_nobody_out() {
    let user = |number| {
        let name = "x".repeat(1_000);
        format!(
            "<user entity='sip:u{number}@example.net'><display-text>{number} {name}</display-text></user>"
        )
    };
    let play = with_roster(&(0..3_000).map(user).collect::<String>());
    assert!(play.inside.contains(CLIENTS[0]));
}

#[test]
fn one_entity_is_one_person_and_odd_names_are_people() {
    let odd = ["&#x202e;evil", "&#x1f339;", "a/b", "", " ", "x&#x10;y"].map(|name| {
        format!("<user entity='sip:{}@example.net'><display-text>{name}</display-text></user>", name.len())
    });
    let twice = "<user entity='sip:twice@example.net'><display-text>One</display-text></user>\
                 <user entity='sip:twice@example.net'><display-text>Two</display-text></user>";
    let well_formed = odd.iter().filter(|user| !user.contains("&#x10;")).cloned().collect::<String>();
    let play = with_roster(&(well_formed + twice));
    assert!(play.inside.contains(CLIENTS[0]));
    assert!(play.shown.contains("Two") != play.shown.contains("One"), "{:?}", play.shown);
    assert_eq!(play.shown.len(), 7, "{:?}", play.shown);
}
