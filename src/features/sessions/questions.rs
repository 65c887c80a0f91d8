//! Which questions the table answers, and what its rows may ask and decide: the one registry behind reading, asking and
//! explaining. What each condition and decision means stands above its list in `mappings/sessions.yaml`.

use super::table::{Form, Question};

/// Every question, in the order of the file.
pub static QUESTIONS: [Question; 11] = [
    Question {
        name: "line",
        conditions: &[
            ("type", Form::Words(&["chat", "normal", "headline"])),
            ("session", Form::Words(&["none", "opening", "open"])),
            ("quiet", Form::AtLeast),
            ("thread", Form::Words(&["none", "same", "other"])),
            ("state", Form::Words(STATES)),
            ("typing", Form::Flag),
            ("msrp", Form::Words(&["unknown", "shown", "refused"])),
            ("takes", Form::Words(ABILITIES)),
            ("lacks", Form::Words(ABILITIES)),
            ("agent", Form::Beginning),
            ("peer", Form::Words(&["learn", "yes", "no"])),
            ("via", Form::Beginning),
            ("domain", Form::Beginning),
            ("long", Form::Flag),
            ("content", Form::Words(&["plain", "html"])),
        ],
        decisions: &[
            ("page", &[]),
            ("ask", &[]),
            ("open", &[]),
            ("use", &[]),
            ("wait", &[]),
            ("refuse", &["condition", "text"]),
        ],
    },
    Question {
        name: "failed",
        conditions: &[
            ("cause", Form::Words(&["refused", "port-zero", "silent", "unreachable", "no-connection"])),
            ("status", Form::Status),
            ("agent", Form::Beginning),
            ("via", Form::Beginning),
            ("domain", Form::Beginning),
        ],
        decisions: &[("page", &["for"]), ("refuse", &["for", "condition", "text"])],
    },
    Question {
        name: "broken",
        conditions: &[("cause", Form::Words(&["lost", "ended", "no-answer", "restart"]))],
        decisions: &[("again", &[]), ("session", &[]), ("tell", &[])],
    },
    Question {
        name: "held",
        conditions: &[("opened", Form::Words(OPENED))],
        decisions: &[("page", &["after"]), ("wait", &[])],
    },
    Question {
        name: "invited",
        conditions: &[
            ("user", Form::Words(USER)),
            ("calls", Form::Flag),
            ("agent", Form::Beginning),
            ("via", Form::Beginning),
            ("domain", Form::Beginning),
        ],
        decisions: &[("answer", &[]), ("ask", &[]), ("refuse", &["status", "text"])],
    },
    Question {
        name: "asked",
        conditions: &[("condition", Form::Words(CONDITIONS)), ("says", Form::Beginning)],
        decisions: &[("answer", &[]), ("refuse", &[])],
    },
    Question {
        name: "quiet",
        conditions: &[
            ("opened", Form::Words(OPENED)),
            ("user", Form::Words(USER)),
            ("state", Form::Words(STATES)),
            ("typing", Form::Flag),
        ],
        decisions: &[("hang-up", &["after"]), ("never", &[])],
    },
    Question {
        name: "gone",
        conditions: &[("others", Form::Flag)],
        decisions: &[("hang-up", &[]), ("keep", &[])],
    },
    Question {
        name: "ended",
        conditions: &[("lines", Form::Flag)],
        decisions: &[("gone", &[]), ("nothing", &[])],
    },
    Question { name: "answered", conditions: &[], decisions: &[("received", &[]), ("nothing", &[])] },
    Question {
        name: "extra",
        conditions: &[("what", Form::Words(&["correction", "retraction", "reply", "reaction"]))],
        decisions: &[("text", &[]), ("drop", &[])],
    },
];

/// Who opened a session.
const OPENED: &[&str] = &["us", "them"];

/// What is known of a user's presence.
const USER: &[&str] = &["online", "unknown", "offline"];

/// What a user's client said last of her attention (XEP-0085).
const STATES: &[&str] = &["unknown", "active", "composing", "paused", "inactive", "gone"];

/// What a contact's devices may have shown, in the order of [`Ability`](crate::features::devices::Ability), but for MSRP,
/// which has a condition of its own.
pub const ABILITIES: &[&str] = &["cpim", "imdn", "typing", "html", "message", "invite"];

/// The conditions of RFC 6120 §8.3.3.
const CONDITIONS: &[&str] = &[
    "bad-request",
    "conflict",
    "feature-not-implemented",
    "forbidden",
    "gone",
    "internal-server-error",
    "item-not-found",
    "jid-malformed",
    "not-acceptable",
    "not-allowed",
    "not-authorized",
    "policy-violation",
    "recipient-unavailable",
    "redirect",
    "registration-required",
    "remote-server-not-found",
    "remote-server-timeout",
    "resource-constraint",
    "service-unavailable",
    "subscription-required",
    "undefined-condition",
    "unexpected-request",
];
