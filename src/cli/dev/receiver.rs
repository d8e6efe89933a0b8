//! `dev receiver`: prints every request it gets and answers 200.

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::routing::any;
use clap::Args;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::listener;
use super::say;

/// Longest body that is taken.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Where to listen.
#[derive(Clone, Copy, Debug, Args)]
pub struct ReceiverArgs {
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 9200)]
    pub port: u16,
}

/// Receives until interrupted.
pub async fn run(args: ReceiverArgs) -> anyhow::Result<()> {
    let socket = TcpListener::bind(("127.0.0.1", args.port)).await?;
    say(&format!("receiver on http://{}", socket.local_addr()?))?;
    let router = Router::new().fallback(any(print)).layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    let stop = CancellationToken::new();
    tokio::select! {
        () = listener::serve(socket, router, stop) => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

async fn print(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut lines = format!("{method} {uri}\n");
    for (name, value) in &headers {
        for part in ["  ", name.as_str(), ": ", value.to_str().unwrap_or("(not text)"), "\n"] {
            lines.push_str(part);
        }
    }
    lines.push('\n');
    // Control characters of a stranger's body must not reach the terminal.
    lines.extend(
        String::from_utf8_lossy(&body).chars().map(|c| if c.is_control() && c != '\n' { '·' } else { c }),
    );
    match say(&lines) {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
