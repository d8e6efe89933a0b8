//! The sender: due deliveries of owned targets → attempts → results.
//!
//! Each target with work has a lane (`lane.rs`), a task that alone decides its order and pace. Deliveries that were
//! just committed are offered to their lane without a read; the table is the queue for everything else: after a
//! start, from other replicas, and when there is more than memory holds. A supervisor keeps the leases on MySQL and
//! looks once a second for targets with work. What an outcome means is decided in [`crate::domain::retry`]; how a
//! target is reached, in [`crate::channel`].

mod attempt;
mod duplicate;
mod files;
mod forward;
mod key_order;
mod lane;
mod observer;
mod outlet;
mod ownership;
mod queue;
mod recorder;
mod supervisor;
mod target;
mod web_target;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore, broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::domain::delivery::Delivery;
use crate::domain::message::Message;
use crate::entropy::Entropy;
use crate::ephemeral::{Bell, Rung, Topic};
use crate::ids::IdMaker;
use crate::store::{DeliveryResult, Engine, Fence, FreshDelivery, Store};

use lane::{Lane, LaneHandle};
pub use observer::{Observer, QueueEvent};
pub use outlet::Secrets;
use ownership::Ownership;
use queue::Waiting;
use recorder::Recorder;
pub use target::{Target, TargetKind, Targets};
pub use web_target::{WebTarget, content};

/// Ends of deliveries that those who wait for one may lag behind.
const ENDED_MAX: usize = 1_024;

/// Settings of the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatchSettings {
    /// How long a replica owns its targets without renewing: longer than the longest attempt. MySQL only.
    pub lease_ms: i64,
    /// How often the table is searched for targets with work.
    pub scan_ms: u64,
    /// Requests under way at once, over all targets.
    pub attempts_in_flight_max: usize,
    /// Requests under way at once through one app.
    pub app_in_flight_max: usize,
    /// The same, to business systems: a request that hangs costs little, and must not hold up other endpoints.
    pub forwards_in_flight_max: usize,
    /// Deliveries of one target in memory; the table holds the rest.
    pub queue_rows_max: usize,
    /// The same of an app.
    pub app_queue_rows_max: usize,
    /// Most sends of the past, the newest, from which the windows of an app's members are made anew.
    pub rebuilt_sends_max: usize,
}

impl Default for DispatchSettings {
    fn default() -> Self {
        Self {
            lease_ms: 30_000,
            scan_ms: 1_000,
            attempts_in_flight_max: 64,
            app_in_flight_max: 8,
            forwards_in_flight_max: 1_000,
            queue_rows_max: 256,
            app_queue_rows_max: 2_048,
            rebuilt_sends_max: 100_000,
        }
    }
}

/// What the sender works with.
#[derive(Clone, Debug)]
pub struct DispatchParts {
    /// The queue.
    pub store: Store,
    /// Time.
    pub clock: Clock,
    /// Chance, for jitter.
    pub entropy: Entropy,
    /// Ids of evidence.
    pub ids: IdMaker,
    /// Told the references of new evidence, after its commit; lossy.
    pub news: mpsc::Sender<Vec<String>>,
    /// This replica's name: what is unique among all processes on the database.
    pub owner: String,
    /// Told how each attempt ended.
    pub observer: Observer,
}

/// The sender. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Dispatch {
    shared: Arc<Shared>,
    /// Lanes and supervisor.
    workers: TaskTracker,
    writer: TaskTracker,
    writer_closed: CancellationToken,
}

impl Dispatch {
    /// Starts sending to `targets`.
    pub fn start(parts: DispatchParts, targets: Targets, settings: DispatchSettings) -> Self {
        let writer_closed = CancellationToken::new();
        let (recorder, writing) = Recorder::new(parts.store.clone(), writer_closed.clone());
        let ownership = match parts.store.engine() {
            Engine::Sqlite => Ownership::sole(),
            Engine::MySql => Ownership::shared(),
        };
        let workers = TaskTracker::new();
        let shared = Arc::new(Shared {
            store: parts.store,
            clock: parts.clock,
            entropy: parts.entropy,
            ids: parts.ids,
            news: parts.news,
            owner: parts.owner,
            observer: parts.observer,
            permits: Semaphore::new(settings.attempts_in_flight_max.clamp(1, Semaphore::MAX_PERMITS)),
            forward_permits: Semaphore::new(settings.forwards_in_flight_max.clamp(1, Semaphore::MAX_PERMITS)),
            settings,
            endpoints: ArcSwap::default(),
            targets: ArcSwap::from_pointee(targets),
            ownership,
            recorder,
            lanes: Mutex::new(HashMap::new()),
            ended: broadcast::Sender::new(ENDED_MAX),
            bell: Notify::new(),
            neighbours: OnceLock::new(),
            stop: CancellationToken::new(),
            workers: workers.clone(),
        });
        let writer = TaskTracker::new();
        writer.spawn(writing);
        writer.close();
        workers.spawn(supervisor::run(Arc::clone(&shared)));
        Self { shared, workers, writer, writer_closed }
    }

