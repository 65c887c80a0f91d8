//! Sessions that we open (RFC 7573 §4): the INVITE, what is answered to it, and when the session is there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::describe::{self, Device};
use super::talk::{Line, Stage, Style, Talk, TalkId, change};
use super::{Alarm, Chat};
use crate::features::devices::Ability;
use crate::features::leg::Leg;
use crate::features::sessions::{self, Break, Cause};
use crate::features::signal::{Carried, Carry, Changes};
use crate::features::{Cx, Signal};
use crate::msrp::connections::SessionId;
use crate::msrp::path::Path;
use crate::sip::message::{Failure, HeaderName, Response};
use crate::sip::uri::SipAddress;
use crate::sip::usage::session::{self, Body, Call, End, Session};
use crate::words::id::Partition;
use crate::words::note::Level;

/// How long somebody may take to accept: a person waits for her line to leave.
const PATIENCE: Duration = Duration::from_secs(10);
/// RFC 3261 §8.1.1.6.
const HOPS: u8 = 70;

impl Chat {
    /// A line of the user's goes to the contact: in the session where older ones still are, in the one that the contact
    /// wrote in last, in one that opens, or in a new one.
    pub(super) fn carry(&mut self, cx: &mut Cx<'_>, carry: &Arc<Carry>) {
        let all = self.of_pair(&carry.user.bare(), &carry.to.aor);
        if let Some(changes) = &carry.changes
            && self.change_waiting(cx, &all, carry, changes)
        {
            return;
        }
        let known = |id: &&TalkId, is: fn(&Talk) -> bool| self.talks.get(id).is_some_and(|talk| is(talk));
        let unsettled = all.iter().rev().find(|id| known(id, Talk::is_unsettled));
        let open = all.iter().filter(|id| known(id, |talk| talk.stage == Stage::Open));
        let open = open.max_by_key(|id| self.talks.get(id).map(|talk| (talk.heard, talk.opened)));
        let opening = all.iter().rev().find(|id| known(id, Talk::takes_lines));
        let found = unsettled.or(open).or(opening).copied();
        let line = Line { carry: carry.clone(), sent: None, told: false, turned: false, rich: false };
        let waiting = self.admissions.of(&carry.user.bare(), &carry.to.aor);
        if let Some(opening) = waiting {
            return opening.lines.push_back(line);
        }
        let Some(id) = found else { return self.open(cx, line) };
        let Some(talk) = self.talks.get_mut(&id) else { return };
        talk.wrote(cx.now.tick, carry.user.resource());
        talk.lines.push_back(line);
        self.spoken_in(cx, id);
        self.flow(cx, id);
        self.arm_quiet(cx, id);
    }

    /// A line corrects others, or takes them back. True when it need not go itself.
    fn change_waiting(&mut self, cx: &mut Cx<'_>, all: &[TalkId], carry: &Carry, changes: &Changes) -> bool {
        let mut put = |number: u64, text: Option<&Arc<str>>| {
            let waiting = self.admissions.of(&carry.user.bare(), &carry.to.aor);
            all.iter().any(|id| self.talks.get_mut(id).is_some_and(|talk| talk.change(number, text)))
                || waiting.is_some_and(|opening| change(&mut opening.lines, number, text))
        };
        let (instead, own) = (changes.instead.as_ref(), Some(&carry.text));
        let mut merged = changes.original.filter(|number| put(*number, instead)).map(|into| (into, instead));
        if merged.is_some() || changes.takes_back {
            for number in changes.corrections.iter().copied().filter(|number| put(*number, None)) {
                cx.signal(Signal::Carried { number, fate: Carried::Withdrawn });
            }
        } else {
            let last = changes.corrections.last().copied();
            merged = last.filter(|number| put(*number, own)).map(|into| (into, own));
        }
        if let Some((into, text)) = merged {
            let fate = Carried::Merged { into, text: text.cloned() };
            cx.signal(Signal::Carried { number: carry.number, fate });
        }
        merged.is_some()
    }

