//! What either side changes in a session that stands: re-INVITE, UPDATE, hold (RFC 3264 §8), another path (RFC 4975 §8.4).
//!
//! A new path of theirs is a new MSRP session. The old one is let go once somebody has come to the new one: they may share
//! a connection, which would close with the last session on it. What is still on its way there has a moment; meanwhile
//! new lines wait, so that none overtakes. What the old one could not settle goes on in the new one, under its name.

use std::time::Duration;

use super::talk::{Leaving, Stage, TalkId};
use super::{Alarm, Chat};
use crate::features::Cx;
use crate::features::signal::Signal;
use crate::msrp::connections::SessionId;
use crate::sip::message::Reply;
use crate::sip::usage::session::Body;

/// What is on its way on a path that was left has so long.
const MOMENT: Duration = Duration::from_secs(2);

impl Chat {
    /// They want the session changed: put on hold, moved to another path, or only refreshed.
    pub(super) fn offered(&mut self, cx: &mut Cx<'_>, id: TalkId, offer: Option<&Body>) {
        let Some(talk) = self.talks.get_mut(&id) else { return };
        let considered = match talk.stage {
            Stage::Over => Err(Reply::new(488).because("The session is ending")),
            // What ends waits for what is outstanding on the path that it has, and for nothing else.
            stage => talk.leg.reconsider_if(cx, &talk.user, offer, stage != Stage::Parting),
        };
        let change = match considered {
            Ok(change) => change,
            Err(reply) => return talk.leg.call.decline(cx.now, reply),
        };
        if let Some(line) = &change.line {
            talk.adopt(line);
        }
        talk.leg.call.agree(cx.now, Body::sdp(change.body));
        if let Some(left) = change.left {
            self.moved(cx, id, left);
        }
        self.keep(cx, id);
        if change.ends {
            self.part(cx, id, "they closed the chat line");
        }
        // Else when the old path has said what is left of it: nothing overtakes.
        if change.left.is_none() {
            self.flow(cx, id);
        }
    }

    /// Another MSRP session has taken the place of this one.
    pub(super) fn moved(&mut self, cx: &mut Cx<'_>, id: TalkId, old: SessionId) {
        let Some(talk) = self.talks.get_mut(&id) else { return };
        let mut over = match talk.leaving {
            // They move on before anybody came to the place they named first.
            Some(leaving) if !leaving.replaced => Some(old),
            leaving => {
                talk.leaving = Some(Leaving { session: old, replaced: false });
                leaving.map(|leaving| leaving.session)
            }
        };
        if !talk.opened {
            over = talk.leaving.take().map(|leaving| leaving.session);
        }
        if let Some(session) = talk.leg.msrp {
            self.msrp.insert(session, id);
        }
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
        let Some(talk) = self.talks.get_mut(&id).filter(|_| answer.is_some()) else { return };
        let may_move = talk.stage != Stage::Parting;
        let Some((line, change)) = talk.leg.settle_if(cx, answer, may_move) else {
            return self.part(cx, id, "they closed the chat line");
        };
        talk.adopt(&line);
        if let Some(left) = change.left {
            self.moved(cx, id, left);
        }
        self.flow(cx, id);
    }
}
