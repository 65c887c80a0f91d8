//! Invitations from XMPP reach a SIP user as a call from the focus (RFC 4579 §5.6): both kinds, through the room
//! (XEP-0045 §7.8.2) and direct (XEP-0249).
//!
//! The room is entered when the call is accepted, and not before: nobody shall be seen in a room who did not come. Who refuses a
//! call for an invitation through the room has said no to it, and the room tells the inviter.

use std::time::Duration;

use super::Rooms;
use super::entering::one_line;
use super::invited::nick_for;
use super::seat::{Seat, SeatId, Stage};
use crate::documents::conference::Joining;
use crate::documents::cpim;
use crate::documents::iscomposing;
use crate::features::Cx;
use crate::features::describe::Ways;
use crate::features::leg::Leg;
use crate::sip::message::HeaderName;
use crate::sip::uri::SipAddress;
use crate::sip::usage::session::{Body, Call, Cause, End, Session};
use crate::words::id::Partition;
use crate::words::note::Level;
use crate::xmpp::jid::Jid;
use crate::xmpp::muc::{self, Invitation};
use crate::xmpp::stanza::Stanza;

/// How long a person may let it ring.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many rooms may call one person at once.
const RINGING: usize = 3;
/// Further hops.
const HOPS: u8 = 70;

impl Rooms {
    /// A message of anybody's: an invitation to a room that SIP users can be in. True when it is one.
    pub(super) fn asked_in(&mut self, cx: &mut Cx<'_>, stanza: &Stanza) -> bool {
        let Some(invitation) = muc::direct_invitation(stanza) else { return false };
        let Some(to) = stanza.to().filter(|_| cx.domains.holds_xmpp_rooms(invitation.room.domain())) else {
            return false;
        };
        self.call(cx, to, invitation);
        true
    }

    /// Calls somebody for a room.
    pub(super) fn call(&mut self, cx: &mut Cx<'_>, whom: &Jid, invitation: Invitation) {
        if let Err(words) = self.try_call(cx, whom, &invitation) {
            cx.log(
                Level::Info,
                "room-invitation",
                vec![
                    ("room", invitation.room.to_string()),
                    ("to", whom.to_string()),
                    ("by", invitation.by.as_ref().map(ToString::to_string).unwrap_or_default()),
                    ("why", words.to_owned()),
                ],
            );
            say_no(cx, &whom.bare(), &invitation, words);
        }
    }

