//! Corrections and retractions (XEP-0308, XEP-0424) of messages that have not been sent: then nobody on the other side ever
//! sees the mistake. A message that waits says what the correction says, or does not go; so does a correction that waits
//! because what it corrects is out already. What is taken back counts as withdrawn, and so does what was merged: its
//! sender hears nothing more of it.

use super::extras::Change;
use super::meter::{self, Way};
use super::post::Post;
use super::to_sip::{Live, ToSip};
use crate::features::Cx;
use crate::features::signal::Changes;
use crate::sip::usage::page::LaneKey;
use crate::words::note::Level;
use crate::xmpp::stanza::Stanza;

impl ToSip {
    /// Does what a correction or a retraction wants, as far as it is about messages that wait here; `text` is what it says
    /// by itself. False when it has to go itself.
    pub(super) fn change(&mut self, cx: &mut Cx<'_>, stanza: &Stanza, change: &Change, text: &str) -> bool {
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else { return false };
        let (Ok(sender), Ok(target)) = (cx.domains.user_sip(&from.bare()), cx.domains.contact_sip(to)) else {
            return false;
        };
        let lane = LaneKey::new((sender.aor, target.aor));
        let length = change.instead.as_ref().map_or(0, String::len).max(text.len());
        if !self.lanes.contains_key(&lane) || length > cx.config.messages.max_message {
            return false;
        }
        let waits = |live: &Live| live.waits();
        let original = self.original(&lane, change, waits);
        let corrections = self.corrections(&lane, change, waits);
        let mut done = original.is_some_and(|number| self.put_instead(cx, number, change.instead.as_deref()));
        if done || change.takes_back {
            for number in corrections {
                self.put_instead(cx, number, None);
            }
        } else if let Some(number) = corrections.last() {
            done = self.put_instead(cx, *number, Some(text));
        }
        self.drive(cx);
        done
    }

    /// The same for messages that the chat has, which knows whether they have been sent.
    pub(super) fn changes(&self, lane: &LaneKey, change: Change) -> Option<Changes> {
        let with_chat = |live: &Live| live.post.session;
        let original = self.original(lane, &change, with_chat);
        let corrections = self.corrections(lane, &change, with_chat);
        let is_any = original.is_some() || !corrections.is_empty();
        let (instead, takes_back) = (change.instead.map(Into::into), change.takes_back);
        is_any.then_some(Changes { original, instead, corrections, takes_back })
    }

    /// The message that is changed.
    fn original(&self, lane: &LaneKey, change: &Change, is: impl Fn(&Live) -> bool) -> Option<u64> {
        let named = |live: &Live| live.post.id.as_deref() == Some(change.id.as_str());
        let mut posts = self.posts.iter();
        posts.find(|(_, live)| named(live) && live.lane == *lane && is(live)).map(|(number, _)| *number)
    }

    /// Earlier corrections of it, in order.
    fn corrections(&self, lane: &LaneKey, change: &Change, is: impl Fn(&Live) -> bool) -> Vec<u64> {
        let named = |live: &Live| live.post.corrects.as_deref() == Some(change.id.as_str());
        let posts = self.posts.iter();
        posts
            .filter(|(_, live)| named(live) && live.lane == *lane && is(live))
            .map(|(number, _)| *number)
            .collect()
    }

    /// A message that waits says this instead, or does not go. False when it has been sent.
    fn put_instead(&mut self, cx: &mut Cx<'_>, number: u64, text: Option<&str>) -> bool {
        let Some(live) = self.posts.get_mut(&number).filter(|live| !live.post.session) else { return false };
        let is_undecided = self.undecided.holds(&live.lane, number);
        let Some(text) = text else {
            if !is_undecided && !self.pages.remove(number, &live.lane) {
                return false;
            }
            self.take_back(cx, number);
            return true;
        };
        let post = Post { text: text.to_owned(), rich: None, ..live.post.clone() };
        if !is_undecided && !self.pages.replace(number, post.page(cx, &live.lane, false)) {
            return false;
        }
        live.post = post;
        cx.save(live.post.record());
        true
    }

    /// A message was taken back by its sender before it was sent: she expects nothing more of it.
    pub(super) fn take_back(&mut self, cx: &mut Cx<'_>, number: u64) {
        if let Some(live) = self.settle(cx, number, "withdrawn") {
            meter::log(cx, Level::Debug, "message-taken-back", Way::XmppToSip, live.post.names(), "");
            cx.forget(live.post.key());
        }
    }

    /// A correction or a retraction is done: another message with the chat says this now, or is taken back.
    pub(super) fn merged(&mut self, cx: &mut Cx<'_>, number: u64, into: u64, text: Option<&str>) {
        let Some(live) = self.settle(cx, number, "withdrawn") else { return };
        cx.forget(live.post.key());
        let Some(text) = text else { return self.take_back(cx, into) };
        if let Some(changed) = self.posts.get_mut(&into) {
            changed.post.text = text.to_owned();
            changed.post.rich = None;
            cx.save(changed.post.record());
        }
    }
}
