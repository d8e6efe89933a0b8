//! `media/upload` and `webhook/upload_media`: the form goes on to the platform as it came.

use axum::extract::{Query, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;

use super::Compat;
use super::answer::QyAnswer;
use super::send::chosen;
use crate::domain::outcome::{Outcome, Try};
use crate::http::body::{self, ReceivedBody};
use crate::http::origin::Origin;
use crate::http::problem::Problem;
use crate::wecom::api::media::MediaKind;

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    key: String,
    #[serde(default, rename = "type")]
    kind: String,
}

/// `POST /cgi-bin/media/upload`.
pub(super) async fn app(
    State(compat): State<Compat>,
    Query(asked): Query<Asked>,
    request: Request,
) -> Result<Response, QyAnswer> {
    let bearer = compat.bearer(&asked.access_token).await?;
    let kind = MediaKind::parse(&asked.kind).ok_or_else(no_kind)?;
    // Files are shared by all apps of a corp.
    let app = match bearer.apps.first() {
        Some((_, app)) => app,
        None => &chosen(&bearer, None)?.1,
    };
    let (content_type, received) = compat.form(request).await?;
    Ok(passed(app.upload(kind, &content_type, received.bytes.clone()).await))
}

/// `POST /cgi-bin/webhook/upload_media`.
pub(super) async fn robot(
    State(compat): State<Compat>,
    origin: Origin,
    Query(asked): Query<Asked>,
    request: Request,
) -> Result<Response, QyAnswer> {
    let (_, robot, _) = compat.robot(&asked.key, &origin).await?;
    let taken = [MediaKind::File, MediaKind::Voice];
    let kind = MediaKind::parse(&asked.kind).filter(|kind| taken.contains(kind)).ok_or_else(no_kind)?;
    let (content_type, received) = compat.form(request).await?;
    Ok(passed(robot.upload(kind, &content_type, received.bytes.clone()).await))
}

fn no_kind() -> QyAnswer {
    QyAnswer::error(40004, "invalid media type")
}

/// The platform's own answer, or what became of the call.
fn passed((tried, answer): (Try, Bytes)) -> Response {
    match tried.outcome {
        Outcome::Accepted { .. } => {
            ([(header::CONTENT_TYPE, "application/json; charset=UTF-8")], answer).into_response()
        }
        _ => QyAnswer::error(tried.errcode.unwrap_or(-1), tried.error.unwrap_or_default()).into_response(),
    }
}

impl Compat {
    async fn form(&self, request: Request) -> Result<(String, ReceivedBody), QyAnswer> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type =
            content_type.filter(|text| text.starts_with("multipart/form-data")).map(str::to_owned);
        let content_type = content_type.ok_or_else(|| QyAnswer::error(41005, "media data missing"))?;
        let received = body::receive(request.into_body(), self.upload_bytes_max, &self.bodies.0.budget).await;
        Ok((content_type, received.map_err(Problem::from)?))
    }
}
