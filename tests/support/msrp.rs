//! The MSRP side of a conversation: frames as text, and connections that the runner plays.
//!
//! A frame is written like a SIP message: first line, headers, blank line, body. Its end stands as a header, `End: $`
//! where nothing else is written. A connection that is wanted comes out as `CONNECT` with where it goes, and whose
//! certificate is to be there.

use bytes::Bytes;
use mostar::msrp::frame::decoder::Decoder;
use mostar::msrp::{AttemptId, ConnId, Link, MsrpIn, MsrpOut};
use mostar::shell::record::frames;

use super::written::header_of;

/// What the runner knows of connections.
#[derive(Default)]
pub struct Msrp {
    /// The last attempt to connect that came out.
    attempt: Option<AttemptId>,
    /// The last request that came out, as text.
    last_request: Option<String>,
    /// The last frame that came out, as text.
    last: Option<String>,
}

impl Msrp {
    /// What came out, as texts; and what the shell would tell at once.
    pub fn came_out(&mut self, out: &MsrpOut) -> (Vec<String>, Option<MsrpIn>) {
        match out {
            MsrpOut::Connect { attempt, hop, fingerprint, .. } => {
                self.attempt = Some(*attempt);
                let fingerprint = fingerprint.as_ref().map(|text| format!("Fingerprint: {text}\r\n"));
                (vec![format!("CONNECT {hop}\r\n{}\r\n", fingerprint.unwrap_or_default())], None)
            }
            MsrpOut::Send { conn, bytes } => {
                let texts = frames::texts(bytes);
                for text in &texts {
                    if text.lines().next().is_some_and(|line| !is_response(line)) {
                        self.last_request = Some(text.clone());
                    }
                    self.last = Some(text.clone());
                }
                (texts, Some(MsrpIn::Drained { conn: *conn, bytes: bytes.len() }))
            }
            MsrpOut::Keep(_) | MsrpOut::Release(_) => (Vec::new(), None),
        }
    }

    /// What a step says happens: `connected`, `refused`, `lost`, `in`; each on connection 1 or the one that is named, with
    /// TLS where it says `tls`.
    pub fn happens(&mut self, words: &[&str], text: &str) -> Result<MsrpIn, String> {
        let conn = match words.iter().position(|word| *word == "conn") {
            Some(at) => words.get(at + 1).and_then(|number| number.parse().ok()).ok_or("conn NUMBER")?,
            None => 1,
        };
        let link = Link { conn: ConnId(conn), secure: words.contains(&"tls") };
        let attempt = || self.attempt.ok_or("nothing was to be connected");
        Ok(match words {
            ["connected", ..] => MsrpIn::Connected { attempt: attempt()?, link },
            ["refused", ..] => MsrpIn::NotConnected { attempt: attempt()?, why: "connection refused".into() },
            ["lost", ..] => MsrpIn::Lost { conn: link.conn, why: "connection reset".into() },
            ["in", ..] => {
                let bytes = self.complete(text)?;
                let mut decoder = Decoder::new(1 << 20);
                decoder.push(&bytes);
                match decoder.next_frame() {
                    Some(Ok(frame)) => MsrpIn::Frame { link, frame: Box::new(frame) },
                    Some(Err(garbage)) => return Err(format!("no frame: {}", garbage.0)),
                    None => return Err("the frame does not end".into()),
                }
            }
            _ => return Err("`msrp connected`, `refused`, `lost` or `in`".into()),
        })
    }

    /// The bytes of a frame; paths that are not written are those of the last request, the other way round.
    fn complete(&self, text: &str) -> Result<Bytes, String> {
        let (head, body) = match text.split_once("\n\n") {
            Some((head, body)) => (head, Some(body.strip_suffix('\n').unwrap_or(body))),
            None => (text.trim_end(), None),
        };
        let mut lines: Vec<String> = head.lines().map(|line| line.trim_end().to_owned()).collect();
        let first = lines.first().cloned().unwrap_or_default();
        let model = if is_response(&first) { &self.last_request } else { &self.last };
        let mut at = 1;
        for (name, other) in [("To-Path", "From-Path"), ("From-Path", "To-Path")] {
            if let (None, Some(value)) =
                (header_of(head, name), model.as_deref().and_then(|model| header_of(model, other)))
            {
                lines.insert(at, format!("{name}: {value}"));
                at += 1;
            }
        }
        let end = header_of(head, "End").unwrap_or("$").to_owned();
        lines.retain(|line| !line.starts_with("End:"));
        let tid = first.split(' ').nth(1).ok_or("MSRP TID …")?;
        let body = body.map_or(String::new(), |body| format!("\r\n{body}\r\n"));
        Ok(format!("{}\r\n{body}-------{tid}{end}\r\n", lines.join("\r\n")).into())
    }
}

fn is_response(line: &str) -> bool {
    line.split(' ').nth(2).is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_digit()))
}
