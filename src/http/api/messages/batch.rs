//! Sending many messages at once.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::send::Taken;
use crate::http::audit::Audit;
use crate::http::auth::Caller;
use crate::http::json_body::SendBodies;
use crate::http::origin::Origin;
use crate::http::problem::Problem;
use crate::messages::Messages;

/// Many messages.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch {
    /// Each as `POST /api/v1/messages` takes it, perhaps with an `idempotency_key`; 1 to 1,000.
    #[schema(value_type = Vec<Object>)]
    messages: Vec<Value>,
}

/// What became of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchTaken {
    /// One answer for each message, in the same order.
    messages: Vec<Taken>,
}

/// Send many messages
///
/// All of them are taken, in one transaction, or none: the error names the first that cannot be.
#[utoipa::path(post, path = "/api/v1/messages/batch", tag = "messages", request_body = Batch,
    responses((status = 202, description = "Taken", body = BatchTaken)))]
pub(super) async fn send_all(
    State(messages): State<Messages>,
    State(SendBodies(bodies)): State<SendBodies>,
    State(audit): State<Audit>,
    caller: Caller,
    origin: Origin,
    request: Request,
) -> Result<(StatusCode, Json<BatchTaken>), Problem> {
    let batch: Batch = bodies.read(request).await?;
    let asking = caller.asking();
    let accepted = messages.send_all(batch.messages, &asking).await?;
    let first = accepted.first().map(|accepted| accepted.id.to_string()).unwrap_or_default();
    audit.note(&origin, &caller.actor, "messages.sent", &format!("{} from {first}", accepted.len()));
    let messages = accepted.into_iter().map(Taken::from).collect();
    Ok((StatusCode::ACCEPTED, Json(BatchTaken { messages })))
}
