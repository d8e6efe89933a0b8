//! `shadow:` — an old callback address that gets what this channel is sent.

use crate::config::problem::Place;
use crate::config::section::Section;
use crate::shadow::Mode;

/// Who else gets the callbacks of a channel, as they came.
#[derive(Clone, Debug)]
pub struct ShadowConfig {
    /// Where.
    pub url: String,
    /// Whose answer the platform gets.
    pub mode: Mode,
    /// Longest time for one request.
    pub timeout_ms: u64,
    pub(in crate::config) place: Place,
}

/// Reads the section; without an address there is no shadow.
pub(super) fn read(section: &mut Section<'_, '_>) -> Option<ShadowConfig> {
    let place = section.place();
    let url = section.text("url", "");
    let mode = section.parsed("mode", "copy", "copy or answer", Mode::parse).unwrap_or_default();
    let timeout_ms = section.number("timeout_ms", 100..=10_000, 3_500);
    (!url.is_empty()).then_some(ShadowConfig { url, mode, timeout_ms, place })
}
