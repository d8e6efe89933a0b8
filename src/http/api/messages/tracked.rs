//! What became of a message: status, history, interactions, and reports of other systems about it.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use crate::clock::rfc3339_ms;
use crate::domain::delivery::Attempt;
use crate::domain::fold::{HistoryEntry, InteractionEntry, RecipientStatus, Tracked};
use crate::domain::status::Status;
use crate::http::api::channels::{ChannelFacts, SharedChannels};
use crate::http::api::listing::Listing;
use crate::http::audit::Audit;
use crate::http::auth::Caller;
use crate::http::json_body::JsonBodies;
use crate::http::origin::Origin;
use crate::http::problem::Problem;
use crate::http::query::{self, PageLimits, Query};
use crate::ids::EvidenceId;
use crate::tracker::{ENTRIES_MAX, Report, Tracker};

/// What a message's status is, or was.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MessageStatus)]
pub(super) struct StatusView {
    /// Our id, or the one asked for when the message is not ours.
    message_id: String,
    /// `pending`, `sent`, `delivered`, `read`, `failed`, `expired`, `recalled`, `uncertain`.
    #[schema(example = "sent")]
    status: &'static str,
    /// Since when.
    #[schema(format = DateTime)]
    timestamp: String,
    /// The person it is about, if it is exactly one.
    user_id: Option<String>,
    /// Why it failed, expired, or is uncertain; of one that is pending, why it was not sent yet, if it was tried or its
    /// channel halts.
    error_message: Option<String>,
    /// What else is known.
    #[schema(value_type = Object)]
    details: Map<String, Value>,
    /// Those who stand elsewhere than the message; not in a history.
    #[serde(skip_serializing_if = "Option::is_none")]
    recipients: Option<Vec<RecipientView>>,
}

/// Where one recipient stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Recipient)]
pub(super) struct RecipientView {
    /// The person.
    user_id: String,
    /// Where they stand.
    status: &'static str,
    /// Since when.
    #[schema(format = DateTime)]
    timestamp: String,
    /// The code of a failure.
    code: Option<i64>,
    /// Its text.
    error_message: Option<String>,
    /// Where they stood when the message was recalled.
    earlier: Option<&'static str>,
}

/// What a person did with a message.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Interaction)]
pub(super) struct InteractionView {
    /// Our id, or the one asked for.
    message_id: String,
    /// Who, if that is known.
    user_id: Option<String>,
    /// `click`, `reply`, `forward`, `open`, `feedback`, or another word of the platform.
    #[schema(example = "click")]
    interaction_type: String,
    /// The button's key, the reply, the judgement.
    value: Option<String>,
    /// When.
    #[schema(format = DateTime)]
    timestamp: String,
    /// The channel or reporter it comes from.
    source: String,
    /// The event that carried it.
    event_id: Option<String>,
}

impl From<Tracked> for StatusView {
    fn from(tracked: Tracked) -> Self {
        Self {
            message_id: tracked.message_id,
            status: tracked.status.as_str(),
            timestamp: rfc3339_ms(tracked.timestamp_ms),
            user_id: tracked.user_id,
            error_message: tracked.error_message,
            details: tracked.details,
            recipients: Some(tracked.recipients.into_iter().map(RecipientView::from).collect()),
        }
    }
}

impl StatusView {
    /// `last`: how the last attempt at it ended.
    fn say_why_it_waits(&mut self, last: Option<Attempt>, channels: &[ChannelFacts]) {
        if let Some(last) = last {
            self.details.insert("attempts".to_owned(), last.number.into());
            if let Some(code) = last.errcode {
                self.details.insert("code".to_owned(), code.into());
            }
            self.error_message = last.error;
            return;
        }
        let channel = self.details.get("channel").and_then(Value::as_str);
        let facts = channels.iter().find(|facts| Some(facts.name.as_str()) == channel);
        if let Some(halt) = facts.and_then(ChannelFacts::halt) {
            self.error_message = Some(format!("the channel halts: {}", halt.reason));
        }
    }
}

impl From<HistoryEntry> for StatusView {
    fn from(entry: HistoryEntry) -> Self {
        Self {
            message_id: entry.message_id,
            status: entry.status.as_str(),
            timestamp: rfc3339_ms(entry.timestamp_ms),
            user_id: entry.user_id,
            error_message: entry.error_message,
            details: entry.details,
            recipients: None,
        }
    }
}

impl From<RecipientStatus> for RecipientView {
    fn from(recipient: RecipientStatus) -> Self {
        Self {
            user_id: recipient.user_id,
            status: recipient.status.as_str(),
            timestamp: rfc3339_ms(recipient.timestamp_ms),
            code: recipient.code,
            error_message: recipient.error_message,
            earlier: recipient.earlier.map(Status::as_str),
        }
    }
}

impl From<InteractionEntry> for InteractionView {
    fn from(entry: InteractionEntry) -> Self {
        Self {
            message_id: entry.message_id,
            user_id: entry.user_id,
            interaction_type: entry.kind.as_str().to_owned(),
            value: entry.value,
            timestamp: rfc3339_ms(entry.timestamp_ms),
            source: entry.source,
            event_id: entry.event_id.map(|id| id.to_string()),
        }
    }
}

