//! What an accepted callback is answered.
//!
//! 200 only when its events are on disk. The handler merely waits for that: a client that hangs up, or the deadline,
//! drops the wait and not the commit. Where something is to be said at once it is asked for then, and an old address
//! hears of the callback too.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;
use tokio::time::timeout;

use crate::domain::evidence;
use crate::http::callbacks::{CallbackState, plain};
use crate::http::origin::Origin;
use crate::http::problem::Problem;
use crate::ids::EventId;
use crate::intake::IntakeError;
use crate::replies::Reply;
use crate::shadow::{About, Mode, Old, SealedRequest};
use crate::source::{Accepted, Answer};
use crate::store::{NewEvent, Recorded};

impl CallbackState {
    /// Answers when the events are on disk, or 503 when that takes too long or cannot be.
    pub(super) async fn record(
        &self,
        origin: &Origin,
        accepted: Accepted,
        copied: Option<(Arc<Old>, SealedRequest)>,
    ) -> Result<Response<Body>, Problem> {
        let Accepted { source, events, answer } = accepted;
        let now_ms = self.clock.wall_ms();
        let deadline = Duration::from_millis(self.limits.deadline_ms);
        let deadline_ms = self.clock.steady_ms().saturating_add_unsigned(self.limits.deadline_ms);
        let new_events: Vec<NewEvent> = events
            .into_iter()
            .map(|read| {
                let id: EventId = self.ids.make();
                let evidence = evidence::from_event(&source, &read.event, &id, now_ms, &self.ids);
                NewEvent {
                    id,
                    source: source.clone(),
                    dedup_key: read.dedup_key,
                    event: read.event,
                    payload: read.payload,
                    accepted_ms: now_ms,
                    evidence,
                }
            })
            .collect();
        let event_id = copied.as_ref().and(new_events.first()).map(|event| event.id.clone());
        let reply = self.replies.begin(&answer, &new_events, deadline_ms).map(Box::new);
        let (recorded, reply) = match timeout(deadline, self.commit(new_events, reply)).await {
            Ok(Ok(done)) => done,
            Ok(Err(error)) => return Err(self.busy(origin, &source, &error.to_string(), step_of(error))),
            Err(_elapsed) => return Err(self.busy(origin, &source, "the commit took too long", "deadline")),
        };
        let figures = self.metrics.source(&source);
        if recorded.iter().any(|one| matches!(one, Recorded::New)) {
            figures.accepted.increment(1);
        } else {
            figures.repeated.increment(1);
        }
        tracing::debug!(request_id = %origin.request_id, %source, events = recorded.len(), "a callback was accepted");
        let copied = copied.map(|copied| {
            let keys = if let Answer::Passive(keys) = &answer { Some(keys.clone()) } else { None };
            (copied, About { source, event_id, keys })
        });
        let ours = self.say(answer, reply, &recorded, deadline_ms);
        Ok(answer_of(match copied {
            None => ours.await,
            Some((copied, about)) => Box::pin(self.beside_the_old(copied, about, ours, deadline_ms)).await,
        }))
    }

    /// Records the events of one callback. Where somebody is to be asked for a reply, that happens in a task of its
    /// own: a client that hangs up does not keep the one who repeats its callback from the reply.
    async fn commit(
        &self,
        events: Vec<NewEvent>,
        reply: Option<Box<Reply>>,
    ) -> Result<(Vec<Recorded>, Option<Box<Reply>>), IntakeError> {
        let mut reply = match reply {
            Some(reply) if reply.asks() => reply,
            said_or_none => return Ok((self.intake.accept(events).await?, said_or_none)),
        };
        let intake = self.intake.clone();
        let work = tokio::spawn(async move {
            let recorded = intake.accept(events).await;
            reply.committed(recorded.as_ref().ok().and_then(|all| all.first()));
            Ok((recorded?, Some(reply)))
        });
        work.await.unwrap_or(Err(IntakeError::Unavailable))
    }

    /// What we answer.
    async fn say(
        &self,
        answer: Answer,
        reply: Option<Box<Reply>>,
        recorded: &[Recorded],
        deadline_ms: i64,
    ) -> Answer {
        let (Some(reply), Some(recorded)) = (reply, recorded.first()) else { return answer };
        let left_ms = deadline_ms.saturating_sub(self.clock.steady_ms());
        let patience = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
        Box::pin(reply.answer(recorded, patience)).await
    }

    /// What is answered while the old address is asked too, or told.
    async fn beside_the_old(
        &self,
        (old, request): (Arc<Old>, SealedRequest),
        about: About,
        ours: impl Future<Output = Answer>,
        deadline_ms: i64,
    ) -> Answer {
        if old.mode == Mode::Answer {
            let (theirs, ours) = tokio::join!(self.shadow.ask(&old, request, deadline_ms), ours);
            return theirs.or(&about, ours);
        }
        let ours = ours.await;
        self.shadow.copy(old, request, about, ours.clone());
        ours
    }
}

fn step_of(error: IntakeError) -> &'static str {
    match error {
        IntakeError::Busy => "queue",
        IntakeError::Unavailable => "store",
    }
}

fn answer_of(answer: Answer) -> Response<Body> {
    match answer {
        Answer::Empty | Answer::Passive(_) => StatusCode::OK.into_response(),
        Answer::Success => plain(Bytes::from_static(b"success"), "text/plain; charset=utf-8"),
        Answer::Body { content_type, body } => plain(body, content_type),
    }
}
