//! `/api/v1/users/{id}`: what is known of one person, to be shown to them or to be erased.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::keys::KeyMaker;
use crate::clock::{Clock, rfc3339_ms};
use crate::domain::message::Message;
use crate::http::audit::Audit;
use crate::http::auth::Caller;
use crate::http::origin::Origin;
use crate::http::problem::Problem;
use crate::http::state::HttpState;
use crate::ids::AuditId;
use crate::privacy::{self, ExportLimits};
use crate::store::{Store, StoredEvent};

/// Longest user id, in bytes.
const USER_ID_BYTES_MAX: usize = 128;

/// Longest time of one erasure; what is left then is for the next call. Shorter than `handling_timeout_ms`.
const ERASE_LIMIT_MS: i64 = 20_000;

pub(crate) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(export, erase))
}

/// Everything known of one person.
#[derive(Debug, Serialize, ToSchema)]
struct UserExport {
    /// Their id.
    user_id: String,
    /// The events that they caused, newest first.
    events: Vec<ExportedEvent>,
    /// The messages that name them as a recipient, newest first.
    messages: Vec<ExportedMessage>,
    /// Whether that is all; `false` if there is more than 10,000 rows or 32 MiB.
    complete: bool,
}

/// An event that the person caused.
#[derive(Debug, Serialize, ToSchema)]
struct ExportedEvent {
    /// Its id.
    id: String,
    /// The channel it came in through.
    source: String,
    /// What happened.
    kind: String,
    /// When it was accepted.
    #[schema(format = DateTime)]
    timestamp: String,
    /// The plaintext; bytes that are no UTF-8 are replaced.
    raw: String,
}

/// A message to the person.
#[derive(Debug, Serialize, ToSchema)]
struct ExportedMessage {
    /// Its id.
    id: String,
    /// The channel it went out through.
    channel: String,
    /// Its status as last folded.
    status: &'static str,
    /// When it was taken.
    #[schema(format = DateTime)]
    created_at: String,
    /// What was sent.
    body: String,
}

/// What an erasure did.
#[derive(Debug, Serialize, ToSchema)]
struct UserErasure {
    /// What the person is called from now on, where a name has to stay.
    alias: String,
    /// Events whose text is gone.
    events: u64,
    /// Messages from which they are gone.
    messages: u64,
    /// Messages not sent yet, left as they are: erase again when they are sent.
    pending_messages: u64,
    /// Rows of evidence that name the alias now.
    evidence: u64,
    /// Whether everything was looked at; if not, repeat the call.
    complete: bool,
}

impl From<StoredEvent> for ExportedEvent {
    fn from(event: StoredEvent) -> Self {
        Self {
            id: event.id.to_string(),
            source: event.source,
            kind: event.kind.to_string(),
            timestamp: rfc3339_ms(event.accepted_ms),
            raw: String::from_utf8_lossy(&event.payload).into_owned(),
        }
    }
}

impl From<Message> for ExportedMessage {
    fn from(message: Message) -> Self {
        Self {
            id: message.id.to_string(),
            channel: message.channel,
            status: message.status.as_str(),
            created_at: rfc3339_ms(message.created_ms),
            body: message.body,
        }
    }
}

/// A person is known across channels: a key for some of them is not enough.
fn allowed(caller: &Caller, user_id: &str) -> Result<(), Problem> {
    if !caller.may_see_all() {
        return Err(Problem::forbidden("people are for keys that may see all sources"));
    }
    if user_id.len() > USER_ID_BYTES_MAX {
        return Err(Problem::parameter("too_long", "id", "has more than 128 bytes"));
    }
    Ok(())
}

/// Show what is known of a person
#[utoipa::path(get, path = "/api/v1/users/{id}", tag = "privacy",
    params(("id" = String, Path, description = "The member's user id")),
    responses((status = 200, description = "Everything, up to a limit", body = UserExport)))]
async fn export(
    State(store): State<Store>,
    State(audit): State<Audit>,
    caller: Caller,
    origin: Origin,
    Path(user_id): Path<String>,
) -> Result<Json<UserExport>, Problem> {
    allowed(&caller, &user_id)?;
    let found = privacy::export(&store, &user_id, ExportLimits::default()).await?;
    audit.note(&origin, &caller.actor, "user.exported", &user_id);
    Ok(Json(UserExport {
        user_id,
        events: found.events.into_iter().map(ExportedEvent::from).collect(),
        messages: found.messages.into_iter().map(ExportedMessage::from).collect(),
        complete: found.complete,
    }))
}

/// Erase a person
///
/// Texts of events and messages go; rows, keys and counts stay, so that repeats are still known. The audit keeps
/// that it was done, under the alias. The bytes of a SQLite file are overwritten, but copies from before a page was
/// split stay until `VACUUM`; backups stay as they are.
#[utoipa::path(delete, path = "/api/v1/users/{id}", tag = "privacy",
    params(("id" = String, Path, description = "The member's user id")),
    responses((status = 200, description = "What was done", body = UserErasure)))]
async fn erase(
    State(store): State<Store>,
    State(audit): State<Audit>,
    State(clock): State<Clock>,
    State(maker): State<KeyMaker>,
    caller: Caller,
    origin: Origin,
    Path(user_id): Path<String>,
) -> Result<Json<UserErasure>, Problem> {
    allowed(&caller, &user_id)?;
    let alias = format!("erased:{}", maker.ids.make::<AuditId>());
    let deadline_ms = clock.steady_ms().saturating_add(ERASE_LIMIT_MS);
    let done = privacy::erase(&store, &user_id, &alias, &clock, deadline_ms).await?;
    audit.note(&origin, &caller.actor, "user.erased", &alias);
    let privacy::Erased { events, messages, pending_messages, evidence, complete } = done;
    Ok(Json(UserErasure { alias, events, messages, pending_messages, evidence, complete }))
}
