//! What a filter would take of the events that are stored already.

use serde_json::{Map, Value};

use super::{ForwardError, Forwarding};
use crate::domain::endpoint::{EndpointSpec, SpecError};
use crate::domain::event::Event;
use crate::domain::filter::{Filter, Subject};
use crate::ids::EventId;
use crate::store::{EventFilter, PAGE_LIMIT_MAX, StoredEvent};
use crate::wecom::event::body_json;

impl Forwarding {
    /// How many of the newest events were looked at, and which of them `request` (`events`, `sources`, `match`) takes.
    ///
    /// # Errors
    /// A field is wrong.
    pub async fn dry_run(&self, request: Value) -> Result<(usize, Vec<EventId>), ForwardError> {
        let filter = filter_of(request)?;
        let newest = EventFilter { limit: PAGE_LIMIT_MAX, ..EventFilter::default() };
        let page = self.0.store.events(&newest).await?;
        let looked_at = page.items.len();
        let found = page.items.into_iter().filter(|event| takes(&filter, event));
        Ok((looked_at, found.map(|event| event.id).collect()))
    }
}

/// Reads a filter that stands alone.
pub(super) fn filter_of(request: Value) -> Result<Filter, SpecError> {
    let Value::Object(fields) = request else { return Err(SpecError::new("body", "must be an object")) };
    let mut spec = Map::new();
    spec.insert("url".to_owned(), Value::from("https://nowhere.invalid/"));
    for (name, value) in fields {
        if !["events", "sources", "match"].contains(&name.as_str()) {
            return Err(SpecError::new(name, "is not a field that is known here"));
        }
        spec.insert(name, value);
    }
    Ok(EndpointSpec::parse(&Value::Object(spec))?.filter)
}

/// Whether `filter` takes a stored event.
pub(super) fn takes(filter: &Filter, stored: &StoredEvent) -> bool {
    let event = event_of(stored);
    let read = || body_json(&stored.payload, stored.format);
    filter.matches(&Subject::new(&stored.source, &event, &read))
}

/// A stored event, as far as filters and orders look at it.
pub(super) fn event_of(stored: &StoredEvent) -> Event {
    let mut event = Event::of_kind(stored.kind.clone(), stored.format);
    event.corp_id.clone_from(&stored.corp_id);
    event.user_id.clone_from(&stored.user_id);
    event.external_user_id.clone_from(&stored.external_user_id);
    event.chat_id.clone_from(&stored.chat_id);
    event
}
