//! Sealing at rest: what people said is unreadable in the rows without the key.
//!
//! A sealed value says itself which key sealed it, so rows of several keys, and rows from before there was any, stand
//! beside each other. Layout of bytes: a mark, the key's id (8 hex digits), 24 random bytes, AES-256-GCM ciphertext
//! and tag; of texts: the same behind a mark of characters, in base64. Each value has an AES key of its own, made of
//! the random bytes, so that no number of values wears a key out; the cell (column and row) is bound in, so that a
//! value cannot be moved to another row. Empty values stay empty: there is nothing in them.

use std::borrow::Cow;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::Sha256;

use crate::domain::sealed::Unopened;
use crate::entropy::Entropy;
use crate::sabotage::{self, Protection};
use crate::secret::Secret;

/// Shortest key, in bytes.
pub const KEY_BYTES_MIN: usize = 16;

/// What sealed bytes begin with: no UTF-8 text does.
const MARK: &[u8] = b"\xF5WG\x01";

/// What sealed texts begin with.
const TEXT_MARK: &str = "$wgs1$";

const ID_CHARS: usize = 8;
const SALT_BYTES: usize = 24;

/// Stands for a key's id before a value that is clear, and only looks sealed.
const CLEAR: &str = "--------";

/// Characters (of a text) or bytes at the beginning of a value that tell who sealed it.
pub const HEAD_CHARS: usize = TEXT_MARK.len() + ID_CHARS + 1;

/// What the keys are for: another use of the same secret gets another key.
const PURPOSE: &[u8] = b"wecom-gateway: payloads at rest";
const ID_PURPOSE: &[u8] = b"wecom-gateway: id of a key at rest";

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell<'c> {
    /// Table and column.
    pub column: &'static str,
    /// The row's id.
    pub row: &'c str,
    /// Which of several with this id: the number of an attempt, the part of a file; else 0.
    pub part: i64,
}

impl<'c> Cell<'c> {
    /// The value of `column` in the row `row`.
    pub fn new(column: &'static str, row: &'c str) -> Self {
        Self { column, row, part: 0 }
    }

    fn to_aad(self) -> Vec<u8> {
        // Negative control: values can be moved from row to row.
        if sabotage::off(Protection::SealBinding) {
            return Vec::new();
        }
        let number = self.part.to_string();
        [self.column, "\0", self.row, "\0", &number].concat().into_bytes()
    }
}

/// The keys of a process; cheap to clone, and exchanged everywhere at once.
#[derive(Clone, Debug, Default)]
pub struct Seals(Arc<ArcSwap<Keys>>);

#[derive(Clone, Debug, Default)]
struct Keys {
    /// Seals what is written; `None`: it is written clear.
    current: Option<Arc<Key>>,
    /// Open what is read, the current one among them.
    all: Vec<Arc<Key>>,
}

#[derive(Debug)]
struct Key {
    id: String,
    mac: Hmac<Sha256>,
    entropy: Entropy,
}

/// A value that is too long to be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a value cannot be sealed")]
pub struct NotSealed;

impl Seals {
    /// Seals with `key`, unless it is empty, and opens what it or one of `previous` sealed.
    pub fn new(key: &Secret, previous: &[Secret], entropy: &Entropy) -> Self {
        let current = Key::new(key, entropy);
        let previous = previous.iter().filter_map(|key| Key::new(key, entropy));
        let all = current.iter().cloned().chain(previous).collect();
        Self(Arc::new(ArcSwap::from_pointee(Keys { current, all })))
    }

    /// Takes the keys of `other`, in every clone.
    pub fn replace(&self, other: &Self) {
        self.0.store(other.0.load_full());
    }

