//! `/l/{token}`: a tracked link is opened, and leads on.
//!
//! A HEAD request, a prefetch and a program that looks at links for somebody are led on as well, but prove nothing.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::problem::Problem;
use crate::http::state::HttpState;
use crate::messages::Messages;

/// Parts of the names of programs that open links and are nobody, in lower case.
const PROGRAMS: [&str; 20] = [
    "bot",
    "spider",
    "crawl",
    "preview",
    "scan",
    "monitor",
    "headless",
    "curl/",
    "wget/",
    "python",
    "java/",
    "go-http-client",
    "okhttp",
    "axios",
    "node-fetch",
    "facebookexternalhit",
    "whatsapp",
    "skypeuripreview",
    "bytespider",
    "safelinks",
];

/// Headers by which a browser says that it only fetches ahead.
const AHEAD: [&str; 3] = ["sec-purpose", "purpose", "x-moz"];

pub(crate) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(follow))
}

/// Follow a tracked link
///
/// Leads to where the message's author pointed. Opened by a person it is a click, and of a link that one person alone
/// got the proof that they read the message.
#[utoipa::path(get, path = "/l/{token}", tag = "messages",
    params(("token" = String, Path, description = "From the message")),
    responses((status = 302, description = "There it is"), (status = 404, description = "No such link")))]
async fn follow(
    State(messages): State<Messages>,
    method: Method,
    headers: HeaderMap,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    let opened = method == Method::GET && is_person(&headers);
    let url = messages.follow(&token, opened).await?.ok_or_else(Problem::not_found)?;
    let location = HeaderValue::from_str(&url).map_err(|error| Problem::internal(error.to_string()))?;
    let mut response = StatusCode::FOUND.into_response();
    let answer = response.headers_mut();
    answer.insert(header::LOCATION, location);
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

/// Whether a person may be behind the request: a program with a name says it is none, one without a name as well.
fn is_person(headers: &HeaderMap) -> bool {
    let text =
        |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).to_lowercase());
    if AHEAD
        .iter()
        .any(|name| text(name).is_some_and(|said| said.contains("prefetch") || said.contains("preview")))
    {
        return false;
    }
    text("user-agent")
        .is_some_and(|agent| !agent.is_empty() && !PROGRAMS.iter().any(|program| agent.contains(program)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_told_from_programs() {
        let says = |pairs: &[(&'static str, &'static str)]| {
            is_person(
                &pairs
                    .iter()
                    .map(|(name, value)| ((*name).parse().unwrap(), HeaderValue::from_static(value)))
                    .collect(),
            )
        };
        let phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0) wxwork/4.1.36 MicroMessenger/7.0.1 Language/zh";
        assert!(says(&[("user-agent", phone)]));
        for agent in
            ["", "Slackbot-LinkExpanding 1.0", "curl/8.5", "Mozilla/5.0 (compatible; Baiduspider/2.0)"]
        {
            assert!(!says(&[("user-agent", agent)]), "{agent}");
        }
        assert!(!says(&[]));
        for ahead in [("sec-purpose", "prefetch;prerender"), ("purpose", "prefetch"), ("x-moz", "prefetch")] {
            assert!(!says(&[("user-agent", phone), ahead]), "{ahead:?}");
        }
    }
}