    /// Opens a session for a line: at once, or when our relay has let it in.
    fn open(&mut self, cx: &mut Cx<'_>, line: Line) {
        let (user, contact) = (line.carry.user.bare(), line.carry.to.aor.clone());
        if !cx.accepting || self.goodbye.is_some() || !self.make_room(cx, &user, &contact) {
            cx.count("msrp_sessions_total", &[("opened", "us"), ("result", "no-room")]);
            return no_session(cx, &line);
        }
        let ways = describe::Ways::of(cx);
        if ways.relay {
            return self.open_through(cx, user, contact, line);
        }
        let near = cx.config.sip.peer_for(&contact.host).and_then(|peer| cx.config.sip.peers.get(peer));
        let near = near.map(|peer| peer.host.clone());
        let Some(uri) = describe::own_uri(cx, &user, !ways.plain, near.as_deref()) else {
            return no_session(cx, &line);
        };
        let own = Path::from(uri);
        let session = cx.msrp.offer(cx.mint, own.clone());
        self.call(cx, session, own, [line].into());
    }

    /// Calls the contact for these lines, the oldest first; this is our end. Gives the session.
    pub(super) fn call(
        &mut self,
        cx: &mut Cx<'_>,
        session: SessionId,
        own_path: Path,
        lines: VecDeque<Line>,
    ) -> Option<TalkId> {
        let carry = lines.front()?.carry.clone();
        let (user, contact) = (carry.user.bare(), carry.to.aor.clone());
        let own = cx.domains.user_sip(&user);
        let jid = cx.domains.contact_jid(&contact.address());
        let (Ok(own), Ok(jid)) = (own, jid) else {
            cx.msrp.close(cx.now.tick, cx.mint, session);
            lines.iter().for_each(|line| no_session(cx, line));
            return None;
        };
        let meant = match &carry.to.gr {
            Some(gr) => gr.clone(),
            None => cx.facts.devices.msrp(cx.now.tick, &contact).1.unwrap_or_default().to_owned(),
        };
        let device = SipAddress { aor: contact.clone(), gr: Some(meant.clone()).filter(|gr| !gr.is_empty()) };
        let mut target = cx.facts.reachable(&device);
        target.aor = cx.facts.spelled(&contact);
        let subject = carry.subject.as_deref().map(one_line).filter(|subject| !subject.is_empty());
        let peer = cx.config.sip.peer_for(&contact.host).unwrap_or_default();
        let leg = Leg::calling_from(cx, (session, own_path), peer, |cx, offer| {
            let call = Call {
                from: format!("<{}>", own.aor),
                to: format!("<{}>", target.aor),
                uri: target.to_string(),
                call_id: Some(carry.call_id.clone()),
                contact: cx.config.sip.contact(&own.aor, &contact.host),
                allow: crate::features::ALLOW.clone(),
                offer,
                headers: subject.map(|subject| (HeaderName::Subject, subject)).into_iter().collect(),
                max_forwards: HOPS,
                patience: PATIENCE,
                partition: Partition::of(user.bare_str()),
                domain: contact.host.clone(),
            };
            Session::invite(cx.now, cx.mint, call)
        });
        let id = self.number();
        let mut talk = Talk::new(cx.now.tick, user, contact.address(), jid, leg);
        talk.meant = meant;
        talk.ours = true;
        talk.stage = Stage::Calling;
        for line in &lines {
            talk.wrote(cx.now.tick, line.carry.user.resource());
        }
        talk.lines = lines;
        self.msrp.insert(session, id);
        self.add(cx, id, talk);
        self.run(cx, id);
        Some(id)
    }

    /// Our INVITE was accepted: the answer says where the other side is in MSRP.
    pub(super) fn accepted(
        &mut self,
        cx: &mut Cx<'_>,
        id: TalkId,
        response: &Response,
        answer: Option<&Body>,
    ) {
        let Some(talk) = self.talks.get_mut(&id) else { return };
        let device = Device::of(cx, &response.headers, &talk.contact, None);
        let agent = describe::agent(&response.headers);
        cx.facts.devices.heard(&talk.contact, &device.name, agent.as_deref());
        describe::allowed(cx, &response.headers, &talk.contact, &device.name);
        talk.set_device(device);
        cx.facts.show(&talk.sender);
        if let Ok(jid) = cx.domains.contact_jid(&talk.sender) {
            talk.jid = jid;
        }
        self.keep(cx, id);
        if !self.settle_terms(cx, id, answer) {
            return self.no_use(cx, id, Cause::PortZero);
        }
        self.flow(cx, id);
        self.arm_quiet(cx, id);
    }

