//! Typing: XEP-0085 between chats and RFC 3994, in both directions, in sessions and beside them.
//!
//! Both sides hear of a change once. A SIP client is told only when it has shown that it understands (it sent such a thing
//! itself, or says that it accepts them), since to another one it is a message with XML in it; an XMPP client only when
//! it has sent a chat state, or names them among its capabilities. What is told to SIP holds for a refresh interval and is repeated while the client goes on
//! ([`table`]); what SIP tells ends with the next message, with its interval, or when it says so.
//!
//! Not done: `lastactive` and `contenttype`, for which XMPP has no word; typing in rooms.

mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::table::{Pair, Tell};
use super::devices::Ability;
use super::sessions::{self, State};
use super::signal::{Heard, Whisper};
use super::{Cx, Feature, Incoming, Manifest, Signal, content};
use crate::documents::iscomposing::{self, IsComposing};
use crate::gateway::LinkId;
use crate::sip::message::{Method, Reply};
use crate::sip::uri::{Aor, SipAddress};
use crate::words::time::Tick;
use crate::words::timers::Timers;
use crate::xmpp::jid::Jid;
use crate::xmpp::ns;
use crate::xmpp::stanza::{Element, Stanza, StanzaKind};

static MANIFEST: Manifest = Manifest {
    name: "composing",
    follows: &["RFC 7573 §6", "RFC 3994 §3", "XEP-0085"],
    summary: "Each side sees that the other is writing",
    methods: &["MESSAGE"],
    events: &[],
    disco: &[ns::CHAT_STATES],
    records: &[],
};

/// How many pairs are remembered; the first by address are forgotten first.
const PAIRS: usize = 20_000;

/// The user, bare, and the contact.
type PairKey = Arc<(Jid, Aor)>;

/// Why an alarm is armed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// What SIP was told holds no longer than this: it is told again, or that she stopped.
    Refresh(PairKey),
    /// What SIP told us holds no longer.
    Lapse(PairKey),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Composing {
    pairs: BTreeMap<PairKey, Pair>,
    timers: Timers<Alarm>,
}

impl Feature for Composing {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    fn stanza(&mut self, cx: &mut Cx<'_>, _link: LinkId, stanza: &Stanza) -> bool {
        let (Some(user), Some(to)) = (stanza.from(), stanza.to()) else { return false };
        match (stanza.kind, stanza.type_()) {
            (StanzaKind::Presence, Some("unavailable")) => {
                self.left(cx, user);
                false
            }
            (StanzaKind::Message, None | Some("chat" | "normal")) => {
                let state = state_of(stanza);
                // Most messages say nothing of typing to somebody who never did.
                if state.is_none() && self.pairs.is_empty() {
                    return false;
                }
                let Ok(contact) = cx.domains.contact_sip(to) else { return false };
                let Some(state) = state else {
                    if has_body(stanza) {
                        self.wrote(cx, user, &contact.aor);
                    }
                    return false;
                };
                self.attention(cx, user, &contact, state, has_body(stanza));
                // With a body it is the pager's, which reads nothing else of it.
                !has_body(stanza) && is_alone(stanza)
            }
            _ => false,
        }
    }

    fn request(&mut self, cx: &mut Cx<'_>, incoming: &Incoming) -> bool {
        if incoming.request.method != Method::Message || incoming.to_tag.is_some() {
            return false;
        }
        let Some(body) = content::notice(&incoming.request, iscomposing::TYPE) else { return false };
        let Some((user, contact)) = incoming.jids.clone() else { return false };
        if content::is_wrapped(&incoming.request) {
            // What it wraps it is told in the same way.
            let device = incoming.from.gr.as_deref().unwrap_or_default();
            cx.facts.devices.shows(cx.now.tick, &incoming.from.aor, device, Ability::Cpim, true);
        }
        let heard = Heard {
            user,
            contact,
            sender: incoming.from.clone(),
            type_: iscomposing::TYPE.to_owned(),
            body: body.into_owned().into(),
        };
        let reply = match self.heard(cx, &heard) {
            // It crosses into a domain that is no SIP (RFC 3428 §7), and nobody knows who sees it.
            Ok(()) => Reply::new(202),
            Err(reason) => Reply::new(400).because(reason),
        };
        cx.ops.push_back(super::Op::ReplyNow(incoming.key, reply));
        true
    }

