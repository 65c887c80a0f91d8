//! Whether a user is there for somebody who wants a session, asked of her server before the INVITE is answered, as the
//! answer to a MESSAGE waits for its barrier.
//!
//! XMPP has no question for it: servers hide who has an account. What they tell the sender of a message they tell here
//! too, so the question is a message without a body: `<active/>` (XEP-0085), not to be stored (XEP-0334), then a ping. An
//! error before the pong, or at once after it, is the answer, by the rows `asked` of `mappings/sessions.yaml`; silence
//! means that she is there. docs/decisions/asking-before-a-session.md says what the servers answer. Who sees her online
//! asks nothing, and who was told that she is away, not again within ten minutes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::invited::RETRY_AFTER;
use super::talk::{Stage, Talk, TalkId};
use super::{Alarm, Chat};
use crate::features::sessions::{self, User};
use crate::features::{Cx, errors};
use crate::gateway::LinkId;
use crate::sip::message::{HeaderName, Reply};
use crate::words::condition::{Kind, Scope};
use crate::words::id::Partition;
use crate::words::time::Tick;
use crate::xmpp::barrier::{self, Barrier};
use crate::xmpp::jid::Jid;
use crate::xmpp::ns;
use crate::xmpp::stanza::{Element, Stanza, StanzaKind};

/// How long the user's server may take.
const SERVER: Duration = Duration::from_secs(10);
/// How long after the pong an error may come: that of a server whose clients' processes object by themselves (ejabberd,
/// where an online user has blocked the caller).
const GRACE: Duration = Duration::from_millis(50);
/// Who is away, and was there for somebody, is believed to be for so long: who is away blocks nobody.
const BELIEVED: Duration = Duration::from_secs(600);
/// How many pairs are remembered; the first by address go first.
const PAIRS: usize = 50_000;

/// A user and a contact as XMPP calls him, both bare.
type Pair = (Jid, Jid);

/// A message that asks, while its answer is not known.
#[derive(Debug)]
pub struct Question {
    id: String,
    /// The server has read it, and has not objected so far.
    read: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Probing {
    /// INVITEs that wait for the XMPP server of the user.
    barrier: Barrier<(LinkId, String), TalkId>,
    /// The same by the id of the message that asks.
    open: BTreeMap<String, TalkId>,
    /// For whom a user was there although she is away, and when.
    there: BTreeMap<Pair, Tick>,
    /// Who has been shown that a user is online.
    sees: BTreeSet<Pair>,
}

impl Probing {
    /// How many INVITEs wait.
    pub fn load(&self) -> usize {
        self.barrier.len() + self.open.len()
    }

    /// When the next ping is due.
    pub fn next_timeout(&self) -> Option<Tick> {
        self.barrier.next_timeout()
    }

    /// A user came online for a contact, or went.
    pub fn shown(&mut self, user: Jid, contact: Jid, online: bool) {
        let pair = (user, contact);
        if !online {
            self.sees.remove(&pair);
            return;
        }
        if self.sees.len() >= PAIRS && !self.sees.contains(&pair) {
            self.sees.pop_first();
        }
        self.there.remove(&pair);
        self.sees.insert(pair);
    }

    /// The stream of a link closed: whom nobody answers any more.
    pub fn close(&mut self, link: LinkId) -> Vec<TalkId> {
        self.sees.clear();
        self.barrier.close(|lane| lane.0 == link)
    }

    fn was_there(&mut self, now: Tick, user: Jid, contact: Jid) {
        let pair = (user, contact);
        if self.there.len() >= PAIRS && !self.there.contains_key(&pair) {
            self.there.pop_first();
        }
        self.there.insert(pair, now);
    }
}

impl Chat {
    /// What a contact knows of a user's presence: what others are shown says nothing to him, whom she may have blocked.
    pub(super) fn user_for(&self, cx: &Cx<'_>, user: &Jid, contact: &Jid) -> User {
        match self.user_state(cx, user) {
            User::Online if !self.probing.sees.contains(&(user.clone(), contact.bare())) => User::Unknown,
            state => state,
        }
    }

    /// Asks the server of the user who is invited.
    pub(super) fn ask_server(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        let Some(talk) = self.talks.get(&id) else { return };
        let Some(lane) = lane_of(cx, talk) else { return };
        self.timers.set(Alarm::Ask(id), cx.now.tick + SERVER);
        let pair = (talk.user.clone(), talk.jid.bare());
        let there = self.probing.there.get(&pair).is_some_and(|at| *at + BELIEVED > cx.now.tick);
        if !there {
            let name = cx.token_for(&talk.user);
            let question = Stanza::new(StanzaKind::Message, &talk.jid, &talk.user)
                .with_type("chat")
                .with_id(&name)
                .with_child(Element::new("active", ns::CHAT_STATES))
                .with_child(Element::new("no-store", ns::HINTS));
            self.probing.open.insert(name.clone(), id);
            if let Some(talk) = self.talks.get_mut(&id) {
                talk.question = Some(Box::new(Question { id: name, read: false }));
            }
            cx.stanza(question);
        }
        if self.probing.barrier.sent(cx.now.tick, &lane, id) {
            self.ping_lane(cx, &lane);
        }
    }

    /// Sends the pings that are due.
    pub(super) fn ping(&mut self, cx: &mut Cx<'_>) {
        while let Some(lane) = self.probing.barrier.due(cx.now.tick) {
            self.ping_lane(cx, &lane);
        }
    }

