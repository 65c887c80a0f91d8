//! One shard: a gateway, its inbox, its alarm, and the gate through which its outputs leave.
//!
//! **The durability gate.** The outputs of one drain are a step. Outputs leave strictly in order, and each only when
//! every `Save` of its own step and of all steps before it is on disk. While nothing waits in front of it, a step
//! without a `Save` leaves at once; only [`Output::Now`] overtakes. Notes are not held: they tell what the core
//! decided, not what anybody was promised.
//!
//! **A start.** Records of before it come while inputs do, a piece of them and some inputs in turn; whose are not back yet
//! waits in the core, which has them fetched.
//!
//! A shard is a task, not a thread: it runs where its input was just read, and what it wakes runs after it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use tokio::sync::mpsc;

use super::clock::Clock;
use super::log::Log;
use super::meters::{Meters, ShardMeters};
use super::record::Recorder;
use super::restore::Piece;
use super::writer::{Gate, Order};
use crate::gateway::Gateway;
use crate::gateway::io::{Forward, Input, LinkId, Output, StoreChange};
use crate::msrp::{MsrpIn, MsrpOut};
use crate::sip::flow::{Flow, SendId, SipOut};
use crate::sip::locate::Query;
use crate::store::{Change, Step};
use crate::words::id::Partition;
use crate::words::note::Note;
use crate::words::time::{Now, Tick};
use crate::xmpp::stanza::Stanza;

/// How many inputs may wait for a shard.
pub const INBOX: usize = 4096;

/// How many inputs are taken at one go.
const TOGETHER: usize = 128;

/// How many outputs may wait for the store before the shard takes no more inputs. Then its inbox fills: datagrams are
/// dropped and sent again by their senders, streams are read no further.
const HELD: usize = 65_536;

/// What a shard drives: the gateway, or a stand-in in tests.
pub trait Core: Send + 'static {
    /// The one door.
    fn handle(&mut self, now: Now, input: Input);
    /// The one drain.
    fn poll(&mut self) -> Option<Output>;
    /// The one alarm.
    fn next_timeout(&self) -> Option<(Tick, &'static str)>;
    /// So much waits in it that nothing more should come in.
    fn is_crowded(&self) -> bool {
        false
    }
}

impl Core for Gateway {
    fn handle(&mut self, now: Now, input: Input) {
        Gateway::handle(self, now, input);
    }

    fn poll(&mut self) -> Option<Output> {
        Gateway::poll(self)
    }

    fn next_timeout(&self) -> Option<(Tick, &'static str)> {
        Gateway::next_timeout(self)
    }

    fn is_crowded(&self) -> bool {
        Gateway::is_crowded(self)
    }
}

/// Where a shard's outputs go. Nothing here waits: what cannot go now is queued within limits or refused.
pub trait Outside: Send + Sync + 'static {
    /// Queues a stanza on its link.
    fn stanza(&self, link: LinkId, stanza: Stanza);
    /// Sends a SIP message, or queues it on its connection; or says at once why it cannot.
    fn sip(&self, shard: usize, out: SipOut) -> Result<(), (SendId, String)>;
    /// Does what is to be done with MSRP connections; gives what there is to tell at once.
    fn msrp(&self, shard: usize, out: MsrpOut) -> Option<MsrpIn>;
    /// Closes a connection after what is queued on it has gone.
    fn close(&self, flow: Flow);
    /// Asks DNS for a shard.
    fn resolve(&self, shard: usize, query: Query);
    /// Tells all other shards.
    fn forward(&self, shard: usize, forward: Forward);
    /// Gives an admin the answer to a question.
    fn explained(&self, number: u64, text: String);
}

