use proptest::prelude::*;

use super::*;
use crate::words::time::{Now, Tick};

fn now(millis: u64) -> Now {
    Now { tick: Tick(millis * 1000), wall: Wall(1_795_170_896_000 + millis) }
}

fn read(attributes: &str, inside: &str) -> ConferenceInfo {
    let text = format!(
        "<?xml version='1.0' encoding='UTF-8'?>\n<conference-info xmlns='{NS}' xmlns:xcon='{XCON}' \
         xmlns:x='urn:example:x' entity='sip:room@chat.example' {attributes}>{inside}</conference-info>\n"
    );
    parse(text.as_bytes()).expect("a document")
}

fn users(attributes: &str, inside: &str) -> Users {
    read("", &format!("<users {attributes}>{inside}</users>")).users.expect("users")
}

fn entity(text: &str) -> Entity {
    Entity::new(text)
}

fn user(nick: &str) -> User {
    let entity = Entity::new(&format!("sip:room@chat.example;gr={nick}"));
    let endpoint = Endpoint {
        entity: entity.clone(),
        status: Some(Status::Connected),
        joining: Some(Joining::DialedIn),
        joining_info: Some(Execution { when: Some(Wall(1_795_170_000_000)), ..Execution::default() }),
        media: vec![Media { id: "1".into(), kind: Some("message".into()), status: Some("sendrecv".into()) }],
        ..Endpoint::default()
    };
    User {
        display_text: Some(nick.into()),
        nickname: Some(nick.into()),
        roles: vec!["participant".into()],
        endpoints: vec![endpoint],
        ..User::new(entity)
    }
}

/// What a watcher of a roster would know.
#[derive(Default)]
struct Watcher {
    seen: Seen,
    view: View,
    told: Vec<State>,
}

impl Watcher {
    fn look(&mut self, roster: &mut Roster) {
        let Some(document) = roster.tell(&mut self.seen) else { return };
        self.told.push(document.state());
        let taken = self.view.take(parse(&document.bytes()).expect("a document of ours"));
        assert!(matches!(taken, Taken::News(_)), "{taken:?}");
    }

    fn names(&self) -> Vec<&str> {
        self.view.users().filter(|user| user.is_present()).filter_map(User::name).collect()
    }
}

#[test]
fn every_part_of_a_document_is_read() {
    let info = read(
        "state='full' version='7'",
        "<conference-description><display-text>Ad hoc</display-text><subject/><free-text>x</free-text><conf-uris>\
         <entry><uri>sip%3Aroom%40chat.example</uri><purpose>participation</purpose></entry></conf-uris>\
         <maximum-user-count>30</maximum-user-count></conference-description><conference-state>\
         <user-count>1</user-count><active>true</active><locked>0</locked></conference-state><users state='full'>\
         <user entity='sip:bob@sip.example' state='full' xcon:nickname='Bobby'><display-text>Bob</display-text>\
         <associated-aors><entry><uri>bob%40other.example</uri></entry></associated-aors><roles>\
         <entry>participant</entry></roles><endpoint entity='sip:bob@sip.example;gr=a'><status>disconnected</status>\
         <joining-method>dialed-out</joining-method><joining-info><when>2026-11-20T10:34:56.000001+00:00</when>\
         </joining-info><disconnection-method>booted</disconnection-method><disconnection-info><reason>spam</reason>\
         <by>sip:admin@sip.example</by></disconnection-info><media id='139'><type>message</type></media></endpoint>\
         </user></users>",
    );
    let endpoint = Endpoint {
        entity: entity("sip:bob@sip.example;gr=a"),
        status: Some(Status::Disconnected),
        joining: Some(Joining::DialedOut),
        joining_info: Some(Execution { when: Some(Wall(1_795_170_896_000)), ..Execution::default() }),
        disconnection: Some(Disconnection::Booted),
        disconnection_info: Some(Execution {
            reason: Some("spam".into()),
            by: Some(entity("sip:admin@sip.example")),
            when: None,
        }),
        media: vec![Media { id: "139".into(), kind: Some("message".into()), status: None }],
        ..Endpoint::default()
    };
    let bob = User {
        display_text: Some("Bob".into()),
        nickname: Some("Bobby".into()),
        aors: vec![entity("sip:bob@other.example")],
        roles: vec!["participant".into()],
        endpoints: vec![endpoint],
        ..User::new(entity("sip:bob@sip.example"))
    };
    assert_eq!((bob.name(), bob.is_present()), (Some("Bobby"), false));
    assert_eq!(bob.left().and_then(|endpoint| endpoint.disconnection), Some(Disconnection::Booted));
    assert_eq!(info.users, Some(Users { list: vec![bob], ..Users::default() }));
    assert_eq!((info.state, info.version), (State::Full, Some(7)));
    let description = info.description.expect("a description");
    assert_eq!((description.subject.as_deref(), description.maximum_user_count), (Some(""), Some(30)));
    assert_eq!(description.uris[0].uri.as_str(), "sip:room@chat.example");
    let condition = Condition { user_count: Some(1), active: Some(true), locked: Some(false) };
    assert_eq!(info.condition, Some(condition));
}

