//! Sessions that they open (RFC 7573 §5).
//!
//! The gateway answers for the user: at once when the caller sees her online, else once her server has not objected
//! (`probing.rs`). One chat line is taken; everything else in the offer is refused at its place.

use super::Chat;
use super::describe::{self, Device, Offered, Ways};
use super::talk::{Stage, Talk, TalkId};
use crate::documents::resource_lists;
use crate::features::leg::{self, Leg};
use crate::features::sessions::{self, Invited};
use crate::features::{Cx, Incoming, Op, errors};
use crate::sip::message::{self, HeaderName, Reply};
use crate::sip::sdp::message::MessageLine;
use crate::sip::uri::SipAddress;
use crate::sip::usage::session::{Body, Session};
use crate::words::id::Partition;
use crate::words::note::Level;

/// What a sender is told that we cannot serve now, in seconds.
pub(super) const RETRY_AFTER: &str = "30";

/// What is served in the dialog of a session.
const WITHIN: &str = "INVITE, ACK, BYE, CANCEL, UPDATE, OPTIONS";

impl Chat {
    /// An INVITE that begins a session.
    pub(super) fn invited(&mut self, cx: &mut Cx<'_>, incoming: &Incoming) {
        if let Err((reply, why)) = self.consider(cx, incoming) {
            cx.count("msrp_sessions_total", &[("opened", "them"), ("result", why)]);
            let fields = vec![
                ("corr", incoming.call_id.clone()),
                ("from", incoming.from.to_string()),
                ("to", incoming.target.to_string()),
                ("status", reply.status.to_string()),
                ("why", reply.reason.clone().unwrap_or_default()),
            ];
            cx.log(Level::Info, "session-refused", fields);
            cx.ops.push_back(Op::ReplyNow(incoming.key, reply));
        }
    }

    fn consider(&mut self, cx: &mut Cx<'_>, incoming: &Incoming) -> Result<(), (Reply, &'static str)> {
        let refuse = |status, words: &str, why| Err((Reply::new(status).because(words), why));
        let Some((named, jid)) = incoming.jids.clone() else {
            return refuse(404, "Not found", "address");
        };
        let user = named.bare();
        if user.local().is_none() || incoming.from.aor.user.is_none() {
            return refuse(404, "The address names no person", "address");
        }
        if !cx.accepting || self.goodbye.is_some() {
            let reply = Reply::new(503).because("Not taking sessions now");
            return Err((reply.with(HeaderName::RetryAfter, RETRY_AFTER), "not-now"));
        }
        if !self.make_room(cx, &user, &incoming.from.aor) {
            return refuse(486, "Too many sessions", "no-room");
        }
        if Ways::of(cx) == Ways::default() {
            return refuse(488, "There are no chat sessions here", "media");
        }
        let headers = &incoming.request.headers;
        let required = message::list(headers, &HeaderName::Require);
        if required.iter().any(|tag| tag.eq_ignore_ascii_case(resource_lists::OPTION)) {
            let reply = Reply::new(420).with(HeaderName::Unsupported, resource_lists::OPTION);
            return Err((reply, "extension"));
        }
        let tag = cx.token_for(&user);
        let own = cx.domains.user_sip(&user).map_err(|problem| (errors::reply_of(&problem), "address"))?;
        let contact = cx.config.sip.contact(&own.aor, &incoming.from.aor.host);
        let (key, partition) = (incoming.key, Partition::of(user.bare_str()));
        let allow = crate::features::ALLOW.as_str();
        let (call, offer) =
            Session::invited(cx.now, key, &incoming.request, &tag, partition, &contact, allow)
                .map_err(|reply| (reply, "malformed"))?;
        let (offer, calls) = match &offer {
            None => (None, false),
            Some(body) => offered_chat(cx, body).map(|(offer, calls)| (Some(Box::new(offer)), calls))?,
        };
        let line = offer.as_ref().map(|offer| &offer.line);
        if let Some(words) = line.and_then(|line| describe::forbidden(cx, line, incoming.peer)) {
            return Err((describe::not_acceptable(cx, 399, &words), "forbidden"));
        }
        // Their device is known by what it shows; an agent that is new has shown nothing yet.
        let device = Device::of(cx, headers, &incoming.from.aor, incoming.from.gr.as_deref());
        let agent = describe::agent(headers);
        cx.facts.devices.heard(&incoming.from.aor, &device.name, agent.as_deref());
        describe::allowed(cx, headers, &incoming.from.aor, &device.name);
        let sender = SipAddress { aor: incoming.from.aor.clone(), gr: device.gr.clone() };
        cx.facts.show(&sender);
        let jid = cx.domains.contact_jid(&sender).unwrap_or(jid);
        let leg = Leg::called(cx, call, incoming.peer);
        let mut talk = Talk::new(cx.now.tick, user, sender, jid, leg);
        talk.named = Some(named).filter(|named| !named.is_bare());
        talk.set_device(device);
        if let Some(line) = line {
            talk.adopt(line);
        }
        talk.offer = offer;
        let state = self.user_for(cx, &talk.user, &talk.jid);
        let route = describe::route(cx, incoming.peer, &incoming.from.aor, agent.as_deref());
        let verdict = match sessions::invited(&cx.config.sessions, state, calls, route) {
            // Nobody could tell her server, whatever the table says.
            Invited::Answer | Invited::Ask if !cx.link_is_up(&talk.jid) => {
                Invited::Refuse(480, Some("The XMPP server cannot be reached".to_owned()))
            }
            verdict => verdict,
        };
        if let Invited::Refuse(status, words) = verdict {
            let reply = Reply::new(status);
            return Err((words.map_or(reply.clone(), |words| reply.because(words)), "table"));
        }
        let id = self.number();
        self.asked.insert(key, id);
        self.add(cx, id, talk);
        self.run(cx, id);
        match verdict {
            Invited::Answer => self.welcome(cx, id),
            _ => self.ask_server(cx, id),
        }
        Ok(())
    }