/// What a shard is made of, besides its core.
pub struct Surroundings<O> {
    /// Which shard it is.
    pub number: usize,
    /// Its inputs.
    pub inbox: mpsc::Receiver<Input>,
    /// Its records of before the start.
    pub records: mpsc::Receiver<Piece>,
    /// The way to whoever reads them: whose are wanted first.
    pub wanted: Sender<Partition>,
    /// Told how many records there were when all are back.
    pub restored: mpsc::UnboundedSender<usize>,
    /// What it sees of the writer.
    pub gate: Arc<Gate>,
    /// The way to the writer.
    pub orders: Sender<Order>,
    /// Where its outputs go.
    pub outside: Arc<O>,
    /// Told the shard's number for each [`Output::Stopped`].
    pub stopped: mpsc::UnboundedSender<usize>,
    /// The process' clock.
    pub clock: Clock,
    /// The process' log.
    pub log: Log,
    /// The process' figures.
    pub meters: Meters,
    /// Writes down what goes in and out, where the admin wants it.
    pub recorder: Option<Recorder>,
}

/// Runs a shard until its inbox is closed.
pub async fn run<C: Core, O: Outside>(core: C, around: Surroundings<O>) {
    let meters = ShardMeters::new(around.meters.clone());
    let now = around.clock.now();
    let mut shard = Shard {
        core,
        meters,
        around,
        again: VecDeque::new(),
        held: VecDeque::new(),
        outputs: Vec::new(),
        last: 0,
        steps: Vec::new(),
        store: StoreChange::Ok,
        now,
    };
    shard.run().await;
}

struct Shard<C, O> {
    core: C,
    around: Surroundings<O>,
    meters: ShardMeters,
    /// Inputs that letting outputs out has given rise to.
    again: VecDeque<Input>,
    /// Outputs that wait, with the number that the gate must show.
    held: VecDeque<(u64, Output)>,
    /// The outputs of the step that is being drained.
    outputs: Vec<Output>,
    /// The number of the last step that was handed to the writer or is among `steps`.
    last: u64,
    /// Steps for the writer, of this go.
    steps: Vec<Step>,
    /// What the core was last told of the store.
    store: StoreChange,
    /// When this go began: what came together came at the same time.
    now: Now,
}

impl<C: Core, O: Outside> Shard<C, O> {
    async fn run(&mut self) {
        let mut inputs = Vec::with_capacity(TOGETHER);
        let alarm = tokio::time::sleep_until(self.around.clock.instant(Tick(u64::MAX)));
        tokio::pin!(alarm);
        let mut alarm_is_for = None;
        let mut records = Some(0);
        self.step(Input::Restoring);
        loop {
            let due = self.core.next_timeout().map(|(tick, _)| tick);
            if due != alarm_is_for {
                alarm.as_mut().reset(self.around.clock.instant(due.unwrap_or(Tick(u64::MAX))));
                alarm_is_for = due;
            }
            tokio::select! {
                taken = self.around.inbox.recv_many(&mut inputs, TOGETHER), if self.has_room() => {
                    if taken == 0 {
                        return;
                    }
                }
                piece = self.around.records.recv(), if records.is_some() => {
                    self.now = self.around.clock.now();
                    records = self.restore(records, piece);
                }
                () = self.around.gate.changed() => {}
                () = &mut alarm, if due.is_some() => {}
            }
            self.now = self.around.clock.now();
            self.look_at_gate();
            for input in inputs.drain(..) {
                self.step(input);
            }
            self.ring();
            self.hand_over();
        }
    }

    fn has_room(&self) -> bool {
        self.held.len() < HELD && !self.core.is_crowded()
    }

    /// Takes a piece of what was kept. How many records there were so far; nothing when that was all.
    fn restore(&mut self, count: Option<usize>, piece: Option<Piece>) -> Option<usize> {
        let mut count = count.unwrap_or_default();
        match piece {
            Some(Piece::Records(records)) => {
                count += records.len();
                records.into_iter().for_each(|record| self.step(Input::Restored(record)));
                return Some(count);
            }
            Some(Piece::Whole(partition)) => {
                self.step(Input::Whole(partition));
                return Some(count);
            }
            Some(Piece::All) => {
                self.step(Input::RestoreDone);
                // Nobody listens only when the process ends.
                let _ = self.around.restored.send(count);
            }
            // They cannot be read: the process ends.
            None => {}
        }
        None
    }