    fn try_call(&mut self, cx: &mut Cx<'_>, whom: &Jid, invitation: &Invitation) -> Result<(), &'static str> {
        let room = &invitation.room;
        if cx.domains.holds_sip_rooms(whom.domain()) {
            return Err("A room cannot be asked into a room");
        }
        let contact = cx.domains.contact_sip(whom).map_err(|_| "This address cannot be called")?.aor;
        if room.local().is_none() || contact.user.is_none() {
            return Err("This address cannot be called");
        }
        let hall = self.halls.get(room);
        let seats = hall.iter().flat_map(|hall| &hall.seats).filter_map(|id| self.seats.get(id));
        if seats.into_iter().any(|seat| seat.contact == contact && seat.stage != Stage::Leaving) {
            // Who is in it, or is being called, need not be called.
            return Ok(());
        }
        if self.ringing.of(&contact) >= RINGING {
            return Err("This person is being called for other rooms");
        }
        if !cx.accepting || self.stopping.is_some() {
            return Err("The gateway takes no calls now");
        }
        if self.is_full(&contact, room) || Ways::of(cx) == Ways::default() || Ways::of(cx).relay {
            return Err("The gateway has no room for this call");
        }
        let address = cx.domains.user_sip(room).map_err(|_| "This room has no address in SIP")?;
        let own =
            whom.bare().with_resource(&cx.token_for(room)).map_err(|_| "This address cannot be called")?;
        let contact_name = cx.facts.name_of(&contact).map(str::to_owned);
        let nick = nick_for(room, contact_name.as_deref(), &contact);
        let target = SipAddress { aor: cx.facts.spelled(&contact), gr: None };
        let inviter = invitation
            .by
            .as_ref()
            .and_then(|by| cx.domains.user_sip(by).or_else(|_| cx.domains.contact_sip(by)).ok());
        // A room that hides who somebody is tells the nick.
        let is_nick = |by: &&Jid| by.bare_str() == room.bare_str();
        let nick_of = invitation.by.as_ref().filter(is_nick).and_then(Jid::resource);
        let inviter = inviter.map(|by| match nick_of {
            Some(_) => by.to_string(),
            None => by.aor.to_string(),
        });
        let who = nick_of.or(invitation.by.as_ref().and_then(Jid::local)).unwrap_or("Somebody");
        let name = room.local().unwrap_or_default().replace(['"', '\\'], "'");
        let subject = match &invitation.reason {
            Some(reason) => one_line(reason),
            None => format!("{who} invites you to {name}"),
        };
        let mut headers = vec![(HeaderName::Subject, subject)];
        headers.extend(inviter.map(|by| (HeaderName::ReferredBy, format!("<{by}>"))));
        let call = |cx: &mut Cx<'_>, offer: Body| {
            let call = Call {
                from: format!("\"{name}\" <{address}>"),
                to: format!("<{target}>"),
                uri: target.to_string(),
                call_id: None,
                contact: format!("{};isfocus", cx.config.sip.contact(&address.aor, &contact.host)),
                allow: crate::features::ALLOW.clone(),
                offer,
                headers,
                max_forwards: HOPS,
                patience: PATIENCE,
                partition: Partition::of(room.bare_str()),
                domain: contact.host.clone(),
            };
            Session::invite(cx.now, cx.mint, call)
        };
        let leg = Leg::calling(cx, room, &contact.host, call).ok_or("There is no MSRP here")?;
        let session = leg.msrp;
        let mut seat = Seat::new(cx.now.tick, room.clone(), own, contact, nick, leg);
        (seat.stage, seat.stands) = (Stage::Out, true);
        seat.password.clone_from(&invitation.password);
        seat.joining = Joining::DialedOut;
        seat.invitation = Some(invitation.clone());
        self.ringing.add(&seat.contact);
        let id = self.add(cx, seat);
        if let Some(session) = session {
            cx.msrp.take_nicknames(session);
            self.msrp.insert(session, id);
        }
        self.run(cx, id);
        Ok(())
    }

    /// Somebody who was called has accepted: now he enters the room.
    pub(super) fn accepted(&mut self, cx: &mut Cx<'_>, id: SeatId, answer: Option<&Body>) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        match seat.leg.settle(cx, answer).filter(|(line, _)| line.accepts(cpim::TYPE)) {
            Some((line, _)) => {
                seat.private = line.takes_private_messages();
                seat.composing = line.accepts_wrapped(iscomposing::TYPE);
                seat.stage = Stage::Entering;
                self.rings_no_more(id);
                self.keep(cx, id);
                self.enter(cx, id);
            }
            None => {
                let cause =
                    Cause { status: 488, text: "A room needs chat by MSRP with message/cpim".to_owned() };
                self.dismiss(cx, id, cause);
            }
        }
    }

    /// A call for an invitation is answered. The invitation, where it was one.
    fn rings_no_more(&mut self, id: SeatId) -> Option<Invitation> {
        let seat = self.seats.get_mut(&id)?;
        let invitation = seat.invitation.take()?;
        self.ringing.take(&seat.contact);
        Some(invitation)
    }

    /// A call for a room came to nothing, or is over: the inviter is told no, if nobody came.
    pub(super) fn not_accepted(&mut self, cx: &mut Cx<'_>, id: SeatId, end: &End) {
        let Some(invitation) = self.rings_no_more(id) else { return };
        let Some(seat) = self.seats.get(&id) else { return };
        let words = match end {
            End::Refused(response) => match response.status.code() {
                486 | 600 => "busy",
                404 | 604 => "there is nobody of this address",
                480 | 487 => "away",
                488 | 606 | 415 => "the client cannot chat in rooms",
                _ => "declined",
            },
            End::NoAnswer => "no answer",
            End::Unreachable(_) => "cannot be reached",
            _ => "could not come",
        };
        let own = seat.own.bare();
        say_no(cx, &own, &invitation, words);
    }
}

/// Says no in somebody's name, where the room has asked.
fn say_no(cx: &mut Cx<'_>, own: &Jid, invitation: &Invitation, words: &str) {
    if let Some(by) = invitation.by.as_ref().filter(|_| invitation.mediated) {
        cx.stanza(muc::decline(own, &invitation.room, by, Some(words)));
    }
}
