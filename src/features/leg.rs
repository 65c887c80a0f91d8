//! One INVITE dialog with one MSRP line in it, as a chat or a room has it for each SIP user: what is offered, answered,
//! changed.
//!
//! What it means that somebody is at the other end is the owner's: it hears which MSRP session was left for which other
//! one, and what their line says.

use bytes::Bytes;

use super::describe::{self, Offered, Ways};
use super::{Cx, Op};
use crate::msrp::connections::SessionId;
use crate::msrp::path::Path;
use crate::sip::message::{HeaderName, Method, Reply, ServerKey};
use crate::sip::sdp::message::{Direction, MessageLine, Setup};
use crate::sip::sdp::ours::{OurLine, Ours};
use crate::sip::usage::session::{Act, Body, Event, Session, token_of};
use crate::xmpp::jid::Jid;

/// The numbers of descriptions: what fits into 53 bits is read by everybody.
const VERSIONS: u64 = 1 << 53;

/// See the module.
#[derive(Debug)]
pub struct Leg {
    /// SIP.
    pub call: Session,
    /// By which peer their paths come, by its place in `sip.peers`.
    pub peer: usize,
    /// Their first offer, until it is answered.
    offer: Option<Body>,
    described: Ours,
    /// Our end in MSRP, once there is one.
    own: Option<Path>,
    /// Their path, as it is written.
    path: String,
    /// MSRP, while there is one.
    pub msrp: Option<SessionId>,
    /// They have put us on hold: nothing may be sent.
    pub held: bool,
    /// What a line of ours says beside what all say.
    dress: fn(OurLine) -> OurLine,
}

/// The answer to a request inside the dialog that its machine does not know. The dialog is there: 481 would end it
/// (RFC 5057 §5.1).
pub fn not_within(method: &Method, allow: &'static str) -> Reply {
    let status = if matches!(method, Method::Other(_)) { 501 } else { 405 };
    Reply::new(status).with(HeaderName::Allow, allow)
}

/// What a further offer of theirs, or their answer to one of ours, has changed.
#[derive(Debug, Default)]
pub struct Change {
    /// Our answer.
    pub body: Bytes,
    /// The line is closed.
    pub ends: bool,
    /// The MSRP session that was left for another one: it may finish.
    pub left: Option<SessionId>,
    /// Their line.
    pub line: Option<MessageLine>,
}

/// What the owner of a call hears of an act of its machine.
#[derive(Debug)]
pub enum Done {
    /// A request was sent, which will be answered.
    Asked,
    /// An ACK or a CANCEL was sent.
    Sent,
    /// A request of theirs was answered, with this status.
    Replied(ServerKey, u16),
    /// Something has happened.
    Told(Event),
}

/// Does what the machine of the call of this number wants.
pub fn carry_out(cx: &mut Cx<'_>, number: u64, act: Act) -> Done {
    match act {
        Act::Send(exchange, request) => {
            cx.ops.push_back(Op::Request(token_of(number, exchange), request));
            Done::Asked
        }
        Act::Ack(exchange, request) => {
            cx.ops.push_back(Op::Ack(token_of(number, exchange), request));
            Done::Sent
        }
        Act::Cancel(exchange) => {
            cx.ops.push_back(Op::Cancel(token_of(number, exchange)));
            Done::Sent
        }
        Act::Reply(key, reply) => {
            let status = reply.status;
            cx.reply(key, reply);
            Done::Replied(key, status)
        }
        Act::Tell(event) => Done::Told(event),
    }
}

impl Leg {
    /// A dialog that begins, with their offer or none.
    pub fn new(
        cx: &mut Cx<'_>,
        call: Session,
        peer: usize,
        offer: Option<Body>,
        dress: fn(OurLine) -> OurLine,
    ) -> Leg {
        Leg {
            call,
            peer,
            offer,
            described: Ours::new(cx.mint.below(VERSIONS)),
            own: None,
            path: String::new(),
            msrp: None,
            held: false,
            dress,
        }
    }

    /// A dialog that they begin, whose offer its owner reads and hands to [`Leg::accept`].
    pub fn called(cx: &mut Cx<'_>, call: Session, peer: usize) -> Leg {
        Leg::new(cx, call, peer, None, std::convert::identity)
    }

