//! How a lane's memory is filled: from the table after a take-over and when it is told that there is more, from
//! offers in between.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::attempt;
use super::super::queue::Waiting;
use super::super::target::Target;
use super::crowd;
use super::{Crowd, Lane, NO_LIMIT};
use crate::domain::delivery::DeliveryState;
use crate::domain::endpoint::OnDead;
use crate::domain::pace::Pace;
use crate::store::{Engine, Fence, StoreError};

/// How far ahead of its due time a delivery is read.
const LOOKAHEAD_MS: i64 = 60_000;

/// A target whose next delivery is far ahead is looked at again after this: another replica may add one.
const LOOK_AGAIN_MS: i64 = 5_000;

/// Between two reads of a table that has more than memory holds, where nothing in memory is due.
const REFILL_MS: i64 = 200;

/// How often the table is searched for what expired, and how much is read at once.
const EXPIRED_LOOK_MS: i64 = 60_000;
const EXPIRED_AT_ONCE: usize = 256;

/// Keys of one endpoint in memory, and deliveries of each.
const KEYS_MAX: usize = 256;
const OF_KEY_MAX: usize = 16;

impl Lane {
    /// Brings memory up to what the table and the offers say.
    pub(super) async fn fill(
        &mut self,
        target: &Target,
        fence: Fence,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        if self.fence != Some(fence) {
            if !self.under_way.is_empty() {
                return Ok(()); // What an earlier ownership began must end first.
            }
            self.queue.clear();
            self.queue.order = target.order();
            self.pace = self.rebuilt_pace(target, now_ms).await?;
            self.crowd = if target.paces_members() {
                Some(Crowd::rebuilt(&self.shared, target, now_ms).await?)
            } else {
                None
            };
            self.after_key = None;
            self.read(target, fence, now_ms).await?;
            self.fence = Some(fence);
        }
        self.table_has_more |= self.signal.take_more();
        if self.signal.take_changed() {
            self.queue.clear();
            self.after_key = None;
            self.table_has_more = true;
        }
        self.queue.order = target.order();
        while let Ok(waiting) = self.offers.try_recv() {
            self.take_offer(waiting);
        }
        let others_add = self.shared.store.engine() == Engine::MySql;
        let told = self.signal.take_look() && now_ms >= self.look_after_ms;
        let wanted = self.table_has_more || told;
        // What waits for its member must not keep the rest of the table out.
        let has_room = match &self.crowd {
            Some(_) if self.table_has_more => self.queue.len() < target.queue_max(&self.shared.settings) / 2,
            _ => self.queue.is_empty(),
        };
        // What is due now may stand behind what memory holds for later.
        let is_short = target.web_target().is_some()
            && now_ms >= self.refill_after_ms
            && self.queue.ready_at().is_none_or(|ready_ms| ready_ms > now_ms);
        if wanted && (has_room || is_short || (told && others_add)) {
            self.refill_after_ms = now_ms.saturating_add(REFILL_MS);
            self.read(target, fence, now_ms).await?;
        }
        if target.web_target().is_some() {
            self.read_ahead(now_ms);
        } else {
            self.read_expired(now_ms).await?;
        }
        Ok(())
    }

    /// Reads what expired where memory does not hold it: behind a long queue, or a channel that halts, it would else be
    /// told only when its turn comes.
    async fn read_expired(&mut self, now_ms: i64) -> Result<(), StoreError> {
        if !self.table_has_more || now_ms < self.expired_after_ms {
            return Ok(());
        }
        let wall_ms = self.shared.clock.wall_ms();
        let expired = self.shared.store.expired(&self.target_id, wall_ms, EXPIRED_AT_ONCE).await?;
        let is_all = expired.len() < EXPIRED_AT_ONCE;
        self.expired_after_ms = now_ms.saturating_add(if is_all { EXPIRED_LOOK_MS } else { REFILL_MS });
        for waiting in expired.into_iter().filter_map(|row| Waiting::new(row, None)) {
            self.queue.push(waiting);
        }
        Ok(())
    }

    /// When that is done again after `now_ms`, steady ms.
    pub(super) fn expired_look_ms(&self, target: &Target, now_ms: i64) -> Option<i64> {
        let is_due = self.table_has_more && target.web_target().is_none();
        is_due.then_some(self.expired_after_ms).filter(|at_ms| *at_ms > now_ms)
    }

    async fn read(&mut self, target: &Target, fence: Fence, now_ms: i64) -> Result<(), StoreError> {
        match target.web_target().and_then(|web| web.order()) {
            Some(order) => self.read_keys(order.on_dead).await,
            None => self.read_table(target, fence, now_ms).await,
        }
    }

