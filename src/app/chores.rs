//! What goes on beside the requests: retention, alerts, the platform's addresses.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::settings::Tools;
use super::{StartError, addresses, alerts};
use crate::clock::Clock;
use crate::config::Config;
use crate::http::Gate;
use crate::store::Store;
use crate::upkeep::Upkeep;

/// Begins all of it.
pub(super) fn spawn(
    config: &Config,
    tools: &Tools,
    gate: &Gate,
    store: &Store,
    clock: &Clock,
    port: u16,
    stop: &CancellationToken,
) -> Result<Vec<JoinHandle<()>>, StartError> {
    let upkeep = Upkeep::new(store.clone(), config.retention.clone(), clock.clone());
    Ok(vec![
        tokio::spawn(upkeep.run(stop.clone())),
        alerts::spawn(config, gate.health(), store, clock, port, stop.clone())?,
        addresses::spawn(config, tools, gate.peers(), clock, stop.clone())?,
    ])
}
