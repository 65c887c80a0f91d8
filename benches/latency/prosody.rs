//! A Prosody of our own on loopback, and what talks to it: clients, and a component that is played.
//!
//! A client logs in as RFC 6120 says, with SASL PLAIN and without TLS. What is read here is looked at for bodies only.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::TcpStreamExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;

use super::PLAYED;
use super::traffic::Traffic;
use super::world::{SECRET, SIP_DOMAIN, XMPP_DOMAIN};

/// A running server.
pub struct Prosody {
    pub folder: tempfile::TempDir,
    /// The port of components.
    pub components: u16,
    clients: u16,
    child: Child,
}

impl Prosody {
    /// Starts with accounts for so many users, as it comes or with a global option more. Nothing where it is not
    /// installed.
    pub fn start(users: usize, option: &str) -> Option<Prosody> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        if !std::env::split_paths(&path).any(|folder| folder.join("prosody").exists()) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().display().to_string();
        let [components, clients] = free_ports();
        let accounts = folder.path().join(XMPP_DOMAIN.replace('.', "%2e")).join("accounts");
        std::fs::create_dir_all(&accounts).unwrap();
        for user in 0..users {
            let account = format!("return {{ [\"password\"] = \"{SECRET}\" }};\n");
            std::fs::write(accounts.join(format!("juliet{user}.dat")), account).unwrap();
        }
        let config = format!(
            "{option}\nrun_as_root = true\ndaemonize = false\npidfile = '{root}/pid'\ndata_path = '{root}'\nlog = {{ warn = '{root}/log' }}\n\
             modules_enabled = {{ 'disco', 'roster', 'saslauth', 'blocklist', 'carbons', 'pep', 'ping', 'smacks' }}\n\
             modules_disabled = {{ 's2s' }}\ninterfaces = {{ '127.0.0.1' }}\nc2s_ports = {{ {clients} }}\n\
             c2s_direct_tls_ports = {{}}\nlegacy_ssl_ports = {{}}\nhttp_ports = {{}}\nhttps_ports = {{}}\n\
             component_interfaces = {{ '127.0.0.1' }}\ncomponent_ports = {{ {components} }}\n\
             authentication = 'internal_plain'\nc2s_require_encryption = false\nallow_unencrypted_plain_auth = true\n\
             VirtualHost '{XMPP_DOMAIN}'\nComponent '{}'\ncomponent_secret = '{SECRET}'\n\
             Component '{PLAYED}'\ncomponent_secret = '{SECRET}'\n",
            SIP_DOMAIN
        );
        let file = folder.path().join("prosody.cfg.lua");
        std::fs::write(&file, config).unwrap();
        let prosody = Prosody { child: run(&file), folder, components, clients };
        let patience = Instant::now() + Duration::from_secs(30);
        for port in [components, clients] {
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                let log = || std::fs::read_to_string(prosody.folder.path().join("log")).unwrap_or_default();
                assert!(Instant::now() < patience, "prosody does not listen on port {port}: {}", log());
                thread::sleep(Duration::from_millis(50));
            }
        }
        Some(prosody)
    }

    /// Logs a user in. What arrives is told to `traffic`, what is to be sent is written to the stream.
    pub fn login(&self, user: usize, traffic: &Traffic) -> TcpStream {
        let mut stream = connect(self.clients);
        let open = format!(
            "<?xml version='1.0'?><stream:stream to='{XMPP_DOMAIN}' version='1.0' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams'>"
        );
        let plain = base64::engine::general_purpose::STANDARD.encode(format!("\0juliet{user}\0{SECRET}"));
        say(&mut stream, &open, "</stream:features>");
        let auth = format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>");
        say(&mut stream, &auth, "<success");
        say(&mut stream, &open, "</stream:features>");
        let bind = "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                    <resource>balcony</resource></bind></iq>";
        say(&mut stream, bind, "</iq>");
        say(&mut stream, "<presence/>", "<presence");
        read_bodies(stream.try_clone().unwrap(), traffic.clone(), false);
        stream
    }

    /// A component (XEP-0114) that is nothing but the two ends of a stream. As Mostar does, it has its system
    /// acknowledge at once.
    pub fn component(&self, domain: &str, traffic: &Traffic) -> TcpStream {
        let mut stream = connect(self.components);
        let open = format!(
            "<?xml version='1.0'?><stream:stream to='{domain}' xmlns='jabber:component:accept' \
             xmlns:stream='http://etherx.jabber.org/streams'>"
        );
        let header = say(&mut stream, &open, "id=");
        let quoted = header.split("id=").nth(1).unwrap();
        let id = quoted.split(['\'', '"']).nth(1).unwrap();
        say(&mut stream, &mostar::xmpp::stream::handshake(id, SECRET), "<handshake");
        read_bodies(stream.try_clone().unwrap(), traffic.clone(), true);
        stream
    }
}

impl Drop for Prosody {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(config: &Path) -> Child {
    // `setpriv` ends the server even when the benchmark is killed.
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "prosody", "-F", "--root", "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn free_ports() -> [u16; 2] {
    let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    free.map(|listener| listener.local_addr().unwrap().port())
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Says something and reads until the answer has `wanted` in it. Nothing comes after that before we speak again.
fn say(stream: &mut TcpStream, text: &str, wanted: &str) -> String {
    stream.write_all(text.as_bytes()).unwrap();
    let (mut seen, mut piece) = (String::new(), [0; 4096]);
    // The element that `wanted` begins is read to its end.
    while !seen.split_once(wanted).is_some_and(|(_, rest)| wanted.ends_with('>') || rest.contains('>')) {
        let length = stream.read(&mut piece).unwrap();
        assert!(length > 0, "prosody closed the stream: {seen}");
        seen.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
    seen
}

/// Tells what arrives. `at_once`: it is acknowledged at once, not when the system likes.
fn read_bodies(mut stream: TcpStream, traffic: Traffic, at_once: bool) {
    stream.set_read_timeout(None).unwrap();
    thread::spawn(move || {
        let (mut pending, mut piece) = (Vec::new(), [0; 16 * 1024]);
        while let Ok(length @ 1..) = stream.read(&mut piece) {
            if at_once {
                stream.set_quickack(true).unwrap();
            }
            pending.extend_from_slice(&piece[..length]);
            // Everything that we send is ASCII.
            let text = String::from_utf8_lossy(&pending).into_owned();
            let whole = text.rfind("</body>").map_or(0, |at| at + "</body>".len());
            for part in text[..whole].split("</body>") {
                if let Some((_, body)) = part.rsplit_once("<body>") {
                    traffic.arrived(body);
                }
            }
            pending.drain(..whole);
        }
    });
}
