//! What a member wants done with somebody else, by REFER to the focus: to ask somebody in (RFC 7702 §5, RFC 4579 §5.5), or to
//! put somebody out (§5.11).
//!
//! Who may do what the focus knows, and it is asked. An *errand* is one REFER, and an *order* the stanza that wanted it, or
//! several of them, which is answered once all are done. Who does not come has declined (XEP-0045 §7.8.2).
//!
//! Not done: REFER has no place for the reason of either, so it is left out. To ban, to give voice or to take it, and to make
//! moderators, SIP has no means.

use std::collections::{BTreeMap, HashMap};

use super::asked::{refuse, refuse_for};
use super::guest::GuestId;
use super::hall::Who;
use super::{Alarm, Conferences};
use crate::features::{Cx, Incoming, errors};
use crate::sip::message::{Answer, Reply};
use crate::sip::uri::SipAddress;
use crate::sip::usage::package;
use crate::sip::usage::refer::{Action, Outcome, Referring};
use crate::sip::usage::session::token_of;
use crate::sip::usage::subscription::Parties;
use crate::words::condition::{Condition, Kind, Scope};
use crate::words::id::Partition;
use crate::words::note::Level;
use crate::words::text::clean;
use crate::xmpp::jid::Jid;
use crate::xmpp::muc::request::{Invited, Item};
use crate::xmpp::muc::{self, Affiliation, Role, room};
use crate::xmpp::stanza::{Stanza, StanzaKind};

/// How many errands one gateway runs at once; more are refused.
const ERRANDS: usize = 2_000;

