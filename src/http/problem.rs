//! What went wrong, as the outside sees it: RFC 9457 `application/problem+json` with fixed texts.
//!
//! A handler answers with a [`Problem`]; the gate writes it out, because only the gate knows the request's id and
//! whether the client is the platform (which gets a fixed text for each status and nothing else) or a caller of the
//! API. The cause goes to the log with the request's id, never outside.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::sealed::Unopened;
use crate::http::request_id::RequestId;
use crate::sabotage::{self, Protection};
use crate::store::StoreError;

/// Something that went wrong with a request.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    retry_after_s: Option<u64>,
    /// For the log only.
    cause: Option<String>,
}

/// Marks an error answer that is to go out as it is: a problem says less than it does.
#[derive(Clone, Copy, Debug)]
pub struct Meant;

/// The body of an answer that reports a problem (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// Always `about:blank`: `code` tells problems apart.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The name of the status.
    #[schema(example = "Not Found")]
    title: &'a str,
    /// The HTTP status.
    #[schema(example = 404)]
    status: u16,
    /// A word for programs.
    #[schema(example = "not_found")]
    code: &'a str,
    /// A sentence for people.
    detail: &'a str,
    /// Also in the header `X-Request-Id`, and in the log.
    #[schema(example = "req_06f0jxk2m0e1v8s2y7q9c4h3ab")]
    #[schema(value_type = str)]
    request_id: String,
}

/// Longest part of a caller's own words that is repeated to it.
const ECHO_CHARS_MAX: usize = 64;

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, detail: detail.into(), retry_after_s: None, cause: None }
    }

    /// 400: `code` names what is wrong, `detail` says it.
    pub fn bad_request(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 400 about a query parameter or a field of the body; `name` may come from the caller.
    pub fn parameter(code: &'static str, name: &str, reason: &str) -> Self {
        Self::bad_request(code, format!("`{}` {reason}", printable(name)))
    }

    /// 401: no key, or none that we know.
    pub fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "this needs an API key: `Authorization: Bearer <key>`",
        )
    }

    /// 403: known, but not allowed.
    pub fn forbidden(detail: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404.
    pub fn not_found() -> Self {
        Self::of_status(StatusCode::NOT_FOUND)
    }

    /// 408: the request did not come in time.
    pub fn timed_out() -> Self {
        Self::of_status(StatusCode::REQUEST_TIMEOUT)
    }

    /// 409.
    pub fn conflict(detail: &'static str) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    /// 502: the platform, or what stands before it, did not do what was asked.
    pub fn upstream(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, code, detail)
    }

    /// 413.
    pub fn too_large() -> Self {
        Self::of_status(StatusCode::PAYLOAD_TOO_LARGE)
    }

    /// 414.
    pub fn url_too_long() -> Self {
        Self::of_status(StatusCode::URI_TOO_LONG)
    }

    /// 415.
    pub fn unsupported(detail: &'static str) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
    }

    /// 429 with `Retry-After`.
    pub fn too_many(retry_after_s: u64) -> Self {
        Self { retry_after_s: Some(retry_after_s), ..Self::of_status(StatusCode::TOO_MANY_REQUESTS) }
    }

    /// 500. `cause` is logged.
    pub fn internal(cause: impl Into<String>) -> Self {
        Self { cause: Some(cause.into()), ..Self::of_status(StatusCode::INTERNAL_SERVER_ERROR) }
    }

    /// 503 with `Retry-After`. `cause` is logged.
    pub fn busy(cause: impl Into<String>) -> Self {
        Self {
            cause: Some(cause.into()),
            retry_after_s: Some(1),
            ..Self::of_status(StatusCode::SERVICE_UNAVAILABLE)
        }
    }

    /// The usual problem of a status.
    pub fn of_status(status: StatusCode) -> Self {
        let (code, detail) = match status.as_u16() {
            400 => ("bad_request", "the request is not well formed"),
            401 => ("unauthorized", "the request is not authorised"),
            403 => ("forbidden", "this is not allowed"),
            404 => ("not_found", "there is nothing here"),
            405 => ("method_not_allowed", "this route does not know the method; see the header Allow"),
            408 => ("request_timeout", "the request did not come in time"),
            413 => ("body_too_large", "the body is larger than this route takes"),
            414 => ("url_too_long", "the path and query are too long"),
            415 => ("unsupported_media_type", "this encoding or type of body is not taken"),
            429 => ("too_many_requests", "too many requests; see the header Retry-After"),
            503 => ("busy", "try again in a moment; see the header Retry-After"),
            s if (400..500).contains(&s) => ("bad_request", "the request cannot be answered"),
            _ => ("internal", "something went wrong here; the log has it under the request id"),
        };
        Self::new(status, code, detail)
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The same problem, with a cause for the log.
    #[must_use]
    pub fn because(self, cause: impl Into<String>) -> Self {
        Self { cause: Some(cause.into()), ..self }
    }

    /// The sentence for people.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// What the log gets: the cause, if there is one.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The answer for a caller of the API.
    pub(crate) fn to_json(&self, request_id: RequestId) -> Response<Body> {
        let detail = match &self.cause {
            Some(cause) if sabotage::off(Protection::FixedErrors) => cause,
            _ => self.detail.as_ref(),
        };
        let body = ProblemBody {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: self.code,
            detail,
            request_id: request_id.to_string(),
        };
        let json = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = self.answer("application/problem+json", json.into());
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }

    /// The answer for the platform: one fixed text for each status, so that nothing can be read from it.
    pub(crate) fn to_fixed_text(&self) -> Response<Body> {
        let text = match &self.cause {
            Some(cause) if sabotage::off(Protection::FixedErrors) => Body::from(cause.clone()),
            _ => Body::from(fixed_text(self.status)),
        };
        self.answer("text/plain", text)
    }

    fn answer(&self, content_type: &'static str, body: Body) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

fn fixed_text(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "bad request",
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not found",
        405 => "method not allowed",
        408 => "request timeout",
        413 => "too large",
        414 => "url too long",
        415 => "unsupported media type",
        429 => "too many requests",
        503 => "busy",
        s if (400..500).contains(&s) => "refused",
        _ => "error",
    }
}

/// The problem travels inside the response until the gate writes it out.
impl IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy | StoreError::Unavailable(_) => Self::busy(error.to_string()),
            StoreError::TooLong { field, limit, .. } => {
                Self::parameter("too_long", field, &format!("is longer than {limit} bytes"))
            }
            StoreError::Cursor => Self::parameter("cursor", "cursor", "was not made by this service"),
            StoreError::Conflict => Self::conflict("there is one already"),
            StoreError::Unopened(Unopened::UnknownKey(_)) => {
                let detail =
                    "what is stored was sealed with a key that this replica does not have (encryption)";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "sealed", detail).because(error.to_string())
            }
            StoreError::Unopened(Unopened::Damaged) => {
                let detail = "what is stored is sealed and damaged, or taken from another row";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "damaged", detail).because(error.to_string())
            }
            StoreError::Corrupt { .. }
            | StoreError::NewerSchema { .. }
            | StoreError::Unsafe(_)
            | StoreError::InUse(_)
            | StoreError::Settings(_)
            | StoreError::Refused(_) => Self::internal(error.to_string()),
        }
    }
}

