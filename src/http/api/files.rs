//! `/api/v1/media`: files to be sent.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::audit::Audit;
use crate::http::auth::Caller;
use crate::http::body;
use crate::http::json_body::UploadBodies;
use crate::http::origin::Origin;
use crate::http::problem::Problem;
use crate::http::query::{self, Query};
use crate::http::state::HttpState;
use crate::messages::{Messages, NewFile};
use crate::wecom::api::media::MediaKind;

pub(crate) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(keep))
}

/// What the body is.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Asked {
    /// The channel it will be sent through.
    channel: Option<String>,
    /// `image`, `voice`, `video` or `file`.
    r#type: Option<String>,
    /// What people see it is called.
    filename: Option<String>,
}

/// A file that is kept.
#[derive(Debug, Serialize, ToSchema)]
struct Kept {
    /// Stands in messages where the platform has a `media_id`, for four days.
    #[schema(example = "file_06f0jxk2m0e1v8s2y7q9c4h3ab")]
    media_id: String,
}

/// Keep a file to be sent
///
/// The body is the file itself. It is uploaded to the platform when a message with it is sent, and again when the
/// platform no longer has it.
#[utoipa::path(post, path = "/api/v1/media", tag = "messages", params(Asked),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, description = "Kept", body = Kept)))]
async fn keep(
    State(messages): State<Messages>,
    State(UploadBodies(bodies)): State<UploadBodies>,
    State(audit): State<Audit>,
    caller: Caller,
    origin: Origin,
    Query(asked): Query<Asked>,
    request: Request,
) -> Result<(StatusCode, Json<Kept>), Problem> {
    let missing = |name: &str| Problem::parameter("missing_parameter", name, "is missing");
    let kind =
        query::word("type", asked.r#type.as_deref(), MediaKind::parse)?.ok_or_else(|| missing("type"))?;
    let channel = asked.channel.ok_or_else(|| missing("channel"))?;
    let name = asked.filename.ok_or_else(|| missing("filename"))?;
    let received = body::receive(request.into_body(), bodies.bytes_max, &bodies.budget).await?;
    let asking = caller.asking();
    let file = NewFile { channel, kind, name, content: received.bytes.clone() };
    let id = messages.keep_file(file, &asking).await?;
    audit.note(&origin, &caller.actor, "file.kept", id.as_str());
    Ok((StatusCode::CREATED, Json(Kept { media_id: id.to_string() })))
}
