//! `/cgi-bin/…` as qyapi speaks it, so that existing scripts and SDKs change only the host.
//!
//! Everything is answered 200 with an `errcode`. A caller proves itself with the app's own corp id and secret, or
//! with an API key in place of the secret; for a robot with the robot's own key or an API key. What is sent becomes a
//! tracked message, and `msgid` is our id. The answer waits up to ten seconds for the platform's; after that it is
//! errcode 0, for the message is on disk and will go.

mod answer;
mod send;
mod token;
mod upload;
mod wait;

use axum::Router;
use axum::routing::{get, post};

use crate::clock::Clock;
use crate::http::audit::Audit;
use crate::http::auth::ApiKeys;
use crate::http::json_body::SendBodies;
use crate::http::state::HttpState;
use crate::messages::Messages;
use crate::tracker::Tracker;

/// What the routes need.
#[derive(Clone, Debug)]
pub(crate) struct Compat {
    messages: Messages,
    tracker: Tracker,
    keys: ApiKeys,
    audit: Audit,
    bodies: SendBodies,
    upload_bytes_max: usize,
    clock: Clock,
}

/// The routes.
pub(crate) fn routes(state: &HttpState, bodies: SendBodies) -> Router {
    let compat = Compat {
        messages: state.messages.clone(),
        tracker: state.tracker.clone(),
        keys: state.keys.clone(),
        audit: state.audit.clone(),
        bodies,
        upload_bytes_max: state.limits.upload_bytes_max,
        clock: state.clock.clone(),
    };
    Router::new()
        .route("/cgi-bin/gettoken", get(token::give))
        .route("/cgi-bin/message/send", post(send::app))
        .route("/cgi-bin/message/recall", post(send::recall))
        .route("/cgi-bin/webhook/send", post(send::robot))
        .route("/cgi-bin/media/upload", post(upload::app))
        .route("/cgi-bin/webhook/upload_media", post(upload::robot))
        .with_state(compat)
}
