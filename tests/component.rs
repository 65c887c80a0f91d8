//! A component link against a real Prosody, and against servers that are none.
//!
//! Each test runs a Prosody of its own, on a free port of loopback and in a folder of its own, and kills it by its
//! process group. Where Prosody is not installed, the tests that need it say so and pass.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use mostar::config::Secret;
use mostar::gateway::LinkId;
use mostar::shell::component::{LinkEvent, LinkHandle, LinkTask, Settings, Timing, start};
use mostar::words::note::Note;
use mostar::xmpp::stanza::Element;
use mostar::xmpp::stream::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// A server is not called dead while a test waits for it: a busy one may be silent for seconds.
const NEVER: Duration = Duration::from_secs(600);

struct Prosody {
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Prosody {
    /// A Prosody with the components `a.example` and `b.example`, both with the secret `right`.
    fn start() -> Option<Prosody> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        if !std::env::split_paths(&path).any(|folder| folder.join("prosody").exists()) {
            eprintln!("skipped: prosody is not installed");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let mut prosody = Prosody { folder, port, child: None };
        let root = prosody.folder.path().display().to_string();
        let config = format!(
            "run_as_root = true\ndaemonize = false\npidfile = '{root}/pid'\ndata_path = '{root}'\nmodules_enabled = {{ 'disco' }}\n\
             modules_disabled = {{ 's2s', 'c2s' }}\ninterfaces = {{ '127.0.0.1' }}\nc2s_ports = {{}}\n\
             c2s_direct_tls_ports = {{}}\ns2s_ports = {{}}\ns2s_direct_tls_ports = {{}}\nhttp_ports = {{}}\n\
             https_ports = {{}}\ncomponent_interfaces = {{ '127.0.0.1' }}\ncomponent_ports = {{ {port} }}\n\
             log = {{ debug = '{root}/log' }}\nVirtualHost 'users.example'\n\
             Component 'a.example'\ncomponent_secret = 'right'\n\
             Component 'b.example'\ncomponent_secret = 'right'\n"
        );
        std::fs::write(prosody.config(), config).expect("a configuration");
        prosody.run();
        Some(prosody)
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("prosody.cfg.lua")
    }

    fn run(&mut self) {
        // `setpriv` ends the server even when the test itself is killed.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "prosody", "-F", "--root", "--config"])
            .arg(self.config())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        self.child = Some(child.expect("prosody starts"));
    }

    fn signal(&self, signal: &str) {
        if let Some(child) = &self.child {
            let group = format!("-{}", child.id());
            let _ = Command::new("kill").args([signal, "--", &group]).stderr(Stdio::null()).status();
        }
    }

    fn kill(&mut self) {
        self.signal("-KILL");
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }

    fn server(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Prosody {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let tail = log.lines().rev().take(40).collect::<Vec<_>>();
            let _ = tail.iter().rev().try_for_each(|line| writeln!(std::io::stderr(), "prosody: {line}"));
        }
        self.kill();
    }
}

struct Link {
    handle: LinkHandle,
    task: LinkTask,
    events: mpsc::Receiver<(LinkId, LinkEvent)>,
    notes: mpsc::Receiver<Note>,
    /// What has come and was not asked for yet.
    elements: VecDeque<Element>,
}

impl Link {
    fn start(server: &str, domain: &str, secret: &str) -> Link {
        Link::start_until(NEVER, server, domain, secret)
    }

    /// One that is dead after so much silence.
    fn start_until(dead: Duration, server: &str, domain: &str, secret: &str) -> Link {
        let (events_in, events) = mpsc::channel(4);
        let (notes_in, notes) = mpsc::channel(4096);
        let settings = Settings {
            id: LinkId(3),
            server: server.into(),
            domain: domain.into(),
            secret: Secret::new(secret),
            limits: Limits::default(),
            timing: Timing {
                shortest_pause: Duration::from_millis(100),
                longest_pause: Duration::from_millis(400),
                answer: Duration::from_secs(2),
                quiet: Duration::from_millis(300),
                dead,
                goodbye: Duration::from_secs(1),
            },
        };
        let (handle, task) = start(settings, events_in, notes_in);
        Link { handle, task, events, notes, elements: VecDeque::new() }
    }

