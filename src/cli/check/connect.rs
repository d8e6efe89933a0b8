//! `check --connect`: one line for each thing that was tried.

use std::io::Write;
use std::time::Duration;

use super::{UrlCheck, callback_url, platform, public_url};
use crate::cli::{CommandError, migrate};
use crate::clock::Clock;
use crate::config::{ChannelKindConfig, Config, without_password};
use crate::entropy::Entropy;
use crate::store::StoreError;

/// How one try ended.
pub(super) enum Finding {
    /// It works, and how.
    Right(String),
    /// It does not, and why.
    Wrong(String),
    /// It was left out, and why.
    Skipped(String),
}

/// Tries everything, and prints as it goes.
pub(super) async fn run(
    config: &Config,
    clock: Clock,
    entropy: Entropy,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let client = client()?;
    let mut tries = Tries { out, wrong: 0 };
    tries.note("database", database(config, clock.clone(), entropy.clone()).await)?;
    for channel in config.channels.iter().filter(|channel| channel.enabled) {
        let sending = format!("{} sending", channel.name);
        match &channel.kind {
            ChannelKindConfig::App(app) if channel.can_send() => {
                tries.note(&sending, platform::gettoken(&client, app).await)?;
            }
            ChannelKindConfig::App(_) => {}
            ChannelKindConfig::Robot(_) => {
                let why = "a robot's key shows only when something is sent".to_owned();
                tries.note(&sending, Finding::Skipped(why))?;
            }
        }
        let Some(sealed) = &channel.sealed else { continue };
        let verification = format!("{} URL verification", channel.name);
        let finding = if config.webhook.public_url.is_empty() {
            Finding::Skipped("webhook.public_url is not set".to_owned())
        } else {
            match UrlCheck::new(sealed, &clock, &entropy) {
                Ok(check) => {
                    public_url::verify(&client, config, &callback_url(config, channel), &check, &clock).await
                }
                Err(what) => Finding::Wrong(what),
            }
        };
        tries.note(&verification, finding)?;
    }
    match tries.wrong {
        0 => Ok(()),
        1 => Err(CommandError::Failed("one try failed".to_owned())),
        wrong => Err(CommandError::Failed(format!("{wrong} tries failed"))),
    }
}

struct Tries<'a> {
    out: &'a mut dyn Write,
    wrong: usize,
}

impl Tries<'_> {
    fn note(&mut self, what: &str, finding: Finding) -> Result<(), CommandError> {
        let (word, text) = match finding {
            Finding::Right(text) => ("right", text),
            Finding::Skipped(text) => ("not tried", text),
            Finding::Wrong(text) => {
                self.wrong += 1;
                ("WRONG", text)
            }
        };
        writeln!(self.out, "{what}: {word}: {text}")?;
        Ok(())
    }
}

/// No proxy, no redirect: what is tried is what the configuration says.
fn client() -> Result<reqwest::Client, CommandError> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(TIMEOUT)
        .timeout(TIMEOUT)
        .build()
        .map_err(|error| CommandError::Failed(format!("the HTTP client cannot start: {}", why(error))))
}

async fn database(config: &Config, clock: Clock, entropy: Entropy) -> Finding {
    let shown = without_password(config.database.url.expose());
    match migrate::open(config, clock, entropy).await {
        Ok(store) => {
            let answer = store.ping().await;
            store.close().await;
            match answer {
                Ok(()) => Finding::Right(format!("{shown} answers, its schema is up to date")),
                Err(error) => Finding::Wrong(format!("{shown}: {error}")),
            }
        }
        Err(crate::app::StartError::Database { source: StoreError::InUse(file), .. }) => {
            Finding::Right(format!("{file} is in use, by a running gateway most likely"))
        }
        Err(error) => Finding::Wrong(error.to_string()),
    }
}

/// The innermost cause of `error`, without the address, which may hold a secret.
pub(super) fn why(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", TIMEOUT.as_secs());
    }
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

const TIMEOUT: Duration = Duration::from_secs(5);
