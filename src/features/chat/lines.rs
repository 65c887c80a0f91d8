//! What goes to SIP in a session: lines, what becomes of each (RFC 7573 §4 and §7, RFC 4975 §7.1), and typing (§6).
//!
//! A line is delivered once the next hop has it (Failure-Report `yes`, answered 200), and proven by a success REPORT. A
//! failure that is reported after that is told to the sender as an error.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::talk::{Composing, Line, Stage, Style, Talk, TalkId};
use super::{Alarm, Chat};
use crate::documents::imdn::{self, Wanted};
use crate::documents::{cpim, date, iscomposing};
use crate::features::devices::Ability;
use crate::features::sessions::{self, Break};
use crate::features::signal::{Carried, Carry, Whisper};
use crate::features::{Cx, Signal, errors, rich};
use crate::msrp::frame::FailureReport;
use crate::msrp::message::OutMessage;
use crate::msrp::session::{By, Unsendable};
use crate::words::condition::{Condition, Kind};
use crate::words::text::is_language;
use crate::words::time::Wall;
use crate::xmpp::stanza::{Stanza, StanzaKind};

/// What an envelope says besides who, to whom and when.
#[derive(Clone, Copy, Default)]
struct Envelope<'a> {
    subject: Option<&'a str>,
    /// The message's name in reports, by which it is known where it comes again, and what is wanted (RFC 5438 §6.3).
    name: Option<(&'a str, Wanted)>,
}

/// Typing is told no more often than this: of what comes sooner, the latest.
const TYPING: Duration = Duration::from_secs(1);

/// How many lines of a session wait for nothing but a report.
const UNREPORTED: usize = 200;

impl Chat {
    /// Gives MSRP the lines that may go, in their order.
    pub(super) fn flow(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        self.watch_hold(cx, id);
        loop {
            let Some(talk) = self.talks.get_mut(&id).filter(|talk| talk.may_send()) else { return };
            let Some(place) = talk.lines.iter().position(|line| line.sent.is_none() && !line.told) else {
                return;
            };
            let Some((session, line)) = talk.leg.msrp.zip(talk.lines.get_mut(place)) else { return };
            line.sent = Some(session);
            // She has written what she was typing.
            talk.typing = None;
            line.rich = talk.taste.html && line.carry.rich.is_some();
            let carry = line.carry.clone();
            let most = cx.msrp.session(session).and_then(|session| session.terms()?.max_size);
            let message = talk.message(cx, &carry, most.unwrap_or(u64::MAX));
            let length = message.body.len();
            let Err((why, _)) = cx.msrp.send(cx.now.tick, cx.mint, session, message) else { continue };
            let fate = match why {
                Unsendable::TooLarge => {
                    let most = most.unwrap_or_default();
                    let text =
                        format!("This message has {length} bytes; the other side takes at most {most}.");
                    Carried::Refused(Condition::new(Kind::PolicyViolation, text))
                }
                Unsendable::Full => {
                    let text = "Too many messages wait for this contact; please try again later.";
                    Carried::Refused(Condition::new(Kind::ResourceConstraint, text))
                }
                // The session ends, and its end gives back what waits.
                Unsendable::Ending => {
                    if let Some(line) = self.talks.get_mut(&id).and_then(|talk| talk.lines.get_mut(place)) {
                        line.sent = None;
                    }
                    return;
                }
                Unsendable::Malformed | Unsendable::Twice => {
                    Carried::Broken { how: Break::Lost, sent: false }
                }
            };
            if let Some(talk) = self.talks.get_mut(&id) {
                talk.lines.remove(place);
            }
            cx.signal(Signal::Carried { number: carry.number, fate });
        }
    }

    /// Lines that wait because of a hold do so for a time, which is a row's.
    fn watch_hold(&mut self, cx: &Cx<'_>, id: TalkId) {
        let Some(talk) = self.talks.get_mut(&id) else { return };
        if !talk.leg.held || !talk.has_waiting() {
            if talk.held_until.take().is_some() {
                self.timers.stop(&Alarm::Held(id));
            }
        } else if talk.held_until.is_none()
            && let Some(time) = sessions::held(&cx.config.sessions, talk.ours)
        {
            talk.held_until = Some(cx.now.tick + time);
            self.timers.set(Alarm::Held(id), cx.now.tick + time);
        }
    }

