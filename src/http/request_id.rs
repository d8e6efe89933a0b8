//! The id of a request: in the header `X-Request-Id`, in problems, in the log.
//!
//! Unlike the ids of stored things it is made for every request, so it asks the operating system for nothing: a
//! number drawn once by the process, and a counter, stand where a `UUIDv7` has its random bits. It is a number
//! until somebody reads it.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::http::{HeaderName, HeaderValue};

use crate::entropy::Entropy;
use crate::ids;

/// Where the id stands in an answer.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const PREFIX: &[u8; 4] = b"req_";

/// The id of one request: `req_` and 26 base32 characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(u128);

impl RequestId {
    fn text(self) -> [u8; 30] {
        let mut text = [0; 30];
        for (to, from) in text.iter_mut().zip(PREFIX.iter().chain(&ids::base32(self.0))) {
            *to = *from;
        }
        text
    }

    /// The value of [`X_REQUEST_ID`].
    pub(crate) fn header_value(self) -> HeaderValue {
        HeaderValue::from_bytes(&self.text()).unwrap_or(HeaderValue::from_static("req_"))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Makes request ids.
#[derive(Debug)]
pub(crate) struct RequestIds {
    process: u32,
    next: AtomicU32,
}

impl RequestIds {
    /// `entropy` is asked once.
    pub(crate) fn new(entropy: &Entropy) -> Self {
        Self { process: u32::from_le_bytes(entropy.bytes()) >> 2, next: AtomicU32::new(0) }
    }

    /// An id for a request that came at `now_ms`: 48 bits of time, 12 and 32 bits of the counter, 30 bits of the
    /// process, laid out as a `UUIDv7`.
    pub(crate) fn make(&self, now_ms: i64) -> RequestId {
        let counter = u128::from(self.next.fetch_add(1, Ordering::Relaxed));
        let ms = u128::from(now_ms.unsigned_abs()) & 0xFFFF_FFFF_FFFF;
        RequestId(
            (ms << 80)
                | (0x7 << 76)
                | ((counter & 0xFFF) << 64)
                | (0b10 << 62)
                | (u128::from(self.process) << 32)
                | counter,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_distinct_in_one_millisecond_and_over_processes() {
        let one = RequestIds::new(&Entropy::seeded(1));
        let other = RequestIds::new(&Entropy::seeded(2));
        let now_ms = 1_700_000_000_000;
        let ids: HashSet<String> =
            (0..5_000).flat_map(|_| [one.make(now_ms).to_string(), other.make(now_ms).to_string()]).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.len() == 30 && id.starts_with("req_")));
        assert_eq!(one.make(now_ms).header_value().to_str().unwrap().len(), 30);
    }
}
