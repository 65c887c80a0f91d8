//! Pure decisions: what a room's answers become for a SIP user in it, and a focus' for an XMPP user
//! (`mappings/rooms.yaml`).

use std::sync::LazyLock;

use serde::de::IntoDeserializer;
use serde::{Deserialize, Deserializer};

use crate::documents::conference::User;
use crate::words::condition::Kind;
use crate::words::table;
use crate::xmpp::muc::{Affiliation, Codes, Departure, Role};

/// A room that does not let somebody in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    condition: Condition,
    /// The answer to the INVITE.
    pub status: u16,
    /// Another nick may help.
    pub again: bool,
    /// For people.
    pub words: String,
}

/// An answer of MSRP.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Code {
    condition: Condition,
    code: u16,
}

/// An end.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removal {
    status: String,
    /// The disconnection-method of the roster.
    pub method: Method,
    /// The code of the BYE's Reason.
    pub cause: u16,
    /// For people.
    pub words: String,
}

/// How somebody left (RFC 4575 §5.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// By will.
    #[default]
    Departed,
    /// By somebody else's.
    Booted,
    /// By accident.
    Failed,
}

impl Method {
    /// As it is written in the roster.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Departed => "departed",
            Method::Booted => "booted",
            Method::Failed => "failed",
        }
    }
}

/// What somebody is in the roster.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    role: Role,
    entry: String,
}

/// A focus that does not let somebody in or does not take a line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refusal {
    #[serde(deserialize_with = "number")]
    status: Option<u16>,
    condition: Kind,
    words: String,
}

/// A focus that hangs up.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Farewell {
    #[serde(deserialize_with = "number")]
    status: Option<u16>,
    code: Fate,
}

/// How somebody is out of a room (XEP-0045 §15.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// By this status code.
    Code(u16),
    /// The room is no more.
    Destroyed,
}

impl<'de> Deserialize<'de> for Fate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fate, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "destroyed" {
            return Ok(Fate::Destroyed);
        }
        let code: Result<u16, _> = text.parse();
        code.map(Fate::Code).map_err(|_| serde::de::Error::custom(format!("{text} is no status code")))
    }
}

/// What an entry of a roster is in XMPP.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Standing {
    entry: String,
    role: Role,
    affiliation: Affiliation,
}

/// A status, or nothing for all others.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == "other" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| serde::de::Error::custom(format!("{text} is no status")))
}

/// A row's condition, or any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Other,
    Is(Kind),
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Condition, D::Error> {
        let name = String::deserialize(deserializer)?;
        if name == "other" {
            return Ok(Condition::Other);
        }
        Kind::deserialize(name.into_deserializer()).map(Condition::Is)
    }
}

impl Condition {
    fn fits(self, kind: Kind) -> bool {
        match self {
            Condition::Other => true,
            Condition::Is(known) => known == kind,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    joins: Vec<Join>,
    nicknames: Vec<Code>,
    lines: Vec<Code>,
    removals: Vec<Removal>,
    roles: Vec<Entry>,
    /// Of who comes in: what differs from `mappings/errors.yaml`, since clients take some conditions to mean something
    /// else about a room.
    refusals: Vec<Refusal>,
    /// Of lines.
    answers: Vec<Refusal>,
    farewells: Vec<Farewell>,
    standings: Vec<Standing>,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    read(table::text("rooms", include_str!("../../../mappings/rooms.yaml")))
        .expect("mappings/rooms.yaml is tested, and an admin's own is checked")
});

/// What is wrong with a table of an admin's own.
pub fn check_table(text: &str) -> Result<(), String> {
    read(text).map(drop)
}

fn read(text: &str) -> Result<Tables, String> {
    let tables: Tables = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    let ends = [
        ("joins", tables.joins.last().is_some_and(|row| row.condition == Condition::Other)),
        ("nicknames", tables.nicknames.last().is_some_and(|row| row.condition == Condition::Other)),
        ("lines", tables.lines.last().is_some_and(|row| row.condition == Condition::Other)),
        ("removals", tables.removals.last().is_some_and(|row| row.status == "other")),
        ("answers", tables.answers.last().is_some_and(|row| row.status.is_none())),
        ("farewells", tables.farewells.last().is_some_and(|row| row.status.is_none())),
        ("standings", tables.standings.last().is_some_and(|row| row.entry == "other")),
    ];
    if let Some((name, _)) = ends.iter().find(|(_, ends)| !ends) {
        return Err(format!("the last row of {name} must be `other`"));
    }
    if let Some(row) = tables.joins.iter().find(|row| !(300..700).contains(&row.status)) {
        return Err(format!("joins: {} refuses no INVITE", row.status));
    }
    let missing = [Role::Moderator, Role::Participant, Role::Visitor]
        .into_iter()
        .find(|role| !tables.roles.iter().any(|row| row.role == *role));
    if let Some(role) = missing {
        return Err(format!("roles: {role:?} has no row"));
    }
    let codes = tables.nicknames.iter().chain(&tables.lines);
    if let Some(row) = codes.into_iter().find(|row| !(400..600).contains(&row.code)) {
        return Err(format!("{} is no refusal of MSRP", row.code));
    }
    Ok(tables)
}

/// A room does not let somebody in.
pub fn join(kind: Kind) -> Option<&'static Join> {
    TABLES.joins.iter().find(|row| row.condition.fits(kind))
}

