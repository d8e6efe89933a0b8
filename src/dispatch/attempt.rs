//! One delivery, once: its message is read, its start is marked, it is sent, its result is written.
//!
//! The order is what makes at-most-once true: the mark is on disk before the request leaves, and a delivery found
//! marked without a result is never sent again.

use std::sync::Arc;

use super::Shared;
use super::duplicate;
use super::files;
use super::queue::Waiting;
use super::target::Target;
use crate::channel::gate::Passage;
use crate::domain::delivery::{Attempt, Cargo, DeliveryState};
use crate::domain::evidence;
use crate::domain::message::{Message, SendPolicy};
use crate::domain::outcome::{Ending, Outcome, Try};
use crate::domain::retry::{Next, Tries, next_attempt};
use crate::domain::sealed::Unopened;
use crate::ids::DeliveryId;
use crate::sabotage::{self, Protection};
use crate::store::{DeliveryResult, Fence, StoreError};

/// How long a delivery waits after the database did not answer.
pub(super) const STORE_RETRY_MS: i64 = 1_000;

/// How long a delivery waits for a key that this process does not have.
const KEY_RETRY_MS: i64 = 5_000;

/// What became of a delivery that was on its way.
#[derive(Debug)]
pub(super) struct Ended {
    /// When its request was answered or given up, steady ms; `None`: none left.
    pub(super) answered_ms: Option<i64>,
    /// Whether the other side took it, or may have.
    pub(super) perhaps_taken: bool,
    pub(super) then: Then,
}

/// What is to be done with it.
#[derive(Debug)]
pub(super) enum Then {
    /// Nothing.
    Finish,
    /// It waits again.
    Again(Waiting),
    /// It waits again, and its target rests until then (steady ms).
    Rest(Waiting, i64),
    /// The table knows better than we do.
    Reload,
    /// A dead letter blocks this key.
    Block(Arc<str>),
}

/// Sends `waiting` to `target`.
pub(super) async fn send(
    shared: Arc<Shared>,
    target: Arc<Target>,
    passage: Option<Passage>,
    waiting: Waiting,
    fence: Fence,
) -> Ended {
    let id = waiting.delivery.id.clone();
    let unsent = |then: Then| Ended { answered_ms: None, perhaps_taken: false, then };
    let (message, earlier) = match read(&shared, &waiting).await {
        Ok(Some(found)) => found,
        Ok(None) => return unsent(close(&shared, &waiting, DeliveryState::Cancelled, fence).await),
        Err(error) => return unsent(put_off(&shared, waiting, &error)),
    };
    if let Some(why) = message.unopened.clone() {
        return unsent(unopened(&shared, &target, (waiting, message, earlier), why, fence).await);
    }
    if has_expired(&shared, &waiting) {
        return unsent(close(&shared, &waiting, DeliveryState::Expired, fence).await);
    }
    match duplicate::may_repeat(&shared, &target, &waiting, &message, &earlier).await {
        Ok(true) => {}
        Ok(false) => return unsent(close(&shared, &waiting, DeliveryState::Uncertain, fence).await),
        Err(error) => return unsent(put_off(&shared, waiting, &error)),
    }
    let _permit = shared.permits.acquire().await;
    if !may_begin(&shared, &target, fence) {
        return unsent(Then::Reload);
    }
    let (at_ms, begun_ms) = (shared.clock.wall_ms(), shared.clock.steady_ms());
    let part = message.part(earlier.accepted);
    let answer = match files::ready(&shared, &target, part).await {
        Err(error) => return unsent(put_off(&shared, waiting, &error)),
        Ok(Err(not_uploaded)) => not_uploaded,
        // An upload takes its time, and the lease may have ended meanwhile.
        Ok(Ok(_)) if !may_begin(&shared, &target, fence) => return unsent(Then::Reload),
        Ok(Ok(body)) => {
            match mark(&shared, &waiting, fence).await {
                Ok(true) => {}
                Ok(false) => return unsent(Then::Reload),
                Err(error) => return unsent(put_off(&shared, Waiting { marked: true, ..waiting }, &error)),
            }
            let mut answer = target.deliver(&body).await;
            files::forget(&shared, part, &mut answer).await;
            answer
        }
    };
    let answered_ms = shared.clock.steady_ms();
    if let Some(passage) = passage {
        passage.settle(&answer, answered_ms);
    }
    let duration_ms = answered_ms.saturating_sub(begun_ms);
    let attempt = answer.attempt(waiting.delivery.attempts.saturating_add(1), at_ms, duration_ms);
    let perhaps_taken = matches!(answer.outcome, Outcome::Accepted { .. } | Outcome::Lost);
    report(&shared, &target, &id, &answer);
    let then =
        conclude(&shared, &target, Sent { waiting, message, earlier, answer, attempt, answered_ms }, fence);
    Ended { answered_ms: Some(answered_ms), perhaps_taken, then: then.await }
}

