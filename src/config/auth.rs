//! `auth:` — who may ask and manage, and the key that seals secrets at rest.

use ipnet::IpNet;

use super::section::Section;
use super::webhook::networks;
use crate::secret::Secret;
use crate::store::Role;

/// Keys from the configuration; more can be made with `wecom-gateway key new`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// Keys of the management API: a key with every right, or `NAME:ROLE:KEY`.
    pub api_keys: Vec<Secret>,
    /// Seals the secrets of endpoints; empty if none.
    pub master_key: Secret,
    /// Client addresses that may call the management API; empty allows all.
    pub allow: Vec<IpNet>,
}

impl AuthConfig {
    /// A key that this configuration would accept, as a client sends it.
    pub fn own_key(&self) -> Option<&str> {
        self.api_keys.first().map(key_of)
    }
}

pub(super) fn read(section: &mut Section<'_, '_>) -> AuthConfig {
    const KEY: &str = "api_keys";
    let mut api_keys = Vec::new();
    for (key, place) in section.secrets(KEY, "${GATEWAY_API_KEYS:-}") {
        if key_of(&key).len() < API_KEY_BYTES_MIN {
            section.wrong(KEY, place, format!("a key should have at least {API_KEY_BYTES_MIN} characters"));
        }
        api_keys.push(key);
    }
    let master_key = section.secret("master_key", "${GATEWAY_MASTER_KEY:-}");
    AuthConfig { api_keys, master_key, allow: networks(section, "allow", "${GATEWAY_API_ALLOW:-}") }
}

/// The key of an entry, without name and role.
fn key_of(entry: &Secret) -> &str {
    let text = entry.expose().trim();
    let named = || {
        let (_name, rest) = text.split_once(':')?;
        let (role, key) = rest.split_once(':')?;
        Role::parse(role).map(|_| key)
    };
    named().unwrap_or(text)
}

const API_KEY_BYTES_MIN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_an_entry_stands_behind_name_and_role() {
        for (entry, key) in
            [("k3y-k3y", "k3y-k3y"), ("grafana:reader:k3y", "k3y"), ("a:root:k3y", "a:root:k3y")]
        {
            assert_eq!(key_of(&Secret::new(entry)), key);
        }
    }
}
