//! The subscription that a REFER makes (RFC 3515 §2.4.4–2.4.7).

use bytes::Bytes;

use super::Wish;
use crate::sip::agent::reason_of;
use crate::sip::dialog::Dialog;
use crate::sip::flow::Flow;
use crate::sip::message::{self, HeaderName, Reply, Request};
use crate::sip::usage::notifier::{Body, Notifier, Reason};
use crate::sip::usage::package::{REFER, Terms};
use crate::words::id::Partition;
use crate::words::time::Now;

/// Tells who asked what became of it: 100 at once, the newest status at most once a second, and the final one, with which it
/// ends. Where the final status is known before the first NOTIFY goes, that is the only one.
#[derive(Clone, Debug)]
pub struct Referral {
    /// The subscription, for all that is the same with any other: when a NOTIFY is due, its answer, a refresh.
    pub notifier: Notifier,
    status: u16,
}

impl Referral {
    /// Accepts a REFER outside dialogs. Without a wish for news there is nothing to keep. The refusal is for a REFER that makes
    /// no dialog.
    pub fn accept(
        request: &Request,
        wish: &Wish,
        contact: &str,
        tag: &str,
        partition: Partition,
        flow: &Flow,
        now: Now,
    ) -> Result<(Option<Referral>, Reply), Reply> {
        let mut reply = Reply { to_tag: Some(tag.to_owned()), ..accepted(wish, contact) };
        if !wish.wants_news {
            return Ok((None, reply));
        }
        let (notifier, granted) =
            Notifier::accept(request, &terms(None), contact, tag, partition, flow, now)?;
        reply.to_tag = granted.to_tag;
        Ok((Some(Referral::new(notifier, now)), reply))
    }

    /// Accepts a REFER inside the dialog of a session: [`Notifier::inside`] says how it is shared. Event has an id there, since
    /// there may be several (§2.4.6).
    pub fn accept_inside(
        dialog: &mut Dialog,
        request: &Request,
        wish: &Wish,
        contact: &str,
        flow: &Flow,
        now: Now,
    ) -> (Option<Referral>, Reply) {
        let reply = accepted(wish, contact);
        if !wish.wants_news {
            dialog.refresh_target(&request.headers);
            return (None, reply);
        }
        let terms = terms(message::cseq(&request.headers));
        let (notifier, _) = Notifier::accept_inside(dialog, request, &terms, contact, flow, now);
        (Some(Referral::new(notifier, now)), reply)
    }

    fn new(mut notifier: Notifier, now: Now) -> Referral {
        notifier.activate();
        notifier.want_now(now);
        Referral { notifier, status: 100 }
    }

    /// How far it has come: a status of what was asked for. A final one is the last.
    pub fn progress(&mut self, status: u16, now: Now) {
        if self.status >= 200 || self.status == status {
            return;
        }
        self.status = status;
        if status >= 200 {
            self.notifier.end(Reason::NoResource, None, now);
        } else {
            self.notifier.want(now);
        }
    }

    /// Nothing will be known of it: the last word is 100, and no more will come.
    pub fn leave_open(&mut self, now: Now) {
        if self.status < 200 {
            self.notifier.end(Reason::NoResource, None, now);
        }
    }

    /// What the next NOTIFY carries.
    pub fn body(&self) -> Body {
        let line = format!("SIP/2.0 {} {}\r\n", self.status, reason_of(self.status));
        Body { kind: "message/sipfrag;version=2.0", language: None, bytes: Bytes::from(line) }
    }
}

/// 200, since RFC 7647 §5 has done away with 202.
fn accepted(wish: &Wish, contact: &str) -> Reply {
    let reply = Reply::new(200).with(HeaderName::Contact, contact);
    if wish.wants_news { reply } else { reply.with(HeaderName::ReferSub, "false") }
}

fn terms(id: Option<u32>) -> Terms {
    let event = match id {
        Some(id) => format!("{};id={id}", REFER.name),
        None => REFER.name.to_owned(),
    };
    Terms { event, expires: REFER.default_expires, pace: REFER.pace }
}
