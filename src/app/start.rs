//! The order of the start: what can be wrong without side effects first, the listener's first connection last.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::answers::Answering;
use super::front::{self, Behind};
use super::listeners::Listeners;
use super::reload::Reloader;
use super::settings::{self, ChannelParts, Tools};
use super::{GatewayBuilder, Running, StartError, chores};
use crate::channel::response_url::Responder;
use crate::channel::transport::Transport;
use crate::clock::Clock;
use crate::config::{Config, without_password};
use crate::dispatch::{Dispatch, DispatchParts, Observer, Targets};
use crate::endpoint::http::WebClient;
use crate::entropy::Entropy;
use crate::ephemeral::Ephemeral;
use crate::forwarding::{FileEndpoint, Forwarding, ForwardingParts};
use crate::http::api::reload::ReloadOrders;
use crate::http::metrics::Metrics;
use crate::ids::{EvidenceId, IdMaker};
use crate::intake::Intake;
use crate::messages::{Messages, SendChannel};
use crate::spool::Spool;
use crate::store::{Engine, Store, StoreSettings};
use crate::tracker::{Hooks, Tracker};
use crate::upkeep::resealing::Resealing;
use crate::vault::Vault;

/// Starts every part.
pub(super) async fn start(
    builder: GatewayBuilder,
    mut config: Config,
    clock: Clock,
    entropy: Entropy,
) -> Result<Running, StartError> {
    let GatewayBuilder { file, custom, hooks, publish } = builder;
    let ids = IdMaker::new(clock.clone(), entropy.clone());
    let (tools, ephemeral) = Tools::new(&config, &clock, &entropy).map_err(StartError::Channels)?;
    let ChannelParts { sources, targets, channels, facts } =
        settings::channels(&config, &custom, &tools).map_err(StartError::Channels)?;
    let listeners = Listeners::bind(&config)?;
    let address = listeners.address();
    let (store, resealing) = database(&mut config, &clock, &ids, &entropy).await?;

    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    // A second gateway in one process counts what has no handle into the figures of the first.
    let _one_is_global = metrics.make_global();
    let (tracker, intake) = record(&config, &store, (&clock, &ids), hooks).await?;
    let parts = dispatch_parts(&store, (&clock, &ids, &entropy), &tracker);
    let dispatch = sender(parts, targets, &config, &ephemeral);
    let messages = accepting(&config, (&store, &dispatch, &tracker), (&clock, &ids, &entropy), channels)?;
    let answering = Answering::new(&config, &store, &clock, &entropy).map_err(StartError::Channels)?;
    let parts = (&store, &dispatch, &intake, &answering.client);
    let (forwarding, late) = forward(&config, parts, (&clock, &ids, &entropy)).await?;
    let (sources, facts) = (Arc::new(ArcSwap::from_pointee(sources)), Arc::new(ArcSwap::from_pointee(facts)));
    let (orders, waiting_orders) = ReloadOrders::channel();
    let behind = Behind {
        config: &config,
        store: &store,
        intake: &intake,
        sources: &sources,
        channels: &facts,
        metrics: &metrics,
        tracker: &tracker,
        messages: &messages,
        forwarding: &forwarding,
        answering: &answering,
        orders: &orders,
        clock: &clock,
        ids: &ids,
        ephemeral: &ephemeral,
        resealing: &resealing,
    };
    let (gate, watch, sharing) = front::build(&behind, &entropy);
    let (shutdown, background) = (CancellationToken::new(), CancellationToken::new());
    let following = forwarding.clone().run(late, background.clone());
    let mut tasks = chores::spawn(&behind, &tools, &gate, &dispatch, address.port(), &background)?;
    let sending = dispatch.clone();
    let reloader =
        Reloader { file, custom, sources, facts, dispatch, messages, tools, forwarding, answering };
    tasks.extend([
        tokio::spawn(watch.run(background.clone())),
        tokio::spawn(sharing.run(background.clone())),
        tokio::spawn(following),
        tokio::spawn(intake.clone().drain_spool(background.clone())),
        tokio::spawn(publish_each_second(publish, background.clone())),
        tokio::spawn(reloader.run(waiting_orders, resealing, background.clone())),
    ]);
    let server = listeners.serve(gate, shutdown.clone());
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), database = store.engine().as_str(), "listening");
    Ok(Running {
        address,
        shutdown,
        background,
        reload: orders,
        server,
        tasks,
        intake,
        dispatch: sending,
        tracker,
        store,
    })
}

/// The database, which may be away where there is a spool, and what seals its rows anew.
async fn database(
    config: &mut Config,
    clock: &Clock,
    ids: &IdMaker,
    entropy: &Entropy,
) -> Result<(Store, Resealing), StartError> {
    config.database.may_be_away = config.spool.is_some();
    let store = open_store(config, clock, ids, entropy).await?;
    Ok((store.clone(), Resealing::new(store)))
}

