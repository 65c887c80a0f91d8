//! How sessions end (RFC 7573 §6, XEP-0085 §5): BYE, `<gone/>`, silence, lost connections, stops and starts.
//!
//! Our own end is gentle: no new lines, then the MSRP session finishes what is outstanding, then BYE. Theirs is at hand
//! when BYE comes: what is still on its way has a moment. Whatever happens, lines that are not settled go back in order.
//! A session does not outlive the process: after a start BYE is sent for each that was kept.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::talk::{Stage, Talk, TalkId};
use super::{Alarm, Chat};
use crate::features::Cx;
use crate::features::audit::view::{Says, View};
use crate::features::leg::Leg;
use crate::features::sessions::{self, Break, Cause, User};
use crate::features::signal::{Carried, Signal};
use crate::msrp::connections::SessionId;
use crate::msrp::session::{Ending, Known, Unconfirmed};
use crate::sip::message::Reply;
use crate::sip::uri::Aor;
use crate::sip::usage::session::{Cause as Reason, Kept, Session};
use crate::store::record::{Key, Record, Restored};
use crate::words::id::Partition;
use crate::words::note::Level;
use crate::words::time::Tick;
use crate::xmpp::jid::Jid;
use crate::xmpp::ns;
use crate::xmpp::stanza::{Element, Stanza, StanzaKind};

/// The kind of the records in the store.
pub const RECORD: &str = "chat";

/// What is on its way when they hang up has so long: SIP may be faster than MSRP, and MSRP faster than SIP.
const THEIRS: Duration = Duration::from_secs(2);
/// Messages of theirs whose fate is not known have so long when we end a session.
const OURS: Duration = Duration::from_secs(10);
/// A session that is quiet, but not settled, is looked at again after so long.
const AGAIN: Duration = Duration::from_secs(30);
/// A stop: so long for what is outstanding, and so long for BYE.
const GENTLY: Duration = Duration::from_secs(2);
const FIRMLY: Duration = Duration::from_secs(1);
/// How many sessions of before the start are ended at once, and how long after those the next ones.
const BATCH: usize = 50;
const PAUSE: Duration = Duration::from_millis(100);
/// How many users are remembered who went offline; the first by address go first.
const OFFLINE: usize = 50_000;

/// How far a stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goodbye {
    /// Sessions finish, until then.
    Gently(Tick),
    /// BYEs are waited for, until then.
    Firmly(Tick),
    /// Nothing is waited for.
    Over,
}

impl Goodbye {
    /// When the next step is due.
    pub fn until(self) -> Option<Tick> {
        match self {
            Goodbye::Gently(at) | Goodbye::Firmly(at) => Some(at),
            Goodbye::Over => None,
        }
    }
}

/// A session on disk: what BYE needs.
#[derive(Debug, Serialize, Deserialize)]
struct KeptTalk {
    user: Jid,
    contact: Aor,
    call: Kept,
}

impl Chat {
    /// We end a session: no new lines, and BYE when all is settled.
    pub(super) fn part(&mut self, cx: &mut Cx<'_>, id: TalkId, why: &str) {
        let Some(talk) = self.talks.get_mut(&id) else { return };
        if !matches!(talk.stage, Stage::Agreed | Stage::Open) {
            return;
        }
        talk.stage = Stage::Parting;
        talk.how = Some(Break::Ended);
        talk.why = why.to_owned();
        let session = talk.leg.msrp;
        let owes = self.owes(id);
        self.publish(cx, id);
        match session {
            Some(session) if !owes => cx.msrp.finish(cx.now.tick, cx.mint, session),
            Some(_) => self.timers.set(Alarm::Part(id), cx.now.tick + OURS),
            None => self.close(cx, id, Break::Ended),
        }
    }

    /// What was outstanding in a session that ends has had its time.
    pub(super) fn part_now(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        let how = self.talks.get(&id).and_then(|talk| talk.how).unwrap_or(Break::Ended);
        self.close(cx, id, how);
    }