#[test]
fn an_entity_is_one_however_it_is_spelt() {
    for text in [
        "sip:bob@sip.example",
        "sip%3Abob%40sip.example",
        " bob@sip.example",
        "bob%40sip.example",
        "sip:bob%40sip.example",
    ] {
        assert_eq!(entity(text).as_str(), "sip:bob@sip.example", "{text}");
    }
    // A port, or a word that is no address at all, may be all there is to tell two apart.
    for text in
        ["sip:bob@sip.example:5070", "SIP:Bob@sip.example;x=y", "tel:+1555", "Bob", "xmpp:bob@example.com"]
    {
        assert_eq!(entity(text).as_str(), text);
    }
}

#[test]
fn states_that_contradict_the_one_above_are_put_right() {
    let full = users(
        "state='full'",
        "<user entity='sip:a@b' state='partial'/><user entity='sip:c@b' state='deleted'/>",
    );
    assert_eq!(full.list, [User::new(entity("sip:a@b"))]);
    let partial = users(
        "state='partial'",
        "<user entity='sip:a@b' state='deleted'><display-text>x</display-text></user><user entity='sip:c@b' state='odd'/>",
    );
    assert_eq!(partial.state, State::Full, "what is above is full");
    let info = read(
        "state='partial'",
        "<users state='partial'><user entity='sip:a@b' state='deleted'><display-text>x</display-text></user></users>",
    );
    let list = info.users.expect("users").list;
    assert_eq!(list, [User { state: State::Deleted, ..User::new(entity("sip:a@b")) }]);
    assert_eq!(read("state='deleted'", "<users/>").users, None);
}

#[test]
fn a_user_who_is_there_twice_is_one_with_the_devices_of_both() {
    let found = users(
        "",
        "<user entity='sip:a@b'><display-text>A</display-text><endpoint entity='1'/></user>\
         <user entity='a%40b'><display-text>B</display-text><endpoint entity='1'/><endpoint entity='2'/></user>\
         <user/><x:user entity='sip:c@b'/>",
    );
    let [user] = &found.list[..] else { panic!("{found:?}") };
    assert_eq!((user.name(), user.endpoints.len()), (Some("A"), 2));
}

#[test]
fn what_is_no_document_or_too_much_is_refused_and_long_texts_are_cut() {
    assert!(matches!(parse(b"<presence xmlns='urn:ietf:params:xml:ns:pidf'/>"), Err(DocumentError::Root(_))));
    assert!(matches!(parse(b"<!DOCTYPE x><x/>"), Err(DocumentError::Xml(_))));
    assert!(matches!(parse(&vec![b' '; 1024 * 1024 + 1]), Err(DocumentError::TooLong { .. })));
    let many: String = (0..2_100).map(|number| format!("<user entity='sip:{number}@b'/>")).collect();
    let found = users("", &many);
    assert_eq!((found.list.len(), found.left_out), (2_000, 100));
    let long = users(
        "",
        &format!("<user entity='sip:a@b'><display-text>{}</display-text></user>", "é".repeat(2_000)),
    );
    assert_eq!(long.list[0].name().map(str::len), Some(2_048));
}

#[test]
fn each_full_document_replaces_whatever_its_version() {
    let mut view = View::default();
    let with = |version, names: &[&str]| {
        let users: String = names.iter().map(|name| format!("<user entity='sip:{name}@b'/>")).collect();
        read(&format!("version='{version}'"), &format!("<users state='full'>{users}</users>"))
    };
    let came = |name: &str| News::Came(entity(&format!("sip:{name}@b")));
    let gone = |name: &str| News::Gone(Box::new(User::new(entity(&format!("sip:{name}@b")))));
    assert_eq!(view.take(with(2, &["a"])), Taken::News(vec![came("a")]));
    assert_eq!(view.take(with(5, &["a", "b"])), Taken::News(vec![came("b")]));
    assert_eq!(view.take(with(5, &["a", "b"])), Taken::News(vec![]));
    assert_eq!(view.take(with(1, &["b"])), Taken::News(vec![gone("a")]));
    assert_eq!(view.take(read("state='deleted' version='9'", "")), Taken::Over);
    assert!(view.is_empty() && !view.is_whole());
}

