//! Failures, both ways: RFC 7247 §7, tables 3 and 2, with the faults of the printed tables mended as
//! `docs/decisions/errors.md` says. The rows are `mappings/errors.yaml`, embedded and read once, at the start.
//!
//! A failure is a [`Condition`]. It is made of a SIP answer or of a stanza error, and it has a face on both sides.
//! What is not done here: trying again, which is a matter of the usage, and challenges, which are the agent's.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::features::Cx;
use crate::gateway::domains::Domains;
use crate::sip::message::{Failure, HeaderName, Reply, Response, text};
use crate::sip::uri::{Aor, SipAddress};
use crate::words::address;
use crate::words::condition::{Condition, Kind, Scope};
use crate::words::note::Level;
use crate::words::percent;
use crate::xmpp::jid::Jid;
use crate::xmpp::stanza::{ErrorType, Stanza, StanzaError};

/// A failure after the SIP answer of which the sender hears nothing: counted, and a line in the log, by `why` in a word.
pub fn untold(cx: &mut Cx<'_>, user: &Jid, sender: &Aor, why: &'static str) {
    cx.count("late_errors_untold_total", &[]);
    let (user, sender) = (user.bare_str().to_owned(), sender.to_string());
    cx.log(
        Level::Warn,
        "late-error-untold",
        vec![("user", user), ("sender", sender), ("why", why.to_owned())],
    );
}

/// What a SIP final answer other than a 2xx means: table 3. Codes without a row fall to their class.
pub fn condition_of(status: u16, scope: Scope) -> Condition {
    let row = TABLES.status(status);
    Condition {
        kind: row.map_or(Kind::UndefinedCondition, |row| row.condition),
        scope,
        text: row.map(|row| row.text.clone()),
        redirect: None,
    }
}

/// What a SIP final answer means, with its own words and, where it names one, the new address as a URI for XMPP.
pub fn condition_of_response(response: &Response, scope: Scope, domains: &Domains) -> Condition {
    let status = response.status.code();
    let mut condition = condition_of(status, scope);
    let reason = cleaned(&String::from_utf8_lossy(&response.reason));
    let said = condition.text.take().unwrap_or_default();
    condition.text = Some(format!("{said} ({})", format!("SIP {status} {reason}").trim_end()));
    if status / 100 == 3 {
        condition.redirect = text(&response.headers, &HeaderName::Contact)
            .and_then(|contact| address_in(&contact))
            .map(|moved| xmpp_uri(&moved, domains));
    }
    condition
}

/// What it means that no answer came.
pub fn condition_of_failure(failure: &Failure, scope: Scope) -> Condition {
    let (kind, text) = match failure {
        Failure::Timeout => return condition_of(408, scope),
        Failure::Transport(_) => {
            (Kind::RemoteServerTimeout, "The other side's server cannot be reached at the moment.".to_owned())
        }
        Failure::NoRoute => {
            (Kind::RemoteServerNotFound, "This gateway knows no way to that address.".to_owned())
        }
        Failure::TooLong { limit } => (
            Kind::PolicyViolation,
            format!("This is too long for the way to this contact: at most {limit} bytes of text pass."),
        ),
    };
    Condition { kind, scope, text: Some(text), redirect: None }
}

/// What a stanza error means for the SIP side; a new address becomes a SIP URI if it can.
pub fn condition_of_error(error: &StanzaError, scope: Scope, domains: &Domains) -> Condition {
    Condition {
        kind: error.kind,
        scope,
        text: error.text.as_deref().map(cleaned).filter(|text| !text.is_empty()),
        redirect: error.redirect.as_deref().and_then(|uri| sip_uri(uri, Some(domains))),
    }
}

/// The error stanza that tells the sender of `stanza`; nothing if it is one that is never answered by an error.
pub fn stanza_error(stanza: &Stanza, condition: &Condition) -> Option<Stanza> {
    let redirect = match condition.kind {
        Kind::Gone | Kind::Redirect => condition.redirect.as_deref(),
        _ => None,
    };
    stanza.error(condition.kind, type_of(condition.kind), condition.text.as_deref(), redirect)
}

