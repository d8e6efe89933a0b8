//! Who did what through the API, and who was turned away: rows in the store, written once a second.

use std::sync::Arc;

use crate::clock::Clock;
use crate::http::merge::{Merge, Merger};
use crate::http::minute::MinuteCounts;
use crate::http::origin::Origin;
use crate::ids::IdMaker;
use crate::store::{AuditRow, Store, StoreError};

/// Longest subject that is kept, in characters.
const SUBJECT_CHARS_MAX: usize = 256;

/// Notes acts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Audit(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    waiting: Merger<Counted>,
    repeated: MinuteCounts,
    clock: Clock,
    ids: IdMaker,
}

/// An act, and how often it came within the second.
#[derive(Clone, Debug)]
struct Counted {
    row: AuditRow,
    count: u64,
}

impl Audit {
    /// Nothing noted yet; at most `rows_per_s_max` rows a second will be.
    pub fn new(clock: Clock, ids: IdMaker, rows_per_s_max: usize) -> Self {
        let waiting = Merger::new(rows_per_s_max);
        Self(Arc::new(Parts { waiting, repeated: MinuteCounts::default(), clock, ids }))
    }

    /// Notes that `actor` did `action` to `subject`, or tried to.
    pub fn note(&self, origin: &Origin, actor: &str, action: &'static str, subject: &str) {
        let row = self.row(origin, actor, action, subject);
        tracing::info!(request_id = %origin.request_id, client = %origin.client, actor, action, subject = row.subject, "audit");
        self.0.waiting.add(Counted { row, count: 1 });
    }

    /// Notes what strangers can do as often as they like: the first of a minute, and how many more there were.
    pub fn note_repeated(&self, origin: &Origin, actor: &str, action: &str, subject: &str) {
        if let Some(row) = self.0.repeated.count(self.row(origin, actor, action, subject)) {
            tracing::info!(request_id = %origin.request_id, client = %origin.client, actor, action, subject = row.subject, "audit");
            self.0.waiting.add(Counted { row, count: 1 });
        }
    }

    fn row(&self, origin: &Origin, actor: &str, action: &str, subject: &str) -> AuditRow {
        AuditRow {
            id: self.0.ids.make(),
            at_ms: self.0.clock.wall_ms(),
            actor: actor.to_owned(),
            address: origin.client.to_string(),
            action: action.to_owned(),
            subject: subject.chars().take(SUBJECT_CHARS_MAX).collect(),
            detail: origin.request_id.to_string(),
        }
    }

    /// Writes what has come together; with `all`, the counts of the present minute too. What cannot be written waits
    /// for the next time.
    pub(crate) async fn write(&self, store: &Store, all: bool) -> Result<(), StoreError> {
        for row in self.0.repeated.take(self.0.clock.wall_ms(), all) {
            self.0.waiting.add(Counted { row: AuditRow { id: self.0.ids.make(), ..row }, count: 1 });
        }
        let counted = self.0.waiting.take();
        if counted.is_empty() {
            return Ok(());
        }
        let rows: Vec<AuditRow> = counted.iter().map(Counted::told).collect();
        let written = store.add_audit(&rows).await;
        if written.is_err() {
            self.0.waiting.put_back(counted);
        }
        written
    }
}

impl Counted {
    fn told(&self) -> AuditRow {
        let mut row = self.row.clone();
        if self.count > 1 {
            row.detail = format!("{} (the first of {})", row.detail, self.count);
        }
        row
    }
}

impl Merge for Counted {
    fn equals(&self, other: &Self) -> bool {
        let key = |row: &AuditRow| {
            (row.actor.clone(), row.address.clone(), row.action.clone(), row.subject.clone())
        };
        key(&self.row) == key(&other.row)
    }

    fn absorb(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
    }

    fn rest(first: Self) -> Self {
        let row = AuditRow {
            actor: String::new(),
            address: String::new(),
            action: "various".to_owned(),
            subject: String::new(),
            ..first.row
        };
        Self { row, count: first.count }
    }
}
