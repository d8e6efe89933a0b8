//! What people are told about: the list of probes.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::StartError;
use crate::channel::transport::Transport;
use crate::clock::Clock;
use crate::config::Config;
use crate::dispatch::Dispatch;
use crate::http::api::channels::{ChannelFacts, SharedChannels};
use crate::http::health::Health;
use crate::intake::Intake;
use crate::store::Store;
use crate::upkeep::alerts::{Alerts, Finding, Probe};

/// What is looked at.
pub(super) struct LookedAt<'a> {
    pub(super) health: &'a Health,
    pub(super) intake: &'a Intake,
    pub(super) channels: &'a SharedChannels,
    pub(super) dispatch: &'a Dispatch,
}

/// Everything that can be wrong with this replica and needs people. Other parts add theirs here.
fn probes(at: &LookedAt<'_>) -> Vec<Probe> {
    let trouble_if = |wrong: bool, text: &str| {
        if wrong { Finding::Trouble(text.to_owned()) } else { Finding::Fine }
    };
    let named = |names: Vec<String>, text: &str| {
        if names.is_empty() {
            Finding::Fine
        } else {
            Finding::Trouble(format!("{}: {text}", names.join(", ")))
        }
    };
    let (database, queue) = (at.health.clone(), at.health.clone());
    let (intake, channels, dispatch) = (at.intake.clone(), at.channels.clone(), at.dispatch.clone());
    let halting = at.channels.clone();
    vec![
        Probe::new("database", move || trouble_if(!database.store_answers(), "it does not answer")),
        Probe::new("queue", move || {
            trouble_if(queue.queue_full(), "callbacks come faster than they are stored")
        }),
        Probe::new("spool", move || match intake.spool() {
            Some(spool) if spool.full => trouble_if(true, "it is full, and callbacks are refused"),
            Some(spool) => trouble_if(spool.in_use, "callbacks wait on the local disk for the database"),
            None => Finding::Fine,
        }),
        Probe::new("token", move || {
            let refused =
                |facts: &&ChannelFacts| facts.token.as_ref().is_some_and(|it| it.problem().is_some());
            let of_these = channels.load().iter().filter(refused).map(|facts| facts.name.clone()).collect();
            named(of_these, "WeCom gives no access token, and nothing is sent; the log says why")
        }),
        Probe::new("channel", move || {
            // What is wrong with the token is told above.
            let halted = |facts: &&ChannelFacts| {
                facts.halt().is_some() && facts.token.as_ref().is_none_or(|it| it.problem().is_none())
            };
            let of_these = halting.load().iter().filter(halted).map(|facts| facts.name.clone()).collect();
            named(
                of_these,
                "WeCom refuses the channel, and messages wait until somebody mends it; the log says why",
            )
        }),
        Probe::new("endpoint", move || {
            named(dispatch.endpoints_down(), "events are not taken; they wait and are tried again")
        }),
    ]
}

/// Begins to look, and to tell the robots of `config`.
pub(super) fn spawn(
    config: &Config,
    at: &LookedAt<'_>,
    store: &Store,
    clock: &Clock,
    port: u16,
    stop: CancellationToken,
) -> Result<JoinHandle<()>, StartError> {
    let alerts = Alerts {
        settings: config.alerts.clone(),
        probes: probes(at),
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
