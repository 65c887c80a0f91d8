//! The life of the process: bind, open the store, start, wait for a signal, say goodbye, end.
//!
//! The order matters. Ports come first, so that a mistake shows at once and nothing has been changed; then the store; only
//! then is anything read from a socket and any link opened. The records come back while the process is at work:
//! `restore.rs`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::clock::Clock;
use super::component::{Settings, Timing};
use super::dns::Dns;
use super::explain::Questions;
use super::http::{self, Pages};
use super::inbox::Inboxes;
use super::link::{self, Link};
use super::log::Log;
use super::meters::Meters;
use super::msrp;
use super::record::{Recorder, Share};
use super::restore::{self, Piece};
use super::shard::{self, Outside, Surroundings};
use super::sip::{self, Endpoint};
use super::sockets::Doorkeeper;
use super::status::Status;
use super::store_owner;
use super::writer::{self, Gate, Order};
use crate::config::Config;
use crate::gateway::io::{Forward, Input, LinkId};
use crate::gateway::{Domains, Gateway};
use crate::msrp::{MsrpIn, MsrpOut};
use crate::sip::flow::{Flow, SendId, SipOut};
use crate::sip::locate::Query;
use crate::store::sled::SledStore;
use crate::words::id::{Partition, Seed};
use crate::words::note::{Level, Note};
use crate::xmpp::stanza::Stanza;
use crate::xmpp::stream::Limits;

/// The most shards: more would not help, and every shard watches every peer.
const SHARDS: usize = 16;

/// A stop is over so soon after the signal, unless saying goodbye itself takes longer.
const PROMPT: Duration = Duration::from_millis(4500);

/// How long the last bytes may take to leave in any case.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// How long the last commit may take.
const LAST_COMMIT: Duration = Duration::from_secs(2);

/// A signal that follows another so soon is the same wish.
const SAME_SIGNAL: Duration = Duration::from_millis(500);

/// How many notes of links may wait for the log.
const NOTES: usize = 1024;

/// Builds the runtime and lives in it.
pub fn run(config: Config, log: &Log) -> Result<ExitCode, String> {
    let files = raise_file_limit(log);
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(SHARDS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores)
        .max_blocking_threads(4)
        .thread_name("mostar")
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start threads: {error}"))?;
    let code = runtime.block_on(live(config, cores, files, log));
    runtime.shutdown_timeout(Duration::from_millis(200));
    code
}

