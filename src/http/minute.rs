//! Events of security that strangers cause: the first of its kind is written at once, all that follow in the same
//! minute become one row with their number. Equal are action, actor, address and subject.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::store::AuditRow;

/// Most kinds that are told apart within a minute; the rest is counted together.
const KINDS_MAX: usize = 1_000;

const MINUTE_MS: i64 = 60_000;

/// Who did what, from where, to what.
type Kind = (String, String, String, String);

/// What repeats itself within the present minute.
#[derive(Debug, Default)]
pub(super) struct MinuteCounts(Mutex<Present>);

#[derive(Debug, Default)]
struct Present {
    minute: i64,
    /// The first row of each kind, and how many came after it.
    kinds: HashMap<Kind, (AuditRow, u64)>,
    /// Rows of minutes that are over.
    over: Vec<AuditRow>,
}

impl MinuteCounts {
    /// Counts `row`; gives it back if it is the first of its kind, to be written at once.
    pub(super) fn count(&self, row: AuditRow) -> Option<AuditRow> {
        let mut present = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        present.turn(row.at_ms.div_euclid(MINUTE_MS));
        let full = present.kinds.len() >= KINDS_MAX;
        let mut kind = kind_of(&row);
        if full && !present.kinds.contains_key(&kind) {
            kind = ("various".to_owned(), String::new(), String::new(), String::new());
        }
        if let Some((_, more)) = present.kinds.get_mut(&kind) {
            *more = more.saturating_add(1);
            return None;
        }
        let (action, actor, address, subject) = kind.clone();
        let first = AuditRow { actor, address, action, subject, ..row };
        present.kinds.insert(kind, (first.clone(), 0));
        Some(first)
    }

    /// The rows of minutes that are over at `now_ms`; with `all`, of the present one too.
    pub(super) fn take(&self, now_ms: i64, all: bool) -> Vec<AuditRow> {
        let mut present = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        present.turn(if all { i64::MAX } else { now_ms.div_euclid(MINUTE_MS) });
        std::mem::take(&mut present.over)
    }
}

impl Present {
    /// Begins `minute`, if it is a later one.
    fn turn(&mut self, minute: i64) {
        if minute == self.minute {
            return;
        }
        self.minute = minute;
        let rows = self.kinds.drain().filter(|(_, (_, more))| *more > 0).map(|(_, (row, more))| AuditRow {
            detail: format!("{more} more in the same minute; the first: {}", row.detail),
            ..row
        });
        self.over.extend(rows);
    }
}

fn kind_of(row: &AuditRow) -> Kind {
    (row.action.clone(), row.actor.clone(), row.address.clone(), row.subject.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::entropy::Entropy;
    use crate::ids::IdMaker;

    fn row(at_ms: i64, address: &str) -> AuditRow {
        let ids = IdMaker::new(Clock::manual(at_ms), Entropy::seeded(1));
        AuditRow {
            id: ids.make(),
            at_ms,
            actor: "anonymous".to_owned(),
            address: address.to_owned(),
            action: "callback.signature".to_owned(),
            subject: "api".to_owned(),
            detail: "req".to_owned(),
        }
    }

    #[test]
    fn the_first_is_told_at_once_and_the_others_once_a_minute() {
        let counts = MinuteCounts::default();
        assert!(counts.count(row(60_000, "a")).is_some());
        for _ in 0..9 {
            assert_eq!(counts.count(row(61_000, "a")), None);
        }
        assert!(counts.count(row(61_000, "b")).is_some(), "another address");
        assert!(counts.take(119_999, false).is_empty(), "the minute is not over");
        let rows = counts.take(120_000, false);
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!(rows[0].detail, "9 more in the same minute; the first: req");
        assert!(counts.take(180_000, true).is_empty());
        assert!(counts.count(row(120_000, "a")).is_some(), "a new minute");
        counts.count(row(120_001, "a"));
        assert_eq!(counts.take(120_002, true).len(), 1, "a stop writes what is there");
    }

    #[test]
    fn strangers_cannot_fill_the_memory() {
        let counts = MinuteCounts::default();
        let told = (0..3_000).filter(|n| counts.count(row(60_000, &n.to_string())).is_some()).count();
        assert_eq!(told, KINDS_MAX + 1);
        let rows = counts.take(0, true);
        assert_eq!((rows.len(), rows[0].action.as_str()), (1, "various"));
        assert!(rows[0].detail.starts_with("1999 more"), "{}", rows[0].detail);
    }
}