/// Marks the start on disk. `false`: the delivery has moved on, or is no longer ours.
async fn mark(shared: &Shared, waiting: &Waiting, fence: Fence) -> Result<bool, StoreError> {
    let delivery = &waiting.delivery;
    if waiting.marked {
        // The mark before failed without saying whether it was written; nothing was sent under it.
        let unmark = DeliveryResult {
            id: delivery.id.clone(),
            target_id: delivery.target_id.clone(),
            attempts_before: delivery.attempts,
            attempt: None,
            state: DeliveryState::Queued,
            due_ms: Some(waiting.due_ms),
            evidence: Vec::new(),
            references: Vec::new(),
            response_code: None,
        };
        if !shared.record(unmark, fence).await {
            return Ok(false);
        }
    }
    let start = (delivery.id.clone(), delivery.attempts, shared.clock.steady_ms());
    let marked = shared.store.mark_started(&[start], &fence).await?;
    Ok(marked.first() == Some(&true))
}

/// A delivery that was sent, before its result is written.
struct Sent {
    waiting: Waiting,
    message: Arc<Message>,
    earlier: Tries,
    answer: Try,
    attempt: Attempt,
    answered_ms: i64,
}

/// Decides what follows, and writes it.
async fn conclude(shared: &Shared, target: &Target, sent: Sent, fence: Fence) -> Then {
    let Sent { waiting, message, earlier, answer, attempt, answered_ms } = sent;
    let tries = earlier.and(answer.outcome.ending());
    // Negative control: what is not known to have arrived is simply sent again.
    let policy =
        if sabotage::off(Protection::StartedMark) { SendPolicy::AtLeastOnce } else { message.policy };
    let next = match next_attempt(&target.retry, policy, &tries, &answer.outcome, shared.entropy.unit()) {
        // Another part follows.
        Next::Finish(DeliveryState::Succeeded) if tries.accepted < message.parts() => {
            Next::Again { delay_ms: 0 }
        }
        next => next,
    };
    let (state, due_ms) = match next {
        Next::Finish(state) => (state, None),
        // The gate holds it back, so its place stays what it was.
        Next::Halt => (DeliveryState::Queued, Some(waiting.due_ms)),
        Next::Again { delay_ms: wait_ms } | Next::Rest { rest_ms: wait_ms } => {
            (DeliveryState::Queued, Some(answered_ms.saturating_add(wait_ms)))
        }
    };
    let references = match &answer.outcome {
        Outcome::Accepted { references, .. } => references.as_slice(),
        _ => &[],
    };
    let result = DeliveryResult {
        id: waiting.delivery.id.clone(),
        target_id: waiting.delivery.target_id.clone(),
        attempts_before: waiting.delivery.attempts,
        attempt: Some(attempt),
        state,
        due_ms,
        evidence: evidence::from_result(&message, Some(&answer), &next, shared.clock.wall_ms(), &shared.ids),
        references: references.iter().map(|reference| (message.id.clone(), reference.clone())).collect(),
        response_code: answer.response_code.clone().map(|code| (message.id.clone(), code)),
    };
    if !shared.record(result, fence).await {
        return Then::Reload;
    }
    match (next, due_ms) {
        (Next::Finish(_), _) | (_, None) => Then::Finish,
        (Next::Again { .. } | Next::Halt, Some(due_ms)) => {
            Then::Again(again(waiting, message, tries, due_ms))
        }
        (Next::Rest { .. }, Some(due_ms)) => Then::Rest(again(waiting, message, tries, due_ms), due_ms),
    }
}

