//! What people are told about: the list of probes.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::StartError;
use crate::channel::transport::Transport;
use crate::clock::Clock;
use crate::config::Config;
use crate::http::health::Health;
use crate::store::Store;
use crate::upkeep::alerts::{Alerts, Finding, Probe};

/// Everything that can be wrong with this replica and needs people. Other parts add theirs here.
fn probes(health: &Health) -> Vec<Probe> {
    let trouble_if = |wrong: bool, text: &str| {
        if wrong { Finding::Trouble(text.to_owned()) } else { Finding::Fine }
    };
    let (database, queue) = (health.clone(), health.clone());
    vec![
        Probe::new("database", move || trouble_if(!database.store_answers(), "it does not answer")),
        Probe::new("queue", move || {
            trouble_if(queue.queue_full(), "callbacks come faster than they are stored")
        }),
    ]
}

/// Begins to look, and to tell the robots of `config`.
pub(super) fn spawn(
    config: &Config,
    health: &Health,
    store: &Store,
    clock: &Clock,
    port: u16,
    stop: CancellationToken,
) -> Result<JoinHandle<()>, StartError> {
    let alerts = Alerts {
        settings: config.alerts.clone(),
        probes: probes(health),
        store: store.clone(),
        transport: Transport::new(config.limits.attempt.clone()).map_err(StartError::Channels)?,
        clock: clock.clone(),
        called: format!("{} {}:{port}", config.service.name, host()),
    };
    Ok(tokio::spawn(alerts.run(stop)))
}

/// What this machine, or this container, is called.
fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}
