//! `endpoints:` — business systems. This version sends to nobody, so the list has to be empty.

use super::document::Value;
use super::section::Section;

/// Checks that no endpoint is configured, so that nobody waits for deliveries that never come.
pub(super) fn read(section: &mut Section<'_, '_>) {
    const KEY: &str = "endpoints";
    let Some(node) = section.node(KEY) else { return };
    match node.value {
        Value::Null => {}
        Value::List(items) if items.is_empty() => {}
        _ => section.wrong(
            KEY,
            node.place,
            "this version delivers to no endpoints yet; leave the list empty".to_owned(),
        ),
    }
}
