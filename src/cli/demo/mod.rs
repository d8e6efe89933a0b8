//! `demo`: the whole main job on this machine, with nothing configured and no WeCom account.
//!
//! A gateway on SQLite and a fake WeCom platform run in this one process. The platform checks the callback URL,
//! sends callbacks of different kinds, repeats one, and somebody forges one; then the gateway sends a robot message
//! and its status is followed to the end; a business system that fails twice gets an event, and a replay of it; two
//! callbacks are answered at once, and a developer listens. Every step is a real request over loopback, printed with the command that
//! repeats it.

mod answers;
mod console;
mod forward;
mod sending;
mod site;
mod steps;

use std::io::Write;

use clap::Args;

use crate::cli::CommandError;
use crate::clock::Clock;
use crate::entropy::Entropy;
use console::Console;
use site::Site;

/// Options of `demo`.
#[derive(Debug, Args)]
pub struct DemoOptions {
    /// End after the last step instead of serving on
    #[arg(long)]
    pub once: bool,
}

/// Shows every step; then serves until Ctrl-C, unless told otherwise.
pub(super) async fn run(
    options: &DemoOptions,
    clock: Clock,
    entropy: Entropy,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let mut console = Console::new(out);
    let site = Site::start(clock, entropy).await.map_err(failed)?;
    let shown = steps::show(&site, &mut console).await;
    if shown.is_ok() && !options.once {
        console.title("Serving on: repeat any command above; Ctrl-C ends it")?;
        // Without signals there is nothing to wait for.
        let _interrupted = tokio::signal::ctrl_c().await;
    }
    site.stop().await;
    shown.map_err(failed)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn failed(error: anyhow::Error) -> CommandError {
    CommandError::Failed(format!("the demonstration failed: {error:#}"))
}