#[test]
fn partial_documents_are_taken_in_their_order_and_a_gap_is_told() {
    let mut view = View::default();
    let partial = |version, inside: &str| {
        let attributes = format!("state='partial' version='{version}'");
        read(&attributes, &format!("<users state='partial'>{inside}</users>"))
    };
    let a = "<user entity='sip:a@b' state='partial'><endpoint entity='1' state='partial'><status>on-hold</status></endpoint></user>";
    assert_eq!(view.take(partial(1, a)), Taken::Gap, "nothing to add it to");
    let whole = "<users><user entity='sip:a@b'><display-text>A</display-text><endpoint entity='1'><status>connected</status>\
                 <joining-method>dialed-in</joining-method></endpoint></user></users>";
    view.take(read("version='3'", whole));
    let Taken::News(news) = view.take(partial(4, a)) else { panic!("news") };
    assert!(
        matches!(&news[..], [News::Changed(before)] if before.endpoints[0].status == Some(Status::Connected))
    );
    let user = view.user(&entity("sip:a@b")).expect("a user");
    let endpoint = &user.endpoints[0];
    assert_eq!(
        (user.name(), endpoint.status, endpoint.joining),
        (Some("A"), Some(Status::OnHold), Some(Joining::DialedIn))
    );
    assert_eq!(view.take(partial(4, "<user entity='sip:a@b' state='deleted'/>")), Taken::Old);
    assert_eq!(view.take(partial(6, "<user entity='sip:a@b' state='deleted'/>")), Taken::Gap);
    let gone = view
        .take(partial(5, "<user entity='sip:a@b' state='deleted'/><user entity='sip:x@b' state='deleted'/>"));
    assert!(matches!(gone, Taken::News(news) if matches!(&news[..], [News::Gone(_)])));
    let said = view.take(read(
        "state='partial' version='6'",
        "<conference-description><subject>s</subject></conference-description>",
    ));
    assert_eq!(said, Taken::News(vec![News::Described]));
}

#[test]
fn a_speaker_is_found_by_what_the_focus_calls_her() {
    let mut view = View::default();
    view.take(read(
        "version='1'",
        "<users><user entity='sip:alice@sip.example'><display-text>Ally</display-text>\
         <endpoint entity='sip:alice@sip.example;gr=a1'/></user>\
         <user entity='sip:room@chat.example;gr=Bob'><display-text>Bob</display-text><associated-aors><entry>\
         <uri>sip:robert@sip.example</uri></entry></associated-aors></user>\
         <user entity='sip:x@y'><display-text>Twin</display-text></user>\
         <user entity='sip:z@y'><display-text>Twin</display-text></user></users>",
    ));
    let found = |view: &View, address: &str, name: Option<&str>| {
        let address = SipAddress::parse(address).expect("an address");
        view.speaker(&address, name).map(|user| user.entity.as_str().to_owned())
    };
    for (address, name, entity) in [
        ("sip:alice@sip.example", None, Some("sip:alice@sip.example")),
        ("sip:alice@sip.example;gr=a1", None, Some("sip:alice@sip.example")),
        ("sip:alice@sip.example;gr=other", None, Some("sip:alice@sip.example")),
        ("sip:room@chat.example;gr=Bob", Some("Ally"), Some("sip:room@chat.example;gr=Bob")),
        ("sip:robert@sip.example", None, Some("sip:room@chat.example;gr=Bob")),
        ("sip:room@chat.example", Some(" Ally "), Some("sip:alice@sip.example")),
        ("sip:room@chat.example", Some("Twin"), None),
        ("sip:room@chat.example", Some("Conference Room"), None),
        ("sip:nobody@sip.example", None, None),
    ] {
        assert_eq!(found(&view, address, name).as_deref(), entity, "{address} {name:?}");
    }
    view.take(read("version='2'", "<users><user entity='sip:new@y'/></users>"));
    assert_eq!(found(&view, "sip:robert@sip.example", None), None);
}

