//! Who asks the platform for its addresses.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::StartError;
use crate::channel::transport::Transport;
use crate::clock::Clock;
use crate::config::{ChannelKindConfig, Config, PlatformAddressesConfig};
use crate::http::peer::PeerRules;
use crate::upkeep::callback_addresses::{AskingApp, CallbackAddresses};

/// After how long the platform is asked again when there was no answer.
const RETRY_MS: u64 = 60_000;

/// Begins to keep the platform's addresses fresh, if the configuration wants it and has an app that can ask.
pub(super) fn spawn(
    config: &Config,
    peers: &PeerRules,
    clock: &Clock,
    stop: CancellationToken,
) -> Result<JoinHandle<()>, StartError> {
    if config.webhook.platform_addresses == PlatformAddressesConfig::Off {
        return Ok(nobody());
    }
    let Some(app) = config.channels.iter().filter(|channel| channel.enabled).find_map(|it| asking(&it.kind))
    else {
        tracing::warn!("webhook.platform_addresses needs an app with a secret: nobody asks");
        return Ok(nobody());
    };
    let asking = CallbackAddresses {
        app,
        addresses: peers.platform.clone(),
        every_ms: config.webhook.platform_addresses_every_ms,
        retry_ms: RETRY_MS,
        transport: Transport::new(config.limits.attempt.clone()).map_err(StartError::Channels)?,
        clock: clock.clone(),
    };
    Ok(tokio::spawn(asking.run(stop)))
}

/// A task that is done.
fn nobody() -> JoinHandle<()> {
    tokio::spawn(std::future::ready(()))
}

fn asking(kind: &ChannelKindConfig) -> Option<AskingApp> {
    match kind {
        ChannelKindConfig::App(app) if !app.secret.is_empty() => Some(AskingApp {
            base_url: app.base_url.clone(),
            corp_id: app.corp_id.clone(),
            secret: app.secret.clone(),
        }),
        _ => None,
    }
}