    fn ping_lane(&mut self, cx: &mut Cx<'_>, lane: &(LinkId, String)) {
        let from = cx.config.xmpp.components.get(lane.0.0).map(|own| Jid::new(None, &own.domain, None));
        let latest = self.probing.barrier.latest(lane).and_then(|id| self.talks.get(id));
        let partition = latest.map_or(cx.mint.home(), |talk| Partition::of(talk.user.bare_str()));
        let (Some(Ok(from)), Ok(to)) = (from, Jid::new(None, &lane.1, None)) else { return };
        let id = cx.mint.token(partition);
        cx.stanza(barrier::ping(&from, &to, &id));
        self.probing.barrier.pinged(cx.now.tick, lane, id);
    }

    /// An answer to a ping. False when it is none of ours.
    pub(super) fn pong(&mut self, cx: &mut Cx<'_>, stanza: &Stanza) -> bool {
        if !matches!(stanza.type_(), Some("result" | "error")) {
            return false;
        }
        let Some(covered) = stanza.id().and_then(|id| self.probing.barrier.pong(cx.now.tick, id)) else {
            return false;
        };
        let nowhere = stanza
            .stanza_error()
            .filter(|error| matches!(error.kind, Kind::RemoteServerNotFound | Kind::RemoteServerTimeout));
        for id in covered {
            if let Some(error) = &nowhere {
                let condition = errors::condition_of_error(error, Scope::Bare, cx.domains);
                self.turn_away(cx, id, errors::reply_of(&condition));
                continue;
            }
            match self.talks.get_mut(&id).and_then(|talk| talk.question.as_mut()) {
                Some(question) => {
                    question.read = true;
                    self.timers.set(Alarm::Ask(id), cx.now.tick + GRACE);
                }
                None => self.is_there(cx, id),
            }
        }
        self.ping(cx);
        true
    }

    /// An error to a message that asks. False when it is to another.
    pub(super) fn objected(&mut self, cx: &mut Cx<'_>, stanza: &Stanza) -> bool {
        let Some(error) = stanza.stanza_error() else { return false };
        let asked = stanza.id().and_then(|id| self.probing.open.get(id)).copied();
        let Some((id, talk)) = asked.and_then(|id| Some((id, self.talks.get(&id)?))) else { return false };
        if stanza.from().is_none_or(|from| from.bare_str() != talk.user.bare_str()) {
            return false;
        }
        if sessions::asked_is_there(&cx.config.sessions, error.kind, error.text.as_deref()) {
            self.is_there(cx, id);
        } else {
            let condition = errors::condition_of_error(&error, Scope::Bare, cx.domains);
            self.turn_away(cx, id, errors::reply_of(&condition));
        }
        true
    }

    /// The user is there for whoever invites her.
    fn is_there(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        self.stop_asking(cx, id);
        if let Some(talk) = self.talks.get(&id)
            && self.user_state(cx, &talk.user) == User::Offline
        {
            let (user, contact) = (talk.user.clone(), talk.jid.bare());
            self.probing.was_there(cx.now.tick, user, contact);
        }
        self.welcome(cx, id);
    }

    /// The user's server has had its time.
    pub(super) fn asked_enough(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        let question = self.talks.get(&id).and_then(|talk| talk.question.as_ref());
        if question.is_some_and(|question| question.read) {
            self.is_there(cx, id);
        } else {
            self.asked_in_vain(cx, id);
        }
    }

    /// The user's server has not answered.
    pub(super) fn asked_in_vain(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        if self.talks.get(&id).is_some_and(|talk| talk.stage == Stage::Asked) {
            let reply = Reply::new(480).because("The XMPP server does not answer");
            self.turn_away(cx, id, reply.with(HeaderName::RetryAfter, RETRY_AFTER));
        }
    }

    /// Nobody waits for the user's server any more on behalf of this session.
    pub(super) fn stop_asking(&mut self, cx: &Cx<'_>, id: TalkId) {
        self.timers.stop(&Alarm::Ask(id));
        let Some(talk) = self.talks.get_mut(&id) else { return };
        if let Some(question) = talk.question.take() {
            self.probing.open.remove(&question.id);
        }
        if let Some(lane) = lane_of(cx, talk) {
            self.probing.barrier.uncover(&lane, |covered| *covered == id);
        }
    }
}

/// Where the user's server is asked.
fn lane_of(cx: &Cx<'_>, talk: &Talk) -> Option<(LinkId, String)> {
    Some((cx.domains.link_of(talk.jid.domain())?, talk.user.domain().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_of_pairs_is_bounded() {
        let mut probing = Probing::default();
        let romeo = Jid::parse("romeo@example.net").expect("a JID");
        for number in 0..=PAIRS {
            let user = Jid::parse(&format!("{number}@example.com")).expect("a JID");
            probing.shown(user.clone(), romeo.clone(), true);
            probing.was_there(Tick(1), user, romeo.clone());
        }
        assert_eq!((probing.sees.len(), probing.there.len(), probing.load()), (PAIRS, PAIRS, 0));
    }

    #[test]
    fn who_hides_is_not_seen_any_more() {
        let mut probing = Probing::default();
        let pair =
            |name: &str| (Jid::parse(name).expect("a JID"), Jid::parse("romeo@example.net").expect("a JID"));
        for (name, online) in [("a@example.com", true), ("b@example.com", true), ("a@example.com", false)] {
            let (user, contact) = pair(name);
            probing.shown(user, contact, online);
        }
        assert!(
            !probing.sees.contains(&pair("a@example.com")) && probing.sees.contains(&pair("b@example.com"))
        );
    }
}