    /// A session ends now.
    pub(super) fn close(&mut self, cx: &mut Cx<'_>, id: TalkId, how: Break) {
        let Some(talk) = self.talks.get_mut(&id).filter(|talk| talk.stage != Stage::Over) else { return };
        let how = *talk.how.get_or_insert(how);
        if talk.why.is_empty() {
            talk.why = words_of(how).to_owned();
        }
        talk.stage = Stage::Parting;
        match talk.leg.msrp {
            // It tells what is known of each line; then comes `ended`.
            Some(session) => cx.msrp.close(cx.now.tick, cx.mint, session),
            None => {
                self.hand_back(cx, id, |line| Carried::Broken { how, sent: line.sent.is_some() });
                self.say_bye(cx, id);
            }
        }
    }

    /// MSRP is over.
    pub(super) fn ended(
        &mut self,
        cx: &mut Cx<'_>,
        id: TalkId,
        session: SessionId,
        why: &Ending,
        unconfirmed: &[Unconfirmed],
    ) {
        self.msrp.remove(&session);
        let Some(talk) = self.talks.get_mut(&id) else { return };
        if talk.renewing.as_ref().is_some_and(|renewing| renewing.session == session) {
            talk.renewing = None;
            self.timers.stop(&Alarm::Admit(session));
            return self.part(cx, id, &ending_of(why));
        }
        if talk.stage == Stage::Asked {
            return self.kept_out(cx, id, session, why);
        }
        if talk.leg.msrp != Some(session) {
            return self.left_behind(cx, id, session);
        }
        talk.leg.msrp = None;
        if talk.stage == Stage::Agreed && talk.how.is_none() {
            talk.why = ending_of(why);
            return self.no_use(cx, id, Cause::NoConnection);
        }
        let how = *talk.how.get_or_insert(match why {
            Ending::Unanswered => Break::NoAnswer,
            Ending::Closed | Ending::Finished => Break::Ended,
            _ => Break::Lost,
        });
        if talk.why.is_empty() {
            talk.why = ending_of(why);
        }
        let sent: BTreeSet<&str> = unconfirmed
            .iter()
            .filter(|one| matches!(one.known, Known::Sent | Known::Taken))
            .map(|one| one.message.message_id.as_str())
            .collect();
        self.hand_back(cx, id, |line| {
            // What went on another path, or into silence, may have arrived.
            let unknown = line.sent.is_some_and(|on| on != session || how == Break::NoAnswer);
            Carried::Broken { how, sent: unknown || sent.contains(line.carry.message_id.as_str()) }
        });
        match self.talks.get_mut(&id) {
            // Who hangs up closes the connection too, and its end may be here before BYE.
            Some(talk) if how == Break::Lost && talk.leg.call.is_up() => {
                talk.stage = Stage::Parting;
                self.publish(cx, id);
                self.timers.set(Alarm::Part(id), cx.now.tick + THEIRS);
            }
            _ => self.say_bye(cx, id),
        }
    }

    /// The last that is done for a session: BYE, if SIP does not know yet.
    fn say_bye(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        self.leave(cx, id);
        let Some(talk) = self.talks.get_mut(&id) else { return };
        if talk.leg.call.is_up() {
            let reason = Reason { status: 200, text: talk.why.clone() };
            talk.leg.call.hang_up(Some(reason));
        }
        self.run(cx, id);
    }

