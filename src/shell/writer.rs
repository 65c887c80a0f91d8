//! The one thread that writes the store: it commits what waits of all shards together, and opens their gates.
//!
//! A shard hands over the steps of one go with the number of the last of them, and lets their outputs out once its
//! [`Gate`] shows that number. When a commit fails, everything stays where it is: the store is opened again and the
//! same commit retried, with back-off, and the shards learn that the store is down.
//!
//! What no commit waits for, such as moving records from the journal to the tree, is done in small pieces: after each commit as
//! many as it had changes for, and more while there is nothing to commit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::log::Log;
use super::meters::Meters;
use super::status::Status;
use crate::gateway::io::StoreChange;
use crate::store::{Change, Room, Step, Store, StoreError};
use crate::words::note::Level;

/// Changes that are committed together at most: a flush should not take long.
const TOGETHER: usize = 2000;

/// How long records that are only dropped may wait for company: nothing depends on them.
const LINGER: Duration = Duration::from_millis(20);

/// A commit of at least so many changes says that more are on their way: then the next one waits this long for them,
/// since a change costs half as much in a commit of sixty as in one of fifteen.
const CROWD: usize = 8;
const CROWD_WAIT: Duration = Duration::from_micros(400);

/// One commit's share of the store's other work: a piece for so many changes, so that the work is spread over all commits and
/// done long before there is more of it, and no longer than this. Where that was too little, it is as long as that. And after a
/// failure of it, when it is tried again.
const TIDY_CHANGES: usize = 64;
const TIDY: Duration = Duration::from_micros(250);
const TIDY_PRESSED: Duration = Duration::from_millis(5);
const TIDY_AGAIN: Duration = Duration::from_secs(5);

/// When no order has come for so long there is time for that work: under load the pause until the next one belongs to the shards,
/// which may have no other core.
const REST: Duration = Duration::from_millis(2);

/// How often free space is looked at.
const ROOM_INTERVAL: Duration = Duration::from_secs(2);

/// How often the store is asked to give memory back.
const TRIM_INTERVAL: Duration = Duration::from_secs(30);

/// Less than this is low, if it is also less than one part in [`RESERVE_SHARE`] of the disk, or less than
/// [`RESERVE_MIN`] in any case. What was low stays so until there is half as much again: what is refused and what is
/// dropped makes room, and would turn the refusal on and off.
const RESERVE: u64 = 64 * 1024 * 1024;
const RESERVE_MIN: u64 = 4 * 1024 * 1024;
const RESERVE_SHARE: u64 = 20;

/// First and longest wait between two tries of a commit.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// The store's name in `/readyz`.
pub const PART: &str = "store";

/// What one shard sees of the writer.
#[derive(Debug, Default)]
pub struct Gate {
    committed: AtomicU64,
    store: AtomicU8,
    wake: Notify,
}

impl Gate {
    /// The number of the last step that is on disk.
    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    /// The condition of the store.
    pub fn store(&self) -> StoreChange {
        match self.store.load(Ordering::Acquire) {
            0 => StoreChange::Ok,
            1 => StoreChange::Low,
            _ => StoreChange::Down,
        }
    }

    /// Waits until either may have changed.
    pub async fn changed(&self) {
        self.wake.notified().await;
    }

    fn open(&self, upto: u64) {
        self.committed.store(upto, Ordering::Release);
        self.wake.notify_one();
    }

    fn tell(&self, change: StoreChange) {
        let value = match change {
            StoreChange::Ok => 0,
            StoreChange::Low => 1,
            StoreChange::Down => 2,
        };
        self.store.store(value, Ordering::Release);
        self.wake.notify_one();
    }
}

/// Steps of one shard, for the writer.
#[derive(Debug)]
pub struct Order {
    /// Whose.
    pub shard: usize,
    /// The number of the last step.
    pub upto: u64,
    /// The steps, in order.
    pub steps: Vec<Step>,
}

impl Order {
    /// True when outputs wait for it: a record that is kept, not only dropped.
    fn is_urgent(&self) -> bool {
        self.steps.iter().flatten().any(|change| matches!(change, Change::Save(_)))
    }
}