    /// Answers an INVITE with 200.
    pub(super) fn welcome(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        let Some(talk) = self.talks.get_mut(&id).filter(|talk| talk.stage == Stage::Asked) else { return };
        let ways = Ways::of(cx);
        if ways.relay && !talk.leg.is_bound() {
            return self.ask_to_be_let_in(cx, id);
        }
        let offer = talk.offer.take();
        let line = offer.as_ref().map(|offer| &offer.line);
        let secure = line.map_or(!ways.plain, |line| line.secure);
        let near = line.and_then(|line| line.address.as_deref());
        if !talk.leg.is_bound() && !talk.leg.bind_near(cx, &talk.user, secure, near) {
            return self.turn_away(cx, id, Reply::new(488).because("No chat sessions here"));
        }
        if let Some(session) = talk.leg.msrp {
            self.msrp.insert(session, id);
        }
        let body = match offer {
            Some(offer) => match talk.leg.accept(cx, *offer) {
                Some(body) => {
                    talk.stage = Stage::Agreed;
                    self.learn(cx, id);
                    body
                }
                None => return self.turn_away(cx, id, Reply::new(488)),
            },
            None => {
                talk.stage = Stage::Calling;
                talk.leg.offered(cx)
            }
        };
        let Some(talk) = self.talks.get_mut(&id) else { return };
        talk.leg.call.agree(cx.now, Body::sdp(body));
        self.keep(cx, id);
        self.run(cx, id);
        self.publish(cx, id);
        self.arm_quiet(cx, id);
    }

    /// An INVITE that waited for the user's server is refused.
    pub(super) fn turn_away(&mut self, cx: &mut Cx<'_>, id: TalkId, reply: Reply) {
        let Some(talk) = self.talks.get_mut(&id) else { return };
        let mut fields = talk.fields();
        fields.extend([
            ("status", reply.status.to_string()),
            ("why", reply.reason.clone().unwrap_or_default()),
        ]);
        cx.count("msrp_sessions_total", &[("opened", "them"), ("result", "refused")]);
        cx.log(Level::Info, "session-refused", fields);
        talk.leg.call.decline(cx.now, reply);
        self.run(cx, id);
    }

    /// A request inside a dialog. False when that is none of ours.
    pub(super) fn inside(&mut self, cx: &mut Cx<'_>, tag: &str, incoming: &Incoming) -> bool {
        let Some((id, talk)) = self.held(tag, incoming) else { return false };
        if talk.leg.call.request(cx.now, cx.mint, incoming.key, &incoming.request) {
            self.asked.insert(incoming.key, id);
        } else {
            cx.reply(incoming.key, leg::not_within(&incoming.request.method, WITHIN));
        }
        self.run(cx, id);
        true
    }

    /// The ACK for our 2xx came; with their answer, if the offer was ours.
    pub(super) fn confirmed(&mut self, cx: &mut Cx<'_>, id: TalkId, answer: Option<&Body>) {
        let Some(talk) = self.talks.get(&id) else { return };
        if talk.stage != Stage::Calling {
            return if answer.is_some() {
                self.refreshed(cx, id, answer)
            };
        }
        if self.settle_terms(cx, id, answer) {
            self.flow(cx, id);
            self.arm_quiet(cx, id);
        } else {
            self.no_use(cx, id, sessions::Cause::PortZero);
        }
    }
}

/// The chat in an offer, and whether there is more in it than chats; else why it is refused.
fn offered_chat(cx: &Cx<'_>, body: &Body) -> Result<(Offered, bool), (Reply, &'static str)> {
    let refuse = |code: u16, words: &str| Err((describe::not_acceptable(cx, code, words), "media"));
    let description = match describe::read(body) {
        Ok(description) => description,
        Err(words) => return Err((Reply::new(400).because(words), "malformed")),
    };
    let calls = !description.others().is_empty();
    if let Some((place, line, path)) = describe::chat_line(&description, Ways::of(cx)) {
        return Ok((Offered { description, place, line, path }, calls));
    }
    let lines: Vec<MessageLine> = description.messages().into_iter().map(|(_, line)| line).collect();
    // RFC 3261 §20.43: 304 media type, 302 transport protocol, 399 miscellaneous.
    if lines.iter().any(|line| line.file && line.port != 0) {
        return refuse(304, "Files cannot be sent here yet, chats can");
    }
    // 305: incompatible media format.
    if lines.iter().any(|line| line.is_chat()) && !lines.iter().any(describe::takes_text) {
        return refuse(305, "None of the offered types is a text, chats are possible here");
    }
    if lines.iter().any(|line| line.is_chat() && describe::path_of(line).is_some()) {
        let secure = lines.iter().any(|line| line.is_chat() && line.secure);
        let words = if secure {
            "MSRP over TLS needs a=setup:actpass here"
        } else {
            "MSRP without TLS is not possible here"
        };
        return refuse(302, words);
    }
    if lines.iter().any(|line| line.port != 0) {
        return refuse(399, "The MSRP line has no path that can be used");
    }
    refuse(304, "Only chats by MSRP are possible here")
}
