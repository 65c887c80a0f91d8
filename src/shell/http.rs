//! `/healthz`, `/readyz`, `/metrics` and `/explain`, for the admin's own machines: no secrets, no writes, no TLS.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use tokio::net::TcpListener;

use super::explain::{self, Questions};
use super::meters::Meters;
use super::sockets;
use super::status::Status;

/// What the pages show.
#[derive(Clone)]
pub struct Pages {
    /// What `/readyz` says.
    pub status: Status,
    /// What `/metrics` says.
    pub meters: Meters,
    /// What `/explain` asks.
    pub questions: Questions,
}

/// Binds the port, or says what to do.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    sockets::listen(address).await.map_err(|error| {
        format!(
            "cannot listen on http://{address}: {error}: stop the program that has that port \
             (`ss -ltnp sport = :{}` shows it), or choose another in `http`, or `http: none`",
            address.port()
        )
    })
}

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, pages: Pages) {
    let router = Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/explain", post(explained).layer(DefaultBodyLimit::max(explain::LIMIT)))
        .with_state(pages);
    // It only returns when the runtime ends; errors of connections are theirs.
    let _ = axum::serve(listener, router).await;
}

async fn readyz(State(pages): State<Pages>) -> impl IntoResponse {
    let reasons = pages.status.reasons();
    if reasons.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
}

/// How a message would go; its stanza is the body.
async fn explained(State(pages): State<Pages>, body: String) -> impl IntoResponse {
    match explain::stanza(&body) {
        Ok(stanza) => match pages.questions.ask(stanza).await {
            Some(text) => (StatusCode::OK, text),
            None => (StatusCode::SERVICE_UNAVAILABLE, "the gateway is too busy to answer\n".to_owned()),
        },
        Err(why) => (StatusCode::BAD_REQUEST, format!("{why}\n")),
    }
}

async fn metrics(State(pages): State<Pages>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], pages.meters.render())
}
