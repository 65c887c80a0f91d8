//! The clients of XMPP users in a conference, and what must be true for them.

use std::collections::BTreeSet;

use mostar::msrp::frame::{Frame, Method};
use mostar::words::time::Tick;
use mostar::xmpp::jid::Jid;
use mostar::xmpp::ns;
use mostar::xmpp::stanza::{Element, Stanza, StanzaKind};

use super::focus::Shows;
use super::support::invariants::Invariant::{Fate, Rest, Rooms};
use super::world::{ROOM, World};

/// What a client is to hear: what others say, and its own when that is answered. Before it knows that it is in it need not.
type Given = (String, bool);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Out,
    Asking,
    In,
}

/// A client, of a person of her own.
#[derive(Debug)]
pub struct Client {
    jid: String,
    pub stage: Stage,
    nick: String,
    /// Nicks it sees.
    sees: BTreeSet<String>,
    given: Vec<Given>,
    /// So much of it is heard.
    cursor: usize,
    /// Something may be lost: the link went.
    pub missed: bool,
    /// A stanza to it, or of it, was lost with a link.
    pub lost: bool,
    /// When it asked to be let in.
    pub asked: Tick,
    /// The id of that request, and the link that it went by.
    request: (String, u64),
    waiting: BTreeSet<String>,
}

impl Client {
    pub fn new(number: u64) -> Client {
        Client {
            jid: format!("juliet{number}@example.com/x"),
            stage: Stage::Out,
            nick: format!("Juliet{number}"),
            sees: BTreeSet::new(),
            given: Vec::new(),
            cursor: 0,
            missed: false,
            lost: false,
            asked: Tick(0),
            request: Default::default(),
            waiting: BTreeSet::new(),
        }
    }

    fn fresh(&mut self, stage: Stage) {
        self.stage = stage;
        self.sees.clear();
        self.given.clear();
        self.cursor = 0;
        self.missed = false;
        self.lost = false;
    }
}

impl World {
    fn some(&mut self, stage: Stage) -> Option<usize> {
        let fits: Vec<usize> =
            (0..self.clients.len()).filter(|client| self.clients[*client].stage == stage).collect();
        (!fits.is_empty()).then(|| fits[self.course.below(fits.len() as u64) as usize])
    }

    fn says(&mut self, client: usize, kind: StanzaKind, nick: Option<&str>) -> Stanza {
        let id = format!("c{}", self.course.count());
        let to = nick.map_or(ROOM.to_owned(), |nick| format!("{ROOM}/{nick}"));
        let (from, to) = (Jid::parse(&self.clients[client].jid).unwrap(), Jid::parse(&to).unwrap());
        Stanza::new(kind, &from, &to).with_id(&id)
    }

    pub fn client_enters(&mut self) {
        let Some(client) = self.some(Stage::Out).filter(|_| self.is_linked()) else { return };
        self.clients[client].fresh(Stage::Asking);
        self.clients[client].asked = self.course.now;
        let nick = self.clients[client].nick.clone();
        let stanza = self.says(client, StanzaKind::Presence, Some(&nick));
        self.clients[client].request = (stanza.id().unwrap_or_default().to_owned(), self.link);
        let history = Element::new("history", ns::MUC).with("maxstanzas", "0");
        self.stanza(stanza.with_child(Element::new("x", ns::MUC).with_child(history)));
    }

    pub fn client_leaves(&mut self) {
        if let Some(client) = self.some(Stage::In).filter(|_| self.is_linked()) {
            self.goes(client);
        }
    }

    fn goes(&mut self, client: usize) {
        let nick = self.clients[client].nick.clone();
        let stanza = self.says(client, StanzaKind::Presence, Some(&nick));
        self.stanza(stanza.with_type("unavailable"));
    }

    pub fn everybody_leaves(&mut self) {
        for client in 0..self.clients.len() {
            if self.clients[client].stage != Stage::Out {
                self.goes(client);
            }
        }
    }

