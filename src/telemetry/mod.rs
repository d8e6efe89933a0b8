//! Logging: lines on standard output, and in a file for each day if one is configured.
//!
//! Lines are handed to a thread of their own, so that a slow terminal or a full disk never holds a callback up; what
//! that thread cannot take is dropped and counted. Levels apply to this program; of other crates only warnings are
//! shown, because their details can hold what we keep secret.

mod file;
mod layer;
mod line;

use std::io;
use std::path::PathBuf;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::clock::Clock;
use crate::config::{LogFormat, LogLevel, LogLevels, LoggingConfig};
use layer::{LineLayer, Sink};

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log file cannot be written.
    #[error("the log file {} cannot be written: {reason}", path.display())]
    File {
        /// The configured path.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// Somebody else in this process logs already.
    #[error("logging was started twice")]
    Twice,
}

/// Logging while it runs; dropping it writes out what still waits.
pub struct Telemetry {
    /// Each writes out what waits for its thread when it is dropped.
    guards: Vec<WorkerGuard>,
    dropped: DroppedLines,
}

/// Counts lines that a sink could not keep up with.
#[derive(Clone, Debug, Default)]
pub struct DroppedLines(Vec<ErrorCounter>);

impl DroppedLines {
    /// How many there were so far.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|sink| u64::try_from(sink.dropped_lines()).unwrap_or(u64::MAX)).sum()
    }
}

impl Telemetry {
    /// What counts dropped lines.
    pub fn dropped_lines(&self) -> DroppedLines {
        self.dropped.clone()
    }

    fn in_background(&mut self, writer: impl io::Write + Send + 'static) -> NonBlocking {
        let (writer, guard) =
            NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_WAITING_MAX).finish(writer);
        self.dropped.0.push(writer.error_counter());
        self.guards.push(guard);
        writer
    }
}

/// Starts logging for the whole process. Panics are logged from here on.
///
/// # Errors
/// If the log file cannot be written, or logging runs already.
pub fn start(config: &LoggingConfig, clock: Clock) -> Result<Telemetry, TelemetryError> {
    let (subscriber, telemetry) = subscriber(config, clock, io::stdout())?;
    // The error says no more than that there is a subscriber already.
    subscriber.try_init().map_err(|_already| TelemetryError::Twice)?;
    log_panics();
    Ok(telemetry)
}

/// What listens to `tracing`, writing to `stdout` and the configured file.
fn subscriber(
    config: &LoggingConfig,
    clock: Clock,
    stdout: impl io::Write + Send + 'static,
) -> Result<(impl Subscriber + Send + Sync, Telemetry), TelemetryError> {
    let mut telemetry = Telemetry { guards: Vec::new(), dropped: DroppedLines::default() };
    let mut sinks = vec![Sink { writer: telemetry.in_background(stdout), format: config.format }];
    if let Some(file) = &config.file {
        let appender =
            file::open(file).map_err(|reason| TelemetryError::File { path: file.path.clone(), reason })?;
        sinks.push(Sink { writer: telemetry.in_background(appender), format: LogFormat::Json });
    }
    let layer = LineLayer { clock, sinks, line_bytes_max: config.line_bytes_max };
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter(&config.levels)));
    Ok((subscriber, telemetry))
}

/// Levels of this program as configured; warnings of everybody else.
fn filter(levels: &LogLevels) -> Targets {
    let mut filter = Targets::new().with_default(LevelFilter::WARN).with_target(CRATE, level(levels.base));
    for (part, of_part) in &levels.parts {
        filter = filter.with_target(format!("{CRATE}::{part}"), level(*of_part));
    }
    filter
}

const fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    }
}

/// Turns a panic into one line of the log instead of loose text on standard error.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        tracing::error!(
            panic.place = place,
            panic.thread = thread,
            "a task panicked: {}",
            panic.payload_as_str().unwrap_or("no text")
        );
    }));
}