async fn live(mut config: Config, shards: usize, files: u64, log: &Log) -> Result<ExitCode, String> {
    let began = Instant::now();
    let mut signals = Signals::new()?;
    let bound = sip::bind(&config.sip.listen)?;
    config.sip.listen.clone_from(&bound.listen);
    let bound_msrp = msrp::bind(&config.msrp.listen)?;
    config.msrp.listen.clone_from(&bound_msrp.listen);
    let pages = match config.http {
        Some(address) => Some(http::bind(address).await?),
        None => None,
    };
    store_owner::judge(&config.store, "run")?;
    let store = SledStore::open(&config.store).map_err(|error| error.to_string())?;
    warn_of_open(&config.store, log);
    let (reader, nameless) = store.reader().map_err(|error| error.to_string())?;
    for name in nameless {
        log.line(Level::Warn, "store-bad-name", &[("name", name)]);
    }

    let config = Arc::new(config);
    let (status, meters) = (Status::default(), Meters::new());
    let (inboxes, receivers) = Inboxes::new(shards, Domains::new(&config));
    let keeper = Arc::new(Doorkeeper::new(&config, log, &meters));
    let endpoint = Endpoint::new(bound, sip::Limits::default(), &keeper, &inboxes, log, &meters)
        .map_err(|error| format!("cannot use a socket: {error}"))?;
    let links = config.xmpp.components.iter().enumerate().map(|(number, component)| {
        Arc::new(Link::new(LinkId(number), &component.domain, &inboxes, &status, &meters))
    });
    let dns = Arc::new(Dns::new(&inboxes, log).telling(&keeper));
    let limits = msrp::Limits::for_messages(config.messages.max_message).within(files);
    let msrp = msrp::Endpoint::new(bound_msrp, &config, limits, &inboxes, &dns, log, &meters)?;
    let questions = Questions::new(inboxes.clone());
    let world = Arc::new(World {
        endpoint,
        msrp,
        dns,
        links: links.collect(),
        inboxes: inboxes.clone(),
        questions: questions.clone(),
    });
    let (orders, ordered) = channel();
    let (ways, records): (Vec<_>, Vec<_>) =
        (0..shards).map(|_| restore::way()).map(|(way, records, want)| (way, (records, want))).unzip();
    let (restored, restoring) = mpsc::unbounded_channel();
    let receivers = receivers.into_iter().zip(records).collect();
    let exits = Exits { orders, restored };
    let mut crew = Crew::start(&config, &world, &inboxes, receivers, &exits, log, &meters)?;
    drop(exits);
    let writer = write(store, ordered, &crew, &status, log, &meters)?;
    let (failed, failing) = mpsc::unbounded_channel();
    restore::start(&reader, ways, &inboxes, &failed)
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    drop(reader);
    if let Some(listener) = pages {
        let pages = Pages { status: status.clone(), meters: meters.clone(), questions };
        tokio::spawn(http::serve(listener, pages));
    }

    status.ready(writer::PART);
    world.endpoint.listen();
    world.msrp.listen();
    let (notes, noted) = mpsc::channel(NOTES);
    tokio::spawn(link::tell(noted, status.clone(), log.clone(), meters.clone()));
    let streams = world.open_links(&config, &notes);
    for listener in &config.sip.listen {
        let fields = [("listener", format!("{}://{}", listener.transport, listener.address))];
        log.line(Level::Info, "sip-listening", &fields);
    }
    for listener in &config.msrp.listen {
        log.line(Level::Info, "msrp-listening", &[("listener", listener.to_string())]);
    }
    log.line(
        Level::Info,
        "started",
        &[
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("shards", shards.to_string()),
            ("milliseconds", began.elapsed().as_millis().to_string()),
        ],
    );
    let news = News { restoring, failing };
    let name = work(&mut signals, &mut crew, news, shards, began, log).await?;
    log.line(Level::Info, "stopping", &[("signal", name.to_owned())]);
    let clean = tokio::select! {
        clean = stop(&config, &world, &inboxes, &mut crew, streams, log) => clean,
        name = signals.another() => {
            log.line(Level::Warn, "stopping-at-once", &[("signal", name.to_owned())]);
            false
        }
    };
    crew.tasks.shutdown().await;
    // It ends when the shards have; a disk that hangs must not keep the process.
    let ended = tokio::task::spawn_blocking(move || writer.join());
    let clean = tokio::time::timeout(LAST_COMMIT, ended).await.is_ok() && clean;
    log.line(Level::Info, "stopped", &[("clean", clean.to_string())]);
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What comes to the process while it is at work.
struct News {
    /// From each shard, when it has all its records back: how many they were.
    restoring: mpsc::UnboundedReceiver<usize>,
    /// Why records cannot be read.
    failing: mpsc::UnboundedReceiver<String>,
}

/// Until a signal comes, whose name this is. An error where a part of the process has failed.
async fn work(
    signals: &mut Signals,
    crew: &mut Crew,
    mut news: News,
    shards: usize,
    began: Instant,
    log: &Log,
) -> Result<&'static str, String> {
    let (mut records, mut missing) = (0, shards);
    loop {
        tokio::select! {
            name = signals.next() => return Ok(name),
            number = crew.failed() => {
                return Err(format!("shard {number} has failed; start again: what was accepted is in the store"));
            }
            Some(reason) = news.failing.recv() => return Err(reason),
            Some(count) = news.restoring.recv() => {
                (records, missing) = (records + count, missing - 1);
                if missing == 0 {
                    let took = began.elapsed().as_millis().to_string();
                    let fields = [("records", records.to_string()), ("milliseconds", took)];
                    log.line(Level::Info, "restored", &fields);
                }
            }
        }
    }
}

/// Says goodbye on both sides and lets the last bytes leave. True if everything was said.
async fn stop(
    config: &Config,
    world: &World,
    inboxes: &Inboxes,
    crew: &mut Crew,
    mut streams: JoinSet<()>,
    log: &Log,
) -> bool {
    let began = tokio::time::Instant::now();
    let said = tokio::time::timeout(config.stop_timeout, async {
        inboxes.put_all(|| Input::Stop).await;
        let mut waiting: Vec<usize> = (0..inboxes.len()).collect();
        while !waiting.is_empty() {
            let Some(number) = crew.stopped.recv().await else { return };
            waiting.retain(|shard| *shard != number);
        }
    });
    let clean = said.await.is_ok();
    if !clean {
        let fields = [("seconds", config.stop_timeout.as_secs().to_string())];
        log.line(Level::Warn, "stop-timeout", &fields);
    }
    world.links.iter().for_each(|link| link.close());
    let closed = async { while streams.join_next().await.is_some() {} };
    let longest = PROMPT.saturating_sub(began.elapsed()).max(LAST_BYTES);
    // What is not out by then, its receiver does not take.
    let closed = tokio::time::timeout(longest, closed);
    let _ = tokio::join!(closed, world.endpoint.drain(longest), world.msrp.drain(longest));
    clean
}

/// Everything that shards reach.
struct World {
    endpoint: Endpoint,
    msrp: msrp::Endpoint,
    dns: Arc<Dns>,
    links: Vec<Arc<Link>>,
    inboxes: Inboxes,
    questions: Questions,
}

impl World {
    fn open_links(&self, config: &Config, notes: &mpsc::Sender<Note>) -> JoinSet<()> {
        let mut streams = JoinSet::new();
        for (number, (link, component)) in self.links.iter().zip(&config.xmpp.components).enumerate() {
            let settings = Settings {
                id: LinkId(number),
                server: config.xmpp.server.clone(),
                domain: component.domain.clone(),
                secret: component.secret.clone(),
                limits: Limits::for_messages(config.messages.max_message),
                timing: Timing::default(),
            };
            streams.spawn(link::serve(link.clone(), settings, notes.clone()));
        }
        streams
    }
}

