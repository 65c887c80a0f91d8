//! Answers pings (XEP-0199 §4), sent to the gateway or to a contact. A pong says that the gateway lives, nothing about the
//! contact's phone: nobody could wait for that.

use super::{Cx, Feature, LinkId, Manifest};
use crate::xmpp::ns;
use crate::xmpp::stanza::Stanza;

static MANIFEST: Manifest = Manifest {
    name: "ping",
    follows: &["XEP-0199 §4"],
    summary: "Pings are answered",
    methods: &[],
    events: &[],
    disco: &[ns::PING],
    records: &[],
};

/// See the module.
#[derive(Debug, Default)]
pub struct Ping;

impl Feature for Ping {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    fn stanza(&mut self, cx: &mut Cx<'_>, _link: LinkId, stanza: &Stanza) -> bool {
        if stanza.query("get", "ping", ns::PING).is_none() {
            return false;
        }
        cx.answer(stanza.result());
        true
    }
}
