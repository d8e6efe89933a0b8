//! The command line: what there is to call, and which function does it.
//!
//! Secrets never stand on a command line, where every user of the machine can read them: they come from the
//! configuration, from variables or from files. Commands write to what they are given, so that tests can read it.

pub mod check;
pub mod codec;
pub mod demo;
pub mod dev;
mod error;
pub mod healthcheck;
pub mod key;
pub mod migrate;
mod openapi;
pub mod seal;
mod serve;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

pub use error::CommandError;

use crate::clock::Clock;
use crate::config::{ConfigFile, LogLevels};
use crate::entropy::Entropy;

/// A durable gateway for the callbacks of WeChat Work (企业微信, WeCom).
#[derive(Debug, Parser)]
#[command(name = "wecom-gateway", version, about)]
pub struct Arguments {
    /// The configuration. Default: what `GATEWAY_CONFIG` names, else config/notification.yaml, else the built-in one
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How much is logged: trace, debug, info, warn or error; parts by name: info,http=debug
    #[arg(long, global = true, value_name = "LEVEL", value_parser = log_levels)]
    pub log_level: Option<LogLevels>,
    /// What to do. Without a command: serve
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway
    Serve,
    /// Show the whole main job on this machine, with nothing configured
    Demo(demo::DemoOptions),
    /// Show the configuration in force, and what each callback URL needs
    Check(check::CheckOptions),
    /// Bring the database's schema up to date
    Migrate,
    /// Ask the gateway on this machine whether it is healthy; for containers
    Healthcheck,
    /// Print the OpenAPI document
    Openapi,
    /// Seal, open, sign or verify a callback with the keys of a channel
    Codec(codec::CodecOptions),
    /// Make, list or revoke API keys
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Tools for developers: play the platform, or a business system
    #[command(subcommand)]
    Dev(dev::DevCommand),
}

/// What a command works with.
pub struct Surroundings<'a> {
    /// The working directory, where `.env` and the default configuration are.
    pub directory: &'a Path,
    /// Standard input.
    pub input: &'a mut dyn Read,
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
}

/// Does what `arguments` ask for.
///
/// # Errors
/// A cause that prints as one line, and an exit code.
pub async fn run(arguments: Arguments, surroundings: Surroundings<'_>) -> Result<(), CommandError> {
    let Surroundings { directory, input, out, clock, entropy } = surroundings;
    let file = ConfigFile::find(arguments.config, arguments.log_level, directory)?;
    match arguments.command.unwrap_or(Command::Serve) {
        Command::Check(options) => check::run(&file, &options, clock, entropy, out).await,
        Command::Migrate => migrate::run(&file.load()?, clock, entropy, out).await,
        Command::Healthcheck => healthcheck::run(&file.load()?),
        Command::Codec(options) => codec::run(&options, &file, &clock, &entropy, input, out),
        Command::Key(command) => key::run(&command, &file.load()?, clock, entropy, out).await,
        Command::Serve => serve::run(file, clock, entropy).await,
        Command::Openapi => openapi::run(out),
        Command::Demo(options) => demo::run(&options, clock, entropy, out).await,
        Command::Dev(command) => {
            dev::run(command).await.map_err(|error| CommandError::Failed(format!("{error:#}")))
        }
    }
}

fn log_levels(text: &str) -> Result<LogLevels, String> {
    LogLevels::parse(text).ok_or_else(|| format!("should be {}", LogLevels::EXPECTED))
}
