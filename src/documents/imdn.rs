//! Instant message disposition notifications: `message/imdn+xml` and the CPIM headers that ask for them (RFC 5438).
//!
//! Read and written: delivery and display. Processing notifications come from servers on the way and tell a person
//! nothing (§7.2.1.3); they are read as [`Status::Other`]. Routes of notifications (§8.2) are not followed: they go back to
//! who wrote.

use super::cpim::{Cpim, Header};
use super::date;
use super::xml::{self, DocumentError, XmlWriter, children, inner};
use crate::words::time::Wall;

/// The media type.
pub const TYPE: &str = "message/imdn+xml";

const NS: &str = "urn:ietf:params:xml:ns:imdn";

/// What the prefix of the CPIM headers stands for (§6).
const HEADERS: &str = "urn:ietf:params:imdn";

/// The longest id that is believed, in bytes.
const ID_LIMIT: usize = 256;

/// What a message asks for in `imdn.Disposition-Notification` (§6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `positive-delivery`.
    pub delivery: bool,
    /// `negative-delivery`.
    pub failure: bool,
    /// `display`.
    pub display: bool,
}

impl Wanted {
    /// What an envelope asks for.
    pub fn of(envelope: &Cpim<'_>) -> Wanted {
        let mut wanted = Wanted::default();
        let asked = header(envelope, "Disposition-Notification").map(|header| header.value.as_str());
        for word in asked.unwrap_or_default().split(',') {
            match word.split(';').next().unwrap_or_default().trim() {
                "positive-delivery" => wanted.delivery = true,
                "negative-delivery" => wanted.failure = true,
                "display" => wanted.display = true,
                _ => {}
            }
        }
        wanted
    }

    /// The value of the header; nothing when nothing is wanted.
    pub fn header(self) -> Option<String> {
        let words = [
            (self.delivery, "positive-delivery"),
            (self.failure, "negative-delivery"),
            (self.display, "display"),
        ];
        let words: Vec<_> = words.into_iter().filter(|(wanted, _)| *wanted).map(|(_, word)| word).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }
}

/// `imdn.Message-ID` of an envelope, by whatever prefix it has.
pub fn message_id<'a>(envelope: &'a Cpim<'_>) -> Option<&'a str> {
    let id = header(envelope, "Message-ID")?.value.as_str();
    (!id.is_empty() && id.len() <= ID_LIMIT).then_some(id)
}

/// The envelope's headers that name a message and say what is wanted for it, in the order in which they must stand.
pub fn headers(message_id: &str, wanted: Wanted) -> Vec<(&'static str, String)> {
    let mut all = vec![("NS", format!("imdn <{HEADERS}>")), ("imdn.Message-ID", message_id.to_owned())];
    all.extend(wanted.header().map(|words| ("imdn.Disposition-Notification", words)));
    all
}

/// A header of our namespace: the prefix is what `NS` says, `imdn` where no such header does (RFC 3862 §3.4).
fn header<'a>(envelope: &'a Cpim<'_>, name: &str) -> Option<&'a Header> {
    let declared = envelope.headers.iter().filter(|header| header.name == "NS").find_map(|header| {
        let (prefix, uri) = header.value.split_once('<')?;
        (uri.trim_end().strip_suffix('>')? == HEADERS).then(|| prefix.trim())
    });
    match declared {
        Some("") => envelope.header(name),
        prefix => envelope.header(&format!("{}.{name}", prefix.unwrap_or("imdn"))),
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// A device has it.
    Delivered,
    /// A person has seen it.
    Displayed,
    /// It did not arrive.
    Failed,
    /// Nobody may know, or can: `forbidden`, `error`. There will be no other notification.
    Untold,
    /// Something that tells a person nothing: `processed`, `stored`.
    Other,
}

/// A notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imdn {
    /// Which message: its `imdn.Message-ID`, or the Call-ID of a MESSAGE that had none.
    pub message_id: String,
    /// When that message was written.
    pub datetime: Option<Wall>,
    /// What became of it.
    pub status: Status,
}

