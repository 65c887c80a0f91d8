//! Typing notifications: `application/im-iscomposing+xml` (RFC 3994).
//!
//! Read: the state and its refresh interval; `contenttype` and `lastactive` say nothing that XMPP could show. The timers
//! are not here: who sends and who receives runs them (§3.2, §3.3).

use std::time::Duration;

use super::xml::{self, DocumentError, XmlWriter, children, inner};

/// The media type.
pub const TYPE: &str = "application/im-iscomposing+xml";

const NS: &str = "urn:ietf:params:xml:ns:im-iscomposing";

/// What a receiver assumes where no refresh interval is named (§3.3).
pub const DEFAULT_REFRESH: Duration = Duration::from_secs(120);

/// A named interval counts within these.
const REFRESH: (u64, u64) = (1, 3600);

/// A notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsComposing {
    /// Somebody is writing.
    pub active: bool,
    /// How long that holds without another notification.
    pub refresh: Duration,
}

impl IsComposing {
    /// Reads a notification. A state that is not known means idle (§4).
    pub fn parse(bytes: &[u8]) -> Result<IsComposing, DocumentError> {
        let document = xml::tree(xml::text(bytes)?, "isComposing", NS)?;
        let root = document.root_element();
        let said = |name| children(root, NS, name).map(inner).next();
        let (low, high) = REFRESH;
        let refresh = said("refresh").and_then(|text| text.parse::<u64>().ok());
        Ok(IsComposing {
            active: said("state").is_some_and(|state| state.eq_ignore_ascii_case("active")),
            refresh: refresh.map_or(DEFAULT_REFRESH, |seconds| Duration::from_secs(seconds.clamp(low, high))),
        })
    }

    /// Writes it. The interval goes with `active` alone.
    pub fn write(&self) -> String {
        let mut out = XmlWriter::new();
        out.element("isComposing", &[("xmlns", NS)], |out| {
            out.text("state", &[], if self.active { "active" } else { "idle" });
            out.text("contenttype", &[], "text/plain");
            if self.active {
                out.text("refresh", &[], &self.refresh.as_secs().to_string());
            }
        });
        String::from_utf8(out.finish()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for active in [true, false] {
            let told = IsComposing { active, refresh: DEFAULT_REFRESH };
            assert_eq!(IsComposing::parse(told.write().as_bytes()), Ok(told));
        }
    }

    #[test]
    fn unknown_states_are_idle_and_intervals_are_bounded() {
        let read = |inside: &str| {
            let text = format!("<isComposing xmlns='{NS}'>{inside}</isComposing>");
            IsComposing::parse(text.as_bytes()).map(|told| (told.active, told.refresh.as_secs()))
        };
        assert_eq!(read("<state> active </state><refresh>90</refresh>"), Ok((true, 90)));
        assert_eq!(read("<state>active</state>"), Ok((true, 120)));
        assert_eq!(read("<state>active</state><refresh>-1</refresh>"), Ok((true, 120)));
        assert_eq!(read("<state>active</state><refresh>0</refresh>"), Ok((true, 1)));
        assert_eq!(read("<state>pondering</state><refresh>99999999</refresh>"), Ok((false, 3600)));
        assert_eq!(read(""), Ok((false, 120)));
    }

    #[test]
    fn another_document_is_refused() {
        assert!(IsComposing::parse(b"<isComposing/>").is_err());
        assert!(IsComposing::parse(b"typing").is_err());
    }
}
