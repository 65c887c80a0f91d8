//! Reading a document: bounded in bytes, nodes, users and the length of each text.

use roxmltree::Node;

use super::{
    Condition, ConferenceInfo, Description, Disconnection, DocumentError, Endpoint, Entity, Execution,
    Joining, Media, NS, Place, State, Status, User, Users, XCON,
};
use crate::documents::date;
use crate::documents::xml::{self, children, inner};

/// The longest document that is read: with a thousand users, the wordiest focus that is known writes half of it.
const SIZE: usize = 1024 * 1024;
/// The most nodes that it may have.
const NODES: u32 = 65_536;
/// The most users that are read.
const USERS: usize = 2_000;
/// The most endpoints of a user, streams of an endpoint, addresses and roles.
const OTHERS: usize = 16;
/// The longest text that is kept, in bytes; what is longer is cut. A nickname may have 1,023 (RFC 7701 §7.1).
const TEXT: usize = 2_048;

/// Reads a document.
pub fn parse(bytes: &[u8]) -> Result<ConferenceInfo, DocumentError> {
    let document = xml::tree_within(NODES, xml::text_within(SIZE, bytes)?, "conference-info", NS)?;
    let root = document.root_element();
    let state = state(root);
    let mut info = ConferenceInfo {
        entity: entity(root).unwrap_or_default(),
        state,
        version: root.attribute("version").and_then(|version| version.trim().parse().ok()),
        ..ConferenceInfo::default()
    };
    if state == State::Deleted {
        return Ok(info);
    }
    info.description = first(root, "conference-description").map(description);
    info.condition = first(root, "conference-state").map(|node| Condition {
        user_count: number(node, "user-count"),
        active: truth(node, "active"),
        locked: truth(node, "locked"),
    });
    info.users = first(root, "users").map(|node| users(node, state));
    Ok(info)
}

fn description(node: Node<'_, '_>) -> Description {
    Description {
        display_text: text(node, "display-text"),
        subject: text(node, "subject"),
        free_text: text(node, "free-text"),
        uris: first(node, "conf-uris").map(places).unwrap_or_default(),
        maximum_user_count: number(node, "maximum-user-count"),
    }
}

/// The entries of a list of addresses. One entry with several, against the schema, is several.
fn places(list: Node<'_, '_>) -> Vec<Place> {
    let entries = children(list, NS, "entry").flat_map(|entry| {
        children(entry, NS, "uri").map(move |uri| Place {
            uri: Entity::new(&clipped(inner(uri))),
            display_text: text(entry, "display-text"),
            purpose: text(entry, "purpose"),
        })
    });
    entries.filter(|place| !place.uri.is_empty()).take(OTHERS).collect()
}

fn users(node: Node<'_, '_>, above: State) -> Users {
    let mut users = Users { state: below(above, state(node)), ..Users::default() };
    if users.state == State::Deleted {
        return users;
    }
    let mut places = std::collections::BTreeMap::new();
    for node in children(node, NS, "user") {
        let Some(user) = user(node, users.state) else { continue };
        // In a list that is complete, who is deleted is not there.
        if users.state == State::Full && user.state == State::Deleted {
            continue;
        }
        match places.get(&user.entity) {
            Some(place) => same_again(&mut users.list[*place], user),
            None if users.list.len() >= USERS => users.left_out += 1,
            None => {
                places.insert(user.entity.clone(), users.list.len());
                users.list.push(user);
            }
        }
    }
    users
}

/// A user who is there twice, against §4.5, is one with the devices of both; what was said first of the rest counts.
fn same_again(user: &mut User, again: User) {
    if again.state == State::Deleted {
        return *user = again;
    }
    user.display_text = user.display_text.take().or(again.display_text);
    user.nickname = user.nickname.take().or(again.nickname);
    for endpoint in again.endpoints {
        push_endpoint(&mut user.endpoints, endpoint);
    }
}