/// A room does not take a nick.
pub fn nickname(kind: Kind) -> u16 {
    TABLES.nicknames.iter().find(|row| row.condition.fits(kind)).map_or(403, |row| row.code)
}

/// A room does not take a line.
pub fn line(kind: Kind) -> u16 {
    TABLES.lines.iter().find(|row| row.condition.fits(kind)).map_or(403, |row| row.code)
}

/// Somebody is out. 333 goes before 307, which servers write beside it.
pub fn removal(codes: &Codes, departure: &Departure) -> Option<&'static Removal> {
    let fits = |row: &&Removal| match row.status.as_str() {
        "other" => true,
        "destroyed" => departure.destroyed.is_some(),
        "307" => codes.has(307) && !codes.has(333),
        status => status.parse().is_ok_and(|status| codes.has(status)),
    };
    TABLES.removals.iter().find(fits)
}

/// What somebody of this role is in the roster.
pub fn role(role: Role) -> &'static str {
    TABLES.roles.iter().find(|row| row.role == role).map_or("participant", |row| &row.entry)
}

/// What it means to a client that a focus does not let somebody in, and in words; nothing where it is as elsewhere.
pub fn refusal(status: u16) -> Option<(Kind, &'static str)> {
    let row = TABLES.refusals.iter().find(|row| row.status.is_none_or(|known| known == status))?;
    Some((row.condition, row.words.as_str()))
}

/// What it means to a client that a focus does not take a line, and in words.
pub fn answer(status: u16) -> (Kind, &'static str) {
    let row = TABLES.answers.iter().find(|row| row.status.is_none_or(|known| known == status));
    row.map_or((Kind::UndefinedCondition, ""), |row| (row.condition, row.words.as_str()))
}

/// How somebody is out whom a focus has hung up on with this cause; zero for none.
pub fn fate(cause: u16) -> Fate {
    let row = TABLES.farewells.iter().find(|row| row.status.is_none_or(|known| known == cause));
    row.map_or(Fate::Code(333), |row| row.code)
}

/// What somebody of a roster is in a room of XMPP: by the first row of the table that one of the roles fits. Who may only
/// receive may only listen.
pub fn standing(user: &User) -> (Role, Affiliation) {
    let has = |entry: &str| user.roles.iter().any(|role| role.trim().eq_ignore_ascii_case(entry));
    let row = TABLES.standings.iter().find(|row| row.entry == "other" || has(&row.entry));
    let (role, affiliation) =
        row.map_or((Role::Participant, Affiliation::None), |row| (row.role, row.affiliation));
    let is_muted = |status: Option<&str>| matches!(status, Some("recvonly" | "inactive"));
    let mut media = user.endpoints.iter().flat_map(|endpoint| &endpoint.media);
    let listens = media.clone().next().is_some() && media.all(|media| is_muted(media.status.as_deref()));
    (if listens && role == Role::Participant { Role::Visitor } else { role }, affiliation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_row_that_fits_counts() {
        assert_eq!(join(Kind::Conflict).map(|row| (row.status, row.again)), Some((486, true)));
        assert_eq!(join(Kind::UnexpectedRequest).map(|row| row.status), Some(480));
        assert_eq!((nickname(Kind::Conflict), nickname(Kind::Gone)), (425, 403));
        assert_eq!((line(Kind::NotAcceptable), line(Kind::Gone)), (481, 403));
    }

    #[test]
    fn a_table_without_an_end_is_refused() {
        let whole = include_str!("../../../mappings/rooms.yaml");
        assert_eq!(read(whole).map(drop), Ok(()));
        let cut = whole.replace("  - { condition: other,          code: 403 }\n", "");
        assert_eq!(read(&cut).map(drop), Err("the last row of nicknames must be `other`".to_owned()));
        assert!(read(&whole.replace("code: 425", "code: 200")).is_err());
    }
}
