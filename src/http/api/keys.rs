//! `/api/v1/keys`: the API keys of the database. Those of the configuration are managed there.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::channels::SharedChannels;
use crate::clock::{Clock, rfc3339_ms};
use crate::domain::api_key::NewApiKey;
use crate::entropy::Entropy;
use crate::http::audit::Audit;
use crate::http::auth::{ApiKeys, Caller};
use crate::http::json_body::JsonBodies;
use crate::http::origin::Origin;
use crate::http::problem::Problem;
use crate::http::state::HttpState;
use crate::ids::{ApiKeyId, IdMaker};
use crate::store::{ApiKeyRow, Role, Store};

/// Longest name of a key, in characters.
const NAME_CHARS_MAX: usize = 32;

/// What a new key is made with.
#[derive(Clone, Debug)]
pub struct KeyMaker {
    /// Makes its id.
    pub ids: IdMaker,
    /// Makes the key.
    pub entropy: Entropy,
}

pub(crate) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(list, make)).routes(routes!(revoke))
}

/// What a new key may do.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct KeyWish {
    /// What people call it, up to 32 characters.
    #[serde(default)]
    name: String,
    /// `reader`, `operator` or `admin`; `reader` if not said.
    #[serde(default)]
    role: Option<String>,
    /// The channels it may see; all if not said.
    #[serde(default)]
    sources: Vec<String>,
}

/// A key, without the key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKey)]
struct KeyView {
    /// Its id.
    id: String,
    /// What people call it.
    name: String,
    /// Its first characters.
    shown_prefix: String,
    /// `reader`, `operator` or `admin`.
    role: &'static str,
    /// The channels it may see; empty: all.
    sources: Vec<String>,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it was revoked.
    #[schema(format = DateTime)]
    revoked_at: Option<String>,
}

/// A new key, shown this once.
#[derive(Debug, Serialize, ToSchema)]
struct NewKey {
    /// The key itself; only its hash is stored.
    key: String,
    /// What it may do.
    #[serde(flatten)]
    about: KeyView,
}

/// Every key of the database.
#[derive(Debug, Serialize, ToSchema)]
struct KeyList {
    /// The keys, oldest first, revoked ones too.
    data: Vec<KeyView>,
}

impl From<ApiKeyRow> for KeyView {
    fn from(row: ApiKeyRow) -> Self {
        Self {
            id: row.id.to_string(),
            name: row.name,
            shown_prefix: row.shown_prefix,
            role: row.role.as_str(),
            sources: row.sources,
            created_at: rfc3339_ms(row.created_ms),
            revoked_at: row.revoked_ms.map(rfc3339_ms),
        }
    }
}

/// A key for some sources must not make or see keys for others.
fn for_all(caller: &Caller) -> Result<(), Problem> {
    let only_all = || Problem::forbidden("keys are managed by keys that may see all sources");
    caller.may_see_all().then_some(()).ok_or_else(only_all)
}

/// List API keys
#[utoipa::path(get, path = "/api/v1/keys", tag = "operation",
    responses((status = 200, description = "Every key of the database", body = KeyList)))]
async fn list(State(store): State<Store>, caller: Caller) -> Result<Json<KeyList>, Problem> {
    for_all(&caller)?;
    Ok(Json(KeyList { data: store.api_keys().await?.into_iter().map(KeyView::from).collect() }))
}

/// Make an API key
///
/// The key stands in this answer and nowhere else.
#[utoipa::path(post, path = "/api/v1/keys", tag = "operation", request_body = KeyWish,
    responses((status = 201, description = "Made", body = NewKey)))]
#[expect(clippy::too_many_arguments, reason = "one part of the gateway each")]
async fn make(
    State(store): State<Store>,
    State(keys): State<ApiKeys>,
    State(channels): State<SharedChannels>,
    State(maker): State<KeyMaker>,
    State(clock): State<Clock>,
    State(bodies): State<JsonBodies>,
    caller: Caller,
    origin: Origin,
    request: Request,
) -> Result<(StatusCode, Json<NewKey>), Problem> {
    for_all(&caller)?;
    let wish: KeyWish = bodies.read(request).await?;
    if wish.name.chars().count() > NAME_CHARS_MAX {
        return Err(Problem::parameter("too_long", "name", "has more than 32 characters"));
    }
    let unknown = |name: &&String| !channels.load().iter().any(|channel| channel.name == **name);
    if let Some(name) = wish.sources.iter().find(unknown) {
        return Err(Problem::parameter("unknown_channel", "sources", &format!("`{name}` names no channel")));
    }
    let role = match wish.role.as_deref() {
        None => Role::Reader,
        Some(text) => Role::parse(text)
            .ok_or_else(|| Problem::parameter("role", "role", "is not reader, operator or admin"))?,
    };
    if keys.none_yet().await? && (role != Role::Admin || !wish.sources.is_empty()) {
        // With the first key the door for programs without one closes.
        return Err(Problem::conflict("the first key has to be of role admin, or nobody could make another"));
    }
    let made = NewApiKey::from_random(maker.entropy.bytes());
    let row = ApiKeyRow {
        id: maker.ids.make(),
        name: wish.name,
        shown_prefix: made.shown_prefix,
        hash: made.hash,
        role,
        sources: wish.sources,
        created_ms: clock.wall_ms(),
        revoked_ms: None,
    };
    store.add_api_key(&row).await?;
    keys.audit().note(&origin, &caller.actor, "api_key.created", row.id.as_str());
    let about = KeyView::from(row);
    Ok((StatusCode::CREATED, Json(NewKey { key: made.key.expose().to_owned(), about })))
}

/// Revoke an API key
///
/// It is refused everywhere within a second.
#[utoipa::path(delete, path = "/api/v1/keys/{id}", tag = "operation",
    params(("id" = String, Path, description = "The key's id")),
    responses((status = 204, description = "Revoked"), (status = 404, description = "No such key in force")))]
async fn revoke(
    State(store): State<Store>,
    State(audit): State<Audit>,
    State(clock): State<Clock>,
    caller: Caller,
    origin: Origin,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    for_all(&caller)?;
    let key = ApiKeyId::parse(&id).ok_or_else(Problem::not_found)?;
    if !store.revoke_api_key(&key, clock.wall_ms()).await? {
        return Err(Problem::not_found());
    }
    audit.note(&origin, &caller.actor, "api_key.revoked", key.as_str());
    Ok(StatusCode::NO_CONTENT)
}
