//! A file that was uploaded somewhere: `application/vnd.gsma.rcs-ft-http+xml`, as RCS phones and linphone send it (GSMA
//! RCC.07 §3.2.5.3).
//!
//! Nothing is fetched: name and size are the upload server's word, and the address is all that a reader needs. A thumbnail
//! beside the file is not shown. Read only; nobody who sends from XMPP needs another form than the address itself.

use super::xml::{self, DocumentError, children, inner};
use crate::words::text::clean;

/// The media type.
pub const TYPE: (&str, &str) = ("application", "vnd.gsma.rcs-ft-http+xml");

const NS: &str = "urn:gsma:params:xml:ns:rcs:rcs:fthttp";

/// The longest name and the longest address that are shown, in bytes.
const NAME: usize = 200;
const ADDRESS: usize = 2_000;

/// A file as a person reads of it: `name (264 bytes)`, and its address on a line of its own. Several files follow each other.
pub fn as_text(bytes: &[u8]) -> Result<String, DocumentError> {
    let document = xml::tree(xml::text(bytes)?, "file", NS)?;
    let infos = children(document.root_element(), NS, "file-info");
    // Without a type it is the file itself (RCC.07: `file` or `thumbnail`).
    let files = infos.filter(|info| info.attribute("type").is_none_or(|type_| type_ == "file"));
    let lines: Vec<String> = files.filter_map(line).collect();
    match lines.is_empty() {
        true => Err(DocumentError::Xml("it names no file with an address".to_owned())),
        false => Ok(lines.join("\n")),
    }
}

fn line(info: roxmltree::Node<'_, '_>) -> Option<String> {
    let said = |name| children(info, NS, name).map(inner).next().filter(|text| !text.is_empty());
    let data = children(info, NS, "data").next()?;
    let name = said("file-name").unwrap_or_else(|| "file".to_owned());
    let size = said("file-size").and_then(|size| size.parse::<u64>().ok());
    shown(Some(&name), size, data.attribute("url")?.trim())
}

/// A file as a person reads of it: `name (264 bytes)`, and its address on a line of its own; of a file without a name the
/// address alone. Nothing if that is no address on the web.
pub fn shown(name: Option<&str>, size: Option<u64>, address: &str) -> Option<String> {
    let is_link = ["http://", "https://"].iter().any(|scheme| address.starts_with(scheme))
        && address.len() <= ADDRESS
        && !address.contains(|c: char| c.is_whitespace() || c.is_control());
    if !is_link {
        return None;
    }
    let name: String =
        clean(name.unwrap_or_default()).chars().filter(|c| !c.is_control()).take(NAME).collect();
    Some(match (name.trim(), size) {
        ("", None) => address.to_owned(),
        ("", Some(size)) => format!("({})\n{address}", in_units(size)),
        (name, Some(size)) => format!("{name} ({})\n{address}", in_units(size)),
        (name, None) => format!("{name}\n{address}"),
    })
}

fn in_units(bytes: u64) -> String {
    let (mut size, mut unit) = (bytes as f64, "bytes");
    for next in ["kB", "MB", "GB"] {
        if size < 1000.0 {
            break;
        }
        (size, unit) = (size / 1000.0, next);
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{size:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(inside: &str) -> Result<String, DocumentError> {
        as_text(format!("<file xmlns='{NS}'>{inside}</file>").as_bytes())
    }

    #[test]
    fn a_file_is_a_name_a_size_and_an_address() {
        let file = "<file-info type='file'><file-size>2640000</file-size><file-name>a b.png</file-name>\
                    <content-type>image/png</content-type><data url='https://files.example/x' until='2030-01-01T00:00:00Z'/>\
                    </file-info>";
        let thumbnail = "<file-info type='thumbnail'><data url='https://files.example/t'/></file-info>";
        assert_eq!(
            read(&format!("{thumbnail}{file}")).as_deref(),
            Ok("a b.png (2.6 MB)\nhttps://files.example/x")
        );
        assert_eq!(
            read("<file-info><data url='http://f.example/x'/></file-info>").as_deref(),
            Ok("file\nhttp://f.example/x")
        );
    }

    #[test]
    fn what_is_no_address_is_not_shown() {
        for address in ["javascript:alert(1)", "https://f.example/a b", "", "file:///etc/passwd"] {
            assert!(read(&format!("<file-info><data url='{address}'/></file-info>")).is_err(), "{address}");
        }
        assert!(read("<file-info><file-name>x</file-name></file-info>").is_err());
        assert!(as_text(b"<file/>").is_err());
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(
            [264, 1000, 1_999_999, 3_000_000_000].map(in_units),
            ["264 bytes", "1.0 kB", "2.0 MB", "3.0 GB"]
        );
    }
}
