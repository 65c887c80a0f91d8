//! INVITE to a room's address, and what is asked in its dialog (RFC 7701 §5, RFC 4579 §5.1).

use super::Rooms;
use super::seat::{Seat, SeatId};
use crate::documents::{iscomposing, resource_lists};
use crate::features::describe::{self, Ways};
use crate::features::leg::{self, Leg};
use crate::features::{Cx, Incoming, Op};
use crate::sip::message::{self, HeaderName, Method, Reply};
use crate::sip::uri::Aor;
use crate::sip::usage::session::{Body, Cause, Session};
use crate::words::id::Partition;
use crate::words::note::Level;
use crate::words::text::{clean, turns_direction};
use crate::xmpp::jid::Jid;

/// What a sender is told that we cannot serve now, in seconds.
const RETRY_AFTER: &str = "30";

/// How many names are tried for a new room: with so many, one fits.
const NAMES: u32 = 10_000;

/// What is served in the dialog of a seat.
const WITHIN: &str = "INVITE, ACK, BYE, CANCEL, UPDATE, SUBSCRIBE, REFER, OPTIONS";

impl Rooms {
    /// An INVITE that wants into a room, or a new one.
    pub(super) fn invited(&mut self, cx: &mut Cx<'_>, incoming: &Incoming, room: &Jid) {
        let new = match &cx.config.rooms.factory {
            Some(name) if room.local() == Some(name) => new_room(cx, room),
            _ => None,
        };
        let (room, is_new) = (new.as_ref().unwrap_or(room), new.is_some());
        if let Err((reply, why)) = self.consider(cx, incoming, room, is_new) {
            cx.count("room_joins_total", &[("result", why)]);
            let fields = vec![
                ("corr", incoming.call_id.clone()),
                ("from", incoming.from.to_string()),
                ("room", room.to_string()),
                ("status", reply.status.to_string()),
                ("why", reply.reason.clone().unwrap_or_default()),
            ];
            cx.log(Level::Info, "room-refused", fields);
            cx.ops.push_back(Op::ReplyNow(incoming.key, reply));
        }
    }

    fn consider(
        &mut self,
        cx: &mut Cx<'_>,
        incoming: &Incoming,
        room: &Jid,
        is_new: bool,
    ) -> Result<(), (Reply, &'static str)> {
        let refuse = |status, words: &str, why| Err((Reply::new(status).because(words), why));
        let contact = &incoming.from.aor;
        if room.local().is_none() || contact.user.is_none() {
            return refuse(404, "The address names no room", "address");
        }
        if !cx.accepting || self.stopping.is_some() {
            let reply = Reply::new(503).because("Not taking sessions now");
            return Err((reply.with(HeaderName::RetryAfter, RETRY_AFTER), "not-now"));
        }
        if self.is_full(contact, room) {
            return refuse(486, "Too many are here", "no-room");
        }
        let Some((_, jid)) = &incoming.jids else { return refuse(404, "Not found", "address") };
        if !cx.link_is_up(jid) {
            return refuse(480, "The XMPP server cannot be reached", "link");
        }
        if Ways::of(cx) == Ways::default() {
            return refuse(488, "There are no rooms here without MSRP", "media");
        }
        let tag = cx.token_for(room);
        // RFC 4579 §5.1: who calls sees by its Contact that there is a focus.
        let Some(mut own) = self.focus_of(cx, room, contact) else {
            return refuse(404, "Not found", "address");
        };
        if let Some(address) = cx.domains.user_sip(room).ok().filter(|_| is_new) {
            // RFC 4579 §5.4: this is how others learn where the new room is.
            own = format!("<{address}>;isfocus");
        }
        let partition = Partition::of(room.bare_str());
        let allow = crate::features::ALLOW.as_str();
        let (call, offer) =
            Session::invited(cx.now, incoming.key, &incoming.request, &tag, partition, &own, allow)
                .map_err(|reply| (reply, "malformed"))?;
        let line = offer.as_ref().map(|offer| describe::offered_room(cx, offer)).transpose()?;
        if let Some(words) = line.as_ref().and_then(|line| describe::forbidden(cx, line, incoming.peer)) {
            return Err((describe::not_acceptable(cx, 399, &words), "forbidden"));
        }
        let resource = cx.token_for(room);
        let own = jid.with_resource(&resource).map_err(|_| (Reply::new(400), "address"))?;
        let nick = nick_for(room, incoming.from_name.as_deref(), contact);
        let leg = Leg::new(cx, call, incoming.peer, offer, describe::room_line);
        let mut seat = Seat::new(cx.now.tick, room.clone(), own, contact.clone(), nick, leg);
        let composes = line.as_ref().is_some_and(|line| line.accepts_wrapped(iscomposing::TYPE));
        seat.private = line.is_some_and(|line| line.takes_private_messages());
        seat.password = incoming
            .request
            .uri
            .password()
            .and_then(|password| crate::words::percent::decode(password).ok())
            .filter(|password| !password.is_empty());
        seat.composing = composes;
        seat.guests = guests_of(cx, incoming)?;
        let id = self.add(cx, seat);
        self.asked.insert(incoming.key, id);
        self.run(cx, id);
        self.enter(cx, id);
        Ok(())
    }

