//! `check`: the configuration in force, secrets masked, and what each callback URL needs.
//!
//! With `--connect` it also tries what the configuration leads to: the database, the platform's API, and the public
//! address from outside. It changes nothing but the database's schema.

mod connect;
mod platform;
mod public_url;

use std::io::Write;

use bytes::Bytes;
use clap::Args;

use super::CommandError;
use super::seal::Sealed;
use crate::clock::Clock;
use crate::config::{ChannelConfig, Config, ConfigFile};
use crate::entropy::Entropy;
use crate::source::{RawCallback, SealedSettings, Sources, WECHAT};
use crate::wecom::keys::{EncodingAesKey, Token};
use crate::wecom::limits::ReadLimits;

/// Options of `check`.
#[derive(Debug, Args)]
pub struct CheckOptions {
    /// Also open the database, ask the platform for a token, and verify the public URL as the platform does
    #[arg(long)]
    connect: bool,
}

/// Reads the configuration and prints what follows from it.
///
/// # Errors
/// Everything that is wrong with the configuration; with `--connect`, whether something did not answer as it should.
pub async fn run(
    file: &ConfigFile,
    options: &CheckOptions,
    clock: Clock,
    entropy: Entropy,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let config = file.load()?;
    writeln!(out, "{file} is right. In force:")?;
    for setting in &config.settings {
        let shown = if setting.shown.is_empty() { "\"\"" } else { &setting.shown };
        writeln!(out, "  {} = {shown}  ({})", setting.path, setting.origin)?;
    }
    for channel in &config.channels {
        channel_needs(&config, channel, &clock, &entropy, out)?;
    }
    for warning in &config.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    if options.connect { connect::run(&config, clock, entropy, out).await } else { Ok(()) }
}

/// What to enter in the platform's console, and whether a URL verification would then succeed.
fn channel_needs(
    config: &Config,
    channel: &ChannelConfig,
    clock: &Clock,
    entropy: &Entropy,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    writeln!(out, "channel {}:", channel.name)?;
    if !channel.enabled {
        writeln!(out, "  off")?;
        return Ok(());
    }
    writeln!(out, "  can send: {}", if channel.can_send() { "yes" } else { "no" })?;
    if channel.has_route() {
        writeln!(out, "  callback URL: {}", callback_url(config, channel))?;
    }
    let Some(sealed) = &channel.sealed else { return Ok(()) };
    let limits = config.limits.callback.read;
    let SealedSettings { keys, receive_ids, previous, window_ms } = sealed;
    let receive_ids: Vec<String> = receive_ids.iter().map(|id| format!("`{id}`")).collect();
    writeln!(out, "  Token: {} characters", keys.token.expose().chars().count())?;
    writeln!(out, "  EncodingAESKey: {} characters", keys.encoding_aes_key.expose().chars().count())?;
    writeln!(out, "  receive ids: {}", receive_ids.join(", "))?;
    writeln!(out, "  previous keys: {}", if previous.is_some() { "accepted too" } else { "none" })?;
    writeln!(out, "  timestamps: up to {} min off", window_ms / 60_000)?;
    writeln!(out, "  URL verification: {}", rehearsal(channel, sealed, limits, clock, entropy))?;
    Ok(())
}

/// The URL to enter in the platform's console.
fn callback_url(config: &Config, channel: &ChannelConfig) -> String {
    let base = match config.webhook.public_url.as_str() {
        "" => "https://<your address>",
        url => url,
    };
    format!("{base}/api/v1/webhooks/{WECHAT}/{}", channel.handler)
}

/// Whether a URL verification with the configured keys is answered right.
fn rehearsal(
    channel: &ChannelConfig,
    sealed: &SealedSettings,
    limits: ReadLimits,
    clock: &Clock,
    entropy: &Entropy,
) -> String {
    let check = match UrlCheck::new(sealed, clock, entropy) {
        Ok(check) => check,
        Err(what) => return what,
    };
    let (headers, body) = (http::HeaderMap::new(), Bytes::new());
    let raw = RawCallback { query: &check.query, headers: &headers, body: &body, limits };
    let sources = match Sources::build(vec![channel.source()]) {
        Ok(sources) => sources,
        Err(problems) => return problems.join("; "),
    };
    match sources.handshake(WECHAT, &channel.handler, &raw, clock.wall_s()) {
        Ok(answer) if answer == check.echo.as_bytes() => "succeeds with these keys".to_owned(),
        Ok(_) => "is answered with another text".to_owned(),
        Err(refused) => format!("fails at {}: {}", refused.refusal.step.as_str(), refused.refusal.detail),
    }
}

/// A URL verification as the platform sends it.
struct UrlCheck {
    query: String,
    /// What has to come back.
    echo: String,
}

impl UrlCheck {
    /// One with the keys of `sealed`.
    fn new(sealed: &SealedSettings, clock: &Clock, entropy: &Entropy) -> Result<Self, String> {
        let token = Token::parse(sealed.keys.token.expose()).map_err(|error| error.to_string())?;
        let key = EncodingAesKey::parse(sealed.keys.encoding_aes_key.expose())
            .map_err(|error| error.to_string())?;
        let receive_id = sealed.receive_ids.iter().find(|id| *id != "*").cloned().unwrap_or_default();
        let echo = u64::from_le_bytes(entropy.bytes()).to_string();
        let query = Sealed::new(&token, &key, &receive_id, echo.as_bytes(), clock, entropy).url_check_query();
        Ok(Self { query, echo })
    }
}