impl Imdn {
    /// Reads a notification.
    pub fn parse(bytes: &[u8]) -> Result<Imdn, DocumentError> {
        let document = xml::tree(xml::text(bytes)?, "imdn", NS)?;
        let root = document.root_element();
        let said = |name| children(root, NS, name).map(inner).next().unwrap_or_default();
        let told = |notification| {
            children(root, NS, notification)
                .flat_map(|found| children(found, NS, "status"))
                .flat_map(|status| status.children())
                .find(|child| child.is_element())
                .map(|child| child.tag_name().name())
        };
        let status = match (told("display-notification"), told("delivery-notification")) {
            (Some("displayed"), _) => Status::Displayed,
            (_, Some("delivered")) => Status::Delivered,
            (_, Some("failed")) => Status::Failed,
            (Some("forbidden" | "error"), _) | (_, Some("forbidden" | "error")) => Status::Untold,
            _ => Status::Other,
        };
        let message_id = Some(said("message-id")).filter(|id| !id.is_empty() && id.len() <= ID_LIMIT);
        Ok(Imdn {
            message_id: message_id.ok_or_else(|| DocumentError::Xml("no message-id".to_owned()))?,
            datetime: date::read_rfc3339(&said("datetime")),
            status,
        })
    }

    /// Writes it. What is [`Status::Other`] is written as `error`, since there is nothing to say.
    pub fn write(&self) -> String {
        let (notification, status) = match self.status {
            Status::Delivered => ("delivery-notification", "delivered"),
            Status::Displayed => ("display-notification", "displayed"),
            Status::Failed => ("delivery-notification", "failed"),
            Status::Untold | Status::Other => ("delivery-notification", "error"),
        };
        let mut out = XmlWriter::new();
        out.element("imdn", &[("xmlns", NS)], |out| {
            out.text("message-id", &[], &self.message_id);
            if let Some(when) = self.datetime {
                out.text("datetime", &[], &date::write_rfc3339(when));
            }
            out.element(notification, &[], |out| {
                out.element("status", &[], |out| out.empty(status, &[]));
            });
        });
        String::from_utf8(out.finish()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cpim;
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for status in [Status::Delivered, Status::Displayed, Status::Failed, Status::Untold] {
            let told =
                Imdn { message_id: "34jk324j".into(), datetime: Some(Wall(1_795_170_896_000)), status };
            assert_eq!(Imdn::parse(told.write().as_bytes()), Ok(told));
        }
    }

    #[test]
    fn as_linphone_writes_it() {
        let text = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\" ?><imdn \
                    xmlns=\"urn:ietf:params:xml:ns:imdn\"><message-id>xQ8IY1UD9D</message-id><datetime>\
                    2026-11-20T10:34:23Z</datetime><display-notification><status><displayed/></status>\
                    </display-notification></imdn>";
        let told = Imdn::parse(text.as_bytes()).expect("a notification");
        assert_eq!((told.message_id.as_str(), told.status), ("xQ8IY1UD9D", Status::Displayed));
        assert_eq!(told.datetime.map(date::write_rfc3339).as_deref(), Some("2026-11-20T10:34:23Z"));
    }

    #[test]
    fn what_nobody_may_know_is_told_apart_from_failure() {
        let read = |inside: &str| {
            let text = format!("<imdn xmlns='{NS}'><message-id>a</message-id>{inside}</imdn>");
            Imdn::parse(text.as_bytes()).map(|told| told.status)
        };
        let delivery = |status: &str| {
            format!("<delivery-notification><status><{status}/></status></delivery-notification>")
        };
        assert_eq!(read(&delivery("forbidden")), Ok(Status::Untold));
        assert_eq!(read(&delivery("error")), Ok(Status::Untold));
        assert_eq!(read(&delivery("failed")), Ok(Status::Failed));
        assert_eq!(
            read("<processing-notification><status><stored/></status></processing-notification>"),
            Ok(Status::Other)
        );
        assert!(Imdn::parse(format!("<imdn xmlns='{NS}'/>").as_bytes()).is_err(), "no message-id");
    }

    #[test]
    fn an_envelope_names_its_message_and_its_wishes_by_any_prefix() {
        let bytes = "From: <sip:a@example.com>\nNS: d <urn:ietf:params:imdn>\nd.Message-ID: m1\n\
                     d.Disposition-Notification: positive-delivery, display;x=y, other\n\n\nhi";
        let envelope = cpim::parse(bytes.as_bytes()).expect("an envelope");
        assert_eq!(message_id(&envelope), Some("m1"));
        assert_eq!(Wanted::of(&envelope), Wanted { delivery: true, failure: false, display: true });
        let bytes = "imdn.Message-ID: m2\n\n\nhi";
        let envelope = cpim::parse(bytes.as_bytes()).expect("an envelope");
        assert_eq!((message_id(&envelope), Wanted::of(&envelope)), (Some("m2"), Wanted::default()));
    }
}
