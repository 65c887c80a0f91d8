//! Figures for `/metrics`, in the style of Prometheus, all with the prefix `mostar_`.
//!
//! The core counts in notes. Each shard keeps the handles of what it has counted before, so counting is one look-up
//! among some dozens and one addition; gauges move by differences, so those of several shards add up by themselves.
//!
//! Whoever reads them sees whole steps: a shard shows what a step has counted all at once, and not while they are read. So
//! sums that hold in the core at each step hold in every answer of `/metrics`.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError, RwLock};

use metrics::{Counter, Gauge, Key, KeyName, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

/// What each figure means: the help of `/metrics`, and `docs/metrics.md`. A test sees that none is missing.
const COUNTERS: &[(&str, &str)] = &[
    ("errors_unmatched_total", "Errors from XMPP that belong to no message we remember"),
    ("late_errors_total", "Failures after the SIP answer that no notification tells of"),
    (
        "late_errors_untold_total",
        "Failures after the SIP answer that were to be told, and of which the sender heard nothing",
    ),
    ("link_connects_total", "Component streams that came up"),
    (
        "messages_failed_late_total",
        "Messages that were reported as undelivered after they had been confirmed, by direction",
    ),
    ("messages_suspected_total", "Messages refused because two streams closed while they were in flight"),
    (
        "messages_ambiguous_total",
        "Messages whose fate need not be what their sender was told, by direction and reason",
    ),
    (
        "messages_total",
        "Messages by direction and result: accepted, or restored from the store after a start; and what became of them",
    ),
    ("messages_turned_away_total", "Messages that were never accepted"),
    ("msrp_connections_closed_total", "MSRP connections that ended, by reason"),
    ("msrp_connections_total", "MSRP connections by direction"),
    ("msrp_messages_refused_total", "Messages in chat sessions that were refused, by reason"),
    ("msrp_not_connected_total", "MSRP connections that could not or may not be opened, by reason"),
    ("msrp_received_bytes_total", "Bytes that came over MSRP connections"),
    ("msrp_refused_total", "MSRP requests that were refused, by reason"),
    ("msrp_sent_bytes_total", "Bytes that went out over MSRP connections"),
    ("msrp_sessions_total", "Chat sessions by who opened them, and what became of that"),
    ("notices_dropped_total", "Typing notifications and reports that were not sent, since too much waits"),
    ("notices_unreadable_total", "Typing notifications and reports that could not be read"),
    (
        "record_left_out_total",
        "Inputs that are in no recording, since its file is full or could not be written",
    ),
    ("reports_unmatched_total", "Reports on messages that we do not remember"),
    ("conference_joins_total", "XMPP users who wanted into a conference of SIP, by what became of it"),
    ("conference_lines_refused_total", "Lines to and from conferences that were refused"),
    ("conference_lines_total", "Lines that crossed to and from conferences, by direction"),
    ("room_joins_total", "SIP users who called a room, by what became of it"),
    ("room_lines_caught_up_total", "Lines of rooms that were told after a gap"),
    ("room_lines_refused_total", "Lines to rooms that were refused"),
    ("room_lines_total", "Lines that went to rooms, by direction"),
    ("room_removals_total", "SIP users whom a room put out, by method"),
    ("sip_bad_total", "Bytes that were no SIP message, by transport"),
    ("sip_connections_refused_total", "SIP connections closed because there were too many"),
    ("sip_connections_total", "SIP connections by direction"),
    ("sip_dropped_total", "SIP messages dropped without an answer, by reason"),
    ("sip_forbidden_total", "SIP messages that were not sent since nobody named where they were to go"),
    ("sip_queue_full_total", "SIP messages dropped because a queue was full"),
    ("sip_received_total", "SIP messages that came in, by transport"),
    ("sip_refused_total", "Requests of ours that were not sent, by reason"),
    ("sip_rejected_total", "SIP requests refused before a feature saw them, by reason"),
    ("sip_send_failed_total", "SIP messages that could not be sent"),
    ("sip_sent_total", "SIP messages that went out, by transport"),
    ("stanzas_bad_total", "Elements of the component stream that were no stanza"),
    ("stanzas_dropped_total", "Stanzas not sent, by reason; what matters is sent again"),
    ("stanzas_ignored_total", "Stanzas that need no answer and got none, by reason"),
    ("stanzas_refused_total", "Stanzas refused before a feature saw them, by reason"),
    ("stanzas_total", "Stanzas by component and direction"),
    ("store_commits_total", "Commits to the store"),
    ("store_failures_total", "Commits that failed and were tried again"),
    (
        "subscribes_refused_total",
        "SUBSCRIBEs refused for want of room, or since too many people have not answered their sender",
    ),
    ("subscriptions_lost_total", "Subscriptions that ended against our will"),
];

const GAUGES: &[(&str, &str)] = &[
    ("link_up", "Whether a component link is up"),
    ("messages_in_flight", "Messages that were sent and not yet confirmed, by direction"),
    ("messages_queued", "Messages that wait to be sent, by direction"),
    ("msrp_connections", "Open MSRP connections"),
    ("msrp_sessions", "Open chat sessions"),
    ("conference_guests", "XMPP users in conferences of SIP"),
    ("room_seats", "SIP users in rooms"),
    ("sip_connections", "Open SIP connections"),
    ("sip_peer_up", "Whether a SIP peer answers"),
    ("store_free_bytes", "Room left on the store's disk"),
    ("store_ok", "Whether the store takes commits and has room"),
    ("subscriptions", "Presence subscriptions by direction"),
];

/// `docs/metrics.md`.
pub fn page() -> String {
    let rows = |kind: &'static str, figures: &[(&'static str, &'static str)]| -> Vec<String> {
        figures.iter().map(|(name, meaning)| format!("| `mostar_{name}` | {kind} | {meaning} |\n")).collect()
    };
    let mut rows = [rows("counter", COUNTERS), rows("gauge", GAUGES)].concat();
    rows.sort();
    format!(
        "# Metrics\n\nGenerated from `src/shell/meters.rs` (`BLESS=1 cargo test --test docs` writes it anew). `/metrics` on the \
         address of `http` has them for Prometheus; a figure is there once it has something to show, and those with labels \
         once for each. Other pages leave out `mostar_`.\n\n| metric | kind | |\n|---|---|---|\n{}",
        rows.concat()
    )
}

