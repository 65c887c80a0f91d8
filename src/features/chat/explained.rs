//! What an admin is told of sessions by `mostar explain`: which row decides about one that a SIP user would open, and about
//! the one that stands between two people. How a line goes is the pager's to tell.

use super::Chat;
use super::describe;
use super::talk::Stage;
use crate::features::{Cx, sessions};
use crate::xmpp::jid::Jid;
use crate::xmpp::stanza::Stanza;

impl Chat {
    /// See the module. Nothing where no row would be asked.
    pub(super) fn explained(&self, cx: &Cx<'_>, stanza: &Stanza) -> Option<String> {
        let (from, to) = (stanza.from()?, stanza.to()?);
        match cx.domains.link_of(from.domain()) {
            Some(_) => self.explain_invited(cx, to, from),
            None => self.explain_quiet(cx, from, to),
        }
    }

    /// The contact opens a session with the user.
    fn explain_invited(&self, cx: &Cx<'_>, user: &Jid, contact: &Jid) -> Option<String> {
        user.local()?;
        let address = cx.domains.contact_sip(contact).ok()?;
        let state = self.user_for(cx, &user.bare(), contact);
        let peer = cx.config.sip.peer_for(&address.aor.host).unwrap_or_default();
        let route = describe::route(cx, peer, &address.aor, cx.facts.devices.agent(&address.aor));
        let facts = sessions::invited_facts(state, false, route);
        Some(format!("if he opens a session:\n{}", cx.config.sessions.explain("invited", &facts)))
    }

    /// A session stands, in which nobody writes.
    fn explain_quiet(&self, cx: &Cx<'_>, user: &Jid, contact: &Jid) -> Option<String> {
        let contact = cx.domains.contact_sip(contact).ok()?.aor;
        let all = self.of_pair(&user.bare(), &contact);
        let open = all.iter().filter_map(|id| self.talks.get(id)).filter(|talk| talk.stage == Stage::Open);
        let talk = open.max_by_key(|talk| (talk.heard, talk.opened))?;
        let mood = cx.facts.mood(&talk.user, &talk.contact);
        let facts = sessions::quiet_facts(talk.ours, self.user_state(cx, &talk.user), mood);
        Some(format!("while nobody writes:\n{}", cx.config.sessions.explain("quiet", &facts)))
    }
}
