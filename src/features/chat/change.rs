//! What either side changes in a session that stands: re-INVITE, UPDATE, hold (RFC 3264 §8), another path (RFC 4975 §8.4).
//!
//! A new path of theirs is a new MSRP session. The old one is let go once somebody has come to the new one: they may share
//! a connection, which would close with the last session on it. What is still on its way there has a moment; meanwhile
//! new lines wait, so that none overtakes. What the old one could not settle goes on in the new one, under its name.

use std::time::Duration;

use bytes::Bytes;

use super::describe::{self, Ways};
use super::talk::{Leaving, Stage, TalkId};
use super::{Alarm, Chat};
use crate::features::Cx;
use crate::features::signal::Signal;
use crate::msrp::connections::SessionId;
use crate::msrp::path::Path;
use crate::sip::message::Reply;
use crate::sip::sdp::message::{Direction, MessageLine, Setup};
use crate::sip::usage::session::Body;

/// What is on its way on a path that was left has so long.
const MOMENT: Duration = Duration::from_secs(2);

impl Chat {
    /// They want the session changed: put on hold, moved to another path, or only refreshed.
    pub(super) fn offered(&mut self, cx: &mut Cx<'_>, id: TalkId, offer: Option<&Body>) {
        let before = self.talks.get(&id).and_then(|talk| talk.msrp);
        match self.reconsider(cx, id, offer) {
            Ok((body, ends)) => {
                let Some(talk) = self.talks.get_mut(&id) else { return };
                let moved = talk.msrp != before;
                talk.call.agree(cx.now, Body::sdp(body));
                self.keep(cx, id);
                if ends {
                    self.part(cx, id, "they closed the chat line");
                }
                // Else when the old path has said what is left of it: nothing overtakes.
                if !moved {
                    self.flow(cx, id);
                }
            }
            Err(reply) => {
                if let Some(talk) = self.talks.get_mut(&id) {
                    talk.call.decline(cx.now, reply);
                }
            }
        }
    }

    /// Our answer to a further offer, or our offer where theirs is missing; and whether the chat ends with it.
    fn reconsider(
        &mut self,
        cx: &mut Cx<'_>,
        id: TalkId,
        offer: Option<&Body>,
    ) -> Result<(Bytes, bool), Reply> {
        let gone = || Reply::new(488).because("The session is ending");
        let talk = self.talks.get_mut(&id).ok_or_else(gone)?;
        let own = talk.own.clone().filter(|_| talk.stage != Stage::Over).ok_or_else(gone)?;
        let Some(offer) = offer else {
            let line = describe::our_line(cx, &own, None, Setup::ActPass, Direction::SendRecv);
            return Ok((talk.described.offer(&line), false));
        };
        let description = describe::read(offer).map_err(|words| Reply::new(488).because(words))?;
        let found = talk.described.place().and_then(|place| {
            let line = description.message(place).filter(MessageLine::is_chat)?;
            Some((place, describe::path_of(&line)?, line))
        });
        let Some((place, path, line)) = found else {
            let line = describe::our_line(cx, &own, None, Setup::ActPass, Direction::SendRecv);
            return Ok((talk.described.answer(&description, None, &line), true));
        };
        let (ways, moved) = (Ways::of(cx), *line.path.join(" ") != *talk.path);
        // What ends waits for what is outstanding on the path that it has, and for nothing else.
        if moved && talk.stage == Stage::Parting {
            return Err(gone());
        }
        if moved && !ways.fit(&line) {
            return Err(Reply::new(488).because("The other path cannot be used here"));
        }
        let setup = ways.setup(&line);
        let own = if moved { self.move_to(cx, id, &line).ok_or_else(gone)? } else { own };
        let talk = self.talks.get_mut(&id).ok_or_else(gone)?;
        talk.adopt(&line);
        let ours = describe::our_line(cx, &own, Some(&line), setup, line.direction.answer());
        let body = talk.described.answer(&description, Some(place), &ours);
        let peer = talk.peer;
        if let Some(session) = talk.msrp.filter(|_| moved) {
            let terms = describe::terms(&line, path, setup == Setup::Active, peer);
            cx.msrp.start(cx.now.tick, cx.mint, session, terms);
        }
        Ok((body, false))
    }

