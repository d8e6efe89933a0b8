//! Figures of the spool. They stand at zero where there is none.

use metrics::Gauge;

use crate::http::metrics::Maker;
use crate::spool::SpoolState;

/// How the spool is doing.
#[derive(Debug)]
pub struct SpoolMetrics {
    in_use: Gauge,
    rows: Gauge,
    bytes: Gauge,
    oldest_seconds: Gauge,
    set_aside: Gauge,
}

impl SpoolMetrics {
    pub(super) fn new(make: &Maker<'_>) -> Self {
        Self {
            in_use: make.gauge("wecom_spool_in_use", "1 while callbacks go to the spool.", &[]),
            rows: make.gauge("wecom_spool_rows", "Callbacks that wait in the spool.", &[]),
            bytes: make.gauge("wecom_spool_bytes", "About how many bytes they take.", &[]),
            oldest_seconds: make.gauge(
                "wecom_spool_oldest_seconds",
                "How long the oldest callback waits in the spool.",
                &[],
            ),
            set_aside: make.gauge(
                "wecom_spool_set_aside",
                "Spooled callbacks that the database refused; they lie in the file.",
                &[],
            ),
        }
    }

    /// Takes over what the spool says of itself at `now_ms`, wall.
    pub fn set(&self, state: SpoolState, now_ms: i64) {
        let size = state.size;
        let waits_ms = if size.rows == 0 { 0 } else { now_ms.saturating_sub(size.oldest_ms).max(0) };
        self.in_use.set(if state.in_use { 1.0 } else { 0.0 });
        self.rows.set(figure(size.rows));
        self.bytes.set(figure(size.bytes));
        self.oldest_seconds.set(figure(u64::try_from(waits_ms / 1000).unwrap_or(0)));
        self.set_aside.set(figure(size.set_aside));
    }
}

/// A count for a gauge, right up to 4 Gi and capped there.
fn figure(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
