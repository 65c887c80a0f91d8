//! The world around one gateway: the streams to it and from it, and what people and faults do by chance.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mostar::gateway::{Input, LinkChange, LinkId, Output};
use mostar::sip::flow::{ConnId, Flow, Transport};
use mostar::sip::framing;
use mostar::words::id::Seed;
use mostar::words::note::Note;
use mostar::words::time::Tick;
use mostar::xmpp::stanza::Stanza;

use super::agent::{Dialog, Romeo};
use super::phone::Watch;
use super::server::{Bond, Juliet, Roster};
use super::support::course::{self, Course};
use super::support::invariants::Broken;
use super::support::invariants::Invariant::{Presence, Rest};
use super::support::process::{Death, Due, Host, Process};
use super::support::seeds::Run;
use super::support::vector;
use super::support::written::header_of;

/// A Juliet and a Romeo.
pub type Pair = (u8, u8);

/// So many of each.
pub const PEOPLE: u8 = 3;

/// What a contact's agent tells is shown so soon.
const SOON: Duration = Duration::from_secs(2);

/// What was said so shortly before a crash may be lost with it: the disk had not written it.
const UNSURE: Duration = Duration::from_secs(6);

crate::tally! {
    /// What has happened, so that nobody believes in a world where nothing does.
    Tally {
        contacts,
        watchers,
        shown,
        documents,
        refused,
        withdrawn,
        links,
        breaks,
        stops,
        forgotten,
        silent,
        expired,
        /// Pairs that were compared at rest and had something to show.
        compared,
    }
}

