//! `retention:` — how long rows are kept.

use super::section::Section;

/// Days after which rows are deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Events; at least 8, because a repeated callback is recognised by its event for that long.
    pub events_days: u32,
    /// Messages, with their evidence and deliveries.
    pub messages_days: u32,
    /// Refused requests.
    pub rejections_days: u32,
    /// Audit rows.
    pub audit_days: u32,
}

pub(super) fn read(section: &mut Section<'_, '_>) -> RetentionConfig {
    RetentionConfig {
        events_days: section.number("events_days", EVENTS_DAYS_MIN..=DAYS_MAX, 90),
        messages_days: section.number("messages_days", 1..=DAYS_MAX, 180),
        rejections_days: section.number("rejections_days", 1..=DAYS_MAX, 30),
        audit_days: section.number("audit_days", 1..=DAYS_MAX, 365),
    }
}

/// The days in which a repeated callback has to be recognised.
const EVENTS_DAYS_MIN: u32 = 8;
const DAYS_MAX: u32 = 36_500;
