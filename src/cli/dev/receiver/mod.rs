//! `dev receiver`: a business system that takes events, checks their signatures, and misbehaves when it is asked to.
//!
//! `POST /anything?type=500` answers 500; `&times=2` only the first two tries of each event. The types stand in
//! `behaviour.rs`. `GET /events` lists what came, `DELETE /events` forgets it.

mod behaviour;
mod request;
mod signature;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clap::Args;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use behaviour::Behaviour;
pub use request::Received;

use super::say;
use crate::clock::Clock;

/// Requests that are remembered.
const REMEMBERED_MAX: usize = 100_000;

/// Where to listen, and what to check with.
#[derive(Clone, Debug, Args)]
pub struct ReceiverArgs {
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 9200)]
    pub port: u16,
    /// The endpoint's secret: every request's signature is checked and the result printed.
    #[arg(long)]
    pub secret: Option<String>,
    /// Print one line instead of headers and body.
    #[arg(long)]
    pub brief: bool,
    /// Print nothing; `GET /events` lists what came.
    #[arg(long)]
    pub quiet: bool,
}

/// Receives until interrupted.
pub async fn run(args: ReceiverArgs) -> anyhow::Result<()> {
    let receiver = Receiver::start(SocketAddr::from(([127, 0, 0, 1], args.port))).await?;
    say(&format!("receiver on {}", receiver.url("")))?;
    let mut shown = 0;
    loop {
        tokio::select! {
            () = receiver.shared.news.notified() => {}
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                return Ok(());
            }
        }
        if args.quiet {
            continue;
        }
        let all = receiver.received();
        for one in all.iter().skip(shown) {
            say(&one.shown(args.secret.as_deref(), args.brief))?;
        }
        shown = all.len();
    }
}

/// A receiver that runs.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    received: Mutex<Vec<Received>>,
    /// Tries so far, by target and event.
    tries: Mutex<HashMap<(String, String), usize>>,
    /// What every request gets, if somebody said so.
    always: Mutex<Option<Behaviour>>,
    news: tokio::sync::Notify,
    /// Connections so far; requests under way, and the most of them there were.
    connections: AtomicUsize,
    under_way: AtomicUsize,
    under_way_most: AtomicUsize,
}

impl Receiver {
    /// Listens at `address`.
    pub async fn start(address: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (shared, stop) = (Arc::new(Shared::new(Clock::system())), CancellationToken::new());
        let running = tokio::spawn(serve(listener, Arc::clone(&shared), stop.clone()));
        Ok(Self { address, shared, stop, running })
    }

    /// The address of `path`, which begins with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came so far, in its order.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared.received).clone()
    }

    /// What came to `path`.
    pub fn received_at(&self, path: &str) -> Vec<Received> {
        lock(&self.shared.received).iter().filter(|one| one.path() == path).cloned().collect()
    }

    /// From now on every request gets this, whatever it asks for; `None`: what it asks for.
    pub fn always(&self, behaviour: Option<Behaviour>) {
        *lock(&self.shared.always) = behaviour;
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// The most requests that were under way at once.
    pub fn under_way_most(&self) -> usize {
        self.shared.under_way_most.load(Ordering::Relaxed)
    }

    /// Forgets what came.
    pub fn clear(&self) {
        lock(&self.shared.received).clear();
    }

    /// Stops listening and cuts every connection.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ended = self.running.await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((stream, _peer)) = accepted else { continue };
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                // The other side may leave at any time, and some behaviours break the connection on purpose.
                _broken = serve_one(stream, &shared) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn serve_one(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    shared.connections.fetch_add(1, Ordering::Relaxed);
    let mut rest = Vec::new();
    while let Some(mut received) = request::read(&mut stream, &mut rest).await? {
        received.at_ms = shared.clock.wall_ms();
        if received.path() == "/events" && received.method != "POST" {
            stream.write_all(&shared.manage(&received.method)).await?;
            continue;
        }
        let behaviour = shared.behaviour(&received);
        {
            let mut all = lock(&shared.received);
            if all.len() < REMEMBERED_MAX {
                all.push(received);
            }
        }
        shared.news.notify_one();
        let under_way = shared.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        shared.under_way_most.fetch_max(under_way, Ordering::Relaxed);
        let played = behaviour.play(&mut stream).await;
        shared.under_way.fetch_sub(1, Ordering::Relaxed);
        if !played? {
            return Ok(());
        }
    }
    Ok(())
}

impl Shared {
    fn new(clock: Clock) -> Self {
        Self {
            clock,
            received: Mutex::default(),
            tries: Mutex::default(),
            always: Mutex::default(),
            news: tokio::sync::Notify::new(),
            connections: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            under_way_most: AtomicUsize::new(0),
        }
    }

    /// What a request gets.
    fn behaviour(&self, received: &Received) -> Behaviour {
        if let Some(always) = lock(&self.always).clone() {
            return always;
        }
        let Some(mut behaviour) = received.parameter("type").and_then(|text| Behaviour::parse(&text)) else {
            return Behaviour::Status(200);
        };
        if let Behaviour::Says(_, body) = &mut behaviour {
            *body = received.decoded("body").unwrap_or_default();
        }
        let id = received.header("webhook-id").or_else(|| received.header("x-webhook-id"));
        let place = (received.target.clone(), id.unwrap_or_default().to_owned());
        let mut tries = lock(&self.tries);
        let count = tries.entry(place).or_default();
        *count += 1;
        let times = received.parameter("times").and_then(|text| text.parse::<usize>().ok());
        if times.is_some_and(|times| *count > times) { Behaviour::Status(200) } else { behaviour }
    }

    fn manage(&self, method: &str) -> Vec<u8> {
        if method == "DELETE" {
            lock(&self.received).clear();
        }
        let all: Vec<Value> = lock(&self.received).iter().map(Received::to_json).collect();
        let body = json!({ "data": all }).to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        [head.into_bytes(), body.into_bytes()].concat()
    }
}
