//! Deliberate faults: each a mistake that somebody could make here, to show that the simulations find it
//! (`tests/sabotage.rs`, with the feature `sabotage`). Without the feature [`is`] is a constant, and costs nothing.

/// A mistake. Which invariant it breaks stands behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A SIP answer does not wait for the commit: 2.
    AnsweredFirst,
    /// A phone hangs up, and stays in the room: 10.
    LeaveForgotten,
    /// Who leaves a conference of SIP is shown on: 10.
    LeaveUnseen,
    /// A contact's presence that changed while the link was down is not told: 9.
    NewsLost,
    /// A user takes back her consent, and is shown on: 9.
    ConsentKept,
    /// The same MESSAGE again is another message: 4.
    NotRecognised,
    /// The same MSRP message again, in another session, is another message: 5.
    NotRecognisedInMsrp,
    /// Pieces of an MSRP message are let go of, and nobody is told: 5.
    PiecesUntold,
    /// An attempt that failed goes behind what waits: 7.
    RetryOvertaken,
    /// An attempt has another name than the one before: 6.
    RetryRenamed,
    /// What comes while a request is out sends that again: 6.
    SentTwice,
    /// A sender is told of a failure twice: 6.
    ToldTwice,
    /// A sender is told of no failure: 1.
    NeverTold,
    /// A message is forgotten when it is sent, not when its fate is known: 1.
    ForgottenEarly,
    /// What was in flight when the link broke counts as delivered: 1.
    ForgottenAtBreak,
    /// What was refused is in no figure: 1.
    Miscounted,
    /// A message is kept for longer than was promised: 1.
    KeptTooLong,
    /// What was refused is tried once more: 3.
    RefusedLater,
    /// An error is taken for a message: 8.
    ErrorTaken,
    /// What may be a machine's answer is answered: 8.
    NeverQuiet,
    /// A subscription goes on after its expiry: 9.
    Outlives,
    /// Lines that waited are told in another order: 10.
    LinesTurned,
}

#[cfg(not(feature = "sabotage"))]
/// Whether this mistake is made.
#[inline]
#[must_use]
pub const fn is(_fault: Fault) -> bool {
    false
}

#[cfg(feature = "sabotage")]
pub use chosen::{ALL, choose, is};

#[cfg(feature = "sabotage")]
mod chosen {
    use std::cell::Cell;

    use super::Fault;

    /// Every mistake.
    pub const ALL: [Fault; 22] = [
        Fault::AnsweredFirst,
        Fault::LeaveForgotten,
        Fault::LeaveUnseen,
        Fault::NewsLost,
        Fault::ConsentKept,
        Fault::NotRecognised,
        Fault::NotRecognisedInMsrp,
        Fault::PiecesUntold,
        Fault::RetryOvertaken,
        Fault::RetryRenamed,
        Fault::SentTwice,
        Fault::ToldTwice,
        Fault::NeverTold,
        Fault::ForgottenEarly,
        Fault::ForgottenAtBreak,
        Fault::Miscounted,
        Fault::KeptTooLong,
        Fault::RefusedLater,
        Fault::ErrorTaken,
        Fault::NeverQuiet,
        Fault::Outlives,
        Fault::LinesTurned,
    ];

    thread_local! {
        static CHOSEN: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    /// This thread makes this mistake from now on, or none.
    pub fn choose(fault: Option<Fault>) {
        CHOSEN.set(fault);
    }

    /// Whether this mistake is made.
    #[must_use]
    pub fn is(fault: Fault) -> bool {
        CHOSEN.get() == Some(fault)
    }
}
