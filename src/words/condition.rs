//! A failure with a face on both sides: what went wrong, for whom, and in words.
//!
//! The kinds are the defined conditions of RFC 6120 §8.3.3, because they are the coarser of the two vocabularies:
//! every SIP status has one (RFC 7247 table 3) and, with the scope, the way back is a function too (table 2). The two
//! tables are `mappings/errors.yaml`; [`crate::features::errors`] reads them.

use serde::{Deserialize, Serialize};

/// The defined stanza error conditions, in the order of RFC 6120 §8.3.3. Each is written as the element it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names are the standard's own")]
pub enum Kind {
    BadRequest,
    Conflict,
    FeatureNotImplemented,
    Forbidden,
    Gone,
    InternalServerError,
    ItemNotFound,
    JidMalformed,
    NotAcceptable,
    NotAllowed,
    NotAuthorized,
    PolicyViolation,
    RecipientUnavailable,
    Redirect,
    RegistrationRequired,
    RemoteServerNotFound,
    RemoteServerTimeout,
    ResourceConstraint,
    ServiceUnavailable,
    SubscriptionRequired,
    UndefinedCondition,
    UnexpectedRequest,
}

/// Whom a failure concerns: one device (a full JID, a GRUU) or the whole person (a bare JID, an AOR).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// One device; other devices of the person may still answer.
    Full,
    /// The person.
    Bare,
}

/// A failure, made where it happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// What kind of failure.
    pub kind: Kind,
    /// Whom it concerns.
    pub scope: Scope,
    /// A sentence that a person understands; shown to the sender.
    pub text: Option<String>,
    /// Where the recipient went, for `gone` and `redirect`: a URI.
    pub redirect: Option<String>,
}

impl Condition {
    /// A failure that concerns the whole person, with a sentence for the sender.
    pub fn new(kind: Kind, text: impl Into<String>) -> Condition {
        Condition { kind, scope: Scope::Bare, text: Some(text.into()), redirect: None }
    }
}