    /// The same keys, which do not change with these.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        Self(Arc::new(ArcSwap::new(self.0.load_full())))
    }

    /// The id of the key that seals; `None`: values are written clear.
    pub fn current(&self) -> Option<String> {
        self.0.load().current.as_ref().map(|key| key.id.clone())
    }

    /// The ids of all keys, the current one first.
    pub fn ids(&self) -> Vec<String> {
        self.0.load().all.iter().map(|key| key.id.clone()).collect()
    }

    /// `value` as it is written.
    ///
    /// # Errors
    /// It is longer than a cipher takes (64 GiB).
    pub fn seal<'v>(&self, cell: Cell<'_>, value: &'v [u8]) -> Result<Cow<'v, [u8]>, NotSealed> {
        match &self.0.load().current {
            Some(key) if !value.is_empty() && !sabotage::off(Protection::SealedAtRest) => {
                Ok(Cow::Owned([MARK, key.id.as_bytes(), &key.seal(cell, value)?].concat()))
            }
            _ if value.starts_with(MARK) => Ok(Cow::Owned([MARK, CLEAR.as_bytes(), value].concat())),
            _ => Ok(Cow::Borrowed(value)),
        }
    }

    /// `text` as it is written.
    ///
    /// # Errors
    /// As [`Seals::seal`].
    pub fn seal_text<'v>(&self, cell: Cell<'_>, text: &'v str) -> Result<Cow<'v, str>, NotSealed> {
        match &self.0.load().current {
            Some(key) if !text.is_empty() && !sabotage::off(Protection::SealedAtRest) => {
                let sealed = STANDARD_NO_PAD.encode(key.seal(cell, text.as_bytes())?);
                Ok(Cow::Owned([TEXT_MARK, &key.id, "$", &sealed].concat()))
            }
            _ if text.starts_with(TEXT_MARK) => Ok(Cow::Owned([TEXT_MARK, CLEAR, "$", text].concat())),
            _ => Ok(Cow::Borrowed(text)),
        }
    }

    /// What was written as `stored`.
    ///
    /// # Errors
    /// It is sealed and cannot be opened.
    pub fn open(&self, cell: Cell<'_>, stored: Vec<u8>) -> Result<Vec<u8>, Unopened> {
        let Some(rest) = stored.strip_prefix(MARK) else { return Ok(stored) };
        let (id, sealed) = rest.split_at_checked(ID_CHARS).ok_or(Unopened::Damaged)?;
        let id = std::str::from_utf8(id).map_err(|_no_id| Unopened::Damaged)?;
        if id == CLEAR { Ok(sealed.to_vec()) } else { self.key(id)?.open(cell, sealed) }
    }

    /// As [`Seals::open`], of a text.
    ///
    /// # Errors
    /// As [`Seals::open`].
    pub fn open_text(&self, cell: Cell<'_>, stored: String) -> Result<String, Unopened> {
        let Some(rest) = stored.strip_prefix(TEXT_MARK) else { return Ok(stored) };
        let (id, sealed) = rest.split_once('$').ok_or(Unopened::Damaged)?;
        if id == CLEAR {
            return Ok(sealed.to_owned());
        }
        let key = self.key(id)?;
        let sealed = STANDARD_NO_PAD.decode(sealed).map_err(|_no_base64| Unopened::Damaged)?;
        String::from_utf8(key.open(cell, &sealed)?).map_err(|_no_text| Unopened::Damaged)
    }

    /// Whether the value that begins with `head` (of [`HEAD_CHARS`]) would be written otherwise now.
    pub fn is_stale(&self, head: &[u8]) -> bool {
        if head.is_empty() {
            return false;
        }
        let sealed_by = sealed_by(head).filter(|id| *id != CLEAR.as_bytes());
        sealed_by != self.0.load().current.as_ref().map(|key| key.id.as_bytes())
    }

    fn key(&self, id: &str) -> Result<Arc<Key>, Unopened> {
        if id.len() != ID_CHARS || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Unopened::Damaged);
        }
        let keys = self.0.load();
        let found = keys.all.iter().find(|key| key.id == id);
        found.cloned().ok_or_else(|| Unopened::UnknownKey(id.to_owned()))
    }
}

/// The id in the first bytes of a value, or of a text.
fn sealed_by(head: &[u8]) -> Option<&[u8]> {
    let behind = head.strip_prefix(MARK).or_else(|| head.strip_prefix(TEXT_MARK.as_bytes()))?;
    behind.get(..ID_CHARS)
}

/// The id of the key made of `secret`: says which it is, and nothing about it.
pub fn id_of(secret: &Secret) -> Option<String> {
    let mac = keyed(secret, ID_PURPOSE)?;
    let digest = mac.finalize().into_bytes();
    let start = digest.iter().take(ID_CHARS / 2).fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    Some(format!("{start:08x}"))
}

fn keyed(secret: &Secret, purpose: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).ok()?;
    mac.update(purpose);
    Some(mac)
}

impl Key {
    /// `None`: there is none.
    fn new(secret: &Secret, entropy: &Entropy) -> Option<Arc<Self>> {
        if secret.is_empty() {
            return None;
        }
        let root = keyed(secret, PURPOSE)?.finalize().into_bytes();
        let mac = Hmac::<Sha256>::new_from_slice(&root).ok()?;
        Some(Arc::new(Self { id: id_of(secret)?, mac, entropy: entropy.clone() }))
    }

    /// The AES key of one value. It is used once, so its nonce may be the same for all.
    fn of_value(&self, salt: &[u8]) -> Option<(LessSafeKey, Nonce)> {
        let mut mac = self.mac.clone();
        mac.update(salt);
        let key = UnboundKey::new(&AES_256_GCM, &mac.finalize().into_bytes()).ok()?;
        Some((LessSafeKey::new(key), Nonce::assume_unique_for_key([0; NONCE_LEN])))
    }

    fn seal(&self, cell: Cell<'_>, value: &[u8]) -> Result<Vec<u8>, NotSealed> {
        let salt: [u8; SALT_BYTES] = self.entropy.bytes();
        let (key, nonce) = self.of_value(&salt).ok_or(NotSealed)?;
        let mut sealed = value.to_vec();
        key.seal_in_place_append_tag(nonce, Aad::from(cell.to_aad()), &mut sealed)
            .map_err(|_too_long| NotSealed)?;
        Ok([&salt[..], &sealed].concat())
    }

