//! What the operating system tells a running gateway.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Running, StartError};

/// SIGTERM, SIGINT and SIGHUP, from now on.
///
/// Made before the start: a signal that comes while the gateway starts is then heard once it serves, instead of
/// ending the process on the spot.
#[derive(Debug)]
pub struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    /// Takes the signals over from the system, for the rest of the process.
    ///
    /// # Errors
    /// [`StartError::Signals`] if the system does not let it.
    pub fn listen() -> Result<Self, StartError> {
        let listen = |kind| signal(kind).map_err(StartError::Signals);
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            int: listen(SignalKind::interrupt())?,
            hup: listen(SignalKind::hangup())?,
        })
    }
}

impl Running {
    /// Serves until SIGTERM or SIGINT, then stops; SIGHUP reads the configuration again.
    pub async fn until(self, mut signals: Signals) {
        loop {
            tokio::select! {
                _ = signals.term.recv() => break,
                _ = signals.int.recv() => break,
                _ = signals.hup.recv() => self.reload.by_signal(),
            }
        }
        self.stop().await;
    }
}