    /// A request inside a dialog. False when that is none of ours.
    pub(super) fn inside(&mut self, cx: &mut Cx<'_>, tag: &str, incoming: &Incoming) -> bool {
        if incoming.request.method == Method::Subscribe && self.subscribed_again(cx, tag, incoming) {
            return true;
        }
        let Some((id, _)) = self.held(tag, incoming) else { return false };
        self.asked.insert(incoming.key, id);
        let Some(seat) = self.seats.get_mut(&id) else { return false };
        if !seat.leg.call.request(cx.now, cx.mint, incoming.key, &incoming.request) {
            self.asked.remove(&incoming.key);
            let (room, is_up) = (seat.room.clone(), seat.leg.call.is_up());
            match incoming.request.method {
                Method::Subscribe if is_up => {
                    self.subscribed_inside(cx, id, incoming);
                    return true;
                }
                Method::Refer if is_up => {
                    self.referred(cx, incoming, &room, Some(id));
                    return true;
                }
                _ => {}
            }
            cx.reply(incoming.key, leg::not_within(&incoming.request.method, WITHIN));
        }
        self.run(cx, id);
        true
    }

    /// The room has let a seat in: 200, once our relay has, where there is one.
    pub(super) fn welcome(&mut self, cx: &mut Cx<'_>, id: SeatId) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let room = seat.room.clone();
        if !seat.leg.is_bound() {
            if Ways::of(cx).relay {
                if let Some(session) = seat.leg.ask_relay(cx, &room) {
                    self.msrp.insert(session, id);
                }
                return;
            }
            if !seat.leg.bind(cx, &room) {
                return self.turn_away(cx, id, Reply::new(488).because("No MSRP here"));
            }
        }
        let Some(body) = seat.leg.answer(cx) else {
            return self.turn_away(cx, id, Reply::new(488));
        };
        if let Some(session) = seat.leg.msrp {
            cx.msrp.take_nicknames(session);
            self.msrp.insert(session, id);
        }
        seat.leg.call.agree(cx.now, Body::sdp(body));
        let guests = std::mem::take(&mut seat.guests);
        self.keep(cx, id);
        self.run(cx, id);
        guests.iter().for_each(|guest| self.invite(cx, id, guest, None));
    }

    /// Our relay has let a seat in.
    pub(super) fn admitted(&mut self, cx: &mut Cx<'_>, id: SeatId, path: &crate::msrp::path::Path) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.leg.enter_by(path);
        self.welcome(cx, id);
    }

    /// An INVITE that waited for the room is refused; the room is left, if it was entered.
    pub(super) fn turn_away(&mut self, cx: &mut Cx<'_>, id: SeatId, reply: Reply) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let mut fields = seat.fields();
        fields.extend([
            ("status", reply.status.to_string()),
            ("why", reply.reason.clone().unwrap_or_default()),
        ]);
        cx.count("room_joins_total", &[("result", "refused")]);
        cx.log(Level::Info, "room-refused", fields);
        seat.leg.call.decline(cx.now, reply);
        self.run(cx, id);
    }

    /// The ACK for our 2xx came; with their answer, if the offer was ours.
    pub(super) fn confirmed(&mut self, cx: &mut Cx<'_>, id: SeatId, answer: Option<&Body>) {
        if answer.is_some() {
            self.settled(cx, id, answer);
        }
    }

