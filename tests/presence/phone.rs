//! Phones of SIP users who watch XMPP users: they subscribe, refresh, or forget to, and read what they are told.

use std::time::Duration;

use mostar::words::time::Tick;

use super::agent::answer;
use super::server::Shown;
use super::support::invariants::Invariant::Presence;
use super::support::written::header_of;
use super::world::{Event, Pair, World};

/// The gateway has this long after an expiry to say so: its own clock for a NOTIFY, and the disk.
const LATE: Duration = Duration::from_secs(8);

/// A subscription of a Romeo's to a Juliet.
#[derive(Debug)]
pub struct Watch {
    pub pair: Pair,
    id: String,
    tag: String,
    /// To, with the gateway's tag once that is known.
    remote: String,
    target: String,
    cseq: u32,
    /// What the gateway has granted.
    expires: Option<Tick>,
    pub over: bool,
    /// The phone has gone, and will not refresh it.
    pub dead: bool,
    pub active: bool,
    /// What it shows.
    pub shown: Shown,
    heard: u32,
    /// The request without an answer, by its number, and for how many seconds it asks.
    asking: Option<(u32, u64)>,
    /// Until then the gateway may have granted it, and have died before it said so.
    unheard: Tick,
    /// NOTIFYs of the gateway's whose answer has not come to it.
    unanswered: u32,
}

impl Watch {
    /// Both know of it.
    pub fn lives(&self, now: Tick) -> bool {
        !self.over && self.expires.is_some_and(|at| at > now)
    }

    /// Something was lost between it and the gateway, or is on its way; or it has just begun.
    pub fn is_in_doubt(&self) -> bool {
        self.unanswered > 0 || self.asking.is_some() || self.heard == 0
    }
}

impl World {
    /// A Romeo begins to watch a Juliet; one watch at a time.
    pub fn watches_anew(&mut self, pair: Pair) {
        if self.watches.iter().any(|watch| watch.pair == pair && !watch.over && !watch.dead) {
            return;
        }
        let (number, count) = (self.watches.len(), self.course.count());
        self.tally.watchers += 1;
        self.watches.push(Watch {
            pair,
            id: format!("w{count}"),
            tag: format!("p{count}"),
            remote: format!("<sip:juliet{}@example.com>", pair.0),
            target: format!("sip:juliet{}@example.com", pair.0),
            cseq: 0,
            expires: None,
            over: false,
            dead: false,
            active: false,
            shown: Shown::new(),
            heard: 0,
            asking: None,
            unheard: Tick(0),
            unanswered: 0,
        });
        self.asks(number, 0);
    }

    /// A phone asks: for the first time, again, or no more.
    fn asks(&mut self, number: usize, expires: u64) {
        let expires = if expires == 0 { [600, 900, 3600][self.course.below(3) as usize] } else { expires };
        let watch = &mut self.watches[number];
        watch.cseq += 1;
        let (cseq, other) = (watch.cseq, watch.pair.1);
        let expires = if expires == u64::MAX { 0 } else { expires };
        watch.asking = Some((cseq, expires));
        let text = format!(
            "SUBSCRIBE {} SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKp{number}x{cseq}\r\nMax-Forwards: 70\r\n\
             From: <sip:romeo{other}@example.net>;tag={}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} SUBSCRIBE\r\n\
             Contact: <sip:romeo{other}@192.0.2.1:5062;transport=tcp>\r\nEvent: presence\r\nAccept: application/pidf+xml\r\n\
             Expires: {expires}\r\nContent-Length: 0\r\n\r\n",
            watch.target, watch.tag, watch.remote, watch.id
        );
        self.sip(text);
        self.course.after(32_000, Event::PhoneWaits(number, cseq));
    }

    /// A phone lets go of what it watches, or dies.
    pub fn phone_goes(&mut self) {
        let alive: Vec<usize> = (0..self.watches.len())
            .filter(|number| !self.watches[*number].over && !self.watches[*number].dead)
            .collect();
        if alive.is_empty() {
            return;
        }
        let number = alive[self.course.below(alive.len() as u64) as usize];
        if self.course.chance(50) {
            self.watches[number].dead = true;
        } else if self.watches[number].expires.is_some() {
            self.asks(number, u64::MAX);
        }
    }

