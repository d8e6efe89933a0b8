//! What is said to a smart robot's callback after its answer: `respond`, once, and `stream`, while the platform asks.

use axum::Json;
use axum::extract::{Path, Request, State};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::audit::Audit;
use crate::http::auth::Caller;
use crate::http::json_body::JsonBodies;
use crate::http::origin::Origin;
use crate::http::problem::Problem;
use crate::http::state::HttpState;
use crate::messages::Messages;

pub(crate) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(respond)).routes(routes!(stream))
}

/// Something was said.
#[derive(Debug, Serialize, ToSchema)]
struct Responded {
    /// The event that it answers.
    #[schema(example = "evt_06f0jxk2m0e1v8s2y7q9c4h3ab")]
    event_id: String,
    /// `sent`: the platform took it.
    #[schema(example = "sent")]
    status: &'static str,
}

/// What a stream says was changed.
#[derive(Debug, Serialize, ToSchema)]
struct Fed {
    /// The event that it answers.
    #[schema(example = "evt_06f0jxk2m0e1v8s2y7q9c4h3ab")]
    event_id: String,
    /// Whether nothing can follow.
    finished: bool,
}

/// Answer a smart robot's callback
///
/// Through the `response_url` that the event carries: markdown or a card, once, within an hour. An answer of the
/// platform's that is lost counts as its taking.
#[utoipa::path(post, path = "/api/v1/events/{id}/respond", tag = "events",
    params(("id" = String, Path, description = "The event's id")),
    request_body(content = Object, content_type = "application/json",
        example = json!({"msgtype": "markdown", "markdown": {"content": "**done**"}})),
    responses((status = 200, description = "The platform took it", body = Responded)))]
async fn respond(
    State(messages): State<Messages>,
    State(bodies): State<JsonBodies>,
    State(audit): State<Audit>,
    caller: Caller,
    origin: Origin,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Responded>, Problem> {
    let said: Value = bodies.read(request).await?;
    let event_id = messages.respond(&id, &caller.asking(), &said).await?.to_string();
    audit.note(&origin, &caller.actor, "event.responded", &event_id);
    Ok(Json(Responded { event_id, status: "sent" }))
}

/// Feed a stream
///
/// What the answer to this message to a smart robot says from now on: `content` is all of it, not what is new. The
/// platform asks for it for six minutes, or until `finish`; `msg_item` (pictures) goes with the end.
#[utoipa::path(put, path = "/api/v1/events/{id}/stream", tag = "events",
    params(("id" = String, Path, description = "The event's id")),
    request_body(content = Object, content_type = "application/json",
        example = json!({"content": "Looking it up: 3 of 7 …", "finish": false})),
    responses((status = 200, description = "It is on disk, and told when the platform asks next", body = Fed)))]
async fn stream(
    State(messages): State<Messages>,
    State(bodies): State<JsonBodies>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Fed>, Problem> {
    let said: Value = bodies.read(request).await?;
    let (event_id, finished) = messages.feed_stream(&id, &caller.asking(), said).await?;
    Ok(Json(Fed { event_id: event_id.to_string(), finished }))
}
