//! What the user is told: presence stanzas from the contact and from each of its resources (RFC 8048 §5.2, §6.2).

use crate::documents::pidf::{Contact as Address, Pidf, Tuple};
use crate::features::devices::Ability;
use crate::features::{Cx, Signal, availability, disco};
use crate::sip::message::{self, HeaderName, Headers};
use crate::sip::uri::SipAddress;
use crate::words::availability::Availability;
use crate::xmpp::jid::Jid;
use crate::xmpp::stanza::{Stanza, StanzaKind};

use super::pair::{Pair, RESOURCES, alike};

impl Pair {
    /// Tells the user that she may see the contact. Where the link is down it is said when it comes up.
    pub(super) fn accept(&mut self, cx: &mut Cx<'_>) {
        self.accepted = true;
        self.say_subscribed(cx);
    }

    pub(super) fn say_subscribed(&mut self, cx: &mut Cx<'_>) {
        self.unsaid = !cx.link_is_up(&self.jid);
        if !self.unsaid {
            self.said_at = Some(cx.now.tick);
            cx.stanza(Stanza::new(StanzaKind::Presence, &self.jid, &self.user).with_type("subscribed"));
        }
    }

    /// Tells `to` all that is known; where that is nothing, that the contact is unavailable (RFC 6121 §4.3.2).
    pub(super) fn tell_all(&self, cx: &mut Cx<'_>, to: &Jid) {
        let mut told = false;
        for (name, state) in &self.resources {
            told |= state.open || to.is_bare();
            if state.open || to.is_bare() {
                self.tell(cx, name, state, to);
            }
        }
        if !told {
            let from = &self.jid;
            cx.stanza(Stanza::new(StanzaKind::Presence, from, to).with_type("unavailable"));
        }
    }

    /// Everything that is available goes away, since we do; nothing is forgotten.
    pub(super) fn say_goodbye(&self, cx: &mut Cx<'_>) {
        for (name, _) in self.resources.iter().filter(|(_, state)| state.open) {
            self.tell(cx, name, &Availability::closed(), &self.user);
        }
    }

    /// Tells `to` the state of one resource.
    fn tell(&self, cx: &mut Cx<'_>, name: &str, state: &Availability, to: &Jid) {
        // The name came from a JID or from `availability::resource_of`: it is one.
        if let Ok(from) = self.jid.with_resource(name) {
            let mut stanza = availability::to_presence(state, &from, to);
            if state.open {
                stanza.element.push(disco::caps_element());
            }
            cx.stanza(stanza);
        }
    }

    /// Shows what a full document says: what changed, and as unavailable what it does not name any more. True if the
    /// names changed that a restart must know.
    pub(super) fn apply(&mut self, cx: &mut Cx<'_>, pidf: &Pidf) -> bool {
        let devices = pidf.tuples.iter().filter_map(|tuple| tuple.contact.as_ref()).filter_map(Address::sip);
        let mut is_news = false;
        for device in pidf.entity.iter().chain(devices) {
            is_news |= self.learn(cx, device);
        }
        for tuple in &pidf.tuples {
            self.learn_sessions(cx, tuple);
        }
        let mut found: Vec<(String, Availability)> = availability::merge(pidf).into_iter().collect();
        found.sort_by_key(|(_, state)| !state.open);
        found.truncate(RESOURCES);
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut now = Vec::with_capacity(found.len());
        now.extend(found.into_iter().map(|(name, state)| (name.into(), state.bounded())));
        self.become_(cx, now) | is_news
    }