#[test]
fn what_a_roster_writes_is_read_as_it_was_meant() {
    let mut roster = Roster::new(entity("sip:room@chat.example"), now(0));
    roster.describe(|description| {
        description.subject = Some("<Today> & \"tomorrow\"".into());
        description.uris = vec![Place { uri: entity("sip:room@chat.example"), ..Place::default() }];
        description.maximum_user_count = Some(200);
    });
    let odd = User {
        display_text: Some("ro\"meo <é😀>".into()),
        aors: vec![entity("sip:romeo@example.com")],
        ..user("romeo")
    };
    roster.put(odd.clone());
    let document = roster.full();
    let info = parse(&document.bytes()).expect("a document");
    assert_eq!((info.version, info.state), (Some(document.version()), State::Full));
    assert_eq!(info.description.as_ref(), Some(roster.description()));
    assert_eq!(info.condition.and_then(|condition| condition.user_count), Some(1));
    assert_eq!(info.users.expect("users").list, [odd]);
    let end = parse(&roster.end().bytes()).expect("a document");
    assert_eq!((end.state, end.version), (State::Deleted, Some(document.version() + 1)));
}

#[test]
fn a_document_is_built_once_for_all_who_watch() {
    let mut roster = Roster::new(entity("sip:room@chat.example"), now(0));
    (0..400).for_each(|number| roster.put(user(&number.to_string())));
    let mut watchers = [Seen::default(); 200];
    let mut tell = |roster: &mut Roster| {
        let told: Vec<_> =
            watchers.iter_mut().map(|seen| roster.tell(seen).expect("a document").bytes()).collect();
        assert!(watchers.iter_mut().all(|seen| roster.tell(seen).is_none() && !roster.has_news(*seen)));
        let first = told[0].clone();
        assert!(told.iter().all(|bytes| bytes.as_ptr() == first.as_ptr()), "all have the same bytes");
        first.len()
    };
    assert!(tell(&mut roster) > 100_000);
    assert!(roster.step(now(0)));
    tell(&mut roster);
    roster.put(User { roles: vec!["moderator".into()], ..user("7") });
    assert!(roster.step(now(1000)));
    assert!(tell(&mut roster) < 1_000, "one who has changed");
}

#[test]
fn a_watcher_finds_its_own_address_beside_its_entry_and_nobody_else_does() {
    let mut roster = Roster::new(entity("sip:room@chat.example"), now(0));
    let open = User { aors: vec![entity("sip:mercutio@example.com")], ..user("mercutio") };
    for user in [user("romeo"), open.clone(), user("juliet")] {
        roster.put(user);
    }
    let document = roster.full();
    for known in [user("romeo"), open] {
        let info = parse(&document.marked(&known.entity, "sip:me@example.net")).expect("a document");
        for user in info.users.expect("users").list {
            let has_mark = user.aors.contains(&entity("sip:me@example.net"));
            assert_eq!(has_mark, user.entity == known.entity, "{user:?}");
        }
    }
    let stranger = document.marked(&entity("sip:x@y"), "sip:me@example.net");
    assert_eq!(stranger.as_ptr(), document.bytes().as_ptr());
}

#[test]
fn versions_rise_by_one_and_at_most_once_a_second() {
    let mut roster = Roster::new(entity("sip:room@chat.example"), now(0));
    let mut watcher = Watcher::default();
    watcher.look(&mut roster);
    roster.put(user("romeo"));
    assert_eq!(roster.next(), Some(now(0).tick));
    assert!(roster.step(now(10)));
    watcher.look(&mut roster);
    roster.put(user("juliet"));
    roster.put(user("ben"));
    assert_eq!(roster.next(), Some(now(1010).tick));
    assert!(!roster.step(now(1000)) && !roster.has_news(watcher.seen));
    assert!(roster.step(now(1010)) && !roster.step(now(9000)));
    watcher.look(&mut roster);
    assert_eq!(watcher.names(), ["ben", "juliet", "romeo"]);
    assert_eq!(watcher.told, [State::Full, State::Partial, State::Partial]);
}

#[test]
fn who_has_missed_a_step_or_refreshes_gets_all_of_it() {
    let mut roster = Roster::new(entity("sip:room@chat.example"), now(0));
    let mut watcher = Watcher::default();
    watcher.look(&mut roster);
    for (at, nick) in [(0, "romeo"), (1000, "juliet")] {
        roster.put(user(nick));
        assert!(roster.step(now(at)));
    }
    watcher.look(&mut roster);
    watcher.seen.nothing();
    watcher.look(&mut roster);
    assert_eq!((watcher.names(), watcher.told.clone()), (vec!["juliet", "romeo"], vec![State::Full; 3]));
}

