//! Answers in the platform's form.

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::http::problem::Problem;
use crate::messages::{ActError, SendError};
use crate::wecom::api::field::FieldError;

/// An answer of qyapi.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct QyAnswer {
    errcode: i64,
    errmsg: String,
    more: Map<String, Value>,
}

impl QyAnswer {
    pub(super) fn ok() -> Self {
        Self { errcode: 0, errmsg: "ok".to_owned(), more: Map::new() }
    }

    pub(super) fn error(errcode: i64, errmsg: impl Into<String>) -> Self {
        Self { errcode, errmsg: errmsg.into(), more: Map::new() }
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }
}

impl IntoResponse for QyAnswer {
    fn into_response(self) -> Response {
        let mut body = json!({"errcode": self.errcode, "errmsg": self.errmsg});
        if let Some(body) = body.as_object_mut() {
            body.extend(self.more);
        }
        let mut response = Response::new(Body::from(body.to_string()));
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("application/json; charset=UTF-8"),
        );
        headers.insert("error-code", header::HeaderValue::from(self.errcode));
        response
    }
}

impl From<FieldError> for QyAnswer {
    fn from(wrong: FieldError) -> Self {
        let is_empty = wrong.actual == "empty";
        let errcode = match wrong.field.as_str() {
            "msgtype" => 40008,
            "touser" if wrong.actual == "nobody" => 82001,
            "touser" => 40032,
            "agentid" => 301_002,
            field if is_empty && field.ends_with(".content") => 44004,
            _ => 40058,
        };
        Self::error(errcode, wrong.to_string())
    }
}

impl From<SendError> for QyAnswer {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Field(wrong) => wrong.into(),
            SendError::UnknownChannel | SendError::Disabled | SendError::ReceiveOnly => {
                Self::error(50003, "the app is disabled")
            }
            SendError::OfBatch(_, error) => (*error).into(),
            SendError::KeyReused => Self::error(40058, error.to_string()),
            SendError::Store(cause) => busy(&cause.to_string()),
        }
    }
}

impl From<ActError> for QyAnswer {
    fn from(error: ActError) -> Self {
        match error {
            ActError::Unknown => Self::error(40058, "invalid msgid"),
            ActError::Field(wrong) => wrong.into(),
            ActError::Impossible(why) => Self::error(40058, why),
            ActError::Refused { code: Some(code), text } => Self::error(code, text),
            ActError::Refused { code: None, text } | ActError::Unsure(text) => Self::error(-1, text),
            ActError::Store(cause) => busy(&cause.to_string()),
        }
    }
}

impl From<Problem> for QyAnswer {
    fn from(problem: Problem) -> Self {
        match problem.status().as_u16() {
            413 => Self::error(45001, "the body is larger than this route takes"),
            429 => Self::error(45009, "api freq out of limit"),
            400..=499 => Self::error(40058, "the request is not well formed"),
            _ => busy(problem.cause().unwrap_or_default()),
        }
    }
}

fn busy(cause: &str) -> QyAnswer {
    tracing::warn!(cause, "a drop-in call could not be served");
    QyAnswer::error(-1, "system busy")
}
