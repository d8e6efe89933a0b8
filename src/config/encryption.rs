//! `encryption:` — keys that seal what people said in the rows; without one nothing is sealed.

use super::section::Section;
use crate::entropy::Entropy;
use crate::seals::{KEY_BYTES_MIN, Seals, id_of};
use crate::secret::Secret;

/// Keys at rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncryptionConfig {
    /// Seals what is written from now on; empty: it is written clear.
    pub key: Secret,
    /// Open what was sealed before.
    pub previous: Vec<Secret>,
}

impl EncryptionConfig {
    /// The keys in use.
    pub fn seals(&self, entropy: &Entropy) -> Seals {
        Seals::new(&self.key, &self.previous, entropy)
    }
}

pub(super) fn read(section: &mut Section<'_, '_>) -> EncryptionConfig {
    let place = section.place();
    let key = section.secret("key", "${GATEWAY_ENCRYPTION_KEY:-}");
    let what = format!("a key should have at least {KEY_BYTES_MIN} characters");
    if !key.is_empty() && key.expose().len() < KEY_BYTES_MIN {
        section.wrong("key", place, what.clone());
    }
    let mut ids: Vec<_> = id_of(&key).filter(|_| !key.is_empty()).into_iter().collect();
    let mut previous = Vec::new();
    for (old, place) in section.secrets("previous", "${GATEWAY_ENCRYPTION_PREVIOUS:-}") {
        let id = id_of(&old).unwrap_or_default();
        if old.expose().len() < KEY_BYTES_MIN {
            section.wrong("previous", place, what.clone());
        } else if ids.contains(&id) {
            section.wrong("previous", place, format!("the key {id} stands here a second time"));
        }
        ids.push(id);
        previous.push(old);
    }
    EncryptionConfig { key, previous }
}
