//! `dev …`: the other sides of the gateway, for tests and for people without an account.
//!
//! A fake WeCom platform, a player of platform callbacks, a receiver that shows what arrives, a listener. They speak the
//! protocols themselves and share no rule with the gateway but its ciphers, so that both cannot be wrong alike.

pub mod callback;
pub mod listen;
pub mod listener;
pub mod platform;
pub mod post;
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
    /// A business system that prints what arrives, checks signatures, and misbehaves on request.
    Receiver(receiver::ReceiverArgs),
    /// Bring the live events of a gateway to this machine.
    Listen(listen::ListenArgs),
    /// Post signed events to a receiver in a loop, without a gateway.
    Post(post::PostArgs),
}

/// Plays it until it ends or is interrupted.
pub async fn run(command: DevCommand) -> anyhow::Result<()> {
    match command {
        DevCommand::Wecom(args) => wecom::run(args).await,
        DevCommand::Callback(args) => callback::run(args).await,
        DevCommand::Receiver(args) => receiver::run(args).await,
        DevCommand::Listen(args) => listen::run(args).await,
        DevCommand::Post(args) => post::run(args).await,
    }
}

/// One line on standard output.
fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
