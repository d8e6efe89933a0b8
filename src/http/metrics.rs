//! What is counted, under which names.
//!
//! Handles are made once, so that counting on the hot path is one atomic addition. The recorder belongs to the
//! gateway, so that two of them in one process (tests) do not mix their figures; the composition root may lend it to
//! the macros of the crate `metrics`, by which rarer things are counted where they happen.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, SetRecorderError, Unit,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::dispatch::QueueEvent;
use crate::domain::status::Status;
use crate::http::process::ProcessMetrics;
use crate::http::route_class::RouteClass;
use crate::http::spool_metrics::SpoolMetrics;

/// Upper edges in seconds. The platform gives up at 5 s.
const DURATION_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Statuses with a counter of their own; any other counts as 500.
const STATUSES: [u16; 18] =
    [200, 201, 202, 204, 400, 401, 403, 404, 405, 408, 409, 413, 414, 415, 429, 431, 500, 503];

const METADATA: Metadata<'static> = Metadata::new("wecom_gateway", Level::INFO, None);

/// Every figure of the gateway.
pub struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    classes: [ClassMetrics; RouteClass::ALL.len()],
    sources: RwLock<HashMap<Box<str>, Arc<SourceMetrics>>>,
    refusals: RwLock<HashMap<&'static str, Counter>>,
    messages: [(Status, Gauge); 2],
    process: ProcessMetrics,
    /// Requests whose handler panicked.
    pub panics: Counter,
    /// Connections open now.
    pub connections: Gauge,
    /// Connections closed because there were too many.
    pub connections_refused: Counter,
    /// Body bytes in memory now.
    pub body_bytes: Gauge,
    /// Accepted callbacks that wait for their commit.
    pub queue_depth: Gauge,
    /// Unfinished deliveries.
    pub deliveries_due: Gauge,
    /// 1 while the database answers.
    pub store_up: Gauge,
    /// 1 while Redis answers.
    pub redis_up: Gauge,
    /// How the spool is doing.
    pub spool: SpoolMetrics,
}

/// Figures of one class of routes.
struct ClassMetrics {
    by_status: [Counter; STATUSES.len()],
    client_errors: Counter,
    server_errors: Counter,
    duration: Histogram,
}

/// Figures of one source.
#[derive(Debug)]
pub struct SourceMetrics {
    /// Callbacks with at least one event that was new.
    pub accepted: Counter,
    /// Callbacks that only repeated what was known.
    pub repeated: Counter,
    /// Callbacks refused: wrong signature, wrong form, …
    pub refused: Counter,
    /// Callbacks answered `503`: queue full, database away, deadline passed.
    pub busy: Counter,
}

impl Metrics {
    /// A recorder with every figure at zero. `version` is the gateway's.
    pub fn new(version: &'static str) -> Self {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &DURATION_BUCKETS)
            .unwrap_or_else(|_| PrometheusBuilder::new())
            .build_recorder();
        let make = Maker(&recorder);
        for status in Status::ALL {
            // Counted by the tracker; registered here so that each stands at zero from the start.
            let labels = [("status", status.as_str())];
            let help = "Messages that came into this status.";
            make.counter("wecom_message_transitions_total", help, &labels).increment(0);
        }
        for event in QueueEvent::ALL {
            // Counted by the sender.
            let help = "Deliveries that ended, and parts of the queue taken over from a silent owner.";
            make.counter("wecom_queue_events_total", help, &[("event", event.as_str())]).increment(0);
        }
        // Set by `dispatch`.
        let help = "Shards that this replica sends for, on MySQL.";
        make.gauge("wecom_shards_held", help, &[]).set(0.0);
        // Counted by `ephemeral`.
        make.counter("wecom_redis_errors_total", "Questions to Redis that failed.", &[]).increment(0);
        make.gauge("wecom_build_info", "The running version.", &[("version", version)]).set(1.0);
        Self {
            handle: recorder.handle(),
            classes: RouteClass::ALL.map(|class| ClassMetrics::new(&make, class)),
            sources: RwLock::default(),
            refusals: RwLock::default(),
            messages: [Status::Pending, Status::Uncertain].map(|status| {
                let labels = [("status", status.as_str())];
                (status, make.gauge("wecom_messages", "Messages in this status.", &labels))
            }),
            process: ProcessMetrics::new(&make),
            panics: make.counter("wecom_http_panics_total", "Requests whose handler panicked.", &[]),
            connections: make.gauge("wecom_http_connections", "Open connections.", &[]),
            connections_refused: make.counter(
                "wecom_http_connections_refused_total",
                "Connections closed because there were too many.",
                &[],
            ),
            body_bytes: make.gauge("wecom_http_body_bytes", "Body bytes in memory.", &[]),
            queue_depth: make.gauge(
                "wecom_ingest_queue_depth",
                "Accepted callbacks that wait for their commit.",
                &[],
            ),
            deliveries_due: make.gauge("wecom_deliveries_due", "Unfinished deliveries.", &[]),
            store_up: make.gauge("wecom_store_up", "1 while the database answers.", &[]),
            redis_up: make.gauge("wecom_redis_up", "1 while Redis answers; 0 where none is configured.", &[]),
            spool: SpoolMetrics::new(&make),
            recorder: Arc::new(recorder),
        }
    }

