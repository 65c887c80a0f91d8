//! Questions about what we can do (RFC 3261 §11), asked mostly by proxies that watch whether we are there.
//!
//! Whatever address is asked, the answer is the same: it names the gateway's abilities, not a user, so that nobody
//! learns from it who exists. One inside a dialog is left alone: it is judged by its dialog.

use super::{ALLOW, Cx, EVENTS, Feature, Incoming, Manifest, content};
use crate::documents::encoding::ACCEPT_ENCODING;
use crate::sip::message::{HeaderName, Method, Reply};

static MANIFEST: Manifest = Manifest {
    name: "options",
    follows: &["RFC 3261 §11", "RFC 6665 §8.2.2"],
    summary: "OPTIONS is answered with what the gateway understands",
    methods: &["OPTIONS"],
    events: &[],
    disco: &[],
    records: &[],
};

/// See the module.
#[derive(Debug, Default)]
pub struct Options;

impl Feature for Options {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    fn request(&mut self, cx: &mut Cx<'_>, incoming: &Incoming) -> bool {
        if incoming.request.method != Method::Options || incoming.to_tag.is_some() {
            return false;
        }
        let reply = Reply::new(200)
            .with(HeaderName::Allow, ALLOW.as_str())
            .with(HeaderName::Accept, format!("{}, application/pidf+xml, application/sdp", content::ACCEPT))
            .with(HeaderName::AcceptEncoding, ACCEPT_ENCODING)
            .with(HeaderName::Supported, "");
        cx.reply(
            incoming.key,
            if EVENTS.is_empty() { reply } else { reply.with(HeaderName::AllowEvents, EVENTS.as_str()) },
        );
        true
    }
}
