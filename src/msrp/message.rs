//! Messages as the owner of a session sees them, whole, and what their senders want to be told.

use bytes::Bytes;

use super::frame::{FailureReport, Request};

/// A message that arrived whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InMessage {
    /// Content-Type, as it came; absent where a sender forgot it.
    pub content_type: Option<String>,
    /// Further headers, those of MIME among them.
    pub headers: Vec<(String, String)>,
    /// The content.
    pub body: Bytes,
    /// What its sender wants to be told, and under which id.
    pub receipt: Receipt,
}

/// What the sender of a message wants to be told of it. The owner keeps it until it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Message-ID.
    pub message_id: String,
    /// How many bytes arrived.
    pub length: u64,
    /// A success REPORT is wanted.
    pub success_report: bool,
    /// Which failures are wanted.
    pub failure_report: FailureReport,
}

impl Receipt {
    /// What a SEND asks for, of a message of this length.
    pub fn of(request: &Request, length: u64) -> Receipt {
        Receipt {
            message_id: request.message_id.clone().unwrap_or_default(),
            length,
            success_report: request.success_report,
            failure_report: request.failure_report,
        }
    }

    /// Whether a REPORT with this code may be sent (§7.1.3, §7.1.4).
    pub fn wants(&self, code: u16) -> bool {
        if code == 200 { self.success_report } else { self.failure_report != FailureReport::No }
    }
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutMessage {
    /// Message-ID: unique for ever; the same when the message is sent again in another session (§5.4). It must be an
    /// `ident` ([`is_ident`](super::frame::is_ident)).
    pub message_id: String,
    /// Content-Type.
    pub content_type: String,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// The content.
    pub body: Bytes,
    /// A success REPORT is wanted.
    pub success_report: bool,
    /// Which failures are wanted.
    pub failure_report: FailureReport,
}

impl OutMessage {
    /// A message of which every failure and the delivery shall be told.
    pub fn new(message_id: String, content_type: &str, body: Bytes) -> OutMessage {
        OutMessage {
            message_id,
            content_type: content_type.to_owned(),
            headers: Vec::new(),
            body,
            success_report: true,
            failure_report: FailureReport::Yes,
        }
    }
}
