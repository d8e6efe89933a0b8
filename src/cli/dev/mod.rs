//! `dev …`: the other sides of the gateway, for tests and for people without an account.
//!
//! A fake WeCom platform, a player of platform callbacks, a receiver that shows what arrives. They speak the
//! protocols themselves and share no rule with the gateway but its ciphers, so that both cannot be wrong alike.

pub mod callback;
pub mod listener;
pub mod platform;
pub mod receiver;
pub mod samples;
pub mod wecom;

use std::io::{self, Write};

use clap::Subcommand;

/// What to play.
#[derive(Debug, Subcommand)]
pub enum DevCommand {
    /// A fake WeCom platform: robots, tokens, faults on demand, callbacks to a gateway.
    Wecom(wecom::WecomArgs),
    /// Send callbacks to a gateway as the platform would, or forged.
    Callback(callback::CallbackArgs),
    /// A receiver that prints every request and answers 200.
    Receiver(receiver::ReceiverArgs),
}

/// Plays it until it ends or is interrupted.
pub async fn run(command: DevCommand) -> anyhow::Result<()> {
    match command {
        DevCommand::Wecom(args) => wecom::run(args).await,
        DevCommand::Callback(args) => callback::run(args).await,
        DevCommand::Receiver(args) => receiver::run(args).await,
    }
}

/// One line on standard output.
fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
