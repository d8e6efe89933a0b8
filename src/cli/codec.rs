//! `codec`: what the platform does with a callback, by hand.
//!
//! Messages and sealed bodies come from standard input. Keys come from the configuration, from variables or from
//! files, never from the command line.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::CommandError;
use super::seal::Sealed;
use crate::clock::Clock;
use crate::config::ConfigFile;
use crate::entropy::Entropy;
use crate::secret::Secret;
use crate::source::CallbackKeys;
use crate::wecom::callback::{Opened, SealedCallback};
use crate::wecom::event;
use crate::wecom::keys::{EncodingAesKey, KeyError, ReceiveIds, Token};
use crate::wecom::limits::ReadLimits;
use crate::wecom::refusal::Refusal;
use crate::wecom::signature::Signature;

/// Options of `codec`.
#[derive(Debug, Args)]
pub struct CodecOptions {
    #[command(flatten)]
    keys: KeyOptions,
    #[command(subcommand)]
    action: CodecAction,
}

/// What to do with a callback.
#[derive(Debug, Subcommand)]
enum CodecAction {
    /// Seal a message as the platform does; prints the query and the body
    Seal {
        /// Print the query of a URL verification instead
        #[arg(long)]
        url_check: bool,
    },
    /// Open a sealed callback; prints the message
    Open {
        /// The query of its URL: `msg_signature=…&timestamp=…&nonce=…`, with `echostr` for a URL verification
        #[arg(long)]
        query: String,
    },
    /// Sign a ciphertext; prints the signature
    Sign {
        /// The timestamp of the URL
        #[arg(long)]
        timestamp: String,
        /// The nonce of the URL
        #[arg(long)]
        nonce: String,
    },
    /// Say whether a sealed callback is right, or which part of it is wrong
    Verify {
        /// The query of its URL, as for `open`
        #[arg(long)]
        query: String,
    },
}

/// Where the keys come from.
#[derive(Debug, Args)]
struct KeyOptions {
    /// Take the keys of this channel; without it, `WECHAT_TOKEN`, `WECHAT_ENCODING_AES_KEY` and `WECHAT_CORP_ID`
    #[arg(long, global = true, value_name = "NAME", conflicts_with_all = ["token_file", "encoding_aes_key_file"])]
    channel: Option<String>,
    /// A file with the Token
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A file with the `EncodingAESKey`
    #[arg(long, global = true, value_name = "FILE")]
    encoding_aes_key_file: Option<PathBuf>,
    /// The receive id behind the message: corp id, suite id, or empty; `*` accepts any
    #[arg(long, global = true, value_name = "ID")]
    receive_id: Option<String>,
}

/// Keys that can be used.
struct Keys {
    token: Token,
    encoding_aes_key: EncodingAesKey,
    receive_ids: ReceiveIds,
    /// What `seal` puts behind the message.
    receive_id: String,
}

/// Does what `options` ask for.
///
/// # Errors
/// If keys are missing or wrong, or the callback is.
pub fn run(
    options: &CodecOptions,
    file: &ConfigFile,
    clock: &Clock,
    entropy: &Entropy,
    input: &mut dyn Read,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let keys = Keys::find(&options.keys, file)?;
    match &options.action {
        CodecAction::Seal { url_check } => {
            let message = read_all(input)?;
            let Keys { token, encoding_aes_key, receive_id, .. } = &keys;
            let sealed = Sealed::new(token, encoding_aes_key, receive_id, &message, clock, entropy);
            if *url_check {
                writeln!(out, "{}", sealed.url_check_query())?;
            } else {
                writeln!(out, "{}\n{}", sealed.query, sealed.xml())?;
            }
        }
        CodecAction::Open { query } => {
            let opened = open(query, &keys, input)?;
            out.write_all(&opened.message)?;
            writeln!(out)?;
        }
        CodecAction::Sign { timestamp, nonce } => {
            let ciphertext = read_all(input)?;
            let ciphertext = String::from_utf8_lossy(&ciphertext);
            writeln!(out, "{}", Signature::over(&keys.token, timestamp, nonce, ciphertext.trim()).to_hex())?;
        }
        CodecAction::Verify { query } => {
            let Opened { message, receive_id } = open(query, &keys, input)?;
            let what = if is_url_check(query) {
                "a URL verification".to_owned()
            } else {
                event::read(&message, &ReadLimits::WIDEST).kind.to_string()
            };
            writeln!(out, "right: {what}, {} bytes for receive id `{receive_id}`", message.len())?;
        }
    }
    Ok(())
}