    /// What the writer has done meanwhile.
    fn look_at_gate(&mut self) {
        let committed = self.around.gate.committed();
        while self.held.front().is_some_and(|(number, _)| *number <= committed) {
            let Some((_, output)) = self.held.pop_front() else { break };
            self.let_out(output);
        }
        if self.held.is_empty() {
            self.held.shrink_to(INBOX);
        }
        let store = self.around.gate.store();
        if store != self.store {
            self.store = store;
            self.step(Input::Store(store));
        }
        self.handle_again();
    }

    fn ring(&mut self) {
        self.now = self.around.clock.now();
        if self.core.next_timeout().is_some_and(|(tick, _)| tick <= self.now.tick) {
            self.step(Input::Timeout);
        }
    }

    fn step(&mut self, input: Input) {
        self.drain(input);
        self.handle_again();
    }

    fn handle_again(&mut self) {
        while let Some(input) = self.again.pop_front() {
            self.drain(input);
        }
    }

    /// One input, one drain, one step.
    fn drain(&mut self, input: Input) {
        let now = self.now;
        if let Some(recorder) = &mut self.around.recorder {
            recorder.input(now, &input, self.core.next_timeout().map(|(_, why)| why));
        }
        self.core.handle(now, input);
        let mut changes = Step::new();
        while let Some(output) = self.core.poll() {
            if let Some(recorder) = &mut self.around.recorder {
                recorder.output(&output);
            }
            match output {
                Output::Save(record) => changes.push(Change::Save(record)),
                Output::Forget(key) => changes.push(Change::Forget(key)),
                Output::Now(output) => self.let_out(*output),
                Output::Note(note) => self.note(note),
                // If nobody reads any more, all are on their way.
                Output::Fetch(partition) => drop(self.around.wanted.send(partition)),
                output => self.outputs.push(output),
            }
        }
        if let Some(note) = self.around.recorder.as_mut().and_then(Recorder::end_of_step) {
            self.note(note);
        }
        self.meters.show();
        let saves = changes.iter().any(|change| matches!(change, Change::Save(_)));
        if saves {
            self.last += 1;
        }
        if !changes.is_empty() {
            self.steps.push(changes);
        }
        if self.outputs.is_empty() {
            return;
        }
        let mut outputs = std::mem::take(&mut self.outputs);
        if self.held.is_empty() && self.last <= self.around.gate.committed() {
            for output in outputs.drain(..) {
                self.let_out(output);
            }
        } else {
            self.held.extend(outputs.drain(..).map(|output| (self.last, output)));
        }
        self.outputs = outputs;
    }

    /// Gives the writer what this go wants kept.
    fn hand_over(&mut self) {
        if self.steps.is_empty() {
            return;
        }
        let steps = std::mem::take(&mut self.steps);
        let order = Order { shard: self.around.number, upto: self.last, steps };
        // The writer ends after all shards. If it is gone before, nothing more is let out, which is right.
        let _ = self.around.orders.send(order);
    }

