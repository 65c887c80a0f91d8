//! Presence documents and presence stanzas, each way, through [`Availability`] (RFC 8048 §6.2, `mappings/presence.yaml`).
//!
//! A tuple is a resource and a resource is a tuple. What a person says of herself (`dm:person`) holds for each of her
//! tuples that does not say it itself. Values in, values out: when to send them is for the features that watch.

use std::collections::BTreeMap;

use crate::documents::pidf::{
    Contact, Person, Pidf, Rpid, Tuple, priority_from, priority_of, short_hash, tuple_id,
};
use crate::sip::uri::{Aor, SipAddress};
use crate::words::availability::{Availability, Show, Words};
use crate::xmpp::jid::Jid;
use crate::xmpp::ns;
use crate::xmpp::stanza::{Element, Stanza, StanzaKind};

mod table;

pub use table::check_table;
use table::table;

/// What a tuple says, the person and the document around it included. A tuple without `basic` is open if it at least
/// has a `<show/>`.
pub fn of_tuple(tuple: &Tuple, pidf: &Pidf) -> Availability {
    let person = person_of(pidf);
    let open = tuple.open.unwrap_or(tuple.show.is_some());
    let rpid = [Some(&tuple.rpid), person.map(|person| &person.rpid)];
    let rpid: Vec<&Rpid> = rpid.into_iter().flatten().collect();
    let table = table();
    let show = tuple.show.or_else(|| table.show(&rpid)).filter(|_| open);
    let mut status = Vec::new();
    let notes = rpid.iter().flat_map(|rpid| &rpid.notes);
    let of_person = person.into_iter().flat_map(|person| &person.notes);
    for note in tuple.notes.iter().chain(notes).chain(of_person).chain(&pidf.notes) {
        add(&mut status, note);
    }
    if status.is_empty()
        && let Some(text) = table.text(&rpid)
    {
        status.push(Words { lang: Some("en".into()), text });
    }
    Availability {
        open,
        show,
        status,
        priority: priority_from(tuple.priority),
        at: tuple.timestamp.or_else(|| person.and_then(|person| person.timestamp)),
    }
}

/// The tuple of a resource. Its activities are not in here: RFC 4480 table 1 gives them to the person, see
/// [`document`].
pub fn tuple_of(resource: &str, availability: &Availability, contact: &SipAddress) -> Tuple {
    let row = availability.show.filter(|_| availability.open).map(|show| table().row(show));
    Tuple {
        id: tuple_id(resource),
        open: Some(availability.open),
        show: availability.show.filter(|_| availability.open),
        contact: Some(Contact::Sip(contact.clone())),
        priority: priority_of(availability.priority),
        notes: availability.status.clone(),
        rpid: Rpid { idle: row.and_then(|row| row.idle.then_some(true)), ..Rpid::default() },
        sessions: None,
        timestamp: availability.at,
    }
}

/// The whole document of a person: one tuple for each resource, and what the most available of them is doing.
/// Without resources it is one closed tuple: a document that says nothing is read as "unknown".
pub fn document(aor: &Aor, resources: &BTreeMap<String, Availability>) -> Pidf {
    let device = |resource: &str| SipAddress { aor: aor.clone(), gr: Some(resource.to_owned()) };
    let mut tuples: Vec<Tuple> =
        resources.iter().map(|(resource, state)| tuple_of(resource, state, &device(resource))).collect();
    if tuples.is_empty() {
        tuples.push(Tuple {
            id: tuple_id("none"),
            open: Some(false),
            contact: Some(Contact::Sip(aor.address())),
            ..Tuple::default()
        });
    }
    let foremost = resources.values().filter(|state| state.open).max_by_key(|state| rank(state));
    let persons = foremost
        .and_then(|state| Some((state.show?, state.at)))
        .map(|(show, at)| Person { timestamp: at, ..table().person(show) })
        .filter(|person| !person.rpid.is_empty());
    Pidf { entity: Some(aor.address()), tuples, persons: persons.into_iter().collect(), notes: Vec::new() }
}