/// Which part of a list that is oldest first.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Part {
    /// Entries: 1 to 1000, 1000 if not said.
    limit: Option<String>,
    /// Where the part before ended.
    cursor: Option<String>,
}

impl Part {
    fn read(&self, pages: PageLimits) -> Result<(Option<EvidenceId>, usize), Problem> {
        let after = query::word("cursor", self.cursor.as_deref(), EvidenceId::parse)?;
        Ok((after, pages.rows_or(self.limit.as_deref(), ENTRIES_MAX)?))
    }
}

/// Read a message's status
///
/// Folded from the evidence, so it is right at once.
#[utoipa::path(get, path = "/api/v1/messages/{id}/status", tag = "messages",
    params(("id" = String, Path, description = "Our id, the platform's msgid, or a task id")),
    responses((status = 200, description = "The status", body = StatusView)))]
pub(super) async fn status(
    State(tracker): State<Tracker>,
    State(channels): State<SharedChannels>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<StatusView>, Problem> {
    let found = tracker.status(&id, &caller.sources).await?.ok_or_else(Problem::not_found)?;
    let mut view = StatusView::from(found.clone());
    if found.status == Status::Pending {
        view.say_why_it_waits(tracker.last_failure(&found).await?, &channels.load());
    }
    Ok(Json(view))
}

/// Read a message's history
///
/// Every change, oldest first. If there is more, the header `Link` names the next part (`rel="next"`).
#[utoipa::path(get, path = "/api/v1/messages/{id}/history", tag = "messages",
    params(("id" = String, Path, description = "Our id, the platform's msgid, or a task id"), Part),
    responses((status = 200, description = "The history", body = Vec<StatusView>,
        headers(("Link" = Option<String>, description = "The next part")))))]
pub(super) async fn history(
    State(tracker): State<Tracker>,
    caller: Caller,
    Path(id): Path<String>,
    State(pages): State<PageLimits>,
    Query(part): Query<Part>,
    uri: Uri,
) -> Result<Response, Problem> {
    let (after, limit) = part.read(pages)?;
    let found = tracker.history(&id, &caller.sources, after.as_ref(), limit).await?;
    let page = found.ok_or_else(Problem::not_found)?;
    let entries: Vec<StatusView> = page.entries.into_iter().map(StatusView::from).collect();
    let mut response = Json(entries).into_response();
    if let Some(next) = page.next {
        // The path is repeated as it came, percent signs and all: it cannot end the header.
        let link = format!("<{}?limit={limit}&cursor={next}>; rel=\"next\"", uri.path());
        let link = HeaderValue::from_str(&link).map_err(|error| Problem::internal(error.to_string()))?;
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// Read what people did with a message
///
/// Oldest first.
#[utoipa::path(get, path = "/api/v1/messages/{id}/interactions", tag = "messages",
    params(("id" = String, Path, description = "Our id, the platform's msgid, or a task id"), Part),
    responses((status = 200, description = "The interactions", body = Listing<InteractionView>)))]
pub(super) async fn interactions(
    State(tracker): State<Tracker>,
    caller: Caller,
    Path(id): Path<String>,
    State(pages): State<PageLimits>,
    Query(part): Query<Part>,
) -> Result<Json<Listing<InteractionView>>, Problem> {
    let (after, limit) = part.read(pages)?;
    let found = tracker.interactions(&id, &caller.sources, after.as_ref(), limit).await?;
    let page = found.ok_or_else(Problem::not_found)?;
    let data = page.entries.into_iter().map(InteractionView::from).collect();
    Ok(Json(Listing { data, next_cursor: page.next.map(|id| id.to_string()) }))
}

/// What another system says about a message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReportBody {
    /// `sent`, `delivered`, `read`, `failed`, `expired` or `recalled`.
    #[schema(example = "delivered")]
    status: String,
    /// Of whom; of the whole message if left out.
    user_id: Option<String>,
    /// The code of a failure.
    code: Option<i64>,
    /// The text of a failure.
    error_message: Option<String>,
}

/// Report what became of a message
///
/// For systems that know more than the platform says. A message that is not ours becomes known by it.
#[utoipa::path(post, path = "/api/v1/messages/{id}/status", tag = "messages",
    params(("id" = String, Path, description = "Our id, the platform's msgid, a task id, or an id of your own")),
    request_body = ReportBody,
    responses((status = 200, description = "The status that follows", body = StatusView)))]
pub(super) async fn report(
    State(tracker): State<Tracker>,
    State(bodies): State<JsonBodies>,
    State(audit): State<Audit>,
    caller: Caller,
    origin: Origin,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<StatusView>, Problem> {
    let body: ReportBody = bodies.read(request).await?;
    // What is on its way, and whether an answer was lost, nobody knows but the gateway.
    let reportable = |status: &Status| !matches!(status, Status::Pending | Status::Uncertain);
    let status = Status::parse(&body.status)
        .filter(reportable)
        .ok_or_else(|| Problem::parameter("field", "status", "is not a status that can be reported"))?;
    let report = Report {
        status,
        user_id: body.user_id,
        code: body.code,
        text: body.error_message,
        reporter: caller.actor.clone(),
    };
    let now = tracker.report(&id, &caller.sources, report).await?.ok_or_else(Problem::not_found)?;
    audit.note(&origin, &caller.actor, "message.reported", &id);
    Ok(Json(now.into()))
}
