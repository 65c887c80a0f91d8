//! Messages as vectors write them: what is not written is filled in where they come in, and may be anything where they go
//! out.

use super::pattern::{self, Bindings};
use super::xml;

/// The first value of a header in a message's text.
pub fn header_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().skip(1).take_while(|line| !line.trim().is_empty()).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Fills in what a message needs and the vector did not write, and puts CRLF at the ends of lines of the head.
pub fn complete(text: &str, model: Option<&str>, number: u64) -> String {
    let (head, body) = match text.split_once("\n\n") {
        Some((head, body)) => (head, body.strip_suffix('\n').unwrap_or(body)),
        None => (text.trim_end(), ""),
    };
    let mut lines: Vec<String> = head.lines().map(|line| line.trim_end().to_owned()).collect();
    let has = |lines: &[String], name: &str| {
        lines.iter().skip(1).any(|line| {
            line.split_once(':').is_some_and(|(found, _)| found.trim().eq_ignore_ascii_case(name))
        })
    };
    if let Some(model) = model {
        for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
            if !has(&lines, name)
                && let Some(value) = header_of(model, name)
            {
                let is_final = !head.starts_with("SIP/2.0 1");
                let tag = if name == "To" && !value.contains(";tag=") && is_final { ";tag=peer" } else { "" };
                lines.push(format!("{name}: {value}{tag}"));
            }
        }
    } else {
        if !has(&lines, "Via") {
            lines.insert(1, format!("Via: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKvec{number}"));
        }
        if !head.starts_with("SIP/2.0") && !has(&lines, "Max-Forwards") {
            lines.push("Max-Forwards: 69".into());
        }
    }
    if !has(&lines, "Content-Length") {
        lines.push(format!("Content-Length: {}", body.len()));
    }
    format!("{}\r\n\r\n{body}", lines.join("\r\n"))
}

/// Compares a message that came out, SIP or MSRP, with what a vector writes of it; the error says what it lacks.
pub fn compare(expected: &str, text: &str, bindings: &mut Bindings) -> Result<(), String> {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let (wanted_head, wanted_body) = match expected.split_once("\n\n") {
        Some((head, body)) => (head, Some(body.trim_end_matches('\n'))),
        None => (expected.trim_end(), None),
    };
    let mut wanted = wanted_head.lines();
    let first = wanted.next().unwrap_or_default();
    let mut lines = head.lines();
    if !pattern::line(first, lines.next().unwrap_or_default(), bindings) {
        return Err(format!("expected {first}"));
    }
    let headers: Vec<_> = lines.filter_map(|line| line.split_once(':')).collect();
    for line in wanted {
        if let Some(name) = line.strip_prefix('!') {
            if headers.iter().any(|(found, _)| found.eq_ignore_ascii_case(name.trim())) {
                return Err(format!("{name} must be absent"));
            }
            continue;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| format!("no header: {line}"))?;
        let found = headers.iter().any(|(found, got)| {
            found.eq_ignore_ascii_case(name) && pattern::line(value.trim(), got.trim(), bindings)
        });
        if !found {
            return Err(format!("expected {line}"));
        }
    }
    let Some(wanted) = wanted_body else { return Ok(()) };
    let matches = if wanted.trim_start().starts_with('<') && body.trim_start().starts_with('<') {
        let wanted = xml::lines(&xml::parse(wanted)?);
        let got = xml::lines(&xml::parse(body)?);
        pattern::block(&wanted, &got, bindings)
    } else {
        pattern::block(wanted, body, bindings)
    };
    if matches { Ok(()) } else { Err(format!("expected the body\n{wanted}")) }
}
