//! `mappings/presence.yaml`: what rich presence (RFC 4480) means as `<show/>` and in words, and the way back.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::documents::pidf::{Person, Rpid, Told};
use crate::words::availability::Show;
use crate::words::table::text;

/// `mappings/presence.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    pub(super) shows: Vec<ShowRow>,
    pub(super) activities: Vec<ActivityRow>,
    pub(super) idle: IdleRow,
    pub(super) silent_moods: Vec<String>,
    pub(super) silent_places: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShowRow {
    pub(super) show: Show,
    pub(super) activities: Vec<String>,
    #[serde(default)]
    pub(super) idle: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ActivityRow {
    pub(super) activity: String,
    pub(super) show: Option<Show>,
    pub(super) text: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IdleRow {
    pub(super) alone: Show,
    pub(super) with_away: Show,
}

/// What is wrong with a table of an admin's own.
pub fn check_table(text: &str) -> Result<(), String> {
    Table::parse(text).map(drop)
}

/// The table; a test reads it, so the binary that is built from a broken one does not pass.
pub(super) fn table() -> &'static Table {
    static TABLE: LazyLock<Table> = LazyLock::new(|| {
        Table::parse(text("presence", include_str!("../../../mappings/presence.yaml")))
            .expect("mappings/presence.yaml is tested, and an admin's own is checked")
    });
    &TABLE
}

impl Table {
    fn parse(text: &str) -> Result<Table, String> {
        let table: Table = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        match Show::ALL.iter().find(|show| table.shows.iter().all(|row| row.show != **show)) {
            Some(show) => Err(format!("no row for show {}", show.as_str())),
            None => Ok(table),
        }
    }

    /// The row of a show; [`Table::parse`] has seen that there is one.
    pub(super) fn row(&self, show: Show) -> &ShowRow {
        self.shows.iter().find(|row| row.show == show).unwrap_or(&self.shows[0])
    }

    /// The person who is so.
    pub(super) fn person(&self, show: Show) -> Person {
        let row = self.row(show);
        let rpid = Rpid {
            activities: row.activities.iter().map(Told::new).collect(),
            idle: row.idle.then_some(true),
            ..Rpid::default()
        };
        Person { id: "P1".into(), rpid, ..Person::default() }
    }

    /// What the first of these that has activities, or else says idle, is shown as.
    pub(super) fn show(&self, rpid: &[&Rpid]) -> Option<Show> {
        let idle = rpid.iter().find_map(|rpid| rpid.idle).unwrap_or(false);
        let activities = rpid.iter().find(|rpid| !rpid.activities.is_empty());
        let shows: Vec<Show> = activities
            .iter()
            .flat_map(|rpid| &rpid.activities)
            .filter_map(|told| self.activity(told)?.show)
            .collect();
        let first =
            [Show::Dnd, Show::Xa, Show::Away, Show::Chat].into_iter().find(|show| shows.contains(show));
        match first {
            Some(Show::Away) if idle => Some(self.idle.with_away),
            None if idle => Some(self.idle.alone),
            first => first,
        }
    }

    /// What is said in words where nobody wrote a note.
    pub(super) fn text(&self, rpid: &[&Rpid]) -> Option<String> {
        let mut parts: Vec<String> = Vec::new();
        let first =
            |list: fn(&Rpid) -> &Vec<Told>| rpid.iter().map(|rpid| list(rpid)).find(|list| !list.is_empty());
        for told in first(|rpid| &rpid.activities).into_iter().flatten() {
            let own = told.text.clone().filter(|_| told.name == "other");
            parts.extend(own.or_else(|| self.activity(told)?.text.clone()));
        }
        for told in first(|rpid| &rpid.moods).into_iter().flatten() {
            parts.extend(said(told, &self.silent_moods));
        }
        for told in first(|rpid| &rpid.places).into_iter().flatten() {
            parts.extend(said(told, &self.silent_places).map(|place| format!("at {place}")));
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    fn activity(&self, told: &Told) -> Option<&ActivityRow> {
        self.activities.iter().find(|row| row.activity == told.name)
    }
}

/// The words of a mood or place: its own for `other`, else its name.
fn said(told: &Told, silent: &[String]) -> Option<String> {
    match told.name.as_str() {
        "other" => told.text.clone(),
        name if silent.iter().any(|known| known == name) => None,
        name => Some(name.replace(['-', '_'], " ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::of_tuple;
    use super::*;
    use crate::documents::pidf::{Pidf, Tuple};

    fn open() -> Tuple {
        Tuple { open: Some(true), ..Tuple::default() }
    }

    fn status_of(rpid: Rpid) -> Option<String> {
        let person = Person { rpid, ..Person::default() };
        let pidf = Pidf { persons: vec![person], ..Pidf::default() };
        of_tuple(&open(), &pidf).status.pop().map(|words| words.text)
    }

    #[test]
    fn every_activity_means_what_its_row_says() {
        for row in &table().activities {
            let rpid = Rpid { activities: vec![Told::new(&row.activity)], ..Rpid::default() };
            let person = Person { id: "p".into(), rpid, ..Person::default() };
            let found = of_tuple(&open(), &Pidf { persons: vec![person], ..Pidf::default() });
            assert_eq!(found.show, row.show, "{}", row.activity);
            assert_eq!(found.status.first().map(|words| &words.text), row.text.as_ref(), "{}", row.activity);
        }
    }

    #[test]
    fn moods_places_and_other_activities_are_said_in_their_own_words() {
        let told =
            |name: &str, text: Option<&str>| vec![Told { name: name.into(), text: text.map(str::to_owned) }];
        let rpid = Rpid {
            activities: told("other", Some("at the gym")),
            moods: told("in_love", None),
            places: told("place-of-worship", None),
            ..Rpid::default()
        };
        assert_eq!(status_of(rpid).as_deref(), Some("at the gym, in love, at place of worship"));
        for silent in &table().silent_moods {
            assert_eq!(status_of(Rpid { moods: told(silent, None), ..Rpid::default() }), None);
        }
        for silent in &table().silent_places {
            assert_eq!(status_of(Rpid { places: told(silent, None), ..Rpid::default() }), None);
        }
    }

    #[test]
    fn idle_alone_and_idle_beside_away_mean_what_their_row_says() {
        let show = |activities: &[&str], idle| {
            let rpid = Rpid {
                activities: activities.iter().map(|name| Told::new(*name)).collect(),
                ..Rpid::default()
            };
            let tuple = Tuple { rpid: Rpid { idle, ..Rpid::default() }, ..open() };
            let persons = vec![Person { rpid, ..Person::default() }];
            of_tuple(&tuple, &Pidf { persons, ..Pidf::default() }).show
        };
        assert_eq!(show(&[], Some(true)), Some(table().idle.alone));
        assert_eq!(show(&["away"], Some(true)), Some(table().idle.with_away));
        assert_eq!(show(&["away"], Some(false)), Some(Show::Away));
        assert_eq!(show(&["away", "on-the-phone"], Some(true)), Some(Show::Dnd));
        assert_eq!(show(&[], None), None);
    }

    #[test]
    fn every_row_of_the_shows_is_read_back_as_its_show() {
        for row in table().shows.iter().filter(|row| !row.activities.is_empty()) {
            let persons = vec![table().person(row.show)];
            let found = of_tuple(&open(), &Pidf { persons, ..Pidf::default() });
            assert_eq!(found.show, Some(row.show));
        }
    }
}
