//! What the routes are made of. Only here it stands together; each handler takes the part it needs.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::FromRef;

use crate::clock::Clock;
use crate::forwarding::Forwarding;
use crate::http::api::channels::SharedChannels;
use crate::http::api::keys::KeyMaker;
use crate::http::api::reload::ReloadOrders;
use crate::http::api::status::{ServiceFacts, StatusState};
use crate::http::api::users::EraseTimeout;
use crate::http::audit::Audit;
use crate::http::auth::ApiKeys;
use crate::http::budget::ByteBudget;
use crate::http::callbacks::CallbackState;
use crate::http::health::Health;
use crate::http::json_body::{JsonBodies, SendBodies, UploadBodies};
use crate::http::limits::HttpLimits;
use crate::http::metrics::Metrics;
use crate::http::platform_addresses::PlatformAddresses;
use crate::http::query::PageLimits;
use crate::http::streams::Streams;
use crate::intake::Intake;
use crate::messages::Messages;
use crate::shadow::Shadow;
use crate::source::Sources;
use crate::store::Store;
use crate::tracker::Tracker;
use crate::upkeep::resealing::Resealing;

/// Everything behind the routes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpState {
    /// What the service is called.
    pub service: ServiceFacts,
    /// The facts.
    pub store: Store,
    /// Where callbacks go.
    pub intake: Intake,
    /// Seals rows anew.
    pub resealing: Resealing,
    /// Who calls.
    pub sources: Arc<ArcSwap<Sources>>,
    /// What is configured.
    pub channels: SharedChannels,
    /// Answers what became of messages.
    pub tracker: Tracker,
    /// Takes messages to be sent.
    pub messages: Messages,
    /// Handles endpoints.
    pub forwarding: Forwarding,
    /// Copies callbacks to old addresses.
    pub shadow: Shadow,
    /// Streams of events.
    pub streams: Streams,
    /// Whether the gateway can work.
    pub health: Health,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Who may call the API.
    pub keys: ApiKeys,
    /// Makes new ones.
    pub key_maker: KeyMaker,
    /// Who did what.
    pub audit: Audit,
    /// Where orders to reload go.
    pub reload: ReloadOrders,
    /// The callback routes; `None`: `webhook.enabled` is false.
    pub callbacks: Option<CallbackState>,
    /// Where the platform says it calls from.
    pub platform: PlatformAddresses,
    /// Proofs of domain ownership by file name.
    pub verify_files: Arc<BTreeMap<String, String>>,
    /// The budget over all bodies.
    pub budget: ByteBudget,
    /// The limits.
    pub limits: HttpLimits,
    /// The time.
    pub clock: Clock,
}

/// A handler may take this part of the whole.
macro_rules! part {
    ($part:ty, $state:ident => $expression:expr) => {
        impl FromRef<HttpState> for $part {
            fn from_ref($state: &HttpState) -> Self {
                $expression
            }
        }
    };
}

part!(Store, state => state.store.clone());
part!(Arc<ArcSwap<Sources>>, state => state.sources.clone());
part!(Health, state => state.health.clone());
part!(Arc<Metrics>, state => state.metrics.clone());
part!(ApiKeys, state => state.keys.clone());
part!(KeyMaker, state => state.key_maker.clone());
part!(PlatformAddresses, state => state.platform.clone());
part!(Audit, state => state.audit.clone());
part!(ReloadOrders, state => state.reload.clone());
part!(Arc<BTreeMap<String, String>>, state => state.verify_files.clone());
part!(SharedChannels, state => state.channels.clone());
part!(Tracker, state => state.tracker.clone());
part!(Messages, state => state.messages.clone());
part!(Forwarding, state => state.forwarding.clone());
part!(Shadow, state => state.shadow.clone());
part!((Store, Streams), state => (state.store.clone(), state.streams.clone()));
part!((Store, Forwarding, Audit), state => (
    state.store.clone(),
    state.forwarding.clone(),
    state.audit.clone(),
));
part!(Clock, state => state.clock.clone());
part!(PageLimits, state => PageLimits {
    rows_default: state.limits.page_rows_default,
    rows_max: state.limits.page_rows_max,
});
part!((Store, EraseTimeout), state => (
    state.store.clone(),
    EraseTimeout(state.limits.erase_timeout_ms),
));
part!(JsonBodies, state => JsonBodies {
    budget: state.budget.clone(),
    bytes_max: state.limits.api_body_bytes_max,
});
part!(SendBodies, state => SendBodies(JsonBodies {
    budget: state.budget.clone(),
    bytes_max: state.limits.send_body_bytes_max,
}));
part!(UploadBodies, state => UploadBodies(JsonBodies {
    budget: state.budget.clone(),
    bytes_max: state.limits.upload_bytes_max,
}));
part!(StatusState, state => StatusState {
    resealing: state.resealing.clone(),
    service: state.service.clone(),
    store: state.store.clone(),
    intake: state.intake.clone(),
    sources: state.sources.clone(),
    health: state.health.clone(),
    clock: state.clock.clone(),
});