impl Keys {
    /// The keys of a channel if one is named, else from files and variables.
    fn find(options: &KeyOptions, file: &ConfigFile) -> Result<Self, CommandError> {
        let (keys, receive_ids) = match &options.channel {
            Some(name) => of_channel(name, file)?,
            None => of_variables(options, file)?,
        };
        let receive_ids = options.receive_id.clone().map_or(receive_ids, |id| vec![id]);
        let is_any = |id: &String| id == "*";
        Ok(Self {
            token: Token::parse(keys.token.expose()).map_err(wrong_key)?,
            encoding_aes_key: EncodingAesKey::parse(keys.encoding_aes_key.expose()).map_err(wrong_key)?,
            receive_id: receive_ids.iter().find(|id| !is_any(id)).cloned().unwrap_or_default(),
            receive_ids: if receive_ids.iter().any(is_any) {
                ReceiveIds::any()
            } else {
                ReceiveIds::new(receive_ids)
            },
        })
    }
}

fn of_channel(name: &str, file: &ConfigFile) -> Result<(CallbackKeys, Vec<String>), CommandError> {
    let channel = file.load()?.channels.into_iter().find(|channel| channel.name == name);
    let channel = channel.ok_or_else(|| CommandError::Usage(format!("there is no channel `{name}`")))?;
    let sealed = channel.sealed;
    let sealed = sealed
        .ok_or_else(|| CommandError::Usage(format!("channel {name} has no token and encoding_aes_key")))?;
    Ok((sealed.keys, sealed.receive_ids))
}

fn of_variables(
    options: &KeyOptions,
    file: &ConfigFile,
) -> Result<(CallbackKeys, Vec<String>), CommandError> {
    let environment = file.environment()?;
    let find = |path: Option<&Path>, variable: &str, option: &str| match (path, environment.get(variable)) {
        (Some(path), _) => {
            let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
            Ok(Secret::new(text.trim()))
        }
        (None, Some(text)) => Ok(Secret::new(text)),
        (None, None) => Err(CommandError::Usage(format!("set {variable}, or give --{option} or --channel"))),
    };
    let keys = CallbackKeys {
        token: find(options.token_file.as_deref(), "WECHAT_TOKEN", "token-file")?,
        encoding_aes_key: find(
            options.encoding_aes_key_file.as_deref(),
            "WECHAT_ENCODING_AES_KEY",
            "encoding-aes-key-file",
        )?,
    };
    // Without a corp id there is nothing to compare with, so any receive id will do.
    Ok((keys, vec![environment.get("WECHAT_CORP_ID").unwrap_or("*").to_owned()]))
}

/// Verifies and opens what came with `query`: its `echostr`, or the body on `input`.
fn open(query: &str, keys: &Keys, input: &mut dyn Read) -> Result<Opened, CommandError> {
    let query = query.trim_start_matches('?');
    let body = if is_url_check(query) { Vec::new() } else { read_all(input)? };
    let callback = if is_url_check(query) {
        SealedCallback::read_url_check(query, &ReadLimits::WIDEST)
    } else {
        SealedCallback::read(query, &body, &ReadLimits::WIDEST)
    };
    callback
        .and_then(|callback| callback.verify(&keys.token)?.decrypt(&keys.encoding_aes_key, &keys.receive_ids))
        .map_err(|Refusal { step, detail, .. }| {
            CommandError::Failed(format!("wrong at {}: {detail}", step.as_str()))
        })
}

fn is_url_check(query: &str) -> bool {
    query.split('&').any(|pair| pair.starts_with("echostr="))
}

fn read_all(input: &mut dyn Read) -> Result<Vec<u8>, CommandError> {
    let mut bytes = Vec::new();
    input.take(INPUT_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(path: &Path, error: &std::io::Error) -> CommandError {
    CommandError::Usage(format!("{} cannot be read: {error}", path.display()))
}

#[expect(clippy::needless_pass_by_value, reason = "the form that `map_err` takes")]
fn wrong_key(error: KeyError) -> CommandError {
    CommandError::Usage(error.to_string())
}

const INPUT_BYTES_MAX: u64 = 16 << 20;
