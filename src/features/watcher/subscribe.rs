//! SUBSCRIBE from SIP watchers: outside a dialog, inside one, and fetches.

use std::collections::BTreeSet;

use super::pair::Pair;
use super::table::{self, Consent, Welcome};
use super::{
    PairId, SILENCE, Sub, SubId, Timer, Told, Watcher, count_subs, from_watcher, our_contact, stanzas,
};
use crate::features::{Cx, Incoming, Op, Signal};
use crate::sip::message::{self, HeaderName, Method, Reply};
use crate::sip::uri::{Aor, SipAddress};
use crate::sip::usage::notifier::{Notifier, Reason};
use crate::sip::usage::package::{PRESENCE, Terms};
use crate::words::id::Partition;
use crate::words::note::Level;
use crate::xmpp::jid::Jid;
use crate::xmpp::ns;
use crate::xmpp::stanza::{Element, Stanza};

/// How many dialogs one watcher may have to one user: phones that were switched off leave some behind.
const DIALOGS: usize = 16;

/// How many subscriptions, and how many pairs, one gateway holds.
const LIMIT: usize = 500_000;

/// How many XMPP users one watcher may have asked who have not answered.
const QUESTIONS: usize = 500;

/// How long a watcher is sent away for when there is no room.
const COME_BACK: &str = "60";

impl Watcher {
    pub(super) fn subscribe(&mut self, cx: &mut Cx<'_>, incoming: &Incoming) -> bool {
        if incoming.request.method != Method::Subscribe {
            return false;
        }
        let headers = &incoming.request.headers;
        let inside = match &incoming.to_tag {
            None => None,
            Some(tag) => match self.tags.get(tag.as_str()) {
                Some(id) if self.subs.get(id).is_some_and(|sub| sub.notifier.holds(headers)) => Some(*id),
                // Nobody else has such a dialog either: the gateway answers 481.
                _ => return false,
            },
        };
        let done = match (PRESENCE.judge(headers), inside) {
            (Err(reply), _) => Err(reply),
            (Ok(terms), Some(id)) => {
                self.inside(cx, incoming, &terms, id);
                Ok(())
            }
            (Ok(terms), None) => self.outside(cx, incoming, &terms),
        };
        if let Err(reply) = done {
            let fields = vec![
                ("from", incoming.from.to_string()),
                ("to", incoming.target.to_string()),
                ("status", reply.status.to_string()),
            ];
            cx.log(Level::Debug, "watch-refused", fields);
            cx.ops.push_back(Op::ReplyNow(incoming.key, reply));
        }
        true
    }

    fn inside(&mut self, cx: &mut Cx<'_>, incoming: &Incoming, terms: &Terms, id: SubId) {
        let Some(sub) = self.subs.get_mut(&id) else { return };
        let pair_id = sub.pair;
        let Some(pair) = self.pairs.get(&pair_id) else { return };
        let (request, flow) = (&incoming.request, &incoming.flow);
        let reply = sub.notifier.refresh(request, terms, &our_contact(cx, pair), flow, cx.now);
        if reply.status != 200 {
            cx.reply(incoming.key, reply);
            return;
        }
        // The end as well: a process that died before it forgets the dialog would go on in it, after its 200.
        self.keep(cx, id);
        cx.reply(incoming.key, reply);
        self.learn(cx, incoming, pair_id);
        if terms.expires == 0 {
            self.tend(cx, id);
            self.part(cx, pair_id);
        } else {
            self.welcome(cx, pair_id, id);
        }
    }

