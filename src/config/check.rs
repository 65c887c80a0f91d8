//! From the file's text to a checked [`Config`], or to all of its mistakes.
//!
//! Three looks: is it YAML (`yaml`), does it have the right keys (`shape`), and does it make sense, which is this
//! file, `pairs` and `sockets`. Later looks go on where earlier ones found something, so that one run shows everything.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::options::{self, Kind};
use super::outside::{Found, Outside, Pem};
use super::pairs;
use super::recorded;
use super::report::{Mistake, Report};
use super::section::{Section, text_of};
use super::sockets::{self, Socket};
use super::values::{self, Bad, Domain};
use super::yaml::{self, At, Node, Value};
use crate::features::{self, sessions};
use crate::words::table;

use super::{
    Auth, Component, Config, Identity, Listen, Messages, Msrp, MsrpListen, Peer, Record, Relay, Rooms,
    Secret, Sip, Xmpp, XmppDomain, shape,
};
use crate::msrp::uri::Host;

/// Something with its place in the file.
#[derive(Clone, Debug)]
pub struct Placed<T> {
    /// Where.
    pub at: At,
    /// What.
    pub value: T,
}

/// Checks `text`, which is called `file`; paths in it start from `folder`. The configuration is there when nothing
/// but warnings is.
pub fn check(file: &str, text: &str, folder: &Path, outside: &dyn Outside) -> (Option<Config>, Report) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut mistakes = Vec::new();
    let Some(root) = yaml::parse(text, &mut mistakes) else {
        if mistakes.is_empty() {
            mistakes.push(
                Mistake::error(0..0, "this file is empty")
                    .help("config/mostar.yaml is a short example, docs/options.md has all options"),
            );
        }
        return (None, Report::new(file, text, mistakes, Vec::new()));
    };
    let findings = shape::look(&root);
    mistakes.extend(findings.mistakes);
    let mut checker = Checker { mistakes, hidden: findings.hidden, folder, outside };
    let config = checker.config(&root);
    let report = Report::new(file, text, checker.mistakes, checker.hidden);
    (config.filter(|_| report.errors() == 0), report)
}

struct Checker<'a> {
    mistakes: Vec<Mistake>,
    hidden: Vec<At>,
    folder: &'a Path,
    outside: &'a dyn Outside,
}