/// The answer to a SIP request: table 2, with what docs/decisions/message-404.md changes.
pub fn reply_of(condition: &Condition) -> Reply {
    let Some(row) = TABLES.conditions.get(&condition.kind) else { return Reply::new(400) };
    let moved = condition.redirect.as_deref().and_then(|uri| sip_uri(uri, None)).zip(row.moved);
    let status = match (&moved, condition.scope) {
        (Some((_, status)), _) => *status,
        (None, Scope::Full) => row.full,
        (None, Scope::Bare) => row.bare,
    };
    let mut reply = Reply::new(status);
    if let Some(text) = condition.text.as_deref().map(cleaned).filter(|text| !text.is_empty()) {
        reply = reply.because(text);
    }
    match moved {
        Some((uri, _)) => reply.with(HeaderName::Contact, format!("<{uri}>")),
        None => reply,
    }
}

/// The type of a stanza error of this kind.
pub fn type_of(kind: Kind) -> ErrorType {
    TABLES.conditions.get(&kind).map_or(ErrorType::Cancel, |row| row.type_)
}

/// Whether a message that was answered so is kept for a person who is merely away.
pub fn holds(status: u16) -> bool {
    TABLES.status(status).is_some_and(|row| row.hold)
}

/// Longest text of the other side that is passed on, in characters.
const WORDS_LIMIT: usize = 200;

/// One line, without control characters, not too long.
fn cleaned(text: &str) -> String {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let line: String = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    line.chars().take(WORDS_LIMIT).collect()
}

/// The address in the first value of a Contact header.
fn address_in(contact: &str) -> Option<SipAddress> {
    let uri = match contact.split_once('<') {
        Some((_, rest)) => rest.split_once('>')?.0,
        None => contact.split([';', ',']).next()?,
    };
    SipAddress::parse(uri.trim()).ok()
}

/// A SIP address as the URI that XMPP clients know (RFC 5122), or as it is when it has no name in XMPP here.
fn xmpp_uri(sip: &SipAddress, domains: &Domains) -> String {
    let Ok(jid) = domains.contact_jid(sip).or_else(|_| domains.user_jid(sip)) else {
        return sip.to_string();
    };
    let mut uri = "xmpp:".to_owned();
    for c in jid.as_str().chars() {
        match c {
            '%' | '?' | '#' | '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}' | ' ' => {
                uri.push_str(&format!("%{:02X}", u32::from(c)));
            }
            _ => uri.push(c),
        }
    }
    uri
}

/// The SIP URI of a redirect: that of its JID by the configured domains, else by the plain mapping.
fn sip_uri(uri: &str, domains: Option<&Domains>) -> Option<String> {
    if let Some(rest) = uri.strip_prefix("xmpp:") {
        let path = rest.split(['?', '#']).next()?;
        let jid = Jid::parse(&percent::decode(path.as_bytes()).ok()?).ok()?;
        let known =
            domains.and_then(|domains| domains.user_sip(&jid).or_else(|_| domains.contact_sip(&jid)).ok());
        return known.or_else(|| address::sip_of_jid(&jid).ok()).map(|sip| sip.to_string());
    }
    uri.starts_with("sip:").then(|| SipAddress::parse(uri).ok())?.map(|sip| sip.to_string())
}

const EMBEDDED: &str = include_str!("../../mappings/errors.yaml");

/// A test reads the embedded tables, and an admin's own are checked: the fallback is for a build whose tests were not
/// run.
static TABLES: LazyLock<Tables> =
    LazyLock::new(|| Tables::read(crate::words::table::text("errors", EMBEDDED)).unwrap_or_default());

/// What is wrong with a table of an admin's own.
pub fn check_table(text: &str) -> Result<(), String> {
    Tables::read(text).map(drop)
}

#[derive(Default)]
struct Tables {
    statuses: BTreeMap<u16, StatusRow>,
    conditions: BTreeMap<Kind, ConditionRow>,
}

impl Tables {
    fn read(yaml: &str) -> Result<Tables, String> {
        let file: File = serde_yaml::from_str(yaml).map_err(|error| error.to_string())?;
        let mut tables = Tables::default();
        for row in file.statuses {
            if let Some(twice) = tables.statuses.insert(row.status, row) {
                return Err(format!("statuses: {} has two rows", twice.status));
            }
        }
        for row in file.conditions {
            if let Some(twice) = tables.conditions.insert(row.condition, row) {
                return Err(format!("conditions: {:?} has two rows", twice.condition));
            }
        }
        match (3..=6).find(|class| !tables.statuses.contains_key(class)) {
            Some(class) => Err(format!("statuses: the class {class} has no row")),
            None => Ok(tables),
        }
    }