/// Finishes `waiting` without sending it, because its time has passed.
pub(super) async fn expire(shared: Arc<Shared>, waiting: Waiting, fence: Fence) -> Ended {
    let then = close(&shared, &waiting, DeliveryState::Expired, fence).await;
    Ended { answered_ms: None, perhaps_taken: false, then }
}

/// Settles a delivery that was found started and without a result: the gateway, or the owner before us, ended
/// between the two, and the request may have arrived. Gives it back if it is to be sent again.
pub(super) async fn recover(
    shared: &Shared,
    target: &Target,
    waiting: Waiting,
    started_ms: i64,
    fence: Fence,
) -> Result<Option<Waiting>, StoreError> {
    let id = waiting.delivery.id.clone();
    let Some((message, earlier)) = read(shared, &waiting).await? else {
        close(shared, &waiting, DeliveryState::Cancelled, fence).await;
        return Ok(None);
    };
    tracing::warn!(delivery.id = %id, target = target.id, "found begun and without a result");
    let why = "the gateway was stopped between sending the request and recording its answer";
    let answer = Try {
        outcome: Outcome::Lost,
        http_status: None,
        errcode: None,
        error: Some(why.to_owned()),
        answer: None,
        response_code: None,
    };
    let now_ms = shared.clock.steady_ms();
    let ago_ms = now_ms.saturating_sub(started_ms).max(0);
    let begun_wall_ms = shared.clock.wall_ms().saturating_sub(ago_ms);
    let attempt = answer.attempt(waiting.delivery.attempts.saturating_add(1), begun_wall_ms, 0);
    let sent = Sent { waiting, message, earlier, answer, attempt, answered_ms: now_ms };
    Ok(match conclude(shared, target, sent, fence).await {
        Then::Again(again) | Then::Rest(again, _) => Some(again),
        Then::Finish | Then::Reload | Then::Block(_) => None,
    })
}

/// The message and the tries so far; `None` if there is nothing to send any more.
async fn read(shared: &Shared, waiting: &Waiting) -> Result<Option<(Arc<Message>, Tries)>, StoreError> {
    let Some(message) = read_message(shared, waiting).await? else { return Ok(None) };
    let tries = match waiting.tries {
        Some(tries) => tries,
        None => Tries::of(&shared.store.attempts(&waiting.delivery.id).await?),
    };
    Ok(Some((message, tries)))
}

async fn read_message(shared: &Shared, waiting: &Waiting) -> Result<Option<Arc<Message>>, StoreError> {
    match (&waiting.message, &waiting.delivery.cargo) {
        (Some(message), _) if message.unopened.is_none() => Ok(Some(Arc::clone(message))),
        (_, Cargo::Message(id)) => Ok(shared.store.message(id).await?.map(Arc::new)),
        // Events go out by `forward.rs`.
        (_, Cargo::Event(_)) => Ok(None),
    }
}

/// What follows if the message cannot be read: who has the key can send it, and nobody can if it is damaged.
async fn unopened(
    shared: &Shared,
    target: &Target,
    (waiting, message, earlier): (Waiting, Arc<Message>, Tries),
    why: Unopened,
    fence: Fence,
) -> Then {
    if matches!(why, Unopened::UnknownKey(_)) {
        return put_off(shared, waiting, &why.into());
    }
    let answer = unreadable(&why);
    let (at_ms, answered_ms) = (shared.clock.wall_ms(), shared.clock.steady_ms());
    let attempt = answer.attempt(waiting.delivery.attempts.saturating_add(1), at_ms, 0);
    report(shared, target, &waiting.delivery.id, &answer);
    conclude(shared, target, Sent { waiting, message, earlier, answer, attempt, answered_ms }, fence).await
}