/// The resource that a tuple is shown as, the same in each of a client's documents though it draws new tuple ids: the
/// `gr` of its contact, else a short hash of its contact, else its id.
pub fn resource_of(tuple: &Tuple) -> String {
    let gr = tuple.contact.as_ref().and_then(Contact::sip).and_then(|address| address.gr.as_deref());
    if let Some(resource) = gr.and_then(as_resource) {
        return resource;
    }
    match &tuple.contact {
        Some(Contact::Sip(address)) => short_hash(&address.to_string(), 5),
        Some(Contact::Other(uri)) => short_hash(uri, 5),
        None => {
            let id = tuple.id.strip_prefix("ID-").unwrap_or(&tuple.id);
            as_resource(id).unwrap_or_else(|| short_hash(&tuple.id, 5))
        }
    }
}

/// Every resource of a document. Of tuples with the same name the best is taken: open before closed, then the higher
/// priority, then the later. A tuple that says neither `basic` nor `<show/>` is unknown, and left out.
pub fn merge(pidf: &Pidf) -> BTreeMap<String, Availability> {
    let mut resources: BTreeMap<String, Availability> = BTreeMap::new();
    for tuple in pidf.tuples.iter().filter(|tuple| tuple.open.is_some() || tuple.show.is_some()) {
        let found = of_tuple(tuple, pidf);
        let name = resource_of(tuple);
        if resources.get(&name).is_none_or(|known| rank(&found) > rank(known)) {
            resources.insert(name, found);
        }
    }
    resources
}

/// What a presence stanza without type, or of type `unavailable`, says (RFC 6121 §4.7).
pub fn of_presence(stanza: &Stanza) -> Availability {
    let element = &stanza.element;
    let open = stanza.type_() != Some("unavailable");
    let mut status: Vec<Words> = Vec::new();
    for child in element.children().filter(|child| child.is("status", ns::COMPONENT)) {
        let text = child.text().trim().to_owned();
        let lang = child.lang().or(element.lang()).filter(|lang| !lang.is_empty()).map(str::to_owned);
        if !text.is_empty() && status.iter().all(|known| known.lang != lang) {
            status.push(Words { lang, text });
        }
    }
    let text = |name| element.child(name, ns::COMPONENT).map(Element::text);
    let priority = text("priority").and_then(|text| text.trim().parse::<i32>().ok()).unwrap_or(0);
    Availability {
        open,
        show: text("show").and_then(|text| Show::parse(&text)).filter(|_| open),
        status,
        priority: priority.clamp(i8::MIN.into(), i8::MAX.into()) as i8,
        at: None,
    }
}

/// The stanza that says it.
pub fn to_presence(availability: &Availability, from: &Jid, to: &Jid) -> Stanza {
    let mut stanza = Stanza::new(StanzaKind::Presence, from, to);
    if !availability.open {
        stanza = stanza.with_type("unavailable");
    }
    if let Some(show) = availability.show.filter(|_| availability.open) {
        stanza.element.push(Element::new("show", ns::COMPONENT).with_text(show.as_str()));
    }
    for words in &availability.status {
        let mut status = Element::new("status", ns::COMPONENT).with_text(&words.text);
        if let Some(lang) = &words.lang {
            status.set_lang(lang);
        }
        stanza.element.push(status);
    }
    if availability.open && availability.priority != 0 {
        let priority = availability.priority.to_string();
        stanza.element.push(Element::new("priority", ns::COMPONENT).with_text(&priority));
    }
    stanza
}

/// Which of two is the better one to reach: open before closed, then priority, then the later.
fn rank(state: &Availability) -> (bool, i8, Option<crate::words::time::Wall>) {
    (state.open, state.priority, state.at)
}

/// `name` as a resourcepart, if it can be one.
fn as_resource(name: &str) -> Option<String> {
    Jid::new(None, "resource.invalid", Some(name)).ok()?.resource().map(str::to_owned)
}

/// Of several persons, which a presence server leaves that merges publishers, the latest that says anything.
fn person_of(pidf: &Pidf) -> Option<&Person> {
    pidf.persons
        .iter()
        .filter(|person| !person.rpid.is_empty() || !person.notes.is_empty())
        .max_by_key(|person| person.timestamp)
}

