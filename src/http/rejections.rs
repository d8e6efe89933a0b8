//! Refused callbacks: a log line and a metric for each, and rows in the store that explain them to the operator.

use std::sync::Arc;

use crate::clock::Clock;
use crate::http::audit::Audit;
use crate::http::merge::{Merge, Merger};
use crate::http::metrics::Metrics;
use crate::http::origin::Origin;
use crate::ids::IdMaker;
use crate::store::{Rejection, Store, StoreError};

/// Longest detail that is kept, in characters.
const DETAIL_CHARS_MAX: usize = 512;

/// Notes what was refused. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rejections(Arc<Parts>, Option<Audit>);

#[derive(Debug)]
struct Parts {
    waiting: Merger<Rejection>,
    metrics: Arc<Metrics>,
    clock: Clock,
    ids: IdMaker,
}

/// What was refused and why; all of it is for the operator and none of it a secret.
#[derive(Clone, Copy, Debug, Default)]
pub struct Refused<'a> {
    /// The status it was answered with.
    pub status: u16,
    /// The source it was for, where one was found.
    pub source: Option<&'a str>,
    /// The step that failed.
    pub step: &'static str,
    /// What was wrong.
    pub detail: &'a str,
    /// The receive id the source is set up for, on a mismatch.
    pub expected_receive_id: Option<&'a str>,
    /// The receive id that stood in the message, on a mismatch.
    pub found_receive_id: Option<&'a str>,
}

impl Rejections {
    /// Nothing refused yet; at most `rows_per_s_max` rows a second will be written.
    pub fn new(metrics: Arc<Metrics>, clock: Clock, ids: IdMaker, rows_per_s_max: usize) -> Self {
        let waiting = Merger::new(rows_per_s_max);
        Self(Arc::new(Parts { waiting, metrics, clock, ids }), None)
    }

    /// Tells `audit` too, who was turned away.
    #[must_use]
    pub fn audited(self, audit: Audit) -> Self {
        Self(self.0, Some(audit))
    }

    /// Notes a request, not a callback, that was refused at `step` before anybody asked for a key.
    pub(crate) fn turned_away(&self, origin: &Origin, step: &'static str) {
        if let Some(audit) = &self.1 {
            audit.note_repeated(origin, "anonymous", &format!("request.{step}"), "");
        }
    }

    /// Notes one refused callback.
    pub fn note(&self, origin: &Origin, refused: Refused<'_>) {
        let Refused { status, source, step, detail, expected_receive_id, found_receive_id } = refused;
        tracing::warn!(
            request_id = %origin.request_id, client = %origin.client, status, source, step, detail,
            expected_receive_id, found_receive_id, "a callback was refused"
        );
        self.0.metrics.refused_at(step);
        // 503 is our own fault.
        if let (Some(audit), true) = (&self.1, status != 503) {
            audit.note_repeated(origin, "anonymous", &format!("callback.{step}"), source.unwrap_or_default());
        }
        if let Some(source) = source {
            let figures = self.0.metrics.source(source);
            if status == 503 { figures.busy.increment(1) } else { figures.refused.increment(1) }
        }
        self.0.waiting.add(Rejection {
            id: self.0.ids.make(),
            at_ms: self.0.clock.wall_ms(),
            source: source.map(str::to_owned),
            address: origin.client.to_string(),
            step: step.to_owned(),
            status: i64::from(status),
            detail: cut(detail),
            expected_receive_id: expected_receive_id.map(cut),
            found_receive_id: found_receive_id.map(cut),
            count: 1,
        });
    }

    /// Writes what has come together. What cannot be written waits for the next time.
    pub(crate) async fn write(&self, store: &Store) -> Result<(), StoreError> {
        let rows = self.0.waiting.take();
        if rows.is_empty() {
            return Ok(());
        }
        let written = store.add_rejections(&rows).await;
        if written.is_err() {
            self.0.waiting.put_back(rows);
        }
        written
    }
}

fn cut(text: &str) -> String {
    text.chars().take(DETAIL_CHARS_MAX).collect()
}

impl Merge for Rejection {
    fn equals(&self, other: &Self) -> bool {
        let key = |row: &Self| (row.status, row.expected_receive_id.clone(), row.found_receive_id.clone());
        self.step == other.step
            && self.source == other.source
            && self.address == other.address
            && key(self) == key(other)
    }

    fn absorb(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
    }

    fn rest(first: Self) -> Self {
        Self {
            source: None,
            address: String::new(),
            step: "various".to_owned(),
            status: 0,
            detail: "more refusals in this second, counted only".to_owned(),
            expected_receive_id: None,
            found_receive_id: None,
            ..first
        }
    }
}
