//! What a run comes to, and what its bytes are parsed in.

use std::time::{Duration, Instant};

use mostar::sip::framing;
use mostar::xmpp::stream::{self, Limits};

use super::process::Cpu;
use super::server::HEADER;

/// What a run with a window comes to.
pub struct Figures {
    /// CPU a message, by its parts.
    pub shares: Cpu,
    /// Messages a second.
    pub rate: f64,
    median: Duration,
    /// All but a hundredth took no longer.
    pub p99: Duration,
}

impl Figures {
    /// Of a run that took so long.
    pub fn of(shares: Cpu, took: Duration, mut latencies: Vec<Duration>) -> Figures {
        latencies.sort();
        let count = latencies.len();
        Figures {
            shares,
            rate: count as f64 / took.as_secs_f64(),
            median: latencies[count / 2],
            p99: latencies[count * 99 / 100],
        }
    }

    /// CPU alone.
    pub fn bare(shares: Cpu) -> Figures {
        Figures { shares, rate: 0.0, median: Duration::ZERO, p99: Duration::ZERO }
    }
}

/// The middle one.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl std::fmt::Display for Figures {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "{:.1} µs CPU each, {:.0}/s, latency {:?} median, {:?} p99",
            self.shares.total(),
            self.rate,
            self.median,
            self.p99
        )
    }
}

/// What a message is parsed in, in µs: bytes like those of a run, read in pieces of a few messages.
pub fn parsing(read: &mut dyn FnMut(&[u8]), message: impl Fn(usize) -> String) -> f64 {
    const PIECES: usize = 2_000;
    const TOGETHER: usize = 8;
    let pieces: Vec<String> = (0..PIECES)
        .map(|piece| (0..TOGETHER).map(|number| message(piece * TOGETHER + number)).collect())
        .collect();
    let pass = |read: &mut dyn FnMut(&[u8])| {
        let began = Instant::now();
        pieces.iter().for_each(|piece| read(piece.as_bytes()));
        began.elapsed().as_secs_f64() * 1e6 / (PIECES * TOGETHER) as f64
    };
    // Of several passes the shortest: others share the machine.
    (0..10).map(|_| pass(read)).fold(f64::MAX, f64::min)
}

/// The gateway's reader of SIP.
pub fn sip_reader() -> impl FnMut(&[u8]) {
    let mut stream = framing::Stream::new();
    move |bytes| assert!(stream.push(bytes).iter().all(Result::is_ok))
}

/// The gateway's reader of stanzas.
pub fn xmpp_reader() -> impl FnMut(&[u8]) {
    let mut stream = stream::Stream::new(Limits::default());
    let mut events = Vec::new();
    stream.receive(format!("{HEADER}<handshake/>").as_bytes(), &mut events);
    move |bytes| {
        events.clear();
        stream.receive(bytes, &mut events);
        assert!(events.iter().all(|event| matches!(event, stream::Event::Element(_))));
    }
}