impl Outside for World {
    fn stanza(&self, link: LinkId, stanza: Stanza) {
        if let Some(link) = self.links.get(link.0) {
            link.send(&stanza);
        }
    }

    fn sip(&self, shard: usize, out: SipOut) -> Result<(), (SendId, String)> {
        self.endpoint.send(shard, out)
    }

    fn msrp(&self, shard: usize, out: MsrpOut) -> Option<MsrpIn> {
        self.msrp.send(shard, out)
    }

    fn close(&self, flow: Flow) {
        self.endpoint.close(flow);
    }

    fn resolve(&self, shard: usize, query: Query) {
        self.dns.ask(shard, query);
    }

    fn forward(&self, shard: usize, forward: Forward) {
        let inboxes = self.inboxes.clone();
        tokio::spawn(async move { inboxes.put_others(shard, || Input::Forwarded(forward)).await });
    }

    fn explained(&self, number: u64, text: String) {
        self.questions.answered(number, text);
    }
}

/// The running shards.
struct Crew {
    tasks: JoinSet<usize>,
    gates: Vec<Arc<Gate>>,
    stopped: mpsc::UnboundedReceiver<usize>,
}

/// What comes into a shard: its inputs, its records, and how it says whose it wants first.
type Doors = (mpsc::Receiver<Input>, (mpsc::Receiver<Piece>, Sender<Partition>));

/// Where every shard says what it wants kept, and that it has all its records back.
struct Exits {
    orders: Sender<Order>,
    restored: mpsc::UnboundedSender<usize>,
}

impl Crew {
    fn start(
        config: &Arc<Config>,
        world: &Arc<World>,
        inboxes: &Inboxes,
        doors: Vec<Doors>,
        exits: &Exits,
        log: &Log,
        meters: &Meters,
    ) -> Result<Crew, String> {
        let clock = Clock::start();
        let (stopping, stopped) = mpsc::unbounded_channel();
        let mut crew = Crew { tasks: JoinSet::new(), gates: Vec::new(), stopped };
        for (number, (inbox, (records, wanted))) in doors.into_iter().enumerate() {
            let mut seed = Seed([0; 32]);
            getrandom::fill(&mut seed.0).map_err(|error| format!("no random numbers: {error}"))?;
            let gate = Arc::new(Gate::default());
            let home = inboxes.home_of(number);
            let around = Surroundings {
                number,
                inbox,
                records,
                wanted,
                restored: exits.restored.clone(),
                gate: gate.clone(),
                orders: exits.orders.clone(),
                outside: world.clone(),
                stopped: stopping.clone(),
                clock,
                log: log.clone(),
                meters: meters.clone(),
                recorder: config
                    .record
                    .clone()
                    .map(|settings| Recorder::new(settings, Share { number, home })),
            };
            let gateway = Gateway::new(config.clone(), seed).at_home(home).with_log_level(log.level());
            let gateway = if number == 0 { gateway } else { gateway.without_watch() };
            crew.gates.push(gate);
            crew.tasks.spawn(async move {
                shard::run(gateway, around).await;
                number
            });
        }
        Ok(crew)
    }

    /// Waits for a shard to end, which none should: it has panicked.
    async fn failed(&mut self) -> String {
        match self.tasks.join_next().await {
            Some(Ok(number)) => number.to_string(),
            _ => "unknown".to_owned(),
        }
    }
}

/// A folder that was there before may be open to others.
fn warn_of_open(store: &Path, log: &Log) {
    let is_open = std::fs::metadata(store).is_ok_and(|folder| folder.permissions().mode() & 0o007 != 0);
    if is_open {
        let store = store.display();
        let text = format!("others on this machine can read messages in {store}: chmod 700 {store}");
        log.line(Level::Warn, "store-open", &[("do", text)]);
    }
}

fn write(
    store: SledStore,
    ordered: Receiver<Order>,
    crew: &Crew,
    status: &Status,
    log: &Log,
    meters: &Meters,
) -> Result<JoinHandle<()>, String> {
    writer::start(Box::new(store), ordered, crew.gates.clone(), status.clone(), log.clone(), meters)
        .map_err(|error| format!("cannot start a thread: {error}"))
}

/// The signals that end a process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Signals, String> {
        let listen = |kind| signal(kind).map_err(|error| format!("cannot wait for signals: {error}"));
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// A second signal that is meant: many wrappers send the first one twice.
    async fn another(&mut self) -> &'static str {
        let same = tokio::time::Instant::now() + SAME_SIGNAL;
        while tokio::time::timeout_at(same, self.next()).await.is_ok() {}
        self.next().await
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Every connection is a file; the usual soft limit of 1,024 is for programs that use `select`. Gives what it is now.
fn raise_file_limit(log: &Log) -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current.unwrap_or(u64::MAX);
    }
    let most = limit.maximum;
    match setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }) {
        Ok(()) => most.unwrap_or(u64::MAX),
        Err(error) => {
            log.line(Level::Warn, "file-limit", &[("reason", error.to_string())]);
            limit.current.unwrap_or(u64::MAX)
        }
    }
}