    /// Counts one answered request.
    pub(crate) fn answered(&self, class: RouteClass, status: u16, duration_us: i64) {
        let figures = self.class(class);
        let at = STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len() - 2);
        if let Some(counter) = figures.by_status.get(at) {
            counter.increment(1);
        }
        match status {
            400..500 => figures.client_errors.increment(1),
            500.. => figures.server_errors.increment(1),
            _ => {}
        }
        figures.duration.record(f64::from(u32::try_from(duration_us).unwrap_or(u32::MAX)) / 1e6);
    }

    fn class(&self, class: RouteClass) -> &ClassMetrics {
        let [callback, api, public] = &self.classes;
        match class {
            RouteClass::Callback => callback,
            RouteClass::Api => api,
            RouteClass::Public => public,
        }
    }

    /// The figures of `source`, a configured name (never one that a stranger made up).
    pub fn source(&self, source: &str) -> Arc<SourceMetrics> {
        if let Some(known) = self.sources.read().unwrap_or_else(PoisonError::into_inner).get(source) {
            return known.clone();
        }
        let mut sources = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        sources
            .entry(source.into())
            .or_insert_with(|| Arc::new(SourceMetrics::new(&Maker(&self.recorder), source)))
            .clone()
    }

    /// Counts a callback refused at `step` (one of a closed set of words).
    pub fn refused_at(&self, step: &'static str) {
        if let Some(known) = self.refusals.read().unwrap_or_else(PoisonError::into_inner).get(step) {
            return known.increment(1);
        }
        let mut refusals = self.refusals.write().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let help = "Refused callbacks by the step that failed.";
            Maker(&self.recorder).counter("wecom_callback_refusals_total", help, &[("step", step)])
        };
        refusals.entry(step).or_insert_with(new).increment(1);
    }

    /// How many messages are in `status` now.
    pub fn set_messages(&self, status: Status, count: i64) {
        if let Some((_, gauge)) = self.messages.iter().find(|(known, _)| *known == status) {
            gauge.set(f64::from(i32::try_from(count).unwrap_or(i32::MAX)));
        }
    }

    /// Lends the recorder to the macros of the crate `metrics`, once for the process.
    ///
    /// # Errors
    /// If they have a recorder already.
    pub fn make_global(&self) -> Result<(), SetRecorderError<Arc<PrometheusRecorder>>> {
        metrics::set_global_recorder(self.recorder.clone())
    }

    /// Folds recorded durations into their buckets. Called every second: between two calls each duration takes
    /// memory of its own.
    pub(crate) fn fold(&self) {
        self.handle.run_upkeep();
    }

    /// The text that Prometheus reads.
    pub(crate) fn render(&self) -> String {
        self.process.read();
        self.handle.render()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl ClassMetrics {
    fn new(make: &Maker<'_>, class: RouteClass) -> Self {
        let class = class.as_str();
        let error = |kind| {
            make.counter(
                "wecom_http_errors_total",
                "Requests that failed, by whose fault.",
                &[("class", class), ("kind", kind)],
            )
        };
        Self {
            by_status: STATUSES.map(|status| {
                make.counter(
                    "wecom_http_requests_total",
                    "Requests answered.",
                    &[("class", class), ("status", &status.to_string())],
                )
            }),
            client_errors: error("client"),
            server_errors: error("server"),
            duration: make.histogram(
                "wecom_http_request_duration_seconds",
                "From the end of a request's head to its answer.",
                &[("class", class)],
            ),
        }
    }
}

impl SourceMetrics {
    fn new(make: &Maker<'_>, source: &str) -> Self {
        let result = |result| {
            make.counter(
                "wecom_callbacks_received_total",
                "Callbacks by what became of them.",
                &[("source", source), ("result", result)],
            )
        };
        Self {
            accepted: result("accepted"),
            repeated: result("repeated"),
            refused: result("refused"),
            busy: result("busy"),
        }
    }
}

/// Makes handles and says what they are.
pub(super) struct Maker<'a>(&'a PrometheusRecorder);

