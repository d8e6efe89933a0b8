//! Ids that say what they are: a prefix and a `UUIDv7` as 26 base32 characters.
//!
//! They are made once, where the thing comes into being, and kept through retries, spool and drain. Ids of one
//! process rise in the order of their making.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Clock;
use crate::entropy::Entropy;

/// Crockford's base32 in lower case: sorts as the number does, no `i`, `l`, `o`, `u`.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Makes ids that rise within this process.
#[derive(Clone, Debug)]
pub struct IdMaker {
    clock: Clock,
    entropy: Entropy,
    /// Milliseconds in the upper 48 bits, a counter in the lower 12 (of 16).
    last: Arc<AtomicU64>,
    /// Random words that no id has yet.
    spare: Arc<Mutex<Vec<u64>>>,
}

/// Random bytes fetched at once: a call into the system for each id costs more than the rest of it.
const SPARE_BYTES: usize = 512;

impl IdMaker {
    /// Ids stamped by `clock`, filled up by `entropy`.
    pub fn new(clock: Clock, entropy: Entropy) -> Self {
        Self { clock, entropy, last: Arc::default(), spare: Arc::default() }
    }

    /// A new id of any kind, for example `ids.make::<EventId>()`.
    pub fn make<I: From<u128>>(&self) -> I {
        I::from(self.uuid7())
    }

    /// A `UUIDv7` (RFC 9562 §5.7) with the 12 bits after the time as a counter.
    fn uuid7(&self) -> u128 {
        let now = u64::try_from(self.clock.id_ms()).unwrap_or(0) << 12;
        let previous = self
            .last
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(now.max(last.saturating_add(1))));
        let stamp = now.max(previous.unwrap_or_else(|last| last).saturating_add(1));
        let random = self.random();
        let (ms, counter) = (stamp >> 12, stamp & 0xFFF);
        (u128::from(ms & 0xFFFF_FFFF_FFFF) << 80)
            | (0x7 << 76)
            | (u128::from(counter) << 64)
            | (0b10 << 62)
            | u128::from(random >> 2)
    }

    /// Random bits that nobody else gets.
    fn random(&self) -> u64 {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.is_empty() {
            let bytes = self.entropy.bytes::<SPARE_BYTES>();
            spare.extend(bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)));
        }
        spare.pop().unwrap_or_default()
    }
}

/// 26 base32 characters, most significant first.
pub(crate) fn base32(number: u128) -> [u8; 26] {
    let mut out = [b'0'; 26];
    for (at, digit) in out.iter_mut().rev().enumerate() {
        let five_bits = usize::try_from((number >> (at * 5)) & 31).unwrap_or(0);
        *digit = ALPHABET.get(five_bits).copied().unwrap_or(b'0');
    }
    out
}

fn decodes(text: &str) -> bool {
    // 26 × 5 = 130 bits: the first character carries only three.
    text.len() == 26
        && text.bytes().all(|b| ALPHABET.contains(&b))
        && text.bytes().next().is_some_and(|first| first <= b'7')
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// What every id of this kind starts with.
            pub const PREFIX: &'static str = $prefix;

            /// The whole text, prefix included.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Reads the text form; `None` if it is not one.
            pub fn parse(text: &str) -> Option<Self> {
                decodes(text.strip_prefix($prefix)?).then(|| Self(text.to_owned()))
            }
        }

        impl From<u128> for $name {
            fn from(number: u128) -> Self {
                let mut text = String::with_capacity($prefix.len() + 26);
                text.push_str($prefix);
                text.extend(base32(number).map(char::from));
                Self(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// One event: `evt_…`.
    EventId,
    "evt_"
);
id!(
    /// One message to people: `msg_…`.
    MessageId,
    "msg_"
);
id!(
    /// One delivery: `dlv_…`.
    DeliveryId,
    "dlv_"
);
id!(
    /// One fact about a message: `evd_…`.
    EvidenceId,
    "evd_"
);
id!(
    /// One refused callback: `rej_…`.
    RejectionId,
    "rej_"
);
id!(
    /// One API key: `key_…`.
    ApiKeyId,
    "key_"
);
id!(
    /// One act in the audit trail: `aud_…`.
    AuditId,
    "aud_"
);
id!(
    /// A file given to us to be sent: `file_…`.
    FileId,
    "file_"
);

id!(
    /// One business system that gets events: `ep_…`.
    EndpointId,
    "ep_"
);
id!(
    /// One order to deliver stored events once more: `rpl_…`.
    ReplayId,
    "rpl_"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_even_when_the_clock_stands_or_falls() {
        let clock = Clock::manual(1_700_000_000_000);
        let ids = IdMaker::new(clock.clone(), Entropy::seeded(1));
        let mut last: EventId = ids.make();
        for step in 0..10_000 {
            clock.advance_ms(if step % 3 == 0 { -1 } else { 0 });
            let next: EventId = ids.make();
            assert!(next > last, "{next} after {last}");
            last = next;
        }
    }

    #[test]
    fn an_id_reads_back_and_others_do_not() {
        let ids = IdMaker::new(Clock::manual(1_700_000_000_000), Entropy::seeded(1));
        let id: MessageId = ids.make();
        assert_eq!(MessageId::parse(id.as_str()), Some(id.clone()));
        assert_eq!(id.as_str().len(), 30);
        assert!(id.as_str().starts_with("msg_01"), "the time comes first: {id}");
        assert_eq!(EventId::parse(id.as_str()), None);
        for bad in ["", "msg_", "msg_0", "msg_8zzzzzzzzzzzzzzzzzzzzzzzzz", "msg_01iiiiiiiiiiiiiiiiiiiiiiii"] {
            assert_eq!(MessageId::parse(bad), None, "{bad}");
        }
    }
}
