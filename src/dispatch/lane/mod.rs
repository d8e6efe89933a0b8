//! The lane of one target: a task that owns its queue, its pace and what is on its way.
//!
//! All that concerns the order and the speed of one target is decided here, in one memory. The table is read when
//! the lane is told that there is more than it knows.

mod ahead;
mod crowd;
mod fill;
mod handle;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::Shared;
use super::attempt::{self, Ended, STORE_RETRY_MS, Then};
use super::forward;
use super::queue::{Queue, Waiting};
use super::target::Target;
use crate::channel::gate::ChannelGate;
use crate::domain::pace::{Pace, PaceLimit};
use crate::ids::DeliveryId;
use crate::store::Fence;

use ahead::Ahead;
use crowd::Crowd;
pub(super) use handle::LaneHandle;
use handle::Signal;

/// Deliveries of one endpoint that were answered and whose results are not on disk yet: after a crash these are sent
/// again, like those under way.
const UNRECORDED_MAX: usize = 64;

/// Longest sleep between two looks at the clock.
const SLEEP_MS_MAX: i64 = 3_600_000;

/// A target without a limit.
const NO_LIMIT: PaceLimit = PaceLimit { count: usize::MAX, window_ms: 0 };

/// The task's memory.
#[derive(Debug)]
pub(super) struct Lane {
    shared: Arc<Shared>,
    target_id: String,
    offers: mpsc::Receiver<Waiting>,
    signal: Arc<Signal>,
    queue: Queue,
    ahead: Ahead,
    pace: Pace,
    /// The pace of each member, where they have one.
    crowd: Option<Crowd>,
    /// Under which ownership the memory was filled; `None`: it has to be filled.
    fence: Option<Fence>,
    under_way: JoinSet<Ended>,
    /// Which delivery each task is about, and whether it is a sending.
    tasks: HashMap<Id, (DeliveryId, bool)>,
    table_has_more: bool,
    look_after_ms: i64,
    /// Not read again for those that are due sooner than what is in memory.
    refill_after_ms: i64,
    /// The last key that was read of an endpoint with an order.
    after_key: Option<String>,
    /// The table is not searched for what expired before then.
    expired_after_ms: i64,
}

impl Lane {
    /// The handle of a new lane, and the lane, whose [`Lane::run`] is to be spawned.
    pub(super) fn new(shared: Arc<Shared>, target_id: String) -> (LaneHandle, Self) {
        let (handle, offers, signal) = LaneHandle::new(shared.settings.queue_rows_max);
        let lane = Self {
            shared,
            target_id,
            offers,
            signal,
            queue: Queue::default(),
            ahead: Ahead::default(),
            pace: Pace::new(NO_LIMIT, Vec::new()),
            crowd: None,
            fence: None,
            under_way: JoinSet::new(),
            tasks: HashMap::new(),
            table_has_more: false,
            look_after_ms: i64::MIN,
            refill_after_ms: i64::MIN,
            after_key: None,
            expired_after_ms: i64::MIN,
        };
        (handle, lane)
    }

    /// Works until the sender stops; what is on its way then is finished, nothing new is begun.
    pub(super) async fn run(mut self) {
        loop {
            let stopping = self.shared.stop.is_cancelled();
            if stopping && self.under_way.is_empty() {
                return;
            }
            let look_at_ms = if stopping { None } else { self.turn().await };
            self.wait(look_at_ms, stopping).await;
        }
    }

    /// Begins what can be begun; when to look again, steady ms.
    async fn turn(&mut self) -> Option<i64> {
        let now_ms = self.shared.clock.steady_ms();
        let target = self.shared.target(&self.target_id).filter(|target| !target.is_halted());
        let ours = target.and_then(|target| {
            // A lease that ends before the answer could come is no basis for a request.
            let until_ms = now_ms.saturating_add(target.attempt_timeout_ms());
            Some((Arc::clone(&target), self.shared.ownership.fence(&self.target_id, until_ms)?))
        });
        let Some((target, fence)) = ours else {
            self.queue.clear();
            self.fence = None;
            while self.offers.try_recv().is_ok() {}
            return None;
        };
        if self.crowd.as_ref().is_some_and(|crowd| !crowd.is_of(target.accounts)) {
            self.fence = None; // The configuration was changed: the windows are made anew.
        }
        if let Err(error) = self.fill(&target, fence, now_ms).await {
            tracing::warn!(target = self.target_id, %error, "the deliveries of a target cannot be read");
            return Some(now_ms.saturating_add(STORE_RETRY_MS));
        }
        let expires_ms = self.expire(fence).into_iter().chain(self.expired_look_ms(&target, now_ms)).min();
        let ready_ms = self.begin(&target, fence, now_ms);
        let refill_ms = self.table_has_more.then_some(self.refill_after_ms);
        let refill_ms = refill_ms.filter(|at_ms| target.web_target().is_some() && *at_ms > now_ms);
        [expires_ms, ready_ms, refill_ms].into_iter().flatten().min()
    }

    /// Ends what expired while it waited; when the next will, steady ms.
    fn expire(&mut self, fence: Fence) -> Option<i64> {
        let wall_ms = self.shared.clock.wall_ms();
        while let Some(waiting) = self.queue.take_expired(wall_ms) {
            let id = waiting.delivery.id.clone();
            let task = self.spawn(fence, attempt::expire(Arc::clone(&self.shared), waiting, fence));
            self.tasks.insert(task.id(), (id, false));
        }
        let in_ms = self.queue.expires_at()?.saturating_sub(wall_ms);
        Some(self.shared.clock.steady_ms().saturating_add(in_ms))
    }

