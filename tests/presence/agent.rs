//! The presence agents of SIP users: who may watch, what is shown, and the dialogs in which it is told (RFC 3856, RFC 6665).

use std::collections::BTreeMap;
use std::time::Duration;

use mostar::words::time::Tick;

use super::server::{Bond, SHOWS, Shown, number_of};
use super::support::written::header_of;
use super::world::{Event, PEOPLE, Pair, World};

/// A SIP user as her agent knows her.
#[derive(Debug, Default)]
pub struct Romeo {
    pub devices: Shown,
    /// Whom she lets see it: all, who has not been asked about; some wait, some are refused.
    pub lets: BTreeMap<u8, Bond>,
    /// It answers this, or nothing (0), instead of what it should.
    pub temper: Option<u16>,
}

/// A subscription of a Juliet's, as the agent keeps it.
#[derive(Debug)]
pub struct Dialog {
    pub pair: Pair,
    id: String,
    from: String,
    to: String,
    target: String,
    cseq: u32,
    expires: Tick,
    pub over: bool,
    /// The gateway has let go of it, which an agent that is out of service need not have heard.
    pub left: bool,
    /// When it was told last how things are.
    pub told: Tick,
    /// NOTIFYs that have no answer.
    pub unanswered: u32,
    /// A NOTIFY of it has told that all is well.
    pub active: bool,
    /// The life of the process that has taken a NOTIFY of it last.
    pub life: u64,
}

impl Romeo {
    pub fn lets(&self, juliet: u8) -> Bond {
        self.lets.get(&juliet).copied().unwrap_or(Bond::Agreed)
    }
}

fn uri_in(value: &str) -> String {
    value.split(['<', '>']).nth(1).unwrap_or(value).to_owned()
}

/// An answer to a request.
pub fn answer(request: &str, status: u16, tag: &str, more: &str) -> String {
    let get = |name| header_of(request, name).unwrap_or_default();
    let vias: String = request
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("Via:"))
        .map(|line| format!("{line}\r\n"))
        .collect();
    let to = get("To");
    let tag = if to.contains(";tag=") { String::new() } else { format!(";tag={tag}") };
    format!(
        "SIP/2.0 {status} Simulated\r\n{vias}From: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
         Contact: <sip:agent@192.0.2.1:5060;transport=tcp>\r\n{more}Content-Length: 0\r\n\r\n",
        get("From"),
        get("Call-ID"),
        get("CSeq"),
    )
}

impl World {
    /// A SUBSCRIBE of the gateway's comes to an agent.
    pub fn agent_hears(&mut self, text: &str) {
        let id = header_of(text, "Call-ID").unwrap_or_default().to_owned();
        let (from, to) =
            (header_of(text, "From").unwrap_or_default(), header_of(text, "To").unwrap_or_default());
        let user = |value: &str| number_of(uri_in(value).split([':', '@']).nth(1).unwrap_or_default());
        let (Some(one), Some(other)) = (user(from), user(to)) else { return };
        let temper = self.romeos[other as usize].temper.filter(|_| !self.peace && self.course.chance(70));
        match temper {
            Some(0) => return,
            Some(status) => return self.sip(answer(text, status, "x", "")),
            None => {}
        }
        let asked: u64 = header_of(text, "Expires").and_then(|text| text.parse().ok()).unwrap_or(3600);
        let known = self.dialogs.iter().position(|dialog| dialog.id == id && !dialog.over);
        if known.is_none() && to.contains(";tag=") {
            return self.sip(answer(text, 481, "x", ""));
        }
        let lets = self.romeos[other as usize].lets(one);
        if known.is_none() && lets == Bond::Refused && self.course.chance(50) {
            return self.sip(answer(text, 403, "x", ""));
        }
        let number = known.unwrap_or(self.dialogs.len());
        let expires = if self.peace { asked } else { asked.min(600 + self.course.below(3000)) };
        self.sip(answer(text, 200, &format!("a{number}"), &format!("Expires: {expires}\r\n")));
        if known.is_none() {
            self.dialogs.push(Dialog {
                pair: (one, other),
                id,
                from: format!("{to};tag=a{number}"),
                to: from.to_owned(),
                target: uri_in(header_of(text, "Contact").unwrap_or_default()),
                cseq: 0,
                expires: self.course.now,
                over: false,
                left: false,
                told: self.course.now,
                unanswered: 0,
                active: false,
                life: 0,
            });
        }
        self.dialogs[number].expires = self.course.now + Duration::from_secs(expires);
        if expires == 0 {
            // Who asks once is told how it is (RFC 6665 §4.4.3).
            let state = if lets == Bond::Refused { "rejected" } else { "timeout" };
            self.notify(number, &format!("terminated;reason={state}"), lets == Bond::Agreed);
            self.dialogs[number].over = true;
            return;
        }
        let at = self.dialogs[number].expires;
        self.course.at(at, Event::AgentExpires(number));
        self.shows(number);
    }

    /// The gateway asks an agent: for no more, perhaps. What it is told in that dialog from now on is not for the user: she
    /// has unsubscribed, and a new subscription of hers shows what its own dialog says (RFC 6665 §4.4.1).
    pub fn gateway_asks(&mut self, text: &str) {
        let id = header_of(text, "Call-ID").unwrap_or_default();
        if header_of(text, "Expires") == Some("0") {
            self.dialogs.iter_mut().filter(|dialog| dialog.id == id).for_each(|dialog| dialog.left = true);
        }
    }

