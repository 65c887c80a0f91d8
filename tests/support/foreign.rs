//! A second, foreign parser reads everything that we print: `rsip`.
//!
//! Its known defects are kept away from it here, each with its reason, so that what remains is our fault.

/// What `rsip` 0.4 cannot read though it is right.
fn known_defect(text: &str) -> Option<&'static str> {
    if text.contains("@[") || text.contains("//[") || text.contains(" [") {
        return Some("rsip refuses IPv6 references");
    }
    None
}

/// Fails when `rsip` refuses the message or reads another Call-ID than stands there.
pub fn reads(bytes: &[u8]) -> Result<(), String> {
    use rsip::prelude::{HeadersExt, UntypedHeader};
    let text = String::from_utf8_lossy(bytes);
    if known_defect(&text).is_some() {
        return Ok(());
    }
    let message =
        rsip::SipMessage::try_from(bytes).map_err(|error| format!("rsip cannot read it: {error}\n{text}"))?;
    let call_id = match &message {
        rsip::SipMessage::Request(request) => {
            request.call_id_header().map(|header| header.value().to_owned())
        }
        rsip::SipMessage::Response(response) => {
            response.call_id_header().map(|header| header.value().to_owned())
        }
    };
    match call_id {
        Ok(read) if text.contains(&read) => Ok(()),
        Ok(read) => Err(format!("rsip reads Call-ID {read}\n{text}")),
        Err(error) => Err(format!("rsip finds no Call-ID: {error}\n{text}")),
    }
}
