//! Who watches the roster of a room, with a reader of documents of its own; some take their time, some refuse.

use std::collections::BTreeMap;

use super::phone::{Stage, tag_of};
use super::support::written::header_of;
use super::world::{Event, World};

/// A subscription.
#[derive(Debug)]
pub struct Sub {
    pub call: usize,
    /// In the dialog of the call; else the Call-ID of its own.
    own: Option<String>,
    pub over: bool,
    /// It answers late, with a refusal now and then.
    slow: bool,
    pub active: bool,
    version: Option<u64>,
    /// Roles by nick.
    pub users: BTreeMap<String, String>,
    pub subject: String,
    /// When a document that was no full one was made last, by dialog.
    told: u64,
}

impl World {
    pub fn somebody_watches(&mut self) {
        if let Some(call) = self.some_open() {
            let slow = self.course.chance(30);
            self.subscribe(call, slow);
        }
    }

    /// Everybody who is in watches.
    pub fn subscribe_all(&mut self) {
        for call in 0..self.calls.len() {
            if self.calls[call].stage == Stage::Up {
                self.subscribe(call, false);
                if self.calls[call].holds {
                    self.holds(call, false);
                }
            }
        }
    }

    fn subscribe(&mut self, call: usize, slow: bool) {
        let headers = "Event: conference\r\nExpires: 600\r\nAccept: application/conference-info+xml\r\n";
        self.tally.watched += 1;
        let known = self.subs.iter().position(|sub| sub.call == call && !sub.over && sub.own.is_none());
        if known.is_some() || self.course.chance(50) {
            self.ask(call, "SUBSCRIBE", headers, "");
            if known.is_none() {
                self.subs.push(Sub::new(call, None, slow));
            }
            return;
        }
        let number = self.course.count();
        let (phone, room) = (self.calls[call].phone, self.rooms[self.calls[call].room].jid.clone());
        let text = format!(
            "SUBSCRIBE sip:{room} SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKx{number}\r\nFrom: \
             <sip:p{phone}@example.net>;tag=w{number}\r\nTo: <sip:{room}>\r\nCall-ID: w{number}\r\nCSeq: 1 SUBSCRIBE\r\n\
             Max-Forwards: 70\r\nContact: <sip:p{phone}@192.0.2.1:5062;transport=tcp>\r\n{headers}Content-Length: 0\r\n\r\n"
        );
        self.subs.push(Sub::new(call, Some(format!("w{number}")), slow));
        self.sip(text);
    }

    fn sub_of(&self, text: &str) -> Option<usize> {
        let id = header_of(text, "Call-ID")?;
        let call = self.call_of(text);
        let fits = |sub: &Sub| match &sub.own {
            Some(own) => own == id,
            None => Some(sub.call) == call,
        };
        self.subs.iter().rposition(|sub| fits(sub) && !sub.over)
    }

    pub fn subscribed(&mut self, text: &str, status: u16) {
        let Some(sub) = self.sub_of(text) else { return };
        if status >= 300 {
            self.subs[sub].over = true;
        }
    }

    /// With a call ends what is watched in its dialog; what has a dialog of its own is told.
    pub fn subs_end(&mut self, call: usize) {
        for sub in self.subs.iter_mut().filter(|sub| sub.call == call && sub.own.is_none()) {
            sub.over = true;
        }
    }

