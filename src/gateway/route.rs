//! Who may enter, who takes it, and what is answered when nobody does.
//!
//! Stanzas enter from listed XMPP domains only; requests enter from a peer (the agent saw to that) for a listed XMPP
//! domain only. So nothing is relayed between two SIP domains or between two XMPP domains.

use super::{Gateway, LinkId, Output};
use crate::features::Incoming;
use crate::sip::agent::{Head, InRequest};
use crate::sip::message::{HeaderName, Method, Reply, ServerKey, headers, other};
use crate::sip::uri::SipAddress;
use crate::words::condition::{Condition, Kind};
use crate::words::note::{Level, Note};
use crate::words::time::Now;
use crate::xmpp::jid::Jid;
use crate::xmpp::ns;
use crate::xmpp::stanza::{Element, ErrorType, Stanza, StanzaKind};

/// Seconds until somebody who asked too fast may try again.
const RETRY_AFTER: &str = "5";

impl Gateway {
    pub(super) fn stanza(&mut self, now: Now, link: LinkId, stanza: &Stanza) {
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else {
            return self.count("stanzas_dropped_total", &[("reason", "no-address")]);
        };
        if self.domains.link_of(to.domain()) != Some(link) {
            self.count("stanzas_refused_total", &[("reason", "not-ours")]);
            let text = format!("{} is not served by this gateway", to.domain());
            let Some(stanza) = self.unaddressed(link, &stanza.element, stanza.kind) else { return };
            return self.refuse(&stanza, Kind::ItemNotFound, ErrorType::Cancel, &text);
        }
        let is_answer = matches!(stanza.type_(), Some("error" | "result"));
        if !is_answer && !self.domains.is_user_domain(from.domain()) {
            self.count("stanzas_refused_total", &[("reason", "domain")]);
            let text = format!("users of {} may not use this gateway", from.domain());
            return self.refuse(stanza, Kind::Forbidden, ErrorType::Auth, &text);
        }
        if wants_into_a_room(stanza)
            && !self.crowd.admits_user(now, self.config.messages.rate, from.bare_str())
        {
            self.count("stanzas_refused_total", &[("reason", "rate")]);
            let text = "you ask for so much at once; try again in a few seconds";
            return self.refuse(stanza, Kind::ResourceConstraint, ErrorType::Wait, text);
        }
        for index in 0..self.features.len() {
            if self.with(now, index, |feature, cx| feature.stanza(cx, link, stanza)) {
                return;
            }
        }
        match (stanza.kind, stanza.type_()) {
            (StanzaKind::Iq, Some("get" | "set")) => self.refuse(
                stanza,
                Kind::ServiceUnavailable,
                ErrorType::Cancel,
                "the gateway does not offer this",
            ),
            (StanzaKind::Iq, _) if !is_answer => self.refuse(
                stanza,
                Kind::BadRequest,
                ErrorType::Modify,
                "an iq has the type get, set, result or error",
            ),
            (StanzaKind::Presence, Some("subscribe")) => {
                // Nobody here has presence that could be followed; without an answer it would be asked for ever.
                let no = Stanza::new(StanzaKind::Presence, &to.bare(), &from.bare());
                self.send_stanza(no.with_type("unsubscribed"), false);
            }
            _ => self.count("stanzas_ignored_total", &[("reason", "nobody")]),
        }
    }

    /// Something that is no routable stanza. Where it has a sender who can be told, it is told.
    pub(super) fn bad_stanza(&mut self, link: LinkId, element: &Element) {
        self.count("stanzas_refused_total", &[("reason", "malformed")]);
        let kind = match element.name() {
            "iq" => StanzaKind::Iq,
            "message" => StanzaKind::Message,
            "presence" => StanzaKind::Presence,
            _ => return,
        };
        let Some(stanza) = self.unaddressed(link, element, kind) else { return };
        let address = element.attr("to").unwrap_or_default();
        let reason = Jid::parse(address).err().map_or_else(|| "malformed".to_owned(), |error| error.0);
        self.refuse(
            &stanza,
            Kind::JidMalformed,
            ErrorType::Modify,
            &format!("{address:?} is no address: {reason}"),
        );
    }

    /// A stanza whose addressee is none of ours, as if it had come to the component itself: an answer must have a
    /// `from` in our domain (XEP-0114 §3). Nothing where nobody could be answered.
    fn unaddressed(&self, link: LinkId, element: &Element, kind: StanzaKind) -> Option<Stanza> {
        let sender = Jid::parse(element.attr("from")?).ok()?;
        let own = self.config.xmpp.components.get(link.0)?;
        let mut stanza = Stanza::new(kind, &sender, &Jid::new(None, &own.domain, None).ok()?);
        if let Some(id) = element.attr("id") {
            stanza = stanza.with_id(id);
        }
        if let Some(type_) = element.attr("type") {
            stanza = stanza.with_type(type_);
        }
        Some(stanza)
    }

