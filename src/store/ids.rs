//! Ids as places in time.

use crate::ids::EventId;

/// The lowest id with this prefix that can be made at `ms`.
pub(super) fn first_at(prefix: &str, ms: i64) -> String {
    let ms = u128::try_from(ms).unwrap_or(0).min((1 << 48) - 1);
    let id = EventId::from(ms << 80);
    prefix.to_owned() + id.as_str().trim_start_matches(EventId::PREFIX)
}

/// When an id was made, ms.
pub(super) fn ms_of(id: &EventId) -> i64 {
    // The first character holds three bits, the nine behind it five each: 48, which are the time.
    let digits = id.as_str().trim_start_matches(EventId::PREFIX).bytes().take(10);
    digits.fold(0, |ms, digit| ms << 5 | value_of(digit))
}

fn value_of(digit: u8) -> i64 {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    ALPHABET.iter().position(|known| *known == digit).and_then(|at| i64::try_from(at).ok()).unwrap_or(0)
}

/// Whether `text` is an id with this prefix.
pub(super) fn is_id(prefix: &str, text: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| EventId::parse(&[EventId::PREFIX, rest].concat()).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_id_of_a_millisecond_is_below_every_id_made_in_it() {
        let ms = 1_800_000_000_000;
        let first = first_at("msg_", ms);
        assert!(is_id("msg_", &first));
        assert!(!is_id("evt_", &first));
        assert!(first > first_at("msg_", ms - 1));
        let clock = crate::clock::Clock::manual(ms);
        let ids = crate::ids::IdMaker::new(clock, crate::entropy::Entropy::seeded(1));
        assert!(first <= ids.make::<crate::ids::MessageId>().to_string());
        for ms in [0, 1, ms, (1 << 48) - 1] {
            assert_eq!(ms_of(&EventId::parse(&first_at("evt_", ms)).unwrap()), ms);
        }
        assert!(first_at("msg_", i64::MIN) < first && first < first_at("msg_", i64::MAX));
    }
}
