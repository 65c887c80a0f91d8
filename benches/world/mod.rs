//! What the load generators share: the gateway as a process of its own, the XMPP server and the SIP peer that are played
//! for it, and the clock.

#![allow(dead_code, reason = "each benchmark uses a part")]

pub mod core;
pub mod figures;
pub mod process;
pub mod proxy;
pub mod server;

/// The domain of the SIP users, and of the component.
pub const SIP_DOMAIN: &str = "sip.bench";
/// The domain of the XMPP users.
pub const XMPP_DOMAIN: &str = "xmpp.bench";
/// The domain of the rooms of XMPP.
pub const ROOMS_DOMAIN: &str = "rooms.bench";
/// What the component proves to be itself with.
pub const SECRET: &str = "bench";

/// A number from the environment, or the usual one.
pub fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// An address on loopback that is free now.
pub fn free() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Adds a line to the table of results, where one is wanted: what, at most or at least what, what it was, and their ratio.
pub fn figure(name: &str, target: &str, measured: &str, ratio: f64) {
    use std::io::Write;
    println!("{name}: {measured}, wanted {target} ({ratio:.2})");
    let Some(file) = std::env::var_os("MOSTAR_RESULTS") else { return };
    let line = format!("figure\t{name}\t{target}\t{measured}\t{ratio:.2}\n");
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
    file.write_all(line.as_bytes()).unwrap();
}