    fn signal(&mut self, cx: &mut Cx<'_>, signal: &Signal) {
        match signal {
            Signal::Heard(heard) if heard.type_ == iscomposing::TYPE => {
                // In a session nobody waits for an answer.
                let _ = self.heard(cx, heard);
            }
            Signal::Left { user, contact, told } => {
                // Whoever hung up does not write; `<gone/>` says so too, and nothing may follow it.
                let key = Arc::new((user.clone(), contact.clone()));
                let Some(pair) = self.pairs.get_mut(&key) else { return };
                self.timers.stop(&Alarm::Lapse(key.clone()));
                set_mood(cx, &key, |mood| mood.typing = false);
                if pair.lapse() && !told {
                    self.show(cx, &key, false);
                }
            }
            // Most pairs never say that they are typing.
            Signal::Crossed { user, contact, to_xmpp: true } if !self.pairs.is_empty() => {
                // The message itself says that he is done.
                let key = Arc::new((user.clone(), contact.clone()));
                if let Some(pair) = self.pairs.get_mut(&key) {
                    pair.heard_text();
                    set_mood(cx, &key, |mood| mood.typing = false);
                    self.timers.stop(&Alarm::Lapse(key));
                }
            }
            _ => {}
        }
    }

    fn next_timeout(&self) -> Option<(Tick, &'static str)> {
        self.timers.next().map(|(at, _)| (at, "composing"))
    }

    fn timeout(&mut self, cx: &mut Cx<'_>) {
        while let Some(alarm) = self.timers.pop(cx.now.tick) {
            match alarm {
                Alarm::Refresh(key) => {
                    let Some(pair) = self.pairs.get_mut(&key) else { continue };
                    let tell = pair.refresh();
                    if tell == Tell::Idle {
                        // She said so too long ago to be believed.
                        set_mood(cx, &key, |mood| mood.state = State::Unknown);
                    }
                    self.tell(cx, &key, tell);
                }
                Alarm::Lapse(key) => {
                    let Some(pair) = self.pairs.get_mut(&key) else { continue };
                    set_mood(cx, &key, |mood| mood.typing = false);
                    if pair.lapse() {
                        self.show(cx, &key, false);
                    }
                }
            }
        }
    }

    fn link_down(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        // Whoever was writing may have left unseen; and nobody can be told what SIP says.
        let gone: Vec<PairKey> = self
            .pairs
            .keys()
            .filter(|key| {
                cx.domains
                    .contact_jid(&key.1.address())
                    .is_ok_and(|contact| cx.domains.link_of(contact.domain()) == Some(link))
            })
            .cloned()
            .collect();
        for key in gone {
            if let Some(mut pair) = self.pairs.remove(&key) {
                let tell = pair.stop();
                self.timers.stop(&Alarm::Lapse(key.clone()));
                set_mood(cx, &key, |mood| *mood = sessions::Mood::default());
                self.tell(cx, &key, tell);
            }
        }
    }

    fn load(&self) -> usize {
        self.timers.len()
    }
}

impl Composing {
    /// A user's client said what she does.
    fn attention(&mut self, cx: &mut Cx<'_>, user: &Jid, contact: &SipAddress, state: State, spoken: bool) {
        cx.signal(Signal::Attention {
            user: user.clone(),
            contact: contact.aor.clone(),
            gone: state == State::Gone,
        });
        let key = self.key(cx, user, &contact.aor);
        set_mood(cx, &key, |mood| mood.state = state);
        let Some(pair) = self.pairs.get_mut(&key) else { return };
        let waits = pair.spoke(user.resource());
        let tell = match state {
            // The text that comes with it is the end of writing it (RFC 3994 §3.2).
            _ if spoken => {
                pair.wrote();
                Tell::Nothing
            }
            State::Composing => pair.composes(),
            _ => pair.stop(),
        };
        if spoken {
            self.timers.stop(&Alarm::Refresh(key.clone()));
        } else {
            self.tell(cx, &key, tell);
        }
        if waits {
            self.show(cx, &key, true);
        }
    }

    /// A message went, with no state in it: that, too, ends writing it.
    fn wrote(&mut self, cx: &mut Cx<'_>, user: &Jid, contact: &Aor) {
        let key = Arc::new((user.bare(), contact.clone()));
        if let Some(pair) = self.pairs.get_mut(&key) {
            pair.wrote();
            set_mood(cx, &key, |mood| {
                if mood.state == State::Composing {
                    mood.state = State::Active;
                }
            });
            self.timers.stop(&Alarm::Refresh(key));
        }
    }