    /// The answer to an offer of ours is there. False when the session is of no use: no line, or one that is refused.
    pub(super) fn settle_terms(&mut self, cx: &mut Cx<'_>, id: TalkId, answer: Option<&Body>) -> bool {
        let Some(talk) = self.talks.get_mut(&id) else { return false };
        let Some((line, _)) = talk.leg.settle(cx, answer) else { return false };
        talk.adopt(&line);
        talk.stage = Stage::Agreed;
        self.learn(cx, id);
        self.publish(cx, id);
        true
    }

    /// What the device has shown by its description.
    pub(super) fn learn(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        let Some(talk) = self.talks.get_mut(&id) else { return };
        let (now, contact, device) = (cx.now.tick, &talk.contact, talk.device.as_str());
        cx.facts.devices.shows(now, contact, device, Ability::Msrp, true);
        cx.facts.devices.shows(now, contact, device, Ability::CpimInSessions, talk.taste.cpim);
        if talk.taste.composing.is_some() {
            cx.facts.devices.shows(now, contact, device, Ability::Composing, true);
        }
        let used = cx.facts.devices.can(now, contact, device, Ability::Cpim) == Some(true);
        if talk.taste.cpim && used {
            talk.style = Style::Wrapped;
        }
    }

    /// The MSRP connection is there.
    pub(super) fn opened(&mut self, cx: &mut Cx<'_>, id: TalkId, session: SessionId) {
        let Some(talk) = self.talks.get_mut(&id).filter(|talk| talk.leg.msrp == Some(session)) else {
            return;
        };
        if talk.opened {
            return self.arrived_there(cx, id);
        }
        talk.opened = true;
        if talk.stage == Stage::Agreed {
            talk.stage = Stage::Open;
        }
        let opened = if talk.ours { "us" } else { "them" };
        let fields = talk.fields();
        cx.count("msrp_sessions_total", &[("opened", opened), ("result", "opened")]);
        cx.gauge("msrp_sessions", &[], 1);
        cx.log(Level::Info, "session-opened", fields);
        self.publish(cx, id);
        self.replace_older(cx, id);
        self.flow(cx, id);
    }

    /// A session that we opened came to nothing by its answer, or by its lack of a connection: SIP says goodbye.
    pub(super) fn no_use(&mut self, cx: &mut Cx<'_>, id: TalkId, cause: Cause) {
        self.fail(cx, id, cause);
        let Some(talk) = self.talks.get_mut(&id) else { return };
        let (status, text) = match cause {
            Cause::PortZero => (488, "no line for a chat"),
            // With the address, where it is one that is not connected to, and the key that would allow it.
            _ if !talk.why.is_empty() => (480, talk.why.as_str()),
            _ => (480, "no MSRP connection"),
        };
        let text = text.to_owned();
        talk.leg.call.hang_up(Some(session::Cause { status, text }));
        self.run(cx, id);
    }

