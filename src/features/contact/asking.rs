//! The SIP side: who is asked when, and what the answers and NOTIFYs do.

use std::time::Duration;

use super::pair::{Check, LOSABLE, Pair};
use super::table::{self, Fate, Next};
use super::{Contacts, FETCHES, PAIRS, Timer, refuse, unsubscribed};
use crate::documents::pidf::{self, DocumentError, Pidf};
use crate::features::{Cx, Incoming};
use crate::sip::message::{self, Answer, HeaderName, Reply};
use crate::sip::uri::Aor;
use crate::sip::usage::package::PRESENCE;
use crate::sip::usage::subscription::{End, Meaning, Notice, Parties, Reason, State, Step, Subscription};
use crate::words::condition::{Condition, Kind};
use crate::words::id::Partition;
use crate::words::note::Level;
use crate::words::time::Tick;
use crate::xmpp::jid::Jid;
use crate::xmpp::ns;
use crate::xmpp::stanza::{Element, Stanza, StanzaKind};

/// A subscription that lived this long may be begun anew at once.
const LIVED: Duration = Duration::from_secs(30);
/// How long the user's server or client may take to say whether she is there.
const CHECK: Duration = Duration::from_secs(30);

/// A NOTIFY that moves the expiry by less than this need not be written down.
const SLACK: Duration = Duration::from_secs(60);

/// A subscription and whose it is.
#[derive(Debug)]
pub struct Ask {
    pub machine: Subscription,
    pub owner: Owner,
    /// When it ends, as the disk has it.
    pub kept: Option<Tick>,
}

/// Whose a subscription is.
#[derive(Clone, Debug)]
pub enum Owner {
    /// A pair's.
    Pair(u64),
    /// Nobody's any more: it ends, and then the user is told `unsubscribed`.
    Farewell(Box<Who>),
    /// Nobody's: it ends, and nobody is told.
    Abandoned(Box<Who>),
    /// Of one who probed without having subscribed here: one look.
    Fetch(Box<Who>),
}

/// A user and a contact that are no pair.
#[derive(Clone, Debug)]
pub struct Who {
    /// Who is told: a user who unsubscribed, or the full JID that probed.
    user: Jid,
    contact: Aor,
    /// The contact in XMPP, bare.
    jid: Jid,
}

impl Contacts {
    /// Subscribes for a pair that has no subscription.
    pub(super) fn ask(&mut self, cx: &mut Cx<'_>, id: u64) {
        let Some(pair) = self.pairs.get_mut(&id) else { return };
        if pair.ask.is_some() || pair.refused || self.goodbye.is_some() {
            return;
        }
        self.timers.stop(&Timer::Again(id));
        pair.asked_at = Some(cx.now.tick);
        pair.heard = false;
        pair.lapsing = false;
        let parties = match parties(cx, &pair.user, &pair.contact) {
            Ok(parties) => parties,
            Err(_) => return self.end_of(cx, id, &End::NoRoute, Duration::ZERO),
        };
        let (machine, request) = Subscription::subscribe(cx.now, cx.mint, &parties);
        let ask = self.keep_ask(cx, Owner::Pair(id), machine);
        cx.request(ask, request);
    }

    /// One look for a user who has not subscribed here: her server may know better, after a loss of our store.
    pub(super) fn fetch(&mut self, cx: &mut Cx<'_>, stanza: &Stanza, prober: &Jid, contact: &Aor) {
        let key = (prober.bare(), contact.clone());
        if self.fetches.contains_key(&key) || self.goodbye.is_some() {
            return;
        }
        let parties = match parties(cx, prober, contact) {
            Ok(parties) if cx.accepting && self.fetches.len() < FETCHES => parties,
            Ok(_) => return refuse(cx, stanza, &Condition::new(Kind::ResourceConstraint, "try again later")),
            Err(problem) => return refuse(cx, stanza, &problem),
        };
        let Some(to) = stanza.to() else { return };
        let (machine, request) = Subscription::fetch(cx.now, cx.mint, &parties);
        let owner =
            Owner::Fetch(Box::new(Who { user: prober.clone(), contact: contact.clone(), jid: to.bare() }));
        let ask = self.keep_ask(cx, owner, machine);
        self.fetches.insert(key, ask);
        cx.request(ask, request);
    }

