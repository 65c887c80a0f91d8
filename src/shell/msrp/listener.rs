//! Where connections come in.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use super::Shared;
use super::conn::{Conn, End};
use crate::config::{Listen, MsrpListen};
use crate::shell::{sip, sockets};
use crate::sip::flow::Transport;
use crate::words::note::Level;

/// A connection whose other end is gone without a word is found out after this and some more.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// How long to wait where accepting fails: the machine has run out of something.
const PAUSE: Duration = Duration::from_millis(100);

/// Sockets that are bound and not yet read.
#[derive(Default)]
pub struct Bound {
    sockets: Vec<(MsrpListen, std::net::TcpListener)>,
    /// The listeners with the ports that the system chose where the configuration says 0.
    pub listen: Vec<MsrpListen>,
}

/// Binds every listener, or says which one cannot be bound and what to do.
pub fn bind(listeners: &[MsrpListen]) -> Result<Bound, String> {
    let mut bound = Bound::default();
    for listener in listeners {
        let address = listener.address;
        let opened = sockets::bind(&Listen { transport: Transport::Tcp, address })
            .map(std::net::TcpListener::from)
            .and_then(|socket| Ok((socket.local_addr()?, socket)));
        let (address, socket) = opened.map_err(|error| explain(listener, &error))?;
        let listener = MsrpListen { address, ..*listener };
        bound.sockets.push((listener, socket));
        bound.listen.push(listener);
    }
    Ok(bound)
}

fn explain(listener: &MsrpListen, error: &std::io::Error) -> String {
    let advice = sip::advice(error, listener.address.port(), "t", "msrp.listen");
    let default =
        "where `msrp.listen` is not written it is tcp://127.0.0.1:2855, and `[]` is no chat sessions";
    format!("cannot listen on {listener}: {error}: {advice} ({default})")
}

/// Begins to accept on all of them.
pub fn accept(bound: Bound, shared: &Arc<Shared>, acceptor: Option<&TlsAcceptor>) -> Vec<AbortHandle> {
    let mut tasks = Vec::new();
    for (listener, socket) in bound.sockets {
        let failed = |reason: String| log_failure(shared, listener, reason);
        let tls = acceptor.filter(|_| listener.secure).cloned();
        match TcpListener::from_std(socket) {
            Ok(_) if listener.secure && tls.is_none() => failed("there is no certificate".into()),
            Ok(socket) => {
                tasks.push(tokio::spawn(accept_on(shared.clone(), listener, socket, tls)).abort_handle());
            }
            Err(error) => failed(error.to_string()),
        }
    }
    tasks
}

async fn accept_on(shared: Arc<Shared>, listener: MsrpListen, socket: TcpListener, tls: Option<TlsAcceptor>) {
    loop {
        match socket.accept().await {
            Ok((stream, remote)) => {
                let admitted = shared.table().accept(remote, listener.secure, &shared.limits);
                match admitted {
                    Some(conn) => {
                        shared.opened[0].increment(1);
                        let shared = shared.clone();
                        // Two tasks, since one that could be either would have the size of the larger.
                        match tls.clone() {
                            Some(tls) => tokio::spawn(welcome_to_tls(shared, conn, stream, tls)),
                            None => tokio::spawn(welcome(shared, conn, stream)),
                        };
                    }
                    None => {
                        shared
                            .meters
                            .counter("msrp_connections_closed_total", &[("reason", "full")])
                            .increment(1);
                    }
                }
            }
            Err(error) => {
                // Out of file descriptors, or the other end was gone before we looked.
                log_failure(&shared, listener, error.to_string());
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn welcome(shared: Arc<Shared>, conn: Arc<Conn>, stream: TcpStream) {
    prepare(&stream);
    let (reader, writer) = stream.into_split();
    shared.serve(&conn, reader, writer).await;
}

async fn welcome_to_tls(shared: Arc<Shared>, conn: Arc<Conn>, stream: TcpStream, tls: TlsAcceptor) {
    prepare(&stream);
    let agreed = tokio::select! {
        agreed = tokio::time::timeout(shared.limits.connect, tls.accept(stream)) => agreed,
        end = conn.cut_off() => return shared.end(&conn, end).await,
    };
    match agreed {
        Ok(Ok(stream)) => {
            let (reader, writer) = tokio::io::split(stream);
            shared.serve(&conn, reader, writer).await;
        }
        Ok(Err(_)) | Err(_) => shared.end(&conn, End::Handshake).await,
    }
}

/// What every connection is set to. Neither setting is worth refusing one.
pub fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4);
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

fn log_failure(shared: &Shared, listener: MsrpListen, reason: String) {
    let fields = [("listener", listener.to_string()), ("reason", reason)];
    shared.log.line(Level::Warn, "msrp-accept", &fields);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_what_to_do() {
        let any = MsrpListen { secure: true, address: "127.0.0.1:0".parse().unwrap() };
        let first = bind(&[any]).unwrap();
        let error = bind(&first.listen).err().unwrap();
        let port = first.listen[0].address.port();
        assert!(error.contains(&format!("tls://127.0.0.1:{port}")), "{error}");
        assert!(error.contains("choose another port in `msrp.listen`"), "{error}");
        assert!(error.contains("where `msrp.listen` is not written"), "{error}");
    }
}
