//! Telling other replicas that there is something to look at: a hint, never the thing itself.
//!
//! Whoever is not reached finds it by looking, a little later. Rings of the same text within a moment are one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::{Mutex, broadcast, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::link::Link;

/// Rings that wait to be sent; more are not sent.
const WAITING_MAX: usize = 1_024;

/// Rings that a listener may lag behind.
const HEARD_MAX: usize = 1_024;

/// Rings within this time go out together, each once.
const GATHER: Duration = Duration::from_millis(50);

/// Who hears not even the pulse of [`Link::watch`] for so long has lost the connection.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Before listening is tried again after the connection ended.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// What a ring is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// A target has a new delivery; the text is its id.
    Deliveries,
    /// Events were committed; the text is the id of the newest.
    Events,
}

impl Topic {
    const ALL: [Self; 2] = [Self::Deliveries, Self::Events];

    fn as_str(self) -> &'static str {
        match self {
            Self::Deliveries => "deliveries",
            Self::Events => "events",
        }
    }
}

/// A ring.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rung {
    /// What it is about.
    pub topic: Topic,
    /// Which.
    pub text: Arc<str>,
}

/// Rings, and hears other replicas (and itself). Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bell {
    waiting: mpsc::Sender<Rung>,
    to_send: Arc<Mutex<mpsc::Receiver<Rung>>>,
    heard: broadcast::Sender<Rung>,
    has_line: bool,
}

impl Bell {
    pub(super) fn new(has_line: bool) -> Self {
        let (waiting, to_send) = mpsc::channel(WAITING_MAX);
        let to_send = Arc::new(Mutex::new(to_send));
        Self { waiting, to_send, heard: broadcast::Sender::new(HEARD_MAX), has_line }
    }

    /// Tells all replicas, soon; lossy, and never waits.
    pub fn ring(&self, topic: Topic, text: &str) {
        if self.has_line {
            let _full = self.waiting.try_send(Rung { topic, text: text.into() });
        }
    }

    /// What is rung from now on, anywhere.
    pub fn listen(&self) -> broadcast::Receiver<Rung> {
        self.heard.subscribe()
    }

    /// Carries rings to and from Redis until `stop`.
    pub(super) async fn run(&self, link: &Link, stop: CancellationToken) {
        let both = async { tokio::join!(self.send(link), self.hear(link)) };
        tokio::select! {
            ((), ()) = both => {}
            () = stop.cancelled() => {}
        }
    }

    async fn send(&self, link: &Link) {
        let mut to_send = self.to_send.lock().await;
        let mut gathered = Vec::new();
        while to_send.recv_many(&mut gathered, WAITING_MAX).await > 0 {
            tokio::time::sleep(GATHER).await;
            while let Ok(more) = to_send.try_recv() {
                gathered.push(more);
            }
            for rung in gathered.drain(..).collect::<BTreeSet<_>>() {
                let mut publish = redis::cmd("PUBLISH");
                publish.arg(link.key(rung.topic.as_str())).arg(&*rung.text);
                if link.ask::<i64>(&publish).await.is_err() {
                    break;
                }
            }
        }
    }

    async fn hear(&self, link: &Link) {
        loop {
            if let Ok(mut listening) = link.listen().await {
                let names = Topic::ALL.map(|topic| link.key(topic.as_str()));
                let mut channels = names.to_vec();
                channels.push(link.pulse());
                if let Ok(Ok(())) = timeout(SILENCE_MAX, listening.subscribe(channels)).await {
                    let mut messages = listening.into_on_message();
                    while let Ok(Some(message)) = timeout(SILENCE_MAX, messages.next()).await {
                        let topic = Topic::ALL
                            .into_iter()
                            .zip(&names)
                            .find_map(|(topic, name)| (name == message.get_channel_name()).then_some(topic));
                        if let (Some(topic), Ok(text)) = (topic, message.get_payload::<String>()) {
                            // Nobody may listen.
                            let _nobody = self.heard.send(Rung { topic, text: text.into() });
                        }
                    }
                }
            }
            tokio::time::sleep(LISTEN_AGAIN).await;
        }
    }
}