/// Why something is not tried.
type Refusal = (Kind, &'static str);

/// The errands that are under way.
#[derive(Debug, Default)]
pub struct Errands {
    running: BTreeMap<u64, Errand>,
    /// By the Call-ID of the REFER, in whose dialog it is told what became of it.
    calls: HashMap<Box<str>, u64>,
    orders: BTreeMap<u64, Order>,
}

impl Errands {
    /// How many are under way.
    pub fn len(&self) -> usize {
        self.running.len()
    }
}

/// One REFER.
#[derive(Debug)]
struct Errand {
    machine: Referring,
    call_id: Box<str>,
    order: u64,
    /// Who is asked in; nothing where somebody is put out.
    whom: Option<Jid>,
}

/// What was asked for.
#[derive(Debug)]
struct Order {
    /// The stanza, which is answered.
    stanza: Stanza,
    /// In which room.
    room: Jid,
    /// How many of its errands are under way.
    left: usize,
    /// Why one of them failed.
    failure: Option<Condition>,
}

impl Conferences {
    /// A member asks others in.
    pub(super) fn invites(&mut self, cx: &mut Cx<'_>, stanza: &Stanza, room: &Jid, invited: &[Invited]) {
        let Some(id) = stanza.from().and_then(|from| self.member(room, from)) else {
            return refuse(cx, stanza, Kind::NotAcceptable, "You are not in this room");
        };
        let targets = invited.iter().map(|one| Ok((address_of(cx, &one.whom)?, Some(one.whom.clone()))));
        match targets.collect::<Result<Vec<_>, Condition>>() {
            Ok(targets) => self.send_out(cx, id, stanza, Action::Invite, targets),
            Err(why) => give_up(cx, stanza, &why),
        }
    }

    /// A message of anybody's: a direct invitation (XEP-0249) of a member's to somebody in SIP, who could do nothing with it. The
    /// focus asks him in. True when it is one.
    pub(super) fn invites_directly(&mut self, cx: &mut Cx<'_>, stanza: &Stanza) -> bool {
        if !cx.domains.has_sip_rooms() {
            return false;
        }
        let Some(invitation) = muc::direct_invitation(stanza) else { return false };
        let Some((from, to)) = stanza.from().zip(stanza.to()) else { return false };
        if !cx.domains.holds_sip_rooms(invitation.room.domain()) {
            return false;
        }
        // With whichever of her clients she is in.
        let clients = self.halls.get(&invitation.room).into_iter().flat_map(|hall| hall.clients.keys());
        let mut hers = clients.filter(|client| client.bare_str() == from.bare_str());
        let member = hers.find_map(|client| self.member(&invitation.room, client));
        let why = match (member, address_of(cx, to)) {
            (None, _) => Condition::new(Kind::NotAcceptable, "You are not in the room that you invite to"),
            (_, Err(why)) => why,
            (Some(id), Ok(target)) => {
                self.send_out(cx, id, stanza, Action::Invite, vec![(target, Some(to.bare()))]);
                return true;
            }
        };
        give_up(cx, stanza, &why);
        true
    }

    /// A member wants other roles or affiliations for people. Putting somebody out is all that SIP has.
    pub(super) fn changes(&mut self, cx: &mut Cx<'_>, id: GuestId, stanza: &Stanza, items: &[Item]) {
        let targets = items.iter().map(|item| Ok((self.expelled_by(id, item)?, None)));
        match targets.collect::<Result<Vec<_>, Refusal>>() {
            Ok(targets) => self.send_out(cx, id, stanza, Action::Bye, targets),
            Err((kind, words)) => refuse(cx, stanza, kind, words),
        }
    }

    /// Whom to put out, if that is what is wanted.
    fn expelled_by(&self, id: GuestId, item: &Item) -> Result<SipAddress, Refusal> {
        match (item.role, item.affiliation) {
            (Some(Role::None), None | Some(Affiliation::None)) => {}
            (_, Some(Affiliation::Outcast)) => {
                let words = "Nobody can be banned from a room of SIP; you may try to kick them out";
                return Err((Kind::FeatureNotImplemented, words));
            }
            _ => {
                let words = "What people may do in a room of SIP cannot be changed from here";
                return Err((Kind::FeatureNotImplemented, words));
            }
        }
        let nick =
            item.nick.as_deref().ok_or((Kind::BadRequest, "Somebody is kicked by the name in the room"))?;
        let hall = self.guests.get(&id).and_then(|guest| self.halls.get(&guest.room));
        let person = hall.and_then(|hall| hall.people.get(nick));
        let person = person.ok_or((Kind::ItemNotFound, "Nobody of this name is in the room"))?;
        let address = match &person.who {
            Who::Guest(who) if *who == id => {
                return Err((Kind::Conflict, "You cannot kick yourself, but you may leave"));
            }
            Who::Guest(who) => self.guests.get(who).map(|guest| guest.own.address()),
            Who::Entity(entity) => entity.address(),
        };
        address.ok_or((Kind::FeatureNotImplemented, "The room does not tell the address of this person"))
    }

    /// The process stops: nobody waits any more for what becomes of it.
    pub(super) fn errands_end(&mut self, cx: &mut Cx<'_>) {
        for number in std::mem::take(&mut self.errands.running).into_keys() {
            self.timers.stop(&Alarm::Errand(number));
        }
        self.errands.calls.clear();
        for order in std::mem::take(&mut self.errands.orders).into_values() {
            let words = "The gateway stops, and nobody will tell what became of this";
            give_up(cx, &order.stanza, &Condition::new(Kind::RemoteServerTimeout, words));
        }
    }

    /// Sends a REFER for each.
    fn send_out(
        &mut self,
        cx: &mut Cx<'_>,
        id: GuestId,
        stanza: &Stanza,
        action: Action,
        targets: Vec<(SipAddress, Option<Jid>)>,
    ) {
        let Some(guest) = self.guests.get(&id) else { return };
        let (room, own) = (guest.room.clone(), guest.own.clone());
        let Ok(focus) = cx.domains.contact_sip(&room).map(|focus| cx.facts.spelled(&focus.aor)) else {
            return;
        };
        if self.errands.running.len() + targets.len() > ERRANDS || !cx.accepting {
            let why = Condition::new(Kind::ResourceConstraint, "The gateway has too much to do");
            return give_up(cx, stanza, &why);
        }
        let parties = Parties {
            package: &package::REFER,
            from: format!("<{own}>"),
            to: format!("<{focus}>"),
            uri: focus.to_string(),
            contact: cx.config.sip.contact(&own, &focus.host),
            domain: focus.host.clone(),
            partition: Partition::of(room.bare_str()),
        };
        let order = self.number();
        let (left, failure) = (targets.len(), None);
        self.errands
            .orders
            .insert(order, Order { stanza: stanza.clone(), room: room.clone(), left, failure });
        for (target, whom) in targets {
            let (machine, request) = Referring::refer(cx.mint, &parties, action, &target, false);
            let number = self.number();
            let call_id: Box<str> = request.call_id.as_str().into();
            cx.log(
                Level::Info,
                "conference-refer",
                vec![
                    ("corr", request.call_id.clone()),
                    ("room", room.to_string()),
                    ("by", own.to_string()),
                    ("target", target.to_string()),
                    ("what", if action == Action::Bye { "expel" } else { "invite" }.to_owned()),
                ],
            );
            self.errands.calls.insert(call_id.clone(), number);
            self.errands.running.insert(number, Errand { machine, call_id, order, whom });
            cx.request(token_of(number, 0), request);
        }
    }

    /// What was answered to the REFER of an errand. False if there is none of this number.
    pub(super) fn errand_answered(&mut self, cx: &mut Cx<'_>, number: u64, answer: &Answer) -> bool {
        let Some(errand) = self.errands.running.get_mut(&number) else { return false };
        let outcome = errand.machine.answer(cx.now, answer);
        self.errand_goes_on(cx, number, outcome);
        true
    }

    /// A NOTIFY. False if it is not about an errand.
    pub(super) fn errand_told(&mut self, cx: &mut Cx<'_>, tag: &str, incoming: &Incoming) -> bool {
        let Some(number) = self.errands.calls.get(incoming.call_id.as_str()).copied() else { return false };
        let Some(errand) = self.errands.running.get_mut(&number) else { return false };
        if !errand.machine.is_about(&incoming.call_id, tag) {
            return false;
        }
        match errand.machine.notify(cx.now, &incoming.request) {
            Ok(outcome) => {
                cx.reply(incoming.key, Reply::new(200));
                self.errand_goes_on(cx, number, outcome);
            }
            Err(reply) => cx.reply(incoming.key, reply),
        }
        true
    }

    /// No more news of an errand, perhaps.
    pub(super) fn errand_due(&mut self, cx: &mut Cx<'_>, number: u64) {
        let Some(errand) = self.errands.running.get_mut(&number) else { return };
        let outcome = errand.machine.timeout(cx.now);
        self.errand_goes_on(cx, number, outcome);
    }

    fn errand_goes_on(&mut self, cx: &mut Cx<'_>, number: u64, outcome: Option<Outcome>) {
        let Some(errand) = self.errands.running.get(&number) else { return };
        match outcome {
            None | Some(Outcome::Progress(_)) => {
                self.timers.arm(Alarm::Errand(number), errand.machine.next_timeout())
            }
            Some(outcome) => self.errand_done(cx, number, &outcome),
        }
    }

    fn errand_done(&mut self, cx: &mut Cx<'_>, number: u64, outcome: &Outcome) {
        self.timers.stop(&Alarm::Errand(number));
        let Some(errand) = self.errands.running.remove(&number) else { return };
        self.errands.calls.remove(&errand.call_id);
        let Some(order) = self.errands.orders.get_mut(&errand.order) else { return };
        order.left -= 1;
        let failure = match outcome {
            Outcome::Progress(_) | Outcome::Unknown | Outcome::Done(..300) => None,
            // Whoever was asked has said so, and not the room.
            Outcome::Done(status) if let Some(whom) = &errand.whom => {
                decline(cx, order, whom, *status);
                None
            }
            Outcome::Done(status) => Some(refusal(*status, "")),
            Outcome::Refused { status, words } => Some(refusal(*status, words)),
            Outcome::Failed(failure) => Some(errors::condition_of_failure(failure, Scope::Bare)),
        };
        order.failure = order.failure.take().or(failure);
        if order.left > 0 {
            return;
        }
        let Some(order) = self.errands.orders.remove(&errand.order) else { return };
        match &order.failure {
            Some(why) => give_up(cx, &order.stanza, why),
            None if order.stanza.kind == StanzaKind::Iq => cx.answer(order.stanza.result()),
            None => {}
        }
    }
}

/// It does not come to what a stanza wants: the room says so, or, where it was for somebody else, he does.
fn give_up(cx: &mut Cx<'_>, stanza: &Stanza, why: &Condition) {
    if stanza.to().is_some_and(|to| cx.domains.holds_sip_rooms(to.domain())) {
        return refuse_for(cx, stanza, why);
    }
    cx.answer(errors::stanza_error(stanza, why));
}

/// The focus does not do it.
fn refusal(status: u16, words: &str) -> Condition {
    let said = format!("SIP {status} {}", clean(words));
    let text = format!("The room does not do this ({})", said.trim_end());
    Condition { text: Some(text), ..errors::condition_of(status, Scope::Bare) }
}

/// The address in SIP of somebody who is asked in.
fn address_of(cx: &Cx<'_>, whom: &Jid) -> Result<SipAddress, Condition> {
    let refused = |kind, words: &str| Err(Condition::new(kind, words));
    if cx.domains.holds_rooms(whom.domain()) {
        return refused(Kind::NotAcceptable, "A room cannot be asked into a room");
    }
    if whom.local().is_none() {
        return refused(Kind::ItemNotFound, "This is not the address of a person");
    }
    if cx.domains.is_user_domain(whom.domain()) {
        return cx.domains.user_sip(&whom.bare());
    }
    match cx.domains.contact_sip(&whom.bare()) {
        Ok(address) => Ok(SipAddress { aor: cx.facts.spelled(&address.aor), gr: None }),
        Err(why) if why.kind == Kind::JidMalformed => Err(why),
        Err(_) => refused(Kind::ItemNotFound, "A room of SIP does not reach this address"),
    }
}

/// Tells the inviter that somebody does not come.
fn decline(cx: &mut Cx<'_>, order: &Order, whom: &Jid, status: u16) {
    let (Some(inviter), room) = (order.stanza.from(), &order.room) else { return };
    let words = match status {
        486 | 600 => Some("busy"),
        404 | 410 | 604 => Some("there is nobody of this address"),
        480 => Some("away"),
        408 | 487 => Some("no answer"),
        415 | 488 | 606 => Some("the client cannot chat in rooms"),
        // To decline is all that was said.
        603 => None,
        _ => Some("could not come"),
    };
    let id = cx.token_for(room);
    cx.stanza(room::declined(room, inviter, &id, whom, words));
}
