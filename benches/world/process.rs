//! The gateway as a process, and what the system knows of it: CPU time and memory.
//!
//! The store is the CPU time of all threads but those that run the gateway (the writer, and what the store itself
//! starts); system calls are the part of the gateway's threads that the kernel took, most of it for sockets, as the
//! clock's ticks sample it.

use std::ffi::OsStr;
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{ROOMS_DOMAIN, SECRET, SIP_DOMAIN, XMPP_DOMAIN};

/// What a configuration says besides the domains.
pub struct Setup<'a> {
    /// The XMPP server's port of components.
    pub server: SocketAddr,
    /// Where the gateway listens for SIP.
    pub sip: SocketAddr,
    /// The SIP peer.
    pub peer: SocketAddr,
    /// More keys of the peer, with their comma.
    pub of_peer: &'a str,
    /// More lines.
    pub more: &'a str,
}

/// Where a gateway runs, and for how many domains.
#[derive(Clone, Copy, Default)]
pub struct Place<'a> {
    /// The cores that it may use, as `taskset` writes them. One core is one shard. Nothing: all.
    pub cores: Option<&'a str>,
    /// Component domains besides the usual one. The SIP peer speaks for them too.
    pub domains: &'a [&'a str],
    /// More listeners, each behind a comma.
    pub listeners: &'a str,
}

/// A running gateway. It ends with its owner.
pub struct Process(Child);

impl Process {
    /// Starts one that keeps its files in this folder. `SHOW` in the environment shows its log, `MOSTAR` names another
    /// build to measure instead.
    pub fn start(folder: &Path, setup: &Setup<'_>) -> Process {
        Process::start_at(folder, setup, Place::default())
    }

    /// The same, at a place.
    pub fn start_at(folder: &Path, setup: &Setup<'_>, place: Place<'_>) -> Process {
        let shows = std::env::var_os("SHOW").is_some();
        Process::spawn(folder, setup, place, if shows { Stdio::inherit() } else { Stdio::null() })
    }

    /// Starts one whose log is read.
    pub fn start_heard(folder: &Path, setup: &Setup<'_>) -> Process {
        Process::spawn(folder, setup, Place::default(), Stdio::piped())
    }

    fn spawn(folder: &Path, setup: &Setup<'_>, place: Place<'_>, log: Stdio) -> Process {
        let secret = folder.join("secret");
        std::fs::write(&secret, SECRET).unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        let config = folder.join("mostar.yaml");
        let Setup { server, sip, peer, of_peer, more } = setup;
        let (secret, store) = (secret.display(), folder.join("store"));
        let domains: Vec<&str> = [SIP_DOMAIN].into_iter().chain(place.domains.iter().copied()).collect();
        let components: String = domains
            .iter()
            .map(|domain| format!("    - {{ domain: {domain}, secret: {{ file: {secret} }} }}\n"))
            .collect();
        let domains = domains.join(", ");
        let listeners = place.listeners;
        let text = format!(
            "xmpp:\n  server: {server}\n  components:\n{components}  domains:\n    - {{ domain: {XMPP_DOMAIN} }}\n    - {{ domain: {ROOMS_DOMAIN}, rooms: true }}\nsip:\n  listen: [ \"tcp://{sip}\"{listeners} ]\n  peers:\n    - {{ uri: \
             \"sip:{peer};transport=tcp\", may_send_from: [ {domains} ]{of_peer} }}\nstore: {}\n{more}",
            store.display(),
        );
        std::fs::write(&config, text).unwrap();
        let program = std::env::var_os("MOSTAR").unwrap_or_else(|| env!("CARGO_BIN_EXE_mostar").into());
        let arguments = ["run".into(), "-c".into(), config.into_os_string()];
        let mut command = command(&program, place.cores);
        Process(
            command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap(),
        )
    }

