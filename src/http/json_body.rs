//! Reading a JSON body: the right type, within its size, and nothing in it that we do not know.

use axum::extract::Request;
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;

use crate::http::body;
use crate::http::budget::ByteBudget;
use crate::http::problem::Problem;

/// How JSON bodies are read. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct JsonBodies {
    /// The budget over all bodies.
    pub(crate) budget: ByteBudget,
    /// Largest body.
    pub(crate) bytes_max: usize,
}

/// The same for bodies that carry messages, and pictures in them. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct SendBodies(pub(crate) JsonBodies);

/// How bodies that are files are read. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct UploadBodies(pub(crate) JsonBodies);

impl JsonBodies {
    /// Reads a `T`, whose type denies unknown fields.
    pub(crate) async fn read<T: DeserializeOwned>(&self, request: Request) -> Result<T, Problem> {
        // A page of another origin may send any text without asking first, but not this type: so nobody's browser
        // can be made to send here.
        if !is_json(request.headers()) {
            return Err(Problem::unsupported("the body has to be `application/json`"));
        }
        let received = body::receive(request.into_body(), self.bytes_max, &self.budget).await?;
        serde_json::from_slice(&received.bytes).map_err(|error| explain(&error))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
}

/// Where the body is wrong, without the words of the parser: they name our types.
fn explain(error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    let named = text.split('`').nth(1).unwrap_or_default();
    if text.starts_with("unknown field") {
        return Problem::parameter("unknown_field", named, "is not a field of this body");
    }
    if text.starts_with("missing field") {
        return Problem::parameter("missing_field", named, "is missing");
    }
    let place = format!("line {}, column {}", error.line(), error.column());
    let what = if error.is_data() {
        "the body has a value of another kind than expected"
    } else {
        "this is not JSON"
    };
    Problem::bad_request("body", format!("{what}: {place}"))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its form is looked at")]
    struct Note {
        text: String,
        count: Option<i64>,
    }

    async fn read(content_type: &str, body: &str) -> Result<Note, String> {
        let bodies = JsonBodies { budget: ByteBudget::new(1_000), bytes_max: 300 };
        let request = Request::post("/x").header(header::CONTENT_TYPE, content_type);
        let read = bodies.read(request.body(Body::from(body.to_owned())).unwrap()).await;
        read.map_err(|problem| format!("{} {}", problem.status().as_u16(), problem.detail()))
    }

    #[tokio::test]
    async fn only_known_json_is_read() {
        let json = "application/json";
        assert!(read(json, r#"{"text":"a","count":1}"#).await.is_ok());
        assert!(read("Application/JSON; charset=utf-8", r#"{"text":"a"}"#).await.is_ok());
        for (content_type, body, expected) in [
            ("text/plain", r#"{"text":"a"}"#, "415 the body has to be `application/json`"),
            (json, r#"{"text":"a","cuont":1}"#, "400 `cuont` is not a field of this body"),
            (json, "{}", "400 `text` is missing"),
            (
                json,
                r#"{"text":1}"#,
                "400 the body has a value of another kind than expected: line 1, column 9",
            ),
            (json, r#"{"text""#, "400 this is not JSON: line 1, column 7"),
            (json, "", "400 this is not JSON: line 1, column 0"),
            (
                json,
                &"[".repeat(129),
                "400 the body has a value of another kind than expected: line 1, column 1",
            ),
            (json, &" ".repeat(301), "413 the body is larger than this route takes"),
        ] {
            assert_eq!(read(content_type, body).await.unwrap_err(), expected, "{body}");
        }
    }
}