    pub fn notified(&mut self, text: &str) {
        let event = header_of(text, "Event").unwrap_or_default();
        if event.starts_with("refer") {
            let is_over = header_of(text, "Subscription-State").unwrap_or_default().starts_with("terminated");
            self.tally.progress += u64::from(is_over);
            return self.answer(text, 200, "", "");
        }
        let Some(sub) = self.sub_of(text) else { return self.answer(text, 481, "", "") };
        let slow = self.subs[sub].slow && !self.peace;
        let state = header_of(text, "Subscription-State").unwrap_or_default();
        let is_over = state.starts_with("terminated");
        if slow && self.course.chance(20) {
            // It was not taken; that it was the last all the same it knows by its own clock.
            self.subs[sub].over = is_over;
            let answer = self.answer_text(text, 500, "", "");
            let (connection, wait) = (self.connection, self.course.below(20_000));
            return self.course.after(wait, Event::Answers(connection, answer));
        }
        self.read(sub, text);
        self.subs[sub].active = state.starts_with("active");
        self.subs[sub].over = is_over;
        let answer = self.answer_text(text, 200, "", "");
        let wait = if slow { self.course.below(20_000) } else { 0 };
        let connection = self.connection;
        self.course.after(wait, Event::Answers(connection, answer));
    }

    /// Reads a document as RFC 4575 §4.5 says.
    fn read(&mut self, number: usize, text: &str) {
        let Some((_, body)) = text.split_once("\r\n\r\n").filter(|(_, body)| !body.is_empty()) else {
            return;
        };
        let tree = match roxmltree::Document::parse(body) {
            Ok(tree) => tree,
            Err(error) => return self.wrong(format!("no document: {error}")),
        };
        let root = tree.root_element();
        let version: u64 = root.attribute("version").and_then(|text| text.parse().ok()).unwrap_or_default();
        let is_full = root.attribute("state") == Some("full");
        let known = self.subs[number].version;
        match known {
            Some(known) if is_full && version < known => {
                self.wrong(format!("watcher {number}: version {version} after {known}"));
            }
            Some(known) if !is_full && version != known + 1 => {
                self.wrong(format!("watcher {number}: a document was lost: {version} after {known}"));
            }
            None if !is_full => self.wrong(format!("watcher {number}: the first document is not full")),
            _ => {}
        }
        self.tally.documents += 1;
        let sub = &mut self.subs[number];
        sub.version = Some(version);
        if is_full {
            sub.users.clear();
        }
        let find = |node: roxmltree::Node<'_, '_>, name: &str| {
            node.descendants()
                .find(|node| node.tag_name().name() == name)
                .map(|node| node.text().unwrap_or_default().to_owned())
        };
        if let Some(subject) = find(root, "subject") {
            sub.subject = subject;
        }
        for user in root.descendants().filter(|node| node.tag_name().name() == "user") {
            let entity = user.attribute("entity").unwrap_or_default().to_owned();
            let is_gone = user.attribute("state") == Some("deleted")
                || find(user, "status").is_some_and(|status| status == "disconnected");
            if is_gone {
                sub.users.remove(&entity);
            } else {
                let role = user
                    .descendants()
                    .find(|node| node.tag_name().name() == "roles")
                    .and_then(|roles| find(roles, "entry"));
                sub.users.insert(entity, role.unwrap_or_default());
            }
        }
        let count = find(root, "user-count").and_then(|count| count.parse::<usize>().ok());
        let there = sub.users.len();
        if count.is_some_and(|count| count != there) {
            self.wrong(format!("watcher {number}: {count:?} are there, and {there} are known"));
        }
    }

    /// A NOTIFY is made: not more than one in a second is a step.
    pub fn pace(&mut self, text: &str) {
        if !text.contains("state=\"partial\" version=") || text.contains("State: terminated") {
            return;
        }
        let Some(sub) = self.sub_of(text).filter(|_| !tag_of(text, "From").is_empty()) else { return };
        let now = self.course.now.0;
        let told = std::mem::replace(&mut self.subs[sub].told, now);
        if told > 0 && now < told + 1_000_000 {
            self.wrong(format!("watcher {sub} is told twice in a second"));
        }
    }
}

impl Sub {
    fn new(call: usize, own: Option<String>, slow: bool) -> Sub {
        Sub {
            call,
            own,
            over: false,
            slow,
            active: false,
            version: None,
            users: BTreeMap::new(),
            subject: String::new(),
            told: 0,
        }
    }
}
