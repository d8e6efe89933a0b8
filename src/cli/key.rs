//! `key`: makes, lists and revokes API keys in the database.

use std::io::Write;

use clap::{Args, Subcommand, ValueEnum};

use super::{CommandError, migrate};
use crate::app::StartError;
use crate::clock::{Clock, rfc3339_ms};
use crate::config::Config;
use crate::domain::api_key::NewApiKey;
use crate::entropy::Entropy;
use crate::ids::{ApiKeyId, IdMaker};
use crate::store::{ApiKeyRow, Role, Store, StoreError};

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key; it is shown once
    New(NewKeyOptions),
    /// List all keys, revoked ones too
    List,
    /// Revoke a key
    Revoke {
        /// The key's id, as `key list` shows it
        id: String,
    },
}

/// What a new key may do.
#[derive(Debug, Args)]
pub struct NewKeyOptions {
    /// What people call it
    #[arg(long, default_value = "")]
    name: String,
    /// reader: look; operator: look, send and replay; admin: everything
    #[arg(long, value_enum, default_value_t = RoleName::Reader)]
    role: RoleName,
    /// A channel the key may see; may be given several times. Without it: all
    #[arg(long = "source", value_name = "CHANNEL")]
    sources: Vec<String>,
}

/// The roles as the command line writes them.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleName {
    Reader,
    Operator,
    Admin,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Reader => Self::Reader,
            RoleName::Operator => Self::Operator,
            RoleName::Admin => Self::Admin,
        }
    }
}

/// Does what `command` asks for.
///
/// # Errors
/// If the database cannot be used, or has no such key.
pub async fn run(
    command: &KeyCommand,
    config: &Config,
    clock: Clock,
    entropy: Entropy,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let store = migrate::open(config, clock.clone(), entropy.clone()).await.map_err(advise)?;
    let done = match command {
        KeyCommand::New(options) => new(&store, config, options, &clock, &entropy, out).await,
        KeyCommand::List => list(&store, out).await,
        KeyCommand::Revoke { id } => revoke(&store, id, clock.wall_ms(), out).await,
    };
    store.close().await;
    done
}

/// A SQLite file belongs to one process; on MySQL keys are made beside a running gateway.
fn advise(error: StartError) -> CommandError {
    match error {
        StartError::Database { source: StoreError::InUse(file), .. } => CommandError::Failed(format!(
            "{file} is in use, by a running gateway most likely: ask it with POST /api/v1/keys, or stop it for a moment"
        )),
        error => error.into(),
    }
}

async fn new(
    store: &Store,
    config: &Config,
    options: &NewKeyOptions,
    clock: &Clock,
    entropy: &Entropy,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    if let Some(unknown) =
        options.sources.iter().find(|name| !config.channels.iter().any(|it| it.name == **name))
    {
        return Err(CommandError::Usage(format!("there is no channel `{unknown}`")));
    }
    let made = NewApiKey::from_random(entropy.bytes());
    let row = ApiKeyRow {
        id: IdMaker::new(clock.clone(), entropy.clone()).make(),
        name: options.name.clone(),
        shown_prefix: made.shown_prefix,
        hash: made.hash,
        role: options.role.into(),
        sources: options.sources.clone(),
        created_ms: clock.wall_ms(),
        revoked_ms: None,
    };
    store.add_api_key(&row).await.map_err(failed)?;
    writeln!(out, "{}", made.key.expose())?;
    writeln!(
        out,
        "{} may {}. The key is shown this once; only its hash is stored.",
        row.id.as_str(),
        rights(&row)
    )?;
    Ok(())
}

fn rights(row: &ApiKeyRow) -> String {
    let verb = match row.role {
        Role::Reader => "look",
        Role::Operator => "look, send and replay",
        Role::Admin => "do everything",
    };
    if row.sources.is_empty() { verb.to_owned() } else { format!("{verb} in {}", row.sources.join(", ")) }
}

async fn list(store: &Store, out: &mut dyn Write) -> Result<(), CommandError> {
    let keys = store.api_keys().await.map_err(failed)?;
    if keys.is_empty() {
        writeln!(out, "there are no keys")?;
    }
    for row in keys {
        let sources = if row.sources.is_empty() { "all".to_owned() } else { row.sources.join(",") };
        let (id, prefix, role) = (row.id.as_str(), &row.shown_prefix, row.role.as_str());
        let state =
            row.revoked_ms.map_or_else(|| "in force".to_owned(), |at| format!("revoked {}", rfc3339_ms(at)));
        writeln!(
            out,
            "{id}  {prefix}…  {role:8}  {sources}  {}  {state}  {}",
            rfc3339_ms(row.created_ms),
            row.name
        )?;
    }
    Ok(())
}

async fn revoke(store: &Store, id: &str, now_ms: i64, out: &mut dyn Write) -> Result<(), CommandError> {
    let parsed = ApiKeyId::parse(id).ok_or_else(|| CommandError::Usage(format!("`{id}` is no key's id")))?;
    if !store.revoke_api_key(&parsed, now_ms).await.map_err(failed)? {
        return Err(CommandError::Failed(format!("there is no key {id} in force")));
    }
    writeln!(out, "{id} is revoked")?;
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "the form that `map_err` takes")]
fn failed(error: StoreError) -> CommandError {
    CommandError::Failed(error.to_string())
}