    pub fn client_talks(&mut self) {
        for _ in 0..1 + self.course.below(3) {
            let Some(client) = self.some(Stage::In).filter(|_| self.is_linked()) else { return };
            let text = format!("line {}", self.course.count());
            let stanza = self.says(client, StanzaKind::Message, None).with_type("groupchat");
            self.clients[client].waiting.insert(text.clone());
            self.stanza(stanza.with_child(Element::new("body", ns::COMPONENT).with_text(&text)));
        }
    }

    pub fn client_takes_a_nick(&mut self) {
        let Some(client) = self.some(Stage::In).filter(|_| self.is_linked()) else { return };
        let nick = ["Rosaline", "Nurse", "Susan", "Lady C"][self.course.below(4) as usize];
        let stanza = self.says(client, StanzaKind::Presence, Some(nick));
        self.stanza(stanza);
    }

    /// A frame of the focus' reaches the gateway: what a client shall hear of it.
    pub fn given(&mut self, conn: u64, frame: &Frame) {
        let call = self.wires[conn as usize].call;
        let who = format!("{}/x", self.focus.calls[call].who);
        let text = match frame {
            Frame::Response(response) if response.code == 200 => {
                self.focus.calls[call].lines.remove(&response.tid)
            }
            Frame::Request(request) if request.method == Method::Send => request.body.as_ref().map(|body| {
                String::from_utf8_lossy(body).split("\r\n\r\n").nth(2).unwrap_or_default().to_owned()
            }),
            _ => None,
        };
        let client = self.clients.iter_mut().find(|client| client.jid == who && client.stage != Stage::Out);
        if let (Some(client), Some(text)) = (client, text) {
            let needed = client.stage == Stage::In;
            client.given.push((text, needed));
        }
    }

    /// Something of a client's, or for it, is lost with a link.
    pub fn is_lost(&mut self, address: Option<&Jid>) {
        let address = address.map(Jid::as_str).unwrap_or_default();
        self.clients.iter_mut().filter(|client| client.jid == address).for_each(|client| client.lost = true);
    }

    /// A stanza reaches a client.
    pub fn client_hears(&mut self, stanza: &Stanza) {
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else { return };
        if stanza.kind == StanzaKind::Iq && stanza.type_() == Some("get") {
            if let Some(pong) = stanza.result() {
                self.stanza(pong);
            }
            return;
        }
        let Some(number) = self.clients.iter().position(|client| client.jid == to.as_str()) else { return };
        let nick = from.resource().unwrap_or_default().to_owned();
        let codes: Vec<String> = stanza
            .element
            .child("x", ns::MUC_USER)
            .map(|x| x.children().filter_map(|child| child.attr("code").map(str::to_owned)).collect())
            .unwrap_or_default();
        let is_self = codes.iter().any(|code| code == "110");
        let link = self.link;
        let client = &mut self.clients[number];
        match (stanza.kind, stanza.type_()) {
            // After a lost link the refusal of before is said again: its id tells it from that of a new request.
            (StanzaKind::Presence, Some("error"))
                if client.stage == Stage::Asking && stanza.id() == Some(&*client.request.0) =>
            {
                client.fresh(Stage::Out)
            }
            (StanzaKind::Presence, Some("error")) => {}
            (StanzaKind::Presence, Some("unavailable")) => {
                client.sees.remove(&nick);
                // Who is asking already to come in again hears the farewell of before. One that comes by a later link than
                // the request went by is its answer: she was let in, and the process died before it could say so.
                let is_out = match client.stage {
                    Stage::In => !codes.iter().any(|code| code == "303"),
                    Stage::Asking => client.request.1 < link,
                    Stage::Out => false,
                };
                if is_self && is_out {
                    client.fresh(Stage::Out);
                    client.waiting.clear();
                }
            }
            (StanzaKind::Presence, _) => {
                if client.stage == Stage::Out {
                    return self.wrong(format!("client {number} is shown {nick}, and is not in"));
                }
                client.sees.insert(nick.clone());
                if is_self {
                    client.nick = nick;
                    if std::mem::replace(&mut client.stage, Stage::In) == Stage::Asking {
                        self.tally.entered += 1;
                    }
                }
            }
            (StanzaKind::Message, Some("error")) => {
                let text = stanza.element.child("body", ns::COMPONENT).map(Element::text).unwrap_or_default();
                client.waiting.remove(&text);
                self.tally.returned += 1;
                self.returned.insert(text);
            }
            (StanzaKind::Message, _) => {
                let Some(mut body) = stanza.element.child("body", ns::COMPONENT).map(Element::text) else {
                    return;
                };
                // Whoever is not in the roster any more when a line of theirs comes is named in front of it.
                if nick.is_empty()
                    && let Some((_, said)) = body.split_once(": ")
                {
                    body = said.to_owned();
                }
                // The focus tells nothing of before; where it does not show its clock, a line may seem to be of before.
                let delay = stanza.element.child("delay", ns::DELAY);
                if let Some(delay) = delay.filter(|_| self.focus.shows != Shows::Nothing) {
                    let text = format!("client {number} hears {body} as one of before: {delay:?}");
                    return self.wrong(text);
                }
                let is_own = client.waiting.remove(&body);
                let place = client.given[client.cursor..].iter().position(|(given, _)| *given == body);
                let (all, rest) = (client.missed, client.given[client.cursor..].to_vec());
                match place {
                    Some(place) if all || !rest[..place].iter().any(|(_, needed)| *needed) => {
                        client.cursor += place + 1;
                        self.tally.heard += 1;
                        self.tally.own += u64::from(is_own);
                    }
                    _ => {
                        self.wrong(format!("client {number} hears {body:?}, where {rest:?} was said"));
                    }
                }
            }
            _ => {}
        }
    }