    /// Reads the first deliveries of the next keys.
    async fn read_keys(&mut self, on_dead: OnDead) -> Result<(), StoreError> {
        let begun_at = self.after_key.take();
        if begun_at.is_none() {
            self.queue.keys.unblock_all();
        }
        let store = &self.shared.store;
        let queues = store.key_queues(&self.target_id, begun_at.as_deref(), KEYS_MAX, OF_KEY_MAX).await?;
        let mut is_all = begun_at.is_none() && queues.len() < KEYS_MAX;
        if queues.len() == KEYS_MAX {
            self.after_key = queues.last().map(|queue| queue.key.clone());
        }
        for queue in queues {
            is_all &= queue.deliveries.len() < OF_KEY_MAX;
            let key: Arc<str> = queue.key.as_str().into();
            for delivery in queue.deliveries {
                if delivery.due_ms.is_none() {
                    if delivery.state == DeliveryState::Dead && on_dead == OnDead::Block {
                        self.queue.block(&key);
                        break;
                    }
                    store.release_order(&self.target_id, &queue.key, &delivery.id).await?;
                    continue;
                }
                if let Some(waiting) = Waiting::new(delivery, None) {
                    self.queue.push(Waiting { key: Some(Arc::clone(&key)), ..waiting });
                }
            }
        }
        self.table_has_more = !is_all;
        Ok(())
    }

    async fn read_table(&mut self, target: &Target, fence: Fence, now_ms: i64) -> Result<(), StoreError> {
        let ahead_ms = now_ms.saturating_add(LOOKAHEAD_MS);
        let rows =
            self.shared.store.due(&self.target_id, ahead_ms, target.queue_max(&self.shared.settings)).await?;
        let is_all = rows.len() < target.queue_max(&self.shared.settings);
        let mut messages = match &self.crowd {
            Some(_) => crowd::messages_of(&self.shared.store, &rows, &self.queue).await?,
            None => HashMap::new(),
        };
        let mut loaded = Vec::with_capacity(rows.len());
        for row in rows {
            let id = row.id.clone();
            let started_ms = row.started_ms;
            let message = messages.remove(&id);
            let Some(mut waiting) = Waiting::new(row, message) else { continue };
            if let Some(started_ms) = started_ms.filter(|_| !self.queue.knows(&id)) {
                self.pace.begin();
                self.pace.end(started_ms.saturating_add(target.attempt_timeout_ms()).min(now_ms));
                match attempt::recover(&self.shared, target, waiting, started_ms, fence).await? {
                    Some(again) => waiting = again,
                    None => continue,
                }
            }
            loaded.push(waiting);
        }
        if loaded.is_empty() && is_all {
            let next_ms = self.shared.store.next_due(&self.target_id).await?;
            let far_ms = next_ms.map_or(i64::MIN, |next_ms| next_ms.saturating_sub(LOOKAHEAD_MS));
            self.look_after_ms = far_ms.min(now_ms.saturating_add(LOOK_AGAIN_MS));
        }
        self.queue.replace(loaded);
        self.table_has_more = !is_all;
        Ok(())
    }

    /// An offer continues the table's order only while memory holds all of it; else it waits in the table.
    pub(super) fn take_offer(&mut self, waiting: Waiting) {
        if self.fence.is_none() || self.table_has_more {
            return;
        }
        let ahead_ms = self.shared.clock.steady_ms().saturating_add(LOOKAHEAD_MS);
        if waiting.due_ms <= ahead_ms {
            self.queue.push(waiting);
        } else {
            self.look_after_ms = i64::MIN;
        }
    }

    /// What the target has been sent lately, by the attempts on record.
    async fn rebuilt_pace(&self, target: &Target, now_ms: i64) -> Result<Pace, StoreError> {
        let Some(limit) = target.pace else { return Ok(Pace::new(NO_LIMIT, Vec::new())) };
        let timeout_ms = target.attempt_timeout_ms();
        let wall_ms = self.shared.clock.wall_ms();
        let since_ms = wall_ms.saturating_sub(limit.window_ms).saturating_sub(timeout_ms);
        let begun = self.shared.store.attempts_since(&self.target_id, since_ms).await?;
        // When they were answered is not read: at the latest when they timed out.
        let answered = begun.into_iter().map(|begun_ms| {
            let ago_ms = wall_ms.saturating_sub(begun_ms).saturating_sub(timeout_ms).max(0);
            now_ms.saturating_sub(ago_ms)
        });
        Ok(Pace::new(limit, answered.collect()))
    }
}
