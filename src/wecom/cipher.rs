//! AES-256-CBC as the protocol uses it: initial vector from the key, padding to 32, and a frame inside.
//!
//! The frame is 16 random bytes, the message's length (four bytes, big-endian), the message, the receive id. CBC
//! proves nothing: only what carried a right signature may come here.

use aes::Aes256;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cbc::cipher::{Block, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit};

use crate::wecom::keys::EncodingAesKey;

/// Bytes a cipher block has.
pub const BLOCK_BYTES: usize = 16;

/// The padding fills up to a multiple of this many bytes, twice what AES would need.
const PADDED_TO: usize = 32;

/// Random bytes in front of the frame.
pub const RANDOM_BYTES: usize = 16;

/// Random bytes and length.
const HEAD_BYTES: usize = RANDOM_BYTES + 4;

/// Why a ciphertext cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CipherFault {
    /// Not a positive multiple of the block.
    #[error("the ciphertext has {0} bytes, not a positive multiple of 16")]
    Blocks(usize),
    /// The padding is not 1 to 32 equal bytes.
    #[error("the padding is wrong: usually the EncodingAESKey is another than the platform's")]
    Padding,
    /// The frame is shorter than its head, or than the length in its head.
    #[error("the frame's length is wrong: usually the EncodingAESKey is another than the platform's")]
    Length,
}

/// What a ciphertext held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The message, a slice of the one decrypted buffer.
    pub message: Bytes,
    /// What stands behind the message; need not be UTF-8 if the key was wrong.
    pub receive_id: Bytes,
}

/// Decrypts, and takes the frame apart.
///
/// # Errors
/// See [`CipherFault`].
pub fn open(key: &EncodingAesKey, ciphertext: &[u8]) -> Result<Frame, CipherFault> {
    if ciphertext.is_empty() || !ciphertext.len().is_multiple_of(BLOCK_BYTES) {
        return Err(CipherFault::Blocks(ciphertext.len()));
    }
    let mut buffer = ciphertext.to_vec();
    decrypt_blocks(key, &mut buffer);
    let framed = buffer.len() - padding(&buffer)?;
    let message = message_length(&buffer)?;
    let message_end =
        HEAD_BYTES.checked_add(message).filter(|end| *end <= framed).ok_or(CipherFault::Length)?;
    let mut frame = Bytes::from(buffer);
    frame.truncate(framed);
    Ok(Frame { message: frame.slice(HEAD_BYTES..message_end), receive_id: frame.slice(message_end..) })
}

/// How many bytes of padding stand at the end of `buffer`.
fn padding(buffer: &[u8]) -> Result<usize, CipherFault> {
    let last = buffer.last().copied().unwrap_or(0);
    let count = usize::from(last);
    let tail =
        buffer.len().checked_sub(count).and_then(|from| buffer.get(from..)).ok_or(CipherFault::Padding)?;
    if (1..=PADDED_TO).contains(&count) && tail.iter().all(|byte| *byte == last) {
        Ok(count)
    } else {
        Err(CipherFault::Padding)
    }
}

/// The length the frame's head states.
fn message_length(buffer: &[u8]) -> Result<usize, CipherFault> {
    let stated =
        buffer.get(RANDOM_BYTES..).and_then(|rest| rest.first_chunk::<4>()).ok_or(CipherFault::Length)?;
    usize::try_from(u32::from_be_bytes(*stated)).map_err(|_too_long| CipherFault::Length)
}

/// Frames and encrypts; the answer is base64 as transported. `random` must be fresh for every message.
///
/// The frame states the length in four bytes; a message of 4 GiB or more does not fit, and nobody will open it.
pub fn seal(key: &EncodingAesKey, random: [u8; RANDOM_BYTES], message: &[u8], receive_id: &str) -> String {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let framed = HEAD_BYTES + message.len() + receive_id.len();
    let padding = PADDED_TO - framed % PADDED_TO;
    let mut buffer = Vec::with_capacity(framed + padding);
    buffer.extend_from_slice(&random);
    buffer.extend_from_slice(&length.to_be_bytes());
    buffer.extend_from_slice(message);
    buffer.extend_from_slice(receive_id.as_bytes());
    // 1 to 32, so the conversion cannot fail.
    buffer.resize(framed + padding, u8::try_from(padding).unwrap_or_default());
    encrypt_blocks(key, &mut buffer);
    STANDARD.encode(&buffer)
}