    /// They have had us on hold for long: what waits goes another way.
    pub(super) fn held_enough(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        let Some(talk) = self.talks.get_mut(&id) else { return };
        talk.held_until = None;
        let (wait, others) =
            std::mem::take(&mut talk.lines).into_iter().partition(|line| line.sent.is_none() && !line.told);
        talk.lines = others;
        let wait: VecDeque<Line> = wait;
        for line in wait {
            let fate = Carried::Broken { how: Break::Ended, sent: false };
            cx.signal(Signal::Carried { number: line.carry.number, fate });
        }
    }

    /// The next hop has a line.
    pub(super) fn sent(&mut self, cx: &mut Cx<'_>, id: TalkId, message_id: &str) {
        let Some(talk) = self.talks.get_mut(&id) else { return };
        let Some(place) = talk.place(message_id) else { return };
        let Some(line) = talk.lines.get_mut(place) else { return };
        deliver(cx, line);
        if !line.carry.receipt {
            talk.lines.remove(place);
        } else if talk.lines.iter().filter(|line| line.told).count() > UNREPORTED
            && let Some(oldest) = talk.lines.iter().position(|line| line.told)
        {
            talk.lines.remove(oldest);
        }
    }

    /// A client of the other side's has a line.
    pub(super) fn delivered(&mut self, cx: &mut Cx<'_>, id: TalkId, message_id: &str) {
        let Some(talk) = self.talks.get_mut(&id) else { return };
        let Some(mut line) = talk.place(message_id).and_then(|place| talk.lines.remove(place)) else {
            return;
        };
        deliver(cx, &mut line);
        if let Some(id) = line.carry.id.clone().filter(|_| line.carry.receipt) {
            let Carry { user, contact: to, to: address, message_id: name, .. } = (*line.carry).clone();
            cx.signal(Signal::Proved { user, to, id, contact: address.aor, name });
        }
    }

    /// A line did not arrive.
    pub(super) fn failed(
        &mut self,
        cx: &mut Cx<'_>,
        id: TalkId,
        message_id: &str,
        code: u16,
        comment: &str,
        by: By,
    ) {
        let Some(talk) = self.talks.get_mut(&id) else { return };
        let Some(place) = talk.place(message_id) else { return };
        let Some(line) = talk.lines.get_mut(place) else { return };
        if by == By::Silence {
            // Whoever does not answer in 30 seconds is not there (RFC 4975 §7.1.1): so for all that follows.
            return self.close(cx, id, Break::NoAnswer);
        }
        if code == 415 && !line.told && line.rich {
            (line.rich, line.sent) = (false, None);
            talk.taste.html = false;
            return self.flow(cx, id);
        }
        if code == 415 && !line.told && !line.turned {
            (line.turned, line.sent) = (true, None);
            self.turn(cx, id);
            return self.flow(cx, id);
        }
        let Some(line) = talk.lines.remove(place) else { return };
        let condition = condition_of(code, comment);
        if !line.told {
            let fate = Carried::Refused(condition);
            return cx.signal(Signal::Carried { number: line.carry.number, fate });
        }
        if let Some(error) = errors::stanza_error(&stanza_of(&line.carry), &condition) {
            cx.count("messages_failed_late_total", &[("direction", "xmpp_to_sip")]);
            cx.stanza(error);
        }
    }

    /// The other side refused the style in which a text went: from now on it is the other one.
    fn turn(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        let Some(talk) = self.talks.get_mut(&id) else { return };
        talk.style = match talk.style {
            Style::Plain => Style::Wrapped,
            Style::Wrapped => Style::Plain,
        };
        let can = talk.style == Style::Wrapped;
        cx.facts.devices.shows(cx.now.tick, &talk.contact, &talk.device, Ability::Cpim, can);
    }

