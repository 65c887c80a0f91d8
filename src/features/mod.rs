//! The only place where SIP words and XMPP words meet: one feature, one folder, one line in the registry.
//!
//! A feature is a machine that is handed stanzas, requests, answers and alarms, and that pushes [`Op`]s. It never sees
//! another feature: what features know together is [`facts::Facts`], and what one tells the others is a [`Signal`].

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::config::Config;
use crate::gateway::domains::Domains;
use crate::gateway::io::{LinkId, StoreChange};
use crate::msrp::connections::{Connections, SessionId};
use crate::msrp::session::Event;
use crate::sip::flow::Flow;
use crate::sip::message::{Answer, OutRequest, Reply, Request, Response, ServerKey};
use crate::sip::uri::SipAddress;
use crate::store::record::{Key, Record, Restored};
use crate::words::id::{Mint, Partition};
use crate::words::note::{Level, Note};
use crate::words::time::{Now, Tick};
use crate::xmpp::jid::Jid;
use crate::xmpp::stanza::Stanza;
use audit::view::View;

pub mod audit;
pub mod availability;
pub mod chat;
pub mod clients;
pub mod composing;
pub mod conference;
pub mod contact;
pub mod content;
pub mod describe;
pub mod devices;
pub mod disco;
pub mod errors;
pub mod facts;
pub mod leg;
pub mod options;
pub mod pager;
pub mod ping;
pub mod receipts;
pub mod rich;
pub mod room;
pub mod sessions;
pub mod signal;
pub mod vcard;
pub mod version;
pub mod watcher;

pub use signal::Signal;

/// What a feature is, in a form that documents are generated from and that the router claims by.
#[derive(Debug)]
pub struct Manifest {
    /// The feature's name: its folder, its vectors' folder.
    pub name: &'static str,
    /// The RFCs and XEPs it follows, with sections: `RFC 7572 §4`.
    pub follows: &'static [&'static str],
    /// One line for people.
    pub summary: &'static str,
    /// SIP methods that it serves, for Allow.
    pub methods: &'static [&'static str],
    /// Event packages that it serves, for Allow-Events.
    pub events: &'static [&'static str],
    /// Features for disco#info of the gateway and of its contacts.
    pub disco: &'static [&'static str],
    /// Kinds of its records in the store.
    pub records: &'static [&'static str],
}

/// A request that the agent let in: valid, from a peer, for a listed domain unless the feature takes any.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// For the answer.
    pub key: ServerKey,
    /// The message.
    pub request: Arc<Request>,
    /// The way it came.
    pub flow: Flow,
    /// Which peer sent it, by its place in `sip.peers`.
    pub peer: usize,
    /// From: the address; outside dialogs the AOR under which the contact is known here, whatever the case of its letters.
    pub from: SipAddress,
    /// From: the display name.
    pub from_name: Option<String>,
    /// From: the tag; empty when there is none.
    pub from_tag: String,
    /// To: the tag, inside a dialog.
    pub to_tag: Option<String>,
    /// The Request-URI.
    pub target: SipAddress,
    /// Call-ID.
    pub call_id: String,
    /// CSeq number.
    pub cseq: u32,
    /// The XMPP user whom the Request-URI names, and the sender as a contact: known of a request outside dialogs.
    pub jids: Option<(Jid, Jid)>,
    /// Hops left after us: Max-Forwards of the request less one, for whatever we send because of it (RFC 7332).
    pub max_forwards: u8,
}

/// A machine that combines SIP usages with stanzas.
pub trait Feature {
    /// What it is.
    fn manifest(&self) -> &'static Manifest;

    /// A stanza from a listed XMPP domain to an address of ours. True when it is this feature's: then it has been, or
    /// will be, answered here.
    fn stanza(&mut self, _cx: &mut Cx<'_>, _link: LinkId, _stanza: &Stanza) -> bool {
        false
    }

    /// A request outside or inside a dialog. True when it is this feature's: then `Op::Reply` follows, now or later.
    fn request(&mut self, _cx: &mut Cx<'_>, _incoming: &Incoming) -> bool {
        false
    }

