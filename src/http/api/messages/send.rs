//! Sending a message.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::status::Status;
use crate::http::audit::Audit;
use crate::http::auth::Caller;
use crate::http::json_body::SendBodies;
use crate::http::origin::Origin;
use crate::http::problem::Problem;
use crate::messages::{Accepted, Messages, SendError};
use crate::wecom::api::field::FieldError;

/// The caller's own key for a send: sent again with it, the message stays one.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What became of a send.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Taken {
    /// Our id of the message.
    #[schema(example = "msg_06f0jxk2m0e1v8s2y7q9c4h3ab")]
    message_id: String,
    /// Always `pending`: it is on disk and goes out when its channel's pace allows.
    #[schema(example = "pending")]
    status: &'static str,
    /// Whether this `Idempotency-Key` was here before; nothing was added then.
    repeated: bool,
}

/// Send a message
///
/// The body is WeCom's own (`msgtype` and what goes with it; for an app also `touser`, `toparty` and `totag`, as lists or
/// joined by `|`) with a `channel`, and perhaps `send_at`, `expires_at`, `priority` (-9 to 9), `policy`
/// (`at_most_once`, `at_least_once`), `long_text` (`refuse`, `split`, `truncate`) and `track_links`. In short: `"text": "hello"`. It is
/// checked against the platform's limits, and on disk before this is answered.
#[utoipa::path(post, path = "/api/v1/messages", tag = "messages",
    params(("Idempotency-Key" = Option<String>, Header, description = "Up to 128 printable characters")),
    request_body(content = Object, content_type = "application/json",
        example = json!({"channel": "wechat_bot", "msgtype": "text", "text": {"content": "hello"}})),
    responses((status = 202, description = "Taken", body = Taken)))]
pub(super) async fn send(
    State(messages): State<Messages>,
    State(SendBodies(bodies)): State<SendBodies>,
    State(audit): State<Audit>,
    caller: Caller,
    origin: Origin,
    request: Request,
) -> Result<(StatusCode, Json<Taken>), Problem> {
    let key = request.headers().get(IDEMPOTENCY_KEY).cloned();
    let message: Value = bodies.read(request).await?;
    // What is not ASCII is refused like any other unfit key.
    let key = key.as_ref().map(|key| key.to_str().unwrap_or_default());
    let asking = caller.asking();
    let accepted = messages.send(message, &asking, key).await?;
    audit.note(&origin, &caller.actor, "message.sent", accepted.id.as_str());
    Ok((StatusCode::ACCEPTED, Json(accepted.into())))
}

impl From<Accepted> for Taken {
    fn from(accepted: Accepted) -> Self {
        Self {
            message_id: accepted.id.to_string(),
            status: Status::Pending.as_str(),
            repeated: accepted.repeated,
        }
    }
}

/// A problem with one field, named by its path.
pub(super) fn field(wrong: &FieldError) -> Problem {
    Problem::parameter("field", &wrong.field, &format!("must be {}, not {}", wrong.limit, wrong.actual))
}

impl From<SendError> for Problem {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Field(wrong) => field(&wrong),
            SendError::OfBatch(at, error) => of_batch(at, *error),
            SendError::UnknownChannel => Self::parameter("unknown_channel", "channel", "names no channel"),
            SendError::Disabled => Self::conflict("the channel is switched off"),
            SendError::ReceiveOnly => Self::conflict("the channel cannot send"),
            SendError::KeyReused => Self::conflict("the Idempotency-Key was used for another message"),
            SendError::Store(error) => Self::from(error),
        }
    }
}

/// The same complaint, with the place in the batch.
fn of_batch(at: usize, error: SendError) -> Problem {
    let place = format!("messages[{at}]");
    match error {
        SendError::Field(wrong) => field(&wrong.inside(&place)),
        SendError::UnknownChannel => {
            Problem::parameter("unknown_channel", &format!("{place}.channel"), "names no channel")
        }
        SendError::Disabled => Problem::parameter("disabled", &format!("{place}.channel"), "is switched off"),
        SendError::ReceiveOnly => {
            Problem::parameter("receive_only", &format!("{place}.channel"), "cannot send")
        }
        other => Problem::from(other),
    }
}
