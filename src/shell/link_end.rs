//! Why a component link ended or did not come up: what an admin reads about it, and what is to be done.

use std::net::SocketAddr;
use std::time::Duration;

use super::component::Settings;
use crate::config::{Secret, Source};
use crate::words::note::{Level, Note};
use crate::xmpp::stream::StreamError;

/// Why a link is not up.
#[derive(Debug)]
pub enum End {
    /// We closed it.
    Stopped,
    /// The server's name leads nowhere.
    Unresolved(String),
    /// No connection.
    Unreachable(SocketAddr, String),
    /// A connection, and then nothing.
    Silent(SocketAddr),
    /// The server sent a stream error.
    Refused(StreamError),
    /// The server closed the stream.
    Closed,
    /// What the server sent cannot be read.
    Broken(String),
    /// The connection ended without a word.
    Lost(String),
    /// Nothing came for so long.
    Dead(Duration),
    /// Nothing could be written for so long.
    Stuck(Duration),
}

impl End {
    /// The server does not take the secret.
    pub fn is_about_the_secret(&self) -> bool {
        matches!(self, End::Refused(error) if error.condition == "not-authorized")
    }

    /// The log line: what happened, where, what to do, and when the next attempt is.
    pub fn note(&self, settings: &Settings, wait: Duration) -> Note {
        let (level, event, reason, advice) = self.words(settings);
        let mut fields = vec![
            ("component", settings.domain.clone()),
            ("server", settings.server.clone()),
            ("reason", reason),
        ];
        if !advice.is_empty() {
            fields.push(("do", advice));
        }
        fields.push(("retry_in", format!("{:.1}s", wait.as_secs_f64())));
        Note::Log { level, event, fields }
    }

    fn words(&self, settings: &Settings) -> (Level, &'static str, String, String) {
        let Settings { server, .. } = settings;
        let port = || format!("make sure that the XMPP server runs and listens for components at {server}");
        match self {
            End::Stopped => (Level::Info, "link-closed", "we closed it".into(), String::new()),
            End::Unresolved(reason) => (
                Level::Error,
                "link-unresolved",
                format!("the name of {server} leads nowhere: {reason}"),
                "correct xmpp.server, or the resolver of this machine".into(),
            ),
            End::Unreachable(address, reason) => {
                (Level::Error, "link-unreachable", format!("{address}: {reason}"), port())
            }
            End::Silent(address) => (
                Level::Error,
                "link-silent",
                format!("{address} took the connection and did not finish the handshake"),
                port(),
            ),
            End::Refused(error) => refusal(error, settings),
            End::Closed => (Level::Warn, "link-closed", "the server closed the stream".into(), String::new()),
            End::Broken(reason) => (
                Level::Error,
                "link-broken",
                format!("what the server sends cannot be read: {reason}"),
                format!("make sure that {server} is the port for components, not for clients or servers"),
            ),
            End::Lost(reason) => (Level::Warn, "link-lost", reason.clone(), String::new()),
            End::Dead(after) => (
                Level::Warn,
                "link-dead",
                format!("the server sent nothing for {} s and did not answer a ping", after.as_secs()),
                String::new(),
            ),
            End::Stuck(after) => (
                Level::Warn,
                "link-stuck",
                format!("the server took nothing for {} s", after.as_secs()),
                String::new(),
            ),
        }
    }
}

/// A refused secret could not be read again.
pub fn unread(settings: &Settings, reason: String, advice: String) -> Note {
    let fields = vec![("component", settings.domain.clone()), ("reason", reason), ("do", advice)];
    Note::Log { level: Level::Error, event: "link-secret-unread", fields }
}

/// How a secret that was mended comes into use.
fn when_it_is_read(secret: &Secret) -> String {
    match secret.source() {
        Source::File(path) => format!("; {} is read again before each attempt", path.display()),
        Source::Variable(name) => {
            format!(
                "; the variable {name} is read at the start only: restart mostar when you have changed it"
            )
        }
        Source::Given => String::new(),
    }
}

/// Stream errors (RFC 6120 §4.9.3, XEP-0114 §3) as they are meant by servers of components.
fn refusal(error: &StreamError, settings: &Settings) -> (Level, &'static str, String, String) {
    let Settings { server, domain, id, secret, .. } = settings;
    let said = match &error.text {
        Some(text) => format!("{}: {text}", error.condition),
        None => error.condition.clone(),
    };
    match error.condition.as_str() {
        "not-authorized" => (
            Level::Error,
            "link-secret-refused",
            format!("{server} refused the secret of the component {domain} ({said})"),
            // ejabberd answers so for a component that it does not have, too.
            format!(
                "make xmpp.components[{}].secret the one that the server has for {domain}, and make sure that it has \
                 that component{}",
                id.0,
                when_it_is_read(secret)
            ),
        ),
        "host-unknown" | "host-gone" => (
            Level::Error,
            "link-component-unknown",
            format!("{server} has no component {domain} ({said})"),
            format!("add the component {domain} to the server's configuration and reload it"),
        ),
        "conflict" => (
            Level::Error,
            "link-conflict",
            format!("another connection serves {domain} already ({said})"),
            "stop the other gateway; an old session of this one goes by itself when the server notices"
                .into(),
        ),
        "system-shutdown" | "reset" => {
            (Level::Warn, "link-closed", format!("the server stops ({said})"), String::new())
        }
        _ => (Level::Error, "link-refused", format!("the server ended the stream ({said})"), String::new()),
    }
}