    /// A session belongs to nobody any more; only SIP may have loose ends.
    pub(super) fn leave(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        let Some(talk) = self.talks.get_mut(&id).filter(|talk| talk.stage != Stage::Over) else { return };
        let was_asked = std::mem::replace(&mut talk.stage, Stage::Over) == Stage::Asked;
        if let Some(session) = talk.leg.msrp.take() {
            self.msrp.remove(&session);
            self.timers.stop(&Alarm::Admit(session));
            cx.msrp.close(cx.now.tick, cx.mint, session);
        }
        if let Some(leaving) = talk.leaving.take() {
            // What came on it may still be answered.
            cx.msrp.finish(cx.now.tick, cx.mint, leaving.session);
        }
        if let Some(renewing) = talk.renewing.take() {
            self.msrp.remove(&renewing.session);
            self.timers.stop(&Alarm::Admit(renewing.session));
            cx.msrp.close(cx.now.tick, cx.mint, renewing.session);
        }
        let alarms =
            [Alarm::Ask, Alarm::Quiet, Alarm::Part, Alarm::Left, Alarm::Typing, Alarm::Held, Alarm::Renew];
        for alarm in alarms {
            self.timers.stop(&alarm(id));
        }
        if talk.opened {
            let mut fields = talk.fields();
            fields.push(("why", talk.why.clone()));
            cx.gauge("msrp_sessions", &[], -1);
            cx.log(Level::Info, "session-closed", fields);
        }
        for (id, failure) in talk.unheard(cx.now.tick) {
            let (user, sender) = (talk.user.clone(), talk.sender.clone());
            cx.signal(Signal::Unreported { user, sender, id, failure });
        }
        let key = (talk.user.clone(), talk.contact.clone());
        if was_asked {
            self.stop_asking(cx, id);
        }
        if let Some(all) = self.pairs.get_mut(&key) {
            all.retain(|other| *other != id);
            if all.is_empty() {
                self.pairs.remove(&key);
            }
        }
        self.contacts.take(&key.1);
        self.publish(cx, id);
    }

    /// Forgets a session of which nothing more will come.
    pub(super) fn bury(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        if !self.talks.get(&id).is_some_and(|talk| talk.stage == Stage::Over && talk.leg.call.is_done()) {
            return;
        }
        let Some(talk) = self.talks.remove(&id) else { return };
        self.tags.remove(talk.leg.call.tag());
        self.timers.stop(&Alarm::Call(id));
        if talk.saved {
            cx.forget(key_of(&talk.user, talk.leg.call.tag()));
        }
    }

    /// They hung up.
    pub(super) fn hung_up(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        let Some(talk) = self.talks.get_mut(&id) else { return };
        let was_parting = std::mem::replace(&mut talk.stage, Stage::Parting) == Stage::Parting
            && talk.how != Some(Break::Lost);
        talk.how.get_or_insert(Break::Ended);
        if !was_parting {
            talk.why = "they hung up".to_owned();
        }
        let says = !was_parting && sessions::ended_says_gone(&cx.config.sessions, talk.has_lines());
        let has_msrp = talk.leg.msrp.is_some();
        if says {
            say_gone(cx, talk);
        }
        let (user, contact) = (talk.user.clone(), talk.contact.clone());
        cx.signal(Signal::Left { user, contact, told: says });
        self.publish(cx, id);
        if has_msrp {
            self.timers.set(Alarm::Part(id), cx.now.tick + THEIRS);
        } else {
            self.part_now(cx, id);
        }
    }

    /// A client of the user's closed the conversation.
    pub(super) fn gone(&mut self, cx: &mut Cx<'_>, user: &Jid, contact: &Aor) {
        for id in self.of_pair(&user.bare(), contact) {
            let Some(talk) = self.talks.get_mut(&id) else { continue };
            talk.left(user.resource());
            let others = talk.others_wrote(cx.now.tick, user.resource());
            if sessions::gone_hangs_up(&cx.config.sessions, others) {
                self.part(cx, id, "the user closed the conversation");
            }
        }
    }

    /// Nobody has written for long, perhaps.
    pub(super) fn quiet(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        let Some(talk) = self.talks.get(&id) else { return };
        let Some(time) = self.patience_with(cx, talk) else { return };
        if talk.last + time > cx.now.tick {
            self.arm_quiet(cx, id);
        } else if talk.is_unsettled() || talk.arriving > 0 {
            self.timers.set(Alarm::Quiet(id), cx.now.tick + AGAIN);
        } else {
            self.part(cx, id, "nobody wrote");
        }
    }

    /// After how long without a line a session is hung up, as it is now.
    pub(super) fn patience_with(&self, cx: &Cx<'_>, talk: &Talk) -> Option<Duration> {
        let mood = cx.facts.mood(&talk.user, &talk.contact);
        sessions::quiet(&cx.config.sessions, talk.ours, self.user_state(cx, &talk.user), mood)
    }