    /// A client went offline: it does not write any more.
    fn left(&mut self, cx: &mut Cx<'_>, user: &Jid) {
        let bare = user.bare();
        let first = (bare.clone(), Aor { user: None, host: String::new() });
        let keys: Vec<PairKey> = self
            .pairs
            .range(Arc::new(first)..)
            .take_while(|(key, _)| key.0 == bare)
            .filter(|(_, pair)| user.is_bare() || pair.device() == user.resource())
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            let Some(pair) = self.pairs.get_mut(&key) else { continue };
            let tell = pair.stop();
            set_mood(cx, &key, |mood| mood.state = State::Unknown);
            self.tell(cx, &key, tell);
        }
    }

    /// A contact said what he does; the reason when that cannot be read.
    fn heard(&mut self, cx: &mut Cx<'_>, heard: &Heard) -> Result<(), String> {
        let told = IsComposing::parse(&heard.body).map_err(|error| {
            cx.count("notices_unreadable_total", &[("type", "typing")]);
            error.to_string()
        })?;
        let device = heard.sender.gr.as_deref().unwrap_or_default();
        cx.facts.devices.shows(cx.now.tick, &heard.sender.aor, device, Ability::Composing, true);
        let key = self.key(cx, &heard.user, &heard.sender.aor);
        set_mood(cx, &key, |mood| mood.typing = told.active);
        let Some(pair) = self.pairs.get_mut(&key) else { return Ok(()) };
        pair.contact = Some(heard.contact.clone());
        let changed = pair.heard(told.active);
        if told.active {
            self.timers.set(Alarm::Lapse(key.clone()), cx.now.tick + told.refresh);
        } else {
            self.timers.stop(&Alarm::Lapse(key.clone()));
        }
        if changed {
            self.show(cx, &key, told.active);
        }
        Ok(())
    }

    /// Tells the SIP side.
    fn tell(&mut self, cx: &mut Cx<'_>, key: &PairKey, tell: Tell) {
        let active = match tell {
            Tell::Nothing => return,
            Tell::Active => true,
            Tell::Idle => false,
        };
        if cx.facts.devices.any_can(cx.now.tick, &key.1, Ability::Composing) != Some(true) {
            if let Some(pair) = self.pairs.get_mut(key) {
                pair.untold();
            }
            return;
        }
        let alarm = Alarm::Refresh(key.clone());
        if active {
            self.timers.set(alarm, cx.now.tick + table::REPEAT);
        } else {
            self.timers.stop(&alarm);
        }
        cx.signal(Signal::Whisper(Arc::new(Whisper {
            user: key.0.clone(),
            to: key.1.address(),
            type_: iscomposing::TYPE,
            body: IsComposing { active, refresh: table::REFRESH }.write().into(),
            keep: false,
        })));
    }

    /// Tells the XMPP side: the client that spoke last while it is online, else all of them.
    fn show(&mut self, cx: &mut Cx<'_>, key: &PairKey, active: bool) {
        let Some(pair) = self.pairs.get_mut(key) else { return };
        if !pair.understands() && !cx.facts.clients.shows_states(&key.0) {
            return pair.unseen();
        }
        let from = match &pair.contact {
            Some(contact) => contact.clone(),
            None => match cx.domains.contact_jid(&key.1.address()) {
                Ok(contact) => contact,
                Err(_) => return,
            },
        };
        if !cx.link_is_up(&from) {
            return;
        }
        let device = pair.device().and_then(|resource| key.0.with_resource(resource).ok());
        let to = device.filter(|device| cx.facts.is_online(device)).unwrap_or_else(|| key.0.clone());
        let state = if active { "composing" } else { "active" };
        let stanza = Stanza::new(StanzaKind::Message, &from, &to)
            .with_type("chat")
            .with_id(&cx.token_for(&key.0))
            .with_child(Element::new(state, ns::CHAT_STATES))
            .with_child(Element::new("no-store", ns::HINTS));
        cx.stanza(stanza);
    }

    /// The pair's key; the pair is there afterwards.
    fn key(&mut self, cx: &mut Cx<'_>, user: &Jid, contact: &Aor) -> PairKey {
        let key = Arc::new((user.bare(), contact.clone()));
        if let Some((known, _)) = self.pairs.get_key_value(&key) {
            return known.clone();
        }
        if self.pairs.len() >= PAIRS
            && let Some((first, _)) = self.pairs.pop_first()
        {
            self.timers.stop(&Alarm::Refresh(first.clone()));
            set_mood(cx, &first, |mood| *mood = sessions::Mood::default());
            self.timers.stop(&Alarm::Lapse(first));
        }
        self.pairs.insert(key.clone(), Pair::default());
        key
    }
}

/// Both, or one of the two, do something else than before: rows may ask for it.
fn set_mood(cx: &mut Cx<'_>, key: &PairKey, change: impl FnOnce(&mut sessions::Mood)) {
    if cx.facts.set_mood(key, change) {
        cx.signal(Signal::Mood(key.clone()));
    }
}

/// What a client says of itself. For SIP only whether she is writing counts.
fn state_of(stanza: &Stanza) -> Option<State> {
    let child = stanza.element.children().find(|child| child.ns() == ns::CHAT_STATES)?;
    match child.name() {
        "composing" => Some(State::Composing),
        "active" => Some(State::Active),
        "paused" => Some(State::Paused),
        "inactive" => Some(State::Inactive),
        "gone" => Some(State::Gone),
        _ => None,
    }
}

fn has_body(stanza: &Stanza) -> bool {
    stanza.element.children().any(|child| child.is("body", ns::COMPONENT))
}

/// Nothing but the state, and what may go along with it.
fn is_alone(stanza: &Stanza) -> bool {
    stanza
        .element
        .children()
        .all(|child| matches!(child.ns(), ns::CHAT_STATES | ns::HINTS) || child.is("thread", ns::COMPONENT))
}