    fn outside(&mut self, cx: &mut Cx<'_>, incoming: &Incoming, terms: &Terms) -> Result<(), Reply> {
        let refuse = |status, words: Option<String>| Reply { reason: words, ..Reply::new(status) };
        if !cx.accepting || self.subs.len() >= LIMIT || self.pairs.len() >= LIMIT {
            cx.count("subscribes_refused_total", &[("reason", "no-room")]);
            return Err(Reply::new(503).with(HeaderName::RetryAfter, COME_BACK));
        }
        let user = cx.domains.user_jid(&incoming.target.aor.address());
        let user = user.map_err(|problem| refuse(404, problem.text))?;
        if user.local().is_none() {
            return Err(Reply::new(404).because("the address names no user"));
        }
        if incoming.from.aor.user.is_none() {
            return Err(Reply::new(403).because("From names no user"));
        }
        // Two spellings of one address have one JID, and the pair is found again by what that maps back to.
        let watcher = cx.domains.contact_jid(&incoming.from.aor.address());
        let watcher = watcher.and_then(|jid| cx.domains.contact_sip(&jid));
        let watcher = watcher.map_err(|problem| refuse(403, problem.text))?.aor;
        if self.asks_too_much(cx, &user, &watcher) {
            cx.count("subscribes_refused_total", &[("reason", "questions")]);
            return Err(Reply::new(480).because("too many people whom you asked have not answered yet"));
        }
        let Some(pair_id) = self.pair(cx, user.clone(), watcher) else { return Err(Reply::new(403)) };
        let Some(pair) = self.pairs.get(&pair_id) else { return Err(Reply::new(500)) };
        if table::welcome(pair.consent, cx.now.wall) == Welcome::Decline {
            return Err(Reply::new(603));
        }
        let (tag, contact) = (cx.token_for(&user), our_contact(cx, pair));
        let partition = Partition::of(user.as_str());
        let (request, flow) = (&incoming.request, &incoming.flow);
        let accepted = Notifier::accept(request, terms, &contact, &tag, partition, flow, cx.now);
        let (notifier, reply) = match accepted {
            Ok(accepted) => accepted,
            Err(reply) => {
                self.drop_if_void(pair_id);
                return Err(reply);
            }
        };
        self.make_room(cx, pair_id);
        let fetch = terms.expires == 0;
        let sub = Sub { pair: pair_id, notifier, fetch, held: false, told: Told::Nothing, short: false };
        let id = self.add_sub(sub);
        count_subs(cx, 1);
        self.learn(cx, incoming, pair_id);
        if fetch {
            cx.reply(incoming.key, reply);
            self.fetch(cx, pair_id, id);
            return Ok(());
        }
        self.keep(cx, id);
        cx.reply(incoming.key, reply);
        self.welcome(cx, pair_id, id);
        Ok(())
    }

    /// Whether a watcher who would be the first to ask this user has too many open questions: each is kept on disk and
    /// shows up in somebody's client.
    fn asks_too_much(&mut self, cx: &mut Cx<'_>, user: &Jid, watcher: &Aor) -> bool {
        if self.find(user, watcher).is_some() {
            return false;
        }
        let open = |watcher: &Watcher, aor| watcher.asking.get(aor).map_or(0, BTreeSet::len);
        if open(self, watcher) >= QUESTIONS {
            let old = self.asking.get(watcher).into_iter().flatten().copied().collect();
            self.forget_stale(cx, old);
        }
        open(self, watcher) >= QUESTIONS
    }

    /// The NOTIFY that follows a SUBSCRIBE at once, or as soon as a probe has been answered; and the question to the
    /// user, where it is time for it.
    fn welcome(&mut self, cx: &mut Cx<'_>, pair_id: PairId, id: SubId) {
        let Some(pair) = self.pairs.get(&pair_id) else { return };
        let (welcome, known) = (table::welcome(pair.consent, cx.now.wall), pair.seen.known);
        let Some(sub) = self.subs.get_mut(&id) else { return };
        let mut wait = false;
        if welcome == Welcome::Show {
            if !sub.notifier.is_active() {
                sub.notifier.activate();
                self.keep(cx, id);
            }
            wait = !known && self.ensure_probe(cx, pair_id);
        }
        self.tell_or_wait(cx, id, wait);
        if welcome == (Welcome::Wait { ask: true }) {
            self.ask(cx, pair_id);
        }
    }

    /// The NOTIFY that follows a SUBSCRIBE: at once, or when the probe that was sent is answered.
    fn tell_or_wait(&mut self, cx: &mut Cx<'_>, id: SubId, wait: bool) {
        let Some(sub) = self.subs.get_mut(&id) else { return };
        if wait {
            sub.held = true;
        } else {
            sub.notifier.want_now(cx.now);
        }
        self.tend(cx, id);
    }

