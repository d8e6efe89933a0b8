//! One event to one endpoint, once: its body is made, signed and posted, its result is written.
//!
//! Nothing is marked before the request leaves: an event may arrive twice, and receivers know it by its id. What
//! follows from a failed try is decided in [`crate::domain::endpoint`].

use std::sync::Arc;

use super::Shared;
use super::attempt::{Ended, Then, close, may_begin, put_off, report, unreadable};
use super::outlet::Sending;
use super::queue::Waiting;
use super::target::Target;
use super::web_target::{UnderWay, WebTarget};
use crate::domain::delivery::{Cargo, DeliveryState};
use crate::domain::endpoint::{EndpointState, OnDead, after_try};
use crate::domain::outcome::{Outcome, Try};
use crate::domain::retry::Next;
use crate::domain::sealed::Unopened;
use crate::endpoint::payload::Body;
use crate::store::{DeliveryResult, Fence, StoreError, StoredEvent};

/// Sends `waiting` to `web`.
pub(super) async fn send(
    shared: Arc<Shared>,
    target: Arc<Target>,
    under_way: UnderWay,
    waiting: Waiting,
    fence: Fence,
) -> Ended {
    let web = Arc::clone(under_way.target());
    let unsent = |then: Then| {
        web.cancelled();
        Ended { answered_ms: None, perhaps_taken: false, then }
    };
    let event = match read_event(&shared, &waiting).await {
        Ok(Some(event)) => event,
        Ok(None) => return unsent(close(&shared, &waiting, DeliveryState::Cancelled, fence).await),
        Err(error) => return unsent(unread(&shared, &web, waiting, &error, fence).await),
    };
    let body = match body(&shared, &web, &waiting, &event).await {
        Ok(body) => body,
        Err(error) => return unsent(unread(&shared, &web, waiting, &error, fence).await),
    };
    let _permit = shared.forward_permits.acquire().await;
    if web.is_halted() || !may_begin(&shared, &target, fence) {
        return unsent(Then::Reload);
    }
    let (at_ms, begun_ms) = (shared.clock.wall_ms(), shared.clock.steady_ms());
    let number = waiting.delivery.attempts.saturating_add(1);
    let tried = usize::try_from(number).unwrap_or(usize::MAX);
    let place = web.next_place(begun_ms, shared.entropy.unit());
    let sending =
        Sending { place, delivery: &waiting.delivery, event: &event, body: &body, tried, now_wall_ms: at_ms };
    let answer = web.send(sending).await;
    let answered_ms = shared.clock.steady_ms();
    web.ended(place, tried, answer.outcome.ending(), answered_ms);
    drop(under_way);
    shared.wake_lane(&target.id);
    report(&shared, &target, &waiting.delivery.id, &answer);
    let next = after_try(web.schedule(), &answer.outcome, tried, web.turns(), shared.entropy.unit());
    let attempt = answer.attempt(number, at_ms, answered_ms.saturating_sub(begun_ms));
    let (state, due_ms) = match next {
        Next::Finish(state) => (state, None),
        Next::Halt => (DeliveryState::Queued, Some(waiting.due_ms)),
        Next::Again { delay_ms: wait_ms } | Next::Rest { rest_ms: wait_ms } => {
            (DeliveryState::Queued, Some(answered_ms.saturating_add(wait_ms)))
        }
    };
    let result = DeliveryResult {
        id: waiting.delivery.id.clone(),
        target_id: waiting.delivery.target_id.clone(),
        attempts_before: waiting.delivery.attempts,
        attempt: Some(attempt),
        state,
        due_ms,
        evidence: Vec::new(),
        references: Vec::new(),
        response_code: None,
    };
    if !shared.record(result, fence).await {
        return Ended { answered_ms: Some(answered_ms), perhaps_taken: true, then: Then::Reload };
    }
    if answer.outcome == Outcome::Refused && web.is_alone() {
        disable(&shared, &web, &answer).await;
    }
    let then = match due_ms {
        Some(due_ms) => Then::Again(again(waiting, event, due_ms)),
        None => finished(&shared, &web, &waiting, state).await,
    };
    Ended { answered_ms: Some(answered_ms), perhaps_taken: true, then }
}

