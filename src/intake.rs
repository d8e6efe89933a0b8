//! The recorder: turns accepted callbacks into rows, many to a flush.
//!
//! One task takes all that waits while the previous commit runs and gives it to the store as one group. Callers
//! only wait for their answer: nothing of the commit lives in their futures, so a client that hangs up takes
//! nothing with it. What may wait is bounded by rows and bytes; beyond that a caller is refused at once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::sabotage::{self, Protection};
use crate::spool::{Spool, SpoolState};
use crate::store::{NewEvent, Recorded, Store, StoreError};

/// A commit that takes this long is worth a line in the log: the platform waits 5 s.
const SLOW_MS: i64 = 1_000;

/// A group is complete when every task that was ready has run this often and no callback came of it. Callbacks
/// whose bytes have arrived then share the flush, and a lone one waits for microseconds.
const QUIET_ROUNDS: u32 = 2;

/// From this size on a group does not wait for more: the next one gathers while this one is written.
const GATHER_ROWS: usize = 16;

/// Limits of the recorder.
#[derive(Clone, Debug)]
pub struct IntakeLimits {
    /// Events that may wait; more are refused.
    pub queue_rows_max: usize,
    /// Payload bytes that may wait; more are refused.
    pub queue_bytes_max: usize,
    /// Events in one commit. A callback with more of them is committed alone.
    pub group_rows_max: usize,
    /// Payload bytes in one commit. A callback with more of them is committed alone.
    pub group_bytes_max: usize,
}

impl Default for IntakeLimits {
    fn default() -> Self {
        Self {
            queue_rows_max: 8_192,
            queue_bytes_max: 16 << 20,
            group_rows_max: 128,
            group_bytes_max: 1 << 20,
        }
    }
}

/// Why a callback could not be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    /// Too much is waiting, or the gateway is stopping. Nothing was written.
    #[error("too many callbacks are waiting")]
    Busy,
    /// The database is away or refused. It may or may not have been written.
    #[error("the database is not available")]
    Unavailable,
}

/// The recorder's front. Cheap to clone; when the last one is dropped, the recorder writes what waits and ends.
#[derive(Clone, Debug)]
pub struct Intake {
    queue: mpsc::UnboundedSender<Order>,
    shared: Arc<Shared>,
}

/// What the front and the recorder both see.
#[derive(Debug)]
struct Shared {
    store: Store,
    /// Where groups go while the database is away.
    spool: Option<Spool>,
    limits: IntakeLimits,
    clock: Clock,
    waiting: Waiting,
    stopping: AtomicBool,
    news: OnceLock<mpsc::Sender<Vec<String>>>,
}

/// What was accepted and is not committed yet.
#[derive(Debug, Default)]
struct Waiting {
    rows: AtomicUsize,
    bytes: AtomicUsize,
}

enum Order {
    Record(Call),
    Stop(oneshot::Sender<()>),
}

/// One callback that waits.
struct Call {
    events: Vec<NewEvent>,
    bytes: usize,
    reply: oneshot::Sender<Result<Vec<Recorded>, IntakeError>>,
}

impl Intake {
    /// Starts the recorder.
    pub fn start(store: Store, limits: IntakeLimits, clock: Clock) -> Self {
        Self::start_with(store, None, limits, clock)
    }

    /// Starts the recorder with a spool for the time when the database is away.
    pub fn start_with(store: Store, spool: Option<Spool>, limits: IntakeLimits, clock: Clock) -> Self {
        let (queue, orders) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            store,
            spool,
            limits,
            clock,
            waiting: Waiting::default(),
            stopping: AtomicBool::new(false),
            news: OnceLock::new(),
        });
        tokio::spawn(Recorder { shared: Arc::clone(&shared), orders, held: VecDeque::new() }.run());
        Self { queue, shared }
    }

    /// From now on, sends the references of new evidence to `news` after each commit. Lossy: what does not fit is
    /// left out, because a status is folded from the evidence anyway. Only the first call counts.
    pub fn tell(&self, news: mpsc::Sender<Vec<String>>) {
        let _only_the_first = self.shared.news.set(news);
    }

    /// Waits until the events of one callback are on disk. The commit goes on when this future is dropped.
    pub async fn accept(&self, events: Vec<NewEvent>) -> Result<Vec<Recorded>, IntakeError> {
        let shared = &self.shared;
        if sabotage::off(Protection::CancelProof) {
            return Box::pin(shared.store.commit_events(&events)).await.map_err(IntakeError::from);
        }
        let (reply, answer) = oneshot::channel();
        let call = Call { bytes: events.iter().map(|event| event.payload.len()).sum(), events, reply };
        let rows = call.events.len();
        if shared.stopping.load(Ordering::Relaxed) || !shared.waiting.take_in(&call, &shared.limits) {
            return Err(IntakeError::Busy);
        }
        self.queue.send(Order::Record(call)).map_err(|_ended| IntakeError::Busy)?;
        if sabotage::off(Protection::CommitBeforeAnswer) {
            return Ok(vec![Recorded::New; rows]);
        }
        answer.await.unwrap_or(Err(IntakeError::Unavailable))
    }

    /// Drains the spool, if there is one, until `stop`.
    pub async fn drain_spool(self, stop: CancellationToken) {
        if let Some(spool) = self.shared.spool.clone() {
            spool.run(|group| self.shared.tell_news(group), stop).await;
        }
    }

    /// How the spool is doing, if there is one.
    pub fn spool(&self) -> Option<SpoolState> {
        self.shared.spool.as_ref().map(Spool::state)
    }

    /// Events that wait or are being written.
    pub fn depth(&self) -> usize {
        self.shared.waiting.rows.load(Ordering::Relaxed)
    }

    /// Takes nothing more, writes what waits, and ends.
    pub async fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        let (done, ended) = oneshot::channel();
        if self.queue.send(Order::Stop(done)).is_ok() {
            let _ended_before = ended.await;
        }
    }
}