    /// A dialog that we begin with this end of ours in MSRP: `call` makes it of our offer.
    pub fn calling_from(
        cx: &mut Cx<'_>,
        (session, own): (SessionId, Path),
        peer: usize,
        call: impl FnOnce(&mut Cx<'_>, Body) -> Session,
    ) -> Leg {
        let mut described = Ours::new(cx.mint.below(VERSIONS));
        let line = describe::our_line(cx, &own, None, Setup::ActPass, Direction::SendRecv);
        let offer = Body::sdp(described.offer(&line));
        let call = call(cx, offer);
        let (own, msrp, dress) = (Some(own), Some(session), std::convert::identity);
        Leg { call, peer, offer: None, described, own, path: String::new(), msrp, held: false, dress }
    }

    /// A dialog of before the start, which will only be ended.
    pub fn of_before(call: Session) -> Leg {
        let (own, path) = (None, String::new());
        Leg {
            call,
            peer: 0,
            offer: None,
            described: Ours::new(0),
            own,
            path,
            msrp: None,
            held: false,
            dress: describe::room_line,
        }
    }

    /// A dialog that we begin: `call` makes it of our offer. Nothing where nobody could connect to us.
    pub fn calling(
        cx: &mut Cx<'_>,
        home: &Jid,
        domain: &str,
        call: impl FnOnce(&mut Cx<'_>, Body) -> Session,
    ) -> Option<Leg> {
        let dress = describe::room_line;
        let peer = cx.config.sip.peer_for(domain).unwrap_or_default();
        let near = cx.config.sip.peers.get(peer).map(|peer| peer.host.clone());
        let uri = describe::own_uri(cx, home, !Ways::of(cx).plain, near.as_deref())?;
        let own = Path::from(uri.clone());
        let mut described = Ours::new(cx.mint.below(VERSIONS));
        let line = describe::our_line(cx, &own, None, Setup::ActPass, Direction::SendRecv);
        let offer = Body::sdp(described.offer(&dress(line)));
        let msrp = Some(cx.msrp.offer(cx.mint, uri));
        let (call, own, path) = (call(cx, offer), Some(own), String::new());
        Some(Leg { call, peer, offer: None, described, own, path, msrp, held: false, dress })
    }

    /// Makes our end in MSRP, for this room or user. False where nobody could connect to us.
    pub fn bind(&mut self, cx: &mut Cx<'_>, home: &Jid) -> bool {
        let ways = Ways::of(cx);
        let read = self.offer.as_ref().and_then(|offer| describe::read(offer).ok());
        let found = read.as_ref().and_then(|description| describe::chat_line(description, ways));
        let secure = found.as_ref().map_or(!ways.plain, |(_, line, _)| line.secure);
        let near = found.as_ref().and_then(|(_, line, _)| line.address.as_deref());
        self.bind_near(cx, home, secure, near)
    }

    /// The same, with TLS or without, for who is at this address.
    pub fn bind_near(&mut self, cx: &mut Cx<'_>, home: &Jid, secure: bool, near: Option<&str>) -> bool {
        let Some(uri) = describe::own_uri(cx, home, secure, near) else { return false };
        self.msrp = Some(cx.msrp.offer(cx.mint, uri.clone()));
        self.own = Some(Path::from(uri));
        true
    }

    /// Asks our relay to let the session in: it tells the session by its path, to [`Leg::enter_by`].
    pub fn ask_relay(&mut self, cx: &mut Cx<'_>, home: &Jid) -> Option<SessionId> {
        let account = cx.config.msrp.relay.as_ref()?.account();
        let own = describe::relayed_uri(cx, home);
        self.msrp = Some(cx.msrp.offer_through(cx.now.tick, cx.mint, own, account));
        self.msrp
    }

    /// Our relay has let the session in.
    pub fn enter_by(&mut self, path: &Path) {
        self.own = Some(path.clone());
    }

    /// Whether our end in MSRP is there.
    pub fn is_bound(&self) -> bool {
        self.own.is_some()
    }

    /// Our answer to their first offer: MSRP begins; or our offer where they had none. Nothing where neither can be.
    pub fn answer(&mut self, cx: &mut Cx<'_>) -> Option<Bytes> {
        let Some(offer) = self.offer.take() else { return self.own.is_some().then(|| self.offered(cx)) };
        let description = describe::read(&offer).ok()?;
        let (place, line, path) = describe::chat_line(&description, Ways::of(cx))?;
        self.accept(cx, Offered { description, place, line, path })
    }

    /// Our answer to their first offer, which was read. Nothing where our end is not there.
    pub fn accept(&mut self, cx: &mut Cx<'_>, offered: Offered) -> Option<Bytes> {
        let Offered { description, place, line, path } = offered;
        let (own, session) = self.own.clone().zip(self.msrp)?;
        let setup = Ways::of(cx).setup(&line);
        let ours = describe::our_line(cx, &own, Some(&line), setup, line.direction.answer());
        let body = self.described.answer(&description, Some(place), &(self.dress)(ours));
        self.adopt(&line);
        let terms = describe::terms(&line, path, setup == Setup::Active, self.peer);
        cx.msrp.start(cx.now.tick, cx.mint, session, terms);
        Some(body)
    }

    /// Our offer of the line as it would be with another end of ours.
    pub fn offer_from(&mut self, cx: &Cx<'_>, own: &Path) -> Body {
        let line = describe::our_line(cx, own, None, Setup::ActPass, Direction::SendRecv);
        Body::sdp(self.described.offer(&(self.dress)(line)))
    }

    /// Their answer to such an offer: they go on with that end, in this MSRP session. Their line, and the session that was
    /// left.
    pub fn settle_from(
        &mut self,
        cx: &mut Cx<'_>,
        answer: Option<&Body>,
        (session, own): (SessionId, Path),
    ) -> Option<Change> {
        let (line, path) = self.answered(answer)?;
        self.adopt(&line);
        self.own = Some(own);
        let left = self.msrp.replace(session);
        let terms = describe::terms(&line, path, Setup::ActPass.connects_after(line.setup), self.peer);
        cx.msrp.start(cx.now.tick, cx.mint, session, terms);
        Some(Change { left, line: Some(line), ..Change::default() })
    }

    /// Our offer: of the line that there is.
    pub fn offered(&mut self, cx: &Cx<'_>) -> Bytes {
        let Some(own) = &self.own else { return Bytes::new() };
        let line = describe::our_line(cx, own, None, Setup::ActPass, Direction::SendRecv);
        self.described.offer(&(self.dress)(line))
    }

    /// Their answer to an offer of ours: MSRP begins, goes on, or moves. The line that it was settled with.
    pub fn settle(&mut self, cx: &mut Cx<'_>, answer: Option<&Body>) -> Option<(MessageLine, Change)> {
        self.settle_if(cx, answer, true)
    }

    /// The same, where the session may be in no state to move.
    pub fn settle_if(
        &mut self,
        cx: &mut Cx<'_>,
        answer: Option<&Body>,
        may_move: bool,
    ) -> Option<(MessageLine, Change)> {
        let (line, path) = self.answered(answer)?;
        let (first, moved) = (self.path.is_empty(), may_move && line.path.join(" ") != self.path);
        let mut change = Change::default();
        self.adopt(&line);
        if moved {
            let old = self.msrp?;
            let session = if first { old } else { cx.msrp.succeed(cx.mint, old)? };
            self.msrp = Some(session);
            change.left = Some(old).filter(|_| !first);
            let terms = describe::terms(&line, path, Setup::ActPass.connects_after(line.setup), self.peer);
            cx.msrp.start(cx.now.tick, cx.mint, session, terms);
        }
        Some((line, change))
    }

    /// Their line in an answer to an offer of ours, and its path.
    fn answered(&self, answer: Option<&Body>) -> Option<(MessageLine, Path)> {
        let description = answer.and_then(|body| describe::read(body).ok())?;
        let line = description.message(self.described.place()?).filter(MessageLine::is_chat)?;
        let path = describe::path_of(&line)?;
        Some((line, path))
    }

    /// A further offer of theirs: hold, another path (RFC 4975 §8.4), or the same again; or they want one of ours.
    pub fn reconsider(&mut self, cx: &mut Cx<'_>, home: &Jid, offer: Option<&Body>) -> Result<Change, Reply> {
        self.reconsider_if(cx, home, offer, true)
    }

    /// The same, where the session may be in no state to move.
    pub fn reconsider_if(
        &mut self,
        cx: &mut Cx<'_>,
        home: &Jid,
        offer: Option<&Body>,
        may_move: bool,
    ) -> Result<Change, Reply> {
        let gone = || Reply::new(488).because("The session is ending");
        let mut own = self.own.clone().ok_or_else(gone)?;
        let Some(offer) = offer else {
            return Ok(Change { body: self.offered(cx), ..Change::default() });
        };
        let description = describe::read(offer).map_err(|words| Reply::new(488).because(words))?;
        let found = self.described.place().and_then(|place| {
            let line = description.message(place).filter(MessageLine::is_chat)?;
            Some((place, describe::path_of(&line)?, line))
        });
        let Some((place, path, line)) = found else {
            let line = describe::our_line(cx, &own, None, Setup::ActPass, Direction::SendRecv);
            let body = self.described.answer(&description, None, &(self.dress)(line));
            return Ok(Change { body, ends: true, ..Change::default() });
        };
        let (ways, moved) = (Ways::of(cx), line.path.join(" ") != self.path);
        if moved && !may_move {
            return Err(gone());
        }
        if moved && !ways.fit(&line) {
            return Err(Reply::new(488).because("The other path cannot be used here"));
        }
        let (setup, mut left) = (ways.setup(&line), None);
        if moved {
            let old = self.msrp.ok_or_else(gone)?;
            if own.has_relay() {
                self.msrp = Some(cx.msrp.succeed(cx.mint, old).ok_or_else(gone)?);
            } else {
                let uri =
                    describe::own_uri(cx, home, line.secure, line.address.as_deref()).ok_or_else(gone)?;
                self.msrp = Some(cx.msrp.offer(cx.mint, uri.clone()));
                own = Path::from(uri);
                self.own = Some(own.clone());
            }
            left = Some(old);
        }
        self.adopt(&line);
        let ours = describe::our_line(cx, &own, Some(&line), setup, line.direction.answer());
        let body = self.described.answer(&description, Some(place), &(self.dress)(ours));
        if let Some(session) = self.msrp.filter(|_| moved) {
            let terms = describe::terms(&line, path, setup == Setup::Active, self.peer);
            cx.msrp.start(cx.now.tick, cx.mint, session, terms);
        }
        Ok(Change { body, ends: false, left, line: Some(line) })
    }

    fn adopt(&mut self, line: &MessageLine) {
        self.held = !line.direction.lets_us_send();
        self.path = line.path.join(" ");
    }
}
