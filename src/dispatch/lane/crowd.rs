//! The pace of the members that one app sends to, as a lane keeps it.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::Shared;
use super::super::queue::Queue;
use super::super::target::Target;
use crate::domain::delivery::{Cargo, Delivery};
use crate::domain::member_pace::{Audience, LIMITS, MemberPace};
use crate::domain::message::Message;
use crate::ids::DeliveryId;
use crate::store::{Store, StoreError};

/// Most sends of the past from which windows are rebuilt: the newest.
const REBUILT_MAX: usize = 100_000;

/// The members' windows, and whom the requests on their way are for.
#[derive(Debug)]
pub(super) struct Crowd {
    pace: MemberPace,
    under_way: HashMap<DeliveryId, Audience>,
}

impl Crowd {
    /// As the attempts on record tell.
    pub(super) async fn rebuilt(shared: &Shared, target: &Target, now_ms: i64) -> Result<Self, StoreError> {
        let timeout_ms = target.attempt_timeout_ms();
        let wall_ms = shared.clock.wall_ms();
        let longest_ms = LIMITS.iter().map(|limit| limit.window_ms).max().unwrap_or(0);
        let since_ms = wall_ms.saturating_sub(longest_ms).saturating_sub(timeout_ms);
        let sent = shared.store.sent_since(&target.id, since_ms, REBUILT_MAX).await?;
        // When they were answered is not read: at the latest when they timed out.
        let answered = sent.into_iter().map(|(begun_ms, recipients)| {
            let ago_ms = wall_ms.saturating_sub(begun_ms).saturating_sub(timeout_ms).max(0);
            (now_ms.saturating_sub(ago_ms), Audience::of(&recipients))
        });
        Ok(Self { pace: MemberPace::new(&LIMITS, answered), under_way: HashMap::new() })
    }

    /// When a message to `audience` may leave.
    pub(super) fn ready_at(&mut self, audience: &Audience, now_ms: i64) -> i64 {
        self.pace.ready_at(audience, now_ms)
    }

    /// It leaves.
    pub(super) fn begin(&mut self, id: &DeliveryId, audience: Audience) {
        self.pace.begin(&audience);
        self.under_way.insert(id.clone(), audience);
    }

    /// It is over since `at_ms`; `None`: it never left.
    pub(super) fn end(&mut self, id: &DeliveryId, at_ms: Option<i64>) {
        if let Some(audience) = self.under_way.remove(id) {
            self.pace.end(&audience, at_ms);
        }
    }
}

/// The messages of those `rows` that the queue does not know: whom they are for decides when they go.
pub(super) async fn messages_of(
    store: &Store,
    rows: &[Delivery],
    queue: &Queue,
) -> Result<HashMap<DeliveryId, Arc<Message>>, StoreError> {
    let mut wanted = Vec::new();
    for row in rows.iter().filter(|row| !queue.knows(&row.id)) {
        if let Cargo::Message(message) = &row.cargo {
            wanted.push((row.id.clone(), message.clone()));
        }
    }
    let ids: Vec<_> = wanted.iter().map(|(_, message)| message.clone()).collect();
    let mut found: HashMap<_, _> = store
        .messages_of(&ids)
        .await?
        .into_iter()
        .map(|message| (message.id.clone(), Arc::new(message)))
        .collect();
    Ok(wanted.into_iter().filter_map(|(row, message)| Some((row, found.remove(&message)?))).collect())
}