    fn open(&self, cell: Cell<'_>, sealed: &[u8]) -> Result<Vec<u8>, Unopened> {
        let (salt, sealed) = sealed.split_at_checked(SALT_BYTES).ok_or(Unopened::Damaged)?;
        let (key, nonce) = self.of_value(salt).ok_or(Unopened::Damaged)?;
        let mut sealed = sealed.to_vec();
        let opened = key.open_in_place(nonce, Aad::from(cell.to_aad()), &mut sealed);
        opened.map(|opened| opened.to_vec()).map_err(|_wrong| Unopened::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CELL: Cell<'static> = Cell { column: "events.payload", row: "evt_1", part: 0 };

    fn seals(key: &str, previous: &[&str]) -> Seals {
        let previous: Vec<Secret> = previous.iter().map(|key| Secret::new(*key)).collect();
        Seals::new(&Secret::new(key), &previous, &Entropy::seeded(5))
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_in_its_cell_only() {
        let mine = seals("the first key at rest", &[]);
        let [one, two] = [(); 2].map(|()| mine.seal(CELL, b"some words").unwrap().into_owned());
        assert!(one != two && !one.windows(5).any(|part| part == b"words"), "each sealing differs");
        assert_eq!(mine.open(CELL, one.clone()).unwrap(), b"some words");
        let elsewhere =
            [Cell { row: "evt_2", ..CELL }, Cell { column: "x.y", ..CELL }, Cell { part: 1, ..CELL }];
        for cell in elsewhere {
            assert_eq!(mine.open(cell, one.clone()), Err(Unopened::Damaged));
        }
        let other = seals("another key at rest", &[]);
        let id = mine.current().unwrap();
        assert_eq!(other.open(CELL, one.clone()), Err(Unopened::UnknownKey(id)));
        assert_eq!(
            seals("another key at rest", &["the first key at rest"]).open(CELL, one).unwrap(),
            b"some words"
        );
    }

    #[test]
    fn every_changed_or_missing_byte_is_seen() {
        let mine = seals("the first key at rest", &[]);
        let sealed = mine.seal(CELL, b"some words").unwrap().into_owned();
        let text = mine.seal_text(CELL, "some words").unwrap().into_owned();
        for at in 0..sealed.len() {
            let mut spoiled = sealed.clone();
            spoiled[at] ^= 0x20;
            assert_ne!(mine.open(CELL, spoiled).as_deref(), Ok(&b"some words"[..]), "byte {at}");
            assert_ne!(
                mine.open(CELL, sealed[..at].to_vec()).as_deref(),
                Ok(&b"some words"[..]),
                "cut at {at}"
            );
        }
        for at in 0..text.len() {
            assert_ne!(
                mine.open_text(CELL, text[..at].to_owned()).as_deref(),
                Ok("some words"),
                "cut at {at}"
            );
        }
    }

    #[test]
    fn clear_values_stay_what_they_are_even_if_they_look_sealed() {
        for seals in [Seals::default(), seals("", &["a key of before"]), seals("the first key at rest", &[])]
        {
            for value in [&b""[..], b"<xml/>", MARK, b"\xF5WG\x01--------", b"\xF5WG\x010123abcd and more"] {
                let stored = seals.seal(CELL, value).unwrap().into_owned();
                assert_eq!(seals.open(CELL, stored).unwrap(), value);
            }
            for text in ["", "{}", TEXT_MARK, "$wgs1$--------$x", "$wgs1$0123abcd$x"] {
                let stored = seals.seal_text(CELL, text).unwrap().into_owned();
                assert_eq!(seals.open_text(CELL, stored).unwrap(), text);
            }
        }
        assert!(
            matches!(Seals::default().seal(CELL, b"<xml/>"), Ok(Cow::Borrowed(_))),
            "nothing is added when off"
        );
    }

    #[test]
    fn what_would_be_written_otherwise_now_is_stale() {
        let (first, second) = (seals("the first key at rest", &[]), seals("the second key at rest", &[]));
        let clear = Seals::default();
        let head = |text: &str| text.as_bytes()[..text.len().min(HEAD_CHARS)].to_vec();
        let text = first.seal_text(CELL, "some words").unwrap().into_owned();
        let bytes = first.seal(CELL, b"some words").unwrap().into_owned()[..HEAD_CHARS].to_vec();
        for (head, stale) in [
            (head(&text), [false, true, true]),
            (bytes, [false, true, true]),
            (head("some words"), [true, true, false]),
            (head("$wgs1$--------$$wgs1$"), [true, true, false]),
            (head("$wg"), [true, true, false]),
            (head(""), [false, false, false]),
        ] {
            assert_eq!([&first, &second, &clear].map(|seals| seals.is_stale(&head)), stale, "{head:?}");
        }
    }

    #[test]
    fn keys_are_exchanged_in_every_clone() {
        let mine = seals("the first key at rest", &[]);
        let clone = mine.clone();
        mine.replace(&seals("the second key at rest", &["the first key at rest"]));
        assert_eq!((clone.ids().len(), clone.current()), (2, id_of(&Secret::new("the second key at rest"))));
    }
}
