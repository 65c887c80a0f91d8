//! Whether a device of somebody can be reached, and how it says so: what PIDF (RFC 3863) and XMPP presence
//! (RFC 6121 §4.7) both mean.
//!
//! What only one of the two can say (an XMPP negative priority, an RPID mood) is kept where the other can at least
//! read it as text; the rest is dropped by the reader of the document, not here.

use serde::{Deserialize, Serialize};

use super::time::Wall;

/// What kind of "open" it is (RFC 6121 §4.7.2.1); plainly available has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Show {
    /// Not there for the moment.
    Away,
    /// Would like to talk.
    Chat,
    /// Busy. It blocks nothing.
    Dnd,
    /// Not there for long.
    Xa,
}

impl Show {
    /// All of them, in the order of RFC 6121.
    pub const ALL: [Show; 4] = [Show::Away, Show::Chat, Show::Dnd, Show::Xa];

    /// The word of RFC 6121.
    pub fn as_str(self) -> &'static str {
        match self {
            Show::Away => "away",
            Show::Chat => "chat",
            Show::Dnd => "dnd",
            Show::Xa => "xa",
        }
    }

    /// Reads the word. Anything else is plainly available (RFC 6121 §4.7.2.1 allows no other).
    pub fn parse(text: &str) -> Option<Show> {
        let word = text.trim();
        Show::ALL.into_iter().find(|show| show.as_str() == word)
    }
}

/// A sentence for people, in a language.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Words {
    /// The language tag (RFC 5646), when it is known.
    pub lang: Option<String>,
    /// The sentence.
    pub text: String,
}

/// The longest sentence that is kept and shown, in characters, and in how many languages it is.
const SENTENCE: usize = 1000;
const LANGUAGES: usize = 4;

/// The state of one device, or of a person who has shown none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Availability {
    /// Whether messages are welcome.
    pub open: bool,
    /// What kind of open; nothing where it is closed.
    pub show: Option<Show>,
    /// In people's own words, at most one sentence a language.
    pub status: Vec<Words>,
    /// Which of several devices is preferred: −128 to 127, 0 when it was not said.
    pub priority: i8,
    /// Since when, if it was said.
    pub at: Option<Wall>,
}

impl Availability {
    /// Reachable, without further words.
    pub fn open() -> Availability {
        Availability { open: true, ..Availability::default() }
    }

    /// Not reachable.
    pub fn closed() -> Availability {
        Availability::default()
    }

    /// The same with no more words than are kept and shown of hundreds of thousands.
    pub fn bounded(mut self) -> Availability {
        self.status.truncate(LANGUAGES);
        for words in &mut self.status {
            if let Some((at, _)) = words.text.char_indices().nth(SENTENCE) {
                words.text.truncate(at);
                words.text.push('…');
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_are_read_as_they_are_written_and_others_are_not() {
        for show in Show::ALL {
            assert_eq!(Show::parse(show.as_str()), Some(show));
        }
        assert_eq!(Show::parse(" dnd\n"), Some(Show::Dnd));
        assert_eq!(Show::parse("busy"), None);
    }

    #[test]
    fn what_is_too_long_is_cut_and_shows_it() {
        let say = |text: &str| Words { lang: None, text: text.to_owned() };
        let (fits, long) = ("é".repeat(SENTENCE), "é".repeat(SENTENCE + 1));
        let status = vec![say(&fits), say(&long), say(""), say("a"), say("b")];
        let bounded = Availability { status, ..Availability::open() }.bounded();
        assert_eq!(bounded.status, [say(&fits), say(&(fits.clone() + "…")), say(""), say("a")]);
    }
}