    /// Hands over a delivery that was just committed. If this process does not own its target, or has no room, the
    /// table has it.
    pub fn offer(&self, delivery: Delivery, message: Arc<Message>) {
        let target_id = delivery.target_id.clone();
        let Some(waiting) = Waiting::new(delivery, Some(message)) else { return };
        match self.shared.lane(&target_id) {
            Some(lane) => lane.offer(waiting),
            None => self.shared.ring(&target_id),
        }
    }

    /// Told the references of messages whose delivery ended here, after the commit; lossy.
    pub fn ended(&self) -> broadcast::Receiver<Arc<str>> {
        self.shared.ended.subscribe()
    }

    /// Hands over deliveries of events that were just committed, under the same terms.
    pub fn offer_events(&self, fresh: Vec<FreshDelivery>) {
        for fresh in fresh {
            match self.shared.lane(&fresh.delivery.target_id) {
                Some(lane) => {
                    if let Some(waiting) = Waiting::of_fresh(fresh) {
                        lane.offer(waiting);
                    }
                }
                None => self.shared.ring(&fresh.delivery.target_id),
            }
        }
    }

    /// Exchanges the targets of endpoints.
    pub fn set_endpoints(&self, targets: HashMap<String, Arc<Target>>) {
        self.shared.endpoints.store(Arc::new(targets));
        self.wake();
    }

    /// Exchanges some of them: takes `old` out and puts `new` in.
    pub fn exchange_endpoints(&self, old: &[String], new: Vec<(String, Arc<Target>)>) {
        let mut targets = HashMap::clone(&self.shared.endpoints.load());
        for id in old {
            targets.remove(id);
        }
        targets.extend(new);
        self.set_endpoints(targets);
    }

    /// Tells one target to look at the table: somebody else has added something, or moved it.
    pub fn look(&self, target_id: &str) {
        match self.shared.lane(target_id) {
            Some(lane) => lane.look_again(),
            None => self.shared.ring(target_id),
        }
    }

    /// From now on tells the owner of a target, by `bell`, that it has something new, and hears what others tell.
    pub fn ring_with(&self, bell: &Bell) {
        if self.shared.neighbours.set(bell.clone()).is_ok() {
            self.workers.spawn(hear(Arc::clone(&self.shared), bell.listen()));
        }
    }

    /// Whether this process sends to `target_id` now.
    pub fn owns(&self, target_id: &str) -> bool {
        self.shared.ownership.fence(target_id, self.shared.clock.steady_ms()).is_some()
    }

    /// Endpoints of this replica that take nothing at present, or that said that they are gone: what is wrong with
    /// whom, in a fixed order.
    pub fn endpoints_down(&self) -> Vec<String> {
        let targets = self.shared.endpoints.load();
        let mut down: Vec<String> =
            targets.iter().filter(|(id, _)| self.owns(id)).filter_map(|(_, target)| target.down()).collect();
        down.sort_unstable();
        down.dedup();
        down
    }

    /// Exchanges the targets; what is on its way to the old ones is finished.
    pub fn reload(&self, targets: Targets) {
        self.shared.targets.store(Arc::new(targets));
        self.wake();
    }

    /// Looks at the clock and the table now: after a reload, or when a clock was moved.
    pub fn wake(&self) {
        self.shared.bell.notify_one();
        for lane in self.shared.lanes().values() {
            lane.wake();
        }
    }

    /// Begins nothing new, waits at most `grace` for what is on its way, and gives the targets back. A request still
    /// unanswered then is found started at the next start.
    pub async fn stop(&self, grace: Duration) {
        self.shared.stop.cancel();
        self.workers.close();
        let all_done = tokio::time::timeout(grace, async {
            self.workers.wait().await;
            self.writer_closed.cancel();
            self.writer.wait().await;
        });
        if all_done.await.is_err() {
            tracing::warn!("stopped with deliveries still on their way");
            self.writer_closed.cancel();
        }
        let held = self.shared.ownership.leased();
        if !held.is_empty()
            && let Err(error) = self.shared.store.release_shards(&held).await
        {
            tracing::warn!(%error, "the leases run out by themselves");
        }
        self.shared.ownership.hold(Vec::new());
        if let Err(error) = self.shared.store.retire_replica(&self.shared.owner).await {
            tracing::warn!(%error, "other replicas notice later that this one has gone");
        }
    }
}

