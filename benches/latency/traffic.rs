//! The clock of the load: when each message was written, when it arrived, when it was answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long the last message may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// All messages of a run, by their numbers. Every thread has one of these.
#[derive(Clone)]
pub struct Traffic(Arc<Inner>);

struct Inner {
    began: Instant,
    next: AtomicUsize,
    messages: Vec<Times>,
}

/// Nanoseconds since the beginning; zero is not yet.
#[derive(Default)]
struct Times {
    sent: AtomicU64,
    arrived: AtomicU64,
    answered: AtomicU64,
}

impl Traffic {
    /// Room for so many messages, and for what chance adds to them.
    pub fn new(messages: usize) -> Traffic {
        let messages = (0..2 * messages + 1000).map(|_| Times::default()).collect();
        Traffic(Arc::new(Inner { began: Instant::now(), next: AtomicUsize::new(0), messages }))
    }

    /// Sends messages with random gaps for a time, then waits until all have arrived. `send` is given the number, two
    /// random numbers, and the body.
    pub fn run(
        &self,
        rate: usize,
        time: Duration,
        mut send: impl FnMut(usize, [usize; 2], &str),
    ) -> std::ops::Range<usize> {
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
        let first = self.0.next.load(Ordering::Relaxed);
        let mut number = first;
        let mut due = Instant::now();
        let end = due + time;
        while due < end {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            self.0.messages[number].sent.store(self.now(), Ordering::Release);
            let random = [chance.next() as usize, chance.next() as usize];
            send(number, random, &format!("Art thou not Romeo, and a Montague? {number}"));
            number += 1;
            due += chance.gap(rate);
        }
        self.0.next.store(number, Ordering::Relaxed);
        let patience = Instant::now() + PATIENCE;
        for n in first..number {
            while self.0.messages[n].arrived.load(Ordering::Acquire) == 0 {
                assert!(Instant::now() < patience, "message {n} did not arrive");
                thread::sleep(Duration::from_millis(5));
            }
        }
        // The answer may come after the message.
        thread::sleep(Duration::from_millis(100));
        first..number
    }

    /// A body was seen on the other side.
    pub fn arrived(&self, body: &str) {
        let number = body.rsplit(' ').next().and_then(|digits| digits.parse::<usize>().ok());
        if let Some(message) = number.and_then(|number| self.0.messages.get(number)) {
            message.arrived.store(self.now(), Ordering::Release);
        }
    }

    /// A request was answered.
    pub fn answered(&self, number: usize, status: u16) {
        assert!(status < 300, "message {number} was answered {status}");
        if let Some(message) = self.0.messages.get(number) {
            message.answered.store(self.now(), Ordering::Release);
        }
    }

    /// From leaving to arriving.
    pub fn took(&self, number: usize) -> Duration {
        self.after(number, |times| &times.arrived).unwrap()
    }

    /// From leaving to the answer, where there was one.
    pub fn answered_after(&self, number: usize) -> Option<Duration> {
        self.after(number, |times| &times.answered)
    }

    fn after(&self, number: usize, what: impl Fn(&Times) -> &AtomicU64) -> Option<Duration> {
        let message = &self.0.messages[number];
        let at = what(message).load(Ordering::Acquire);
        (at > 0).then(|| Duration::from_nanos(at.saturating_sub(message.sent.load(Ordering::Acquire))))
    }

    fn now(&self) -> u64 {
        self.0.began.elapsed().as_nanos() as u64
    }
}

/// A small generator of random numbers (xorshift64*): the same ones in every run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
    }

    /// Time until the next of `rate` independent events a second.
    fn gap(&mut self, rate: usize) -> Duration {
        let uniform = (self.next() + 1) as f64 / f64::from(1u32 << 31);
        Duration::from_secs_f64(-uniform.ln() / rate as f64)
    }
}

/// What many times come to.
pub struct Figures {
    pub median: Duration,
    pub p99: Duration,
    p90: Duration,
    longest: Duration,
    count: usize,
}

impl Figures {
    pub fn of(mut times: Vec<Duration>) -> Figures {
        times.sort();
        let share = |percent: usize| times[(times.len() - 1) * percent / 100];
        Figures { median: share(50), p90: share(90), p99: share(99), longest: share(100), count: times.len() }
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        write!(
            out,
            "{:5.2} ms median, {:5.2} p90, {:5.2} p99, {:6.2} longest of {}",
            ms(self.median),
            ms(self.p90),
            ms(self.p99),
            ms(self.longest),
            self.count
        )
    }
}
