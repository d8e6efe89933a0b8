//! How a program that embeds the gateway adds its own: sources, and hooks on statuses and interactions.

use std::sync::Arc;

use crate::app::{Running, Signals, StartError, start};
use crate::clock::Clock;
use crate::config::{Config, ConfigFile};
use crate::domain::fold::{HistoryEntry, InteractionEntry, Tracked};
use crate::entropy::Entropy;
use crate::source::CustomSource;
use crate::tracker::Hooks;

/// A gateway in preparation.
pub struct GatewayBuilder {
    pub(super) file: ConfigFile,
    pub(super) custom: Vec<Arc<dyn CustomSource>>,
    pub(super) hooks: Hooks,
    pub(super) publish: Box<dyn Fn() + Send + Sync>,
}

impl GatewayBuilder {
    pub(super) fn new(file: ConfigFile) -> Self {
        Self { file, custom: Vec::new(), hooks: Hooks::default(), publish: Box::new(|| {}) }
    }

    /// Adds a source of another kind, at `/api/v1/webhooks/{kind}/{handler}`.
    #[must_use]
    pub fn source(mut self, source: impl CustomSource + 'static) -> Self {
        self.custom.push(Arc::new(source));
        self
    }

    /// Calls `hook` for each new fact about a status, after its commit. It must not block; after a crash some calls
    /// may be missing.
    #[must_use]
    pub fn on_status(mut self, hook: impl Fn(&HistoryEntry, &Tracked) + Send + Sync + 'static) -> Self {
        self.hooks.on_status.push(Box::new(hook));
        self
    }

    /// Calls `hook` for each new interaction, after its commit, under the same terms.
    #[must_use]
    pub fn on_interaction(mut self, hook: impl Fn(&InteractionEntry) + Send + Sync + 'static) -> Self {
        self.hooks.on_interaction.push(Box::new(hook));
        self
    }

    /// Calls `publish` once a second to bring figures up to date that are kept elsewhere.
    #[must_use]
    pub fn publish(mut self, publish: impl Fn() + Send + Sync + 'static) -> Self {
        self.publish = Box::new(publish);
        self
    }

    /// Reads the configuration, starts every part, and returns once it listens.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(self) -> Result<Running, StartError> {
        let config = self.file.load()?;
        self.start_with(config, Clock::system(), Entropy::system()).await
    }

    /// The same with a configuration that was read before, and with the time and the randomness given.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start_with(
        self,
        config: Config,
        clock: Clock,
        entropy: Entropy,
    ) -> Result<Running, StartError> {
        super::settings::log_warnings(&config);
        start::start(self, config, clock, entropy).await
    }

    /// Serves until SIGTERM or SIGINT; SIGHUP reads the configuration again.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn serve(self) -> Result<(), StartError> {
        let signals = Signals::listen()?;
        self.start().await?.until(signals).await;
        Ok(())
    }
}
