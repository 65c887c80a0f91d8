//! Requests inside the dialog (RFC 3261 §12.2.2, §14.2, §15.1.2; RFC 3311 §5.2).

use super::server::{Asked, Question};
use super::{Event, Sent, Session, State, parts, timer};
use crate::sip::message::{self, HeaderName, Method, Reply, Request, ServerKey};
use crate::sip::sdp;
use crate::words::id::Mint;
use crate::words::time::Now;

impl Session {
    /// A request that [`Session::holds`]. False for a method that is not this usage's: then the owner answers it.
    pub fn request(&mut self, now: Now, mint: &mut Mint, key: ServerKey, request: &Request) -> bool {
        let method = &request.method;
        if self.opening.is_some() && !self.dialog.holds(&request.headers) {
            // An early dialog of our own INVITE: our offer has no answer yet (RFC 3311 §5.2).
            let status = if *method == Method::Update { 491 } else { 481 };
            self.reply(key, Reply::new(status));
            return true;
        }
        if !message::cseq(&request.headers).is_some_and(|cseq| self.dialog.accepts_cseq(cseq)) {
            self.reply(key, Reply::new(500).because("CSeq out of order"));
            return true;
        }
        match method {
            Method::Bye => self.bye_came(key, request),
            Method::Invite | Method::Update | Method::Options if self.state == State::Over => {
                self.reply(key, Reply::new(481));
            }
            Method::Invite => self.take(now, mint, key, request, Question::Reinvite),
            Method::Update => self.take(now, mint, key, request, Question::Update),
            Method::Options => {
                let reply = self.equipped(200).with(HeaderName::Accept, sdp::TYPE);
                self.reply(key, reply);
            }
            _ => return false,
        }
        true
    }

    fn take(&mut self, now: Now, mint: &mut Mint, key: ServerKey, request: &Request, question: Question) {
        if let Err(reply) = self.consider(now, mint, key, request, question) {
            let to_tag = Some(self.dialog.local_tag.clone());
            self.reply(key, Reply { to_tag, ..reply });
        }
    }

    /// A re-INVITE or UPDATE: what can be answered without the owner is, the rest is told.
    fn consider(
        &mut self,
        now: Now,
        mint: &mut Mint,
        key: ServerKey,
        request: &Request,
        question: Question,
    ) -> Result<(), Reply> {
        let offer = parts::offer_in(request)?;
        let timer = timer::Terms::of(&request.headers)?;
        let is_update = question == Question::Update;
        if is_update && offer.is_none() {
            self.dialog.refresh_target(&request.headers);
            let mut reply = self.equipped(200);
            reply.headers.extend(timer.headers());
            self.set_timer(now, timer.timing());
            self.reply(key, reply);
            return Ok(());
        }
        if self.asked.is_some() {
            // §14.2: one of theirs is not answered yet.
            let after = mint.below(11).to_string();
            return Err(Reply::new(500).with(HeaderName::RetryAfter, after));
        }
        let we_wait = self.is_offering();
        let they_owe = self.unacked.as_ref().is_some_and(|unacked| unacked.is_offer);
        if we_wait || they_owe {
            return Err(Reply::new(491));
        }
        // They send a second INVITE only when they have the answer to the first: its ACK was overtaken, or lost.
        if !is_update {
            self.confirm(None);
        }
        self.updates |= parts::allows_update(&request.headers);
        self.asked = Some(Box::new(Asked {
            key,
            question,
            cseq: message::cseq(&request.headers).unwrap_or_default(),
            has_offer: offer.is_some(),
            timer,
            target: Session::new_target(request),
        }));
        self.tell(Event::Offered(offer));
        Ok(())
    }

    /// A re-INVITE of ours has no answer.
    pub(super) fn is_offering(&self) -> bool {
        self.pending.iter().any(|(_, sent)| matches!(sent, Sent::Invite | Sent::Offer { .. }))
    }
}
