//! What other systems' clients speak: `/v1/webhook/…` in `wechatpadpro.rs`, and here `/cgi-bin/…` as qyapi speaks it, so that existing scripts and SDKs change only the host.
//!
//! Everything is answered 200 with an `errcode`. A caller proves itself with the app's own corp id and secret, or
//! with an API key in place of the secret; for a robot with the robot's own key or an API key. What is sent becomes a
//! tracked message, and `msgid` is our id. The answer waits for the platform's (`limits.http.answer_wait_ms`, ten seconds); after that it is
//! errcode 0, for the message is on disk and will go.

mod answer;
mod chats;
mod pad_fields;
mod send;
mod token;
mod upload;
mod wait;
mod wechatpadpro;

use axum::Router;
use axum::routing::{any, get, post};

use crate::clock::Clock;
use crate::http::audit::Audit;
use crate::http::auth::ApiKeys;
use crate::http::json_body::{JsonBodies, SendBodies};
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
    answer_wait_ms: u64,
    clock: Clock,
}

/// The routes.
pub(crate) fn routes(state: &HttpState, bodies: SendBodies) -> Router {
    let desk = wechatpadpro::Desk {
        forwarding: state.forwarding.clone(),
        store: state.store.clone(),
        keys: state.keys.clone(),
        audit: state.audit.clone(),
        bodies: JsonBodies { budget: state.budget.clone(), bytes_max: state.limits.api_body_bytes_max },
    };
    let webhook = Router::new().route("/v1/webhook/{action}", any(wechatpadpro::act)).with_state(desk);
    let compat = Compat {
        messages: state.messages.clone(),
        tracker: state.tracker.clone(),
        keys: state.keys.clone(),
        audit: state.audit.clone(),
        bodies,
        upload_bytes_max: state.limits.upload_bytes_max,
        answer_wait_ms: state.limits.answer_wait_ms,
        clock: state.clock.clone(),
    };
    Router::new()
        .route("/cgi-bin/gettoken", get(token::give))
        .route("/cgi-bin/message/send", post(send::app))
        .route("/cgi-bin/message/recall", post(send::recall))
        .route("/cgi-bin/appchat/send", post(chats::send))
        .route("/cgi-bin/appchat/create", post(chats::create))
        .route("/cgi-bin/appchat/update", post(chats::update))
        .route("/cgi-bin/appchat/get", get(chats::get))
        .route("/cgi-bin/webhook/send", post(send::robot))
        .route("/cgi-bin/media/upload", post(upload::app))
        .route("/cgi-bin/webhook/upload_media", post(upload::robot))
        .with_state(compat)
        .merge(webhook)
}