    fn status(&self, status: u16) -> Option<&StatusRow> {
        self.statuses.get(&status).or_else(|| self.statuses.get(&(status / 100)))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    statuses: Vec<StatusRow>,
    conditions: Vec<ConditionRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusRow {
    status: u16,
    condition: Kind,
    text: String,
    #[serde(default)]
    hold: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConditionRow {
    condition: Kind,
    #[serde(rename = "type")]
    type_: ErrorType,
    full: u16,
    bare: u16,
    moved: Option<u16>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Component, Config, Secret, Xmpp, XmppDomain};
    use crate::sip::message::{Header, StatusCode};

    fn domains() -> Domains {
        let component = Component {
            domain: "example.net".into(),
            sip_domain: "example.net".into(),
            secret: Secret::new("x"),
            any_domain: false,
            rooms: false,
        };
        let user =
            XmppDomain { domain: "example.com".into(), sip_alias: "xmpp.example.com".into(), rooms: false };
        Domains::new(&Config {
            xmpp: Xmpp { server: String::new(), components: vec![component], domains: vec![user] },
            ..Config::empty()
        })
    }

    fn response(status: u16, contact: Option<&'static str>) -> Response {
        let mut response = Response::new(StatusCode::new(status).unwrap(), "Moved");
        if let Some(contact) = contact {
            response.headers.push(Header::build(HeaderName::Contact, contact).unwrap());
        }
        response
    }

    #[test]
    fn the_embedded_tables_are_whole() {
        Tables::read(EMBEDDED).map(drop).unwrap();
        assert_eq!(TABLES.conditions.len(), 22);
        assert_eq!(TABLES.statuses.len(), 52);
    }

    #[test]
    fn a_code_without_a_row_falls_to_its_class() {
        for (status, kind) in [
            (399, Kind::Redirect),
            (499, Kind::BadRequest),
            (599, Kind::InternalServerError),
            (699, Kind::RecipientUnavailable),
        ] {
            assert_eq!(condition_of(status, Scope::Bare).kind, kind);
        }
    }

    #[test]
    fn no_answer_of_ours_is_a_challenge_or_a_503() {
        for row in TABLES.conditions.values() {
            for status in [Some(row.full), Some(row.bare), row.moved].into_iter().flatten() {
                assert!(![401, 407, 503].contains(&status), "{:?}", row.condition);
            }
        }
    }

    #[test]
    fn the_scope_decides_between_a_device_and_the_person() {
        let forbidden = Condition::new(Kind::Forbidden, "no");
        assert_eq!(reply_of(&forbidden).status, 603);
        let of_device = Condition { scope: Scope::Full, ..forbidden };
        assert_eq!(reply_of(&of_device).status, 403);
    }

    #[test]
    fn a_message_to_nobody_is_404() {
        let unavailable = Condition::new(Kind::ServiceUnavailable, "");
        assert_eq!(reply_of(&unavailable).status, 404);
        assert_eq!(reply_of(&Condition { scope: Scope::Full, ..unavailable }).status, 403);
        assert_eq!(reply_of(&Condition::new(Kind::ItemNotFound, "")).status, 404);
    }

    #[test]
    fn a_new_address_crosses_in_both_directions() {
        let moved = response(301, Some("\"R\" <sip:romeo@example.net>;q=1"));
        let condition = condition_of_response(&moved, Scope::Bare, &domains());
        assert_eq!(condition.kind, Kind::Gone);
        assert_eq!(condition.redirect.as_deref(), Some("xmpp:romeo@example.net"));

        let error = StanzaError {
            kind: Kind::Gone,
            text: None,
            redirect: Some("xmpp:o%5C27hara@example.com?message".into()),
        };
        let reply = reply_of(&condition_of_error(&error, Scope::Bare, &domains()));
        assert_eq!(reply.status, 301);
        assert_eq!(reply.headers, [(HeaderName::Contact, "<sip:o'hara@xmpp.example.com>".to_owned())]);
        let nowhere = StanzaError { redirect: None, ..error };
        assert_eq!(reply_of(&condition_of_error(&nowhere, Scope::Bare, &domains())).status, 410);
    }

    #[test]
    fn words_of_the_other_side_stay_on_one_line() {
        let condition = Condition::new(Kind::BadRequest, "no\r\nContact: <sip:evil@example>");
        assert_eq!(reply_of(&condition).reason.as_deref(), Some("no Contact: <sip:evil@example>"));
        let busy = condition_of_response(&response(480, None), Scope::Bare, &domains());
        assert_eq!(
            busy.text.as_deref(),
            Some("This contact cannot be reached at the moment. (SIP 480 Moved)")
        );
    }
}
