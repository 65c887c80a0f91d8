//! Paths through a relay of our own (RFC 4976 §5.1), where `msrp.relay` names one.
//!
//! The relay lets in each session by itself, before its path stands in a description: so a line that opens a session, or
//! their INVITE, waits for that, a few seconds at most. A path is good for a time; before it ends the session gets
//! another one by a re-INVITE (§9.4), and goes on there as it does when they move. A relay that keeps us out is no fault of
//! the contact's: lines go by MESSAGE, INVITEs are refused with 503, and the next session asks anew.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::describe;
use super::ending::ending_of;
use super::invited::RETRY_AFTER;
use super::open::no_session;
use super::talk::{Line, Renewing, Stage, TalkId};
use super::{Alarm, Chat};
use crate::features::Cx;
use crate::msrp::connections::SessionId;
use crate::msrp::path::Path;
use crate::msrp::session::Ending;
use crate::sip::message::{HeaderName, Reply};
use crate::sip::uri::Aor;
use crate::sip::usage::session::Body;
use crate::words::note::Level;
use crate::words::time::Tick;
use crate::xmpp::jid::Jid;

/// How long a line or an INVITE waits for the relay.
const PATIENCE: Duration = Duration::from_secs(5);
/// So long before its path ends a session gets another one; half of the time where that is shorter.
const BEFORE: Duration = Duration::from_secs(60);
/// A path is not renewed more often than this.
const SHORTEST: Duration = Duration::from_secs(30);
/// How often it is told that the relay keeps us out.
const SELDOM: Duration = Duration::from_secs(60);

/// What waits for our relay.
#[derive(Debug, Default)]
pub struct Admissions {
    /// Sessions that we open.
    pub opening: BTreeMap<SessionId, Opening>,
    /// When it was last told that the relay keeps us out.
    told: Option<Tick>,
}

/// A session that we open, before it is called.
#[derive(Debug)]
pub struct Opening {
    user: Jid,
    contact: Aor,
    /// The oldest first.
    pub lines: VecDeque<Line>,
}

impl Admissions {
    /// The session that opens for this pair.
    pub fn of(&mut self, user: &Jid, contact: &Aor) -> Option<&mut Opening> {
        self.opening.values_mut().find(|opening| opening.user == *user && opening.contact == *contact)
    }
}

impl Chat {
    /// A session for a line shall open; it is called when the relay has let it in.
    pub(super) fn open_through(&mut self, cx: &mut Cx<'_>, user: Jid, contact: Aor, line: Line) {
        let Some(session) = self.ask_relay(cx, &user) else { return no_session(cx, &line) };
        self.admissions.opening.insert(session, Opening { user, contact, lines: [line].into() });
    }

    /// Their INVITE waits for the relay.
    pub(super) fn ask_to_be_let_in(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        let Some(user) = self.talks.get(&id).map(|talk| talk.user.clone()) else { return };
        let Some(session) = self.ask_relay(cx, &user) else { return };
        self.msrp.insert(session, id);
        if let Some(talk) = self.talks.get_mut(&id) {
            talk.leg.msrp = Some(session);
        }
    }

    fn ask_relay(&mut self, cx: &mut Cx<'_>, user: &Jid) -> Option<SessionId> {
        let account = cx.config.msrp.relay.as_ref()?.account();
        let own = describe::relayed_uri(cx, user);
        let session = cx.msrp.offer_through(cx.now.tick, cx.mint, own, account);
        self.timers.set(Alarm::Admit(session), cx.now.tick + PATIENCE);
        Some(session)
    }

    /// The relay has let in a session that we open.
    pub(super) fn let_in(
        &mut self,
        cx: &mut Cx<'_>,
        session: SessionId,
        path: &Path,
        expires: Option<Duration>,
    ) {
        self.timers.stop(&Alarm::Admit(session));
        let Some(opening) = self.admissions.opening.remove(&session) else { return };
        let others = self.of_pair(&opening.user, &opening.contact);
        let has_other = others.iter().any(|id| self.talks.get(id).is_some_and(|talk| talk.takes_lines()));
        if has_other || self.goodbye.is_some() || opening.lines.is_empty() {
            // They have opened one meanwhile, or all was taken back.
            cx.msrp.close(cx.now.tick, cx.mint, session);
            return opening.lines.iter().for_each(|line| self.carry(cx, &line.carry));
        }
        if let Some(id) = self.call(cx, session, path.clone(), opening.lines) {
            self.arm_renewal(cx, id, expires);
        }
    }