    pub(super) fn keep_ask(&mut self, cx: &mut Cx<'_>, owner: Owner, machine: Subscription) -> u64 {
        let id = self.next_id();
        if let Owner::Pair(pair) = owner
            && let Some(pair) = self.pairs.get_mut(&pair)
        {
            pair.ask = Some(id);
        }
        self.by_call.insert(machine.call_id().into(), id);
        let kept = machine.expires_at();
        self.asks.insert(id, Ask { machine, owner, kept });
        cx.gauge("subscriptions", &[("direction", "xmpp_to_sip")], 1);
        self.arm(id);
        id
    }

    fn forget_ask(&mut self, cx: &mut Cx<'_>, id: u64) -> Option<Ask> {
        let ask = self.asks.remove(&id)?;
        self.by_call.remove(ask.machine.call_id());
        self.timers.stop(&Timer::Ask(id));
        cx.gauge("subscriptions", &[("direction", "xmpp_to_sip")], -1);
        Some(ask)
    }

    fn arm(&mut self, id: u64) {
        let ask = self.asks.get(&id);
        if let Some(Ask { owner: Owner::Pair(pair), machine, kept }) = ask
            && let Some(at) = machine.expires_at()
            && kept.is_none_or(|kept| (at - kept).max(kept - at) > SLACK)
        {
            // A process that goes on from here must not believe that it has run out.
            self.dirty.insert(*pair);
        }
        let at = ask.and_then(|ask| ask.machine.next_timeout());
        self.timers.arm(Timer::Ask(id), at);
    }

    /// The user unsubscribed: the subscription of the pair that was removed ends, and then she is told.
    pub(super) fn say_farewell(&mut self, cx: &mut Cx<'_>, id: u64, pair: &Pair) {
        if !self.end_ask(cx, id, pair, Owner::Farewell) {
            unsubscribed(cx, &pair.jid, &pair.user);
        }
    }

    /// There is no such user: the subscription of the pair that was removed ends.
    pub(super) fn abandon(&mut self, cx: &mut Cx<'_>, id: u64, pair: &Pair) {
        self.end_ask(cx, id, pair, Owner::Abandoned);
    }

    /// False where nothing can be sent, and it is over already.
    fn end_ask(&mut self, cx: &mut Cx<'_>, id: u64, pair: &Pair, owner: fn(Box<Who>) -> Owner) -> bool {
        let parties = parties(cx, &pair.user, &pair.contact);
        let (Some(ask), Ok(parties)) = (self.asks.get_mut(&id), parties) else {
            self.forget_ask(cx, id);
            return false;
        };
        ask.owner = owner(Box::new(Who {
            user: pair.user.clone(),
            contact: pair.contact.clone(),
            jid: pair.jid.clone(),
        }));
        if let Some(request) = ask.machine.end(cx.now, &parties) {
            cx.request(id, request);
        }
        self.arm(id);
        true
    }

    /// Who speaks in a subscription. An error where the user's domain is not listed any more.
    fn parties_of(&self, cx: &Cx<'_>, id: u64) -> Result<Parties, Condition> {
        let gone = || Condition::new(Kind::ItemNotFound, "forgotten");
        match &self.asks.get(&id).ok_or_else(gone)?.owner {
            Owner::Pair(pair) => {
                let pair = self.pairs.get(pair).ok_or_else(gone)?;
                parties(cx, &pair.user, &pair.contact)
            }
            Owner::Farewell(who) | Owner::Abandoned(who) | Owner::Fetch(who) => {
                parties(cx, &who.user, &who.contact)
            }
        }
    }