/// Lets the lanes of targets that others have added to look at the table, until the sender stops.
async fn hear(shared: Arc<Shared>, mut heard: broadcast::Receiver<Rung>) {
    loop {
        let rung = tokio::select! {
            rung = heard.recv() => rung,
            () = shared.stop.cancelled() => return,
        };
        match rung {
            Ok(Rung { topic: Topic::Deliveries, text }) => {
                if let Some(lane) = shared.lane(&text) {
                    lane.look();
                }
            }
            Ok(_) => {}
            // What was missed is found by looking.
            Err(broadcast::error::RecvError::Lagged(_)) => shared.bell.notify_one(),
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// What lanes and supervisor share.
#[derive(Debug)]
struct Shared {
    store: Store,
    clock: Clock,
    entropy: Entropy,
    ids: IdMaker,
    news: mpsc::Sender<Vec<String>>,
    owner: String,
    observer: Observer,
    permits: Semaphore,
    forward_permits: Semaphore,
    settings: DispatchSettings,
    targets: ArcSwap<Targets>,
    /// What belongs to endpoints, which change at any time.
    endpoints: ArcSwap<HashMap<String, Arc<Target>>>,
    ownership: Ownership,
    recorder: Recorder,
    lanes: Mutex<HashMap<String, LaneHandle>>,
    ended: broadcast::Sender<Arc<str>>,
    bell: Notify,
    /// The way to replicas that own other targets.
    neighbours: OnceLock<Bell>,
    stop: CancellationToken,
    workers: TaskTracker,
}

impl Shared {
    /// The target named `id`, if there is one.
    fn target(&self, id: &str) -> Option<Arc<Target>> {
        self.targets.load().get(id).or_else(|| self.endpoints.load().get(id).cloned())
    }

    /// The lane of a target that is configured and ours, started if need be.
    fn lane(self: &Arc<Self>, target_id: &str) -> Option<LaneHandle> {
        let now_ms = self.clock.steady_ms();
        if self.stop.is_cancelled()
            || self.target(target_id).is_none()
            || self.ownership.fence(target_id, now_ms).is_none()
        {
            return None;
        }
        let mut lanes = self.lanes();
        if let Some(lane) = lanes.get(target_id) {
            return Some(lane.clone());
        }
        let (handle, lane) = Lane::new(Arc::clone(self), target_id.to_owned());
        self.workers.spawn(lane.run());
        lanes.insert(target_id.to_owned(), handle.clone());
        Some(handle)
    }

    /// Tells whoever owns `target_id` that the table has something for it.
    fn ring(&self, target_id: &str) {
        if let Some(bell) = self.neighbours.get().filter(|_| self.target(target_id).is_some()) {
            bell.ring(Topic::Deliveries, target_id);
        }
    }

    /// Tells a lane to look at the clock: there is room.
    fn wake_lane(&self, target_id: &str) {
        if let Some(lane) = self.lanes().get(target_id) {
            lane.wake();
        }
    }

    fn lanes(&self) -> std::sync::MutexGuard<'_, HashMap<String, LaneHandle>> {
        // Inserts are the only change, so a panic elsewhere has not spoiled the map.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a result and tells the tracker; `false` if the delivery has moved on.
    async fn record(&self, result: DeliveryResult, fence: Fence) -> bool {
        let mut references: Vec<String> = result.evidence.iter().map(|one| one.reference.clone()).collect();
        references.dedup();
        let is_end = result.due_ms.is_none();
        let (id, state) = (result.id.clone(), result.state);
        let written = self.recorder.record(result, fence).await;
        if written
            && is_end
            && let Some(event) = QueueEvent::of(state)
        {
            self.observer.tell_queue(event, 1);
            if event == QueueEvent::Failed {
                tracing::warn!(delivery.id = %id, state = state.as_str(), "a delivery is given up");
            } else {
                tracing::debug!(delivery.id = %id, "a delivery is completed");
            }
        }
        if written && is_end {
            for reference in &references {
                // Nobody may be waiting.
                let _nobody = self.ended.send(Arc::from(reference.as_str()));
            }
        }
        if written && !references.is_empty() {
            // Lossy: the status is folded from the evidence whenever it is asked for.
            let _full = self.news.try_send(references);
        }
        written
    }
}
