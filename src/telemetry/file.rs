//! The log file: one for each day, found under the configured path.

use std::path::Path;

use tracing_appender::rolling::{RollingFileAppender, Rotation};

use crate::config::LogFileConfig;

/// Opens today's file beside the configured path, and makes the path a link to it.
pub(super) fn open(file: &LogFileConfig) -> Result<RollingFileAppender, String> {
    // The link holds the directory as given, so a relative one would lead nowhere.
    let path = std::path::absolute(&file.path).map_err(|error| error.to_string())?;
    let name = path.file_name().and_then(|name| name.to_str()).ok_or("it has no name")?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    // The appender makes it too, but complains about its absence on standard error first.
    std::fs::create_dir_all(directory).map_err(|error| error.to_string())?;
    // The appender would delete what stands in the link's place.
    if std::fs::symlink_metadata(&path).is_ok_and(|found| !found.is_symlink()) {
        return Err("something else has its name; a link to the day's file belongs there".to_owned());
    }
    RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix(name)
        .latest_symlink(name)
        .max_log_files(file.keep_days)
        .build(directory)
        .map_err(|error| {
            std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)
        })
}