    pub(super) fn answered(&mut self, cx: &mut Cx<'_>, id: u64, answer: &Answer) {
        let Ok(parties) = self.parties_of(cx, id) else { return };
        let Some(ask) = self.asks.get_mut(&id) else { return };
        if let (Owner::Pair(pair_id), Answer::Final { response, .. }) = (&ask.owner, answer)
            && let Some(pair) = self.pairs.get(pair_id)
            && response.status.is_success()
            && pair.learn_contact(cx, &response.headers)
        {
            self.dirty.insert(*pair_id);
        }
        let step = ask.machine.answer(cx.now, cx.mint, &parties, answer);
        self.step(cx, id, step);
    }

    pub(super) fn ask_timeout(&mut self, cx: &mut Cx<'_>, id: u64) {
        let Some(meaning) = self.asks.get_mut(&id).and_then(|ask| ask.machine.timeout(cx.now)) else {
            return self.arm(id);
        };
        self.step(cx, id, Step { request: None, meaning: Some(meaning) });
    }

    fn step(&mut self, cx: &mut Cx<'_>, id: u64, step: Step) {
        let owner = self.asks.get(&id).map(|ask| ask.owner.clone());
        if let Some(request) = step.request {
            cx.request(id, *request);
            if let Some(Owner::Pair(pair)) = &owner {
                self.dirty.insert(*pair);
            }
        }
        match (step.meaning, owner) {
            (Some(Meaning::Over(end)), _) => return self.over(cx, id, &end),
            (Some(Meaning::RefreshDue), Some(Owner::Pair(pair))) => self.refresh_if_there(cx, pair),
            (Some(Meaning::RefreshFailed(why)), _) => {
                cx.log(Level::Info, "contact-refresh-failed", vec![("why", why)]);
            }
            (Some(Meaning::Ending), Some(Owner::Farewell(who))) => {
                // She need not wait for the last NOTIFY, which changes nothing for her.
                self.part(cx, &who);
                if let Some(ask) = self.asks.get_mut(&id) {
                    ask.owner = Owner::Abandoned(who);
                }
            }
            _ => {}
        }
        self.arm(id);
    }

    /// A NOTIFY of one of our subscriptions; gives its answer.
    pub(super) fn notify(&mut self, cx: &mut Cx<'_>, id: u64, incoming: &Incoming) -> Reply {
        let Ok(parties) = self.parties_of(cx, id) else { return Reply::new(481) };
        let Some(ask) = self.asks.get_mut(&id) else { return Reply::new(481) };
        let request = &incoming.request;
        let (notice, farewell) = match ask.machine.notify(cx.now, cx.mint, &parties, request) {
            Ok(noticed) => noticed,
            Err(reply) => return reply,
        };
        if let Some(farewell) = farewell {
            cx.request(id, farewell);
        }
        self.arm(id);
        if let Some(Owner::Pair(pair_id)) = self.asks.get(&id).map(|ask| &ask.owner)
            && let Some(pair) = self.pairs.get(pair_id)
        {
            if let Some(name) = &incoming.from_name {
                cx.facts.set_name(&pair.contact, name);
            }
            if pair.learn(cx, &incoming.from) | pair.learn_contact(cx, &request.headers) {
                self.dirty.insert(*pair_id);
            }
        }
        let encoding = message::text(&request.headers, &HeaderName::ContentEncoding);
        let (document, reply) = match &notice.document {
            None => (None, Reply::new(200)),
            Some((type_, body)) => match read(type_, encoding.as_deref(), body) {
                Ok(document) => (Some(document), Reply::new(200)),
                Err(reply) => {
                    let why = reply.reason.clone().unwrap_or_default();
                    cx.log(
                        Level::Warn,
                        "contact-document",
                        vec![("contact", parties.uri.clone()), ("why", why)],
                    );
                    (None, reply)
                }
            },
        };
        if self.goodbye.is_none() {
            let is_unread = reply.status != 200;
            self.noticed(cx, id, &notice, document.as_ref(), is_unread);
        }
        if let Some(end) = &notice.end {
            self.over(cx, id, end);
        }
        reply
    }

