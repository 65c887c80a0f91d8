//! What the people of XMPP do in the rooms, and what moderators and the server itself do to them.

use mostar::xmpp::ns;
use mostar::xmpp::stanza::{Element, Stanza, StanzaKind};

use super::muc::{NAMES, Occupant, Parting, Room, jid, native_jid};
use super::world::World;

impl World {
    /// Where a native is.
    fn places(&self, native: u8) -> Vec<(usize, String)> {
        let rooms = self.rooms.iter().enumerate();
        rooms.filter_map(|(room, it)| Some((room, it.nick_of(&native_jid(native))?))).collect()
    }

    fn some_native(&mut self) -> u8 {
        self.course.below(self.natives.into()) as u8
    }

    pub fn native_comes(&mut self, native: u8, room: usize) {
        let own = native_jid(native);
        let it = &self.rooms[room];
        if it.locked
            || it.nick_of(&own).is_some()
            || it.banned.contains(own.split('/').next().unwrap_or_default())
        {
            return;
        }
        let mut nick = format!("Juliet{native}");
        if self.course.chance(20) {
            let name = NAMES[self.course.below(NAMES.len() as u64) as usize];
            if !self.rooms[room].occupants.contains_key(name) {
                nick = name.to_owned();
            }
        }
        if self.rooms[room].occupants.contains_key(&nick) {
            return;
        }
        self.comes(room, &nick, &own);
        let item = self.rooms[room].item(&nick);
        self.tell(room, &nick, false, &item, &[], &[]);
        self.settle();
    }

    pub fn native_moves(&mut self) {
        let native = self.some_native();
        let room = usize::from(self.course.chance(15));
        match self.places(native).into_iter().next() {
            Some((room, nick)) if self.course.chance(50) => {
                let name = NAMES[self.course.below(NAMES.len() as u64) as usize].to_owned();
                if !self.rooms[room].occupants.contains_key(&name) {
                    self.takes(room, &nick, name);
                }
            }
            Some((room, nick)) => self.leaves(room, &nick, &Parting::default()),
            None => self.native_comes(native, room),
        }
        self.settle();
    }

    pub fn native_talks(&mut self) {
        let native = self.some_native();
        for _ in 0..1 + self.course.below(3) {
            let Some((room, nick)) = self.places(native).into_iter().next() else {
                return self.native_comes(native, 0);
            };
            let text = self.words();
            let id = format!("x{}", self.course.counted());
            self.talks(room, &nick, &text, &id);
            self.settle();
        }
    }

    pub fn native_whispers(&mut self) {
        let native = self.some_native();
        let Some((room, nick)) = self.places(native).into_iter().next() else { return };
        let seats = self.rooms[room].of_sip();
        if !seats.is_empty() {
            let (to, _) = seats[self.course.below(seats.len() as u64) as usize].clone();
            let text = self.words();
            let id = format!("w{}", self.course.counted());
            self.tally.whispered += 1;
            self.whispers(room, &nick, &to, &text, &id);
            self.settle();
        }
    }

    /// A subject that somebody wants: now and then none.
    pub fn some_subject(&mut self) -> String {
        if self.course.chance(25) { String::new() } else { format!("subject {}", self.course.count()) }
    }

    pub fn subject_changes(&mut self) {
        let native = self.some_native();
        let text = self.some_subject();
        if let Some((room, nick)) = self.places(native).into_iter().next() {
            let id = format!("s{}", self.course.counted());
            self.subject(room, &nick, &text, &id);
            self.settle();
        }
    }

    fn somebody_in(&mut self, room: usize) -> Option<String> {
        let nicks: Vec<String> = self.rooms[room].occupants.keys().cloned().collect();
        (!nicks.is_empty()).then(|| nicks[self.course.below(nicks.len() as u64) as usize].clone())
    }

    pub fn somebody_is_put_out(&mut self) {
        let room = usize::from(self.course.chance(10));
        let Some(nick) = self.somebody_in(room) else { return };
        let bare = self.rooms[room].occupants[&nick].jid.split('/').next().unwrap_or_default().to_owned();
        let code = match self.course.below(6) {
            0..3 => 307,
            3 => 322,
            4 => 321,
            _ => {
                self.rooms[room].banned.insert(bare);
                301
            }
        };
        self.tally.expelled += 1;
        self.leaves(room, &nick, &Parting { code: Some(code), ..Parting::default() });
        // Nobody is out for ever.
        if self.course.chance(60) {
            self.rooms[room].banned.clear();
        }
        self.settle();
    }

    pub fn role_changes(&mut self) {
        let Some(nick) = self.somebody_in(0) else { return };
        let role = ["moderator", "participant", "visitor"][self.course.below(3) as usize];
        if let Some(occupant) = self.rooms[0].occupants.get_mut(&nick) {
            occupant.role = role;
        }
        let item = self.rooms[0].item(&nick);
        self.tell(0, &nick, false, &item, &[], &[110]);
        self.settle();
    }

    pub fn native_asks_in(&mut self) {
        let native = self.some_native();
        let Some((room, _)) = self.places(native).into_iter().next() else { return };
        let whom = format!("p{}@example.net", self.course.below(self.phones.into()));
        let by = native_jid(native);
        if self.course.chance(60) {
            return self.invites(room, &by, &whom);
        }
        self.tally.invited += 1;
        let x = Element::new("x", ns::CONFERENCE).with("jid", &self.rooms[room].jid.clone());
        self.stanza(Stanza::new(StanzaKind::Message, &jid(&by), &jid(&whom)).with_child(x), None);
    }

    /// The server forgets who was there: with a word to all, with its link, or in silence.
    pub fn server_forgets(&mut self) {
        self.course.note("the server forgets its rooms");
        self.tally.forgotten += 1;
        let how = self.course.below(3);
        for room in 0..self.rooms.len() {
            if how == 0 {
                for (nick, _) in self.rooms[room].of_sip() {
                    self.leaves(room, &nick, &Parting { code: Some(332), ..Parting::default() });
                }
            }
            let it = &mut self.rooms[room];
            *it = Room { jid: it.jid.clone(), spoken: it.spoken, ..Room::new("") };
        }
        self.bounced.clear();
        if how == 1 {
            self.link_down();
        }
    }

    pub fn room_is_destroyed(&mut self) {
        let other = self.rooms[1].jid.clone();
        for (nick, _) in self.rooms[0].of_sip() {
            let destroyed = Some(other.clone());
            self.leaves(0, &nick, &Parting { destroyed, ..Parting::default() });
        }
        let it = &mut self.rooms[0];
        *it = Room { jid: it.jid.clone(), spoken: it.spoken, ..Room::new("") };
        self.settle();
    }

    /// Somebody says something in each room, so that the server finds out who is not there.
    pub fn last_words(&mut self) {
        for room in 0..self.rooms.len() {
            if self.rooms[room].of_sip().is_empty() {
                continue;
            }
            let text = self.words();
            let nick = "The Prince".to_owned();
            self.rooms[room]
                .occupants
                .insert(nick.clone(), Occupant { jid: "prince@example.com/x".into(), role: "moderator" });
            let item = self.rooms[room].item(&nick);
            self.tell(room, &nick, false, &item, &[], &[]);
            self.talks(room, &nick, &text, "last");
        }
    }

    /// A line that nobody else says.
    pub fn words(&mut self) -> String {
        let number = self.course.count();
        let pad = match self.course.below(40) {
            0 => 5_000,
            1 => 1_500,
            _ => 0,
        };
        let padding = if pad == 0 { String::new() } else { format!(" {}", "x".repeat(pad)) };
        format!("line {number}{padding}")
    }
}
