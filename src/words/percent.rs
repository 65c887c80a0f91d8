//! Percent-encoding (RFC 3986 §2.1), which URIs of all schemes share.

/// Undoes it; the result must be UTF-8. The error says what is wrong.
pub fn decode(bytes: &[u8]) -> Result<String, String> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !bytes.contains(&b'%')
    {
        return Ok(text.to_owned());
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            out.push(first);
            continue;
        }
        let (high, low) = match tail {
            [high, low, ..] => (hex(*high), hex(*low)),
            _ => (None, None),
        };
        let (Some(high), Some(low)) = (high, low) else {
            return Err("'%' without two hexadecimal digits".to_owned());
        };
        out.push(high << 4 | low);
        rest = &tail[2..];
    }
    String::from_utf8(out).map_err(|error| {
        let bad = error.as_bytes().get(error.utf8_error().valid_up_to()).copied().unwrap_or_default();
        format!("%{bad:02X} is not UTF-8")
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}