/// Starts the thread on a store and on the orders that come or already wait. It ends when the last sender of orders is
/// gone, after a last commit.
pub fn start(
    store: Box<dyn Store>,
    waiting: Receiver<Order>,
    gates: Vec<Arc<Gate>>,
    status: Status,
    log: Log,
    meters: &Meters,
) -> std::io::Result<JoinHandle<()>> {
    let writer = Writer {
        store,
        gates,
        status,
        log,
        commits: meters.plain_counter("store_commits_total"),
        failures: meters.plain_counter("store_failures_total"),
        ok: meters.plain_gauge("store_ok"),
        free: meters.plain_gauge("store_free_bytes"),
        condition: StoreChange::Ok,
        looked: None,
        trimmed: Instant::now(),
        untidy_until: None,
    };
    std::thread::Builder::new().name("writer".into()).spawn(move || writer.run(&waiting))
}

struct Writer {
    store: Box<dyn Store>,
    gates: Vec<Arc<Gate>>,
    status: Status,
    log: Log,
    commits: metrics::Counter,
    failures: metrics::Counter,
    ok: metrics::Gauge,
    free: metrics::Gauge,
    condition: StoreChange,
    looked: Option<Instant>,
    trimmed: Instant,
    /// The store's other work has failed; it rests until then.
    untidy_until: Option<Instant>,
}

impl Writer {
    fn run(mut self, waiting: &Receiver<Order>) {
        self.ok.set(1.0);
        let mut steps: Vec<Step> = Vec::new();
        let mut upto: Vec<u64> = vec![0; self.gates.len()];
        let (mut crowded, mut is_untidy) = (false, false);
        loop {
            self.look_at_room();
            let mut taken = Taken { steps: &mut steps, upto: &mut upto, changes: 0, urgent: false };
            let first = match self.next(waiting, is_untidy) {
                Ok(order) => order,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            taken.add(first);
            if crowded {
                std::thread::sleep(CROWD_WAIT);
            }
            let linger = Instant::now() + LINGER;
            while taken.changes < TOGETHER {
                let next = if taken.urgent {
                    waiting.try_recv().ok()
                } else {
                    waiting.recv_timeout(linger.saturating_duration_since(Instant::now())).ok()
                };
                match next {
                    Some(order) => taken.add(order),
                    None => break,
                }
            }
            let changes = taken.changes;
            crowded = changes >= CROWD;
            if !self.commit_until_it_succeeds(&mut steps, &mut upto, waiting) {
                return;
            }
            for (gate, upto) in self.gates.iter().zip(&mut upto) {
                if *upto > 0 {
                    gate.open(*upto);
                }
                *upto = 0;
            }
            let is_pressed = self.store.is_pressed();
            let (pieces, share) =
                if is_pressed { (usize::MAX, TIDY_PRESSED) } else { (changes.div_ceil(TIDY_CHANGES), TIDY) };
            let began = Instant::now();
            for _ in 0..pieces {
                is_untidy = self.tidy();
                if !is_untidy || began.elapsed() >= share {
                    break;
                }
            }
        }
    }

    /// The next order; when none has come for a moment, the store is tidied until one does.
    fn next(&mut self, waiting: &Receiver<Order>, is_untidy: bool) -> Result<Order, RecvTimeoutError> {
        let mut rest = if is_untidy { REST } else { Duration::ZERO };
        loop {
            match waiting.recv_timeout(rest) {
                Err(RecvTimeoutError::Timeout) => rest = Duration::ZERO,
                next => return next,
            }
            if !self.tidy() {
                return waiting.recv_timeout(ROOM_INTERVAL);
            }
        }
    }

    /// A piece of the work that no commit waits for. True when there is more of it to do at once.
    fn tidy(&mut self) -> bool {
        if self.untidy_until.is_some_and(|until| Instant::now() < until) {
            return false;
        }
        let store = &mut self.store;
        let is_time = self.trimmed.elapsed() >= TRIM_INTERVAL;
        if is_time {
            self.trimmed = Instant::now();
        }
        match guarded(|| if is_time { store.trim().and_then(|()| store.tidy()) } else { store.tidy() }) {
            Ok(more) => {
                self.untidy_until = None;
                more
            }
            Err(error) => {
                self.log.line(Level::Warn, "store-untidy", &[("reason", error.to_string())]);
                self.untidy_until = Some(Instant::now() + TIDY_AGAIN);
                false
            }
        }
    }

    /// False when the process ends before the store works again.
    fn commit_until_it_succeeds(
        &mut self,
        steps: &mut Vec<Step>,
        upto: &mut [u64],
        waiting: &Receiver<Order>,
    ) -> bool {
        let mut backoff = BACKOFF.0;
        let mut error = match self.commit(steps) {
            Ok(()) => return true,
            Err(error) => error,
        };
        loop {
            self.failures.increment(1);
            if self.condition != StoreChange::Down {
                let reason = error.to_string();
                self.status
                    .missing(PART, format!("{reason}; new work is refused, the commit is tried again"));
                self.log.line(Level::Error, "store-down", &[("reason", reason)]);
                self.tell(StoreChange::Down);
            }
            let until = Instant::now() + backoff;
            loop {
                match waiting.recv_timeout(until.saturating_duration_since(Instant::now())) {
                    Ok(order) => Taken { steps, upto, changes: 0, urgent: true }.add(order),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => {
                        // The last try, since nobody will ask again.
                        return self.reopen().and_then(|()| self.commit(steps)).is_ok();
                    }
                }
            }
            backoff = (backoff * 2).min(BACKOFF.1);
            let reopened = self.reopen();
            // A journal that is full is waiting for this.
            let began = Instant::now();
            while reopened.is_ok() && self.tidy() && began.elapsed() < BACKOFF.1 {}
            match reopened.and_then(|()| self.commit(steps)) {
                Ok(()) => break,
                Err(again) => error = again,
            }
        }
        self.log.line(Level::Info, "store-ok", &[]);
        self.tell(StoreChange::Ok);
        self.looked = None;
        true
    }

    fn commit(&mut self, steps: &mut Vec<Step>) -> Result<(), StoreError> {
        self.commits.increment(1);
        let store = &mut self.store;
        guarded(|| store.commit(steps))
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        let store = &mut self.store;
        guarded(|| store.reopen())
    }

    fn look_at_room(&mut self) {
        if self.looked.is_some_and(|looked| looked.elapsed() < ROOM_INTERVAL) {
            return;
        }
        self.looked = Some(Instant::now());
        let Some(room) = self.store.room() else { return };
        self.free.set(room.free as f64);
        let change =
            if is_low(room, self.condition == StoreChange::Low) { StoreChange::Low } else { StoreChange::Ok };
        if change == self.condition {
            return;
        }
        let fields = [("free_bytes", room.free.to_string())];
        match change {
            StoreChange::Low => {
                let reason = format!("{} bytes are left on its disk; new work is refused", room.free);
                self.status.missing(PART, reason);
                self.log.line(Level::Error, "store-low", &fields);
            }
            _ => self.log.line(Level::Info, "store-ok", &fields),
        }
        self.tell(change);
    }

    fn tell(&mut self, change: StoreChange) {
        self.condition = change;
        if change == StoreChange::Ok {
            self.status.ready(PART);
        }
        self.ok.set(if change == StoreChange::Ok { 1.0 } else { 0.0 });
        for gate in &self.gates {
            gate.tell(change);
        }
    }
}

/// What one commit will hold.
struct Taken<'a> {
    steps: &'a mut Vec<Step>,
    upto: &'a mut [u64],
    changes: usize,
    urgent: bool,
}

