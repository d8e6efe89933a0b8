//! The keys of a channel's callback URL.

use super::parts::Parts;
use crate::config::section::Section;
use crate::secret::Secret;
use crate::source::{CallbackKeys, SealedSettings, WINDOW_MS};
use crate::wecom::keys::{EncodingAesKey, Token};

/// The two keys of a callback URL, which come together.
const TOKEN: &str = "token";
const ENCODING_AES_KEY: &str = "encoding_aes_key";

/// Reads `previous` and `callback_window_ms`, and puts them to the keys among `parts` and to `receive_ids`. `None` if
/// there are no keys, or if the channel is not in use.
pub(super) fn read(
    section: &mut Section<'_, '_>,
    parts: &Parts,
    in_use: bool,
    receive_ids: Vec<String>,
) -> Option<SealedSettings> {
    let keys = take(section, parts);
    let window_ms = section.number("callback_window_ms", 1000..=i64::MAX, WINDOW_MS);
    let previous = section.section("previous", |section| {
        let parts = Parts::read(section, false, &[(TOKEN, ""), (ENCODING_AES_KEY, "")]);
        let keys = take(section, &parts);
        if in_use {
            check(section, &parts, &keys);
        }
        keys
    });
    if !in_use {
        return None;
    }
    match (keys.token.is_empty(), keys.encoding_aes_key.is_empty()) {
        (true, true) => return None,
        (true, false) => parts.require_half(section, TOKEN, ENCODING_AES_KEY),
        (false, true) => parts.require_half(section, ENCODING_AES_KEY, TOKEN),
        (false, false) => {}
    }
    check(section, parts, &keys);
    let has_previous = !previous.token.is_empty() || !previous.encoding_aes_key.is_empty();
    Some(SealedSettings { keys, previous: has_previous.then_some(previous), receive_ids, window_ms })
}

/// The keys as they stand in the file.
fn take(section: &mut Section<'_, '_>, parts: &Parts) -> CallbackKeys {
    parts.note_secret(section, TOKEN);
    parts.note_secret(section, ENCODING_AES_KEY);
    CallbackKeys {
        token: Secret::new(parts.text(TOKEN)),
        encoding_aes_key: Secret::new(parts.text(ENCODING_AES_KEY)),
    }
}

/// Reports keys whose form is wrong. Empty ones are a question for the caller.
fn check(section: &mut Section<'_, '_>, parts: &Parts, keys: &CallbackKeys) {
    let (token, key) = (keys.token.expose(), keys.encoding_aes_key.expose());
    if let (false, Err(error)) = (token.is_empty(), Token::parse(token)) {
        parts.wrong(section, TOKEN, &error.to_string());
    }
    if let (false, Err(error)) = (key.is_empty(), EncodingAesKey::parse(key)) {
        parts.wrong(section, ENCODING_AES_KEY, &error.to_string());
    }
}
