//! The secrets of one endpoint: the one in use, and for a while the one before it. Sealed as one text.

use serde_json::{Value, json};

use super::{ForwardError, Parts};
use crate::domain::endpoint::{Dialect, EndpointSpec, SpecError};
use crate::endpoint::signing::SigningKey;
use crate::ids::EndpointId;
use crate::secret::Secret;

/// Why nothing can be sealed.
const NO_KEY: &str = "endpoints need auth.master_key (GATEWAY_MASTER_KEY) with 16 characters or more, which seals their secrets";

/// Longest password or token for a broker.
const PASSWORD_BYTES_MAX: usize = 1_024;

/// Secrets, newest first, each with the wall ms until which it signs.
#[derive(Clone, Debug, Default)]
pub(super) struct Keyring(pub(super) Vec<(Secret, Option<i64>)>);

impl Keyring {
    /// One secret for good.
    pub(super) fn of(secret: Secret) -> Self {
        Self(vec![(secret, None)])
    }

    /// The one in use; empty: there is none.
    pub(super) fn newest(&self) -> Secret {
        self.0.first().map(|(secret, _)| secret.clone()).unwrap_or_default()
    }

    /// The same with a new secret in front; those before it sign until `until_ms`.
    pub(super) fn rotated(&self, secret: Secret, now_ms: i64, until_ms: i64) -> Self {
        let old = self.0.iter().filter(|(_, until)| until.is_none_or(|until| until > now_ms));
        let old = old.map(|(secret, until)| (secret.clone(), Some(until.unwrap_or(until_ms).min(until_ms))));
        let kept = crate::domain::endpoint::SECRETS_MAX.saturating_sub(1);
        Self(std::iter::once((secret, None)).chain(old.take(kept)).collect())
    }

    fn to_text(&self) -> Secret {
        let all: Vec<Value> = self
            .0
            .iter()
            .map(|(secret, until_ms)| json!({"secret": secret.expose(), "until_ms": until_ms}))
            .collect();
        Secret::new(Value::from(all).to_string())
    }

    fn of_text(text: &Secret) -> Option<Self> {
        let all: Vec<Value> = serde_json::from_str(text.expose()).ok()?;
        let read =
            |one: &Value| Some((Secret::new(one.get("secret")?.as_str()?), one.get("until_ms")?.as_i64()));
        all.iter().map(read).collect::<Option<Vec<_>>>().map(Self)
    }
}

impl Parts {
    /// Seals the secrets of `id`.
    pub(super) fn seal(&self, id: &EndpointId, keyring: &Keyring) -> Result<String, ForwardError> {
        if keyring.0.is_empty() {
            return Ok(String::new());
        }
        let vault = self.vault.as_ref().ok_or(ForwardError::Conflict(NO_KEY))?;
        vault.seal(id.as_str(), &keyring.to_text()).ok_or(ForwardError::Conflict(NO_KEY))
    }

    /// Opens the secrets of `id`.
    pub(super) fn open(&self, id: &EndpointId, sealed: &str) -> Result<Keyring, ForwardError> {
        if sealed.is_empty() {
            return Ok(Keyring::default());
        }
        let vault = self.vault.as_ref().ok_or(ForwardError::Conflict(NO_KEY))?;
        let text = vault.open(id.as_str(), sealed);
        let text = text.map_err(|_wrong| {
            ForwardError::Conflict("the endpoint's secret was sealed with another master key")
        })?;
        Keyring::of_text(&text).ok_or(ForwardError::Conflict("the endpoint's secret cannot be read"))
    }
}

/// Checks a secret that somebody gave: what a broker asks for is a word of its own, what signs has a form.
pub(super) fn check_for(spec: &EndpointSpec, secret: &Secret) -> Result<Option<SigningKey>, SpecError> {
    if spec.kind.is_http() {
        return check(secret, spec.dialect).map(Some);
    }
    let text = secret.expose();
    if (1..=PASSWORD_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control) {
        Ok(None)
    } else {
        Err(SpecError::new("secret", format!("must have 1 to {PASSWORD_BYTES_MAX} bytes")))
    }
}

fn check(secret: &Secret, dialect: Dialect) -> Result<SigningKey, SpecError> {
    let key = SigningKey::parse(secret).map_err(|why| SpecError::new("secret", why))?;
    if key.fits(dialect) {
        Ok(key)
    } else {
        Err(SpecError::new("secret", "signs only in the dialect `standard`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_before_signs_for_a_while() {
        let first = Keyring::of(Secret::new("the first secret"));
        let second = first.rotated(Secret::new("the second secret"), 1_000, 5_000);
        let expected = [("the second secret", None), ("the first secret", Some(5_000))];
        let shown = |ring: &Keyring| {
            ring.0.iter().map(|(secret, until)| (secret.expose().to_owned(), *until)).collect::<Vec<_>>()
        };
        assert_eq!(shown(&second), expected.map(|(text, until)| (text.to_owned(), until)));
        let third = second.rotated(Secret::new("the third secret"), 6_000, 9_000);
        assert_eq!(shown(&third).len(), 2, "what no longer signs is forgotten");
        assert_eq!(shown(&Keyring::of_text(&second.to_text()).unwrap()), shown(&second));
    }
}
