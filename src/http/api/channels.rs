//! `/api/v1/channels`: what is configured, and how much waits to go out.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::channel::access_token::AccessToken;
use crate::channel::gate::{ChannelGate, Halt};
use crate::clock::{Clock, rfc3339_ms};
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::http::state::HttpState;
use crate::store::{Store, StoreError};

/// Waiting deliveries are counted up to here.
const QUEUED_MAX: usize = 1_000;

const MINUTE_MS: i64 = 60_000;

/// One configured channel, as far as people may know it.
#[derive(Clone, Debug)]
pub struct ChannelFacts {
    /// Its name: the key in the configuration.
    pub name: String,
    /// `wechat_api`, `wechat_bot`, …
    pub kind: &'static str,
    /// Whether it is on.
    pub enabled: bool,
    /// Whether it can send.
    pub sends: bool,
    /// Whether it is called back.
    pub receives: bool,
    /// Sends a minute, where that is bounded.
    pub per_minute_max: Option<u32>,
    /// Sends a minute and an hour to one member, where each has a pace of their own.
    pub per_member: Option<[usize; 2]>,
    /// People it may be sent through to in a day, where the corp's accounts are known.
    pub people_per_day: Option<u64>,
    /// What opens its calls, where that can fail.
    pub token: Option<Arc<AccessToken>>,
    /// Whether what is sent through it goes on; `None`: it does not send.
    pub gate: Option<Arc<ChannelGate>>,
}

impl ChannelFacts {
    /// Why nothing leaves through it, as far as this replica knows.
    pub fn halt(&self) -> Option<Halt> {
        self.gate.as_ref()?.halt()
    }
}

/// The channels, swapped whole on reload.
pub type SharedChannels = Arc<ArcSwap<Vec<ChannelFacts>>>;

pub(crate) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Every channel.
#[derive(Debug, Serialize, ToSchema)]
struct Channels {
    /// In the order of the configuration.
    channels: Vec<ChannelView>,
}

/// One channel.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Channel)]
struct ChannelView {
    /// Its name.
    #[schema(example = "wechat_bot")]
    name: String,
    /// Its kind.
    #[serde(rename = "type")]
    #[schema(example = "wechat_bot")]
    kind: &'static str,
    /// Whether it is on.
    enabled: bool,
    /// Whether it can send.
    sends: bool,
    /// Whether it is called back.
    receives: bool,
    /// Deliveries that wait, up to 1,000.
    queued: usize,
    /// When the next of them is due.
    #[schema(format = DateTime)]
    next_due_at: Option<String>,
    /// Tries within the last minute.
    tries_last_minute: usize,
    /// Sends a minute, where that is bounded.
    per_minute_max: Option<u32>,
    /// Sends a minute to one member, where each has a pace of their own.
    per_member_per_minute_max: Option<usize>,
    /// The same for an hour. A send to everybody, a department or a tag counts against every member.
    per_member_per_hour_max: Option<usize>,
    /// People it may be sent through to in a day, each counted for every message, where the corp's accounts are known.
    people_per_day_max: Option<u64>,
    /// Why nothing can be sent until somebody mends it: the platform gives no access token, does not trust our address,
    /// does not know the robot … As the replica knows that sends through it; messages wait, and a reload tries at once.
    #[schema(
        example = "errcode 60020, caller IP not in the trusted list; WeCom says: …, hint: […], from ip: 203.0.113.7 …"
    )]
    problem: Option<String>,
    /// When the next message is tried all the same, while there is such a problem.
    #[schema(format = DateTime)]
    next_try_at: Option<String>,
}

async fn look(store: &Store, clock: &Clock, channel: &ChannelFacts) -> Result<ChannelView, StoreError> {
    let queued = store.due(&channel.name, i64::MAX, QUEUED_MAX).await?;
    let next_due_ms = queued.iter().filter_map(|delivery| delivery.due_ms).min();
    let tries = store.attempts_since(&channel.name, clock.wall_ms() - MINUTE_MS).await?;
    let halt = channel.halt();
    let next_try_ms = halt.as_ref().and_then(|halt| halt.until_ms);
    let token_problem = || channel.token.as_ref().and_then(|token| token.problem());
    Ok(ChannelView {
        name: channel.name.clone(),
        kind: channel.kind,
        enabled: channel.enabled,
        sends: channel.sends,
        receives: channel.receives,
        queued: queued.len(),
        next_due_at: next_due_ms.map(rfc3339_ms),
        tries_last_minute: tries.len(),
        per_minute_max: channel.per_minute_max,
        per_member_per_minute_max: channel.per_member.map(|[minute, _]| minute),
        per_member_per_hour_max: channel.per_member.map(|[_, hour]| hour),
        people_per_day_max: channel.people_per_day,
        next_try_at: next_try_ms
            .map(|at_ms| rfc3339_ms(clock.wall_ms().saturating_add(at_ms.saturating_sub(clock.steady_ms())))),
        problem: halt.map(|halt| halt.reason).or_else(token_problem),
    })
}

/// List channels
///
/// With what waits to go out, and how much of the platform's limit is used.
#[utoipa::path(get, path = "/api/v1/channels", tag = "operation",
    responses((status = 200, description = "Every channel", body = Channels)))]
async fn list(
    State(channels): State<SharedChannels>,
    State(store): State<Store>,
    State(clock): State<Clock>,
    caller: Caller,
) -> Result<Json<Channels>, Problem> {
    let mut seen = Vec::new();
    for channel in channels.load().iter().filter(|channel| caller.may_see(&channel.name)) {
        seen.push(look(&store, &clock, channel).await?);
    }
    Ok(Json(Channels { channels: seen }))
}