    /// Begins `task`; the shard is not given away until it is over.
    fn spawn(&mut self, fence: Fence, task: impl Future<Output = Ended> + Send + 'static) -> AbortHandle {
        let under_way = self.shared.ownership.begin(fence);
        self.under_way.spawn(async move {
            let ended = task.await;
            drop(under_way);
            ended
        })
    }

    /// Sends what is ready; when the next will be, steady ms.
    fn begin(&mut self, target: &Arc<Target>, fence: Fence, now_ms: i64) -> Option<i64> {
        if self.fence != Some(fence) {
            return None;
        }
        loop {
            let sending = self.tasks.values().filter(|(_, is_sending)| *is_sending).count();
            // An endpoint's request that was answered makes room before its result is on disk.
            let is_full = match target.web_target() {
                Some(web) => {
                    web.under_way() >= target.concurrency || sending >= target.concurrency + UNRECORDED_MAX
                }
                None => sending >= target.concurrency,
            };
            if is_full {
                return None;
            }
            let gate_ms = target.ready_at_ms();
            if gate_ms == i64::MAX {
                return None; // A probe is on its way.
            }
            let waiting = match self.next(now_ms, gate_ms) {
                Ok(waiting) => waiting,
                Err(look_at_ms) => return look_at_ms,
            };
            if waiting.is_sought && waiting.event.is_none() && self.ahead.is_reading() {
                self.queue.give_back(waiting);
                return None; // What it carries is being read.
            }
            let id = waiting.delivery.id.clone();
            self.pace.begin();
            if let Some(crowd) = &mut self.crowd {
                crowd.begin(&id, waiting.audience.clone(), self.shared.clock.wall_ms());
            }
            let (shared, target) = (Arc::clone(&self.shared), Arc::clone(target));
            let task = if let Some(web) = target.web_target().cloned() {
                let under_way = web.begin(shared.clock.steady_us());
                self.spawn(fence, forward::send(shared, target, under_way, waiting, fence))
            } else {
                let passage = target.gate.as_ref().map(ChannelGate::pass);
                self.spawn(fence, attempt::send(shared, target, passage, waiting, fence))
            };
            self.tasks.insert(task.id(), (id, true));
        }
    }

    /// The next that may leave now, and not before `gate_ms`; else when to look again, steady ms, if an answer need
    /// not come first.
    fn next(&mut self, now_ms: i64, gate_ms: i64) -> Result<Waiting, Option<i64>> {
        let known = |at_ms: i64| (at_ms < i64::MAX).then_some(at_ms);
        let paced_ms = self.pace.ready_at(now_ms).max(gate_ms);
        let Some(crowd) = &mut self.crowd else {
            let ready_ms = self.queue.ready_at().ok_or(None)?.max(paced_ms);
            if ready_ms > now_ms {
                return Err(known(ready_ms));
            }
            return self.queue.take_ready(now_ms).ok_or(None);
        };
        if paced_ms > now_ms {
            return Err(known(paced_ms));
        }
        let wall_ms = self.shared.clock.wall_ms();
        let taken = self.queue.take_first(now_ms, |audience| crowd.ready_at(audience, now_ms, wall_ms));
        taken.map_err(|at_ms| at_ms.and_then(known))
    }

    /// Sleeps until something happens.
    async fn wait(&mut self, look_at_ms: Option<i64>, stopping: bool) {
        let sleep_ms = look_at_ms
            .map_or(SLEEP_MS_MAX, |at_ms| at_ms.saturating_sub(self.shared.clock.steady_ms()))
            .clamp(0, SLEEP_MS_MAX);
        let sleep = Duration::from_millis(u64::try_from(sleep_ms).unwrap_or(0));
        tokio::select! {
            Some(ended) = self.under_way.join_next_with_id() => {
                self.landed(ended);
                // Those that were recorded together end together.
                while let Some(ended) = self.under_way.try_join_next_with_id() {
                    self.landed(ended);
                }
            }
            read = self.ahead.end() => self.have_read(read),
            Some(offered) = self.offers.recv(), if !stopping => self.take_offer(offered),
            () = self.signal.rung() => {}
            () = self.shared.stop.cancelled(), if !stopping => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }

    fn landed(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let (task, ended) = match ended {
            Ok((task, ended)) => (task, Some(ended)),
            Err(error) => {
                tracing::error!(target = self.target_id, %error, "an attempt broke off");
                (error.id(), None)
            }
        };
        let Some((id, is_sending)) = self.tasks.remove(&task) else { return };
        self.queue.landed(&id);
        if is_sending && let Some(crowd) = &mut self.crowd {
            let now_ms = self.shared.clock.steady_ms();
            let at_ms = ended.as_ref().map_or(Some(now_ms), |ended| ended.answered_ms);
            crowd.end(&id, at_ms, ended.as_ref().is_none_or(|ended| ended.perhaps_taken));
        }
        match (is_sending, ended.as_ref().map(|ended| ended.answered_ms)) {
            (false, _) => {}
            (true, Some(None)) => self.pace.cancel(),
            (true, Some(Some(answered_ms))) => self.pace.end(answered_ms),
            (true, None) => self.pace.end(self.shared.clock.steady_ms()),
        }
        match ended.map(|ended| ended.then) {
            Some(Then::Finish) => {}
            Some(Then::Again(waiting)) => self.queue.push(waiting),
            Some(Then::Rest(waiting, until_ms)) => {
                self.pace.rest(until_ms);
                self.queue.push(waiting);
            }
            Some(Then::Block(key)) => self.queue.block(&key),
            Some(Then::Reload) | None => self.table_has_more = true,
        }
    }
}