    /// Their end has another path: ours is another one too, but for a relay, which has granted this one.
    fn move_to(&mut self, cx: &mut Cx<'_>, id: TalkId, line: &MessageLine) -> Option<Path> {
        let talk = self.talks.get(&id)?;
        let (user, relayed) = (talk.user.clone(), talk.own.clone().filter(Path::has_relay));
        let (session, own) = match relayed {
            Some(own) => (cx.msrp.succeed(cx.mint, talk.msrp?)?, own),
            None => {
                let uri = describe::own_uri(cx, &user, line.secure, line.address.as_deref())?;
                (cx.msrp.offer(cx.mint, uri.clone()), Path::from(uri))
            }
        };
        self.take_its_place(cx, id, session, own.clone());
        Some(own)
    }

    /// This MSRP session, with this path of ours, takes the place of the one that the session has.
    pub(super) fn take_its_place(&mut self, cx: &mut Cx<'_>, id: TalkId, session: SessionId, own: Path) {
        let Some(talk) = self.talks.get_mut(&id) else { return };
        talk.own = Some(own);
        let mut over = None;
        if let Some(old) = talk.msrp.replace(session) {
            match talk.leaving {
                // They move on before anybody came to the place they named first.
                Some(leaving) if !leaving.replaced => over = Some(old),
                leaving => {
                    over = leaving.map(|leaving| leaving.session);
                    talk.leaving = Some(Leaving { session: old, replaced: false });
                }
            }
            if !talk.opened {
                over = talk.leaving.take().map(|leaving| leaving.session);
            }
        }
        self.msrp.insert(session, id);
        self.timers.stop(&Alarm::Left(id));
        if let Some(over) = over {
            cx.msrp.close(cx.now.tick, cx.mint, over);
        }
    }

    /// Somebody is at the new path: the old one finishes.
    pub(super) fn arrived_there(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        let Some(talk) = self.talks.get_mut(&id) else { return };
        let Some(leaving) = &mut talk.leaving else { return };
        leaving.replaced = true;
        let session = leaving.session;
        self.timers.set(Alarm::Left(id), cx.now.tick + MOMENT);
        cx.msrp.finish(cx.now.tick, cx.mint, session);
    }

    /// What was outstanding on the old path has had its time.
    pub(super) fn left(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        if let Some(leaving) = self.talks.get(&id).and_then(|talk| talk.leaving) {
            cx.msrp.close(cx.now.tick, cx.mint, leaving.session);
        }
    }

    /// An MSRP session that was left is over: what it has not settled goes on in the one that took its place. A REPORT
    /// there may not have been heard: nobody confirms it, and who moves need not listen there once something has come on
    /// the new path (RFC 3264 §8.3.1).
    pub(super) fn left_behind(&mut self, cx: &mut Cx<'_>, id: TalkId, session: SessionId) {
        let Some(talk) = self.talks.get_mut(&id) else { return };
        for line in talk.lines.iter_mut().filter(|line| !line.told && line.sent == Some(session)) {
            line.sent = None;
        }
        if talk.leaving.is_some_and(|leaving| leaving.session == session) {
            talk.leaving = None;
            self.timers.stop(&Alarm::Left(id));
        }
        for (id, failure) in talk.unheard_in(cx.now.tick, session) {
            let (user, sender) = (talk.user.clone(), talk.sender.clone());
            cx.signal(Signal::Unreported { user, sender, id, failure });
        }
        self.flow(cx, id);
    }

    /// They answered an offer of ours in a session that stands: they may have put us on hold, let us go on, or have
    /// another path.
    pub(super) fn refreshed(&mut self, cx: &mut Cx<'_>, id: TalkId, answer: Option<&Body>) {
        let Some(description) = answer.and_then(|body| describe::read(body).ok()) else { return };
        let Some(talk) = self.talks.get_mut(&id) else { return };
        let line = talk.described.place().and_then(|place| description.message(place));
        let line = line.filter(MessageLine::is_chat);
        let Some((line, path)) = line.and_then(|line| describe::path_of(&line).map(|path| (line, path)))
        else {
            return self.part(cx, id, "they closed the chat line");
        };
        let moved = *line.path.join(" ") != *talk.path;
        talk.adopt(&line);
        let place = talk.own.clone().zip(talk.msrp).filter(|_| moved && talk.stage != Stage::Parting);
        if let Some((own, old)) = place {
            let terms = describe::terms(&line, path, Setup::ActPass.connects_after(line.setup), talk.peer);
            let Some(session) = cx.msrp.succeed(cx.mint, old) else { return };
            self.take_its_place(cx, id, session, own);
            cx.msrp.start(cx.now.tick, cx.mint, session, terms);
        }
        self.flow(cx, id);
    }
}
