//! Keys that stand in the configuration (`GATEWAY_API_KEYS`).

use sha2::{Digest, Sha256};

use super::Caller;
use crate::secret::Secret;
use crate::store::Role;

/// A key of the configuration: `NAME:ROLE:KEY`, or a bare key with every right.
#[derive(Clone, Debug)]
pub struct ConfiguredKey {
    pub(super) hash: [u8; 32],
    pub(super) caller: Caller,
}

impl ConfiguredKey {
    /// Reads one entry. Text without a role's word between two colons is a bare key.
    pub fn parse(entry: &Secret) -> Self {
        let text = entry.expose().trim();
        let named = || {
            let (name, rest) = text.split_once(':')?;
            let (role, key) = rest.split_once(':')?;
            Some((name, Role::parse(role)?, key))
        };
        let (name, role, key) = named().unwrap_or(("key", Role::Admin, text));
        let caller = Caller { actor: format!("config:{name}"), role, sources: Vec::new() };
        Self { hash: Sha256::digest(key.as_bytes()).into(), caller }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (String, Role, bool) {
        let key = ConfiguredKey::parse(&Secret::new(text));
        (key.caller.actor, key.caller.role, key.hash == <[u8; 32]>::from(Sha256::digest("k3y-k3y-k3y-k3y")))
    }

    #[test]
    fn a_key_has_a_name_and_a_role_or_every_right() {
        assert_eq!(parse("k3y-k3y-k3y-k3y"), ("config:key".to_owned(), Role::Admin, true));
        assert_eq!(
            parse("grafana:reader:k3y-k3y-k3y-k3y"),
            ("config:grafana".to_owned(), Role::Reader, true)
        );
        assert_eq!(parse("a:operator:k3y-k3y-k3y-k3y").1, Role::Operator);
        // Not a role: the whole text is the key.
        assert_eq!(parse("a:root:k3y-k3y-k3y-k3y"), ("config:key".to_owned(), Role::Admin, false));
    }
}