    /// Starts this program again for something else, with its standard input and output in our hands.
    pub fn of_this(arguments: &[String], cores: Option<&str>) -> Process {
        let program = std::env::current_exe().unwrap();
        let mut command = command(program.as_os_str(), cores);
        Process(command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Its standard input and output, if it was started so.
    pub fn ends(&mut self) -> (ChildStdin, ChildStdout) {
        (self.0.stdin.take().unwrap(), self.0.stdout.take().unwrap())
    }

    /// Puts all its threads on these cores.
    pub fn move_to(&self, cores: &str) {
        put_on(self.0.id(), cores);
    }

    /// What it has opened.
    pub fn files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.0.id())).unwrap().count()
    }

    /// What it logs, where it was started with [`Process::start_heard`].
    pub fn log(&mut self) -> BufReader<ChildStderr> {
        BufReader::new(self.0.stderr.take().unwrap())
    }

    /// Sends it a signal, by its name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.0.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Its CPU time so far. What of it was in the kernel is known by ticks of 10 ms, the rest to the nanosecond.
    pub fn cpu(&self) -> Cpu {
        let mut cpu = Cpu::default();
        for task in std::fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap() {
            let task = task.unwrap().path();
            // A thread may end while we look; what it used is then in nobody's figure.
            let (Ok(stat), Ok(exact)) =
                (std::fs::read_to_string(task.join("stat")), std::fs::read_to_string(task.join("schedstat")))
            else {
                continue;
            };
            let (name, fields) = stat.split_once('(').unwrap().1.rsplit_once(')').unwrap();
            let system = fields.split_whitespace().nth(12).unwrap().parse::<f64>().unwrap() / 100.0;
            let all = exact.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9;
            if name == "mostar" {
                cpu.gateway += all - system;
                cpu.system += system;
            } else {
                cpu.store += all;
            }
        }
        cpu
    }

    /// The same, finer and as one figure.
    pub fn nanoseconds(&self) -> u64 {
        let of = |task: std::io::Result<std::fs::DirEntry>| {
            let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        };
        std::fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap().filter_map(of).sum()
    }

    /// What is resident of it, in kB.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `setpriv` ends it even when the benchmark is killed, and `taskset` keeps it where it belongs.
fn command(program: &OsStr, cores: Option<&str>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if let Some(cores) = cores {
        command.args(["taskset", "-c", cores]);
    }
    command.arg(program);
    command
}

/// Puts all threads of a process on these cores.
pub fn put_on(process: u32, cores: &str) {
    let id = process.to_string();
    let status = Command::new("taskset").args(["-a", "-c", "-p", cores, &id]).stdout(Stdio::null()).status();
    assert!(status.unwrap().success(), "taskset does not take {cores}");
}

/// Waits until the gateway with this address for HTTP is ready.
pub fn wait_until_ready(http: SocketAddr) {
    let patience = Instant::now() + Duration::from_secs(20);
    while !is_ready(http) {
        assert!(Instant::now() < patience, "the gateway does not get ready");
        thread::sleep(Duration::from_millis(20));
    }
}

fn is_ready(http: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(http) else { return false };
    let mut answer = String::new();
    stream.write_all(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n").is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.split(' ').nth(1) == Some("200")
}

/// CPU time in seconds.
#[derive(Clone, Copy, Default)]
pub struct Cpu {
    /// Of the threads that run the gateway, in user mode.
    gateway: f64,
    /// Of the same threads, in the kernel.
    system: f64,
    /// Of all other threads.
    store: f64,
}

impl Cpu {
    /// All of it.
    pub fn total(self) -> f64 {
        self.gateway + self.system + self.store
    }

    /// Since an earlier moment, for each of so many messages, in µs.
    pub fn each(self, earlier: Cpu, count: usize) -> Cpu {
        let each = |now: f64, then: f64| (now - then) * 1e6 / count as f64;
        Cpu {
            gateway: each(self.gateway, earlier.gateway),
            system: each(self.system, earlier.system),
            store: each(self.store, earlier.store),
        }
    }
}

impl std::fmt::Display for Cpu {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "store {:.1} µs, system calls {:.1} µs", self.store, self.system)
    }
}