/// A try that could not be made, and never can.
pub(super) fn unreadable(why: &Unopened) -> Try {
    Try {
        outcome: Outcome::Refused,
        http_status: None,
        errcode: None,
        error: Some(format!("not sent: what was kept is {why}")),
        answer: None,
        response_code: None,
    }
}

/// Writes the end of a delivery that was not tried.
pub(super) async fn close(shared: &Shared, waiting: &Waiting, state: DeliveryState, fence: Fence) -> Then {
    let message = match read_message(shared, waiting).await {
        Ok(message) => message,
        Err(error) => return put_off(shared, waiting.clone(), &error),
    };
    let next = Next::Finish(state);
    let now_ms = shared.clock.wall_ms();
    let evidence = message
        .map(|message| evidence::from_result(&message, None, &next, now_ms, &shared.ids))
        .unwrap_or_default();
    let result = DeliveryResult {
        id: waiting.delivery.id.clone(),
        target_id: waiting.delivery.target_id.clone(),
        attempts_before: waiting.delivery.attempts,
        attempt: None,
        state,
        due_ms: None,
        evidence,
        references: Vec::new(),
        response_code: None,
    };
    shared.observer.tell(&waiting.delivery.target_id, state.as_str());
    if shared.record(result, fence).await { Then::Finish } else { Then::Reload }
}

/// Whether a request may leave now: not while stopping, and not if the lease could end before its answer.
pub(super) fn may_begin(shared: &Shared, target: &Target, fence: Fence) -> bool {
    let until_ms = shared.clock.steady_ms().saturating_add(target.attempt_timeout_ms());
    !shared.stop.is_cancelled() && shared.ownership.fence(&target.id, until_ms) == Some(fence)
}

fn has_expired(shared: &Shared, waiting: &Waiting) -> bool {
    waiting.delivery.expires_ms.is_some_and(|expires_ms| expires_ms <= shared.clock.wall_ms())
}

/// The database did not answer, or what it has is sealed with a key that this process lacks, and nothing was sent:
/// again in a moment.
pub(super) fn put_off(shared: &Shared, mut waiting: Waiting, error: &StoreError) -> Then {
    let wait_ms = if matches!(error, StoreError::Unopened(_)) {
        tracing::error!(delivery.id = %waiting.delivery.id, %error, "a delivery waits for its key");
        KEY_RETRY_MS
    } else {
        tracing::warn!(delivery.id = %waiting.delivery.id, %error, "a delivery waits for the database");
        STORE_RETRY_MS
    };
    waiting.due_ms = shared.clock.steady_ms().saturating_add(wait_ms);
    Then::Again(waiting)
}

fn again(mut waiting: Waiting, message: Arc<Message>, tries: Tries, due_ms: i64) -> Waiting {
    waiting.delivery.attempts = waiting.delivery.attempts.saturating_add(1);
    waiting.delivery.due_ms = Some(due_ms);
    waiting.delivery.started_ms = None;
    waiting.marked = false;
    waiting.due_ms = due_ms;
    waiting.message = Some(message);
    waiting.tries = Some(tries);
    waiting
}

pub(super) fn report(shared: &Shared, target: &Target, id: &DeliveryId, answer: &Try) {
    let ending = answer.outcome.ending();
    shared.observer.tell(&target.id, ending.as_str());
    let (target, outcome) = (target.id.as_str(), ending.as_str());
    if ending == Ending::Accepted {
        tracing::debug!(delivery.id = %id, target, http_status = answer.http_status, "delivered");
    } else {
        let error = answer.error.as_deref().unwrap_or_default();
        tracing::warn!(delivery.id = %id, target, http_status = answer.http_status, outcome, error, "not delivered");
    }
}