    /// A tuple may say whether its device takes chat sessions. A refusal by the device itself counts more while it is
    /// believed: the same document comes again and again.
    fn learn_sessions(&self, cx: &mut Cx<'_>, tuple: &Tuple) {
        let Some(can) = tuple.sessions.filter(|_| tuple.open != Some(false)) else { return };
        // Without a GRUU it is some device of the contact's.
        let own = tuple.contact.as_ref().and_then(Address::sip).filter(|address| self.is_own(address));
        let device = own.and_then(|address| address.gr.as_deref()).unwrap_or_default();
        let (now, contact) = (cx.now.tick, &self.contact);
        let refused = cx.facts.devices.can(now, contact, device, Ability::Msrp) == Some(false);
        if !(can && refused) {
            cx.facts.devices.shows(now, contact, device, Ability::Msrp, can);
        }
    }

    /// The contact has shown this device, and how it writes itself. Of others' devices its word is not taken. True if a
    /// restart must know.
    pub(super) fn learn(&self, cx: &mut Cx<'_>, device: &SipAddress) -> bool {
        let is_own = self.is_own(device);
        if is_own {
            cx.facts.show(&SipAddress { aor: self.contact.clone(), gr: device.gr.clone() });
        }
        // What only repeats our own spelling says nothing.
        is_own && device.aor.user != self.contact.user && cx.facts.set_spelling(&self.contact, &device.aor)
    }

    fn is_own(&self, device: &SipAddress) -> bool {
        device.aor.host == self.contact.host
            && match (&device.aor.user, &self.contact.user) {
                // The JID has folded the case that SIP keeps.
                (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
                (one, other) => one == other,
            }
    }

    /// The same for the Contact of a SIP message.
    pub(super) fn learn_contact(&self, cx: &mut Cx<'_>, headers: &Headers) -> bool {
        let contact = message::address(headers, &HeaderName::Contact);
        let device = contact.and_then(|contact| SipAddress::of(&contact.uri).ok());
        device.is_some_and(|device| self.learn(cx, &device))
    }

    /// Nothing of the contact is available any more. True if the names changed that a restart must know.
    pub(super) fn vanish(&mut self, cx: &mut Cx<'_>) -> bool {
        self.become_(cx, Vec::new())
    }

    fn become_(&mut self, cx: &mut Cx<'_>, now: Vec<(Box<str>, Availability)>) -> bool {
        let before = std::mem::replace(&mut self.resources, now);
        let is_first = !std::mem::replace(&mut self.known, true);
        let was_open = before.iter().any(|(_, state)| state.open);
        // That one went away may be lost with the link: it is remembered while it may be, and told again with the rest.
        let is_in_doubt = !cx.link_is_up(&self.jid) || self.may_show_ghosts(cx.now.tick);
        // Names of before a restart, of which nothing has been told: she may see them still.
        let is_untold = is_first && self.gone_at.is_none();
        let is_open = |name| self.resources.iter().any(|(known, state)| known == name && state.open);
        if before.iter().any(|(name, state)| (state.open || is_untold) && !is_open(name)) {
            self.gone_at = Some(cx.now.tick);
        }
        let mut changed = false;
        for (name, state) in &self.resources {
            let old = before.iter().find(|(known, _)| known == name).map(|(_, state)| state);
            changed |= state.open != old.is_some_and(|old| old.open);
            // A closed resource that she never saw is news only where nothing else has been said.
            let matters = old.is_some() || state.open || is_first || !state.status.is_empty();
            if matters && (is_untold || !old.is_some_and(|old| alike(old, state))) {
                self.tell(cx, name, state, &self.user);
            }
        }
        for (name, state) in before {
            if self.resources.iter().any(|(known, _)| *known == name) {
                continue;
            }
            changed |= state.open || is_first;
            let is_shown = state.open || is_untold;
            if is_shown {
                self.tell(cx, &name, &Availability::closed(), &self.user);
            }
            if (is_shown || is_in_doubt) && self.resources.len() < 2 * RESOURCES {
                self.resources.push((name, Availability::closed()));
            }
        }
        self.resources.sort_by(|(one, _), (other, _)| one.cmp(other));
        if !was_open && self.is_open() {
            cx.signal(Signal::Opened { user: self.user.clone(), contact: self.contact.clone() });
        }
        changed
    }
}
