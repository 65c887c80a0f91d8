//! Service discovery (XEP-0030) and entity capabilities (XEP-0115) of the gateway and of its contacts.
//!
//! The gateway is a `gateway/simple`, a contact's bare JID is an `account/registered` and each device a `client/pc`: SIP
//! does not tell what kind of device it is. Their features are what the manifests list. There are no items: contacts
//! are not enumerable. The hash in [`caps_element`] is computed from what a device answers, so the two cannot differ.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha1::{Digest, Sha1};

use super::{Cx, Feature, LinkId, Manifest, errors};
use crate::words::condition::{Condition, Kind};
use crate::xmpp::jid::Jid;
use crate::xmpp::ns;
use crate::xmpp::stanza::{Element, Stanza};

static MANIFEST: Manifest = Manifest {
    name: "disco",
    follows: &["XEP-0030 §3", "XEP-0030 §4", "XEP-0106 §6", "XEP-0115 §5", "XEP-0115 §6"],
    summary: "What the gateway and its contacts are and can do is told",
    methods: &[],
    events: &[],
    disco: &[ns::DISCO_INFO, ns::DISCO_ITEMS, ns::CAPS, ns::JID_ESCAPING],
    records: &[],
};

/// XEP-0115 §4 wants a URI that names the software.
const NODE: &str = "urn:mostar:gateway";

/// The features that every manifest lists, in the order that XEP-0115 §5.1 hashes them in: by their bytes.
static FEATURES: LazyLock<BTreeSet<&'static str>> = LazyLock::new(|| {
    super::registry().iter().flat_map(|feature| feature.manifest().disco.iter().copied()).collect()
});

static VER: LazyLock<String> = LazyLock::new(|| ver(&Identity::DEVICE, &FEATURES));

/// The `<c/>` for the presence of a contact's device (XEP-0115 §4).
pub fn caps_element() -> Element {
    Element::new("c", ns::CAPS).with("hash", "sha-1").with("node", NODE).with("ver", &VER)
}

/// See the module.
#[derive(Debug, Default)]
pub struct Disco;

impl Feature for Disco {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    fn stanza(&mut self, cx: &mut Cx<'_>, _link: LinkId, stanza: &Stanza) -> bool {
        let answer = if let Some(query) = stanza.query("get", "query", ns::DISCO_INFO) {
            info(cx, stanza, query.attr("node"))
        } else if let Some(query) = stanza.query("get", "query", ns::DISCO_ITEMS) {
            items(cx, stanza, query.attr("node"))
        } else {
            return false;
        };
        cx.answer(match answer {
            Ok(query) => stanza.result().map(|result| result.with_child(query)),
            Err(failure) => errors::stanza_error(stanza, &failure),
        });
        true
    }
}

/// A category, a type and a name from the registry of disco identities.
struct Identity {
    category: &'static str,
    type_: &'static str,
    name: &'static str,
}

impl Identity {
    const GATEWAY: Identity = Identity { category: "gateway", type_: "simple", name: "SIP" };
    const CONTACT: Identity = Identity { category: "account", type_: "registered", name: "" };
    const DEVICE: Identity = Identity { category: "client", type_: "pc", name: "Mostar" };
}

fn info(cx: &Cx<'_>, stanza: &Stanza, node: Option<&str>) -> Result<Element, Condition> {
    let whom = known(cx, stanza)?;
    let is_contact = whom.local().is_some();
    let identity = match node {
        None if !is_contact => Identity::GATEWAY,
        None if whom.is_bare() => Identity::CONTACT,
        None => Identity::DEVICE,
        // Presence may come from a bare JID: whoever saw the hash asks there.
        Some(node) if is_contact && is_caps_node(node) => Identity::DEVICE,
        Some(node) => return Err(no_node(node)),
    };
    let mut query = Element::new("query", ns::DISCO_INFO);
    if let Some(node) = node {
        query.set("node", node);
    }
    let mut tag = Element::new("identity", ns::DISCO_INFO)
        .with("category", identity.category)
        .with("type", identity.type_);
    if !identity.name.is_empty() {
        tag.set("name", identity.name);
    }
    query.push(tag);
    for feature in FEATURES.iter() {
        query.push(Element::new("feature", ns::DISCO_INFO).with("var", feature));
    }
    Ok(query)
}

fn items(cx: &Cx<'_>, stanza: &Stanza, node: Option<&str>) -> Result<Element, Condition> {
    known(cx, stanza)?;
    match node {
        None => Ok(Element::new("query", ns::DISCO_ITEMS)),
        Some(node) => Err(no_node(node)),
    }
}

/// The address that is asked, if it can be anybody's.
fn known<'a>(cx: &Cx<'_>, stanza: &'a Stanza) -> Result<&'a Jid, Condition> {
    let whom = stanza.to().ok_or_else(|| Condition::new(Kind::ItemNotFound, "no address was asked"))?;
    cx.domains.contact_sip(whom)?;
    Ok(whom)
}

fn is_caps_node(node: &str) -> bool {
    node.strip_prefix(NODE).and_then(|rest| rest.strip_prefix('#')) == Some(VER.as_str())
}

fn no_node(node: &str) -> Condition {
    Condition::new(Kind::ItemNotFound, format!("there is no node {node}"))
}

/// XEP-0115 §5.1, for one identity without a language and no forms.
fn ver(identity: &Identity, features: &BTreeSet<&str>) -> String {
    let mut text = format!("{}/{}//{}<", identity.category, identity.type_, identity.name);
    for feature in features {
        text.push_str(feature);
        text.push('<');
    }
    BASE64_STANDARD.encode(Sha1::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_published_example() {
        let identity = Identity { category: "client", type_: "pc", name: "Exodus 0.9.1" };
        let features = BTreeSet::from([
            "http://jabber.org/protocol/caps",
            "http://jabber.org/protocol/disco#info",
            "http://jabber.org/protocol/disco#items",
            "http://jabber.org/protocol/muc",
        ]);
        assert_eq!(ver(&identity, &features), "QgayPKawpkPSDYmwT/WM94uAlu0=");
    }

    #[test]
    fn caps_name_what_a_device_answers() {
        let caps = caps_element();
        let node =
            format!("{}#{}", caps.attr("node").unwrap_or_default(), caps.attr("ver").unwrap_or_default());
        assert!(is_caps_node(&node));
        assert!(!is_caps_node(NODE) && !is_caps_node("urn:mostar:gateway#x"));
    }
}