    /// A SUBSCRIBE that wants to know once (RFC 8048 §7.2). Where nobody has asked her before, her server decides
    /// whether the probe is answered; while she has not answered, or has refused, it is not even asked.
    fn fetch(&mut self, cx: &mut Cx<'_>, pair_id: PairId, id: SubId) {
        let Some(pair) = self.pairs.get(&pair_id) else { return };
        let may_probe = matches!(pair.consent, Consent::Granted | Consent::Unasked);
        let wait = may_probe && !pair.seen.known && self.ensure_probe(cx, pair_id);
        self.tell_or_wait(cx, id, wait);
    }

    /// One probe at a time for a pair. False if the link is down.
    fn ensure_probe(&mut self, cx: &mut Cx<'_>, pair_id: PairId) -> bool {
        let Some(pair) = self.pairs.get_mut(&pair_id) else { return false };
        // A probe after a lost link is waited for longer; somebody who waits for a NOTIFY does not.
        let soon = cx.now.tick + SILENCE;
        if let Some(probe) = &mut pair.seen.probe {
            if probe.deadline > soon {
                probe.deadline = soon;
                self.timers.set(Timer::Settle(pair_id), soon);
            }
            return true;
        }
        self.probe(cx, pair_id, SILENCE)
    }

    /// Asks the user for her consent, with the watcher's name (XEP-0172 §4.2). While the link is down nothing is
    /// asked; it is when it comes up.
    pub(super) fn ask(&mut self, cx: &mut Cx<'_>, pair_id: PairId) {
        let Some(pair) = self.pairs.get_mut(&pair_id) else { return };
        if !cx.is_up(pair.link) {
            return;
        }
        let Some(stanza) = question(cx, pair) else { return };
        pair.asked = Some(cx.now.tick);
        self.timers.set(Timer::Asked(pair_id), cx.now.tick + super::outage::DOUBT);
        let consent = table::asked(pair.consent, cx.now.wall);
        self.decide(cx, pair_id, consent);
        cx.stanza(stanza);
    }

    /// The watcher has ended his last dialog: he is not there any more (RFC 8048 §5.3.3). Consent stays.
    fn part(&mut self, cx: &mut Cx<'_>, pair_id: PairId) {
        let Some(pair) = self.pairs.get(&pair_id) else { return };
        let rest = pair.subs.iter().filter_map(|id| self.subs.get(id));
        if rest.filter(|sub| !sub.notifier.has_ended()).count() > 0 {
            return;
        }
        if cx.is_up(pair.link)
            && let Some(stanza) = from_watcher(cx, pair, "unavailable")
        {
            cx.stanza(stanza);
            let (user, contact) = (pair.user.clone(), pair.contact.clone());
            cx.signal(Signal::Parted { user, contact });
        }
    }

    /// What a SUBSCRIBE says about its sender: his name, and the device that he shows.
    fn learn(&mut self, cx: &mut Cx<'_>, incoming: &Incoming, pair: PairId) {
        let Some(pair) = self.pairs.get(&pair) else { return };
        if let Some(name) = &incoming.from_name {
            cx.facts.set_name(&pair.contact, name);
        }
        let contact = message::address(&incoming.request.headers, &HeaderName::Contact);
        if let Some(device) = contact.and_then(|contact| SipAddress::of(&contact.uri).ok())
            && cx.domains.known_as(&device.aor).as_ref() == Some(&pair.contact)
        {
            cx.facts.show(&SipAddress { aor: pair.contact.clone(), ..device });
        }
    }

    /// Ends the oldest dialog of a pair that has too many.
    fn make_room(&mut self, cx: &mut Cx<'_>, pair_id: PairId) {
        let subs = self.subs_of(pair_id);
        if subs.len() < DIALOGS {
            return;
        }
        let oldest = subs.iter().find(|id| self.subs.get(id).is_some_and(|sub| !sub.notifier.has_ended()));
        if let Some(id) = oldest.copied() {
            if let Some(sub) = self.subs.get_mut(&id) {
                sub.notifier.end(Reason::Timeout, None, cx.now);
            }
            self.tend(cx, id);
        }
    }
}

/// The question, with the name that the watcher uses.
pub(super) fn question(cx: &Cx<'_>, pair: &Pair) -> Option<Stanza> {
    let mut stanza = from_watcher(cx, pair, "subscribe")?.with_id(stanzas::QUESTION);
    if let Some(name) = cx.facts.name_of(&pair.contact) {
        stanza = stanza.with_child(Element::new("nick", ns::NICK).with_text(name));
    }
    Some(stanza)
}