/// Something that will happen.
#[derive(Debug)]
pub enum Event {
    /// A stanza reaches the gateway, sent in that life of the link; with the word that it says about somebody.
    Stanza(u64, Stanza, Option<(Pair, &'static str)>),
    StanzaReaches(u64, Stanza),
    Sip(u64, Bytes),
    SipReaches(u64, Bytes),
    LinkUp,
    LinkFalls,
    StoreOk,
    Stopped(u64),
    Due(Due),
    /// People and faults do something.
    Act,
    /// A presence agent's subscription runs out; its NOTIFY has waited for long enough.
    AgentExpires(usize),
    AgentWaits(usize),
    /// The same of a phone.
    Refreshes(usize, Tick),
    PhoneWaits(usize, u32),
    WatchesAnew(Pair),
}

/// See the module.
pub struct World {
    pub course: Course<Event>,
    pub process: Process,
    /// Odd while the link is up.
    link: u64,
    /// Which SIP connection this is.
    connection: u64,
    pub juliets: Vec<Juliet>,
    pub roster: BTreeMap<Pair, Roster>,
    pub romeos: Vec<Romeo>,
    pub dialogs: Vec<Dialog>,
    pub watches: Vec<Watch>,
    /// Whose last word that reached the gateway was `subscribed`.
    pub consented: BTreeSet<Pair>,
    /// Words that a link or a crash has swallowed, or that they could not be taken now: nobody but who said them can say
    /// them again.
    lost: BTreeSet<Pair>,
    words: Vec<(Tick, Pair)>,
    /// Subscriptions, as the figures say: to XMPP users, to SIP contacts.
    figures: [i64; 2],
    pub peace: bool,
    /// When there is peace everybody looks at the phone, which asks again. Not in all runs, since it hides what the gateway
    /// would not have told by itself; in these the link often falls again soon after it came up.
    looks: bool,
    /// Which life of the process was asked to stop.
    stopping: Option<u64>,
    /// Everybody lets go.
    pub leaving: bool,
    pub tally: Tally,
}

/// Runs one seed to its end and judges it. The process dies at these commits.
pub fn run(seed: u64, deaths: &[(u64, Death)], show: bool) -> Result<Run<Tally>, Broken> {
    let bytes = course::bytes(5, seed);
    let config = Arc::new(vector::config());
    let pairs = (0..PEOPLE).flat_map(|one| (0..PEOPLE).map(move |other| (one, other)));
    let mut world = World {
        course: Course::new(bytes, show),
        process: Process::new(config, Seed(bytes), [0, 0, 3, 20][(seed / 2 % 4) as usize], deaths),
        link: 0,
        connection: 1,
        juliets: (0..PEOPLE).map(|_| Juliet::default()).collect(),
        roster: pairs.map(|pair| (pair, Roster::default())).collect(),
        romeos: (0..PEOPLE).map(|_| Romeo::default()).collect(),
        dialogs: Vec::new(),
        watches: Vec::new(),
        consented: BTreeSet::new(),
        lost: BTreeSet::new(),
        words: Vec::new(),
        figures: [0; 2],
        peace: false,
        looks: seed % 8 != 3,
        stopping: None,
        leaving: false,
        tally: Tally::default(),
    };
    if seed % 5 == 4 {
        let commit = 1 + world.course.below(40);
        world.process.deaths.insert(commit, Death::at(commit));
    }
    // Most of what happens in quiet hours is that the peer is asked whether it is there.
    world.process.leave_watch(!seed.is_multiple_of(3));
    world.play();
    let Process { checks, life, commits, .. } = world.process;
    checks.verdict()?;
    (world.tally.crashes, world.tally.commits) = (life, commits);
    Ok(Run { tally: world.tally, checks, trace: world.course.trace() })
}

impl World {
    /// Something is on its way.
    fn sends(&mut self, stream: &'static str, event: Event) {
        let delay = self.course.micros(20);
        self.course.in_order(stream, 0, delay, event);
    }

    /// A stanza goes to the gateway; with the word that it says about somebody.
    pub fn stanza(&mut self, stanza: Stanza, word: Option<(Pair, &'static str)>) {
        self.sends("from-xmpp", Event::Stanza(self.link, stanza, word));
    }

    /// A SIP message goes to the gateway.
    pub fn sip(&mut self, text: String) {
        self.sends("from-sip", Event::Sip(self.connection, text.into_bytes().into()));
    }

    fn is_linked(&self) -> bool {
        self.link % 2 == 1
    }

    fn play(&mut self) {
        self.apply(Input::RestoreDone);
        self.happen(Event::LinkUp);
        for one in 0..PEOPLE {
            self.device_moves(one);
            self.romeo_moves(one);
        }
        self.course.acts = 40 + self.course.below(60);
        self.course.after(100, Event::Act);
        self.run(None);
        self.make_peace();
        self.pass(Duration::from_secs(3));
        self.judge_contacts(false);
        self.pass(Duration::from_secs(7));
        self.judge_watchers(self.looks);
        // All that was missed is found out: subscriptions are refreshed, or run out.
        for _ in 0..4 {
            self.everybody_logs_in();
            self.pass(Duration::from_secs(45 * 60));
        }
        self.judge_contacts(true);
        self.judge_watchers(true);
        self.judge_books();
        self.everybody_leaves();
        self.judge_end();
    }

    /// No more faults. What was lost on its way is said again by whom it was lost.
    fn make_peace(&mut self) {
        self.course.note("peace");
        self.peace = true;
        self.process.deaths.clear();
        self.happen(Event::StoreOk);
        if self.stopping == Some(self.process.life) {
            self.crash();
        }
        self.happen(Event::LinkUp);
        self.romeos.iter_mut().for_each(|romeo| romeo.temper = None);
        for one in 0..PEOPLE {
            if self.juliets[one as usize].devices.is_empty() {
                self.device_is(one, "balcony", Some(""));
            }
        }
        self.says_again();
        if self.looks {
            self.phones_refresh();
        } else {
            self.phones_let_go();
        }
    }

    /// Words that were lost are said again.
    fn says_again(&mut self) {
        for pair in std::mem::take(&mut self.lost) {
            let (to, from) = (self.roster[&pair].to, self.roster[&pair].from);
            self.says(pair, if to == Bond::None { "unsubscribe" } else { "subscribe" });
            match from {
                Bond::Agreed => self.says(pair, "subscribed"),
                Bond::None => self.says(pair, "unsubscribed"),
                _ => {}
            }
        }
    }

    /// Of a user who shares no presence the gateway only knows what her client has said: everybody logs in once more, and
    /// her server asks how they all are.
    fn everybody_logs_in(&mut self) {
        for pair in self.roster.keys().copied().collect::<Vec<_>>() {
            let device = self.juliets[pair.0 as usize].devices.keys().next().cloned().unwrap_or_default();
            if self.roster[&pair].to == Bond::Agreed {
                self.probes(pair, &device);
            }
        }
    }

    fn sip_reaches(&mut self, text: &str) {
        let is_notify = header_of(text, "CSeq").is_some_and(|cseq| cseq.ends_with("NOTIFY"));
        match (text.split(' ').next().unwrap_or_default(), is_notify) {
            ("SIP/2.0", true) => self.agent_is_answered(text),
            ("SIP/2.0", false) => self.phone_is_answered(text),
            ("NOTIFY", _) => self.phone_is_told(text),
            ("SUBSCRIBE", _) => self.agent_hears(text),
            _ => self.sip(super::agent::answer(text, 200, "o", "")),
        }
    }

    fn some_pair(&mut self) -> Pair {
        (self.course.below(PEOPLE.into()) as u8, self.course.below(PEOPLE.into()) as u8)
    }

    fn act(&mut self) {
        if self.peace {
            return;
        }
        self.course.acts = self.course.acts.saturating_sub(1);
        let wait = [300, 1500, 5000, 60_000][self.course.below(4) as usize];
        let next = self.moment(wait);
        self.course.at(next, Event::Act);
        let pair = self.some_pair();
        match self.course.below(100) {
            0..16 => self.device_moves(pair.0),
            16..32 => self.romeo_moves(pair.1),
            32..46 if self.is_linked() => self.adds_or_removes(pair),
            46..60 => self.watches_anew(pair),
            60..71 if self.is_linked() => self.consents(pair),
            71..76 => self.romeo_decides(pair),
            76..79 => self.phone_goes(),
            79..82 => self.agent_changes(),
            82..84 => self.agents_forget(),
            84..89 => self.link_goes(),
            89..92 => self.connection_breaks(),
            92..95 => self.crash(),
            95..97 => {
                self.store_changes(true);
                self.course.after(4_000, Event::StoreOk);
            }
            97 => self.stops(),
            _ => {}
        }
    }

    fn link_goes(&mut self) {
        if self.is_linked() {
            self.course.note("the link goes down");
            self.tally.links += 1;
            self.link += 1;
            self.apply(Input::Link(LinkId(0), LinkChange::Down));
            let back = self.moment(60_000);
            self.course.at(back, Event::LinkUp);
        }
    }

    /// The SIP connection breaks, with what is on its way in both directions.
    fn connection_breaks(&mut self) {
        self.course.note("the connection breaks");
        self.tally.breaks += 1;
        self.connection += 1;
    }

    fn stops(&mut self) {
        self.course.note("the process is asked to stop");
        self.tally.stops += 1;
        let life = self.process.life;
        self.stopping = Some(life);
        self.course.after(60_000, Event::Stopped(life));
        self.apply(Input::Stop);
    }

    /// XMPP users see what the agents of their contacts show. In doubt are those whose agent has let a subscription go
    /// without a word that arrived; in the end nobody is.
    fn judge_contacts(&mut self, all: bool) {
        for one in 0..PEOPLE {
            for other in 0..PEOPLE {
                let roster = &self.roster[&(one, other)];
                let romeo = &self.romeos[other as usize];
                let lives = |dialog: &&Dialog| dialog.pair == (one, other) && !dialog.over;
                let dialog = self.dialogs.iter().rfind(lives);
                // A process that was started anew, and asks an agent that does not answer, knows nothing yet.
                let life = self.process.life;
                let sound = dialog.is_some_and(|dialog| {
                    let is_heard = dialog.unanswered == 0 && dialog.life == life;
                    dialog.active && !dialog.left && is_heard && dialog.told + SOON <= self.course.now
                });
                let agreed = romeo.lets(one) == Bond::Agreed;
                let green = &roster.green;
                let stranger = roster.to == Bond::None || !agreed && all;
                let checks = &mut self.process.checks;
                if stranger {
                    checks.hold(Presence, green.is_empty(), || {
                        format!("juliet{one} is shown {green:?} of romeo{other}, who does not let her")
                    });
                } else if all && agreed || sound && agreed && roster.to == Bond::Agreed {
                    let right = roster.to == Bond::Agreed && *green == romeo.devices;
                    checks.hold(Presence, right, || {
                        let devices = &romeo.devices;
                        format!("juliet{one} ({roster:?}) is to see {devices:?} of romeo{other}: {dialog:?}")
                    });
                    self.tally.compared += u64::from(!green.is_empty());
                }
            }
        }
    }

    /// SIP watchers see what they may. In doubt are those of which the gateway has not heard
    /// that they have its last word; in the end nobody is.
    fn judge_watchers(&mut self, all: bool) {
        for number in 0..self.watches.len() {
            let watch = &self.watches[number];
            if watch.over || watch.dead || watch.is_in_doubt() && !all {
                continue;
            }
            let agreed = self.roster[&watch.pair].from == Bond::Agreed;
            let devices = &self.juliets[watch.pair.0 as usize].devices;
            let shown = &watch.shown;
            let right = if agreed { watch.active && shown == devices } else { shown.is_empty() };
            self.process.checks.hold(Presence, right, || {
                format!("agreed: {agreed}, there are {devices:?}, and the watcher sees {watch:?}")
            });
            self.tally.compared += u64::from(agreed);
        }
    }

    /// What the figures, the disk and a process that is started anew say is the same.
    fn judge_books(&mut self) {
        if self.process.checks.first().is_some() {
            return;
        }
        let count = |this: &World, kind: &str| {
            this.process.store.keys().filter(|key| key.starts_with(kind)).count() as i64
        };
        let (figure, dialogs) = (self.figures[0], count(self, "watch-dialog/"));
        self.process.checks.hold(Presence, figure == dialogs, || {
            format!("the figures say {figure} watchers, on disk are {dialogs}")
        });
        let alive = self.watches.iter().filter(|watch| watch.lives(self.course.now)).count() as i64;
        self.process
            .checks
            .hold(Presence, dialogs == alive, || format!("{dialogs} watchers are on disk, and {alive} live"));
        self.crash();
        self.pass(Duration::from_secs(20));
        let after = [self.figures[0], count(self, "watch-dialog/")];
        self.process.checks.hold(Presence, after == [dialogs; 2], || {
            format!("before the restart there were {dialogs} watchers, now there are {after:?}")
        });
        self.judge_contacts(true);
        self.judge_watchers(true);
    }

    fn everybody_leaves(&mut self) {
        self.leaving = true;
        for one in 0..PEOPLE {
            for other in 0..PEOPLE {
                let roster = self.roster.get_mut(&(one, other)).expect("all have one");
                roster.to = Bond::None;
                roster.green.clear();
                self.says((one, other), "unsubscribe");
            }
        }
        self.phones_go();
        // The longest that anything is granted, and a bit.
        self.pass(Duration::from_secs(70 * 60));
    }

    fn judge_end(&mut self) {
        if self.process.checks.first().is_some() {
            return;
        }
        let process = &mut self.process;
        let (load, timeout) = (process.gateway.load(), process.gateway.next_timeout());
        process.checks.hold(Rest, load == 0, || format!("{load} things are still held: {timeout:?}"));
        let kept: Vec<&String> = process.store.keys().filter(|key| !key.starts_with("watch/")).collect();
        process.checks.hold(Rest, kept.is_empty(), || format!("still kept: {kept:?}"));
        let figures = self.figures;
        process.checks.hold(Rest, figures == [0; 2], || format!("the figures still say {figures:?}"));
        process.door.is_at_rest(&mut process.checks);
    }
}

impl Host for World {
    type Event = Event;

    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn course(&mut self) -> &mut Course<Event> {
        &mut self.course
    }

    fn becomes(&self, due: Due) -> Event {
        Event::Due(due)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Stanza(link, stanza, word) => {
                if link != self.link || !self.is_linked() {
                    self.lost.extend(word.map(|(pair, _)| pair));
                    if self.peace {
                        // It was on its way when the last fault came.
                        self.says_again();
                    }
                    return;
                }
                self.course.note(&format!("xmpp -> gateway {}", stanza.to_xml()));
                if let Some((pair, word)) = word {
                    self.words.push((self.course.now, pair));
                    match word {
                        "subscribed" => drop(self.consented.insert(pair)),
                        "unsubscribed" => drop(self.consented.remove(&pair)),
                        _ => {}
                    }
                }
                self.apply(Input::Stanza(LinkId(0), stanza));
            }
            Event::StanzaReaches(link, stanza) => {
                if link == self.link && self.is_linked() {
                    self.server_hears(&stanza);
                } else {
                    self.lost.extend(super::server::refused(&stanza));
                }
            }
            Event::Sip(connection, bytes) if connection == self.connection => {
                let text = String::from_utf8_lossy(&bytes);
                self.course.note(&format!("sip -> gateway {text}"));
                self.phone_is_heard(&text);
                let flow = Flow {
                    transport: Transport::Tcp,
                    local: "192.0.2.9:5060".parse().unwrap(),
                    remote: "192.0.2.1:5060".parse().unwrap(),
                    conn: Some(ConnId(connection)),
                };
                match framing::datagram(bytes) {
                    Ok(message) => self.apply(Input::Sip(flow, Box::new(message))),
                    Err(bad) => panic!("nobody here writes such SIP: {bad:?}"),
                }
            }
            Event::Sip(..) => {}
            Event::SipReaches(connection, bytes) => {
                if connection == self.connection {
                    self.sip_reaches(&String::from_utf8_lossy(&bytes));
                }
            }
            Event::LinkUp if !self.is_linked() => {
                self.course.note("the link comes up");
                self.link += 1;
                self.apply(Input::Link(LinkId(0), LinkChange::Up));
                if !self.looks && !self.peace {
                    self.course.may_flap(Event::LinkFalls);
                }
            }
            Event::LinkUp => {}
            Event::LinkFalls if self.peace => {}
            Event::LinkFalls => self.link_goes(),
            Event::StoreOk => self.store_changes(false),
            Event::Stopped(life) if life == self.process.life => self.crash(),
            Event::Stopped(_) => {}
            Event::Due(due) => self.due(due),
            Event::Act => self.act(),
            Event::AgentExpires(number) => self.agent_expires(number),
            Event::AgentWaits(number) => self.agent_waits(number),
            Event::Refreshes(number, at) => self.refreshes(number, at),
            Event::PhoneWaits(number, cseq) => self.phone_waits(number, cseq),
            Event::WatchesAnew(pair) => {
                if !self.leaving {
                    self.watches_anew(pair);
                }
            }
        }
    }

    fn edges(&self) -> (Tick, u64) {
        (self.course.now + Duration::from_secs(90), 75)
    }

    fn restores_slowly(&self) -> bool {
        !self.peace
    }

    fn leaves(&mut self, output: Output) {
        match output {
            Output::Sip(out) => {
                self.course.note(&format!("gateway -> sip {}", String::from_utf8_lossy(&out.bytes)));
                self.sends("to-sip", Event::SipReaches(self.connection, out.bytes));
            }
            Output::Stanza(_, stanza) => {
                self.course.note(&format!("gateway -> xmpp {}", stanza.to_xml()));
                self.sends("to-xmpp", Event::StanzaReaches(self.link, stanza));
            }
            Output::Stopped => {
                let life = self.process.life;
                self.course.after(100, Event::Stopped(life));
            }
            _ => {}
        }
    }

    fn made(&mut self, output: &Output) {
        let Output::Sip(out) = output else { return };
        let text = String::from_utf8_lossy(&out.bytes);
        match text.split(' ').next() {
            Some("NOTIFY") => self.is_notified(&text),
            Some("SUBSCRIBE") => self.gateway_asks(&text),
            _ => {}
        }
    }

    fn noted(&mut self, note: &Note) {
        if let Note::Gauge { name: "subscriptions", labels, by } = note {
            self.figures[usize::from(labels[0].1 == "xmpp_to_sip")] += by;
        }
    }

    fn died(&mut self) {
        self.connection += 1;
        if self.is_linked() {
            self.link += 1;
        }
        self.figures = [0; 2];
        let now = self.course.now;
        let unsure = self.words.iter().filter(|(at, _)| *at + UNSURE > now).map(|(_, pair)| *pair);
        self.lost.extend(unsure);
        self.phones_wait_in_vain();
    }

    fn risen(&mut self) {
        let wait = 10 + self.course.below(3_000);
        self.course.after(wait, Event::LinkUp);
    }
}