    /// They answered an offer of ours.
    pub(super) fn settled(&mut self, cx: &mut Cx<'_>, id: SeatId, answer: Option<&Body>) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let Some((line, change)) = seat.leg.settle(cx, answer) else {
            let cause = Cause { status: 488, text: "no line for a room".to_owned() };
            return self.dismiss(cx, id, cause);
        };
        seat.private = line.takes_private_messages();
        seat.composing = line.accepts_wrapped(iscomposing::TYPE);
        self.moved(cx, id, change.left);
    }

    /// They want the session changed.
    pub(super) fn offered(&mut self, cx: &mut Cx<'_>, id: SeatId, offer: Option<&Body>) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let room = seat.room.clone();
        match seat.leg.reconsider(cx, &room, offer) {
            Ok(change) => {
                seat.leg.call.agree(cx.now, Body::sdp(change.body));
                self.keep(cx, id);
                self.moved(cx, id, change.left);
                if change.ends {
                    let cause = Cause { status: 200, text: "they closed the chat line".to_owned() };
                    self.dismiss(cx, id, cause);
                }
            }
            Err(reply) => seat.leg.call.decline(cx.now, reply),
        }
    }

    /// A seat may have another MSRP session: what it left finishes.
    fn moved(&mut self, cx: &mut Cx<'_>, id: SeatId, left: Option<crate::msrp::connections::SessionId>) {
        if let Some(session) = self.seats.get(&id).and_then(|seat| seat.leg.msrp) {
            cx.msrp.take_nicknames(session);
            self.msrp.insert(session, id);
        }
        if let Some(left) = left {
            cx.msrp.finish(cx.now.tick, cx.mint, left);
        }
        self.resumed(cx, id);
    }
}

/// Who is to be asked in besides (RFC 5366): whom we cannot reach is left out.
fn guests_of(cx: &Cx<'_>, incoming: &Incoming) -> Result<Vec<Jid>, (Reply, &'static str)> {
    let request = &incoming.request;
    let type_ = message::text(&request.headers, &HeaderName::ContentType).unwrap_or_default();
    let Some(list) = resource_lists::in_body(&type_, request.body()) else { return Ok(Vec::new()) };
    let list = list.map_err(|bad| (Reply::new(400).because(format!("The list is {bad}")), "malformed"))?;
    let reached = |target| cx.domains.user_jid(target).or_else(|_| cx.domains.contact_jid(target)).ok();
    let all = list.entries.iter().filter_map(|entry| reached(&entry.target));
    Ok(all.map(|jid| jid.bare()).filter(|jid| jid.local().is_some()).collect())
}

/// A room that nobody can guess, and whose owner is the factory's: what is asked of the factory comes to this gateway.
fn new_room(cx: &mut Cx<'_>, factory: &Jid) -> Option<Jid> {
    let home = Partition::of(factory.bare_str());
    // One in 256 fits.
    (0..NAMES).find_map(|_| {
        let room = Jid::new(Some(&cx.mint.token(home)), factory.domain(), None).ok()?;
        (Partition::of(room.bare_str()) == home).then_some(room)
    })
}

/// The name in the room for somebody who calls herself so.
pub(super) fn nick_for(room: &Jid, name: Option<&str>, contact: &Aor) -> String {
    let name = name.map(|name| name.trim_matches('"')).unwrap_or_default();
    [name, contact.user.as_deref().unwrap_or_default()]
        .into_iter()
        .map(|name| {
            let ends = |c: char| c.is_whitespace() || c.is_control() || turns_direction(c);
            let words: Vec<&str> = name.split(ends).collect();
            let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
            clean(&words.join(" ")).into_owned()
        })
        .filter(|name| !name.is_empty())
        .find_map(|name| Some(room.with_resource(&name).ok()?.resource()?.to_owned()))
        .unwrap_or_else(|| "guest".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nick_is_the_display_name_or_else_the_user_part() {
        let room = Jid::parse("verona@rooms.example.com").expect("a JID");
        let romeo = Aor { user: Some("romeo".into()), host: "example.net".into() };
        let nick = |name| nick_for(&room, name, &romeo);
        assert_eq!(nick(Some("Romeo Montague")), "Romeo Montague");
        assert_eq!(nick(Some("\" Romeo\t\u{1} M \"")), "Romeo M");
        assert_eq!(nick(Some("\u{202e}oemoR \u{2067}שלום\u{2069}")), "oemoR שלום");
        assert_eq!(nick(None), "romeo");
        assert_eq!(nick(Some("  ")), "romeo");
        assert_eq!(nick(Some(&"x".repeat(1024))), "romeo");
        assert_eq!(nick_for(&room, None, &Aor { user: None, host: "a".into() }), "guest");
    }
}