/// What follows the statuses of messages, and what records events and tells it.
async fn record(
    config: &Config,
    store: &Store,
    (clock, ids): (&Clock, &IdMaker),
    hooks: Hooks,
) -> Result<(Tracker, Intake), StartError> {
    let tracker = Tracker::start(store.clone(), clock.clone(), ids.clone(), counted(hooks));
    let spool = open_spool(config, store, clock, ids).await?;
    let intake = Intake::start_with(store.clone(), spool, config.limits.intake.clone(), clock.clone());
    intake.tell(tracker.news());
    Ok((tracker, intake))
}

/// The sender, in touch with other replicas.
fn sender(parts: DispatchParts, targets: Targets, config: &Config, ephemeral: &Ephemeral) -> Dispatch {
    let dispatch = Dispatch::start(parts, targets, config.limits.dispatch.clone());
    dispatch.ring_with(ephemeral.bell());
    dispatch
}

/// What the sender works with.
fn dispatch_parts(
    store: &Store,
    (clock, ids, entropy): (&Clock, &IdMaker, &Entropy),
    tracker: &Tracker,
) -> DispatchParts {
    DispatchParts {
        store: store.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
        ids: ids.clone(),
        news: tracker.news(),
        owner: ids.make::<EvidenceId>().to_string(),
        observer: observer(),
    }
}

/// What handles endpoints, with those of the file in place; given back if the database is away.
async fn forward(
    config: &Config,
    (store, dispatch, intake, client): (&Store, &Dispatch, &Intake, &WebClient),
    (clock, ids, entropy): (&Clock, &IdMaker, &Entropy),
) -> Result<(Forwarding, Option<Vec<FileEndpoint>>), StartError> {
    let problem = StartError::Channels;
    let vault = if config.can_seal() { Vault::new(&config.auth.master_key, entropy.clone()) } else { None };
    let forwarding = Forwarding::new(ForwardingParts {
        store: store.clone(),
        dispatch: dispatch.clone(),
        intake: intake.clone(),
        client: client.clone(),
        vault,
        clock: clock.clone(),
        ids: ids.clone(),
        entropy: entropy.clone(),
        endpoints_max: config.outbound.endpoints_max,
    });
    let of_file = settings::file_endpoints(config);
    match forwarding.sync_file(of_file.clone()).await {
        Ok(()) => Ok((forwarding, None)),
        Err(error) if error.is_outage() && config.database.may_be_away => Ok((forwarding, Some(of_file))),
        Err(error) => Err(problem(format!("the endpoints cannot be brought into the database: {error}"))),
    }
}

/// Opens the database that the configuration names.
pub(crate) async fn open_store(
    config: &Config,
    clock: &Clock,
    ids: &IdMaker,
    entropy: &Entropy,
) -> Result<Store, StartError> {
    let settings = StoreSettings { seals: config.encryption.seals(entropy), ..config.database.clone() };
    Store::open(&settings, clock.clone(), ids.clone()).await.map_err(|source| StartError::Database {
        shown: without_password(config.database.url.expose()),
        source,
    })
}

/// The spool, if one is wanted: SQLite needs none.
async fn open_spool(
    config: &Config,
    store: &Store,
    clock: &Clock,
    ids: &IdMaker,
) -> Result<Option<Spool>, StartError> {
    let Some(settings) = config.spool.clone().filter(|_| store.engine() == Engine::MySql) else {
        return Ok(None);
    };
    let shown = settings.directory.display().to_string();
    let opened = Spool::open(settings, store.clone(), clock.clone(), ids).await;
    opened.map(Some).map_err(|source| StartError::Spool { shown, source })
}

/// The embedding program's hooks, and one that counts transitions.
fn counted(mut hooks: Hooks) -> Hooks {
    hooks.on_status.push(Box::new(|entry, _| {
        metrics::counter!("wecom_message_transitions_total", "status" => entry.status.as_str()).increment(1);
    }));
    hooks
}

/// Counts how attempts ended.
fn observer() -> Observer {
    Observer::new(|target, outcome| {
        let target = target.to_owned();
        metrics::counter!("wecom_deliveries_total", "target" => target, "outcome" => outcome).increment(1);
    })
    .with_queue(|event, times| {
        let times = u64::try_from(times).unwrap_or(0);
        metrics::counter!("wecom_queue_events_total", "event" => event.as_str()).increment(times);
    })
}

async fn publish_each_second(publish: Box<dyn Fn() + Send + Sync>, stop: CancellationToken) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => publish(),
            () = stop.cancelled() => return,
        }
    }
}

/// What takes messages.
fn accepting(
    config: &Config,
    (store, dispatch, tracker): (&Store, &Dispatch, &Tracker),
    (clock, ids, entropy): (&Clock, &IdMaker, &Entropy),
    channels: HashMap<String, SendChannel>,
) -> Result<Messages, StartError> {
    let transport = Transport::new(config.limits.attempt.clone()).map_err(StartError::Channels)?;
    let (store, clock, ids) = (store.clone(), clock.clone(), ids.clone());
    Ok(Messages::new(store, clock, ids, dispatch.clone(), tracker.news(), channels)
        .with_links(settings::link_maker(config, entropy))
        .with_limits(config.limits.messages)
        .with_responder(Responder::new(transport)))
}
