//! Sealing small secrets for the database, with a key that is made of the master key.
//!
//! AES-256-GCM with a fresh nonce; the row's id is bound in, so that a sealed text cannot be moved to another row.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::Sha256;

use crate::entropy::Entropy;
use crate::secret::Secret;

/// Which form a sealed text has.
const FORM: &str = "v1.";

/// What the key is for: another use of the master key gets another key.
const PURPOSE: &[u8] = b"wecom-gateway: secrets of endpoints";

/// Shortest master key.
pub const MASTER_KEY_CHARS_MIN: usize = 16;

/// Seals and opens. Cheap to share.
#[derive(Debug)]
pub struct Vault {
    key: LessSafeKey,
    entropy: Entropy,
}

/// A sealed text that cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret in the database was sealed with another master key (GATEWAY_MASTER_KEY)")]
pub struct WrongKey;

impl Vault {
    /// A vault of `master_key`; `None` if it cannot be one.
    pub fn new(master_key: &Secret, entropy: Entropy) -> Option<Self> {
        Self::for_purpose(master_key, PURPOSE, entropy)
    }

    /// A vault whose key is made of `secret` for one `purpose`; `None` if it cannot be made.
    pub fn for_purpose(secret: &Secret, purpose: &[u8], entropy: Entropy) -> Option<Self> {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).ok()?;
        mac.update(purpose);
        let key = UnboundKey::new(&AES_256_GCM, &mac.finalize().into_bytes()).ok()?;
        Some(Self { key: LessSafeKey::new(key), entropy })
    }

    /// Seals `text` for the row `id`.
    pub fn seal(&self, id: &str, text: &Secret) -> Option<String> {
        let nonce: [u8; NONCE_LEN] = self.entropy.bytes();
        let mut sealed = text.expose().as_bytes().to_vec();
        let aad = Aad::from(id.as_bytes());
        self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).ok()?;
        Some(format!("{FORM}{}", STANDARD_NO_PAD.encode([&nonce[..], &sealed].concat())))
    }

    /// Opens what was sealed for the row `id`.
    ///
    /// # Errors
    /// It was sealed with another key, for another row, or is damaged.
    pub fn open(&self, id: &str, sealed: &str) -> Result<Secret, WrongKey> {
        let bytes = sealed.strip_prefix(FORM).and_then(|text| STANDARD_NO_PAD.decode(text).ok());
        let bytes = bytes.filter(|bytes| bytes.len() > NONCE_LEN).ok_or(WrongKey)?;
        let (nonce, sealed) = bytes.split_at(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_wrong| WrongKey)?;
        let mut sealed = sealed.to_vec();
        let opened = self.key.open_in_place(nonce, Aad::from(id.as_bytes()), &mut sealed);
        let opened = opened.map_err(|_wrong| WrongKey)?;
        std::str::from_utf8(opened).map(Secret::new).map_err(|_wrong| WrongKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(key: &str) -> Vault {
        Vault::new(&Secret::new(key), Entropy::seeded(3)).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_for_its_row_only() {
        let mine = vault("a master key of some length");
        let secret = Secret::new("whsec_0123456789");
        let (one, two) = (mine.seal("ep_1", &secret).unwrap(), mine.seal("ep_1", &secret).unwrap());
        assert!(one != two && !one.contains("whsec"), "each sealing differs");
        assert_eq!(mine.open("ep_1", &one).unwrap().expose(), secret.expose());
        assert_eq!(mine.open("ep_2", &one), Err(WrongKey));
        assert_eq!(vault("another master key").open("ep_1", &one), Err(WrongKey));
        for at in 0..one.len() {
            let mut spoiled = one.clone().into_bytes();
            spoiled[at] = if spoiled[at] == b'A' { b'B' } else { b'A' };
            let spoiled = String::from_utf8(spoiled).unwrap();
            assert!(mine.open("ep_1", &spoiled).map_or(true, |open| open == secret), "byte {at}");
        }
        assert_eq!(mine.open("ep_1", ""), Err(WrongKey));
        assert_eq!(mine.open("ep_1", "v1.AAAA"), Err(WrongKey));
    }
}