const CRATE: &str = "wecom_gateway";
/// Lines that may wait for the thread that writes; at the longest they take 64 MiB.
const LINES_WAITING_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::config::LogFileConfig;
    use crate::secret::Secret;

    /// A writer that keeps what it gets; whoever holds the lock makes it wait.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn config(format: LogFormat, levels: &str) -> LoggingConfig {
        let levels = LogLevels::parse(levels).unwrap();
        LoggingConfig { format, levels, file: None, line_bytes_max: 16_384 }
    }

    /// What `speak` logs, line by line.
    fn logged(config: &LoggingConfig, speak: impl FnOnce()) -> Vec<String> {
        let kept = Kept::default();
        let (subscriber, telemetry) = subscriber(config, Clock::manual(0), kept.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, speak);
        drop(telemetry);
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(ToOwned::to_owned).collect()
    }

    #[test]
    fn levels_apply_to_us_and_only_warnings_of_others_are_shown() {
        let lines = logged(&config(LogFormat::Text, "info,http=debug"), || {
            tracing::debug!(target: "wecom_gateway::store", "hidden");
            tracing::info!(target: "wecom_gateway::store", "shown");
            tracing::debug!(target: "wecom_gateway::http::server", "shown too");
            tracing::info!(target: "sqlx::query", "hidden: password");
            tracing::warn!(target: "sqlx::query", "shown of others");
        });
        assert_eq!(
            lines,
            [
                "1970-01-01T00:00:00.000Z INFO  store: shown",
                "1970-01-01T00:00:00.000Z DEBUG http::server: shown too",
                "1970-01-01T00:00:00.000Z WARN  sqlx::query: shown of others",
            ]
        );
        let trace = config(LogFormat::Text, "TRACE");
        assert_eq!(logged(&trace, || tracing::info!(target: "sqlx::query", "hidden")), [""; 0]);
    }

    #[test]
    fn fields_of_spans_stand_on_each_line_once() {
        let lines = logged(&config(LogFormat::Json, "info"), || {
            let outer = tracing::info_span!("request", request.id = "r1", source = tracing::field::Empty);
            let _outer = outer.enter();
            outer.record("source", "wechat_api");
            let _inner = tracing::info_span!("commit", rows = 3, source = "inner").entered();
            tracing::warn!(rows = 4, ok = true, wait_ms = 1.5, "slow");
        });
        let fields =
            r#""message":"slow","request.id":"r1","source":"inner","rows":4,"ok":true,"wait_ms":1.5}"#;
        assert!(lines[0].ends_with(fields), "{}", lines[0]);
    }

    #[test]
    fn a_secret_is_never_logged() {
        let secret = Secret::new("hunter2");
        for format in [LogFormat::Json, LogFormat::Text] {
            let lines = logged(&config(format, "trace"), || {
                tracing::error!(%secret, again = ?secret, "all of it: {secret} {secret:?}");
            });
            assert!(lines[0].contains("***") && !lines[0].contains("hunter2"), "{}", lines[0]);
        }
    }

    #[test]
    fn one_event_is_one_line_of_bounded_length() {
        let hostile = format!("a\r\nb\u{1b}[2J\u{2028}{}", "x".repeat(1_000_000));
        for format in [LogFormat::Json, LogFormat::Text] {
            let lines = logged(&config(format, "info"), || {
                tracing::info!(field = hostile, debug = ?hostile, "{hostile}");
                tracing::error!(
                    error = &io::Error::other(hostile.as_str()) as &dyn std::error::Error,
                    "failed"
                );
            });
            assert_eq!(lines.len(), 2);
            for line in lines {
                assert!(line.len() < 16_384, "{}", line.len());
                assert!(!line.contains(|c: char| c.is_control() || c == '\u{2028}'));
            }
        }
    }

    #[test]
    fn a_sink_that_hangs_drops_lines_and_counts_them() {
        let kept = Kept::default();
        let (subscriber, telemetry) =
            subscriber(&config(LogFormat::Text, "info"), Clock::manual(0), kept.clone()).unwrap();
        let hanging = kept.0.lock().unwrap();
        let spoken = u64::try_from(2 * LINES_WAITING_MAX).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            (0..spoken).for_each(|number| tracing::info!(number, "line"));
        });
        let dropped = telemetry.dropped_lines().count();
        drop(hanging);
        drop(telemetry);
        let written = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap().lines().count();
        assert!(dropped > 0);
        assert_eq!(u64::try_from(written).unwrap() + dropped, spoken);
    }

    #[test]
    fn the_file_is_json_and_found_under_its_configured_path() {
        let directory = std::env::temp_dir().join(format!("wecom-gateway-log-{}", std::process::id()));
        let path = directory.join("new").join("webhook_service.log");
        let mut config = config(LogFormat::Text, "info");
        config.file = Some(LogFileConfig { path: path.clone(), keep_days: 2 });
        let lines = logged(&config, || tracing::info!("hello"));
        assert!(lines[0].ends_with("hello"));
        let text = std::fs::read_to_string(&path).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["message"], "hello");
        assert!(path.is_symlink() && std::fs::read_dir(path.parent().unwrap()).unwrap().count() == 2);

        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "somebody's").unwrap();
        let error = subscriber(&config, Clock::manual(0), io::sink()).err().unwrap();
        let expected = "something else has its name; a link to the day's file belongs there";
        assert_eq!(
            error.to_string(),
            format!("the log file {} cannot be written: {expected}", path.display())
        );
        std::fs::remove_dir_all(directory).unwrap();
    }
}
