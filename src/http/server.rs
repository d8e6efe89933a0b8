//! The accept loop and the stop.
//!
//! Connections are counted, in all and for each address; one too many is told so and closed. A stop says "not
//! ready" first, then closes the listener, lets requests in flight finish, closes idle connections, and cuts off
//! what is left at its deadline. Nothing here knows what a request means: that begins in `gate.rs`.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::http::connection;
use crate::http::gate::Gate;
use crate::http::peer::AddressKey;
use crate::sabotage::{self, Protection};

/// Connections the kernel may hold before we accept them.
const BACKLOG: u32 = 4_096;

/// The shortest and the longest pause after accept failed, which it does when descriptors run out.
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(10);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n\
    content-type: text/plain\r\ncontent-length: 4\r\n\r\nbusy";

/// How a stop went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Connections that were cut off at the deadline, with a request in flight.
    pub cut_off: usize,
}

/// The word that the server stops, for every connection.
#[derive(Debug, Default)]
pub(crate) struct Stopping {
    begun: AtomicBool,
    notify: Notify,
}

impl Stopping {
    fn begin(&self) {
        self.begun.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }

    pub(crate) fn begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    pub(crate) fn signal(&self) -> Notified<'_> {
        self.notify.notified()
    }
}

/// Listens on `address`; the error names it.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
}

/// Serves until `shutdown`, then stops within the stop limit.
pub async fn serve(listener: TcpListener, gate: Arc<Gate>, shutdown: CancellationToken) -> Stopped {
    let protocol = Arc::new(connection::protocol(gate.limits()));
    let stopping = Arc::new(Stopping::default());
    let open = Arc::new(OpenConnections::default());
    let mut connections = JoinSet::new();
    let mut pause = ACCEPT_PAUSE_MIN;

    let mut close = std::pin::pin!(notice_of_stop(&gate, &shutdown));
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut close => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = ACCEPT_PAUSE_MIN;
                let Some(place) = open.enter(peer, &gate) else {
                    gate.metrics().connections_refused.increment(1);
                    let _ = stream.try_write(TOO_MANY);
                    continue;
                };
                let (gate, protocol, stopping) = (gate.clone(), protocol.clone(), stopping.clone());
                connections.spawn(serve_one(stream, peer, place, gate, protocol, stopping));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(pause).await;
                pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
            }
        }
    }
    drop(listener);
    finish(connections, &stopping, Duration::from_millis(gate.limits().stop_timeout_ms)).await
}

async fn serve_one(
    stream: TcpStream,
    peer: SocketAddr,
    _place: Place,
    gate: Arc<Gate>,
    protocol: Arc<http1::Builder>,
    stopping: Arc<Stopping>,
) {
    // A small answer must not wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    connection::run(stream, peer, &gate, &protocol, &stopping).await;
}

/// Ends when the listener has to close: readiness has said no for a while by then.
async fn notice_of_stop(gate: &Gate, shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    gate.health().begin_stop();
    sleep(Duration::from_millis(gate.limits().stop_notice_ms)).await;
}

async fn finish(mut connections: JoinSet<()>, stopping: &Stopping, limit: Duration) -> Stopped {
    if sabotage::off(Protection::GracefulStop) {
        let cut_off = connections.len();
        connections.shutdown().await;
        return Stopped { cut_off };
    }
    stopping.begin();
    let _ = timeout(limit, async { while connections.join_next().await.is_some() {} }).await;
    let cut_off = connections.len();
    connections.shutdown().await;
    Stopped { cut_off }
}

/// How many connections are open, in all and from each address.
#[derive(Debug, Default)]
struct OpenConnections(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_address: HashMap<AddressKey, usize>,
}

impl OpenConnections {
    /// A place for a connection from `peer`, if there is one.
    fn enter(self: &Arc<Self>, peer: SocketAddr, gate: &Gate) -> Option<Place> {
        let limits = gate.limits();
        let key = (!gate.peers().is_trusted_proxy(peer.ip())).then(|| AddressKey::of(peer.ip()));
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.all >= limits.connections_max {
            return None;
        }
        if let Some(key) = key {
            let of_address = counts.by_address.entry(key).or_default();
            if *of_address >= limits.connections_per_address_max {
                return None;
            }
            *of_address += 1;
        }
        counts.all += 1;
        gate.metrics().connections.increment(1);
        Some(Place { open: self.clone(), key, gauge: gate.metrics().connections.clone() })
    }
}

/// One connection's place in the counts, given back when it ends.
#[derive(Debug)]
struct Place {
    open: Arc<OpenConnections>,
    key: Option<AddressKey>,
    gauge: metrics::Gauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.open.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all = counts.all.saturating_sub(1);
        if let Some(key) = self.key
            && let Some(of_address) = counts.by_address.get_mut(&key)
        {
            *of_address = of_address.saturating_sub(1);
            if *of_address == 0 {
                counts.by_address.remove(&key);
            }
        }
        self.gauge.decrement(1);
    }
}