    /// Everybody looks at the phone: it asks again, at once.
    pub fn phones_refresh(&mut self) {
        for number in 0..self.watches.len() {
            if !self.watches[number].over && !self.watches[number].dead {
                self.asks(number, 0);
            }
        }
    }

    /// What has run out, or was let go, is over, also where the gateway's last word about it was lost.
    pub fn phones_let_go(&mut self) {
        let now = self.course.now;
        let is_past = |watch: &&mut Watch| watch.expires.is_some_and(|at| at <= now);
        self.watches.iter_mut().filter(is_past).for_each(|watch| watch.over = true);
    }

    /// Everybody lets go.
    pub fn phones_go(&mut self) {
        for number in 0..self.watches.len() {
            if !self.watches[number].over && !self.watches[number].dead {
                self.asks(number, u64::MAX);
            }
        }
    }

    /// It is time to ask again.
    pub fn refreshes(&mut self, number: usize, expires: Tick) {
        let watch = &self.watches[number];
        if !watch.over && !watch.dead && watch.expires == Some(expires) && !self.leaving {
            self.asks(number, 0);
        }
    }

    /// Nobody has answered a phone's request: it begins anew.
    pub fn phone_waits(&mut self, number: usize, cseq: u32) {
        let watch = &mut self.watches[number];
        if watch.asking.is_some_and(|(number, _)| number == cseq) && !watch.over {
            self.begins_anew(number);
        }
    }

    /// The process has died, and its connections with it: what phones have asked for may be on disk all the same. The gateway
    /// cannot know that its 200 was lost, and goes on for as long as it has granted (RFC 6665 §4.2.1), which its NOTIFYs say.
    pub fn phones_wait_in_vain(&mut self) {
        let now = self.course.now;
        for watch in &mut self.watches {
            if let Some((_, seconds)) = watch.asking {
                watch.unheard = watch.unheard.max(now + Duration::from_secs(seconds));
            }
        }
    }

    fn begins_anew(&mut self, number: usize) {
        let watch = &mut self.watches[number];
        watch.over = true;
        let pair = watch.pair;
        if !watch.dead && !self.leaving {
            self.watches_anew(pair);
        }
    }

    /// The gateway answers a phone's SUBSCRIBE.
    pub fn phone_is_answered(&mut self, text: &str) {
        let id = header_of(text, "Call-ID").unwrap_or_default();
        let Some(number) = self.watches.iter().position(|watch| watch.id == id) else { return };
        let cseq: u32 =
            header_of(text, "CSeq").and_then(|text| text.split(' ').next()?.parse().ok()).unwrap_or(0);
        let status: u16 = text.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
        let (now, watch) = (self.course.now, &mut self.watches[number]);
        if watch.asking.is_some_and(|(number, _)| number == cseq) {
            watch.asking = None;
        }
        match status {
            200..300 => {
                let expires = header_of(text, "Expires").and_then(|text| text.parse().ok()).unwrap_or(0);
                watch.remote = header_of(text, "To").unwrap_or_default().to_owned();
                let contact = header_of(text, "Contact").unwrap_or_default();
                watch.target = contact.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                if expires > 0 {
                    let at = now + Duration::from_secs(expires);
                    watch.expires = Some(at);
                    self.course.at(now + Duration::from_secs(expires * 4 / 5), Event::Refreshes(number, at));
                } else {
                    watch.expires = Some(now);
                }
            }
            // The gateway has it no more; asked in earnest, it takes it again.
            481 => self.begins_anew(number),
            300.. => {
                watch.over = true;
                let pair = watch.pair;
                if !watch.dead && !self.leaving {
                    self.course.after(600_000, Event::WatchesAnew(pair));
                }
            }
            _ => {}
        }
    }

