//! One connection, from accept to close.
//!
//! hyper speaks the protocol; here it gets its limits, its one timer, the signal to stop, and an end that lets a
//! client read the refusal of a body it is still sending.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::futures::Notified;
use tokio::time::{Sleep, sleep, timeout};

use crate::http::gate::Gate;
use crate::http::limits::{HEADERS_MAX_QUICK, HttpLimits};
use crate::http::progress::{Overdue, Progress};
use crate::http::server::Stopping;
use crate::http::unreadable;
use crate::http::wire::Wire;

/// How long, and for how many bytes, a client that was refused in the middle of its body may go on sending: a
/// connection closed with bytes unread is reset, and the client may never see the answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: u64 = 4 << 20;

const HEAD_OVERDUE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\
    content-type: text/plain\r\ncontent-length: 15\r\n\r\nrequest timeout";

/// What every connection speaks.
pub(crate) fn protocol(limits: &HttpLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None) // see `progress.rs`
        .max_header_size(limits.head_bytes_max)
        .max_buf_size(limits.head_bytes_max.max(64 << 10));
    if limits.headers_max != HEADERS_MAX_QUICK {
        builder.max_headers(limits.headers_max);
    }
    builder
}

/// How a connection ended.
enum End {
    Closed,
    Overdue(Overdue),
}

/// Serves `stream` until either side closes it, something is overdue, or the server stops.
pub(crate) async fn run(
    stream: TcpStream,
    peer: SocketAddr,
    gate: &Gate,
    protocol: &http1::Builder,
    stopping: &Stopping,
) {
    let progress = &Arc::new(Progress::new(gate.clock().clone()));
    let wire = TokioIo::new(Wire { stream, progress: progress.clone() });
    let service = service_fn(move |request| gate.answer(request, peer, progress));
    let mut connection = protocol.serve_connection(wire, service);
    let mut watch = Watch::new(progress, gate.limits(), stopping);

    let end = poll_fn(|cx| {
        loop {
            if let Poll::Ready(done) = Pin::new(&mut connection).poll(cx) {
                if let Err(error) = done {
                    tracing::debug!(%peer, %error, "connection ended early");
                }
                return Poll::Ready(End::Closed);
            }
            match ready!(watch.poll(cx)) {
                Tick::Stop => Pin::new(&mut connection).graceful_shutdown(),
                // The handler sees it at its next poll of the body.
                Tick::Overdue(Overdue::Body) => {}
                Tick::Overdue(overdue) => return Poll::Ready(End::Overdue(overdue)),
            }
        }
    })
    .await;

    let mut stream = connection.into_parts().io.into_inner().stream;
    if let Some(status) = progress.unreadable() {
        let answer = unreadable::answer(gate, peer, status).await;
        let _ = timeout(LINGER, stream.write_all(&answer)).await;
        let _ = stream.shutdown().await;
        linger(stream).await;
        return;
    }
    match end {
        End::Overdue(Overdue::Head) => {
            tracing::debug!(%peer, "the head of a request did not come in time");
            let _ = stream.try_write(HEAD_OVERDUE);
            let _ = stream.shutdown().await;
        }
        End::Overdue(_) => tracing::debug!(%peer, "a silent connection is closed"),
        End::Closed if progress.left_unread() => linger(stream).await,
        End::Closed => {}
    }
}

/// Lets a client finish what it is still sending, so that it sees the answer.
async fn linger(stream: TcpStream) {
    let mut rest = stream.take(LINGER_BYTES_MAX);
    let _ = timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
}

/// What the watch of a connection has to say.
enum Tick {
    Stop,
    Overdue(Overdue),
}

/// The stop signal and the one timer of a connection. The timer is only set anew when it rings or when something
/// is due before it would: under steady traffic that is every half minute, not every request.
struct Watch<'a> {
    progress: &'a Progress,
    limits: &'a HttpLimits,
    stopping: &'a Stopping,
    signal: Pin<Box<Notified<'a>>>,
    signal_registered: bool,
    stop_told: bool,
    timer: Pin<Box<Sleep>>,
    rings_ms: i64,
}

impl<'a> Watch<'a> {
    fn new(progress: &'a Progress, limits: &'a HttpLimits, stopping: &'a Stopping) -> Self {
        let rings_ms = progress.deadline_ms(limits);
        Self {
            progress,
            limits,
            stopping,
            signal: Box::pin(stopping.signal()),
            signal_registered: false,
            stop_told: false,
            timer: Box::pin(sleep(progress.until(rings_ms))),
            rings_ms,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Tick> {
        if !self.signal_registered {
            // Once is enough: a task keeps its waker. Polling a signal that all connections share takes a lock.
            self.signal_registered = true;
            let _ = self.signal.as_mut().poll(cx);
        }
        if !self.stop_told && self.stopping.begun() {
            self.stop_told = true;
            return Poll::Ready(Tick::Stop);
        }
        if self.progress.deadline_ms(self.limits) < self.rings_ms {
            self.set_timer();
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let overdue = self.progress.overdue(self.limits);
            self.set_timer();
            if let Some(overdue) = overdue {
                return Poll::Ready(Tick::Overdue(overdue));
            }
        }
    }

    fn set_timer(&mut self) {
        self.rings_ms = self.progress.deadline_ms(self.limits);
        self.timer.set(sleep(self.progress.until(self.rings_ms)));
    }
}