    fn noticed(
        &mut self,
        cx: &mut Cx<'_>,
        id: u64,
        notice: &Notice,
        document: Option<&Pidf>,
        is_unread: bool,
    ) {
        let Some(owner) = self.asks.get(&id).map(|ask| ask.owner.clone()) else { return };
        let pair_id = match owner {
            Owner::Farewell(_) | Owner::Abandoned(_) => return,
            Owner::Pair(pair) => pair,
            Owner::Fetch(who) => {
                let (Some(document), true) = (document, notice.state != State::Pending) else { return };
                return self.found(cx, id, *who, document);
            }
        };
        let Some(pair) = self.pairs.get_mut(&pair_id) else { return };
        let was_heard = std::mem::replace(&mut pair.heard, true);
        let mut changed = !was_heard;
        match notice.state {
            // Nobody may see more than she is allowed to (RFC 8048 §5.2.1).
            State::Pending => changed |= pair.is_open() && pair.vanish(cx),
            State::Active => {
                if !pair.accepted {
                    pair.accept(cx);
                    changed = true;
                }
                changed |= pair.doubted.take().is_some();
                match document {
                    Some(document) => changed |= pair.apply(cx, document),
                    // A document that we cannot read leaves what was; none at all says that nothing is known.
                    None if is_unread => {}
                    None => changed |= pair.vanish(cx),
                }
            }
            _ => {
                if let Some(document) = document.filter(|_| pair.accepted) {
                    changed |= pair.apply(cx, document);
                }
            }
        }
        if changed {
            self.dirty.insert(pair_id);
        }
    }

    /// A look has shown something: the contact lets this user see it. From now on she is told of changes, too.
    fn found(&mut self, cx: &mut Cx<'_>, ask: u64, who: Who, document: &Pidf) {
        let Who { user: prober, contact, jid } = who;
        self.fetches.remove(&(prober.bare(), contact.clone()));
        self.forget_ask(cx, ask);
        let id = match self.find(&prober.bare(), &contact) {
            Some(id) => id,
            None if self.has_enough(&prober.bare()) || self.pairs.len() >= PAIRS => {
                // She is told what was seen, and it is not followed.
                let mut seen = Pair { accepted: true, ..Pair::new(prober.bare(), contact, jid) };
                seen.apply(cx, document);
                cx.count("subscribes_refused_total", &[("reason", "no-room")]);
                return;
            }
            None => self.add(Pair { accepted: true, ..Pair::new(prober.bare(), contact, jid) }),
        };
        if let Some(user) = self.users.get_mut(&prober.bare())
            && !prober.is_bare()
        {
            user.last = Some(prober);
        }
        if let Some(pair) = self.pairs.get_mut(&id) {
            if !pair.accepted {
                pair.accept(cx);
            }
            pair.apply(cx, document);
        }
        self.dirty.insert(id);
        self.ask(cx, id);
    }

    fn over(&mut self, cx: &mut Cx<'_>, id: u64, end: &End) {
        let Some(ask) = self.forget_ask(cx, id) else { return };
        match ask.owner {
            Owner::Pair(pair) => {
                let age = ask.machine.age(cx.now);
                self.stop_check(pair);
                self.timers.stop(&Timer::Again(pair));
                let lapsed = self.pairs.get_mut(&pair).is_some_and(|pair| {
                    pair.ask = None;
                    std::mem::take(&mut pair.lapsing)
                });
                self.dirty.insert(pair);
                if *end == End::Expired && !lapsed {
                    // It was not left to expire: refreshing failed, or it ran out while nobody could.
                    let was_asked = self.pairs.get(&pair).is_some_and(|pair| pair.asked_at.is_some());
                    let fate = if was_asked { Fate::Retry } else { Fate::Anew };
                    return self.meet(cx, pair, fate, None);
                }
                self.end_of(cx, pair, end, age);
            }
            Owner::Farewell(who) => self.part(cx, &who),
            Owner::Abandoned(_) => {}
            Owner::Fetch(who) => {
                self.fetches.remove(&(who.user.bare(), who.contact.clone()));
                if self.find(&who.user.bare(), &who.contact).is_some() {
                    return;
                }
                let refused = matches!(end, End::Refused { status: 403 | 603, .. })
                    || matches!(end, End::Terminated { reason: Some(Reason::Rejected), .. });
                if refused {
                    unsubscribed(cx, &who.jid, &who.user.bare());
                } else {
                    let answer = Stanza::new(StanzaKind::Presence, &who.jid, &who.user);
                    cx.stanza(answer.with_type("unavailable"));
                }
            }
        }
    }