    /// What became of the request that this feature sent as `token`. A `Final` or `Failed` comes exactly once.
    fn answer(&mut self, _cx: &mut Cx<'_>, _token: u64, _answer: &Answer) {}

    /// A further 2xx to an INVITE that this feature sent as `token`: the same again, or that of another fork.
    fn further(&mut self, _cx: &mut Cx<'_>, _token: u64, _cseq: u32, _response: &Response) {}

    /// An ACK for a 2xx to an INVITE. True when it is this feature's.
    fn ack(&mut self, _cx: &mut Cx<'_>, _incoming: &Incoming) -> bool {
        false
    }

    /// An INVITE is cancelled that has no final answer yet. True when it is this feature's: then 487 follows.
    fn cancelled(&mut self, _cx: &mut Cx<'_>, _key: ServerKey) -> bool {
        false
    }

    /// Something happened in an MSRP session. True when it is this feature's.
    fn msrp(&mut self, _cx: &mut Cx<'_>, _session: SessionId, _event: &Event) -> bool {
        false
    }

    /// When [`Feature::timeout`] is wanted, and a stable name for why.
    fn next_timeout(&self) -> Option<(Tick, &'static str)> {
        None
    }

    /// Time has come; ring everything that is due.
    fn timeout(&mut self, _cx: &mut Cx<'_>) {}

    /// A component link came up.
    fn link_up(&mut self, _cx: &mut Cx<'_>, _link: LinkId) {}

    /// A component link went down: what was not confirmed may be lost.
    fn link_down(&mut self, _cx: &mut Cx<'_>, _link: LinkId) {}

    /// A SIP peer, by its place in `sip.peers`, answers again after so long that it may have given up what it wanted to
    /// tell us.
    fn peer_back(&mut self, _cx: &mut Cx<'_>, _peer: usize) {}

    /// The store's condition changed.
    fn store(&mut self, _cx: &mut Cx<'_>, _change: StoreChange) {}

    /// A record of before the start, of one of the manifest's kinds.
    fn restored(&mut self, _cx: &mut Cx<'_>, _record: &Restored) {}

    /// What a record says, of one of the manifest's kinds; or why it cannot be read.
    fn view(&self, _record: &Restored) -> Result<View, String> {
        Err("nobody keeps such records".to_owned())
    }

    /// What was given back since the last call is whole: all of some users, or of everybody. Called once or, where
    /// there is traffic meanwhile, for one partition after the other; then links may be up already.
    fn start(&mut self, _cx: &mut Cx<'_>) {}

    /// Another feature, or this one, said something.
    fn signal(&mut self, _cx: &mut Cx<'_>, _signal: &Signal) {}

    /// How this stanza would be treated and why, in lines for an admin; nothing if it has no rule for it. Nothing is done.
    fn explain(&self, _cx: &mut Cx<'_>, _stanza: &Stanza) -> Option<String> {
        None
    }

    /// The process stops: say goodbye. True when nothing remains to be waited for; asked again after each input.
    fn stop(&mut self, _cx: &mut Cx<'_>) -> bool {
        true
    }

    /// How many conversations, timers and queues it still holds; zero when all is over (rule 12).
    fn load(&self) -> usize {
        0
    }
}

/// Something that a feature wants done. Executed in order, after the call returns.
#[derive(Debug)]
pub enum Op {
    /// Send a stanza; its `from` says over which link.
    Stanza(Stanza),
    /// Send a stanza that refuses something: it need not wait for the store.
    Refuse(Stanza),
    /// Send a request; `token` comes back with each [`Feature::answer`].
    Request(u64, Box<OutRequest>),
    /// Cancel the INVITE that was sent with this token; its answer comes all the same.
    Cancel(u64),
    /// Send the ACK for a 2xx to the INVITE that was sent with this token.
    Ack(u64, Box<OutRequest>),
    /// Answer a request.
    Reply(ServerKey, Reply),
    /// Answer a request with a refusal that need not wait for the store.
    ReplyNow(ServerKey, Reply),
    /// Keep a record.
    Save(Record),
    /// Drop a record.
    Forget(Key),
    /// Tell the other features.
    Signal(Signal),
    /// Log or count.
    Note(Note),
}

/// What a feature is handed with each call.
pub struct Cx<'a> {
    /// The two clocks.
    pub now: Now,
    /// The source of identifiers and jitter.
    pub mint: &'a mut Mint,
    /// What the admin decided.
    pub config: &'a Config,
    /// Which JID is which SIP address.
    pub domains: &'a Domains,
    /// What features know together.
    pub facts: &'a mut facts::Facts,
    /// The MSRP sessions of this owner. What they want sent leaves, and what they tell comes to [`Feature::msrp`], when the
    /// call returns.
    pub msrp: &'a mut Connections,
    /// Which component links are up.
    pub links: &'a [bool],
    /// Records of before the start still come back.
    pub restoring: bool,
    /// Whether new work may be taken: false while the store is low or down.
    pub accepting: bool,
    /// The least important lines that somebody reads.
    pub level: Level,
    /// What is to be done when the call returns.
    pub ops: &'a mut VecDeque<Op>,
}

impl Cx<'_> {
    /// The pause between two pieces of work that is done for very many and that nobody waits for. While records come back
    /// it is longer: they come first, and what hundreds of thousands want said after a start is more than peers take.
    pub fn pause(&self, usual: Duration) -> Duration {
        if self.restoring { usual * 8 } else { usual }
    }

    /// Sends a stanza.
    pub fn stanza(&mut self, stanza: Stanza) {
        self.ops.push_back(Op::Stanza(stanza));
    }

    /// Answers an IQ with its result or its error; there is none where nobody asked. It need not wait for the store.
    pub fn answer(&mut self, answer: Option<Stanza>) {
        if let Some(answer) = answer {
            self.ops.push_back(Op::Refuse(answer));
        }
    }

    /// Sends a request; its answers come back with `token`.
    pub fn request(&mut self, token: u64, request: OutRequest) {
        self.ops.push_back(Op::Request(token, Box::new(request)));
    }

    /// Answers a request.
    pub fn reply(&mut self, key: ServerKey, reply: Reply) {
        self.ops.push_back(Op::Reply(key, reply));
    }

    /// Keeps a record.
    pub fn save(&mut self, record: Record) {
        self.ops.push_back(Op::Save(record));
    }

    /// Drops a record.
    pub fn forget(&mut self, key: Key) {
        self.ops.push_back(Op::Forget(key));
    }

    /// Tells the other features.
    pub fn signal(&mut self, signal: Signal) {
        self.ops.push_back(Op::Signal(signal));
    }

    /// Writes a log line. Ask [`Cx::logs`] first where the fields cost something for each message.
    pub fn log(&mut self, level: Level, event: &'static str, fields: Vec<(&'static str, String)>) {
        self.ops.push_back(Op::Note(Note::Log { level, event, fields }));
    }

    /// A record of before the start cannot be read: it stays where it is, and `mostar fsck` says more.
    pub fn unreadable(&mut self, record: &Restored, reason: impl ToString) {
        self.log(Level::Error, "record-unreadable", fields_of(record, reason));
    }

    /// A record of before the start is about somebody for whom no component speaks now: it stays for the day when one does.
    pub fn unused(&mut self, record: &Restored, reason: impl ToString) {
        self.log(Level::Warn, "record-unused", fields_of(record, reason));
    }

    /// Whether anybody reads lines of this level.
    pub fn logs(&self, level: Level) -> bool {
        level <= self.level
    }

    /// Counts something.
    pub fn count(&mut self, name: &'static str, labels: &[(&'static str, &'static str)]) {
        self.ops.push_back(Op::Note(Note::Count { name, labels: labels.to_vec(), by: 1 }));
    }

    /// Moves a gauge.
    pub fn gauge(&mut self, name: &'static str, labels: &[(&'static str, &'static str)], by: i64) {
        let labels = labels.iter().map(|(label, value)| (*label, (*value).into())).collect();
        self.ops.push_back(Op::Note(Note::Gauge { name, labels, by }));
    }

    /// Whether the link that serves `jid`'s domain is up.
    pub fn link_is_up(&self, jid: &Jid) -> bool {
        self.domains.link_of(jid.domain()).is_some_and(|link| self.is_up(link))
    }

    /// Whether this link is up.
    pub fn is_up(&self, link: LinkId) -> bool {
        self.links.get(link.0).copied().unwrap_or(false)
    }

    /// A token that names the partition of this XMPP user: a tag, a Call-ID, an id.
    pub fn token_for(&mut self, user: &Jid) -> String {
        self.mint.token(Partition::of(user.bare_str()))
    }
}

fn fields_of(record: &Restored, reason: impl ToString) -> Vec<(&'static str, String)> {
    vec![("kind", record.kind.clone()), ("record", record.id.clone()), ("reason", reason.to_string())]
}

/// Says what is wrong with the text of a table.
pub type ReadsTable = fn(&str) -> Result<(), String>;

/// The tables of `mappings/` that an admin may replace, by the names of their files, each with what reads it.
pub const TABLES: [(&str, ReadsTable); 5] = [
    ("errors", errors::check_table),
    ("presence", availability::check_table),
    ("rooms", room::table::check_table),
    ("sessions", sessions::check_table),
    ("subscribe", contact::table::check_table),
];

/// Every feature, in the order in which they are asked. Adding a feature is one line here.
pub fn registry() -> Vec<Box<dyn Feature + Send>> {
    vec![
        // First of all: what is about a room is nobody else's.
        Box::<room::Rooms>::default(),
        Box::<conference::Conferences>::default(),
        // First: it looks at where users write from and what they tell of themselves, and leaves that to others.
        Box::<contact::Contacts>::default(),
        Box::<clients::Clients>::default(),
        // Before those that take a whole message: it looks at what goes along with one.
        Box::<composing::Composing>::default(),
        Box::<receipts::Receipts>::default(),
        // Before the watcher, which takes presence, and the pager, which waits for its answer.
        Box::<chat::Chat>::default(),
        Box::<watcher::Watcher>::default(),
        Box::<pager::Pager>::default(),
        Box::new(disco::Disco),
        Box::new(options::Options),
        Box::new(ping::Ping),
        Box::new(vcard::VCard),
        Box::new(version::Version),
    ]
}

/// The SIP methods that all manifests list, each once, in alphabetical order: the value of Allow.
pub static ALLOW: LazyLock<String> = LazyLock::new(|| listed(|manifest| manifest.methods));

/// The event packages, likewise: the value of Allow-Events.
pub static EVENTS: LazyLock<String> = LazyLock::new(|| listed(|manifest| manifest.events));

fn listed(of: fn(&'static Manifest) -> &'static [&'static str]) -> String {
    let all: BTreeSet<_> = registry().iter().flat_map(|feature| of(feature.manifest())).copied().collect();
    all.into_iter().collect::<Vec<_>>().join(", ")
}