#[test]
fn how_somebody_left_is_told_before_the_entry_goes() {
    let mut roster = Roster::new(entity("sip:room@chat.example"), now(0));
    roster.put(user("romeo"));
    let mut watcher = Watcher::default();
    roster.step(now(0));
    watcher.look(&mut roster);
    let info = Execution { reason: Some("enough".into()), ..Execution::default() };
    roster.remove(&user("romeo").entity, Some(Leaving { how: Disconnection::Booted, info: info.clone() }));
    assert!(roster.step(now(1000)));
    watcher.look(&mut roster);
    let gone = watcher.view.user(&user("romeo").entity).and_then(User::left).expect("an endpoint that left");
    assert_eq!(
        (gone.disconnection, gone.disconnection_info.as_ref()),
        (Some(Disconnection::Booted), Some(&info))
    );
    assert_eq!(watcher.view.condition().user_count, Some(0));
    assert!(roster.step(now(2000)) && roster.next().is_none());
    watcher.look(&mut roster);
    assert!(watcher.view.is_empty());
}

#[test]
fn what_changes_nothing_makes_no_version() {
    let mut roster = Roster::new(entity("sip:room@chat.example"), now(0));
    roster.put(user("romeo"));
    roster.lock(true);
    roster.step(now(0));
    roster.put(user("romeo"));
    roster.lock(true);
    roster.describe(|_| {});
    roster.remove(&entity("sip:nobody@x"), None);
    assert_eq!((roster.next(), roster.len()), (None, 1));
}

/// What may happen to a roster and to those who watch it.
#[derive(Clone, Debug)]
enum Deed {
    Put(u8, u8),
    Remove(u8, bool),
    Subject(u8),
    Wait,
    Look(usize),
    Refresh(usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        (0..6_u8, 0..3_u8).prop_map(|(who, role)| Deed::Put(who, role)),
        (0..6_u8, any::<bool>()).prop_map(|(who, says)| Deed::Remove(who, says)),
        (0..3_u8).prop_map(Deed::Subject),
        Just(Deed::Wait),
        (0..3_usize).prop_map(Deed::Look),
        (0..3_usize).prop_map(Deed::Refresh),
    ]
}

proptest! {
    #[test]
    fn all_watchers_know_the_same_in_the_end(deeds in prop::collection::vec(deed(), 0..60)) {
        let mut roster = Roster::new(entity("sip:room@chat.example"), now(0));
        let mut watchers: [Watcher; 3] = Default::default();
        let mut millis = 0;
        for deed in deeds {
            match deed {
                Deed::Put(who, role) => {
                    roster.put(User { roles: vec![role.to_string()], ..user(&who.to_string()) });
                }
                Deed::Remove(who, says) => {
                    let leaving = Leaving { how: Disconnection::Departed, info: Execution::default() };
                    roster.remove(&user(&who.to_string()).entity, says.then_some(leaving));
                }
                Deed::Subject(number) => roster.describe(|about| about.subject = Some(number.to_string())),
                Deed::Wait => millis += 700,
                Deed::Look(number) => watchers[number].look(&mut roster),
                Deed::Refresh(number) => watchers[number].seen.nothing(),
            }
            roster.step(now(millis));
        }
        while let Some(at) = roster.next() {
            millis = millis.max(at.0 / 1000);
            prop_assert!(roster.step(now(millis)));
            watchers[0].look(&mut roster);
        }
        for watcher in &mut watchers {
            watcher.look(&mut roster);
            let known: Vec<_> = watcher.view.users().cloned().collect();
            let there: Vec<_> = roster.users().cloned().collect();
            prop_assert_eq!(known, there);
            prop_assert_eq!(watcher.view.description(), roster.description());
            let count = watcher.view.condition().user_count;
            prop_assert_eq!(count, Some(roster.len() as u32));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(pieces in prop::collection::vec(prop::sample::select(vec![
        "<users>", "</users>", "<users state='partial'>", "<user entity='sip:a@b'>", "</user>", "<user entity='%'/>",
        "<endpoint entity='é'>", "</endpoint>", "<status>connected</status>", "<user entity='sip:a@b' state='deleted'/>",
        "<display-text>x</display-text>", "<when>x</when>", "&amp;", "<conference-description>", "</conference-description>",
    ]), 0..20), text in ".*") {
        let inside = pieces.concat();
        let whole = format!("<conference-info xmlns='{NS}' entity='x'>{inside}</conference-info>");
        if let Ok(info) = parse(whole.as_bytes()) {
            View::default().take(info);
        }
        let _ = parse(text.as_bytes());
        prop_assert_eq!(entity(entity(&text).as_str()), entity(&text));
    }
}
