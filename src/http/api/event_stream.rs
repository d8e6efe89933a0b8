//! `/api/v1/events/stream`: events as they come.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::filter::KindPattern;
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::http::query::{self, Query};
use crate::http::state::HttpState;
use crate::http::streams::{Streams, Wanted};
use crate::store::{Store, StoreError, TailStart};

/// The last `id` that a client of server-sent events has seen.
const LAST_EVENT_ID: &str = "last-event-id";

/// Longest of them.
const CURSOR_BYTES_MAX: usize = 64;

pub(crate) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(stream))
}

/// Which events to stream.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// An exact kind such as `message.text`, a branch such as `message.*`, or `*`.
    kind: Option<String>,
    /// Only what came in through this channel.
    source: Option<String>,
    /// Only events of this member.
    user_id: Option<String>,
    /// Begin with what was accepted at this time: RFC 3339, or seconds or milliseconds since 1970. Without it, and
    /// without `Last-Event-ID`: with what comes from now on.
    since: Option<String>,
}

/// Stream events
///
/// Server-sent events, each with the body that endpoints get as its `data`. A client that comes back with the `id` it
/// saw last as `Last-Event-ID` misses nothing; on MySQL events of the last seconds may come again, known by the `id`
/// in their body. The stream ends after a while.
#[utoipa::path(get, path = "/api/v1/events/stream", tag = "events",
    params(Filter, ("Last-Event-ID" = Option<String>, Header, description = "The `id` that was seen last")),
    responses((status = 200, description = "Events as they come", body = String, content_type = "text/event-stream"),
              (status = 503, description = "There are too many streams")))]
async fn stream(
    State((store, streams)): State<(Store, Streams)>,
    caller: Caller,
    Query(filter): Query<Filter>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let kinds = filter
        .kind
        .as_deref()
        .map(|text| KindPattern::parse(text).map_err(|why| Problem::parameter("parameter", "kind", why)));
    let since_ms = query::time_ms("since", filter.since.as_deref())?;
    let last = headers.get(LAST_EVENT_ID);
    let start = match (last, since_ms) {
        (Some(last), _) => TailStart::After(cursor(last)?),
        (None, Some(since_ms)) => TailStart::Since(since_ms),
        (None, None) => TailStart::Now,
    };
    let wanted = Wanted {
        kinds: kinds.transpose()?,
        source: filter.source,
        allowed_sources: caller.sources,
        user_id: filter.user_id,
        since_ms,
    };
    let place = streams.take_place().ok_or_else(|| Problem::busy("too many streams"))?;
    let tail = store.tail(start).await.map_err(|error| match error {
        StoreError::Cursor => unknown_cursor(),
        other => Problem::from(other),
    })?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        // nginx passes on what it gets at once, then.
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((StatusCode::OK, headers, streams.body(tail, wanted, place)).into_response())
}

fn cursor(value: &HeaderValue) -> Result<String, Problem> {
    let text = value.to_str().ok().filter(|text| text.len() <= CURSOR_BYTES_MAX);
    text.map(ToOwned::to_owned).ok_or_else(unknown_cursor)
}

fn unknown_cursor() -> Problem {
    Problem::parameter("cursor", "Last-Event-ID", "is no `id` of a stream of this gateway")
}
