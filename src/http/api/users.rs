//! `/api/v1/users/{id}` and `/api/v1/customers/{id}`: what is known of one person, to be shown to them or to be erased.

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
use crate::privacy::{self, ExportLimits, Person};
use crate::store::{Store, StoredEvent};

/// Longest user id, in bytes.
const USER_ID_BYTES_MAX: usize = 128;

/// Longest time of one erasure in ms; what is left then is for the next call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EraseTimeout(pub(crate) u64);

pub(crate) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(export, erase)).routes(routes!(export_customer, erase_customer))
}

/// Everything known of one person.
#[derive(Debug, Serialize, ToSchema)]
struct UserExport {
    /// Their id, of a member.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    /// Their id, of a customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    external_user_id: Option<String>,
    /// The events that they caused, or that are about them, newest first.
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
            raw: match &event.unopened {
                Some(why) => format!("({why})"),
                None => String::from_utf8_lossy(&event.payload).into_owned(),
            },
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
            body: message.unopened.map_or(message.body, |why| format!("({why})")),
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

/// What the handlers of a person work with.
struct Work<'w> {
    store: &'w Store,
    audit: &'w Audit,
    caller: &'w Caller,
    origin: &'w Origin,
}

impl Work<'_> {
    async fn export(&self, person: Person<'_>, action: &'static str) -> Result<UserExport, Problem> {
        let (user_id, external_user_id) = match person {
            Person::Member(id) => (Some(id.to_owned()), None),
            Person::Customer(id) => (None, Some(id.to_owned())),
        };
        let id = user_id.as_deref().or(external_user_id.as_deref()).unwrap_or_default();
        allowed(self.caller, id)?;
        let found = privacy::export(self.store, person, ExportLimits::default()).await?;
        self.audit.note(self.origin, &self.caller.actor, action, id);
        Ok(UserExport {
            events: found.events.into_iter().map(ExportedEvent::from).collect(),
            messages: found.messages.into_iter().map(ExportedMessage::from).collect(),
            complete: found.complete,
            user_id,
            external_user_id,
        })
    }

    async fn erase(
        &self,
        person: Person<'_>,
        action: &'static str,
        (clock, maker, timeout_ms): (&Clock, &KeyMaker, u64),
    ) -> Result<UserErasure, Problem> {
        let (Person::Member(id) | Person::Customer(id)) = person;
        allowed(self.caller, id)?;
        let alias = format!("erased:{}", maker.ids.make::<AuditId>());
        let deadline_ms = clock.steady_ms().saturating_add_unsigned(timeout_ms);
        let done = privacy::erase(self.store, person, &alias, clock, deadline_ms).await?;
        self.audit.note(self.origin, &self.caller.actor, action, &alias);
        let privacy::Erased { events, messages, pending_messages, evidence, complete } = done;
        Ok(UserErasure { alias, events, messages, pending_messages, evidence, complete })
    }
}

/// Show what is known of a person
#[utoipa::path(get, path = "/api/v1/users/{id}", tag = "privacy",
    params(("id" = String, Path, description = "The member's user id, or a follower's `openid`")),
    responses((status = 200, description = "Everything, up to a limit", body = UserExport)))]
async fn export(
    State(store): State<Store>,
    State(audit): State<Audit>,
    caller: Caller,
    origin: Origin,
    Path(user_id): Path<String>,
) -> Result<Json<UserExport>, Problem> {
    let work = Work { store: &store, audit: &audit, caller: &caller, origin: &origin };
    work.export(Person::Member(&user_id), "user.exported").await.map(Json)
}

/// Show what is known of a customer
#[utoipa::path(get, path = "/api/v1/customers/{id}", tag = "privacy",
    params(("id" = String, Path, description = "The customer's `external_userid`")),
    responses((status = 200, description = "Everything, up to a limit", body = UserExport)))]
async fn export_customer(
    State(store): State<Store>,
    State(audit): State<Audit>,
    caller: Caller,
    origin: Origin,
    Path(id): Path<String>,
) -> Result<Json<UserExport>, Problem> {
    let work = Work { store: &store, audit: &audit, caller: &caller, origin: &origin };
    work.export(Person::Customer(&id), "customer.exported").await.map(Json)
}

/// Erase a person
///
/// Texts of events and messages go; rows, keys and counts stay, so that repeats are still known. The audit keeps
/// that it was done, under the alias. The bytes of a SQLite file are overwritten, but copies from before a page was
/// split stay until `VACUUM`; backups stay as they are.
#[utoipa::path(delete, path = "/api/v1/users/{id}", tag = "privacy",
    params(("id" = String, Path, description = "The member's user id, or a follower's `openid`")),
    responses((status = 200, description = "What was done", body = UserErasure)))]
async fn erase(
    State(parts): State<(Store, EraseTimeout)>,
    State(audit): State<Audit>,
    State(clock): State<Clock>,
    State(maker): State<KeyMaker>,
    caller: Caller,
    origin: Origin,
    Path(user_id): Path<String>,
) -> Result<Json<UserErasure>, Problem> {
    let (store, EraseTimeout(timeout_ms)) = &parts;
    let work = Work { store, audit: &audit, caller: &caller, origin: &origin };
    let tools = (&clock, &maker, *timeout_ms);
    work.erase(Person::Member(&user_id), "user.erased", tools).await.map(Json)
}

/// Erase a customer
///
/// As a member is erased, from every event that is about them; a member who is named beside them there loses their
/// name in it too, for the whole text goes.
#[utoipa::path(delete, path = "/api/v1/customers/{id}", tag = "privacy",
    params(("id" = String, Path, description = "The customer's `external_userid`")),
    responses((status = 200, description = "What was done", body = UserErasure)))]
async fn erase_customer(
    State(parts): State<(Store, EraseTimeout)>,
    State(audit): State<Audit>,
    State(clock): State<Clock>,
    State(maker): State<KeyMaker>,
    caller: Caller,
    origin: Origin,
    Path(id): Path<String>,
) -> Result<Json<UserErasure>, Problem> {
    let (store, EraseTimeout(timeout_ms)) = &parts;
    let work = Work { store, audit: &audit, caller: &caller, origin: &origin };
    let tools = (&clock, &maker, *timeout_ms);
    work.erase(Person::Customer(&id), "customer.erased", tools).await.map(Json)
}
