//! Says which software this is (XEP-0092 §3). The operating system is nobody's business (§5).

use super::{Cx, Feature, LinkId, Manifest};
use crate::xmpp::ns;
use crate::xmpp::stanza::{Element, Stanza};

static MANIFEST: Manifest = Manifest {
    name: "version",
    follows: &["XEP-0092 §3"],
    summary: "Name and version of the software are told",
    methods: &[],
    events: &[],
    disco: &[ns::VERSION],
    records: &[],
};

/// See the module.
#[derive(Debug, Default)]
pub struct Version;

impl Feature for Version {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    fn stanza(&mut self, cx: &mut Cx<'_>, _link: LinkId, stanza: &Stanza) -> bool {
        if stanza.query("get", "query", ns::VERSION).is_none() {
            return false;
        }
        let part = |name: &'static str, text| Element::new(name, ns::VERSION).with_text(text);
        let version = Element::new("query", ns::VERSION)
            .with_child(part("name", "Mostar"))
            .with_child(part("version", env!("CARGO_PKG_VERSION")));
        cx.answer(stanza.result().map(|result| result.with_child(version)));
        true
    }
}