    pub(super) fn request(&mut self, now: Now, arrived: InRequest) {
        let key = arrived.key;
        let mut incoming = match self.admit(arrived) {
            Ok(incoming) => incoming,
            Err(reply) => {
                let reason = match reply.status {
                    403 => "domain",
                    404 => "address",
                    416 => "scheme",
                    483 => "hops",
                    _ => "malformed",
                };
                self.count("sip_rejected_total", &[("reason", reason)]);
                return self.reply_now(now, key, reply);
            }
        };
        // The From of OPTIONS and of what claims a dialog is not judged, so what it calls itself is not believed either.
        if incoming.request.method != Method::Options
            && incoming.to_tag.is_none()
            && let Some(known) = self.domains.known_as(&incoming.from.aor)
        {
            self.facts.set_spelling(&known, &incoming.from.aor);
            incoming.from.aor = known;
            if let Some(name) = &incoming.from_name {
                self.facts.set_name(&incoming.from.aor, name);
            }
        }
        if let Some(reply) = self.too_fast(now, &incoming) {
            self.count("sip_rejected_total", &[("reason", "rate")]);
            return self.reply_now(now, key, reply);
        }
        for index in 0..self.features.len() {
            if self.with(now, index, |feature, cx| feature.request(cx, &incoming)) {
                return;
            }
        }
        let reply = self.nobody_took(&incoming);
        self.reply_now(now, key, reply);
    }

    /// The refusal of a request outside dialogs whose sender, or whose foreign domain, asks for more than its share. 480
    /// and not 503, which would be about the whole gateway.
    fn too_fast(&mut self, now: Now, incoming: &Incoming) -> Option<Reply> {
        if incoming.to_tag.is_some() || incoming.jids.is_none() {
            return None;
        }
        let rate = self.config.messages.rate;
        let host = &incoming.from.aor.host;
        let is_foreign = !self.config.xmpp.components.iter().any(|component| component.sip_domain == *host);
        let method = &incoming.request.method;
        let costs = matches!(method, Method::Invite | Method::Subscribe | Method::Refer);
        let fits = (!is_foreign || self.crowd.admits_domain(now, rate, host))
            && (!costs || self.crowd.admits_user(now, rate, &incoming.from.aor.to_string()));
        let refusal =
            || Reply::new(480).because("Too many requests").with(HeaderName::RetryAfter, RETRY_AFTER);
        (!fits).then(refusal)
    }

    /// An ACK for a 2xx: whose dialog it is knows what to do; nobody answers it.
    pub(super) fn ack(&mut self, now: Now, arrived: InRequest) {
        let Ok(incoming) = self.admit(arrived) else { return };
        for index in 0..self.features.len() {
            if incoming.to_tag.is_some() && self.with(now, index, |feature, cx| feature.ack(cx, &incoming)) {
                return;
            }
        }
    }

    /// Reads what features need of a request and applies the policy to one that is outside dialogs.
    fn admit(&self, arrived: InRequest) -> Result<Incoming, Reply> {
        let InRequest { key, request, head, flow, peer } = arrived;
        let bad = |reason: String| Reply::new(400).because(reason);
        let Head { from, to, call_id, cseq, max_forwards } = head;
        if request.uri.scheme().is_secure() || to.uri.scheme().is_secure() {
            return Err(Reply::new(416).because("sips: cannot be kept hop by hop into XMPP"));
        }
        if !request.uri.scheme().is_sip() {
            return Err(Reply::new(416));
        }
        let tag =
            |address: &headers::Address| address.tag().map(|tag| String::from_utf8_lossy(tag).into_owned());
        let is_options = request.method == Method::Options;
        if max_forwards == 0 && !is_options {
            return Err(Reply::new(483));
        }
        let target = SipAddress::of(&request.uri).map_err(|problem| Reply::new(404).because(problem.0))?;
        let sender = match SipAddress::of(&from.uri) {
            Ok(sender) => sender,
            // A dispatcher's OPTIONS may come from anything; it needs no address of ours.
            Err(_) if is_options => target.clone(),
            Err(problem) => return Err(bad(format!("From: {}", problem.0))),
        };
        let mut incoming = Incoming {
            key,
            flow,
            peer,
            from_name: from.display_name.as_ref().map(|name| String::from_utf8_lossy(name).trim().to_owned()),
            from_tag: tag(&from).unwrap_or_default(),
            from: sender,
            to_tag: tag(&to),
            target,
            jids: None,
            call_id,
            cseq,
            max_forwards: max_forwards.saturating_sub(1),
            request,
        };
        if incoming.to_tag.is_none() && !is_options {
            incoming.jids = self.admit_to_user(&incoming)?;
        }
        Ok(incoming)
    }