    pub fn judge_rest(&mut self) {
        self.process.checks.held(Rooms);
        let there: BTreeSet<String> = self.focus.there().into_values().collect();
        for number in 0..self.clients.len() {
            let client = &self.clients[number];
            let bare = client.jid.split('/').next().unwrap_or_default();
            let ups = self.focus.calls.iter().filter(|member| member.up && member.who == bare).count();
            // What a link has swallowed on the way in nobody can answer.
            let is_answered = client.stage != Stage::Asking || client.lost;
            let what = || format!("client {number} waits to be let in, and nobody answers");
            self.process.checks.hold(Fate, is_answered, what);
            let client = &self.clients[number];
            if ups != usize::from(client.stage == Stage::In) {
                let text = format!("client {number} is {:?}, and {ups} times with the focus", client.stage);
                self.wrong(text);
            } else if client.stage == Stage::In {
                self.tally.in_at_rest += 1;
                let client = &self.clients[number];
                if client.sees != there {
                    let text = format!("client {number} sees {:?}, and there are {there:?}", client.sees);
                    self.wrong(text);
                } else if !client.waiting.is_empty() && !client.missed {
                    self.wrong(format!("client {number} does not know what became of {:?}", client.waiting));
                } else if client.given[client.cursor..].iter().any(|(_, needed)| *needed) && !client.missed {
                    self.wrong(format!("client {number} has not heard {:?}", &client.given[client.cursor..]));
                }
            }
        }
    }

    pub fn judge_end(&mut self) {
        let ghosts: Vec<&str> =
            self.focus.calls.iter().filter(|member| member.up).map(|member| member.who.as_str()).collect();
        if !ghosts.is_empty() {
            let text = format!("ghosts: {ghosts:?}");
            self.wrong(text);
        }
        let (checks, process) = (&mut self.process.checks, &self.process.gateway);
        let (load, timeout) = (process.load(), process.next_timeout());
        checks.hold(Rest, load == 0, || format!("{load} things are still held: {timeout:?}"));
        let kept: Vec<&String> = self.process.store.keys().collect();
        checks.hold(Rest, kept.is_empty(), || format!("still kept: {kept:?}"));
        self.process.door.is_at_rest(checks);
    }
}