/// Adds a note: one text for each language, no text twice.
fn add(status: &mut Vec<Words>, note: &Words) {
    match status.iter_mut().find(|known| known.lang == note.lang) {
        Some(known) if known.text.split(" – ").any(|part| part == note.text) => {}
        Some(known) => {
            known.text.push_str(" – ");
            known.text.push_str(&note.text);
        }
        None => status.push(note.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::pidf::{self, Told};

    fn juliet() -> Aor {
        SipAddress::parse("sip:juliet@example.com").expect("an address").aor
    }

    fn state(show: Option<Show>) -> Availability {
        let status = vec![Words { lang: Some("en".into()), text: "in a meeting".into() }];
        Availability { open: true, show, status, priority: 1, at: None }
    }

    /// Through the bytes of a document of one resource, with `change` on what a watcher reads.
    fn travel(state: &Availability, change: impl Fn(&mut Pidf)) -> BTreeMap<String, Availability> {
        let resources = [("balcony".to_owned(), state.clone())].into();
        let bytes = pidf::write(&document(&juliet(), &resources));
        let mut read = pidf::parse(&bytes).expect("our own document");
        change(&mut read);
        merge(&read)
    }

    #[test]
    fn every_show_survives_a_round_trip() {
        for show in [None, Some(Show::Away), Some(Show::Chat), Some(Show::Dnd), Some(Show::Xa)] {
            assert_eq!(travel(&state(show), |_| {}), [("balcony".to_owned(), state(show))].into());
        }
    }

    #[test]
    fn away_xa_and_dnd_survive_a_reader_that_knows_rpid_alone() {
        for show in [Show::Away, Show::Dnd, Show::Xa] {
            let read = travel(&state(Some(show)), |read| read.tuples[0].show = None);
            assert_eq!(read["balcony"].show, Some(show));
        }
    }

    fn tuple(open: bool, contact: Option<&str>) -> Tuple {
        let contact = contact.map(|text| match SipAddress::parse(text) {
            Ok(address) => Contact::Sip(address),
            Err(_) => Contact::Other(text.to_owned()),
        });
        Tuple { id: "t".into(), open: Some(open), contact, ..Tuple::default() }
    }

    #[test]
    fn a_closed_tuple_shows_nothing_whatever_extensions_say() {
        let rpid = Rpid { activities: vec![Told::new("away")], ..Rpid::default() };
        let found = of_tuple(&Tuple { show: Some(Show::Chat), rpid, ..tuple(false, None) }, &Pidf::default());
        assert_eq!((found.open, found.show), (false, None));
    }

    #[test]
    fn all_notes_are_said_once_each_by_language() {
        let words =
            |lang: Option<&str>, text: &str| Words { lang: lang.map(str::to_owned), text: text.into() };
        let rpid = Rpid {
            activities: vec![Told::new("lunch")],
            notes: vec![words(Some("en"), "pasta")],
            ..Rpid::default()
        };
        let person = Person { rpid, notes: vec![words(None, "me")], ..Person::default() };
        let tuple = Tuple { notes: vec![words(Some("en"), "back at two")], ..tuple(true, None) };
        let notes = vec![words(Some("en"), "back at two")];
        let found = of_tuple(&tuple, &Pidf { persons: vec![person], notes, ..Pidf::default() });
        assert_eq!(found.status, [words(Some("en"), "back at two – pasta"), words(None, "me")]);
        assert_eq!(found.show, Some(Show::Away));
    }

    #[test]
    fn the_name_of_a_resource_is_the_same_in_each_document() {
        assert_eq!(resource_of(&tuple(true, Some("sip:bob@sip.lab;gr=desk"))), "desk");
        let named = resource_of(&tuple(true, Some("sip:bob@sip.lab")));
        assert_eq!(named.len(), 10);
        assert_eq!(
            named,
            resource_of(&Tuple { id: "other".into(), ..tuple(false, Some("sip:bob@sip.lab")) })
        );
        assert_ne!(named, resource_of(&tuple(true, Some("tel:+1"))));
        assert_eq!(resource_of(&Tuple { id: "ID-balcony".into(), ..tuple(true, None) }), "balcony");
        let unfit = resource_of(&tuple(true, Some("sip:bob@sip.lab;gr=a%00")));
        assert!(as_resource(&unfit).is_some(), "{unfit}");
        assert!(as_resource(&resource_of(&Tuple::default())).is_some());
    }

    #[test]
    fn of_tuples_with_one_name_the_best_is_taken() {
        use crate::words::time::Wall;
        let desk = |open, priority, at| Tuple {
            priority,
            timestamp: at,
            ..tuple(open, Some("sip:bob@sip.lab;gr=desk"))
        };
        let best = |tuples: &[Tuple]| {
            let found = merge(&Pidf { tuples: tuples.to_vec(), ..Pidf::default() });
            assert_eq!(found.len(), 1);
            found["desk"].clone()
        };
        let (closed, open) = (desk(false, Some(1000), Some(Wall(9))), desk(true, None, None));
        assert!(best(&[closed.clone(), open.clone()]).open);
        assert!(best(&[open.clone(), closed]).open);
        assert_eq!(best(&[desk(true, Some(500), None), desk(true, Some(900), None), open]).priority, 115);
        assert_eq!(
            best(&[desk(true, None, Some(Wall(2))), desk(true, None, Some(Wall(1)))]).at,
            Some(Wall(2))
        );
    }

    #[test]
    fn a_tuple_that_says_nothing_is_left_out() {
        let tuples = vec![
            Tuple { open: None, ..tuple(true, Some("sip:a@b;gr=1")) },
            Tuple { open: None, show: Some(Show::Dnd), ..tuple(true, Some("sip:a@b;gr=2")) },
        ];
        let found = merge(&Pidf { tuples, ..Pidf::default() });
        assert_eq!(found.keys().collect::<Vec<_>>(), ["2"]);
        assert!(found["2"].open);
    }

    #[test]
    fn of_several_resources_the_foremost_speaks_for_the_person() {
        let resources = [
            ("a".to_owned(), Availability { priority: 5, ..state(Some(Show::Dnd)) }),
            ("b".to_owned(), state(Some(Show::Away))),
            ("c".to_owned(), Availability { priority: 9, ..Availability::closed() }),
        ];
        let found = document(&juliet(), &resources.into());
        assert_eq!(found.tuples.len(), 3);
        assert_eq!(found.persons.len(), 1);
        assert_eq!(found.persons[0].rpid.activities, [Told::new("busy")]);
        let nobody = document(&juliet(), &BTreeMap::new());
        assert_eq!(nobody.tuples.iter().map(|tuple| tuple.open).collect::<Vec<_>>(), [Some(false)]);
    }

    #[test]
    fn a_stanza_is_read_and_written() {
        let (from, to) = (Jid::parse("a@b/c").expect("a JID"), Jid::parse("d@e").expect("a JID"));
        let status = |lang: Option<&str>, text: &str| {
            let mut element = Element::new("status", ns::COMPONENT).with_text(text);
            if let Some(lang) = lang {
                element.set_lang(lang);
            }
            element
        };
        let child = |name: &'static str, text: &str| Element::new(name, ns::COMPONENT).with_text(text);
        let mut stanza = Stanza::new(StanzaKind::Presence, &from, &to)
            .with_child(child("show", "dnd"))
            .with_child(status(None, "in a meeting"))
            .with_child(status(Some("en"), "again"))
            .with_child(status(Some("cs"), "na schůzi"))
            .with_child(child("priority", "300"));
        stanza.element.set_lang("en");
        let found = of_presence(&stanza);
        let words = |lang: &str, text: &str| Words { lang: Some(lang.into()), text: text.into() };
        assert_eq!(found.status, [words("en", "in a meeting"), words("cs", "na schůzi")]);
        assert_eq!((found.open, found.show, found.priority), (true, Some(Show::Dnd), 127));
        assert_eq!(of_presence(&to_presence(&found, &from, &to)), found);
        assert_eq!(of_presence(&to_presence(&Availability::closed(), &from, &to)), Availability::closed());
        let odd = Stanza::new(StanzaKind::Presence, &from, &to).with_child(child("show", "busy"));
        assert_eq!(of_presence(&odd), Availability::open());
    }
}