    /// A session came to nothing: what waited goes back, and the device is left alone for a while.
    fn fail(&mut self, cx: &mut Cx<'_>, id: TalkId, cause: Cause) {
        let Some(talk) = self.talks.get_mut(&id).filter(|talk| talk.stage != Stage::Over) else { return };
        let route = describe::route(cx, talk.leg.peer, &talk.contact, cx.facts.devices.agent(&talk.contact));
        let (time, refusal) = sessions::failed(&cx.config.sessions, cause, route);
        let meant = SipAddress {
            aor: talk.contact.clone(),
            gr: Some(talk.meant.clone()).filter(|gr| !gr.is_empty()),
        };
        let mut devices = std::collections::BTreeSet::from([talk.meant.clone()]);
        if !talk.device.is_empty() {
            devices.insert(talk.device.clone());
        }
        if cx.facts.reachable(&meant).gr.is_none() {
            // The call went to the person: whichever device answered, it speaks for all, whose name is the empty one. It
            // would be there first the next time, too.
            devices.insert(String::new());
        }
        for device in &devices {
            cx.facts.devices.lacks(cx.now.tick, &talk.contact, device, Ability::Msrp, time);
        }
        if matches!(cause, Cause::Refused(404 | 410)) && !talk.meant.is_empty() {
            let gone = SipAddress { aor: talk.contact.clone(), gr: Some(talk.meant.clone()) };
            cx.facts.unshow(&gone);
        }
        let (result, status) = match cause {
            Cause::Refused(status) => ("refused", status),
            Cause::PortZero => ("port-zero", 200),
            Cause::Silent => ("silent", 408),
            Cause::Unreachable => ("unreachable", 503),
            Cause::NoConnection => ("no-connection", 200),
        };
        let opened = if talk.ours { "us" } else { "them" };
        let mut fields = talk.fields();
        let why = if talk.why.is_empty() { format!("{result} ({status})") } else { talk.why.clone() };
        fields.extend([("result", result.to_owned()), ("why", why)]);
        cx.count("msrp_sessions_total", &[("opened", opened), ("result", result)]);
        cx.log(Level::Info, "session-failed", fields);
        self.hand_back(cx, id, |_| match &refusal {
            Some(condition) => Carried::Refused(condition.clone()),
            None => Carried::NoSession(cause),
        });
        self.leave(cx, id);
    }

    /// SIP says that a session is over.
    pub(super) fn call_over(&mut self, cx: &mut Cx<'_>, id: TalkId, end: &End) {
        let Some(talk) = self.talks.get_mut(&id) else { return };
        match (talk.stage, end) {
            (Stage::Calling, End::Refused(response)) => {
                self.fail(cx, id, Cause::Refused(response.status.code()));
            }
            (Stage::Calling, End::Unreachable(Failure::Timeout) | End::NoAnswer) => {
                self.fail(cx, id, Cause::Silent);
            }
            (Stage::Calling, End::Unreachable(_)) => self.fail(cx, id, Cause::Unreachable),
            (Stage::Over, _) => {}
            // We ended it: whoever did has said what becomes of the rest.
            (Stage::Parting, End::Ours) => {}
            (Stage::Asked, _) => self.leave(cx, id),
            (_, End::Theirs(_)) => self.hung_up(cx, id),
            (_, End::Ours) => self.close(cx, id, Break::Ended),
            (_, _) => self.close(cx, id, Break::Lost),
        }
    }

    /// Their device has a session with the user already: this one takes its place, now that it is there. What is still to
    /// be reported in the older one has its time.
    pub(super) fn replace_older(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        let Some(talk) = self.talks.get(&id).filter(|talk| !talk.device.is_empty()) else { return };
        let device = talk.device.clone();
        for other in self.of_pair(&talk.user.clone(), &talk.contact.clone()) {
            let is_older = other != id
                && self.talks.get(&other).is_some_and(|other| {
                    other.device == device && matches!(other.stage, Stage::Agreed | Stage::Open)
                });
            if is_older {
                if let Some(other) = self.talks.get_mut(&other) {
                    other.reports_first = true;
                }
                self.part(cx, other, "a newer session of the same device");
            }
        }
    }

    /// Sets the alarm for when nobody has written for too long.
    pub(super) fn arm_quiet(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        let Some(talk) = self.talks.get(&id) else { return };
        let time = self.patience_with(cx, talk);
        let time = time.filter(|_| matches!(talk.stage, Stage::Agreed | Stage::Open));
        let at = time.map(|time| (talk.last + time).max(cx.now.tick));
        self.timers.arm(Alarm::Quiet(id), at);
    }
}

impl Talk {
    /// What a log line says of it. The Call-ID is on both legs.
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("corr", self.leg.call.call_id().to_owned()),
            ("user", self.user.to_string()),
            ("contact", self.sender.to_string()),
            ("opened", if self.ours { "us" } else { "them" }.to_owned()),
        ]
    }
}

/// A line that no session takes goes back.
pub(super) fn no_session(cx: &mut Cx<'_>, line: &Line) {
    let fate = Carried::NoSession(Cause::Unreachable);
    cx.signal(Signal::Carried { number: line.carry.number, fate });
}

fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_control()).collect::<Vec<_>>().join(" ").trim().to_owned()
}
