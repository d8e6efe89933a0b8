//! Keeps the leases, and sees to it that every target with work has a lane.

use std::sync::Arc;
use std::time::Duration;

use super::{QueueEvent, Shared};
use crate::store::{Engine, StoreError};

/// Leases are renewed when a third of their time has passed.
const RENEWALS_PER_LEASE: i64 = 3;

/// Runs until the sender stops.
pub(super) async fn run(shared: Arc<Shared>) {
    let scan = Duration::from_millis(shared.settings.scan_ms);
    let mut renewed_ms = i64::MIN;
    let mut said = false;
    while !shared.stop.is_cancelled() {
        match turn(&shared, &mut renewed_ms).await {
            Ok(()) => said = false,
            Err(error) if !said => {
                tracing::warn!(%error, "deliveries wait for the database");
                said = true;
            }
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(scan) => {}
            () = shared.bell.notified() => {}
            () = shared.stop.cancelled() => {}
        }
    }
}

async fn turn(shared: &Arc<Shared>, renewed_ms: &mut i64) -> Result<(), StoreError> {
    if shared.store.engine() == Engine::MySql {
        keep_leases(shared, renewed_ms).await?;
    }
    for target_id in shared.store.delivery_targets().await? {
        if let Some(lane) = shared.lane(&target_id) {
            lane.look();
        }
    }
    Ok(())
}

/// Renews what is held, gives away what is more than a fair share, and takes of what is free up to it. Until a
/// renewal succeeds, the old leases run out by themselves.
async fn keep_leases(shared: &Shared, renewed_ms: &mut i64) -> Result<(), StoreError> {
    let now_ms = shared.clock.steady_ms();
    let lease_ms = shared.settings.lease_ms;
    if now_ms >= renewed_ms.saturating_add(lease_ms / RENEWALS_PER_LEASE) {
        renew(shared, now_ms).await?;
        *renewed_ms = now_ms;
    }
    let division = shared.store.shares(now_ms).await?;
    let fair = division.fair();
    shared.ownership.keep_at_most(fair);
    give(shared).await?;
    let wanted = fair.saturating_sub(shared.ownership.kept());
    if division.free > 0 && wanted > 0 {
        take(shared, now_ms, wanted).await;
    }
    let held = u32::try_from(shared.ownership.kept()).unwrap_or(u32::MAX);
    metrics::gauge!("wecom_shards_held").set(f64::from(held));
    Ok(())
}

async fn renew(shared: &Shared, now_ms: i64) -> Result<(), StoreError> {
    let lease_ms = shared.settings.lease_ms;
    shared.store.announce_replica(&shared.owner, now_ms.saturating_add(lease_ms), now_ms).await?;
    let held = shared.ownership.leased();
    if held.is_empty() {
        return Ok(());
    }
    let kept = shared.store.renew_shards(&held, lease_ms, now_ms).await?;
    if kept.len() < held.len() {
        tracing::warn!(lost = held.len() - kept.len(), "leases were lost to another replica");
    }
    shared.ownership.hold(kept);
    Ok(())
}

/// Gives what others are to have, once nothing of it is on its way.
async fn give(shared: &Shared) -> Result<(), StoreError> {
    let given = shared.ownership.ready_to_give();
    if given.is_empty() {
        return Ok(());
    }
    shared.store.release_shards(&given).await?;
    let mut held = shared.ownership.leased();
    held.retain(|shard| !given.contains(shard));
    tracing::info!(given = given.len(), kept = held.len(), "shards were given to other replicas");
    shared.ownership.hold(held);
    Ok(())
}

async fn take(shared: &Shared, now_ms: i64, wanted: usize) {
    match shared.store.lease_shards(&shared.owner, shared.settings.lease_ms, now_ms, wanted).await {
        Ok(taken) if taken.is_empty() => {}
        Ok(taken) => {
            tracing::debug!(taken = taken.len(), "shards were taken");
            let stalled = taken.iter().filter(|shard| shard.stalled).count();
            if stalled > 0 {
                tracing::warn!(shards = stalled, "took over what a silent owner has left");
                shared.observer.tell_queue(QueueEvent::Stalled, stalled);
            }
            let mut held = shared.ownership.leased();
            // A lease of our own that ended and was taken anew has another fence.
            held.retain(|shard| !taken.iter().any(|fresh| fresh.id == shard.id));
            held.extend(taken);
            shared.ownership.hold(held);
        }
        Err(error) => tracing::warn!(%error, "no free shards could be taken"),
    }
}
