//! What a `config` line of a vector changes in the configuration that all begin with.

use std::sync::Arc;
use std::time::Duration;

use mostar::config::{Auth, Config, MsrpListen, Relay, Secret, yaml};
use mostar::features::sessions::{self, table::Table};
use mostar::msrp::uri::Uri;
use mostar::sip::flow::Transport;

/// Changes what a line says: `KEY=VALUE`.
pub fn set(config: &mut Config, line: &str) -> Result<(), String> {
    let (key, value) = line.split_once('=').ok_or("config KEY=VALUE")?;
    let flag = || value.parse::<bool>().map_err(|error| error.to_string());
    let seconds = || value.parse().map(Duration::from_secs).map_err(|error| error.to_string());
    let peer = &mut config.sip.peers[0];
    match key {
        // As in a configuration: { LIST: [ ROW, … ] }.
        "sessions" => config.sessions = Arc::new(rows(value)?),
        "messages.from_gruu" => config.messages.from_gruu = flag()?,
        "messages.late_errors" => config.messages.late_errors = flag()?,
        "messages.hold" => config.messages.hold = seconds()?,
        "messages.rate" => config.messages.rate = value.parse().map_err(|_| "a number")?,
        "messages.max_message" => config.messages.max_message = value.parse().map_err(|_| "a number")?,
        "component.any_domain" => config.xmpp.components[0].any_domain = flag()?,
        "component.sip_domain" => config.xmpp.components[0].sip_domain = value.into(),
        "domain.rooms" => super::config::add_rooms(config, value),
        "component.rooms" => config.xmpp.components[0].rooms = flag()?,
        "component.conference" => super::config::add_conference(config, value),
        "rooms.factory" => config.rooms.factory = Some(value.to_owned()).filter(|name| name != "none"),
        "rooms.history" => config.rooms.history = value.parse().map_err(|_| "a number")?,
        "domain.sip_alias" => config.xmpp.domains[0].sip_alias = value.into(),
        "peer.any_domain" => peer.any_domain = flag()?,
        "peer.long_messages" => peer.long_messages = flag()?,
        "peer.trust_dates" => peer.trust_dates = flag()?,
        "peer.msrp" => peer.msrp = mostar::config::values::msrp(value).map_err(|bad| bad.what)?,
        "msrp.relay" if flag()? => {
            let uri = Uri::parse("msrps://relay.example.org:2855;tcp")?;
            let auth = Auth { username: "mostar".into(), password: Secret::new("secret") };
            config.msrp.relay = Some(Relay { uri, auth });
        }
        "msrp.tls" if flag()? => {
            let address = "192.0.2.9:2856".parse().map_err(|_| "an address")?;
            config.msrp.listen.push(MsrpListen { secure: true, address });
            config.msrp.identity = Some(Arc::new(super::config::identity()));
        }
        "peer.transport" => {
            peer.transport = match value {
                "udp" => Some(Transport::Udp),
                "tcp" => Some(Transport::Tcp),
                "any" => None,
                _ => return Err("udp, tcp or any".into()),
            }
        }
        "peer.auth" => {
            let (username, password) = value.split_once(':').ok_or("user:password")?;
            peer.auth = Some(Auth { username: username.into(), password: Secret::new(password) });
        }
        _ => return Err(format!("unknown key {key}")),
    }
    Ok(())
}

/// The table of sessions with these rows of an admin's.
pub fn rows(text: &str) -> Result<Table, String> {
    let mut mistakes = Vec::new();
    let own =
        yaml::parse(text, &mut mistakes).map(|root| Table::of(&root, &sessions::QUESTIONS, &mut mistakes));
    match (own, mistakes.first()) {
        (Some(own), None) => Ok(sessions::whole(None).with(own)),
        (_, mistake) => Err(mistake.map_or_else(|| "no rows".to_owned(), |mistake| mistake.what.clone())),
    }
}