    fn let_out(&mut self, output: Output) {
        match output {
            Output::Stanza(link, stanza) => self.around.outside.stanza(link, stanza),
            Output::Sip(out) => {
                if let Err((id, reason)) = self.around.outside.sip(self.around.number, out) {
                    self.again.push_back(Input::SendFailed(id, reason));
                }
            }
            Output::Msrp(out) => {
                let told = self.around.outside.msrp(self.around.number, out);
                self.again.extend(told.map(Input::Msrp));
            }
            Output::Close(flow) => self.around.outside.close(flow),
            Output::Resolve(query) => self.around.outside.resolve(self.around.number, query),
            Output::Forward(forward) => self.around.outside.forward(self.around.number, forward),
            Output::Now(output) => self.let_out(*output),
            Output::Explained(number, text) => self.around.outside.explained(number, text),
            Output::Note(note) => {
                self.note(note);
                self.meters.show();
            }
            Output::Stopped => {
                // Nobody listens only when the process ends anyway.
                let _ = self.around.stopped.send(self.around.number);
            }
            Output::Fetch(partition) => drop(self.around.wanted.send(partition)),
            // Inside a `Now`, where they do not belong: kept without anybody waiting for it.
            Output::Save(record) => self.steps.push(vec![Change::Save(record)]),
            Output::Forget(key) => self.steps.push(vec![Change::Forget(key)]),
        }
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Log { level, event, fields } => self.around.log.line(level, event, &fields),
            Note::Count { name, labels, by } => self.meters.count(name, labels, by),
            Note::Gauge { name, labels, by } => self.meters.gauge(name, labels, by),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::net::SocketAddr;
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;
    use crate::shell::log::Format;
    use crate::shell::status::Status;
    use crate::shell::writer;
    use crate::sip::flow::{Target, Transport};
    use crate::store::record::{Key, Life, Record, Restored};
    use crate::store::{Room, Store, StoreError};
    use crate::words::id::Partition;
    use crate::words::note::Level;

    /// Does what it is told: each word of a `SendFailed`'s text is an output.
    #[derive(Default)]
    struct Puppet(VecDeque<Output>);

    impl Core for Puppet {
        fn handle(&mut self, _now: Now, input: Input) {
            match input {
                Input::SendFailed(_, words) => {
                    for word in words.split(' ') {
                        self.0.push_back(output(word));
                    }
                }
                Input::Store(change) => self.0.push_back(Output::Now(Box::new(send(&format!("{change:?}"))))),
                _ => {}
            }
        }

        fn poll(&mut self) -> Option<Output> {
            self.0.pop_front()
        }

        fn next_timeout(&self) -> Option<(Tick, &'static str)> {
            None
        }
    }

    fn output(word: &str) -> Output {
        match word.split_once(':') {
            Some(("save", id)) => Output::Save(Record { key: key(id), value: Vec::new(), life: Life::Open }),
            Some(("forget", id)) => Output::Forget(key(id)),
            Some(("now", text)) => Output::Now(Box::new(send(text))),
            _ => send(word),
        }
    }

    fn key(id: &str) -> Key {
        Key { kind: "test", partition: Partition(0), id: id.into() }
    }

    fn send(text: &str) -> Output {
        let remote: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let target = Target { transport: Transport::Udp, local: None, remote, conn: None };
        Output::Sip(SipOut { bytes: text.to_owned().into(), target, id: None })
    }

    /// Shows what left.
    struct Window(mpsc::UnboundedSender<String>);

    impl Outside for Window {
        fn stanza(&self, _link: LinkId, _stanza: Stanza) {}
        fn sip(&self, _shard: usize, out: SipOut) -> Result<(), (SendId, String)> {
            self.0.send(String::from_utf8_lossy(&out.bytes).into_owned()).unwrap();
            Ok(())
        }
        fn msrp(&self, _shard: usize, _out: MsrpOut) -> Option<MsrpIn> {
            None
        }
        fn close(&self, _flow: Flow) {}
        fn resolve(&self, _shard: usize, _query: Query) {}
        fn forward(&self, _shard: usize, _forward: Forward) {}
        fn explained(&self, _number: u64, _text: String) {}
    }

    /// Commits when it is told to, with the result that it is told.
    struct SlowStore {
        permits: Mutex<Receiver<bool>>,
        reopened: SyncSender<()>,
    }

    impl Store for SlowStore {
        fn load(&self) -> Box<dyn Iterator<Item = Result<Restored, StoreError>> + '_> {
            Box::new(std::iter::empty())
        }
        fn commit(&mut self, steps: &mut Vec<Step>) -> Result<(), StoreError> {
            match self.permits.lock().unwrap().recv() {
                Ok(true) => {
                    steps.clear();
                    Ok(())
                }
                _ => Err(StoreError::BadName("told to fail".into())),
            }
        }
        fn reopen(&mut self) -> Result<(), StoreError> {
            let _ = self.reopened.try_send(());
            Ok(())
        }
        fn room(&self) -> Option<Room> {
            None
        }
    }