    /// Tells a user that her unsubscription is done, unless she has subscribed anew since then.
    fn part(&self, cx: &mut Cx<'_>, who: &Who) {
        if self.find(&who.user, &who.contact).is_none() {
            unsubscribed(cx, &who.jid, &who.user);
        }
    }

    /// What becomes of a pair whose subscription is over.
    fn end_of(&mut self, cx: &mut Cx<'_>, id: u64, end: &End, age: Duration) {
        let Some(pair) = self.pairs.get_mut(&id) else { return };
        self.dirty.insert(id);
        if pair.heard && age >= LIVED {
            pair.tries = 0;
        }
        let next = table::next(end, pair.accepted);
        cx.log(
            Level::Debug,
            "contact-subscription-over",
            vec![
                ("user", pair.user.to_string()),
                ("contact", pair.contact.to_string()),
                ("why", end.to_string()),
            ],
        );
        match next {
            Next::Keep => {}
            Next::Rest => {
                pair.vanish(cx);
            }
            Next::NoRoute if pair.accepted => {
                pair.vanish(cx);
                self.wait(cx, id, Fate::Retry, None);
            }
            Next::NoRoute => {
                let asked = Stanza::new(StanzaKind::Presence, &pair.user, &pair.jid).with_type("subscribe");
                let text = format!("no way leads to {}", pair.contact.host);
                refuse(cx, &asked, &Condition::new(Kind::RemoteServerNotFound, text));
                self.remove(cx, id);
            }
            Next::Fate(fate, named) => self.meet(cx, id, fate, named),
        }
    }

    fn meet(&mut self, cx: &mut Cx<'_>, id: u64, fate: Fate, named: Option<Duration>) {
        let Some(pair) = self.pairs.get_mut(&id) else { return };
        match fate {
            Fate::Anew if pair.tries == 0 => {
                pair.tries = 1;
                return self.ask(cx, id);
            }
            Fate::Doubt => {
                let ends = *pair.doubted.get_or_insert(cx.now.tick + table::DOUBT);
                if cx.now.tick >= ends {
                    return self.meet(cx, id, Fate::Refuse, None);
                }
            }
            Fate::NoPresence if !pair.accepted => pair.accept(cx),
            Fate::Refuse => {
                cx.log(
                    Level::Info,
                    "contact-refused",
                    vec![("user", pair.user.to_string()), ("contact", pair.contact.to_string())],
                );
                pair.vanish(cx);
                pair.refused = true;
                if cx.link_is_up(&pair.jid) {
                    self.say_refused(cx, id);
                }
                return;
            }
            _ => {}
        }
        if pair.accepted {
            // Of what was shown before a restart she is told that it has gone away.
            let has_been_told = pair.known || !pair.resources.is_empty();
            pair.vanish(cx);
            if fate == Fate::NoPresence && !has_been_told {
                pair.tell_all(cx, &pair.user);
            }
        }
        self.wait(cx, id, fate, named);
    }

    /// Tells the user that the contact has refused her. The pair is forgotten when that cannot be lost any more.
    pub(super) fn say_refused(&mut self, cx: &mut Cx<'_>, id: u64) {
        if let Some(pair) = self.pairs.get(&id) {
            unsubscribed(cx, &pair.jid, &pair.user);
            self.timers.set(Timer::Again(id), cx.now.tick + LOSABLE);
        }
    }