    async fn event(&mut self) -> LinkEvent {
        let (id, event) = timeout(PATIENCE, self.events.recv()).await.expect("an event").expect("a link");
        assert_eq!(id, LinkId(3));
        event
    }

    async fn up(&mut self) {
        assert!(matches!(self.event().await, LinkEvent::Up));
    }

    async fn element(&mut self) -> Element {
        if self.elements.is_empty() {
            match self.event().await {
                LinkEvent::Elements(elements) => self.elements.extend(elements),
                other => panic!("{other:?} instead of an element"),
            }
        }
        self.elements.pop_front().expect("an event has elements")
    }

    async fn send(&self, text: &str) {
        self.handle.stanzas.send(Bytes::copy_from_slice(text.as_bytes())).await.expect("a running link");
    }

    /// Waits for a log line of this name, and gives its fields as one text.
    async fn line(&mut self, wanted: &str) -> String {
        let found = timeout(PATIENCE, async {
            while let Some(note) = self.notes.recv().await {
                match note {
                    Note::Log { event, fields, .. } if event == wanted => {
                        return fields.iter().map(|(name, value)| format!("{name}={value} ")).collect();
                    }
                    _ => {}
                }
            }
            String::new()
        });
        found.await.unwrap_or_else(|_| panic!("no line {wanted}"))
    }
}

#[tokio::test]
async fn stanzas_cross_a_link_and_it_closes_after_what_was_queued() {
    let Some(prosody) = Prosody::start() else { return };
    let mut a = Link::start(&prosody.server(), "a.example", "right");
    let mut b = Link::start(&prosody.server(), "b.example", "right");
    a.up().await;
    b.up().await;
    a.send(
        "<iq type='get' id='1' from='x@a.example/y' to='users.example'>\
            <query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
    )
    .await;
    let answer = a.element().await;
    assert_eq!((answer.attr("type"), answer.attr("to")), (Some("result"), Some("x@a.example/y")));
    for number in 0..1000 {
        a.send(&format!(
            "<message id='{number}' from='a.example' to='b.example'><body>gr\u{fc}n</body></message>"
        ))
        .await;
    }
    a.task.close().await;
    for number in 0..1000 {
        let message = b.element().await;
        assert_eq!(message.attr("id"), Some(number.to_string().as_str()));
    }
    b.task.close().await;
}

#[tokio::test]
async fn a_wrong_secret_is_explained_and_tried_again() {
    let Some(prosody) = Prosody::start() else { return };
    let mut link = Link::start(&prosody.server(), "a.example", "wrong");
    for _ in 0..2 {
        let line = link.line("link-secret-refused").await;
        assert!(line.contains("a.example") && line.contains("xmpp.components[3].secret"), "{line}");
        assert!(!line.contains("wrong"), "{line}");
    }
    let mut stranger = Link::start(&prosody.server(), "c.example", "right");
    let line = stranger.line("link-component-unknown").await;
    assert!(line.contains("add the component c.example"), "{line}");
    link.task.close().await;
    stranger.task.close().await;
}

#[tokio::test]
async fn a_server_that_dies_and_comes_back_is_found_again() {
    let Some(mut prosody) = Prosody::start() else { return };
    let mut link = Link::start(&prosody.server(), "a.example", "right");
    link.up().await;
    prosody.kill();
    assert!(matches!(link.event().await, LinkEvent::Down));
    link.line("link-unreachable").await;
    // What is given meanwhile belongs to the stream that is gone.
    link.send("<message from='a.example' to='a.example' id='stale'/>").await;
    prosody.run();
    link.up().await;
    link.send("<message id='fresh' from='x@a.example' to='a.example'/>").await;
    assert_eq!(link.element().await.attr("id"), Some("fresh"));
    link.task.close().await;
}

#[tokio::test]
async fn of_two_links_for_one_component_the_second_waits_for_the_first() {
    let Some(prosody) = Prosody::start() else { return };
    let mut first = Link::start(&prosody.server(), "a.example", "right");
    first.up().await;
    let mut second = Link::start(&prosody.server(), "a.example", "right");
    let line = second.line("link-conflict").await;
    assert!(line.contains("another connection serves a.example already"), "{line}");
    first.task.close().await;
    second.up().await;
    second.task.close().await;
}

#[tokio::test]
async fn silence_is_no_death_while_pings_come_back_and_death_is_noticed() {
    let Some(prosody) = Prosody::start() else { return };
    let dead = Duration::from_secs(2);
    let mut link = Link::start_until(dead, &prosody.server(), "a.example", "right");
    link.up().await;
    // Longer than `dead`: only the pings keep it up, and none of them is seen outside.
    sleep(Duration::from_secs(4)).await;
    assert!(link.events.try_recv().is_err());
    prosody.signal("-STOP");
    assert!(matches!(link.event().await, LinkEvent::Down));
    link.line("link-dead").await;
    link.task.close().await;
}

/// A link that is dead after a second of silence, and its server's end.
async fn with_a_server_of_ours() -> (Link, tokio::net::TcpStream) {
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = server.local_addr().expect("bound").to_string();
    let mut link = Link::start_until(Duration::from_secs(1), &address, "a.example", "right");
    let (mut socket, _) = server.accept().await.expect("a connection");
    let mut read = [0; 4096];
    assert_ne!(socket.read(&mut read).await.expect("the header"), 0);
    let header = "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' id='1'>";
    socket.write_all(header.as_bytes()).await.expect("written");
    assert_ne!(socket.read(&mut read).await.expect("the handshake"), 0);
    socket.write_all(b"<handshake/>").await.expect("written");
    link.up().await;
    (link, socket)
}

#[tokio::test]
async fn a_process_that_stood_still_reads_what_came_meanwhile() {
    let (mut link, mut socket) = with_a_server_of_ours().await;
    socket.write_all(b"<message to='a.example'/>").await.expect("written");
    // The one thread of this test: nothing runs meanwhile.
    std::thread::sleep(Duration::from_secs(4));
    link.element().await;
    link.task.close().await;
}

#[tokio::test]
async fn what_a_dead_link_had_not_sent_is_not_sent_any_more() {
    let (mut link, mut socket) = with_a_server_of_ours().await;
    let mut read = [0; 4096];
    // More than the system takes for a server that reads nothing.
    link.send(&"<message/>".repeat(1_000_000)).await;
    assert!(matches!(link.event().await, LinkEvent::Down));
    let end = loop {
        match socket.read(&mut read).await {
            Ok(0) => break None,
            Ok(_) => {}
            Err(error) => break Some(error.kind()),
        }
    };
    assert_eq!(end, Some(std::io::ErrorKind::ConnectionReset));
    link.task.close().await;
}

#[tokio::test]
async fn a_stanza_of_20000_levels_that_the_server_delivers_is_answered() {
    let Some(prosody) = Prosody::start() else { return };
    let mut a = Link::start(&prosody.server(), "a.example", "right");
    let mut b = Link::start(&prosody.server(), "b.example", "right");
    a.up().await;
    b.up().await;
    let deep = format!("{}{}", "<a>".repeat(20_000), "</a>".repeat(20_000));
    a.send(&format!("<message id='deep' from='x@a.example' to='y@b.example'>{deep}</message>")).await;
    a.send("<message id='next' from='x@a.example' to='y@b.example'/>").await;
    assert_eq!(b.element().await.attr("id"), Some("next"));
    let answer = a.element().await;
    assert_eq!((answer.attr("id"), answer.attr("type")), (Some("deep"), Some("error")));
    b.line("stanza-refused").await;
    a.task.close().await;
    b.task.close().await;
}

#[tokio::test]
async fn servers_that_are_none_are_named() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut link = Link::start(&silent.local_addr().expect("bound").to_string(), "a.example", "right");
    link.line("link-silent").await;
    link.task.close().await;

    let web = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut link = Link::start(&web.local_addr().expect("bound").to_string(), "a.example", "right");
    let (socket, _) = web.accept().await.expect("a connection");
    socket.writable().await.expect("open");
    socket.try_write(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("written");
    let line = link.line("link-broken").await;
    assert!(line.contains("port for components"), "{line}");
    link.task.close().await;

    let mut link = Link::start("no-such-host.invalid:5347", "a.example", "right");
    link.line("link-unresolved").await;
    link.task.close().await;
}
