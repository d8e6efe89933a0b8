//! Replays: stored events are delivered once more, at a pace, until the end or until somebody stops it.
//!
//! The job is a row. Whoever owns the endpoint takes its steps, so a restart or a lost replica only pauses it.

use std::sync::Arc;

use serde_json::Value;

use super::changes::nothing_more;
use super::dry_run::{event_of, filter_of, takes};
use super::{ForwardError, Forwarding};
use crate::clock::parse_time_ms;
use crate::domain::endpoint::{Endpoint, SpecError};
use crate::domain::filter::{Filter, Route, Routed};
use crate::domain::replay::{PER_S, PER_S_MAX, Replay, ReplayOf, ReplayState};
use crate::ids::{EndpointId, EventId, ReplayId};
use crate::store::{Engine, ReplayStep, StoredEvent};

/// Events looked at in one step.
const CHUNK: usize = 200;

/// Events looked at for a preview.
const PREVIEW_MAX: usize = 100_000;

/// On MySQL ids are not in the order of commits: the newest are left alone for so long.
const UNSETTLED_MS: i64 = 10_000;

/// What a replay would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preview {
    /// Events looked at.
    pub looked_at: usize,
    /// Events that would be delivered.
    pub matched: usize,
    /// Whether everything was looked at.
    pub complete: bool,
}

/// What a request for a replay came to.
#[derive(Debug)]
pub enum Asked {
    /// What it would do.
    Preview(Preview),
    /// It runs.
    Running(Box<Replay>),
}

impl Forwarding {
    /// Starts a replay, or says what it would do: `{"endpoint": …, "event_id" | "since" and "until", "filter": {…},
    /// "per_s": 100, "preview": false}`.
    ///
    /// # Errors
    /// A field is wrong.
    pub async fn replay(&self, request: Value) -> Result<Asked, ForwardError> {
        let Value::Object(mut fields) = request else {
            return Err(SpecError::new("body", "must be an object").into());
        };
        let endpoint =
            text(&mut fields, "endpoint")?.ok_or_else(|| SpecError::new("endpoint", "is missing"))?;
        let endpoint = EndpointId::parse(&endpoint);
        let endpoint = endpoint.ok_or_else(|| SpecError::new("endpoint", "is no id of an endpoint"))?;
        let row = self.0.store.endpoint(&endpoint).await?;
        let endpoint = row.ok_or_else(|| SpecError::new("endpoint", "names no endpoint"))?.endpoint;
        if let Some(id) = text(&mut fields, "event_id")? {
            nothing_more(&fields)?;
            return self.replay_one(endpoint, &id).await;
        }
        let now_ms = self.0.clock.wall_ms();
        let since_ms = time(&mut fields, "since")?;
        let since_ms =
            since_ms.ok_or_else(|| SpecError::new("since", "is missing; or name an `event_id`"))?;
        let until_ms = time(&mut fields, "until")?.unwrap_or(now_ms).min(now_ms);
        let filter = fields.remove("filter").filter(|value| !value.is_null());
        let filter = filter.map(|value| {
            filter_of(value).map_err(|wrong| SpecError { field: format!("filter.{}", wrong.field), ..wrong })
        });
        let of = ReplayOf { since_ms, until_ms, filter: filter.transpose()? };
        let per_s_max = match fields.remove("per_s") {
            None | Some(Value::Null) => PER_S,
            Some(value) => {
                value.as_i64().filter(|per_s| (1..=PER_S_MAX).contains(per_s)).ok_or_else(|| {
                    SpecError::new("per_s", format!("must be a whole number from 1 to {PER_S_MAX}"))
                })?
            }
        };
        let is_preview = match fields.remove("preview") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(flag)) => flag,
            Some(_) => return Err(SpecError::new("preview", "must be true or false").into()),
        };
        nothing_more(&fields)?;
        if is_preview {
            return Ok(Asked::Preview(self.preview(&endpoint, &of).await?));
        }
        let place = self.0.store.place_before(of.since_ms).await?;
        let replay = self.new_replay(endpoint, of, per_s_max, place);
        self.0.store.add_replay(&replay).await?;
        Ok(Asked::Running(Box::new(replay)))
    }

    /// One event is delivered at once: its replay begins done.
    async fn replay_one(&self, endpoint: Endpoint, id: &str) -> Result<Asked, ForwardError> {
        let id = EventId::parse(id).ok_or_else(|| SpecError::new("event_id", "is no id of an event"))?;
        let event = self.0.store.event(&id).await?;
        let event = event.ok_or_else(|| SpecError::new("event_id", "names no event"))?;
        let of = ReplayOf { since_ms: event.accepted_ms, until_ms: event.accepted_ms, filter: None };
        let routed = routed(&endpoint, &event);
        let mut replay = self.new_replay(endpoint, of, PER_S, String::new());
        replay.state = ReplayState::Done;
        replay.looked_at = 1;
        replay.queued = i64::try_from(routed.len()).unwrap_or(i64::MAX);
        self.0.store.add_replay(&replay).await?;
        let fresh = self.0.store.deliver_again(&Arc::new(event), routed, replay.run).await?;
        self.0.dispatch.offer_events(fresh);
        Ok(Asked::Running(Box::new(replay)))
    }

    fn new_replay(&self, endpoint: Endpoint, of: ReplayOf, per_s_max: i64, place: String) -> Replay {
        let now_ms = self.0.clock.wall_ms();
        let id = self.0.ids.make::<ReplayId>();
        Replay {
            // Above 0, and another one for each replay of an endpoint.
            run: run_of(&id),
            id,
            endpoint: endpoint.id,
            state: ReplayState::Running,
            of,
            per_s_max,
            place,
            looked_at: 0,
            queued: 0,
            created_ms: now_ms,
            updated_ms: now_ms,
        }
    }

    async fn preview(&self, endpoint: &Endpoint, of: &ReplayOf) -> Result<Preview, ForwardError> {
        let mut place = self.0.store.place_before(of.since_ms).await?;
        let mut preview = Preview { looked_at: 0, matched: 0, complete: false };
        while preview.looked_at < PREVIEW_MAX {
            let events = self.0.store.events_behind(&place, CHUNK).await?;
            let Some((last, _)) = events.last() else {
                preview.complete = true;
                break;
            };
            place.clone_from(last);
            preview.looked_at += events.len();
            preview.matched += events.iter().filter(|(_, event)| is_meant(of, endpoint, event)).count();
        }
        Ok(preview)
    }

    /// Takes one step of every replay whose endpoint is ours; whether there are any.
    pub(super) async fn step_replays(&self) -> Result<bool, ForwardError> {
        let running = self.0.store.running_replays().await?;
        // One that cannot go on does not hold up the others.
        let mut outcome = Ok(());
        for replay in &running {
            if self.0.dispatch.owns(replay.endpoint.as_str()) {
                outcome = self.step(replay).await.and(outcome);
            }
        }
        outcome.map(|()| !running.is_empty())
    }

    async fn step(&self, replay: &Replay) -> Result<(), ForwardError> {
        let Some(row) = self.0.store.endpoint(&replay.endpoint).await? else {
            self.0.store.cancel_replay(&replay.id).await?;
            return Ok(());
        };
        let (now_ms, begun_ms) = (self.0.clock.wall_ms(), replay.created_ms);
        // What may have been queued since the beginning, and has not been.
        let due = now_ms.saturating_sub(begun_ms).saturating_mul(replay.per_s_max) / 1_000;
        let mut budget = due.saturating_sub(replay.queued).clamp(0, replay.per_s_max);
        if budget == 0 {
            return Ok(());
        }
        let events = self.0.store.events_behind(&replay.place, CHUNK).await?;
        let settled_ms = match self.0.store.engine() {
            Engine::Sqlite => i64::MAX,
            Engine::MySql => now_ms.saturating_sub(UNSETTLED_MS),
        };
        let mut step = ReplayStep {
            id: replay.id.clone(),
            from: replay.place.clone(),
            to: replay.place.clone(),
            looked_at: 0,
            deliveries: Vec::new(),
            run: replay.run,
            done: events.is_empty() && settled_ms > replay.of.until_ms,
        };
        for (place, event) in events {
            if budget <= 0 || event.accepted_ms > settled_ms {
                break;
            }
            step.to = place;
            step.looked_at += 1;
            if is_meant(&replay.of, &row.endpoint, &event) {
                let event = Arc::new(event);
                let routed = routed(&row.endpoint, &event);
                budget -= i64::try_from(routed.len()).unwrap_or(i64::MAX);
                step.deliveries.extend(routed.into_iter().map(|one| (Arc::clone(&event), one)));
            }
        }
        if step.to == step.from && !step.done {
            return Ok(());
        }
        if let Some(fresh) = self.0.store.step_replay(step).await? {
            self.0.dispatch.offer_events(fresh);
        }
        Ok(())
    }
}

