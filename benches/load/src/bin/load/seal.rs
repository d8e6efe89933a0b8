//! Sealing as the WeCom platform does it, written apart from the gateway so that neither can hide the other's
//! mistakes.

use std::fmt::Write;

use aes::Aes256;
use anyhow::{Context, ensure};
use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, PAD, STANDARD};
use cbc::Encryptor;
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockModeEncrypt, KeyIvInit};
use sha1::{Digest, Sha1};

/// Padding reaches up to a whole block of this size, twice the cipher's own.
const BLOCK_BYTES: usize = 32;

/// What seals for one callback URL.
pub struct Sealer {
    token: String,
    receive_id: String,
    key: [u8; 32],
}

/// A sealed plaintext: the three query parameters and the ciphertext in base64.
pub struct Sealed {
    pub msg_signature: String,
    pub timestamp: String,
    pub nonce: String,
    pub encrypt: String,
}

impl Sealer {
    /// Reads the 43 characters of an `EncodingAESKey`; its unused trailing bits may have any value.
    pub fn new(token: &str, encoding_aes_key: &str, receive_id: &str) -> anyhow::Result<Self> {
        let lenient = GeneralPurpose::new(&alphabet::STANDARD, PAD.with_decode_allow_trailing_bits(true));
        let bytes = lenient.decode(format!("{encoding_aes_key}=")).context("the key is not base64")?;
        ensure!(bytes.len() == 32, "the key has {} bytes, not 32", bytes.len());
        let mut key = [0; 32];
        key.copy_from_slice(&bytes);
        Ok(Self { token: token.to_owned(), receive_id: receive_id.to_owned(), key })
    }

    /// Encrypts and signs `plaintext` as of `timestamp` (seconds); `random` fills the leading 16 bytes and the
    /// nonce.
    pub fn seal(&self, plaintext: &str, timestamp: u64, random: [u8; 16]) -> anyhow::Result<Sealed> {
        let mut frame = Vec::with_capacity(plaintext.len() + self.receive_id.len() + 20 + BLOCK_BYTES);
        frame.extend(random);
        frame.extend(u32::try_from(plaintext.len())?.to_be_bytes());
        frame.extend(plaintext.as_bytes());
        frame.extend(self.receive_id.as_bytes());
        let padding = BLOCK_BYTES - frame.len() % BLOCK_BYTES;
        frame.resize(frame.len() + padding, u8::try_from(padding)?);

        let cipher = Encryptor::<Aes256>::new_from_slices(&self.key, &self.key[..16])?;
        let length = frame.len();
        let encrypted = cipher.encrypt_padded::<NoPadding>(&mut frame, length)?;
        let encrypt = STANDARD.encode(encrypted);

        let timestamp = timestamp.to_string();
        let nonce = u64::from_le_bytes(random[..8].try_into()?).to_string();
        let mut parts = [self.token.as_str(), &timestamp, &nonce, &encrypt];
        parts.sort_unstable();
        let mut hash = Sha1::new();
        for part in parts {
            hash.update(part);
        }
        let mut msg_signature = String::with_capacity(40);
        for byte in hash.finalize() {
            write!(msg_signature, "{byte:02x}")?;
        }
        Ok(Sealed { msg_signature, timestamp, nonce, encrypt })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with npm @wecom/crypto 1.0.1.
    #[test]
    fn agrees_with_the_platforms_own_library() -> anyhow::Result<()> {
        let platform = Sealer::new("tok", "zQUMPM08HSe8jnPJjoqgA2RB19fLy0Mg1YLVUHFjxQR", "ww1234")?;
        let sealed = platform.seal("<xml>企业微信</xml>", 1_700_000_000, *b"0123456789abcdef")?;
        assert_eq!(
            sealed.encrypt,
            "Z0dih0bL0sBQpKjIwqSnRr5LWtk+dDsSoSsgGzGdJE+0d2LyvALMrqCMlYn3WM+rrfY/MTfdGIHmZ1UFbecgUg=="
        );
        assert_eq!(sealed.nonce, "3978425819141910832");
        assert_eq!(sealed.msg_signature, "9a5c491376298731606ff094ffdc5e284804dc48");
        Ok(())
    }
}
