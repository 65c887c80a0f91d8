//! Documents about a conference, full and partial, one after another.

use mostar::documents::conference::{self, Entity, Roster, Taken, View};
use mostar::words::time::{Now, Tick, Wall};

use super::parts;

/// Documents in the order of their NOTIFYs; then what is known is told as our own room would, and is read as the same.
pub fn run(data: &[u8]) {
    let mut view = View::default();
    for document in parts(data) {
        let Ok(info) = conference::parse(document) else { continue };
        let state = info.state;
        let taken = view.take(info.clone());
        assert!(view.len() <= 4_000);
        if let (Taken::News(_), conference::State::Partial) = (&taken, state) {
            assert!(view.is_whole());
        }
        if taken == Taken::Over {
            assert!(view.is_empty());
        }
        // The same again changes nothing.
        let before: Vec<_> = view.users().cloned().collect();
        if let (Taken::News(_), Taken::News(news)) = (taken, view.take(info)) {
            let after: Vec<_> = view.users().cloned().collect();
            let removed = state == conference::State::Partial && before.len() != after.len();
            assert!(
                news.is_empty() || removed || before != after || state == conference::State::Partial,
                "{news:?}"
            );
        }
    }
    let now = Now { tick: Tick(0), wall: Wall(1_795_219_200_000) };
    let mut roster = Roster::new(Entity::new("sip:room@chat.example"), now);
    let users: Vec<_> = view.users().filter(|user| !user.entity.is_empty()).cloned().collect();
    users.iter().cloned().for_each(|user| roster.put(user));
    let document = roster.full();
    let read = conference::parse(&document.bytes());
    let read = match read {
        Ok(read) => read,
        // Nobody reads a document of more than a megabyte.
        Err(why) => {
            assert!(document.bytes().len() > 1024 * 1024 || users.len() > 500, "{why}");
            return;
        }
    };
    assert_eq!(read.users.map(|users| users.list.len()), Some(users.len().min(2_000)));
}
