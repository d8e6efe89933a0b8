//! The order of the start: what can be wrong without side effects first, the listener's first connection last.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::front::{self, Behind};
use super::listeners::Listeners;
use super::reload::Reloader;
use super::settings::{self, ChannelParts, Tools};
use super::{GatewayBuilder, Running, StartError, chores};
use crate::clock::Clock;
use crate::config::{Config, without_password};
use crate::dispatch::{Dispatch, DispatchParts, Observer};
use crate::endpoint::guard::Guard;
use crate::endpoint::http::WebClient;
use crate::entropy::Entropy;
use crate::forwarding::{FileEndpoint, Forwarding, ForwardingParts};
use crate::http::api::reload::ReloadOrders;
use crate::http::metrics::Metrics;
use crate::ids::{EvidenceId, IdMaker};
use crate::intake::Intake;
use crate::messages::Messages;
use crate::spool::Spool;
use crate::store::{Engine, Store};
use crate::tracker::{Hooks, Tracker};
use crate::vault::Vault;

/// Starts every part.
pub(super) async fn start(
    builder: GatewayBuilder,
    mut config: Config,
    clock: Clock,
    entropy: Entropy,
) -> Result<Running, StartError> {
    let GatewayBuilder { file, custom, hooks, publish } = builder;
    settings::log_warnings(&config);
    let ids = IdMaker::new(clock.clone(), entropy.clone());
    let tools = Tools::new(&clock, &entropy);
    let ChannelParts { sources, targets, channels, facts } =
        settings::channels(&config, &custom, &tools).map_err(StartError::Channels)?;
    let listeners = Listeners::bind(&config)?;
    let address = listeners.address();
    config.database.may_be_away = config.spool.is_some();
    let store = open_store(&config, &clock, &ids).await?;

    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    // A second gateway in one process counts what has no handle into the figures of the first.
    let _one_is_global = metrics.make_global();
    let tracker = Tracker::start(store.clone(), clock.clone(), ids.clone(), counted(hooks));
    let spool = open_spool(&config, &store, &clock, &ids).await?;
    let intake = Intake::start_with(store.clone(), spool, config.limits.intake.clone(), clock.clone());
    intake.tell(tracker.news());
    let parts = dispatch_parts(&store, (&clock, &ids, &entropy), &tracker);
    let dispatch = Dispatch::start(parts, targets, config.limits.dispatch.clone());
    let messages =
        Messages::new(store.clone(), clock.clone(), ids.clone(), dispatch.clone(), tracker.news(), channels)
            .with_links(settings::link_maker(&config, &entropy));
    let (forwarding, late) = forward(&config, (&store, &dispatch, &intake), (&clock, &ids, &entropy)).await?;
    let sources = Arc::new(ArcSwap::from_pointee(sources));
    let facts = Arc::new(ArcSwap::from_pointee(facts));
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
        orders: &orders,
        clock: &clock,
        ids: &ids,
    };
    let (gate, watch) = front::build(&behind, &entropy);
    let (shutdown, background) = (CancellationToken::new(), CancellationToken::new());
    let following = forwarding.clone().run(late, background.clone());
    let mut tasks = chores::spawn(&config, &tools, &gate, &store, &clock, address.port(), &background)?;
    let reloader =
        Reloader { file, custom, sources, facts, dispatch: dispatch.clone(), messages, tools, forwarding };
    tasks.extend([
        tokio::spawn(watch.run(background.clone())),
        tokio::spawn(following),
        tokio::spawn(intake.clone().drain_spool(background.clone())),
        tokio::spawn(publish_each_second(publish, background.clone())),
        tokio::spawn(reloader.run(waiting_orders, background.clone())),
    ]);
    let server = listeners.serve(gate, shutdown.clone());
    let database = store.engine().as_str();
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), database, "listening");
    Ok(Running {
        address,
        shutdown,
        background,
        reload: orders,
        server,
        tasks,
        intake,
        dispatch,
        tracker,
        store,
    })
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
    (store, dispatch, intake): (&Store, &Dispatch, &Intake),
    (clock, ids, entropy): (&Clock, &IdMaker, &Entropy),
) -> Result<(Forwarding, Option<Vec<FileEndpoint>>), StartError> {
    let problem = StartError::Channels;
    let client = WebClient::new(config.outbound.web.clone(), Guard::new(config.guard_rules()));
    let vault = if config.can_seal() { Vault::new(&config.auth.master_key, entropy.clone()) } else { None };
    let forwarding = Forwarding::new(ForwardingParts {
        store: store.clone(),
        dispatch: dispatch.clone(),
        intake: intake.clone(),
        client: client.map_err(problem)?,
        vault,
        clock: clock.clone(),
        ids: ids.clone(),
        entropy: entropy.clone(),
    });
    let of_file = settings::file_endpoints(config);
    match forwarding.sync_file(of_file.clone()).await {
        Ok(()) => Ok((forwarding, None)),
        Err(error) if error.is_outage() && config.database.may_be_away => Ok((forwarding, Some(of_file))),
        Err(error) => Err(problem(format!("the endpoints cannot be brought into the database: {error}"))),
    }
}

/// Opens the database that the configuration names.
pub(crate) async fn open_store(config: &Config, clock: &Clock, ids: &IdMaker) -> Result<Store, StartError> {
    Store::open(&config.database, clock.clone(), ids.clone()).await.map_err(|source| StartError::Database {
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