    /// Typing goes in the session that a line would go in, if it is there and takes such things.
    pub(super) fn whisper(&mut self, cx: &mut Cx<'_>, whisper: &Arc<Whisper>) {
        if whisper.type_ != iscomposing::TYPE {
            return;
        }
        let all = self.of_pair(&whisper.user.bare(), &whisper.to.aor);
        let talks = all.iter().filter_map(|id| Some((*id, self.talks.get(id)?)));
        let open = talks.filter(|(_, talk)| talk.stage == Stage::Open && talk.may_send());
        let Some((id, _)) = open.max_by_key(|(_, talk)| talk.heard) else { return };
        let Some(talk) = self.talks.get_mut(&id) else { return };
        let before = talk.typing.replace(whisper.clone());
        match talk.typed.map(|at| at + TYPING).filter(|again| *again > cx.now.tick) {
            Some(again) if before.is_none() => self.timers.set(Alarm::Typing(id), again),
            Some(_) => {}
            None => self.whisper_now(cx, id),
        }
    }

    /// The latest that the user does goes in a session.
    pub(super) fn whisper_now(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        let Some(talk) = self.talks.get_mut(&id) else { return };
        let Some(whisper) = talk.typing.take().filter(|_| talk.stage == Stage::Open && talk.may_send())
        else {
            return;
        };
        talk.typed = Some(cx.now.tick);
        let Some((how, session)) = talk.taste.composing.zip(talk.leg.msrp) else { return };
        let is_wrapped = how == Composing::Wrapped || talk.style == Style::Wrapped && talk.taste.cpim;
        let (content_type, body) = match is_wrapped {
            true => {
                let part = [("Content-Type", whisper.type_)];
                let bytes =
                    talk.envelope(cx, cx.now.wall, Envelope::default(), &part, whisper.body.as_bytes());
                (cpim::TYPE, bytes)
            }
            false => (whisper.type_, Bytes::copy_from_slice(whisper.body.as_bytes())),
        };
        let message = OutMessage {
            message_id: cx.token_for(&talk.user),
            content_type: content_type.to_owned(),
            headers: Vec::new(),
            body,
            success_report: false,
            failure_report: FailureReport::No,
        };
        // What does not go now would be old later.
        let _ = cx.msrp.send(cx.now.tick, cx.mint, session, message);
    }

    /// All lines that are not settled go back, in their order.
    pub(super) fn hand_back(&mut self, cx: &mut Cx<'_>, id: TalkId, fate: impl Fn(&Line) -> Carried) {
        let Some(talk) = self.talks.get_mut(&id) else { return };
        for line in std::mem::take(&mut talk.lines) {
            if !line.told {
                cx.signal(Signal::Carried { number: line.carry.number, fate: fate(&line) });
            }
        }
    }
}

impl Talk {
    /// A line as MSRP carries it, of at most so many bytes where it is so short without an envelope.
    fn message(&self, cx: &Cx<'_>, carry: &Carry, most: u64) -> OutMessage {
        // A subject has no other place; whoever takes envelopes gets it.
        let is_wrapped = self.style == Style::Wrapped || carry.subject.is_some() && self.taste.cpim;
        let message = self.written(cx, carry, is_wrapped);
        if is_wrapped && self.taste.plain && message.body.len() as u64 > most {
            return self.written(cx, carry, false);
        }
        message
    }