impl Maker<'_> {
    pub(super) fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Counter {
        self.0.describe_counter(KeyName::from(name), Some(Unit::Count), help.into());
        self.0.register_counter(&key(name, labels), &METADATA)
    }

    pub(super) fn gauge(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Gauge {
        self.0.describe_gauge(KeyName::from(name), None, help.into());
        self.0.register_gauge(&key(name, labels), &METADATA)
    }

    fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Histogram {
        self.0.describe_histogram(KeyName::from(name), Some(Unit::Seconds), help.into());
        self.0.register_histogram(&key(name, labels), &METADATA)
    }
}

fn key(name: &'static str, labels: &[(&'static str, &str)]) -> Key {
    let labels: Vec<Label> =
        labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
    Key::from_parts(name, labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_under_their_names() {
        let metrics = Metrics::new("1.2.3");
        for _ in 0..7 {
            metrics.answered(RouteClass::Callback, 200, 1_500);
        }
        metrics.answered(RouteClass::Callback, 403, 10);
        metrics.answered(RouteClass::Api, 418, 10);
        metrics.source("wechat_api").accepted.increment(2);
        metrics.source("wechat_api").accepted.increment(1);
        metrics.make_global().expect("no other test lends a recorder");
        metrics::counter!("wecom_message_transitions_total", "status" => "sent").increment(1);
        metrics.set_messages(Status::Pending, 3);
        metrics.refused_at("signature");
        metrics.fold();
        let text = metrics.render();
        assert!(!text.contains("process_open_fds 0\n") && text.contains("process_resident_memory_bytes "));
        for line in [
            "wecom_http_requests_total{class=\"callback\",status=\"200\"} 7",
            "wecom_http_requests_total{class=\"callback\",status=\"403\"} 1",
            "wecom_http_requests_total{class=\"api\",status=\"500\"} 1",
            "wecom_http_errors_total{class=\"callback\",kind=\"client\"} 1",
            "wecom_http_request_duration_seconds_bucket{class=\"callback\",le=\"0.001\"} 1",
            "wecom_http_request_duration_seconds_bucket{class=\"callback\",le=\"0.0025\"} 8",
            "wecom_http_request_duration_seconds_bucket{class=\"callback\",le=\"5\"} 8",
            "wecom_callbacks_received_total{source=\"wechat_api\",result=\"accepted\"} 3",
            "wecom_message_transitions_total{status=\"sent\"} 1",
            "wecom_messages{status=\"pending\"} 3",
            "wecom_messages{status=\"uncertain\"} 0",
            "wecom_callback_refusals_total{step=\"signature\"} 1",
            "wecom_build_info{version=\"1.2.3\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_histogram_has_the_platforms_limit_and_eight_edges_below() {
        assert!(DURATION_BUCKETS.contains(&5.0));
        assert!(DURATION_BUCKETS.iter().filter(|edge| **edge < 5.0).count() >= 8);
    }
}