/// A caller's own word, fit to be repeated to it: cut, and without what could act in a terminal or a page.
fn printable(word: &str) -> String {
    word.chars()
        .take(ECHO_CHARS_MAX)
        .map(|c| if c.is_ascii_alphanumeric() || "-_.[]*".contains(c) { c } else { '?' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_word_is_cut_and_cleaned() {
        let problem =
            Problem::parameter("unknown_parameter", "a\r\n\u{1b}[31m<script>\u{2028}", "is not known");
        assert_eq!(problem.detail, "`a???[31m?script??` is not known");
        assert_eq!(printable(&"x".repeat(500)).len(), ECHO_CHARS_MAX);
    }

    #[test]
    fn a_cause_stays_inside() {
        let problem = Problem::from(StoreError::Refused("no such table: events".to_owned()));
        assert_eq!(
            (problem.status().as_u16(), problem.cause()),
            (500, Some("the database refused a statement: no such table: events"))
        );
        assert!(!problem.detail.contains("table"));
    }

    #[test]
    fn every_store_error_has_a_status() {
        let status = |error: StoreError| Problem::from(error).status().as_u16();
        assert_eq!(status(StoreError::Busy), 503);
        assert_eq!(status(StoreError::Unavailable("10.0.0.1".to_owned())), 503);
        assert_eq!(status(StoreError::Cursor), 400);
        assert_eq!(status(StoreError::TooLong { field: "name", limit: 1, actual: 2 }), 400);
        assert_eq!(status(StoreError::Conflict), 409);
    }
}
