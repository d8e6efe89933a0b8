//! API keys: what they look like, and what is kept of them.
//!
//! A key is `wgk_` and 40 characters, 200 random bits. Only its SHA-256 is stored: with so many bits there is nothing
//! to guess, so a slow hash would slow nobody but us. The first characters are kept in clear to know keys apart.

use sha2::{Digest, Sha256};

use crate::secret::Secret;

/// Random bytes that a key takes, of which each gives 5 bits.
pub const RANDOM_BYTES: usize = 40;

/// A key that was just made; it is shown once and then forgotten.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// The key itself.
    pub key: Secret,
    /// Its first characters, by which people know it.
    pub shown_prefix: String,
    /// What is stored of it, as [`hash`] gives it.
    pub hash: String,
}

impl NewApiKey {
    /// Makes a key of random bytes.
    pub fn from_random(random: [u8; RANDOM_BYTES]) -> Self {
        let digit = |byte: u8| ALPHABET.get(usize::from(byte & 31)).copied().map_or('0', char::from);
        let key: String = PREFIX.chars().chain(random.into_iter().map(digit)).collect();
        let shown_prefix = key.chars().take(SHOWN_CHARACTERS).collect();
        Self { shown_prefix, hash: hash(&key), key: Secret::new(key) }
    }
}

/// The SHA-256 of `key` as 64 hex digits.
pub fn hash(key: &str) -> String {
    let halves = Sha256::digest(key.as_bytes()).into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
    halves.filter_map(|half| char::from_digit(half.into(), 16)).collect()
}

const PREFIX: &str = "wgk_";
/// Crockford's base32, without letters that look like digits.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// The prefix and 40 bits: enough to know a key by, nothing to guess the rest from.
const SHOWN_CHARACTERS: usize = PREFIX.len() + 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Entropy;

    #[test]
    fn a_key_has_200_bits_of_which_40_are_shown() {
        let entropy = Entropy::seeded(1);
        let (one, other) = (NewApiKey::from_random(entropy.bytes()), NewApiKey::from_random(entropy.bytes()));
        let text = one.key.expose();
        assert!(text.starts_with(&one.shown_prefix) && one.shown_prefix.len() == 12 && text.len() == 44);
        assert!(text.starts_with("wgk_") && text[4..].bytes().all(|b| ALPHABET.contains(&b)));
        assert_ne!(text, other.key.expose());
        assert_eq!(one.hash, hash(text));
        let all_bits = NewApiKey::from_random([0xff; RANDOM_BYTES]);
        assert_eq!(all_bits.key.expose()[4..], "z".repeat(40));
    }

    #[test]
    fn the_hash_is_sha_256_in_hex() {
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