    /// What is known of a user's presence.
    pub(super) fn user_state(&self, cx: &Cx<'_>, user: &Jid) -> User {
        if cx.facts.is_anyone_online(user) {
            User::Online
        } else if self.offline.contains(user) {
            User::Offline
        } else {
            User::Unknown
        }
    }

    /// A user came or went; what is online is known already.
    pub(super) fn presence(&mut self, cx: &mut Cx<'_>, stanza: &Stanza) {
        let Some(from) = stanza.from().filter(|_| matches!(stanza.type_(), None | Some("unavailable")))
        else {
            return;
        };
        let user = from.bare();
        if let Some(contact) = stanza.to() {
            self.probing.shown(user.clone(), contact.bare(), stanza.type_().is_none());
        }
        let changed = if cx.facts.is_anyone_online(&user) {
            self.offline.remove(&user)
        } else {
            if self.offline.len() >= OFFLINE {
                self.offline.pop_first();
            }
            self.offline.insert(user.clone())
        };
        if !changed {
            return;
        }
        let first = (user.clone(), Aor { user: None, host: String::new() });
        let pairs = self.pairs.range(first..).take_while(|((owner, _), _)| *owner == user);
        let talks: Vec<TalkId> = pairs.flat_map(|(_, all)| all.iter().copied()).collect();
        talks.into_iter().for_each(|id| self.arm_quiet(cx, id));
    }

    /// Keeps a session on disk.
    pub(super) fn keep(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        let Some(talk) = self.talks.get_mut(&id) else { return };
        let Some(call) = talk.leg.call.kept() else { return };
        talk.saved = true;
        let key = key_of(&talk.user, talk.leg.call.tag());
        let kept = KeptTalk { user: talk.user.clone(), contact: talk.contact.clone(), call };
        cx.save(Record::new(key, &kept));
    }

    /// A session of before the start.
    pub(super) fn restore(&mut self, cx: &mut Cx<'_>, record: &Restored) -> Result<(), String> {
        let kept: KeptTalk = serde_json::from_slice(&record.value).map_err(|error| error.to_string())?;
        let sender = kept.contact.address();
        let jid = cx.domains.contact_jid(&sender).unwrap_or_else(|_| kept.user.clone());
        let call = Session::restore(kept.call, crate::features::ALLOW.as_str());
        let mut talk = Talk::new(cx.now.tick, kept.user, sender, jid, Leg::of_before(call));
        (talk.stage, talk.saved) = (Stage::Over, true);
        let id = self.number();
        self.tags.insert(talk.leg.call.tag().into(), id);
        self.talks.insert(id, Box::new(talk));
        self.restored.push_back(id);
        Ok(())
    }

    /// Ends some of the sessions of before the start.
    pub(super) fn resume(&mut self, cx: &mut Cx<'_>) {
        for _ in 0..BATCH {
            let Some(id) = self.restored.pop_front() else { return };
            let Some(talk) = self.talks.get_mut(&id) else { continue };
            let reason = Reason { status: 503, text: "the gateway was restarted".to_owned() };
            talk.leg.call.hang_up(Some(reason));
            self.run(cx, id);
        }
        if !self.restored.is_empty() {
            self.timers.set(Alarm::Resume, cx.now.tick + PAUSE);
        }
    }

    /// The process stops: every session ends. True when nothing is waited for.
    pub(super) fn say_goodbye(&mut self, cx: &mut Cx<'_>) -> bool {
        if self.goodbye.is_none() {
            self.goodbye = Some(Goodbye::Gently(cx.now.tick + GENTLY));
            for id in self.talks.keys().copied().collect::<Vec<_>>() {
                let Some(talk) = self.talks.get_mut(&id) else { continue };
                match talk.stage {
                    Stage::Calling => {
                        self.hand_back(cx, id, |_| Carried::NoSession(Cause::Unreachable));
                        self.hang_up_now(cx, id);
                    }
                    Stage::Asked => {
                        talk.leg.call.decline(cx.now, Reply::new(503).because("The gateway is stopping"));
                        self.run(cx, id);
                    }
                    _ => self.part(cx, id, "the gateway stops"),
                }
            }
        }
        let is_quiet = self.in_flight == 0 && self.talks.values().all(|talk| talk.stage == Stage::Over);
        is_quiet || self.goodbye == Some(Goodbye::Over)
    }

