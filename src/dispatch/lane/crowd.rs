//! The pace of the members that one app sends to, as a lane keeps it.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::Shared;
use super::super::queue::Queue;
use super::super::target::Target;
use crate::domain::day_quota::DayQuota;
use crate::domain::delivery::{Cargo, Delivery};
use crate::domain::member_pace::{Audience, MemberPace};
use crate::domain::message::Message;
use crate::ids::DeliveryId;
use crate::store::{SentEarlier, Store, StoreError};

/// The members' windows, and whom the requests on their way are for.
#[derive(Debug)]
pub(super) struct Crowd {
    pace: MemberPace,
    accounts: u64,
    quota: Option<DayQuota>,
    under_way: HashMap<DeliveryId, Audience>,
}

impl Crowd {
    /// As the attempts on record tell.
    pub(super) async fn rebuilt(shared: &Shared, target: &Target, now_ms: i64) -> Result<Self, StoreError> {
        let timeout_ms = target.attempt_timeout_ms();
        let wall_ms = shared.clock.wall_ms();
        let limits = target.members.iter().flatten().copied().collect::<Vec<_>>();
        let longest_ms = limits.iter().map(|limit| limit.window_ms).max().unwrap_or(0);
        let mut quota = DayQuota::of(target.accounts);
        let mut since_ms = wall_ms.saturating_sub(longest_ms).saturating_sub(timeout_ms);
        if quota.is_some() {
            since_ms = since_ms.min(DayQuota::day_began(wall_ms));
        }
        let sent = shared.store.sent_since(&target.id, since_ms, shared.settings.rebuilt_sends_max).await?;
        if let Some(quota) = &mut quota {
            quota.ready_at(0, wall_ms);
            for one in sent.iter().filter(|one| one.perhaps_taken) {
                quota.take(Audience::of(&one.recipients).people(), one.at_ms);
            }
        }
        // When they were answered is not read: at the latest when they timed out.
        let answered = sent.into_iter().map(|SentEarlier { at_ms, recipients, .. }| {
            let ago_ms = wall_ms.saturating_sub(at_ms).saturating_sub(timeout_ms).max(0);
            (now_ms.saturating_sub(ago_ms), Audience::of(&recipients))
        });
        Ok(Self {
            pace: MemberPace::new(&limits, answered),
            accounts: target.accounts,
            quota,
            under_way: HashMap::new(),
        })
    }

    /// Whether it counts for a corp with so many accounts.
    pub(super) fn is_of(&self, accounts: u64) -> bool {
        self.accounts == accounts
    }

    /// When a message to `audience` may leave; `now_ms` and the answer are steady, `wall_ms` says which day it is.
    pub(super) fn ready_at(&mut self, audience: &Audience, now_ms: i64, wall_ms: i64) -> i64 {
        let paced_ms = self.pace.ready_at(audience, now_ms);
        let quota = self
            .quota
            .as_mut()
            .map_or(0, |quota| quota.ready_at(audience.people(), wall_ms).saturating_sub(wall_ms));
        paced_ms.max(now_ms.saturating_add(quota))
    }

    /// It leaves at `wall_ms`.
    pub(super) fn begin(&mut self, id: &DeliveryId, audience: Audience, wall_ms: i64) {
        self.pace.begin(&audience);
        if let Some(quota) = &mut self.quota {
            quota.take(audience.people(), wall_ms);
        }
        self.under_way.insert(id.clone(), audience);
    }

    /// It is over since `at_ms`; `None`: it never left. `perhaps_taken`: by the platform.
    pub(super) fn end(&mut self, id: &DeliveryId, at_ms: Option<i64>, perhaps_taken: bool) {
        if let Some(audience) = self.under_way.remove(id) {
            self.pace.end(&audience, at_ms);
            if let Some(quota) = self.quota.as_mut().filter(|_| !perhaps_taken) {
                quota.give_back(audience.people());
            }
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
