//! Keeps the leases, and sees to it that every target with work has a lane.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use crate::store::{Engine, SHARDS, StoreError};

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

/// Renews what is held and takes what is free. Until a renewal succeeds, the old leases run out by themselves.
async fn keep_leases(shared: &Shared, renewed_ms: &mut i64) -> Result<(), StoreError> {
    let now_ms = shared.clock.steady_ms();
    let lease_ms = shared.settings.lease_ms;
    if now_ms < renewed_ms.saturating_add(lease_ms / RENEWALS_PER_LEASE) {
        return Ok(());
    }
    let held = shared.ownership.leased();
    let mut kept =
        if held.is_empty() { Vec::new() } else { shared.store.renew_shards(&held, lease_ms, now_ms).await? };
    if kept.len() < held.len() {
        tracing::warn!(lost = held.len() - kept.len(), "leases were lost to another replica");
    }
    let free = usize::try_from(SHARDS).unwrap_or(0).saturating_sub(kept.len());
    if free > 0 {
        let taken = shared.store.lease_shards(&shared.owner, lease_ms, now_ms, free).await;
        match taken {
            Ok(taken) => kept.extend(taken),
            Err(error) => tracing::warn!(%error, "no free shards could be taken"),
        }
    }
    shared.ownership.hold(kept);
    *renewed_ms = now_ms;
    Ok(())
}
