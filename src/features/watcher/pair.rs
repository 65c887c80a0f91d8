//! One SIP watcher and one XMPP user: what she consents to, what he has seen of her, and the document that says it.
//!
//! What a stanza shows is kept for exactly the watcher it was sent to (RFC 8048 §8.2): her server and her privacy
//! lists decide who sees what, and two watchers need not see the same.

use std::collections::BTreeMap;

use super::SubId;
use super::table::Consent;
use crate::documents::{date, pidf};
use crate::features::availability;
use crate::gateway::LinkId;
use crate::sip::uri::Aor;
use crate::sip::usage::notifier::Body;
use crate::words::availability::{Availability, Words};
use crate::words::text::is_language;
use crate::words::time::{Now, Tick};
use crate::xmpp::jid::Jid;
use crate::xmpp::ns;
use crate::xmpp::stanza::Stanza;

/// How many resources of a user are shown to one watcher; more are left out.
const RESOURCES: usize = 32;

/// A watcher and a user.
#[derive(Debug)]
pub struct Pair {
    /// The XMPP user, bare.
    pub user: Jid,
    /// The SIP watcher.
    pub contact: Aor,
    /// The component link that speaks for the watcher.
    pub link: LinkId,
    /// What she has said.
    pub consent: Consent,
    /// When she was asked, if that was so short a time ago that the question may be lost with its link, or with the
    /// process.
    pub asked: Option<Tick>,
    /// The watcher's subscriptions, oldest first.
    pub subs: Vec<SubId>,
    /// What the watcher may see.
    pub seen: Seen,
}

/// What is known of a user's devices.
#[derive(Debug, Default)]
pub struct Seen {
    resources: Vec<Resource>,
    /// Whether that is her state; otherwise nothing is known.
    pub known: bool,
    /// A probe that has not been answered completely.
    pub probe: Option<Probe>,
    /// A probe was broken off after news that nobody was told.
    is_untold: bool,
}

/// A probe on its way.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// When no further answer is waited for.
    pub deadline: Tick,
    /// Something has come back.
    pub heard: bool,
    /// Some of it was news, or there was some before that nobody was told.
    pub changed: bool,
}

/// One device.
#[derive(Debug)]
struct Resource {
    name: Box<str>,
    state: Availability,
    /// Since the probe began; what was not confirmed by it is not there any more.
    heard: bool,
}

impl Seen {
    /// A device, or with no name all of them, is so. True if that is news.
    pub fn hear(&mut self, resource: Option<&str>, state: Availability) -> bool {
        let was_known = std::mem::replace(&mut self.known, true);
        let name = resource.unwrap_or_default();
        let changed = match (state.open, resource) {
            (false, None) => self.leave_all(),
            (false, Some(_)) => self.leave(name, state),
            (true, _) => self.come(name, state),
        };
        let news = changed || !was_known;
        if let Some(probe) = &mut self.probe {
            probe.heard = true;
            probe.changed |= news;
        }
        news
    }

    /// Whether any device is there.
    pub fn is_open(&self) -> bool {
        self.known && self.resources.iter().any(|known| known.state.open)
    }

    /// A probe was sent, which is waited for until then: what it does not confirm will be dropped.
    pub fn begin(&mut self, deadline: Tick) {
        self.break_off();
        self.resources.iter_mut().for_each(|resource| resource.heard = false);
        let changed = std::mem::take(&mut self.is_untold);
        self.probe = Some(Probe { deadline, heard: false, changed });
    }

    /// Nothing more comes back of a probe: what it has brought stays, and is news for the next one. True if there was one.
    pub fn break_off(&mut self) -> bool {
        let probe = self.probe.take();
        self.is_untold |= probe.is_some_and(|probe| probe.changed);
        probe.is_some()
    }

    /// No further answer is waited for. True if what is shown has changed since the probe began; a probe without any
    /// answer leaves nothing known.
    pub fn settle(&mut self) -> bool {
        let Some(Probe { heard, changed, .. }) = self.probe.take() else { return false };
        let (before, was_known) = (self.resources.len(), self.known);
        self.resources.retain(|resource| resource.heard);
        self.known = heard;
        changed || before != self.resources.len() || was_known != heard
    }

    /// Nothing is known any more.
    pub fn forget(&mut self) {
        *self = Seen::default();
    }

    /// The document of what is known: a tuple for each device. The short form has only what a watcher must know to
    /// show her rightly: no words, no moments, no rich presence.
    pub fn document(&self, user: &Aor, short: bool) -> Body {
        let state = |state: &Availability| match short {
            true => Availability { at: None, status: Vec::new(), ..state.clone() },
            false => state.clone(),
        };
        let states = self.resources.iter().map(|known| (known.name.to_string(), state(&known.state)));
        body(user, &states.collect(), short)
    }

