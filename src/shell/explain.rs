//! `mostar explain`: which row of the session heuristics decides how a message goes, and why.
//!
//! The running gateway is asked over its own HTTP port, since only it knows what contacts have shown and which sessions
//! are open; where none runs, a gateway that knows nothing answers from the same configuration. Nothing is sent or kept.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::inbox::Inboxes;
use super::sockets;
use crate::config::Config;
use crate::config::egress::Permit;
use crate::gateway::Gateway;
use crate::gateway::io::{Input, Output};
use crate::words::id::Seed;
use crate::words::time::{Now, Tick, Wall};
use crate::xmpp::jid::Jid;
use crate::xmpp::ns;
use crate::xmpp::stanza::{Element, Stanza, StanzaKind};

/// A shard that is busy for longer does not answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest stanza that is read, in bytes, and the most nodes in it.
pub const LIMIT: usize = 64 * 1024;
const NODES: u32 = 1_000;

/// Questions of admins that shards have not answered yet.
#[derive(Clone)]
pub struct Questions {
    inboxes: Inboxes,
    open: Arc<Mutex<HashMap<u64, oneshot::Sender<String>>>>,
    next: Arc<AtomicU64>,
}

impl Questions {
    /// Nobody has asked yet.
    pub fn new(inboxes: Inboxes) -> Questions {
        Questions { inboxes, open: Arc::default(), next: Arc::default() }
    }

    /// Asks the shard that the stanza belongs to. Nothing if it does not answer in time.
    pub async fn ask(&self, stanza: Stanza) -> Option<String> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(number, answer);
        let shard = self.inboxes.of_stanza(&stanza);
        self.inboxes.put(shard, Input::Explain(number, Box::new(stanza))).await;
        let answer = tokio::time::timeout(PATIENCE, answered).await;
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        answer.ok()?.ok()
    }

    /// A shard has answered.
    pub fn answered(&self, number: u64, text: String) {
        let asker = self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        if let Some(asker) = asker {
            // Whoever gave up does not want it any more.
            let _ = asker.send(text);
        }
    }
}

/// Reads a stanza as somebody would write it into a file; without `xmlns` it is an ordinary one.
pub fn stanza(text: &str) -> Result<Stanza, String> {
    Stanza::from_element(element(text)?).map_err(|_| "it is no stanza with good addresses".to_owned())
}

fn element(text: &str) -> Result<Element, String> {
    if text.len() > LIMIT {
        return Err(format!("a stanza of {} bytes; at most {LIMIT} are read", text.len()));
    }
    let text = text.trim_start_matches('\u{feff}').trim();
    let declared = text.strip_prefix("<?xml").and_then(|rest| rest.split_once("?>"));
    let text = declared.map_or(text, |(_, rest)| rest);
    let wrapped = format!("<stream xmlns='{}'>{text}</stream>", ns::COMPONENT);
    let options = roxmltree::ParsingOptions { nodes_limit: NODES, ..Default::default() };
    let document =
        roxmltree::Document::parse_with_options(&wrapped, options).map_err(|error| error.to_string())?;
    let node = document.root_element().first_element_child().ok_or("there is no stanza in it")?;
    Ok(Element::of_tree(node, own))
}

/// What was copied from a client's own stream is meant as well.
fn own(namespace: &str) -> &str {
    if namespace == ns::CLIENT { ns::COMPONENT } else { namespace }
}

/// The message that is asked about: of a file, else a plain line; from and to whom as the command line says.
pub fn message(from: &str, to: &str, file: Option<&str>) -> Result<Stanza, String> {
    let jid = |name: &str, text: &str| {
        Jid::parse(text).map_err(|problem| format!("--{name} {text}: {}", problem.0))
    };
    let (from, to) = (jid("from", from)?, jid("to", to)?);
    let Some(text) = file else {
        let body = Element::new("body", ns::COMPONENT).with_text("Hello");
        return Ok(Stanza::new(StanzaKind::Message, &from, &to).with_type("chat").with_child(body));
    };
    let mut element = element(text)?;
    element.set("from", from.as_str());
    element.set("to", to.as_str());
    Stanza::from_element(element).map_err(|_| "it is no stanza with good addresses".to_owned())
}

/// What a gateway says that knows this configuration and nothing else.
pub fn from_tables(config: Config, stanza: Stanza) -> String {
    let mut gateway = Gateway::new(Arc::new(config), Seed([0; 32]));
    gateway.handle(Now { tick: Tick(0), wall: Wall(0) }, Input::Explain(0, Box::new(stanza)));
    let outputs = std::iter::from_fn(|| gateway.poll());
    let said = outputs.filter_map(|output| match output {
        Output::Explained(_, text) => Some(text),
        _ => None,
    });
    said.collect()
}

/// Asks the gateway that runs at this address; the reason when none answers.
pub fn from_running(address: SocketAddr, stanza: &Stanza) -> Result<String, String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = sockets::connect_within(Permit::named(address), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE * 2))?;
        let body = stanza.to_xml();
        let head = format!(
            "POST /explain HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
        let mut answer = String::new();
        stream.take(1 << 20).read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| error.to_string())?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.split(' ').nth(1) == Some("200") => Ok(body.to_owned()),
        Some((head, body)) => Err(format!("{} {}", head.lines().next().unwrap_or_default(), body.trim())),
        None => Err("what answers there is no Mostar".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stanza_of_a_file_gets_its_addresses() {
        for text in [
            "<message><body>Hi</body></message>",
            "<message type='headline'><body>Hi</body></message>",
            "<message xmlns='jabber:client' from='a@b' to='c@d'><body>Hi</body></message>",
            "<message from='a@b'><body>Hi</body></message>",
            "<message to='c@d'><body>Hi</body></message>",
            "\u{feff}<?xml version='1.0' encoding='UTF-8'?>\n<message><body>Hi</body></message>\n",
        ] {
            let read = message("juliet@example.com/x", "romeo@example.net", Some(text)).expect(text);
            assert_eq!(read.to().map(Jid::as_str), Some("romeo@example.net"), "{text}");
            assert!(read.element.child("body", ns::COMPONENT).is_some(), "{text}");
        }
        assert!(message("juliet@example.com", "@", None).is_err());
        assert!(message("juliet@example.com", "romeo@example.net", Some("hello")).is_err());
    }

    #[test]
    fn without_a_gateway_the_tables_answer() {
        let stanza = message("juliet@example.com/x", "romeo@example.net", None).unwrap();
        let said = from_tables(Config::empty(), stanza);
        assert!(said.starts_with("refused before any row is asked:"), "{said}");
    }
}