impl Waiting {
    /// Counts `call` in, unless that would break a limit. An empty queue takes any callback.
    fn take_in(&self, call: &Call, limits: &IntakeLimits) -> bool {
        let rows = self.rows.fetch_add(call.events.len(), Ordering::Relaxed);
        let bytes = self.bytes.fetch_add(call.bytes, Ordering::Relaxed);
        let fits =
            rows + call.events.len() <= limits.queue_rows_max && bytes + call.bytes <= limits.queue_bytes_max;
        if !fits && rows > 0 {
            self.let_out(call.events.len(), call.bytes);
            return false;
        }
        true
    }

    fn let_out(&self, rows: usize, bytes: usize) {
        self.rows.fetch_sub(rows, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The task behind the queue.
struct Recorder {
    shared: Arc<Shared>,
    orders: mpsc::UnboundedReceiver<Order>,
    /// Taken from the queue, but did not fit into the group.
    held: VecDeque<Call>,
}

/// Who waits for which part of a group.
struct Waiter {
    rows: usize,
    reply: oneshot::Sender<Result<Vec<Recorded>, IntakeError>>,
}

impl Recorder {
    async fn run(mut self) {
        let mut stopped = Vec::new();
        while let Some(group) = self.next_group(&mut stopped).await {
            if !group.is_empty() {
                self.record(group).await;
            }
            if !stopped.is_empty() {
                // Nobody can send any more; what was sent before is still written.
                self.orders.close();
            }
        }
        for done in stopped {
            let _gone = done.send(());
        }
    }

    /// All that waits, within the limits of a group. `None`: the queue is closed and empty.
    async fn next_group(&mut self, stopped: &mut Vec<oneshot::Sender<()>>) -> Option<Vec<Call>> {
        let (mut rows, mut bytes, mut quiet_rounds) = (0, 0, 0);
        let mut group: Vec<Call> = Vec::with_capacity(self.shared.limits.group_rows_max);
        loop {
            let order = match self.held.pop_front() {
                Some(call) => Order::Record(call),
                None if group.is_empty() => self.orders.recv().await?,
                None => match self.orders.try_recv() {
                    Ok(order) => order,
                    Err(_nothing_more) if rows >= GATHER_ROWS || quiet_rounds == QUIET_ROUNDS => {
                        return Some(group);
                    }
                    Err(_nothing_yet) => {
                        quiet_rounds += 1;
                        tokio::task::yield_now().await;
                        continue;
                    }
                },
            };
            quiet_rounds = 0;
            match order {
                Order::Record(call) => {
                    rows += call.events.len();
                    bytes += call.bytes;
                    let limits = &self.shared.limits;
                    if !group.is_empty() && (rows > limits.group_rows_max || bytes > limits.group_bytes_max) {
                        self.held.push_front(call);
                        return Some(group);
                    }
                    group.push(call);
                }
                Order::Stop(done) => {
                    stopped.push(done);
                    return Some(group);
                }
            }
        }
    }

    async fn record(&self, calls: Vec<Call>) {
        let (mut events, mut waiters) = (Vec::with_capacity(calls.len()), Vec::with_capacity(calls.len()));
        let mut bytes = 0;
        for call in calls {
            bytes += call.bytes;
            waiters.push(Waiter { rows: call.events.len(), reply: call.reply });
            events.extend(call.events);
        }
        let group = Arc::new(events);
        let start_ms = self.shared.clock.steady_ms();
        let commit = Arc::clone(&group);
        let mut answers = match &self.shared.spool {
            Some(spool) => spool.commit(commit).await,
            None => self.shared.store.commit_group(commit).await,
        }
        .into_iter();
        let took_ms = self.shared.clock.steady_ms().saturating_sub(start_ms);
        if took_ms >= SLOW_MS {
            tracing::warn!(took_ms, rows = group.len(), bytes, "a commit was slow");
        }
        self.shared.waiting.let_out(group.len(), bytes);
        self.shared.tell_news(&group);
        for waiter in waiters {
            let answer = answers.by_ref().take(waiter.rows).collect::<Result<Vec<_>, _>>();
            // A caller that has gone does not change what is written.
            let _gone = waiter.reply.send(answer.map_err(IntakeError::from));
        }
    }
}

impl Shared {
    /// Says which references have new evidence. An event that was not written only costs its tracker a look.
    fn tell_news(&self, group: &[NewEvent]) {
        let Some(news) = self.news.get() else { return };
        let references: Vec<String> = group
            .iter()
            .flat_map(|event| &event.evidence)
            .map(|evidence| evidence.reference.clone())
            .collect();
        if !references.is_empty() {
            let _lossy = news.try_send(references);
        }
    }
}

impl From<StoreError> for IntakeError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy => Self::Busy,
            other => {
                tracing::error!(error = %other, "callbacks could not be recorded");
                Self::Unavailable
            }
        }
    }
}
