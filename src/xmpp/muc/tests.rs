use super::*;

pub(super) fn stanza(xml: &str) -> Stanza {
    let xml = xml.replacen(' ', " xmlns='jabber:component:accept' ", 1);
    let tree = roxmltree::Document::parse(&xml).expect("XML");
    Stanza::from_element(Element::of_tree(tree.root_element(), |name| name)).expect("a stanza")
}

const ROOM: &str = "verona@rooms.example.com/Juliet";

#[test]
fn an_occupant_is_read_with_what_there_is_of_it() {
    let read = presence(&stanza(&format!(
        "<presence from='{ROOM}' to='romeo@example.net/1'><x xmlns='{}'><item affiliation='owner' role='moderator' \
         jid='juliet@example.com/x'/><status code='100'/><status code=' 110 '/><status code='x'/></x>\
         <occupant-id xmlns='{}' id='dd72'/></presence>",
        ns::MUC_USER,
        ns::OCCUPANT_ID
    )));
    let Some(Presence::Here(occupant, codes)) = read else { panic!("{read:?}") };
    assert_eq!((occupant.nick.as_str(), occupant.role), ("Juliet", Role::Moderator));
    assert_eq!(occupant.affiliation, Affiliation::Owner);
    assert_eq!(occupant.id.as_deref(), Some("dd72"));
    assert_eq!(codes.iter().collect::<Vec<_>>(), [100, 110]);
    // One without a word of its role is there all the same.
    let read = presence(&stanza(&format!("<presence from='{ROOM}' to='romeo@example.net/1'/>")));
    assert!(matches!(read, Some(Presence::Here(Occupant { role: Role::Participant, .. }, _))), "{read:?}");
}

#[test]
fn a_departure_says_who_why_and_where_to() {
    let read = presence(&stanza(&format!(
        "<presence from='{ROOM}' to='romeo@example.net/1' type='unavailable'><x xmlns='{}'><item role='none' \
         affiliation='outcast'><actor nick='Nurse'/><reason> enough </reason></item><status code='301'/></x></presence>",
        ns::MUC_USER
    )));
    let Some(Presence::Gone(_, codes, departure)) = read else { panic!("{read:?}") };
    assert!(codes.has(301));
    assert_eq!((departure.actor.as_deref(), departure.reason.as_deref()), (Some("Nurse"), Some("enough")));
    let read = presence(&stanza(&format!(
        "<presence from='{ROOM}' to='romeo@example.net/1' type='unavailable'><x xmlns='{}'><item role='none'/>\
         <destroy jid='mantua@rooms.example.com'><reason>plague</reason></destroy></x></presence>",
        ns::MUC_USER
    )));
    let Some(Presence::Gone(_, _, departure)) = read else { panic!("{read:?}") };
    let destroyed = departure.destroyed.expect("the end");
    assert_eq!(destroyed.to.map(|jid| jid.to_string()).as_deref(), Some("mantua@rooms.example.com"));
    assert_eq!(destroyed.reason.as_deref(), Some("plague"));
}

#[test]
fn a_subject_has_neither_body_nor_thread() {
    let read = |inside: &str| {
        message(&stanza(&format!(
            "<message from='{ROOM}' to='romeo@example.net/1' type='groupchat'>{inside}</message>"
        )))
    };
    assert_eq!(read("<subject>Today</subject>"), Message::Subject("Today".into()));
    assert_eq!(read("<subject/>"), Message::Subject(String::new()));
    assert!(
        matches!(read("<subject>Today</subject><body>Hi</body>"), Message::Line(line) if line.body == "Hi")
    );
    assert_eq!(read("<subject>Today</subject><thread>1</thread>"), Message::Nothing);
    assert_eq!(read("<composing xmlns='http://jabber.org/protocol/chatstates'/>"), Message::Nothing);
}

#[test]
fn both_kinds_of_invitation_are_read() {
    let mediated = message(&stanza(&format!(
        "<message from='verona@rooms.example.com' to='romeo@example.net'><x xmlns='{}'><invite \
         from='juliet@example.com/x'><reason>Come</reason></invite><password>rose</password></x></message>",
        ns::MUC_USER
    )));
    let Message::Invitation(mediated) = mediated else { panic!("{mediated:?}") };
    assert_eq!(mediated.room.as_str(), "verona@rooms.example.com");
    assert_eq!((mediated.reason.as_deref(), mediated.password.as_deref()), (Some("Come"), Some("rose")));
    let direct = direct_invitation(&stanza(
        "<message from='juliet@example.com/x' to='romeo@example.net'><x xmlns='jabber:x:conference' \
         jid='verona@rooms.example.com' reason='Come'/></message>",
    ));
    let direct = direct.expect("an invitation");
    assert_eq!((direct.room, direct.mediated), (mediated.room, false));
    assert_eq!(direct.by.expect("somebody").as_str(), "juliet@example.com/x");
}

#[test]
fn only_some_errors_of_a_ping_say_that_we_are_out() {
    let answer = |error: &str| {
        pinged(&stanza(&format!(
            "<iq from='{ROOM}' to='romeo@example.net/1' type='error'><error type='cancel'><{error} \
             xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
        )))
    };
    assert_eq!(answer("service-unavailable"), Pinged::In);
    assert_eq!(answer("item-not-found"), Pinged::In);
    assert_eq!(answer("remote-server-timeout"), Pinged::Unknown);
    assert_eq!(answer("not-acceptable"), Pinged::Out);
}
