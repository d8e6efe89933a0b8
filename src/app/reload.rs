//! Exchanging sources and channels while the gateway runs.
//!
//! The whole file is read again; if it has a problem, or channels contradict each other, everything stays as it
//! was. Only channels, endpoints of the file and the keys at rest are exchanged: what belongs to the listener or to the database needs a new start, and a line
//! says so.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::answers::Answering;
use super::settings::{self, ChannelParts, Tools};
use crate::config::ConfigFile;
use crate::dispatch::Dispatch;
use crate::forwarding::Forwarding;
use crate::http::api::channels::SharedChannels;
use crate::http::api::reload::{ReloadOrder, Reloaded};
use crate::messages::Messages;
use crate::source::{CustomSource, Sources};
use crate::upkeep::resealing::Resealing;

/// Carries out orders to reload.
pub(super) struct Reloader {
    pub(super) file: ConfigFile,
    pub(super) custom: Vec<Arc<dyn CustomSource>>,
    pub(super) sources: Arc<ArcSwap<Sources>>,
    pub(super) facts: SharedChannels,
    pub(super) dispatch: Dispatch,
    pub(super) messages: Messages,
    pub(super) tools: Tools,
    pub(super) forwarding: Forwarding,
    pub(super) answering: Answering,
}

impl Reloader {
    pub(super) async fn run(
        self,
        mut orders: mpsc::Receiver<ReloadOrder>,
        resealing: Resealing,
        stop: CancellationToken,
    ) {
        loop {
            let order = tokio::select! {
                () = stop.cancelled() => return,
                order = orders.recv() => order,
            };
            let Some(order) = order else { return };
            let outcome = self.reload(&resealing).await;
            match &outcome {
                Ok(done) => tracing::info!(channels = done.channels, handlers = done.handlers, "reloaded"),
                Err(problems) => tracing::error!("the new configuration is not used: {problems}"),
            }
            let _nobody_waits = order.send(outcome);
        }
    }

    async fn reload(&self, resealing: &Resealing) -> Result<Reloaded, String> {
        let config = self.file.load().map_err(|problems| problems.to_string())?;
        let ChannelParts { sources, targets, channels, facts } =
            settings::channels(&config, &self.custom, &self.tools)?;
        let answers = self.answering.prepare(&config)?;
        let seals = config.encryption.seals(&self.tools.entropy);
        resealing.exchange_keys(&seals).await.map_err(|error| format!("encryption: {error}"))?;
        self.forwarding
            .sync_file(settings::file_endpoints(&config))
            .await
            .map_err(|error| format!("endpoints: {error}"))?;
        settings::log_warnings(&config);
        let reloaded = Reloaded {
            channels: config.channels.iter().filter(|channel| channel.enabled).count(),
            handlers: sources.handlers().len(),
        };
        self.sources.store(Arc::new(sources));
        self.facts.store(Arc::new(facts));
        self.dispatch.reload(targets);
        self.messages.reload(channels);
        self.answering.reload(answers);
        Ok(reloaded)
    }
}