fn push_endpoint(endpoints: &mut Vec<Endpoint>, endpoint: Endpoint) {
    let is_known = endpoints.iter().any(|known| known.entity == endpoint.entity);
    if !is_known && endpoints.len() < OTHERS {
        endpoints.push(endpoint);
    }
}

fn user(node: Node<'_, '_>, above: State) -> Option<User> {
    let mut user = User { state: below(above, state(node)), ..User::new(entity(node)?) };
    if user.state == State::Deleted {
        return Some(user);
    }
    let nickname = node.attribute((XCON, "nickname")).or_else(|| node.attribute("nickname"));
    user.nickname = nickname.map(|name| clipped(name.trim().to_owned())).filter(|name| !name.is_empty());
    user.display_text = text(node, "display-text");
    user.aors = first(node, "associated-aors")
        .map(places)
        .unwrap_or_default()
        .into_iter()
        .map(|place| place.uri)
        .collect();
    let roles = children(node, NS, "roles").flat_map(|roles| children(roles, NS, "entry"));
    user.roles =
        roles.map(|role| clipped(inner(role))).filter(|role| !role.is_empty()).take(OTHERS).collect();
    for node in children(node, NS, "endpoint") {
        push_endpoint(&mut user.endpoints, endpoint(node, user.state));
    }
    Some(user)
}

fn endpoint(node: Node<'_, '_>, above: State) -> Endpoint {
    let said = |name| first(node, name).map(inner).unwrap_or_default();
    Endpoint {
        entity: entity(node).unwrap_or_default(),
        state: below(above, state(node)),
        display_text: text(node, "display-text"),
        status: Status::parse(&said("status")),
        joining: Joining::parse(&said("joining-method")),
        joining_info: first(node, "joining-info").map(execution),
        disconnection: Disconnection::parse(&said("disconnection-method")),
        disconnection_info: first(node, "disconnection-info").map(execution),
        media: children(node, NS, "media").take(OTHERS).map(media).collect(),
    }
}

fn media(node: Node<'_, '_>) -> Media {
    let id = node.attribute("id").unwrap_or_default().trim().to_owned();
    Media { id: clipped(id), kind: text(node, "type"), status: text(node, "status") }
}

fn execution(node: Node<'_, '_>) -> Execution {
    Execution {
        when: first(node, "when").and_then(|when| date::read_rfc3339(&inner(when))),
        reason: text(node, "reason"),
        by: text(node, "by").map(|by| Entity::new(&by)).filter(|by| !by.is_empty()),
    }
}

fn first<'a, 'i: 'a>(node: Node<'a, 'i>, name: &'a str) -> Option<Node<'a, 'i>> {
    children(node, NS, name).next()
}

/// A text that was said, also an empty one.
fn text(node: Node<'_, '_>, name: &str) -> Option<String> {
    children(node, NS, name).next().map(|node| clipped(inner(node)))
}

fn clipped(mut text: String) -> String {
    if text.len() > TEXT {
        let end = (0..=TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(end);
    }
    text
}

fn number(node: Node<'_, '_>, name: &str) -> Option<u32> {
    first(node, name).and_then(|node| inner(node).parse().ok())
}

/// An xs:boolean.
fn truth(node: Node<'_, '_>, name: &str) -> Option<bool> {
    match first(node, name).map(inner)?.to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// An entity that is there and not too long to be one.
fn entity(node: Node<'_, '_>) -> Option<Entity> {
    let text = node.attribute("entity").unwrap_or_default().trim();
    (!text.is_empty() && text.len() <= TEXT).then(|| Entity::new(text))
}

/// The `state` of an element; full where it is missing or no word of RFC 4575.
fn state(node: Node<'_, '_>) -> State {
    match node.attribute("state").unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "partial" => State::Partial,
        "deleted" => State::Deleted,
        _ => State::Full,
    }
}

/// What a state means below another one: what is full has only full parts (§4.4).
fn below(above: State, state: State) -> State {
    match (above, state) {
        (State::Full, State::Partial) => State::Full,
        (_, state) => state,
    }
}