    /// The relay has not let in a session that we open.
    pub(super) fn not_let_in(&mut self, cx: &mut Cx<'_>, session: SessionId, why: &Ending) {
        self.timers.stop(&Alarm::Admit(session));
        let Some(opening) = self.admissions.opening.remove(&session) else { return };
        cx.count("msrp_sessions_total", &[("opened", "us"), ("result", "relay")]);
        self.tell_of_relay(cx, why);
        opening.lines.iter().for_each(|line| no_session(cx, line));
    }

    /// The relay has let in a session that they open, or one that gets another path.
    pub(super) fn admitted(
        &mut self,
        cx: &mut Cx<'_>,
        id: TalkId,
        session: SessionId,
        path: &Path,
        expires: Option<Duration>,
    ) {
        self.timers.stop(&Alarm::Admit(session));
        self.arm_renewal(cx, id, expires);
        let Some(talk) = self.talks.get_mut(&id) else { return };
        match &mut talk.renewing {
            Some(renewing) if renewing.session == session => {
                let body = talk.leg.offer_from(cx, path);
                renewing.offered = Some((path.clone(), body.clone()));
                talk.leg.call.offer(cx.now, body);
                self.run(cx, id);
            }
            _ => {
                talk.leg.enter_by(path);
                self.welcome(cx, id);
            }
        }
    }

    /// Their INVITE is refused: the relay has not let it in.
    pub(super) fn kept_out(&mut self, cx: &mut Cx<'_>, id: TalkId, session: SessionId, why: &Ending) {
        self.timers.stop(&Alarm::Admit(session));
        self.tell_of_relay(cx, why);
        let reply = Reply::new(503).because("Our MSRP relay does not let the session in");
        self.turn_away(cx, id, reply.with(HeaderName::RetryAfter, RETRY_AFTER));
    }

    fn arm_renewal(&mut self, cx: &Cx<'_>, id: TalkId, expires: Option<Duration>) {
        let Some(expires) = expires else { return };
        let after = expires.saturating_sub(BEFORE).max(expires / 2).max(SHORTEST);
        self.timers.set(Alarm::Renew(id), cx.now.tick + after);
    }

    /// The path of a session ends soon.
    pub(super) fn renew(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        let Some(talk) = self.talks.get(&id) else { return };
        if !matches!(talk.stage, Stage::Agreed | Stage::Open) || talk.renewing.is_some() {
            return;
        }
        let user = talk.user.clone();
        let Some(session) = self.ask_relay(cx, &user) else { return };
        self.msrp.insert(session, id);
        if let Some(talk) = self.talks.get_mut(&id) {
            talk.renewing = Some(Box::new(Renewing { session, offered: None }));
        }
    }

    /// Whether what they have answered is the offer of another path.
    pub(super) fn is_renewal(&self, id: TalkId) -> bool {
        let Some(talk) = self.talks.get(&id) else { return false };
        let offered = talk.renewing.as_ref().and_then(|renewing| renewing.offered.as_ref());
        offered.is_some_and(|(_, body)| talk.leg.call.description() == Some(body))
    }

    /// They have answered the offer of another path.
    pub(super) fn renewed(&mut self, cx: &mut Cx<'_>, id: TalkId, answer: Option<&Body>) {
        let Some(talk) = self.talks.get_mut(&id) else { return };
        if talk.stage == Stage::Parting {
            return self.not_renewed(cx, id);
        }
        let own = match talk.renewing.as_deref() {
            Some(Renewing { session, offered: Some((own, _)) }) => (*session, own.clone()),
            _ => return,
        };
        let Some(change) = talk.leg.settle_from(cx, answer, own) else {
            return self.part(cx, id, "they closed the chat line");
        };
        talk.renewing = None;
        if let Some(line) = &change.line {
            talk.adopt(line);
        }
        if let Some(left) = change.left {
            self.moved(cx, id, left);
        }
        self.keep(cx, id);
    }

    /// They have refused the offer of another path: the session cannot last.
    pub(super) fn not_renewed(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        let Some(talk) = self.talks.get_mut(&id) else { return };
        if let Some(renewing) = talk.renewing.take() {
            self.msrp.remove(&renewing.session);
            cx.msrp.close(cx.now.tick, cx.mint, renewing.session);
            self.part(cx, id, "the path through our relay ends");
        }
    }

    fn tell_of_relay(&mut self, cx: &mut Cx<'_>, why: &Ending) {
        let now = cx.now.tick;
        if self.admissions.told.is_none_or(|told| told + SELDOM <= now) {
            self.admissions.told = Some(now);
            let why = match why {
                // By us, when it has had its time.
                Ending::Closed => "it does not answer".to_owned(),
                why => ending_of(why),
            };
            cx.log(Level::Warn, "msrp-relay", vec![("why", why)]);
        }
    }
}
