//! Paths: the URIs of the relays on the way, in the order in which they are met, and of an endpoint at the end
//! (RFC 4975 §5.2, RFC 4976 §5.1).

use std::fmt;
use std::sync::Arc;

use super::uri::Uri;

/// More hops than anybody has; what is longer is refused.
const LONGEST: usize = 16;

/// One URI or more. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Path(Arc<[Uri]>);

impl Path {
    /// Reads the value of To-Path, From-Path, Use-Path or `a=path`.
    pub fn parse(text: &str) -> Result<Path, &'static str> {
        let uris = text.split_ascii_whitespace().map(Uri::parse).take(LONGEST + 1);
        let uris = uris.collect::<Result<Arc<[Uri]>, _>>()?;
        match uris.len() {
            0 => Err("a path is empty"),
            count if count > LONGEST => Err("a path has too many hops"),
            _ => Ok(Path(uris)),
        }
    }

    /// The hop that is met first: where a connection goes, and who is answered.
    pub fn first(&self) -> &Uri {
        &self.0[0]
    }

    /// The endpoint.
    pub fn last(&self) -> &Uri {
        &self.0[self.0.len() - 1]
    }

    /// All of them, in order.
    pub fn uris(&self) -> &[Uri] {
        &self.0
    }

    /// True when this is what was read from a text with one URI.
    pub fn is_written(&self, text: &str) -> bool {
        self.0.len() == 1 && self.first().as_str() == text
    }

    /// True when a relay stands before the endpoint.
    pub fn has_relay(&self) -> bool {
        self.0.len() > 1
    }

    /// This path and then `rest`: our own relays before the peer's path (RFC 4976 §5.1).
    pub fn then(&self, rest: &Path) -> Path {
        Path(self.0.iter().chain(rest.0.iter()).cloned().collect())
    }

    /// The same hops met from the other end: our own relays as the peer meets them.
    pub fn reversed(&self) -> Path {
        Path(self.0.iter().rev().cloned().collect())
    }
}

impl From<Uri> for Path {
    fn from(uri: Uri) -> Path {
        Path([uri].into())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, uri) in self.0.iter().enumerate() {
            if number > 0 {
                out.write_str(" ")?;
            }
            out.write_str(uri.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        Path::parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong}"))
    }

    #[test]
    fn a_path_is_read_and_printed() {
        let text = "msrp://relay:1/a;tcp msrp://bob:2/b;tcp";
        let read = path(&format!("  {}", text.replace(' ', "  ")));
        assert_eq!(read.to_string(), text);
        assert!(read.has_relay() && !path("msrp://bob:2/b;tcp").has_relay());
        assert_eq!((read.first().port(), read.last().port()), (Some(1), Some(2)));
        assert!(Path::parse("").is_err());
        assert!(Path::parse("msrp://bob:2/b;tcp nonsense").is_err());
        assert!(Path::parse(&"msrp://bob:2/b;tcp ".repeat(17)).is_err());
    }

    #[test]
    fn paths_through_own_relays_are_formed_as_rfc_4976_shows() {
        let use_path = path("msrp://b:1/b;tcp msrp://c:1/c;tcp");
        let peer = path("msrp://d:1/d;tcp msrp://e:1/e;tcp msrp://f:1/f;tcp");
        let own = Path::from(Uri::parse("msrp://a:1/a;tcp").unwrap());
        let hosts =
            |path: &Path| path.uris().iter().map(|uri| uri.host().to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(hosts(&use_path.then(&peer)), "b c d e f");
        assert_eq!(hosts(&use_path.reversed().then(&own)), "c b a");
    }
}
