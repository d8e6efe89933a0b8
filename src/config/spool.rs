//! `spool:` — where callbacks go while MySQL is away. Without use on SQLite, which is a local file itself.

use super::section::Section;
use crate::spool::SpoolSettings;

/// Reads the section; `None` if the spool is switched off.
pub(super) fn read(section: &mut Section<'_, '_>) -> Option<SpoolSettings> {
    let of = SpoolSettings::default();
    let enabled = section.flag("enabled", true);
    let settings = SpoolSettings {
        directory: section.text("directory", &of.directory.to_string_lossy()).into(),
        bytes_max: section.number("bytes_max", BYTES_MIN..=u64::MAX, of.bytes_max),
        patience_ms: section.number("patience_ms", 50..=3_000, of.patience_ms),
        probe_ms: section.number("probe_ms", 50..=60_000, of.probe_ms),
    };
    enabled.then_some(settings)
}

/// Room for a largest callback and some more.
const BYTES_MIN: u64 = 1 << 20;
