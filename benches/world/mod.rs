//! What the load generators share: the gateway as a process of its own, the XMPP server and the SIP peer that are played
//! for it, and the clock.

#![allow(dead_code, reason = "each benchmark uses a part")]

pub mod core;
pub mod figures;
pub mod process;
pub mod proxy;
pub mod reference;
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

/// Adds a line to the table of results, where somebody asked for it: a figure, its target, and how far it is from that; under
/// 1 is good.
pub fn result(figure: &str, target: &str, measured: &str, ratio: f64) {
    let Some(path) = std::env::var_os("MOSTAR_RESULTS") else { return };
    let line = format!("figure\t{figure}\t{target}\t{measured}\t{ratio:.2}\n");
    let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
    std::io::Write::write_all(&mut file.unwrap(), line.as_bytes()).unwrap();
}

/// Says a figure, and adds it to that table.
pub fn figure(name: &str, target: &str, measured: &str, ratio: f64) {
    println!("{name}: {measured}, wanted {target} ({ratio:.2})");
    result(name, target, measured, ratio);
}

/// An address on loopback that is free now.
pub fn free() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Connects, as soon as there is a listener.
pub fn connect(address: std::net::SocketAddr) -> std::net::TcpStream {
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        match std::net::TcpStream::connect(address) {
            Ok(stream) => return stream,
            Err(error) => assert!(std::time::Instant::now() < patience, "{address}: {error}"),
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
