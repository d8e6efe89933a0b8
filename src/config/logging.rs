//! `logging:` — form, level and file of the log.

use std::fmt;
use std::path::PathBuf;

use super::section::Section;

/// How the gateway logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggingConfig {
    /// The form of a line on standard output; the file is always JSON.
    pub format: LogFormat,
    /// What is logged.
    pub levels: LogLevels,
    /// The daily file; `None` for none.
    pub file: Option<LogFileConfig>,
    /// The longest line; the rest is cut.
    pub line_bytes_max: usize,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    Json,
    /// One readable line, for people.
    Text,
}

impl LogFormat {
    /// The text of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Json, Self::Text].into_iter().find(|it| it.as_str() == text)
    }
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Every step.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What an operator wants to know.
    #[default]
    Info,
    /// What may need somebody's attention.
    Warn,
    /// What needs it.
    Error,
}

impl LogLevel {
    /// The text of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// Reads a level in any case; `WARNING` and `CRITICAL` are what Python calls them.
    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "trace" => Some(Self::Trace),
            "debug" => Some(Self::Debug),
            "info" => Some(Self::Info),
            "warn" | "warning" => Some(Self::Warn),
            "error" | "critical" => Some(Self::Error),
            _ => None,
        }
    }
}

/// A level for the program, and others for parts of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogLevels {
    /// What is not named below.
    pub base: LogLevel,
    /// By module, as `http` or `wecom::event`.
    pub parts: Vec<(String, LogLevel)>,
}

impl LogLevels {
    /// What [`LogLevels::parse`] reads.
    pub const EXPECTED: &str = "trace, debug, info, warn or error, or several such as info,http=debug";

    /// Reads `debug`, or `info,http=debug,store=trace`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut levels = Self::default();
        for item in text.split(',').map(str::trim) {
            match item.split_once('=') {
                None => levels.base = LogLevel::parse(item)?,
                Some((part, level)) => {
                    let part = part.strip_prefix("wecom_gateway::").unwrap_or(part);
                    if part.is_empty() || !part.bytes().all(|b| b.is_ascii_lowercase() || b"_:".contains(&b))
                    {
                        return None;
                    }
                    levels.parts.push((part.to_owned(), LogLevel::parse(level)?));
                }
            }
        }
        Some(levels)
    }
}

impl fmt::Display for LogLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base.as_str())?;
        self.parts.iter().try_for_each(|(part, level)| write!(f, ",{part}={}", level.as_str()))
    }
}

/// A log file that begins anew each day (UTC).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFileConfig {
    /// The path; a link to the day's file, whose name has the date.
    pub path: PathBuf,
    /// Days that are kept.
    pub keep_days: usize,
}

pub(super) fn read(section: &mut Section<'_, '_>) -> LoggingConfig {
    LoggingConfig {
        format: section
            .parsed("format", "${LOG_FORMAT:-json}", "json or text", LogFormat::parse)
            .unwrap_or(LogFormat::Json),
        levels: section
            .parsed("level", "${LOG_LEVEL:-info}", LogLevels::EXPECTED, LogLevels::parse)
            .unwrap_or_default(),
        file: section.section("file", file),
        line_bytes_max: section.number("line_bytes_max", 512..=65_536, 16_384),
    }
}

fn file(section: &mut Section<'_, '_>) -> Option<LogFileConfig> {
    let path = section.text("path", "${LOG_FILE:-}");
    let keep_days = section.number("keep_days", 1..=3650, 30);
    (!path.is_empty()).then(|| LogFileConfig { path: PathBuf::from(path), keep_days })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_in_any_case_and_for_parts() {
        let of = |base, parts: &[(&str, LogLevel)]| {
            let parts = parts.iter().map(|(part, level)| ((*part).to_owned(), *level)).collect();
            Some(LogLevels { base, parts })
        };
        assert_eq!(LogLevels::parse("DEBUG"), of(LogLevel::Debug, &[]));
        assert_eq!(LogLevels::parse("Warning"), of(LogLevel::Warn, &[]));
        assert_eq!(
            LogLevels::parse("info, http=debug,wecom_gateway::wecom::event=TRACE"),
            of(LogLevel::Info, &[("http", LogLevel::Debug), ("wecom::event", LogLevel::Trace)])
        );
        let text = "info,http=debug,wecom::event=trace";
        assert_eq!(LogLevels::parse(text).unwrap().to_string(), text);
        for wrong in ["", "loud", "info,", "http=loud", "=debug", "sqlx-core=debug", "info,h ttp=debug"] {
            assert_eq!(LogLevels::parse(wrong), None, "{wrong}");
        }
    }
}
