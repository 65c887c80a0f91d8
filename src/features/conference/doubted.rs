//! What a client was told just before the link to the XMPP server went may never have arrived: that it is out, that somebody
//! else is gone, that a line was not said. A component's stream has no acknowledgements (XEP-0114), so such words are said
//! again when the link is up; to hear one twice changes nothing. What could not be said at all waits for the link too.
//!
//! Deliberately not on disk: a process that dies says to all clients that it was restarted, but for those who were told a
//! moment before that they are out: of them nothing is on disk any more, and what was lost with the link stays lost.

use std::collections::VecDeque;
use std::time::Duration;

use crate::features::Cx;
use crate::gateway::LinkId;
use crate::words::time::Tick;
use crate::xmpp::jid::Jid;
use crate::xmpp::stanza::Stanza;

/// How long a link may be dead before that is noticed: what is older has arrived.
const DOUBT: Duration = Duration::from_secs(30);
/// The most words that are remembered; of more the oldest are believed to have arrived.
const LIMIT: usize = 5_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Doubted {
    /// What was said, the oldest first.
    said: VecDeque<(Tick, Stanza)>,
    /// What is to be said when its link is up.
    owed: VecDeque<Stanza>,
}

impl Doubted {
    /// Says something that must not be lost.
    pub fn say(&mut self, cx: &mut Cx<'_>, stanza: Stanza) {
        if stanza.from().is_some_and(|from| cx.link_is_up(from)) {
            while self.said.front().is_some_and(|(at, _)| *at + DOUBT < cx.now.tick)
                || self.said.len() >= LIMIT
            {
                self.said.pop_front();
            }
            self.said.push_back((cx.now.tick, stanza.clone()));
            cx.stanza(stanza);
        } else {
            self.owe(stanza);
        }
    }

    /// A client enters a room: what it was told before has no meaning any more.
    pub fn forget(&mut self, client: &Jid, room: &Jid) {
        let concerns = |stanza: &Stanza| {
            stanza.to() == Some(client)
                && stanza.from().is_some_and(|from| from.bare_str() == room.bare_str())
        };
        self.said.retain(|(_, stanza)| !concerns(stanza));
        self.owed.retain(|stanza| !concerns(stanza));
    }

    /// A link is down.
    pub fn link_is_down(&mut self, cx: &Cx<'_>, link: LinkId) {
        let said = std::mem::take(&mut self.said);
        for (at, stanza) in said {
            if !goes_by(cx, &stanza, link) {
                self.said.push_back((at, stanza));
            } else if cx.now.tick <= at + DOUBT {
                self.owe(stanza);
            }
        }
    }

    /// Says what waits and has a link now; the rest goes on waiting.
    pub fn settle(&mut self, cx: &mut Cx<'_>) {
        for stanza in std::mem::take(&mut self.owed) {
            self.say(cx, stanza);
        }
    }

    /// How many wait for a link.
    pub fn owed(&self) -> usize {
        self.owed.len()
    }

    /// Says something when its link is up.
    pub fn owe(&mut self, stanza: impl Into<Option<Stanza>>) {
        let Some(stanza) = stanza.into() else { return };
        if self.owed.len() >= LIMIT {
            self.owed.pop_front();
        }
        self.owed.push_back(stanza);
    }
}

fn goes_by(cx: &Cx<'_>, stanza: &Stanza, link: LinkId) -> bool {
    stanza.from().is_some_and(|from| cx.domains.link_of(from.domain()) == Some(link))
}
