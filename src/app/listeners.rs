//! Where the gateway listens: at one place, or management at another.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::StartError;
use crate::config::Config;
use crate::http::server::{self, Stopped};
use crate::http::{Gate, Serves};

/// The listeners, bound and not yet served.
pub(super) struct Listeners {
    first: TcpListener,
    address: SocketAddr,
    management: Option<TcpListener>,
}

impl Listeners {
    /// Binds them. Must be called within the runtime.
    pub(super) fn bind(config: &Config) -> Result<Self, StartError> {
        let bind = |address| server::bind(address).map_err(|source| StartError::Listen { address, source });
        let address = SocketAddr::new(config.webhook.host, config.webhook.port);
        let first = bind(address)?;
        let address = first.local_addr().map_err(|source| StartError::Listen { address, source })?;
        Ok(Self { first, address, management: config.webhook.management.map(bind).transpose()? })
    }

    /// Where callbacks are taken.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`.
    pub(super) fn serve(self, gate: Arc<Gate>, shutdown: CancellationToken) -> JoinHandle<Stopped> {
        let Some(management) = self.management else {
            return tokio::spawn(server::serve(self.first, gate, shutdown));
        };
        if let Ok(address) = management.local_addr() {
            tracing::info!(%address, "management listens");
        }
        let callbacks = Arc::new(gate.serving(Serves::Callbacks));
        let first = server::serve(self.first, callbacks, shutdown.clone());
        let other = server::serve(management, Arc::new(gate.serving(Serves::Management)), shutdown);
        tokio::spawn(async move {
            let (first, other) = tokio::join!(first, other);
            Stopped { cut_off: first.cut_off + other.cut_off }
        })
    }
}