    struct Stage {
        inbox: mpsc::Sender<Input>,
        left: mpsc::UnboundedReceiver<String>,
        permits: SyncSender<bool>,
        reopened: Receiver<()>,
    }

    impl Stage {
        fn new() -> Stage {
            let (permits, waiting) = sync_channel(64);
            let (reopen, reopened) = sync_channel(64);
            let store = SlowStore { permits: Mutex::new(waiting), reopened: reopen };
            let gate = Arc::new(Gate::default());
            let (log, _thread) = Log::start(Level::Error, Format::Logfmt).unwrap();
            let meters = Meters::new();
            let (orders, ordered) = std::sync::mpsc::channel();
            let gates = vec![gate.clone()];
            writer::start(Box::new(store), ordered, gates, Status::default(), log.clone(), &meters).unwrap();
            let (inbox, inputs) = mpsc::channel(64);
            let (window, left) = mpsc::unbounded_channel();
            let (stopped, _) = mpsc::unbounded_channel();
            let (restored, _) = mpsc::unbounded_channel();
            let (_, records) = mpsc::channel(1);
            let (wanted, _) = std::sync::mpsc::channel();
            let clock = Clock::start();
            let outside = Arc::new(Window(window));
            let around = Surroundings {
                number: 0,
                inbox: inputs,
                records,
                wanted,
                restored,
                gate,
                orders,
                outside,
                stopped,
                clock,
                log,
                meters,
                recorder: None,
            };
            tokio::spawn(run(Puppet::default(), around));
            Stage { inbox, left, permits, reopened }
        }

        async fn tell(&self, words: &str) {
            self.inbox.send(Input::SendFailed(SendId(0), words.into())).await.unwrap();
        }

        async fn next(&mut self) -> String {
            self.left.recv().await.unwrap()
        }
    }

    #[tokio::test]
    async fn outputs_wait_for_their_save_in_order_and_only_now_overtakes() {
        let mut stage = Stage::new();
        stage.tell("a").await;
        assert_eq!(stage.next().await, "a");
        stage.tell("save:1 b now:c").await;
        assert_eq!(stage.next().await, "c");
        stage.tell("d").await;
        stage.tell("now:e").await;
        assert_eq!(stage.next().await, "e");
        assert!(stage.left.try_recv().is_err());
        stage.permits.send(true).unwrap();
        assert_eq!(stage.next().await, "b");
        assert_eq!(stage.next().await, "d");
        stage.tell("f").await;
        assert_eq!(stage.next().await, "f");
    }

    #[tokio::test]
    async fn dropping_a_record_holds_nothing_up() {
        let mut stage = Stage::new();
        stage.tell("forget:1 a").await;
        assert_eq!(stage.next().await, "a");
    }

    #[tokio::test]
    async fn a_failed_commit_is_tried_again_and_told() {
        let mut stage = Stage::new();
        stage.permits.send(false).unwrap();
        stage.tell("save:1 a").await;
        assert_eq!(stage.next().await, "Down");
        stage.permits.send(false).unwrap();
        stage.permits.send(true).unwrap();
        let mut seen = [stage.next().await, stage.next().await];
        seen.sort();
        assert_eq!(seen, ["Ok", "a"]);
        assert_eq!(stage.reopened.try_iter().count(), 2);
    }
}