fn encrypt_blocks(key: &EncodingAesKey, buffer: &mut [u8]) {
    let (blocks, _none) = Block::<Aes256>::slice_as_chunks_mut(buffer);
    cbc::Encryptor::<&Aes256>::inner_iv_init(key.cipher(), &key.initial_vector().into())
        .encrypt_blocks(blocks);
}

fn decrypt_blocks(key: &EncodingAesKey, buffer: &mut [u8]) {
    let (blocks, _none) = Block::<Aes256>::slice_as_chunks_mut(buffer);
    cbc::Decryptor::<&Aes256>::inner_iv_init(key.cipher(), &key.initial_vector().into())
        .decrypt_blocks(blocks);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> EncodingAesKey {
        EncodingAesKey::parse("kWxPEV2UEDyxWpmPdKC3F4dgPDmOvfKX1HGnEUDS1aR").unwrap()
    }

    fn decoded(text: &str) -> Vec<u8> {
        STANDARD.decode(text).unwrap()
    }

    #[test]
    fn a_published_ciphertext_is_made_and_opened() {
        let sealed = seal(&key(), *b"1234567890123456", b"test", "rust");
        assert_eq!(sealed, "9s4gMv99m88kKTh/H8IdkNiFGeG9pd7vNWl50fGRWXY=");
        let frame = open(&key(), &decoded(&sealed)).unwrap();
        assert_eq!((frame.message.as_ref(), frame.receive_id.as_ref()), (&b"test"[..], &b"rust"[..]));
    }

    #[test]
    fn every_length_of_padding_opens() {
        for length in 0..=4096 {
            let message: Vec<u8> = (0..length).map(|at: usize| u8::try_from(at % 251).unwrap()).collect();
            let ciphertext = decoded(&seal(&key(), [9; 16], &message, "ww1"));
            assert!(ciphertext.len().is_multiple_of(PADDED_TO));
            assert_eq!(open(&key(), &ciphertext).unwrap().message, message);
        }
    }

    #[test]
    fn only_whole_blocks_are_opened() {
        for length in [0, 1, 15, 17, 31] {
            assert_eq!(open(&key(), &vec![0; length]), Err(CipherFault::Blocks(length)));
        }
    }

    /// A plaintext of which only the last bytes are chosen: every last byte, at every position of disagreement.
    #[test]
    fn paddings_other_than_one_to_thirty_two_equal_bytes_are_refused() {
        for last in 0..=255_u8 {
            for differs_at in 0..32_usize {
                let mut plain = [[b'r'; 16].as_slice(), &[0, 0, 0, 12], &[b'm'; 12], &[last; 32]].concat();
                if differs_at > 0 {
                    let at = plain.len() - 1 - differs_at;
                    plain[at] = last.wrapping_add(1);
                }
                let good = (1..=32).contains(&last) && (differs_at == 0 || differs_at >= usize::from(last));
                assert_eq!(open(&key(), &encrypted(plain)).is_ok(), good, "{last} {differs_at}");
            }
        }
    }

    #[test]
    fn lengths_beyond_the_frame_are_refused() {
        for (stated, good) in
            [(0, true), (11, true), (12, true), (13, false), (u32::MAX, false), (12 << 24, false)]
        {
            let plain = [[b'r'; 16].as_slice(), &u32::to_be_bytes(stated), &[b'm'; 12], &[32; 32]].concat();
            let expected = if good { None } else { Some(CipherFault::Length) };
            assert_eq!(open(&key(), &encrypted(plain)).err(), expected, "{stated}");
        }
        assert_eq!(open(&key(), &encrypted(vec![32; 32])), Err(CipherFault::Length));
        assert_eq!(
            open(&key(), &encrypted([[0; 13].as_slice(), &[19; 19]].concat())),
            Err(CipherFault::Length)
        );
    }

    fn encrypted(mut plain: Vec<u8>) -> Vec<u8> {
        encrypt_blocks(&key(), &mut plain);
        plain
    }
}