    /// A request outside dialogs must be for a user of a listed XMPP domain and from an address that has a JID here.
    fn admit_to_user(&self, incoming: &Incoming) -> Result<Option<(Jid, Jid)>, Reply> {
        let method = &incoming.request.method;
        if !self.serves(method) {
            // Answered by `nobody_took`, whatever the address.
            return Ok(None);
        }
        let user = self.domains.user_jid(&incoming.target).map_err(|problem| refusal(404, problem))?;
        let contact = self.domains.contact_jid(&incoming.from).map_err(|problem| match problem.kind {
            Kind::JidMalformed => refusal(400, problem),
            _ => refusal(403, problem),
        })?;
        Ok(Some((user, contact)))
    }

    fn nobody_took(&self, incoming: &Incoming) -> Reply {
        let method = &incoming.request.method;
        if incoming.to_tag.is_some() {
            return Reply::new(481);
        }
        if matches!(method, Method::Subscribe) && self.serves(method) {
            return Reply::new(489).with(other("Allow-Events"), self.events().collect::<Vec<_>>().join(", "));
        }
        let allow = self.methods.iter().copied().collect::<Vec<_>>().join(", ");
        let status = match method {
            Method::Other(_) => 501,
            Method::Notify | Method::Bye => 481,
            _ => 405,
        };
        Reply::new(status).with(HeaderName::Allow, allow)
    }

    /// Whether a feature serves this SIP method.
    fn serves(&self, method: &Method) -> bool {
        self.methods.iter().any(|served| served.as_bytes() == method.as_bytes())
    }

    /// The event packages that the features serve, each once.
    fn events(&self) -> impl Iterator<Item = &'static str> {
        let all: std::collections::BTreeSet<_> =
            self.features.iter().flat_map(|feature| feature.manifest().events.iter().copied()).collect();
        all.into_iter()
    }

    pub(super) fn reply_now(&mut self, now: Now, key: ServerKey, reply: Reply) {
        let before = self.out.len();
        self.agent.reply(now, &mut self.mint, key, reply);
        while let Some(out) = self.agent.poll() {
            self.agent_out(now, out);
        }
        for output in self.out.range_mut(before..) {
            if matches!(output, Output::Sip(_)) {
                let waiting = std::mem::replace(output, Output::Stopped);
                *output = Output::Now(Box::new(waiting));
            }
        }
    }

    pub(super) fn send_stanza(&mut self, stanza: Stanza, now: bool) {
        let link = stanza.from().and_then(|from| self.domains.link_of(from.domain()));
        let Some(link) = link else {
            // A stanza from outside our domains would end the stream (XEP-0114 §3): it must not leave.
            self.out.push_back(Output::Note(Note::Log {
                level: Level::Error,
                event: "stanza-without-link",
                fields: vec![("from", stanza.from().map(ToString::to_string).unwrap_or_default())],
            }));
            return;
        };
        if !self.links[link.0] {
            return self.count("stanzas_dropped_total", &[("reason", "link-down")]);
        }
        let output = Output::Stanza(link, stanza);
        self.out.push_back(if now { Output::Now(Box::new(output)) } else { output });
    }

    fn refuse(&mut self, stanza: &Stanza, kind: Kind, type_: ErrorType, text: &str) {
        // Ordinary presence is not answered: a server that is told "forbidden" for each would only be flooded. Who wants
        // into a room waits for an answer (XEP-0045 §7.2).
        let waits = matches!(stanza.type_(), Some("subscribe" | "probe")) || wants_into_a_room(stanza);
        let silent = stanza.kind == StanzaKind::Presence && !waits;
        if !silent && let Some(error) = stanza.error(kind, type_, Some(text), None) {
            self.send_stanza(error, true);
        }
    }

    fn count(&mut self, name: &'static str, labels: &[(&'static str, &'static str)]) {
        self.out.push_back(Output::Note(Note::Count { name, labels: labels.to_vec(), by: 1 }));
    }
}

/// Presence of somebody who waits for an answer (XEP-0045 §7.2).
fn wants_into_a_room(stanza: &Stanza) -> bool {
    let is_presence = stanza.kind == StanzaKind::Presence && stanza.type_().is_none();
    is_presence && stanza.element.child("x", ns::MUC).is_some()
}

/// An address that cannot be mapped, as a SIP answer.
fn refusal(status: u16, problem: Condition) -> Reply {
    let reply = Reply::new(status);
    match problem.text {
        Some(text) => reply.because(text),
        None => reply,
    }
}