    fn wait(&mut self, cx: &mut Cx<'_>, id: u64, fate: Fate, named: Option<Duration>) {
        let Some(pair) = self.pairs.get_mut(&id) else { return };
        let (low, high) = table::wait(fate, pair.tries);
        pair.tries = pair.tries.saturating_add(1);
        let wait = cx.mint.between(low, high).max(named.unwrap_or_default());
        self.timers.set(Timer::Again(id), cx.now.tick + wait);
    }

    /// It is time to ask again: for nobody who is known to be away, who will ask herself when she comes.
    pub(super) fn again(&mut self, cx: &mut Cx<'_>, id: u64) {
        let Some(pair) = self.pairs.get(&id) else { return };
        if pair.refused {
            if cx.link_is_up(&pair.jid) {
                self.remove(cx, id);
            }
            return;
        }
        let is_gone = self.users.get(&pair.user).is_some_and(|user| user.gone);
        if let Some(ask) = pair.ask {
            let is_of_before = pair.asked_at.is_none();
            self.refresh(cx, id);
            if let Some(ask) = self.asks.get(&ask).filter(|_| is_of_before) {
                self.ask_once_more(cx, id, ask.machine.age(cx.now));
            }
        } else if !(is_gone && pair.accepted) {
            self.ask(cx, id);
        }
    }

    /// Whether the pair has no subscription and was not asked for so long.
    pub(super) fn rested(&self, cx: &Cx<'_>, id: u64, pause: Duration) -> bool {
        self.pairs.get(&id).is_some_and(|pair| {
            pair.ask.is_none() && pair.asked_at.is_none_or(|at| cx.now.tick - at >= pause)
        })
    }
}

/// Refreshing, for users who are there to see it (RFC 8048 §8.1).
impl Contacts {
    /// A refresh is due. A user who has not authorised the contact is never probed: her client is pinged.
    fn refresh_if_there(&mut self, cx: &mut Cx<'_>, id: u64) {
        let Some(pair) = self.pairs.get_mut(&id) else { return };
        let user = self.users.get(&pair.user);
        if pair.check != Check::None {
            return;
        }
        // Who waits for the contact's word waits for it while she is away, too (RFC 6121 §3.1.2); and no server probes
        // for her before she has it.
        if !pair.accepted || !cx.link_is_up(&pair.jid) || cx.facts.is_anyone_online(&pair.user) {
            return self.refresh(cx, id);
        }
        if user.is_some_and(|user| user.gone) {
            pair.lapsing = true;
            return;
        }
        if pair.shares || cx.facts.shares(&pair.user, &pair.contact) {
            pair.check = Check::Probing;
            cx.stanza(Stanza::new(StanzaKind::Presence, &pair.jid, &pair.user).with_type("probe"));
        } else if let Some(last) = user.and_then(|user| user.last.as_ref()) {
            let ping = cx.mint.token(Partition::of(pair.user.bare_str()));
            cx.stanza(
                Stanza::new(StanzaKind::Iq, &pair.jid, last)
                    .with_type("get")
                    .with_id(&ping)
                    .with_child(Element::new("ping", ns::PING)),
            );
            self.pings.insert(ping.clone(), id);
            pair.check = Check::Pinging(ping);
        } else {
            pair.lapsing = true;
            return;
        }
        self.timers.set(Timer::Check(id), cx.now.tick + CHECK);
    }

    /// The user's server refused the probe.
    pub(super) fn unauthorised(&mut self, cx: &mut Cx<'_>, id: u64) {
        self.stop_check(id);
        if let Some(pair) = self.pairs.get(&id) {
            cx.facts.set_shares(&pair.user, &pair.contact, false);
        }
        self.refresh_if_there(cx, id);
    }

    /// The answer to a ping. A client that does not know pings is there, too.
    pub(super) fn pong(&mut self, cx: &mut Cx<'_>, id: u64, answer: &Stanza) {
        let unknown = answer.stanza_error().is_some_and(|error| error.kind == Kind::FeatureNotImplemented);
        if answer.type_() == Some("result") || unknown {
            self.refresh(cx, id);
        } else {
            self.check_failed(id);
        }
    }