/// What follows if the event, or the body of its first try, was not read: what nobody can read any more is dead.
async fn unread(
    shared: &Shared,
    web: &WebTarget,
    waiting: Waiting,
    error: &StoreError,
    fence: Fence,
) -> Then {
    let StoreError::Unopened(why @ Unopened::Damaged) = error else {
        return put_off(shared, waiting, error);
    };
    tracing::error!(delivery.id = %waiting.delivery.id, %why, "an event cannot be delivered");
    let number = waiting.delivery.attempts.saturating_add(1);
    let result = DeliveryResult {
        id: waiting.delivery.id.clone(),
        target_id: waiting.delivery.target_id.clone(),
        attempts_before: waiting.delivery.attempts,
        attempt: Some(unreadable(why).attempt(number, shared.clock.wall_ms(), 0)),
        state: DeliveryState::Dead,
        due_ms: None,
        evidence: Vec::new(),
        references: Vec::new(),
        response_code: None,
    };
    if !shared.record(result, fence).await {
        return Then::Reload;
    }
    finished(shared, web, &waiting, DeliveryState::Dead).await
}

/// What follows from the end of a delivery for those behind it.
async fn finished(shared: &Shared, web: &WebTarget, waiting: &Waiting, state: DeliveryState) -> Then {
    let (Some(key), Some(order)) = (&waiting.key, web.order()) else { return Then::Finish };
    if state == DeliveryState::Dead && order.on_dead == OnDead::Block {
        tracing::warn!(delivery.id = %waiting.delivery.id, endpoint = %web.endpoint_id(), "a dead letter blocks its key");
        return Then::Block(Arc::clone(key));
    }
    let released = shared.store.release_order(&waiting.delivery.target_id, key, &waiting.delivery.id).await;
    if let Err(error) = released {
        // The next reading of the table finds the row and takes it out.
        tracing::warn!(%error, "a finished delivery still stands in the order of its key");
    }
    Then::Finish
}

async fn read_event(shared: &Shared, waiting: &Waiting) -> Result<Option<Arc<StoredEvent>>, StoreError> {
    let event = match (&waiting.event, &waiting.delivery.cargo) {
        (Some(event), _) => Some(Arc::clone(event)),
        (None, Cargo::Event(id)) => shared.store.event(id).await?.map(Arc::new),
        (None, Cargo::Message(_)) => None,
    };
    // An event whose payload was erased has nothing to tell any more.
    Ok(event.filter(|event| !event.payload.is_empty()))
}

/// The bytes to send: those of the first try.
async fn body(
    shared: &Shared,
    web: &WebTarget,
    waiting: &Waiting,
    event: &StoredEvent,
) -> Result<Body, StoreError> {
    let body = web.body(event);
    if !web.keeps_bodies() {
        return Ok(body);
    }
    let id = &waiting.delivery.id;
    if let Some(bytes) = shared.store.sent_body(id).await? {
        return Ok(Body { bytes, ..body });
    }
    shared.store.keep_sent_body(id, body.bytes.clone()).await?;
    Ok(body)
}

/// The other side said that it is gone: nothing more is made for it until somebody switches it on again.
async fn disable(shared: &Shared, web: &WebTarget, answer: &Try) {
    web.halt();
    let reason = answer.error.clone().unwrap_or_default();
    tracing::warn!(endpoint = %web.endpoint_id(), reason, "an endpoint is switched off");
    let disabled = async {
        let Some(mut row) = shared.store.endpoint(web.endpoint_id()).await? else { return Ok(()) };
        if row.endpoint.state.takes_events() {
            row.endpoint.state = EndpointState::Disabled;
            row.endpoint.reason = Some(reason);
            row.endpoint.revision = row.endpoint.revision.saturating_add(1);
            row.endpoint.updated_ms = shared.clock.wall_ms();
            shared.store.change_endpoint(&row).await?;
        }
        Ok::<_, StoreError>(())
    };
    if let Err(error) = disabled.await {
        tracing::warn!(%error, "the endpoint is off only until the next start");
    }
}

fn again(mut waiting: Waiting, event: Arc<StoredEvent>, due_ms: i64) -> Waiting {
    waiting.delivery.attempts = waiting.delivery.attempts.saturating_add(1);
    waiting.delivery.due_ms = Some(due_ms);
    waiting.due_ms = due_ms;
    waiting.event = Some(event);
    waiting
}