impl Checker<'_> {
    /// The whole file. What it gives is only good when no mistake was found: bad parts are left out of it.
    fn config(&mut self, root: &Node) -> Option<Config> {
        let file = Section { node: Some(root), path: String::new() };
        let xmpp = file.section("xmpp");
        let sip = file.section("sip");

        let server = self.value(&xmpp, "server", values::host_port);
        let components = self.components(&xmpp);
        let domains = self.domains(&xmpp);
        let listen = self.listen(&sip);
        let advertise = self.advertise(&sip);
        let peers = self.peers(&sip);
        let store = self.store(&file);
        let http = self.http(&file);
        let mappings = self.mappings(&file);
        let sessions = self.sessions(&file, &mappings);
        let stop_timeout = self.value(&file, "stop_timeout", values::duration);
        let messages = self.messages(&file.section("messages"));
        let rooms = self.rooms(&file.section("rooms"));
        let record = root.get("record").is_some().then(|| self.record(&file.section("record"), root));
        pairs::domains(&components, &domains, &peers, &mut self.mistakes);
        let has_rooms = domains.iter().any(|placed| placed.value.rooms);
        if let Some(at) = root.get("rooms").map(|entry| entry.key_at.clone()).filter(|_| !has_rooms) {
            self.mistakes.push(
                Mistake::warning(at, "no XMPP domain holds rooms, so this means nothing")
                    .help("say `rooms: true` at the entry of `xmpp.domains` that holds them"),
            );
        }
        pairs::peers(&listen, &peers, &mut self.mistakes);
        let mut sockets: Vec<_> = listen.iter().map(Socket::sip).collect();
        sockets.extend(http.flatten().map(|http| Socket::http(http, file.text("http").map(|(_, at)| at))));
        let mut msrp = self.msrp(&file.section("msrp"), &listen, &mut sockets);
        msrp.advertise = msrp.advertise.or_else(|| advertise.clone());
        sockets::clashes(&sockets, &mut self.mistakes);
        let is_advertised = |group: &str| file.section(group).get("advertise").is_some();
        let (of_sip, of_msrp) = (is_advertised("sip"), is_advertised("msrp"));
        sockets::unnamed(&sockets, of_sip, of_msrp, &mut self.mistakes);
        let own: Vec<_> = sockets.iter().map(|socket| socket.address).collect();
        let aliases = advertise.iter().chain(&msrp.advertise);
        let aliases: Vec<_> = aliases.filter_map(Host::address).collect();
        pairs::own_peers(&peers, &own, &aliases, &mut self.mistakes);
        if msrp.listen.is_empty() && msrp.relay.is_none() {
            pairs::rooms_without_msrp(&components, &domains, &mut self.mistakes);
        }

        Some(Config {
            xmpp: Xmpp { server: server?, components: values_of(components), domains: values_of(domains) },
            sip: Sip { listen: values_of(listen), advertise, peers: values_of(peers) },
            msrp,
            store: store?,
            http: http?,
            mappings,
            sessions,
            stop_timeout: stop_timeout?,
            messages: messages?,
            rooms: rooms?,
            record: record.flatten(),
        })
    }

    fn components(&mut self, xmpp: &Section) -> Vec<Placed<Component>> {
        let mut components = Vec::new();
        for section in xmpp.sections("components") {
            let domain = self.domain(&section, "domain");
            let sip_domain = self.domain(&section, "sip_domain");
            let any_domain = self.flag(&section, "any_domain");
            let rooms = self.flag(&section, "rooms");
            let secret = self.secret(&section, "secret");
            // A bad name is told once, not again by what it fails to match.
            let good = sip_domain.is_some() || section.get("sip_domain").is_none();
            if let Some(domain) = domain.filter(|_| good) {
                let sip_domain = sip_domain.map_or_else(|| domain.value.sip.clone(), |other| other.value.sip);
                let secret = secret.unwrap_or_else(|| Secret::new(""));
                let value = Component { domain: domain.value.jid, sip_domain, secret, any_domain, rooms };
                components.push(Placed { at: domain.at, value });
            }
        }
        components
    }

    fn domains(&mut self, xmpp: &Section) -> Vec<Placed<XmppDomain>> {
        let mut domains = Vec::new();
        for section in xmpp.sections("domains") {
            let domain = self.domain(&section, "domain");
            let alias = self.domain(&section, "sip_alias");
            let rooms = self.flag(&section, "rooms");
            let good = alias.is_some() || section.get("sip_alias").is_none();
            if let Some(domain) = domain.filter(|_| good) {
                let at = alias.as_ref().map_or(domain.at, |alias| alias.at.clone());
                let sip_alias = alias.map_or(domain.value.sip, |alias| alias.value.sip);
                domains.push(Placed { at, value: XmppDomain { domain: domain.value.jid, sip_alias, rooms } });
            }
        }
        domains
    }

    fn listen(&mut self, sip: &Section) -> Vec<Placed<Listen>> {
        let mut listen = Vec::new();
        for (text, at) in sip.texts("listen") {
            if let Some(value) = self.take(&at, values::listen(text)) {
                listen.push(Placed { at, value });
            }
        }
        listen
    }

    fn peers(&mut self, sip: &Section) -> Vec<Placed<Peer>> {
        let mut peers = Vec::new();
        for section in sip.sections("peers") {
            let uri = section.text("uri");
            if let Some((_, at)) = uri.clone().filter(|(text, _)| text.contains('@')) {
                // sip:user:password@host
                self.hidden.push(at);
            }
            let parsed = uri.clone().and_then(|(text, at)| self.take(&at, values::peer_uri(text)));
            let mut any_domain = false;
            let mut may_send_from = Vec::new();
            for (text, at) in section.texts("may_send_from") {
                if text == "*" {
                    any_domain = true;
                } else if let Some(domain) = self.take(&at, values::domain(text)) {
                    may_send_from.push(domain.sip);
                }
            }
            let mut networks = Vec::new();
            for (text, at) in section.texts("networks") {
                networks.extend(self.take(&at, values::network(text)));
            }
            let auth = section.get("auth").and_then(|_| self.auth(&section.section("auth")));
            let long_messages = self.flag(&section, "long_messages");
            let trust_dates = self.flag(&section, "trust_dates");
            let msrp = self.value(&section, "msrp", values::msrp).unwrap_or_default();
            if let (Some((uri, at)), Some(parsed)) = (uri, parsed) {
                let value = Peer {
                    uri: uri.to_owned(),
                    host: parsed.host,
                    port: parsed.port,
                    transport: parsed.transport,
                    may_send_from,
                    any_domain,
                    networks,
                    auth,
                    long_messages,
                    trust_dates,
                    msrp,
                };
                peers.push(Placed { at, value });
            }
        }
        peers
    }

    /// Chat sessions; their sockets go to the others.
    fn msrp(&mut self, section: &Section, sip: &[Placed<Listen>], sockets: &mut Vec<Socket>) -> Msrp {
        let mut listen = Vec::new();
        for (text, at) in section.texts("listen") {
            if let Some(value) = self.take(&at, values::msrp_listen(text)) {
                listen.push(Placed { at, value });
            }
        }
        let is_given = section.get("listen").is_some();
        if !is_given && let Some(other) = sip.iter().find(|sip| !sip.value.address.ip().is_loopback()) {
            let what = format!(
                "chat sessions of other machines do not come in: {} is for this one",
                section.default("listen")
            );
            self.mistakes.push(Mistake::warning(other.at.clone(), what).help(
                "add msrp: { listen: [ \"tcp://ADDRESS:2855\" ] }, or listen: [] for no chat sessions",
            ));
        }
        let identity = self.identity(section, &listen);
        let mut connect_to = Vec::new();
        for (text, at) in section.texts("connect_to") {
            connect_to.extend(self.take(&at, values::network(text)));
        }
        let advertise = self.advertise(section);
        sockets.extend(listen.iter().map(|placed| Socket::msrp(placed.value, Some(placed.at.clone()))));
        let mut listen = values_of(listen);
        if !is_given {
            listen.extend(values::msrp_listen(section.default("listen")));
            sockets.extend(listen.iter().map(|listen| Socket::msrp(*listen, None)));
        }
        let relay = section.get("relay").and_then(|_| self.relay(&section.section("relay")));
        Msrp { listen, advertise, identity, connect_to, relay }
    }

    fn relay(&mut self, section: &Section) -> Option<Relay> {
        let uri = section.text("uri").and_then(|(text, at)| self.take(&at, values::relay_uri(text)));
        let auth = self.auth(section);
        Some(Relay { uri: uri?, auth: auth? })
    }

    fn advertise(&mut self, section: &Section) -> Option<Host> {
        section.text("advertise").and_then(|(text, at)| self.take(&at, values::advertise(text)))
    }

    /// Who we are to TLS, where the file says so; `listen` may have one who must know.
    fn identity(&mut self, section: &Section, listen: &[Placed<MsrpListen>]) -> Option<Arc<Identity>> {
        let (certificate, key) = match (section.text("certificate"), section.text("key")) {
            (Some(certificate), Some(key)) => (certificate, key),
            (None, None) => {
                let placed = listen.iter().find(|placed| placed.value.secure)?;
                let bad = Bad {
                    what: format!("{} has no certificate", placed.value),
                    help: "add `certificate` and `key` to `msrp`, or listen on tcp://".into(),
                };
                return self.take(&placed.at, Err(bad));
            }
            (Some((_, at)), None) => {
                let help = "add `key` to `msrp`: the file with the certificate's key".into();
                return self.take(&at, Err(Bad { what: "this certificate has no key".into(), help }));
            }
            (None, Some((_, at))) => {
                let help = "add `certificate` to `msrp`: the file with the key's certificate".into();
                return self.take(&at, Err(Bad { what: "this key has no certificate".into(), help }));
            }
        };
        if !self.outside.knows_keys() {
            return None;
        }
        let mut read = |(text, at): (&str, At), kind| {
            let path = self.path(text, &at)?;
            let read = self.outside.pem(&path, kind);
            self.take(&at, read)
        };
        let chain = read(certificate.clone(), Pem::Certificate);
        let secret = read(key.clone(), Pem::Key);
        match Identity::read(&chain?, &secret?) {
            Ok(identity) => Some(Arc::new(identity)),
            Err((is_key, bad)) => self.take(if is_key { &key.1 } else { &certificate.1 }, Err(bad)),
        }
    }

    fn auth(&mut self, section: &Section) -> Option<Auth> {
        let username = section.text("username").and_then(|(text, at)| {
            let bad = |text: &str| text.is_empty() || text.chars().any(char::is_control);
            let read = if bad(text) {
                Err(Bad {
                    what: "this is no user name".into(),
                    help: "write the name that the peer knows".into(),
                })
            } else {
                Ok(text.to_owned())
            };
            self.take(&at, read)
        });
        let password = self.secret(section, "password");
        Some(Auth { username: username?, password: password? })
    }

    fn messages(&mut self, section: &Section) -> Option<Messages> {
        let max_message = self.number(section, "max_message");
        let from_gruu = self.flag(section, "from_gruu");
        let late_errors = self.flag(section, "late_errors");
        let hold = self.value(section, "hold", values::duration);
        let rate = self.number(section, "rate");
        Some(Messages {
            max_message: usize::try_from(max_message?).ok()?,
            from_gruu,
            late_errors,
            hold: hold?,
            rate: rate?,
        })
    }

    fn rooms(&mut self, section: &Section) -> Option<Rooms> {
        let factory = self.value(section, "factory", values::factory);
        let history = self.number(section, "history");
        Some(Rooms { factory: factory?, history: history? })
    }

    fn record(&mut self, section: &Section, root: &Node) -> Option<Record> {
        let folder = section.text("folder").and_then(|(text, at)| self.path(text, &at));
        let bodies = self.flag(section, "bodies");
        if let Some((_, at)) = section.text("bodies").filter(|_| bodies) {
            self.mistakes.push(
                Mistake::warning(at, "what people write will stand in the recordings")
                    .help("leave this out unless the mistake cannot be seen otherwise"),
            );
        }
        let limit = self.number(section, "limit");
        Some(Record { folder: folder?, bodies, limit: limit?, config: recorded::print(root) })
    }

    /// The folder of the store, which need not be there yet.
    fn store(&mut self, file: &Section) -> Option<PathBuf> {
        let (text, at) = file.text("store")?;
        let folder = self.path(text, &at)?;
        let read = match self.outside.look(&folder) {
            Found::Other => Err(Bad {
                what: format!("{} is no folder", folder.display()),
                help: "name a folder, which is made if it is not there".into(),
            }),
            Found::Nothing | Found::Folder => Ok(folder),
        };
        self.take(&at, read)
    }

    fn http(&mut self, file: &Section) -> Option<Option<std::net::SocketAddr>> {
        let http = self.value(file, "http", values::http)?;
        if let (Some((_, at)), Some(address)) = (file.text("http"), http)
            && !address.ip().is_loopback()
        {
            self.mistakes.push(
                Mistake::warning(at, format!("whoever reaches {address} can read the metrics, and ask who is typing to whom (/explain)"))
                    .help("listen on 127.0.0.1 or ::1, or let a firewall guard it"),
            );
        }
        Some(http)
    }

    /// A domain of a group, when it is written and good.
    fn domain(&mut self, section: &Section, name: &str) -> Option<Placed<Domain>> {
        let (text, at) = section.text(name)?;
        let value = self.take(&at, values::domain(text))?;
        Some(Placed { at, value })
    }

    /// A secret, from where the file says that it is.
    fn secret(&mut self, section: &Section, name: &str) -> Option<Secret> {
        let node = section.get(name)?;
        let file = node.get("file").and_then(|entry| text_of(&entry.value));
        let variable = node.get("env").and_then(|entry| text_of(&entry.value));
        match (file, variable) {
            (Some((text, at)), None) => {
                let path = self.path(text, &at)?;
                let read = self.outside.file(&path);
                self.take(&at, read)
            }
            (None, Some((name, at))) => {
                if name.is_empty() || name.contains(['=', '\0']) {
                    let bad = Bad {
                        what: "this is no name of a variable".into(),
                        help: "write its name alone, as in MOSTAR_SECRET".into(),
                    };
                    return self.take(&at, Err(bad));
                }
                let read = self.outside.variable(name);
                self.take(&at, read)
            }
            _ => None,
        }
    }

    /// The session heuristics in force: the built-in table or that of `mappings`, with the rows of `sessions`.
    fn sessions(&mut self, file: &Section, mappings: &table::Own) -> Arc<sessions::table::Table> {
        let whole = sessions::whole(mappings.get("sessions").map(String::as_str));
        let Some(node) = file.get("sessions") else { return Arc::new(whole) };
        let own = sessions::table::Table::of(node, &sessions::QUESTIONS, &mut self.mistakes);
        let table = whole.with(own);
        if let Err(why) = table.is_whole(&sessions::QUESTIONS) {
            self.take::<()>(&node.at, Err(Bad { what: why, help: "give this row another name".into() }));
        }
        Arc::new(table)
    }

    /// The tables of the admin's own, each read as it will be.
    fn mappings(&mut self, file: &Section) -> table::Own {
        let mut own = table::Own::new();
        let Some((text, at)) = file.text("mappings") else { return own };
        let Some(folder) = self.path(text, &at) else { return own };
        let names = features::TABLES.map(|(name, _)| format!("{name}.yaml")).join(", ");
        let help = format!("name a folder with one of these, or leave `mappings` out: {names}");
        let amiss = match self.outside.look(&folder) {
            Found::Folder => None,
            Found::Nothing => Some("does not exist, or its folder cannot be seen"),
            Found::Other => Some("is no folder"),
        };
        if let Some(amiss) = amiss {
            let what = format!("{} {amiss}", folder.display());
            self.take::<()>(&at, Err(Bad { what, help }));
            return own;
        }
        let before = self.mistakes.len();
        for (name, check) in features::TABLES {
            let path = folder.join(format!("{name}.yaml"));
            let read = self.outside.table(&path).and_then(|text| {
                let Some(text) = text else { return Ok(None) };
                check(&text).map_err(|why| Bad {
                    what: format!("{}: {}", path.display(), why.lines().next().unwrap_or_default()),
                    help: format!("compare it with mappings/{name}.yaml of the source"),
                })?;
                Ok(Some(text))
            });
            if let Some(Some(text)) = self.take(&at, read) {
                own.insert(name, text);
            }
        }
        if own.is_empty() && self.mistakes.len() == before {
            let what = format!("{} holds no table", folder.display());
            self.take::<()>(&at, Err(Bad { what, help }));
        }
        own
    }

    /// A path; a relative one starts at the folder of the configuration.
    fn path(&mut self, text: &str, at: &At) -> Option<PathBuf> {
        if text.is_empty() || text.contains('\0') {
            let bad =
                Bad { what: "this is no path".into(), help: "write the path of a file or folder".into() };
            return self.take(at, Err(bad));
        }
        if text.starts_with('~') {
            let bad = Bad {
                what: "`~` means nothing here: no shell reads this file".into(),
                help: "write the whole path, beginning with /".into(),
            };
            return self.take(at, Err(bad));
        }
        Some(self.folder.join(text))
    }

    /// A flag; in quotes it is text.
    fn flag(&mut self, section: &Section, name: &str) -> bool {
        if let Some(Node { at, value: Value::Text { text, quoted: true } }) = section.get(name) {
            let bad = Bad {
                what: format!("\"{text}\" is text"),
                help: "write true or false, without quotes".into(),
            };
            return self.take(at, Err(bad)).unwrap_or_default();
        }
        self.value(section, name, values::flag).unwrap_or_default()
    }

    /// A single value; its default comes from the registry and is read the same way.
    fn value<T>(
        &mut self,
        section: &Section,
        name: &str,
        read: impl Fn(&str) -> Result<T, Bad>,
    ) -> Option<T> {
        match section.text(name) {
            Some((text, at)) => self.take(&at, read(text)),
            None => read(section.default(name)).ok(),
        }
    }

    /// A number; its limits come from the registry too.
    fn number(&mut self, section: &Section, name: &str) -> Option<u64> {
        let (low, high) = match options::find(&options::join(&section.path, name)).map(|option| option.kind) {
            Some(Kind::Number(low, high)) => (low, high),
            _ => (0, u64::MAX),
        };
        self.value(section, name, |text| values::number(text, low, high))
    }

    /// Keeps what is good, notes what is bad.
    fn take<T>(&mut self, at: &At, read: Result<T, Bad>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(bad) => {
                self.mistakes.push(Mistake::error(at.clone(), bad.what).help(bad.help));
                None
            }
        }
    }
}

