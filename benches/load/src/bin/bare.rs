//! What the gateway is compared with: an axum handler that reads the body and answers `success`, nothing else.
//!
//! `bare [ADDRESS]`, default 127.0.0.1:8090.

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;

async fn receive(body: Bytes) -> &'static str {
    std::hint::black_box(body.len());
    "success"
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8090".to_owned());
    let listener = tokio::net::TcpListener::bind(&address).await?;
    let router = Router::new().route("/api/v1/webhooks/wechat/{handler}", post(receive));
    Ok(axum::serve(listener, router).await?)
}