impl Taken<'_> {
    fn add(&mut self, order: Order) {
        self.urgent |= order.is_urgent();
        self.changes += order.steps.iter().map(Vec::len).sum::<usize>();
        if let Some(upto) = self.upto.get_mut(order.shard) {
            *upto = (*upto).max(order.upto);
        }
        self.steps.extend(order.steps);
    }
}

fn is_low(room: Room, was_low: bool) -> bool {
    let reserve = RESERVE.min(room.total / RESERVE_SHARE).max(RESERVE_MIN);
    room.free < if was_low { reserve + reserve / 2 } else { reserve }
}

/// The store is foreign code; a panic in it is a failed commit, not the end of all commits.
fn guarded<T>(act: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|_| {
        Err(StoreError::Io { path: String::new(), reason: "the store's library gave up".into() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_disk_has_a_small_reserve() {
        let mib = 1024 * 1024;
        let low = |free: u64, total: u64| is_low(Room { free: free * mib, total: total * mib }, false);
        assert!(low(3, 16) && !low(10, 16));
        assert!(low(60, 100_000) && !low(65, 100_000));
    }

    #[test]
    fn what_was_low_stays_low_until_there_is_half_as_much_again() {
        let mib = 1024 * 1024;
        let still = |free: u64| is_low(Room { free: free * mib, total: 100_000 * mib }, true);
        assert!(still(65) && still(95) && !still(96));
    }
}