fn values_of<T>(placed: Vec<Placed<T>>) -> Vec<T> {
    placed.into_iter().map(|placed| placed.value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl Outside for Nothing {
        fn look(&self, _path: &Path) -> Found {
            Found::Nothing
        }

        fn table(&self, _path: &Path) -> Result<Option<String>, Bad> {
            Ok(None)
        }

        fn file(&self, path: &Path) -> Result<Secret, Bad> {
            Ok(Secret::new(path.display().to_string()))
        }
        fn variable(&self, name: &str) -> Result<Secret, Bad> {
            Ok(Secret::new(name))
        }
        fn pem(&self, _path: &Path, _kind: Pem) -> Result<Vec<u8>, Bad> {
            Ok(Vec::new())
        }
    }

    const SMALL: &str = "
xmpp:
  server: localhost:5347
  components: [ { domain: sip.example.org, sip_domain: example.org, secret: { file: s } } ]
  domains: [ { domain: bücher.example } ]
sip:
  listen: udp://127.0.0.1:5070
  peers: [ { uri: \"sip:127.0.0.1\", may_send_from: [ Example.ORG ] } ]
store: state
";

    fn checked(text: &str) -> (Option<Config>, Report) {
        check("f.yaml", text, Path::new("/etc/mostar"), &Nothing)
    }

    #[test]
    fn defaults_are_filled_in() {
        let (config, report) = checked(SMALL);
        assert_eq!(report.mistakes().len(), 0, "{report}");
        let config = config.expect("a configuration");
        assert_eq!(config.xmpp.components[0].secret.reveal(), "/etc/mostar/s");
        assert_eq!(config.xmpp.domains[0].domain, "bücher.example");
        assert_eq!(config.xmpp.domains[0].sip_alias, "xn--bcher-kva.example");
        assert_eq!(config.store, Path::new("/etc/mostar/state"));
        assert_eq!(config.http.map(|http| http.to_string()).as_deref(), Some("127.0.0.1:9091"));
        assert_eq!(config.stop_timeout.as_secs(), 60);
        assert_eq!(config.msrp.listen, Msrp::default().listen);
        assert!(config.msrp.advertise.is_none() && config.msrp.connect_to.is_empty());
        assert!(config.sip.peers[0].trust_dates && !config.sip.peers[0].long_messages);
        assert!(config.sip.peers[0].speaks_for("example.org"));
        let Messages { max_message, from_gruu, late_errors, hold, rate } = config.messages;
        let defaults = Messages::default();
        assert_eq!(
            (max_message, from_gruu, late_errors, hold, rate),
            (defaults.max_message, defaults.from_gruu, defaults.late_errors, defaults.hold, defaults.rate)
        );
    }

    #[test]
    fn every_default_of_the_registry_is_read_without_complaint() {
        for option in options::OPTIONS {
            if let options::Need::Default(value) = option.need {
                let (group, name) = options::split(option.key);
                let line = match group {
                    "" => format!("{SMALL}{name}: {value}\n"),
                    "record" => format!("{SMALL}record: {{ folder: r, {name}: {value} }}\n"),
                    "messages" | "msrp" | "rooms" => format!("{SMALL}{group}: {{ {name}: {value} }}\n"),
                    "xmpp.components[]" => {
                        SMALL.replace("domain: sip.", &format!("{name}: {value}, domain: sip."))
                    }
                    "xmpp.domains[]" => SMALL.replace("domain: b", &format!("{name}: {value}, domain: b")),
                    _ => SMALL.replace("may_send_from: [ Example.ORG ]", &format!("{name}: {value}")),
                };
                let (config, report) = checked(&line);
                assert!(config.is_some(), "{}: {report}", option.key);
            }
        }
    }

    #[test]
    fn a_byte_order_mark_does_not_matter() {
        assert!(checked(&format!("\u{feff}{SMALL}")).0.is_some());
    }

    #[test]
    fn one_mistake_does_not_hide_another() {
        let text = SMALL.replace("localhost:5347", "localhost").replace("udp:", "tls:");
        let (config, report) =
            checked(&format!("{text}stop_timeout: 5\nmessages: {{ max_message: 1, hold: x }}\n"));
        assert!(config.is_none());
        assert_eq!(report.errors(), 5, "{report}");
    }
}