    /// A NOTIFY is made by the gateway: may it be?
    pub fn is_notified(&mut self, text: &str) {
        let id = header_of(text, "Call-ID").unwrap_or_default();
        let Some(number) = self.watches.iter().position(|watch| watch.id == id) else { return };
        let (now, watch) = (self.course.now, &mut self.watches[number]);
        watch.unanswered += 1;
        let state = header_of(text, "Subscription-State").unwrap_or_default();
        let until = watch.expires.map(|at| at.max(watch.unheard) + LATE);
        let outlives = until.is_some_and(|until| now > until) && !state.starts_with("terminated");
        let shows = !read(text).unwrap_or_default().is_empty();
        let consents = self.consented.contains(&watch.pair);
        let (one, other) = watch.pair;
        let checks = &mut self.process.checks;
        checks
            .hold(Presence, !outlives, || format!("romeo{other} is told about juliet{one} after the expiry"));
        checks.hold(Presence, !shows || consents, || {
            format!("romeo{other} is shown juliet{one}, who has not agreed: {text}")
        });
    }

    /// The gateway hears a phone: that it has a NOTIFY, perhaps.
    pub fn phone_is_heard(&mut self, text: &str) {
        let is_answer = text.starts_with("SIP/2.0")
            && header_of(text, "CSeq").is_some_and(|cseq| cseq.ends_with("NOTIFY"));
        let id = header_of(text, "Call-ID").unwrap_or_default();
        if let Some(watch) = self.watches.iter_mut().find(|watch| is_answer && watch.id == id) {
            watch.unanswered = watch.unanswered.saturating_sub(1);
        }
    }

    /// A NOTIFY comes to a phone.
    pub fn phone_is_told(&mut self, text: &str) {
        let id = header_of(text, "Call-ID").unwrap_or_default();
        let Some(number) = self.watches.iter().position(|watch| watch.id == id) else {
            return self.sip(answer(text, 481, "x", ""));
        };
        let cseq: u32 =
            header_of(text, "CSeq").and_then(|text| text.split(' ').next()?.parse().ok()).unwrap_or(0);
        let watch = &mut self.watches[number];
        if watch.over {
            return self.sip(answer(text, 481, "x", ""));
        }
        if !self.peace && self.course.chance(4) {
            self.tally.silent += 1;
            return;
        }
        self.sip(answer(text, 200, "x", ""));
        let watch = &mut self.watches[number];
        if cseq <= watch.heard {
            return;
        }
        watch.heard = cseq;
        let state = header_of(text, "Subscription-State").unwrap_or_default();
        watch.active = state.starts_with("active");
        if let Some(shown) = read(text) {
            self.tally.documents += 1;
            watch.shown = shown;
        } else if !watch.active {
            watch.shown.clear();
        }
        if state.starts_with("terminated") {
            watch.over = true;
            watch.shown.clear();
            let (pair, again) = (watch.pair, !watch.dead && !self.leaving && !state.contains("timeout"));
            self.tally.expired += u64::from(state.contains("timeout"));
            if again && !state.contains("rejected") {
                self.course.after(1_000, Event::WatchesAnew(pair));
            }
        }
    }
}

/// The devices that a document shows as open, with what they show. Nothing where there is no document.
fn read(text: &str) -> Option<Shown> {
    let (_, body) = text.split_once("\r\n\r\n").filter(|(_, body)| !body.is_empty())?;
    let tree = roxmltree::Document::parse(body).ok()?;
    let mut shown = Shown::new();
    for tuple in tree.descendants().filter(|node| node.tag_name().name() == "tuple") {
        let find = |name: &str| {
            tuple
                .descendants()
                .find(|node| node.tag_name().name() == name)
                .and_then(|node| node.text())
                .map(str::to_owned)
        };
        if find("basic").as_deref() == Some("open") {
            let contact = find("contact").unwrap_or_default();
            let device = contact.split(";gr=").nth(1).unwrap_or_default().to_owned();
            shown.insert(device, find("show").unwrap_or_default());
        }
    }
    Some(shown)
}