    /// The next step of a stop.
    pub(super) fn goodbye_timeout(&mut self, cx: &mut Cx<'_>) {
        match self.goodbye {
            Some(Goodbye::Gently(at)) if at <= cx.now.tick => {
                self.goodbye = Some(Goodbye::Firmly(cx.now.tick + FIRMLY));
                for id in self.talks.keys().copied().collect::<Vec<_>>() {
                    if let Some(talk) = self.talks.get_mut(&id) {
                        talk.how = Some(Break::Restart);
                    }
                    self.close(cx, id, Break::Restart);
                }
            }
            Some(Goodbye::Firmly(at)) if at <= cx.now.tick => self.goodbye = Some(Goodbye::Over),
            _ => {}
        }
    }

    /// A session that is not up ends at once.
    fn hang_up_now(&mut self, cx: &mut Cx<'_>, id: TalkId) {
        self.leave(cx, id);
        if let Some(talk) = self.talks.get_mut(&id) {
            talk.leg.call.hang_up(None);
        }
        self.run(cx, id);
    }
}

/// What a record says.
pub(super) fn view(record: &Restored) -> Result<View, String> {
    let kept: KeptTalk = record.read().map_err(|error| error.to_string())?;
    let key = key_of(&kept.user, kept.call.tag());
    Ok(View { key, user: Some(kept.user), contact: Some(kept.contact), says: Says::Memory })
}

fn key_of(user: &Jid, tag: &str) -> Key {
    Key { kind: RECORD, partition: Partition::of(user.bare_str()), id: tag.to_owned() }
}

/// Tells the user that the other side has left the conversation: the device that wrote last while it is online, else all.
fn say_gone(cx: &mut Cx<'_>, talk: &Talk) {
    if !cx.link_is_up(&talk.jid) {
        return;
    }
    let device = talk.last_writer().and_then(|resource| talk.user.with_resource(resource).ok());
    let to = device.filter(|device| cx.facts.is_online(device)).unwrap_or_else(|| talk.user.clone());
    let mut stanza =
        Stanza::new(StanzaKind::Message, &talk.jid, &to).with_type("chat").with_id(&cx.token_for(&talk.user));
    // A Call-ID is a thread when the user knows it as one: she chose it, or it came with a line.
    let call_id = talk.leg.call.call_id();
    let is_thread = if talk.ours { Partition::of_token(call_id).is_none() } else { talk.lines_in > 0 };
    if is_thread {
        stanza = stanza.with_child(Element::new("thread", ns::COMPONENT).with_text(call_id));
    }
    let gone = Element::new("gone", ns::CHAT_STATES);
    cx.stanza(stanza.with_child(gone).with_child(Element::new("no-store", ns::HINTS)));
}

fn words_of(how: Break) -> &'static str {
    match how {
        Break::Lost => "the session was lost",
        Break::Ended => "the session ended",
        Break::NoAnswer => "a message was not answered",
        Break::Restart => "the gateway stops",
    }
}

pub(super) fn ending_of(why: &Ending) -> String {
    match why {
        Ending::Closed | Ending::Finished => "the session ended".to_owned(),
        Ending::NotAdmitted(code) => format!("the relay refused ({code})"),
        Ending::Lost(why) => format!("the MSRP connection was lost: {why}"),
        Ending::NobodyCame => "nobody opened the MSRP connection".to_owned(),
        Ending::NotConnected(why) => format!("no MSRP connection: {why}"),
        Ending::Refused(code) => format!("the other side does not know the MSRP session ({code})"),
        Ending::Unanswered => "the first MSRP request was not answered".to_owned(),
    }
}
