//! How the platform reads what a request says.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// A number, or a text of digits: the platform takes both.
pub(super) fn number(value: Option<&Value>) -> Option<u64> {
    match value? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// Whether a card has something that calls back.
pub(super) fn calls_back(card: &Value) -> bool {
    let is_notice =
        card.get("card_type").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("_notice"));
    !is_notice || card.get("action_menu").is_some()
}

/// How long the platform is asked to know a repetition, in seconds.
pub(super) fn interval_s(request: &Map<String, Value>) -> Option<i64> {
    let asks = number(request.get("enable_duplicate_check")) == Some(1);
    asks.then(|| request.get("duplicate_check_interval").and_then(Value::as_i64).unwrap_or(1_800))
}

/// A short name for a request's JSON.
pub(super) fn digest(request: &Value) -> String {
    let digest = Sha256::digest(request.to_string().as_bytes());
    let number = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    format!("{number:016x}")
}

/// What makes two requests the same. `serde_json` keeps members sorted.
pub(super) fn canonical(request: &Map<String, Value>) -> [u8; 32] {
    Sha256::digest(Value::Object(request.clone()).to_string().as_bytes()).into()
}
