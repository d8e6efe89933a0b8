//! The HTTP side, put together.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::answers::Answering;
use super::settings;
use crate::clock::Clock;
use crate::config::Config;
use crate::entropy::Entropy;
use crate::ephemeral::Ephemeral;
use crate::forwarding::Forwarding;
use crate::http::api::channels::SharedChannels;
use crate::http::api::keys::KeyMaker;
use crate::http::api::reload::ReloadOrders;
use crate::http::api::status::ServiceFacts;
use crate::http::audit::Audit;
use crate::http::auth::{ApiKeys, ConfiguredKey};
use crate::http::budget::ByteBudget;
use crate::http::callbacks::CallbackState;
use crate::http::health::Health;
use crate::http::metrics::Metrics;
use crate::http::rejections::Rejections;
use crate::http::sharing::Sharing;
use crate::http::streams::Streams;
use crate::http::watch::Watch;
use crate::http::{self, Gate, GateSettings, HttpState};
use crate::ids::IdMaker;
use crate::intake::Intake;
use crate::messages::Messages;
use crate::source::Sources;
use crate::store::{Durability, Store};
use crate::tracker::Tracker;
use crate::upkeep::resealing::Resealing;

/// What stands behind the HTTP side.
pub(super) struct Behind<'a> {
    pub(super) config: &'a Config,
    pub(super) store: &'a Store,
    pub(super) intake: &'a Intake,
    pub(super) sources: &'a Arc<ArcSwap<Sources>>,
    pub(super) channels: &'a SharedChannels,
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) tracker: &'a Tracker,
    pub(super) messages: &'a Messages,
    pub(super) forwarding: &'a Forwarding,
    pub(super) answering: &'a Answering,
    pub(super) orders: &'a ReloadOrders,
    pub(super) clock: &'a Clock,
    pub(super) ids: &'a IdMaker,
    pub(super) ephemeral: &'a Ephemeral,
    pub(super) resealing: &'a Resealing,
}

/// The gate in front of all routes, the watch that keeps its figures fresh, and what shares its budgets.
pub(super) fn build(behind: &Behind<'_>, entropy: &Entropy) -> (Arc<Gate>, Watch, Sharing) {
    let Behind { config, store, intake, metrics, clock, ids, .. } = behind;
    let limits = config.limits.http.clone();
    let budget = ByteBudget::new(limits.bodies_in_flight_bytes_max);
    let (audit, rejections) = strangers(behind, limits.strangers_rows_per_s_max);
    let configured = config.auth.api_keys.iter().map(ConfiguredKey::parse).collect();
    let keys = ApiKeys::new(
        configured,
        (*store).clone(),
        audit.clone(),
        (*clock).clone(),
        limits.wrong_keys_per_address_per_minute,
    );
    let health = Health::default();
    health.set_relaxed(config.database.durability == Durability::Relaxed);
    let callbacks = callbacks(behind, &rejections, &budget);
    let peers = settings::peers(config);
    let state = HttpState {
        service: service(config, clock.wall_ms()),
        store: (*store).clone(),
        intake: (*intake).clone(),
        resealing: behind.resealing.clone(),
        channels: behind.channels.clone(),
        tracker: behind.tracker.clone(),
        messages: behind.messages.clone(),
        forwarding: behind.forwarding.clone(),
        shadow: behind.answering.shadow.clone(),
        streams: Streams::new((*store).clone(), health.clone(), (*clock).clone(), config.limits.stream),
        sources: behind.sources.clone(),
        health: health.clone(),
        metrics: (*metrics).clone(),
        keys: keys.clone(),
        key_maker: KeyMaker { ids: (*ids).clone(), entropy: entropy.clone() },
        audit: audit.clone(),
        reload: behind.orders.clone(),
        callbacks: config.webhook.enabled.then_some(callbacks),
        platform: peers.platform.clone(),
        verify_files: Arc::new(config.webhook.verify_files.clone()),
        budget: budget.clone(),
        limits: limits.clone(),
        clock: (*clock).clone(),
    };
    let callbacks = state.callbacks.clone();
    let gate = Gate::new(
        http::router(state),
        GateSettings { limits, peers },
        health,
        (*metrics).clone(),
        rejections.clone(),
        (*clock).clone(),
        entropy,
    );
    let gate = Arc::new(gate.with_callbacks(callbacks));
    let watch = Watch {
        store: (*store).clone(),
        intake: (*intake).clone(),
        queue_rows_max: config.limits.intake.queue_rows_max,
        gate: gate.clone(),
        keys: keys.clone(),
        budget,
        rejections,
        audit,
        clock: (*clock).clone(),
    };
    (gate.clone(), watch, Sharing { ephemeral: behind.ephemeral.clone(), gate, keys })
}

/// Where it is noted what was refused, and who was turned away.
fn strangers(behind: &Behind<'_>, rows_per_s_max: usize) -> (Audit, Rejections) {
    let Behind { metrics, clock, ids, .. } = behind;
    let audit = Audit::new((*clock).clone(), (*ids).clone(), rows_per_s_max);
    let rejections = Rejections::new((*metrics).clone(), (*clock).clone(), (*ids).clone(), rows_per_s_max);
    (audit.clone(), rejections.audited(audit))
}

/// What the callback routes need.
fn callbacks(behind: &Behind<'_>, rejections: &Rejections, budget: &ByteBudget) -> CallbackState {
    CallbackState {
        sources: behind.sources.clone(),
        intake: behind.intake.clone(),
        rejections: rejections.clone(),
        budget: budget.clone(),
        replies: behind.answering.replies.clone(),
        shadow: behind.answering.shadow.clone(),
        metrics: behind.metrics.clone(),
        limits: behind.config.limits.callback,
        clock: behind.clock.clone(),
        ids: behind.ids.clone(),
    }
}

/// What the service is called, and that it starts now.
fn service(config: &Config, started_ms: i64) -> ServiceFacts {
    ServiceFacts {
        name: config.service.name.clone(),
        version: env!("CARGO_PKG_VERSION"),
        environment: config.service.environment.as_str().to_owned(),
        started_ms,
    }
}