    /// Nobody is there: the subscription is left to expire.
    pub(super) fn check_failed(&mut self, id: u64) {
        self.stop_check(id);
        if let Some(pair) = self.pairs.get_mut(&id) {
            pair.lapsing = true;
        }
    }

    pub(super) fn stop_check(&mut self, id: u64) {
        self.timers.stop(&Timer::Check(id));
        if let Some(pair) = self.pairs.get_mut(&id)
            && let Check::Pinging(ping) = std::mem::take(&mut pair.check)
        {
            self.pings.remove(&ping);
        }
    }

    /// Refreshes the subscription of a pair.
    pub(super) fn refresh(&mut self, cx: &mut Cx<'_>, id: u64) {
        self.stop_check(id);
        let Some(ask) = self.pairs.get_mut(&id).and_then(|pair| {
            pair.lapsing = false;
            pair.ask
        }) else {
            return;
        };
        let Ok(parties) = self.parties_of(cx, ask) else { return };
        let request = self.asks.get_mut(&ask).and_then(|ask| ask.machine.refresh(cx.now, &parties));
        if let Some(request) = request {
            cx.request(ask, request);
            self.dirty.insert(id);
        }
        if let Some(pair) = self.pairs.get_mut(&id) {
            pair.asked_at = Some(cx.now.tick);
        }
        self.arm(ask);
    }
}

fn parties(cx: &Cx<'_>, user: &Jid, contact: &Aor) -> Result<Parties, Condition> {
    let own = cx.domains.user_sip(&user.bare())?.aor;
    let spelled = cx.facts.spelled(contact);
    Ok(Parties {
        package: &PRESENCE,
        from: format!("<{own}>"),
        to: format!("<{spelled}>"),
        uri: spelled.to_string(),
        contact: cx.config.sip.contact(&own, &contact.host),
        domain: contact.host.clone(),
        partition: Partition::of(user.bare_str()),
    })
}

/// Reads the body of a NOTIFY; an error is its answer.
fn read(type_: &str, encoding: Option<&str>, body: &[u8]) -> Result<Pidf, Reply> {
    if encoding.is_some_and(|encoding| !encoding.trim().eq_ignore_ascii_case("identity")) {
        let name = HeaderName::AcceptEncoding;
        return Err(Reply::new(415).because("only identity is read").with(name, "identity"));
    }
    let is_pidf = type_.split(';').next().is_some_and(|type_| type_.trim().eq_ignore_ascii_case(pidf::TYPE));
    if !is_pidf {
        return Err(Reply::new(415).because("not a presence document").with(HeaderName::Accept, pidf::TYPE));
    }
    pidf::parse(body).map_err(|error| {
        let status = if matches!(error, DocumentError::TooLong { .. }) { 413 } else { 400 };
        Reply::new(status).because(error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &[u8] = b"<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:romeo@example.net'/>";

    fn status(type_: &str, encoding: Option<&str>, body: &[u8]) -> u16 {
        read(type_, encoding, body).map_or_else(|reply| reply.status, |_| 200)
    }

    #[test]
    fn a_body_that_cannot_be_read_is_refused_by_its_fault() {
        assert_eq!(status("Application/PIDF+xml; charset=utf-8", Some("identity"), EMPTY), 200);
        assert_eq!(status("application/pidf-diff+xml", None, EMPTY), 415);
        assert_eq!(status("", None, EMPTY), 415);
        assert_eq!(status(pidf::TYPE, Some("deflate"), EMPTY), 415);
        assert_eq!(status(pidf::TYPE, None, &vec![b' '; 1 << 20]), 413);
        assert_eq!(status(pidf::TYPE, None, b"not XML"), 400);
        assert_eq!(status(pidf::TYPE, None, b"<!DOCTYPE a [<!ENTITY b 'c'>]><presence/>"), 400);
        assert_eq!(status(pidf::TYPE, None, b"\xff\xfe<\x00"), 400);
    }
}
