//! What a contact can do, asked by OPTIONS in the background (RFC 3261 §11): it rings nobody. One question per contact and
//! hour, whoever writes, unless the contact calls itself something else meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::{Chat, describe};
use crate::documents::{cpim, imdn, iscomposing};
use crate::features::devices::Ability;
use crate::features::{Cx, Incoming, Signal};
use crate::sip::message::{Answer, HeaderName};
use crate::sip::uri::{Aor, SipAddress};
use crate::sip::usage::capabilities::{Capabilities, Findings, Question};
use crate::sip::usage::session::token_of;
use crate::words::id::Partition;
use crate::words::time::Tick;
use crate::xmpp::jid::Jid;

/// A contact is asked again after so long at the earliest.
const AGAIN: Duration = Duration::from_secs(3600);
/// How many contacts are remembered; the first by address go first.
const ASKED: usize = 50_000;
/// How many questions are open at once.
const OPEN: usize = 1_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Questions {
    open: BTreeMap<u64, Aor>,
    /// When each contact was asked last, and what it called itself then.
    asked: BTreeMap<Aor, (Tick, Option<String>)>,
}

impl Questions {
    /// How many are open.
    pub fn load(&self) -> usize {
        self.open.len()
    }

    /// Whether a contact has been asked and has not answered.
    fn is_open(&self, contact: &Aor) -> bool {
        self.open.values().any(|asked| asked == contact)
    }

    /// Whether a contact may be asked now; if so, it is.
    fn may_ask(&mut self, now: Tick, contact: &Aor, agent: Option<&str>) -> bool {
        let asked = self.asked.get(contact);
        let is_recent = asked.is_some_and(|(at, known)| *at + AGAIN > now && known.as_deref() == agent);
        if is_recent || self.open.len() >= OPEN {
            return false;
        }
        if self.asked.len() >= ASKED && !self.asked.contains_key(contact) {
            self.asked.pop_first();
        }
        self.asked.insert(contact.clone(), (now, agent.map(str::to_owned)));
        true
    }
}

impl Chat {
    /// Asks a contact what it can do.
    pub(super) fn ask(&mut self, cx: &mut Cx<'_>, user: &Jid, contact: &SipAddress) {
        let agent = cx.facts.devices.agent(&contact.aor);
        let own = cx.domains.user_sip(&user.bare()).ok().filter(|_| self.goodbye.is_none());
        let Some(own) = own.filter(|_| self.questions.may_ask(cx.now.tick, &contact.aor, agent)) else {
            if !self.questions.is_open(&contact.aor) {
                cx.signal(Signal::Known { contact: contact.aor.clone() });
            }
            return;
        };
        let mut target = cx.facts.reachable(contact);
        target.aor = cx.facts.spelled(&contact.aor);
        let question = Question {
            from: format!("<{}>", own.aor),
            uri: target.to_string(),
            contact: cx.config.sip.contact(&own.aor, &contact.aor.host),
            domain: contact.aor.host.clone(),
            partition: Partition::of(user.bare_str()),
        };
        let request = question.request(cx.mint);
        let number = self.number();
        self.questions.open.insert(number, contact.aor.clone());
        cx.request(token_of(number, 0), request);
    }

    /// An answer to a question. False when it is none of ours.
    pub(super) fn answered(&mut self, cx: &mut Cx<'_>, number: u64, answer: &Answer) -> bool {
        let Some(contact) = self.questions.open.get(&number) else { return false };
        let Some(findings) = Findings::of(answer) else { return true };
        let contact = contact.clone();
        self.questions.open.remove(&number);
        if let Findings::Answered(_, found) = findings {
            learn(cx, &contact, &found, answer);
        }
        cx.signal(Signal::Known { contact });
        true
    }
}

/// What a request outside dialogs says of the device that sent it: with a sign in its Contact, that it has MSRP.
pub(super) fn overhear(cx: &mut Cx<'_>, incoming: &Incoming) {
    let headers = &incoming.request.headers;
    if headers.count(&HeaderName::Contact) == 0 {
        return;
    }
    let found = Capabilities::read(headers, &Bytes::new());
    let Some(can) = found.says_msrp() else { return };
    let contact = &incoming.from.aor;
    let device = describe::Device::of(cx, headers, contact, incoming.from.gr.as_deref());
    cx.facts.show(&SipAddress { aor: contact.clone(), gr: device.gr.clone() });
    cx.facts.devices.heard(contact, &device.name, found.user_agent.as_deref());
    cx.facts.devices.shows(cx.now.tick, contact, &device.name, Ability::Msrp, can);
}

/// What an answer shows. With one Contact it is that device's, else nobody's in particular.
fn learn(cx: &mut Cx<'_>, contact: &Aor, found: &Capabilities, answer: &Answer) {
    let device = match (answer, found.contacts.len()) {
        (Answer::Final { response, .. }, 1) => describe::Device::of(cx, &response.headers, contact, None),
        _ => describe::Device::default(),
    };
    if device.gr.is_some() {
        cx.facts.show(&SipAddress { aor: contact.clone(), gr: device.gr.clone() });
    }
    let now = cx.now.tick;
    cx.facts.devices.heard(contact, &device.name, found.user_agent.as_deref());
    if let Some(can) = found.says_msrp() {
        cx.facts.devices.shows(now, contact, &device.name, Ability::Msrp, can);
    }
    if let Answer::Final { response, .. } = answer {
        describe::allowed(cx, &response.headers, contact, &device.name);
    }
    let known = [
        (cpim::TYPE, Ability::Cpim),
        (imdn::TYPE, Ability::Imdn),
        (iscomposing::TYPE, Ability::Composing),
        ("text/html", Ability::Html),
    ];
    for (type_, ability) in known {
        let types = found.accept.iter().flatten();
        let mut names = types.map(|type_| type_.split(';').next().unwrap_or_default().trim());
        if names.any(|name| name.eq_ignore_ascii_case(type_)) {
            cx.facts.devices.shows(now, contact, &device.name, ability, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_is_asked_once_in_an_hour() {
        let mut questions = Questions::default();
        let romeo = Aor { user: Some("romeo".into()), host: "example.net".into() };
        assert!(questions.may_ask(Tick(0), &romeo, None));
        assert!(!questions.may_ask(Tick(3_599_000_000), &romeo, None));
        assert!(questions.may_ask(Tick(3_600_000_000), &romeo, None));
        assert!(questions.may_ask(Tick(3_600_000_001), &romeo, Some("another program")));
    }
}
