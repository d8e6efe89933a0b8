//! The list of messages.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::clock::rfc3339_ms;
use crate::domain::message::Message;
use crate::domain::status::Status;
use crate::http::api::listing::Listing;
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::http::query::{self, PageLimits, Query};
use crate::store::{MessageFilter, Store};

/// Which messages to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Only through this channel.
    channel: Option<String>,
    /// Only in this status: `pending`, `sent`, `delivered`, `read`, `failed`, `expired`, `recalled`, `uncertain`.
    status: Option<String>,
    /// Only to this person.
    user_id: Option<String>,
    /// Taken at this time or later: RFC 3339, or seconds or milliseconds since 1970.
    since: Option<String>,
    /// Taken before this time.
    until: Option<String>,
    /// Rows in the page: 1 to 1000, 100 if not said.
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// One message.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Message)]
pub(super) struct MessageView {
    /// Our id.
    #[schema(example = "msg_06f0jxk2m0e1v8s2y7q9c4h3ab")]
    message_id: String,
    /// The channel it goes out through.
    channel: String,
    /// WeCom's `msgtype`.
    message_type: String,
    /// Where it stands; a copy that follows the evidence within moments.
    status: &'static str,
    /// When its status last changed.
    #[schema(format = DateTime)]
    timestamp: String,
    /// When we took it.
    #[schema(format = DateTime)]
    created_at: String,
    /// After this it is not sent.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// The people named one by one.
    recipients: Vec<String>,
}

impl From<Message> for MessageView {
    fn from(message: Message) -> Self {
        Self {
            message_id: message.id.to_string(),
            channel: message.channel,
            message_type: message.message_type,
            status: message.status.as_str(),
            timestamp: rfc3339_ms(message.updated_ms),
            created_at: rfc3339_ms(message.created_ms),
            expires_at: message.expires_ms.map(rfc3339_ms),
            recipients: message.recipients,
        }
    }
}

/// List messages
///
/// Newest first. What they say is not shown.
#[utoipa::path(get, path = "/api/v1/messages", tag = "messages", params(Filter),
    responses((status = 200, description = "A page of messages", body = Listing<MessageView>)))]
pub(super) async fn list(
    State(store): State<Store>,
    caller: Caller,
    State(pages): State<PageLimits>,
    Query(filter): Query<Filter>,
) -> Result<Json<Listing<MessageView>>, Problem> {
    let filter = MessageFilter {
        channel: filter.channel,
        allowed_channels: caller.sources,
        status: query::word("status", filter.status.as_deref(), Status::parse)?,
        user_id: filter.user_id,
        since_ms: query::time_ms("since", filter.since.as_deref())?,
        until_ms: query::time_ms("until", filter.until.as_deref())?,
        limit: pages.rows(filter.limit.as_deref())?,
        cursor: filter.cursor,
    };
    Ok(Json(Listing::of(store.messages(&filter).await?)))
}