    fn come(&mut self, name: &str, state: Availability) -> bool {
        self.resources.retain(|known| known.state.open);
        if let Some(known) = self.resources.iter_mut().find(|known| *known.name == *name) {
            known.heard = true;
            // The moment alone is no news: a server repeats a state to each probe.
            let same = Availability { at: known.state.at, ..state.clone() } == known.state;
            if !same {
                known.state = state;
            }
            return !same;
        }
        if self.resources.len() >= RESOURCES {
            return false;
        }
        self.resources.push(Resource { name: name.into(), state, heard: true });
        true
    }

    /// The last device to leave stays, closed: its document says who is not there, and her last words.
    fn leave(&mut self, name: &str, state: Availability) -> bool {
        let Some(at) = self.resources.iter().position(|known| *known.name == *name) else {
            if self.resources.is_empty() {
                self.resources.push(Resource { name: name.into(), state, heard: true });
            }
            return false;
        };
        if !self.resources[at].state.open {
            self.resources[at].heard = true;
            return false;
        }
        if self.resources.len() == 1 {
            self.resources[at] = Resource { name: name.into(), state, heard: true };
        } else {
            self.resources.remove(at);
        }
        true
    }

    fn leave_all(&mut self) -> bool {
        let changed = self.resources.iter().any(|known| known.state.open);
        self.resources.clear();
        changed
    }
}

/// The document of somebody who is not there, whatever is known.
pub fn closed(user: &Aor) -> Body {
    body(user, &BTreeMap::new(), false)
}

/// What a presence stanza says, with its moment and in bounds.
pub fn read(stanza: &Stanza, now: Now) -> Availability {
    let mut state = availability::of_presence(stanza).bounded();
    let delay = stanza.element.child("delay", ns::DELAY).and_then(|delay| delay.attr("stamp"));
    let since = delay.and_then(date::read_rfc3339).filter(|since| *since < now.wall);
    state.at = Some(since.unwrap_or(now.wall));
    state
}

fn body(user: &Aor, states: &BTreeMap<String, Availability>, short: bool) -> Body {
    let mut document = availability::document(user, states);
    if short {
        document.persons.clear();
    }
    for tuple in &mut document.tuples {
        // A user whose server sends presence from her bare JID has no device to name.
        if let Some(pidf::Contact::Sip(address)) = &mut tuple.contact {
            address.gr = address.gr.take().filter(|gr| !gr.is_empty());
        }
    }
    let language = language(states.values().flat_map(|state| &state.status));
    Body { kind: pidf::TYPE, language, bytes: pidf::write(&document).into() }
}

/// The language of all these, if it is one.
fn language<'a>(mut words: impl Iterator<Item = &'a Words>) -> Option<String> {
    let first = words.next()?.lang.as_deref().filter(|lang| is_language(lang))?;
    words.all(|other| other.lang.as_deref() == Some(first)).then(|| first.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(seen: &Seen) -> String {
        let user = Aor { user: Some("juliet".into()), host: "example.com".into() };
        String::from_utf8(seen.document(&user, false).bytes.to_vec()).expect("UTF-8")
    }

    #[test]
    fn the_last_device_to_leave_stays_closed_and_others_vanish() {
        let mut seen = Seen::default();
        assert!(seen.hear(Some("a"), Availability::open()));
        assert!(seen.hear(Some("b"), Availability::open()));
        assert!(!seen.hear(Some("b"), Availability::open()));
        assert!(seen.hear(Some("a"), Availability::closed()));
        assert!(!text(&seen).contains("ID-a") && text(&seen).contains("<basic>open"));
        assert!(seen.hear(Some("b"), Availability::closed()));
        assert!(text(&seen).contains("ID-b") && text(&seen).contains("<basic>closed"));
        assert!(seen.hear(Some("c"), Availability::open()));
        assert!(!text(&seen).contains("ID-b"));
    }

    #[test]
    fn what_a_probe_does_not_confirm_is_dropped() {
        let mut seen = Seen::default();
        seen.hear(Some("a"), Availability::open());
        seen.hear(Some("b"), Availability::open());
        seen.begin(Tick(9));
        assert!(!seen.hear(Some("b"), Availability::open()));
        assert!(seen.settle());
        assert!(seen.known && !text(&seen).contains("ID-a"));
        seen.begin(Tick(9));
        assert!(seen.settle());
        assert!(!seen.known);
    }

    #[test]
    fn devices_are_bounded() {
        let mut seen = Seen::default();
        for number in 0..100 {
            seen.hear(Some(&format!("r{number}")), Availability::open());
        }
        assert_eq!(seen.resources.len(), RESOURCES);
    }

    #[test]
    fn a_language_goes_into_the_header_only_if_it_is_one_and_the_only_one() {
        let words = |lang: &str| Words { lang: Some(lang.into()), text: "x".into() };
        assert_eq!(language([words("en")].iter()), Some("en".into()));
        assert_eq!(language([words("en"), words("de")].iter()), None);
        assert_eq!(language([words("en\r\nX: y")].iter()), None);
    }
}