/// The registry of one process. Nothing global: tests run several.
#[derive(Clone)]
pub struct Meters {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    /// Shards add to the figures together; who reads them is alone.
    steps: Arc<RwLock<()>>,
}

impl Default for Meters {
    fn default() -> Self {
        Meters::new()
    }
}

impl Meters {
    /// An empty registry with every description.
    pub fn new() -> Meters {
        let recorder = PrometheusBuilder::new().build_recorder();
        for &(name, meaning) in COUNTERS {
            recorder.describe_counter(prefixed(name), None, meaning.into());
        }
        for &(name, meaning) in GAUGES {
            recorder.describe_gauge(prefixed(name), None, meaning.into());
        }
        let handle = recorder.handle();
        Meters { recorder: Arc::new(recorder), handle, steps: Arc::default() }
    }

    /// A counter without labels.
    pub fn plain_counter(&self, name: &str) -> Counter {
        self.counter(name, NONE)
    }

    /// A gauge without labels.
    pub fn plain_gauge(&self, name: &str) -> Gauge {
        self.gauge(name, NONE)
    }

    /// A counter's handle.
    pub fn counter(&self, name: &str, labels: &[(&'static str, impl AsRef<str>)]) -> Counter {
        self.recorder.register_counter(&key(name, labels), &META)
    }

    /// A gauge's handle.
    pub fn gauge(&self, name: &str, labels: &[(&'static str, impl AsRef<str>)]) -> Gauge {
        self.recorder.register_gauge(&key(name, labels), &META)
    }

    /// Everything in the text format of Prometheus.
    pub fn render(&self) -> String {
        let _alone = self.steps.write().unwrap_or_else(PoisonError::into_inner);
        self.handle.render()
    }
}

const NONE: &[(&str, &str)] = &[];

const META: Metadata<'static> = Metadata::new("mostar", Level::INFO, None);

fn prefixed(name: &str) -> KeyName {
    KeyName::from(format!("mostar_{name}"))
}

fn key(name: &str, labels: &[(&'static str, impl AsRef<str>)]) -> Key {
    let labels: Vec<Label> =
        labels.iter().map(|(name, value)| Label::new(*name, value.as_ref().to_owned())).collect();
    Key::from_parts(format!("mostar_{name}"), labels)
}

type Labels = Vec<(&'static str, &'static str)>;
type NamedLabels = Vec<(&'static str, Cow<'static, str>)>;

/// The handles that one shard has used: few enough that looking through them is quicker than hashing their names.
pub struct ShardMeters {
    meters: Meters,
    counters: Vec<Figure<Labels, Counter, u64>>,
    gauges: Vec<Figure<NamedLabels, Gauge, i64>>,
    /// The places of those that have something to show.
    counted: Vec<usize>,
    moved: Vec<usize>,
}

/// A figure, and what is not shown of it yet.
struct Figure<L, H, N> {
    name: &'static str,
    labels: L,
    handle: H,
    by: N,
}

impl ShardMeters {
    /// No handles yet.
    pub fn new(meters: Meters) -> ShardMeters {
        let (counters, gauges) = (Vec::new(), Vec::new());
        ShardMeters { meters, counters, gauges, counted: Vec::new(), moved: Vec::new() }
    }

    /// A counter grows, with this step.
    pub fn count(&mut self, name: &'static str, labels: Labels, by: u64) {
        let mut known = self.counters.iter();
        let place =
            known.position(|known| known.name == name && known.labels == labels).unwrap_or_else(|| {
                let handle = self.meters.counter(name, &labels);
                self.counters.push(Figure { name, labels, handle, by: 0 });
                self.counters.len() - 1
            });
        let known = &mut self.counters[place];
        if known.by == 0 {
            self.counted.push(place);
        }
        known.by += by;
    }

    /// A gauge moves, with this step.
    pub fn gauge(&mut self, name: &'static str, labels: NamedLabels, by: i64) {
        let mut known = self.gauges.iter();
        let place =
            known.position(|known| known.name == name && known.labels == labels).unwrap_or_else(|| {
                let handle = self.meters.gauge(name, &labels);
                self.gauges.push(Figure { name, labels, handle, by: 0 });
                self.gauges.len() - 1
            });
        let known = &mut self.gauges[place];
        if known.by == 0 {
            self.moved.push(place);
        }
        known.by += by;
    }

    /// A step is over: what it has counted is shown.
    pub fn show(&mut self) {
        if self.counted.is_empty() && self.moved.is_empty() {
            return;
        }
        let _together = self.meters.steps.read().unwrap_or_else(PoisonError::into_inner);
        for place in self.counted.drain(..) {
            let known = &mut self.counters[place];
            known.handle.increment(std::mem::take(&mut known.by));
        }
        for place in self.moved.drain(..) {
            let known = &mut self.gauges[place];
            known.handle.increment(std::mem::take(&mut known.by) as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_of_two_shards_add_up() {
        let meters = Meters::new();
        let (mut one, mut two) = (ShardMeters::new(meters.clone()), ShardMeters::new(meters.clone()));
        let labels = || vec![("direction", Cow::Borrowed("sip_to_xmpp"))];
        one.gauge("messages_queued", labels(), 3);
        two.gauge("messages_queued", labels(), 2);
        one.gauge("messages_queued", labels(), -1);
        one.count("messages_total", vec![("result", "accepted")], 2);
        two.count("messages_total", vec![("result", "accepted")], 1);
        assert!(!meters.render().contains(" 2\n"), "a step is shown when it is over");
        one.show();
        two.show();
        let text = meters.render();
        assert!(text.contains("mostar_messages_queued{direction=\"sip_to_xmpp\"} 4\n"), "{text}");
        assert!(text.contains("mostar_messages_total{result=\"accepted\"} 3\n"), "{text}");
        assert!(text.contains("# HELP mostar_messages_total Messages by"), "{text}");
    }
}
