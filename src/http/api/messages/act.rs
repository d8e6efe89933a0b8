//! What can still be done about a message: cancel, recall, change its card.

use axum::Json;
use axum::extract::{Path, Request, State};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::http::audit::Audit;
use crate::http::auth::Caller;
use crate::http::json_body::JsonBodies;
use crate::http::origin::Origin;
use crate::http::problem::Problem;
use crate::messages::{ActError, Messages};

/// Something was done.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Done {
    /// Our id of the message.
    #[schema(example = "msg_06f0jxk2m0e1v8s2y7q9c4h3ab")]
    message_id: String,
    /// `cancelled`, `recalled` or `updated`.
    #[schema(example = "recalled")]
    done: &'static str,
}

/// Cancel a message
///
/// Before it has left; its status is `expired` then, with the reason. 409 once it is on its way.
#[utoipa::path(post, path = "/api/v1/messages/{id}/cancel", tag = "messages",
    params(("id" = String, Path, description = "Our id, or a task id")),
    responses((status = 200, description = "It will not be sent", body = Done)))]
pub(super) async fn cancel(
    State(messages): State<Messages>,
    State(audit): State<Audit>,
    caller: Caller,
    origin: Origin,
    Path(id): Path<String>,
) -> Result<Json<Done>, Problem> {
    let message_id = messages.cancel(&id, &caller.asking()).await?.to_string();
    audit.note(&origin, &caller.actor, "message.cancelled", &message_id);
    Ok(Json(Done { message_id, done: "cancelled" }))
}

/// Recall a message
///
/// Messages of apps only, within 24 hours; copies in the WeChat plugin stay.
#[utoipa::path(post, path = "/api/v1/messages/{id}/recall", tag = "messages",
    params(("id" = String, Path, description = "Our id, the platform's msgid, or a task id")),
    responses((status = 200, description = "It was taken back", body = Done)))]
pub(super) async fn recall(
    State(messages): State<Messages>,
    State(audit): State<Audit>,
    caller: Caller,
    origin: Origin,
    Path(id): Path<String>,
) -> Result<Json<Done>, Problem> {
    let message_id = messages.recall(&id, &caller.asking()).await?.to_string();
    audit.note(&origin, &caller.actor, "message.recalled", &message_id);
    Ok(Json(Done { message_id, done: "recalled" }))
}

/// Change a message's card
///
/// `{"button": {"replace_name": …}}` or `{"template_card": {…}}`: once, within 72 hours of its sending. A change whose
/// answer is lost counts as made.
#[utoipa::path(post, path = "/api/v1/messages/{id}/update-card", tag = "messages",
    params(("id" = String, Path, description = "Our id, the platform's msgid, or a task id")),
    request_body(content = Object, content_type = "application/json",
        example = json!({"button": {"replace_name": "approved"}})),
    responses((status = 200, description = "The card is changed", body = Done)))]
pub(super) async fn update_card(
    State(messages): State<Messages>,
    State(bodies): State<JsonBodies>,
    State(audit): State<Audit>,
    caller: Caller,
    origin: Origin,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Done>, Problem> {
    let change: Value = bodies.read(request).await?;
    let message_id = messages.update_card(&id, &caller.asking(), change).await?.to_string();
    audit.note(&origin, &caller.actor, "message.card_updated", &message_id);
    Ok(Json(Done { message_id, done: "updated" }))
}

impl From<ActError> for Problem {
    fn from(error: ActError) -> Self {
        match error {
            ActError::Unknown => Self::not_found(),
            ActError::Field(wrong) => super::send::field(&wrong),
            ActError::Impossible(why) => Self::conflict(why),
            ActError::Refused { code, text } => {
                Self::upstream("platform_refused", refused(code)).because(text)
            }
            ActError::Unsure(text) => Self::upstream(
                "platform_silent",
                "whether it was done is not known: the platform's answer was lost",
            )
            .because(text),
            ActError::Store(error) => Self::from(error),
        }
    }
}

/// The platform's own words stay in the log: they name addresses and support ids.
fn refused(code: Option<i64>) -> String {
    match code {
        Some(code) => {
            format!("the platform refused: errcode {code}, {}", crate::wecom::errcode::lookup(code).meaning)
        }
        None => "the platform could not be reached, or something else answered".to_owned(),
    }
}
