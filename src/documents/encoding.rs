//! Content-Encoding of a body (RFC 3261 §20.12): identity, deflate, gzip.
//!
//! `deflate` is the zlib format (RFC 9110 §8.4.1.2); a sender that means the bare one of RFC 1951 is understood too.
//! What comes out is limited before it is made: a few hundred bytes can stand for gigabytes.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// The encodings that are understood, for Accept-Encoding.
pub const ACCEPT_ENCODING: &str = "identity, deflate, gzip";

/// The most bytes that come out of a body.
pub const SIZE_LIMIT: usize = 1024 * 1024;

/// Why an encoding was not undone; reads as a reason phrase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EncodingProblem {
    /// It is not one of ours: its name.
    Unknown(String),
    /// The bytes are not what the header says.
    Broken(&'static str),
    /// More than [`SIZE_LIMIT`] bytes come out.
    TooLong,
}

/// Undoes the encodings that a Content-Encoding names, the last one first.
pub fn decode<'a>(encodings: &str, body: &'a [u8]) -> Result<Cow<'a, [u8]>, EncodingProblem> {
    let names: Vec<String> = encodings.split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
    if names.len() > 4 {
        return Err(EncodingProblem::Broken("encoded too often"));
    }
    let mut bytes = Cow::Borrowed(body);
    for name in names.iter().rev() {
        bytes = match name.as_str() {
            "" | "identity" => continue,
            "deflate" => match read(ZlibDecoder::new(&*bytes), "not deflate") {
                Err(EncodingProblem::Broken(_)) => read(DeflateDecoder::new(&*bytes), "not deflate"),
                other => other,
            },
            "gzip" | "x-gzip" => read(MultiGzDecoder::new(&*bytes), "not gzip"),
            _ => Err(EncodingProblem::Unknown(name.clone())),
        }
        .map(Cow::Owned)?;
    }
    Ok(bytes)
}

fn read(from: impl Read, broken: &'static str) -> Result<Vec<u8>, EncodingProblem> {
    let mut out = Vec::new();
    let read = from.take(SIZE_LIMIT as u64 + 1).read_to_end(&mut out);
    if out.len() > SIZE_LIMIT {
        return Err(EncodingProblem::TooLong);
    }
    read.map(|_| out).map_err(|_| EncodingProblem::Broken(broken))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;
    use std::io::Write;

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).expect("a Vec takes everything");
        encoder.finish().expect("a Vec takes everything")
    }

    #[test]
    fn each_encoding_is_undone() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(b"hej").expect("a Vec takes everything");
        let mut bare = DeflateEncoder::new(Vec::new(), Compression::best());
        bare.write_all(b"hej").expect("a Vec takes everything");
        for (name, bytes) in [
            ("deflate", zlib(b"hej")),
            ("Deflate", bare.finish().expect("a Vec takes everything")),
            ("gzip", gzip.finish().expect("a Vec takes everything")),
            ("identity", b"hej".to_vec()),
            ("deflate, identity , deflate", zlib(&zlib(b"hej"))),
        ] {
            assert_eq!(decode(name, &bytes).as_deref(), Ok(&b"hej"[..]), "{name}");
        }
    }

    #[test]
    fn an_unknown_encoding_is_named_and_a_broken_one_is_told() {
        assert_eq!(decode("br", b"x"), Err(EncodingProblem::Unknown("br".into())));
        assert_eq!(decode("deflate", b"hej"), Err(EncodingProblem::Broken("not deflate")));
        assert_eq!(decode("gzip", &zlib(b"x")), Err(EncodingProblem::Broken("not gzip")));
    }

    #[test]
    fn a_bomb_does_not_go_off() {
        let bomb = zlib(&vec![0; 64 * 1024 * 1024]);
        assert!(bomb.len() < 128 * 1024);
        assert_eq!(decode("deflate", &bomb), Err(EncodingProblem::TooLong));
        assert_eq!(decode("deflate, deflate", &zlib(&bomb)), Err(EncodingProblem::TooLong));
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode("deflate", &body);
            let _ = decode("gzip", &body);
        }
    }
}