/// Whether `event` is meant.
fn is_meant(of: &ReplayOf, endpoint: &Endpoint, event: &StoredEvent) -> bool {
    let wanted: &Filter = of.filter.as_ref().unwrap_or(&endpoint.spec.filter);
    (of.since_ms..of.until_ms).contains(&event.accepted_ms)
        && !event.payload.is_empty()
        && takes(wanted, event)
}

/// What `event` becomes for `endpoint`, whatever the endpoint wants.
fn routed(endpoint: &Endpoint, event: &StoredEvent) -> Vec<Routed> {
    let route = Route {
        endpoint: endpoint.id.clone(),
        targets: endpoint.target_ids(),
        filter: Filter::default(),
        order: endpoint.spec.order.map(|order| order.by),
        delay_ms: 0,
        urgent: Vec::new(),
    };
    route.deliveries(&event_of(event)).collect()
}

/// A number above 0 that no other replay has: the time and the counter in its id.
fn run_of(id: &ReplayId) -> i64 {
    let digits = id.as_str().bytes().skip(ReplayId::PREFIX.len()).take(14);
    let number = digits.fold(0_u128, |number, digit| {
        let value = b"0123456789abcdefghjkmnpqrstvwxyz".iter().position(|known| *known == digit).unwrap_or(0);
        number << 5 | value as u128
    });
    i64::try_from(number & (i64::MAX as u128)).unwrap_or(i64::MAX).max(1)
}

fn text(fields: &mut serde_json::Map<String, Value>, name: &str) -> Result<Option<String>, SpecError> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(SpecError::new(name, "must be a text")),
    }
}

fn time(fields: &mut serde_json::Map<String, Value>, name: &str) -> Result<Option<i64>, SpecError> {
    let Some(text) = text(fields, name)? else { return Ok(None) };
    let time = parse_time_ms(&text);
    time.map(Some).ok_or_else(|| {
        SpecError::new(name, "must be a time as RFC 3339, or seconds or milliseconds since 1970")
    })
}
