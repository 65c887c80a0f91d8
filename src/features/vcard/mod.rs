//! vCards of contacts (XEP-0054 §3): the display name that the contact uses in SIP, or an empty card.
//!
//! Nothing else of a card is known in SIP. A card cannot be set from here. What a SIP peer's own card says (Call-Info,
//! CIPID) is not asked for.

use super::{Cx, Feature, LinkId, Manifest};
use crate::words::condition::Kind;
use crate::xmpp::ns;
use crate::xmpp::stanza::{Element, ErrorType, Stanza};

static MANIFEST: Manifest = Manifest {
    name: "vcard",
    follows: &["XEP-0054 §3.1", "XEP-0054 §3.3"],
    summary: "A contact's vCard has its SIP display name",
    methods: &[],
    events: &[],
    disco: &[ns::VCARD],
    records: &[],
};

/// See the module.
#[derive(Debug, Default)]
pub struct VCard;

impl Feature for VCard {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    fn stanza(&mut self, cx: &mut Cx<'_>, _link: LinkId, stanza: &Stanza) -> bool {
        if stanza.query("get", "vCard", ns::VCARD).is_some() {
            let card = card(cx, stanza);
            cx.answer(stanza.result().map(|result| result.with_child(card)));
        } else if stanza.query("set", "vCard", ns::VCARD).is_some() {
            let text = Some("the vCard of a SIP contact cannot be changed from here");
            cx.answer(stanza.error(Kind::NotAllowed, ErrorType::Cancel, text, None));
        } else {
            return false;
        }
        true
    }
}

fn card(cx: &Cx<'_>, stanza: &Stanza) -> Element {
    let card = Element::new("vCard", ns::VCARD);
    let name = match stanza.to() {
        Some(gateway) if gateway.local().is_none() => Some("Mostar"),
        Some(contact) => {
            cx.domains.contact_sip(contact).ok().and_then(|contact| cx.facts.name_of(&contact.aor))
        }
        None => None,
    };
    match name {
        Some(name) => card.with_child(Element::new("FN", ns::VCARD).with_text(name)),
        None => card,
    }
}
