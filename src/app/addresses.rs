//! Who asks the platform for its addresses.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::StartError;
use super::settings::Tools;
use crate::channel::transport::Transport;
use crate::clock::Clock;
use crate::config::{ChannelKindConfig, Config, PlatformAddressesConfig};
use crate::http::peer::PeerRules;
use crate::upkeep::callback_addresses::CallbackAddresses;

/// After how long the platform is asked again when there was no answer.
const RETRY_MS: u64 = 60_000;

/// Begins to keep the platform's addresses fresh, if the configuration wants it and has an app that can ask.
pub(super) fn spawn(
    config: &Config,
    tools: &Tools,
    peers: &PeerRules,
    clock: &Clock,
    stop: CancellationToken,
) -> Result<JoinHandle<()>, StartError> {
    if config.webhook.platform_addresses == PlatformAddressesConfig::Off {
        return Ok(nobody());
    }
    let apps = config.channels.iter().filter(|channel| channel.enabled).filter_map(|it| match &it.kind {
        ChannelKindConfig::App(app) if !app.secret.is_empty() => Some(app),
        _ => None,
    });
    let Some(app) = apps.into_iter().next() else {
        tracing::warn!("webhook.platform_addresses needs an app with a secret: nobody asks");
        return Ok(nobody());
    };
    let transport = Transport::new(config.limits.attempt.clone()).map_err(StartError::Channels)?;
    let asking = CallbackAddresses {
        token: tools.token(app, &transport),
        addresses: peers.platform.clone(),
        every_ms: config.webhook.platform_addresses_every_ms,
        retry_ms: RETRY_MS,
        transport,
        clock: clock.clone(),
    };
    Ok(tokio::spawn(asking.run(stop)))
}

/// A task that is done.
fn nobody() -> JoinHandle<()> {
    tokio::spawn(std::future::ready(()))
}