    /// A subscription of an agent's has run out.
    pub fn agent_expires(&mut self, number: usize) {
        let dialog = &self.dialogs[number];
        if !dialog.over && dialog.expires <= self.course.now {
            self.ends(number, "terminated;reason=timeout");
        }
    }

    fn ends(&mut self, number: usize, state: &str) {
        self.notify(number, state, false);
        self.dialogs[number].over = true;
    }

    /// The agent tells how things are.
    fn shows(&mut self, number: usize) {
        let (one, other) = self.dialogs[number].pair;
        let left = (self.dialogs[number].expires - self.course.now).as_secs();
        match self.romeos[other as usize].lets(one) {
            Bond::Agreed => {
                self.dialogs[number].active = true;
                self.notify(number, &format!("active;expires={left}"), true);
            }
            Bond::Refused => self.ends(number, "terminated;reason=rejected"),
            _ => self.notify(number, &format!("pending;expires={left}"), false),
        }
    }

    fn notify(&mut self, number: usize, state: &str, with_state: bool) {
        let other = self.dialogs[number].pair.1;
        let mut body = String::new();
        if with_state {
            body = format!(
                "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:romeo{other}@example.net'>"
            );
            for (device, show) in &self.romeos[other as usize].devices {
                let show = match show.as_str() {
                    "" => String::new(),
                    show => format!("<show xmlns='jabber:client'>{show}</show>"),
                };
                body.push_str(&format!(
                    "<tuple id='ID-{device}'><status><basic>open</basic>{show}</status></tuple>"
                ));
            }
            body.push_str("</presence>");
        }
        let now = self.course.now;
        let dialog = &mut self.dialogs[number];
        dialog.told = now;
        dialog.cseq += 1;
        dialog.unanswered += 1;
        let text = format!(
            "NOTIFY {} SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKa{number}x{}\r\nMax-Forwards: 70\r\n\
             From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} NOTIFY\r\nContact: <sip:agent@192.0.2.1:5060;transport=tcp>\r\n\
             Event: presence\r\nSubscription-State: {state}\r\nContent-Type: application/pidf+xml\r\nContent-Length: {}\r\n\r\n{body}",
            dialog.target,
            dialog.cseq,
            dialog.from,
            dialog.to,
            dialog.id,
            dialog.cseq,
            body.len()
        );
        self.sip(text);
        self.course.after(32_000, Event::AgentWaits(number));
    }

    /// The gateway answers a NOTIFY of an agent's.
    pub fn agent_is_answered(&mut self, text: &str) {
        let id = header_of(text, "Call-ID").unwrap_or_default();
        let Some(dialog) = self.dialogs.iter_mut().rfind(|dialog| dialog.id == id) else { return };
        dialog.unanswered = dialog.unanswered.saturating_sub(1);
        dialog.life = self.process.life;
        if !text.starts_with("SIP/2.0 2") {
            dialog.over = true;
        }
    }

    /// A NOTIFY without an answer ends the subscription (RFC 6665 §4.2.2), whatever the gateway believes.
    pub fn agent_waits(&mut self, number: usize) {
        let dialog = &mut self.dialogs[number];
        if dialog.unanswered > 0 && !dialog.over {
            dialog.over = true;
            self.tally.forgotten += 1;
        }
    }

    fn shows_all(&mut self, other: u8, but: Option<u8>) {
        for number in 0..self.dialogs.len() {
            let dialog = &self.dialogs[number];
            if !dialog.over && dialog.pair.1 == other && but.is_none_or(|one| dialog.pair.0 == one) {
                self.shows(number);
            }
        }
    }

    /// A device of a Romeo's comes, goes or shows something else.
    pub fn romeo_moves(&mut self, other: u8) {
        let device = ["desk", "mobile"][self.course.below(2) as usize];
        if self.course.chance(35) {
            self.romeos[other as usize].devices.remove(device);
        } else {
            let show = SHOWS[self.course.below(5) as usize];
            self.romeos[other as usize].devices.insert(device.into(), show.into());
        }
        self.shows_all(other, None);
    }

    /// A Romeo lets somebody see her, or not any more.
    pub fn romeo_decides(&mut self, (one, other): Pair) {
        let lets = [Bond::Agreed, Bond::Agreed, Bond::Asked, Bond::Refused][self.course.below(4) as usize];
        self.romeos[other as usize].lets.insert(one, lets);
        self.shows_all(other, Some(one));
    }

    /// An agent is started anew, or ends what it has for reasons of its own.
    pub fn agents_forget(&mut self) {
        self.tally.forgotten += 1;
        let tells = self.course.chance(50);
        for number in 0..self.dialogs.len() {
            if !self.dialogs[number].over && tells {
                self.ends(number, "terminated;reason=deactivated");
            }
            self.dialogs[number].over = true;
        }
    }

    /// An agent falls out of service, or is back.
    pub fn agent_changes(&mut self) {
        let other = self.course.below(PEOPLE.into()) as usize;
        let temper = [None, Some(0), Some(503), Some(500)][self.course.below(4) as usize];
        self.tally.silent += u64::from(temper == Some(0));
        self.romeos[other].temper = temper;
    }
}
