//! What goes on beside the requests: retention, sealing anew, alerts, the platform's addresses.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::alerts::{self, LookedAt};
use super::front::Behind;
use super::settings::Tools;
use super::{StartError, addresses};
use crate::dispatch::Dispatch;
use crate::http::Gate;
use crate::upkeep::Upkeep;

/// Begins all of it.
pub(super) fn spawn(
    behind: &Behind<'_>,
    tools: &Tools,
    gate: &Gate,
    dispatch: &Dispatch,
    port: u16,
    stop: &CancellationToken,
) -> Result<Vec<JoinHandle<()>>, StartError> {
    let Behind { config, store, clock, intake, channels, resealing, .. } = behind;
    let upkeep = Upkeep::new((*store).clone(), config.retention.clone(), (*clock).clone());
    let looked_at = LookedAt { health: gate.health(), intake, channels, dispatch };
    Ok(vec![
        tokio::spawn(upkeep.run(stop.clone())),
        tokio::spawn((*resealing).clone().run(stop.clone())),
        alerts::spawn(config, &looked_at, store, clock, port, stop.clone())?,
        addresses::spawn(config, tools, gate.peers(), clock, stop.clone())?,
    ])
}
