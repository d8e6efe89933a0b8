//! What the last process may not have come to: the messages whose status in lists may be old.
//!
//! Those are the messages that were moving, and those that the newest evidence speaks of. They are looked at in small
//! steps, so that new evidence does not wait for them.

use std::collections::HashSet;

use crate::domain::status::Status;
use crate::ids::EvidenceId;
use crate::store::{MessageFilter, Store, StoreError};

/// References of one step.
const STEP: usize = 64;

/// How long before the newest evidence the follower may have been behind.
const BEHIND_MS: i64 = 120_000;

/// Most rows of evidence that are gone through.
const ROWS_MAX: usize = 20_000;

/// What is still to be looked at.
#[derive(Debug)]
pub(super) struct Backlog {
    part: Part,
    cursor: Option<String>,
}

#[derive(Debug)]
enum Part {
    /// Messages that stand at this status.
    Messages(Status),
    /// Evidence before this one, and since that time, while there are rows left.
    Evidence {
        before: Option<EvidenceId>,
        since_ms: i64,
        rows_left: usize,
    },
    Done,
}

impl Backlog {
    pub(super) fn new() -> Self {
        Self { part: Part::Messages(Status::Pending), cursor: None }
    }

    /// Nothing to be looked at.
    pub(super) fn none() -> Self {
        Self { part: Part::Done, cursor: None }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.part, Part::Done)
    }

    /// The next references; none does not mean that there are no more.
    pub(super) async fn step(&mut self, store: &Store) -> Result<HashSet<String>, StoreError> {
        match &mut self.part {
            Part::Done => Ok(HashSet::new()),
            Part::Messages(status) => {
                let status = *status;
                let cursor = self.cursor.take();
                let filter =
                    MessageFilter { status: Some(status), limit: STEP, cursor, ..MessageFilter::default() };
                let page = store.messages(&filter).await?;
                self.cursor = page.next_cursor;
                if self.cursor.is_none() {
                    self.part = match status {
                        Status::Pending => Part::Messages(Status::Uncertain),
                        _ => Part::Evidence { before: None, since_ms: i64::MIN, rows_left: ROWS_MAX },
                    };
                }
                Ok(page.items.into_iter().map(|message| message.id.to_string()).collect())
            }
            Part::Evidence { before, since_ms, rows_left } => {
                let rows = store.newest_references(before.as_ref(), STEP.min(*rows_left)).await?;
                if before.is_none()
                    && let Some((_, _, newest_ms)) = rows.first()
                {
                    *since_ms = newest_ms.saturating_sub(BEHIND_MS);
                }
                *rows_left = rows_left.saturating_sub(rows.len());
                let oldest = rows.last().map(|(id, _, at_ms)| (id.clone(), *at_ms));
                let since_ms = *since_ms;
                match oldest {
                    Some((id, at_ms)) if at_ms >= since_ms && *rows_left > 0 => *before = Some(id),
                    _ => self.part = Part::Done,
                }
                let fresh = rows.into_iter().filter(|(_, _, at_ms)| *at_ms >= since_ms);
                Ok(fresh.map(|(_, reference, _)| reference).collect())
            }
        }
    }
}
