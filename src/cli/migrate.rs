//! `migrate`: brings the database's schema up to date, and does nothing else.

use std::io::Write;

use super::CommandError;
use crate::app::{self, StartError};
use crate::clock::Clock;
use crate::config::{Config, without_password};
use crate::entropy::Entropy;
use crate::ids::IdMaker;
use crate::store::Store;

/// Opens the database, which brings its schema up to date, and closes it.
///
/// # Errors
/// If it cannot be used.
pub async fn run(
    config: &Config,
    clock: Clock,
    entropy: Entropy,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let store = open(config, clock, entropy).await?;
    store.close().await;
    let shown = without_password(config.database.url.expose());
    writeln!(out, "the schema of {shown} is up to date")?;
    Ok(())
}

/// Opens the configured database.
///
/// # Errors
/// What is wrong with it, and which one it is.
pub(super) async fn open(config: &Config, clock: Clock, entropy: Entropy) -> Result<Store, StartError> {
    app::open_store(config, &clock, &IdMaker::new(clock.clone(), entropy.clone()), &entropy).await
}
