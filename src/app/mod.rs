//! The composition root: the only room that knows every other.
//!
//! [`GatewayBuilder::start`] builds the parts in the order in which they need each other and listens last; a stop goes the
//! other way: nothing more comes in while what is on its way out is finished, then what is accepted is written.
//! `settings.rs` turns the configuration into each part's own settings, `reload.rs` exchanges channels.

mod addresses;
mod alerts;
mod answers;
mod builder;
mod chores;
mod error;
mod front;
mod listeners;
mod reload;
mod settings;
mod signals;
mod start;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use builder::GatewayBuilder;
pub use error::StartError;
pub use signals::Signals;
pub(crate) use start::open_store;

use crate::config::ConfigFile;
use crate::dispatch::Dispatch;
use crate::http::api::reload::ReloadOrders;
use crate::http::server::Stopped;
use crate::intake::Intake;
use crate::store::Store;
use crate::tracker::Tracker;

/// How long a stop waits for what is on its way out, while the server ends beside it.
const SEND_GRACE: Duration = Duration::from_secs(9);

/// The gateway.
#[derive(Debug)]
pub struct Gateway;

impl Gateway {
    /// Prepares a gateway configured by the file `config`.
    pub fn builder(config: ConfigFile) -> GatewayBuilder {
        GatewayBuilder::new(config)
    }
}

/// A gateway that serves, until it is told to stop.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    background: CancellationToken,
    reload: ReloadOrders,
    server: JoinHandle<Stopped>,
    tasks: Vec<JoinHandle<()>>,
    intake: Intake,
    dispatch: Dispatch,
    tracker: Tracker,
    store: Store,
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where orders to read the configuration again go.
    pub fn reload_orders(&self) -> ReloadOrders {
        self.reload.clone()
    }

    /// Stops: no new connections, requests in flight answered, what is accepted written, messages under way
    /// finished, the database closed.
    pub async fn stop(self) {
        self.shutdown.cancel();
        let (served, ()) = tokio::join!(self.server, self.dispatch.stop(SEND_GRACE));
        match served {
            Ok(Stopped { cut_off: 0 }) => {}
            Ok(Stopped { cut_off }) => tracing::warn!(cut_off, "connections were cut off"),
            Err(error) => tracing::error!(%error, "the server ended badly"),
        }
        self.intake.stop().await;
        self.tracker.stop().await;
        self.background.cancel();
        for task in self.tasks {
            let _ended = task.await;
        }
        self.store.close().await;
        tracing::info!("stopped");
    }
}
