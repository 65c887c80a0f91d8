//! Writing users, and documents out of them, in the order of the schema (RFC 4575 §6).
//!
//! A user is written once, as a [`Piece`]; a document puts pieces together. Each piece knows where an address that only
//! one reader may see would stand.

use super::{Condition, Description, Endpoint, Entity, Execution, NS, Place, State, User, XCON};
use crate::documents::date;
use crate::documents::xml::XmlWriter;

/// A user as it stands in documents.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    bytes: Box<[u8]>,
    mark: Mark,
}

/// Where a further address of a user would stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub at: usize,
    /// There is a list of addresses around it.
    pub in_list: bool,
}

/// A document that is written, and the marks of the users in it, in the order of their entities.
pub(super) struct Written {
    pub bytes: Vec<u8>,
    pub marks: Vec<(Entity, Mark)>,
}

/// What a document says.
pub(super) struct Parts<'a, U> {
    pub entity: &'a Entity,
    pub state: State,
    pub version: u32,
    pub description: Option<&'a Description>,
    pub condition: Option<Condition>,
    /// The users, by their entities. One without a piece is deleted.
    pub users: Option<U>,
}

/// Writes a document.
pub(super) fn document<'a>(
    parts: Parts<'_, impl Iterator<Item = (&'a Entity, Option<&'a Piece>)>>,
) -> Written {
    let mut marks = Vec::new();
    let version = parts.version.to_string();
    let attrs = [
        ("xmlns", NS),
        ("xmlns:xcon", XCON),
        ("entity", parts.entity.as_str()),
        ("state", word(parts.state)),
        ("version", &version),
    ];
    let mut out = XmlWriter::new();
    out.element("conference-info", &attrs, |out| {
        if let Some(description) = parts.description {
            write_description(out, description);
        }
        if let Some(condition) = parts.condition {
            write_condition(out, condition);
        }
        let Some(users) = parts.users else { return };
        out.element("users", &[("state", word(parts.state))], |out| {
            for (entity, piece) in users {
                let Some(piece) = piece else {
                    out.empty("user", &[("entity", entity.as_str()), ("state", word(State::Deleted))]);
                    continue;
                };
                marks.push((entity.clone(), Mark { at: out.written() + piece.mark.at, ..piece.mark }));
                out.raw(&piece.bytes);
            }
        });
    });
    Written { bytes: out.finish(), marks }
}

/// What stands at a mark.
pub(super) fn marked(aor: &str, mark: Mark) -> Vec<u8> {
    let mut out = XmlWriter::piece();
    if mark.in_list {
        write_entry(&mut out, aor);
    } else {
        out.element("associated-aors", &[], |out| write_entry(out, aor));
    }
    out.finish()
}

impl Piece {
    /// Writes a user. All of it is said: its state is full.
    pub(super) fn of(user: &User) -> Piece {
        let mut mark = Mark { at: 0, in_list: !user.aors.is_empty() };
        let mut attrs = vec![("entity", user.entity.as_str()), ("state", word(State::Full))];
        attrs.extend(user.nickname.as_deref().map(|name| ("xcon:nickname", name)));
        let mut out = XmlWriter::piece();
        out.element("user", &attrs, |out| {
            optional(out, "display-text", user.display_text.as_deref());
            mark.at = out.written();
            if !user.aors.is_empty() {
                out.element("associated-aors", &[], |out| {
                    user.aors.iter().for_each(|aor| write_entry(out, aor.as_str()));
                    mark.at = out.written();
                });
            }
            if !user.roles.is_empty() {
                out.element("roles", &[], |out| {
                    user.roles.iter().for_each(|role| out.text("entry", &[], role));
                });
            }
            user.endpoints.iter().for_each(|endpoint| write_endpoint(out, endpoint));
        });
        Piece { bytes: out.finish().into(), mark }
    }

    /// Its length.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

fn write_description(out: &mut XmlWriter, description: &Description) {
    out.element("conference-description", &[], |out| {
        optional(out, "display-text", description.display_text.as_deref());
        optional(out, "subject", description.subject.as_deref());
        optional(out, "free-text", description.free_text.as_deref());
        if !description.uris.is_empty() {
            out.element("conf-uris", &[], |out| {
                description.uris.iter().for_each(|place| write_place(out, place));
            });
        }
        number(out, "maximum-user-count", description.maximum_user_count);
    });
}

fn write_condition(out: &mut XmlWriter, condition: Condition) {
    out.element("conference-state", &[], |out| {
        number(out, "user-count", condition.user_count);
        truth(out, "active", condition.active);
        truth(out, "locked", condition.locked);
    });
}

fn write_place(out: &mut XmlWriter, place: &Place) {
    out.element("entry", &[], |out| {
        out.text("uri", &[], place.uri.as_str());
        optional(out, "display-text", place.display_text.as_deref());
        optional(out, "purpose", place.purpose.as_deref());
    });
}

fn write_entry(out: &mut XmlWriter, uri: &str) {
    out.element("entry", &[], |out| out.text("uri", &[], uri));
}

fn write_endpoint(out: &mut XmlWriter, endpoint: &Endpoint) {
    let attrs = [("entity", endpoint.entity.as_str()), ("state", word(State::Full))];
    out.element("endpoint", &attrs, |out| {
        optional(out, "display-text", endpoint.display_text.as_deref());
        optional(out, "status", endpoint.status.map(|status| status.as_str()));
        optional(out, "joining-method", endpoint.joining.map(|joining| joining.as_str()));
        write_execution(out, "joining-info", endpoint.joining_info.as_ref());
        optional(out, "disconnection-method", endpoint.disconnection.map(|how| how.as_str()));
        write_execution(out, "disconnection-info", endpoint.disconnection_info.as_ref());
        for media in &endpoint.media {
            out.element("media", &[("id", &media.id)], |out| {
                optional(out, "type", media.kind.as_deref());
                optional(out, "status", media.status.as_deref());
            });
        }
    });
}

fn write_execution(out: &mut XmlWriter, name: &str, execution: Option<&Execution>) {
    let Some(execution) = execution else { return };
    out.element(name, &[], |out| {
        optional(out, "when", execution.when.map(date::write_rfc3339).as_deref());
        optional(out, "reason", execution.reason.as_deref());
        optional(out, "by", execution.by.as_ref().map(Entity::as_str));
    });
}

fn optional(out: &mut XmlWriter, name: &str, text: Option<&str>) {
    if let Some(text) = text {
        out.text(name, &[], text);
    }
}

fn number(out: &mut XmlWriter, name: &str, number: Option<u32>) {
    optional(out, name, number.map(|number| number.to_string()).as_deref());
}

fn truth(out: &mut XmlWriter, name: &str, truth: Option<bool>) {
    optional(out, name, truth.map(|truth| if truth { "true" } else { "false" }));
}

fn word(state: State) -> &'static str {
    match state {
        State::Full => "full",
        State::Partial => "partial",
        State::Deleted => "deleted",
    }
}