    fn written(&self, cx: &Cx<'_>, carry: &Carry, is_wrapped: bool) -> OutMessage {
        let html = carry.rich.as_deref().filter(|_| self.taste.html).map(rich::document);
        let text = html.as_deref().unwrap_or(&carry.text);
        let type_ = match (&html, text.is_ascii()) {
            (Some(_), _) => "text/html;charset=UTF-8",
            (None, true) => "text/plain",
            (None, false) => "text/plain;charset=UTF-8",
        };
        let lang = carry.lang.as_deref().filter(|lang| is_language(lang));
        let mut headers = Vec::new();
        let (content_type, body) = if is_wrapped {
            let mut part = vec![("Content-Type", type_)];
            part.extend(lang.map(|lang| ("Content-Language", lang)));
            // A success REPORT tells that it has arrived; that it was read is told by nothing else.
            let reads = cx.facts.devices.can(cx.now.tick, &self.contact, &self.device, Ability::Imdn);
            let wanted = Wanted { display: carry.marker && reads == Some(true), ..Wanted::default() };
            let name = Some((carry.message_id.as_str(), wanted));
            let more = Envelope { subject: carry.subject.as_deref(), name };
            (cpim::TYPE, self.envelope(cx, carry.written, more, &part, text.as_bytes()))
        } else {
            headers.extend(lang.map(|lang| ("Content-Language".to_owned(), lang.to_owned())));
            (type_, Bytes::copy_from_slice(text.as_bytes()))
        };
        OutMessage {
            message_id: carry.message_id.clone(),
            content_type: content_type.to_owned(),
            headers,
            body,
            success_report: carry.receipt,
            failure_report: FailureReport::Yes,
        }
    }

    /// A CPIM message from the user to the contact.
    fn envelope(
        &self,
        cx: &Cx<'_>,
        written: Wall,
        more: Envelope<'_>,
        part: &[(&str, &str)],
        body: &[u8],
    ) -> Bytes {
        let from = cx.domains.user_sip(&self.user).map(|own| format!("<{}>", own.aor)).unwrap_or_default();
        let (to, date) = (format!("<{}>", self.contact), date::write_rfc3339(written));
        let mut headers = vec![("From", from.as_str()), ("To", to.as_str()), ("DateTime", date.as_str())];
        headers.extend(more.subject.map(|subject| ("Subject", subject)));
        let named = more.name.map(|(name, wanted)| imdn::headers(name, wanted)).unwrap_or_default();
        headers.extend(named.iter().map(|(name, value)| (*name, value.as_str())));
        cpim::write(&headers, part, body).into()
    }
}

/// The pager hears once that a line is delivered.
fn deliver(cx: &mut Cx<'_>, line: &mut Line) {
    if !std::mem::replace(&mut line.told, true) {
        cx.signal(Signal::Carried { number: line.carry.number, fate: Carried::Delivered });
    }
}

/// What a code of RFC 4975 §10 means for the sender.
fn condition_of(code: u16, comment: &str) -> Condition {
    let (kind, text) = match code {
        400 => (Kind::BadRequest, "The other side could not read this message."),
        403 => (Kind::Forbidden, "The other side does not allow this message."),
        404 => (Kind::ItemNotFound, "The other side found nobody for this message."),
        408 => (Kind::RemoteServerTimeout, "The other side could not deliver this message in time."),
        413 => (Kind::PolicyViolation, "This message is too long for the other side."),
        415 => (Kind::NotAcceptable, "The other side does not read this kind of message."),
        501 => (Kind::FeatureNotImplemented, "The other side cannot take messages."),
        506 => (Kind::Conflict, "The other side uses this session elsewhere."),
        _ => (Kind::UndefinedCondition, "The other side refused this message."),
    };
    let comment: String = comment.chars().filter(|c| !c.is_control()).take(100).collect();
    Condition::new(kind, format!("{text} ({})", format!("MSRP {code} {comment}").trim_end()))
}

/// What the user sent, as far as an error repeats it.
fn stanza_of(carry: &Carry) -> Stanza {
    let stanza = Stanza::new(StanzaKind::Message, &carry.user, &carry.contact).with_type("chat");
    match &carry.id {
        Some(id) => stanza.with_id(id),
        None => stanza,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_condition() {
        for (code, kind) in [
            (400, Kind::BadRequest),
            (403, Kind::Forbidden),
            (404, Kind::ItemNotFound),
            (408, Kind::RemoteServerTimeout),
            (413, Kind::PolicyViolation),
            (415, Kind::NotAcceptable),
            (501, Kind::FeatureNotImplemented),
            (506, Kind::Conflict),
            (423, Kind::UndefinedCondition),
        ] {
            assert_eq!(condition_of(code, "no").kind, kind);
        }
        let said = condition_of(413, "too\r\nlong").text;
        assert_eq!(said.as_deref(), Some("This message is too long for the other side. (MSRP 413 toolong)"));
    }
}
