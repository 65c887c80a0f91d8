//! Frames of MSRP as vectors write them: like a SIP message, with the character of the end-line as a header.

use bytes::{Bytes, BytesMut};

use crate::msrp::frame::Frame;
use crate::msrp::frame::decoder::Decoder;

/// Long enough for whatever we send.
const BODY_LIMIT: usize = 1 << 24;

/// The frames in what is sent, as texts.
pub fn texts(bytes: &Bytes) -> Vec<String> {
    let mut decoder = Decoder::new(BODY_LIMIT);
    decoder.push(bytes);
    let frames = std::iter::from_fn(|| decoder.next_frame());
    frames.filter_map(Result::ok).map(|frame| text(&frame)).collect()
}

/// A frame as text.
pub fn text(frame: &Frame) -> String {
    let mut printed = BytesMut::new();
    let (body, end) = match frame {
        Frame::Request(request) => {
            request.write(&mut printed);
            (request.body.as_ref(), request.flag.byte())
        }
        Frame::Response(response) => {
            response.write(&mut printed);
            (None, b'$')
        }
    };
    let printed = String::from_utf8_lossy(&printed);
    let head = printed.split("\r\n\r\n").next().unwrap_or_default();
    let head = head.split("\r\n-------").next().unwrap_or_default();
    let body = body.map_or_else(String::new, |body| String::from_utf8_lossy(body).into_owned());
    format!("{head}\r\nEnd: {}\r\n\r\n{body}", char::from(end))
}
