//! `serve`: runs the gateway until a signal.

use crate::app::{Gateway, Signals, StartError};
use crate::cli::CommandError;
use crate::clock::Clock;
use crate::config::ConfigFile;
use crate::entropy::Entropy;
use crate::telemetry;

/// Starts logging and the gateway, and serves until SIGTERM or SIGINT.
pub(super) async fn run(file: ConfigFile, clock: Clock, entropy: Entropy) -> Result<(), CommandError> {
    let signals = Signals::listen()?;
    let config = file.load()?;
    let telemetry = telemetry::start(&config.logging, clock.clone()).map_err(StartError::Log)?;
    let dropped = telemetry.dropped_lines();
    let gateway = Gateway::builder(file).publish(move || {
        metrics::counter!("wecom_log_lines_dropped_total").absolute(dropped.count());
    });
    let running = gateway.start_with(config, clock, entropy).await?;
    running.until(signals).await;
    drop(telemetry);
    Ok(())
}
