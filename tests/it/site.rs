//! The HTTP side in this process: a real server on a free port, with everything behind it or with a router of the
//! test's own.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wecom_gateway::clock::Clock;
use wecom_gateway::dispatch::{Dispatch, DispatchParts, DispatchSettings, Targets};
use wecom_gateway::domain::endpoint::ENDPOINTS_MAX;
use wecom_gateway::endpoint::guard::{Guard, GuardRules};
use wecom_gateway::endpoint::http::{WebClient, WebSettings};
use wecom_gateway::entropy::Entropy;
use wecom_gateway::forwarding::{Forwarding, ForwardingParts};
use wecom_gateway::http::api::channels::ChannelFacts;
use wecom_gateway::http::api::keys::KeyMaker;
use wecom_gateway::http::api::reload::{ReloadOrder, ReloadOrders};
use wecom_gateway::http::api::status::ServiceFacts;
use wecom_gateway::http::audit::Audit;
use wecom_gateway::http::auth::{ApiKeys, ConfiguredKey};
use wecom_gateway::http::budget::ByteBudget;
use wecom_gateway::http::callbacks::{CallbackLimits, CallbackState};
use wecom_gateway::http::health::Health;
use wecom_gateway::http::metrics::Metrics;
use wecom_gateway::http::peer::PeerRules;
use wecom_gateway::http::rejections::Rejections;
use wecom_gateway::http::server::{self, Stopped};
use wecom_gateway::http::streams::{StreamLimits, Streams};
use wecom_gateway::http::watch::Watch;
use wecom_gateway::http::{Gate, GateSettings, HttpLimits, HttpState, router, serve};
use wecom_gateway::ids::IdMaker;
use wecom_gateway::intake::{Intake, IntakeLimits};
use wecom_gateway::messages::{Messages, SendChannel};
use wecom_gateway::replies::{Replies, ReplyLimits};
use wecom_gateway::secret::Secret;
use wecom_gateway::shadow::{Shadow, ShadowLimits};
use wecom_gateway::source::{SourceSettings, Sources};
use wecom_gateway::store::{Engine, Store, StoreSettings};
use wecom_gateway::tracker::{Hooks, Tracker};
use wecom_gateway::vault::Vault;

use crate::database::Database;

/// The reader, the operator and the admin of the configuration.
pub(crate) const READER: &str = "reader-key-0123456789abcdef";
pub(crate) const OPERATOR: &str = "operator-key-0123456789abcdef";
pub(crate) const ADMIN: &str = "admin-key-0123456789abcdef";

/// A server that runs.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) health: Health,
    pub(crate) shutdown: CancellationToken,
    running: JoinHandle<Stopped>,
}

impl Server {
    /// Serves `router` behind a gate.
    pub(crate) fn start(router: Router, limits: HttpLimits, peers: PeerRules) -> Self {
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let metrics = Arc::new(Metrics::new("test"));
        let rejections =
            Rejections::new(metrics.clone(), clock.clone(), IdMaker::new(clock.clone(), entropy.clone()), 50);
        let health = Health::default();
        let settings = GateSettings { limits, peers };
        let (health_too, metrics_too) = (health.clone(), metrics.clone());
        let gate = Gate::new(router, settings, health_too, metrics_too, rejections.clone(), clock, &entropy);
        Self::run(Arc::new(gate), health)
    }

    fn run(gate: Arc<Gate>, health: Health) -> Self {
        let listener = server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(serve(listener, gate, shutdown.clone()));
        Self { address, health, shutdown, running }
    }

    /// Stops it, and waits for the end.
    pub(crate) async fn stop(self) -> Stopped {
        self.shutdown.cancel();
        self.running.await.expect("the server ends")
    }
}

/// What a whole site is made of.
pub(crate) struct Setup {
    pub(crate) limits: HttpLimits,
    pub(crate) peers: PeerRules,
    /// `NAME:ROLE:KEY` each.
    pub(crate) keys: Vec<String>,
    pub(crate) sources: Vec<SourceSettings>,
    pub(crate) callbacks: bool,
    pub(crate) verify_files: BTreeMap<String, String>,
}

impl Default for Setup {
    /// Three keys, no rate limits, no sources.
    fn default() -> Self {
        let limits = HttpLimits {
            rate_per_address_per_s: 0,
            api_rate_per_address_per_s: 0,
            stop_notice_ms: 0,
            ..HttpLimits::default()
        };
        Self {
            limits,
            peers: PeerRules::default(),
            keys: vec![
                format!("r:reader:{READER}"),
                format!("o:operator:{OPERATOR}"),
                format!("a:admin:{ADMIN}"),
            ],
            sources: Vec::new(),
            callbacks: true,
            verify_files: BTreeMap::new(),
        }
    }
}

/// A server with everything behind it, on a database of its own.
pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) store: Store,
    pub(crate) database: Database,
    pub(crate) clock: Clock,
    pub(crate) ids: IdMaker,
    pub(crate) reload: tokio::sync::mpsc::Receiver<ReloadOrder>,
    watch: (CancellationToken, JoinHandle<()>),
}

impl Site {
    pub(crate) async fn start(setup: Setup) -> Self {
        let database = Database::new(Engine::Sqlite).await;
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let ids = IdMaker::new(clock.clone(), entropy.clone());
        let settings = StoreSettings::new(Secret::new(database.url.clone()));
        let store = Store::open(&settings, clock.clone(), ids.clone()).await.expect("the store opens");
        let (orders, reload) = ReloadOrders::channel();
        let state = state(&setup, &store, &clock, &entropy, &ids, orders);
        let (health, metrics) = (state.health.clone(), state.metrics.clone());
        let rejections =
            Rejections::new(metrics.clone(), clock.clone(), ids.clone(), 50).audited(state.audit.clone());
        let state = HttpState { callbacks: callbacks(&setup, &state, &rejections, &ids), ..state };
        let (keys, audit, budget, intake) =
            (state.keys.clone(), state.audit.clone(), state.budget.clone(), state.intake.clone());
        let straight = state.callbacks.clone();
        let gate = Gate::new(
            router(state),
            GateSettings { limits: setup.limits, peers: setup.peers },
            health.clone(),
            metrics.clone(),
            rejections.clone(),
            clock.clone(),
            &entropy,
        );
        let gate = Arc::new(gate.with_callbacks(straight));
        let watch = Watch {
            store: store.clone(),
            intake,
            queue_rows_max: IntakeLimits::default().queue_rows_max,
            gate: gate.clone(),
            keys,
            budget,
            rejections: rejections.clone(),
            audit,
            clock: clock.clone(),
        };
        let stop = CancellationToken::new();
        let watch = (stop.clone(), tokio::spawn(watch.run(stop)));
        let server = Server::run(gate, health);
        Self { server, store, database, clock, ids, reload, watch }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Answers every order to reload with a refusal.
    pub(crate) fn refuse_reloads(&mut self) {
        let mut orders = std::mem::replace(&mut self.reload, tokio::sync::mpsc::channel(1).1);
        tokio::spawn(async move {
            while let Some(order) = orders.recv().await {
                let _nobody_waits = order.send(Err("not in this test".to_owned()));
            }
        });
    }

    /// Stops everything; what waited to be written is in the store that is returned.
    pub(crate) async fn stop(self) -> (Store, Database) {
        let _stopped = self.server.stop().await;
        self.watch.0.cancel();
        self.watch.1.await.expect("the watch ends");
        (self.store, self.database)
    }
}

fn state(
    setup: &Setup,
    store: &Store,
    clock: &Clock,
    entropy: &Entropy,
    ids: &IdMaker,
    reload: ReloadOrders,
) -> HttpState {
    let metrics = Arc::new(Metrics::new("0.0.0-test"));
    let audit = Audit::new(clock.clone(), ids.clone(), 50);
    let configured = setup.keys.iter().map(|key| ConfiguredKey::parse(&Secret::new(key.as_str()))).collect();
    let wrong_per_minute = setup.limits.wrong_keys_per_address_per_minute;
    let tracker = Tracker::start(store.clone(), clock.clone(), ids.clone(), Hooks::default());
    let parts = DispatchParts {
        store: store.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
        ids: ids.clone(),
        news: tracker.news(),
        owner: "test".to_owned(),
        observer: wecom_gateway::dispatch::Observer::default(),
    };
    let dispatch = Dispatch::start(parts, Targets::default(), DispatchSettings::default());
    let intake = Intake::start(store.clone(), IntakeLimits::default(), clock.clone());
    let health = Health::default();
    // Short enough for those who read every answer to its end.
    let streams = StreamLimits { lifetime_ms: 200, poll_ms: 50, ..StreamLimits::default() };
    let forwarding = forwarding(store, &dispatch, &intake, clock, entropy, ids);
    let channels = HashMap::from([
        ("bot".to_owned(), SendChannel::Robot(crate::robot::robot_at("http://127.0.0.1:9/?key=none"))),
        ("off".to_owned(), SendChannel::Disabled),
        ("app".to_owned(), SendChannel::ReceiveOnly),
    ]);
    HttpState {
        resealing: wecom_gateway::upkeep::resealing::Resealing::new(store.clone()),
        service: ServiceFacts {
            name: "test".to_owned(),
            version: "0.0.0-test",
            environment: "development".to_owned(),
            started_ms: clock.wall_ms(),
        },
        store: store.clone(),
        intake,
        forwarding,
        shadow: Shadow::new(HashMap::new(), client(), ShadowLimits::default(), clock.clone()),
        sources: Arc::new(ArcSwap::from_pointee(Sources::build(setup.sources.clone()).expect("sources"))),
        channels: Arc::new(ArcSwap::from_pointee(vec![channel("bot", true), channel("app", false)])),
        messages: Messages::new(
            store.clone(),
            clock.clone(),
            ids.clone(),
            dispatch,
            tracker.news(),
            channels,
        ),
        tracker,
        streams: Streams::new(store.clone(), health.clone(), clock.clone(), streams),
        health,
        metrics,
        keys: ApiKeys::new(configured, store.clone(), audit.clone(), clock.clone(), wrong_per_minute),
        key_maker: KeyMaker { ids: ids.clone(), entropy: entropy.clone() },
        audit,
        reload,
        callbacks: None,
        platform: setup.peers.platform.clone(),
        verify_files: Arc::new(setup.verify_files.clone()),
        budget: ByteBudget::new(setup.limits.bodies_in_flight_bytes_max),
        limits: setup.limits.clone(),
        clock: clock.clone(),
    }
}

fn forwarding(
    store: &Store,
    dispatch: &Dispatch,
    intake: &Intake,
    clock: &Clock,
    entropy: &Entropy,
    ids: &IdMaker,
) -> Forwarding {
    Forwarding::new(ForwardingParts {
        store: store.clone(),
        dispatch: dispatch.clone(),
        intake: intake.clone(),
        client: client(),
        vault: Vault::new(&Secret::new("the master key of the tests"), entropy.clone()),
        clock: clock.clone(),
        ids: ids.clone(),
        entropy: entropy.clone(),
        endpoints_max: ENDPOINTS_MAX,
    })
}

fn client() -> WebClient {
    WebClient::new(WebSettings::default(), Guard::new(GuardRules::default())).expect("a client")
}

fn channel(name: &str, sends: bool) -> ChannelFacts {
    ChannelFacts {
        name: name.to_owned(),
        kind: if sends { "wechat_bot" } else { "wechat_api" },
        enabled: true,
        sends,
        receives: true,
        per_minute_max: sends.then_some(20),
        per_member: None,
        token: None,
        gate: None,
        people_per_day: None,
    }
}

fn callbacks(
    setup: &Setup,
    state: &HttpState,
    rejections: &Rejections,
    ids: &IdMaker,
) -> Option<CallbackState> {
    setup.callbacks.then(|| CallbackState {
        sources: state.sources.clone(),
        intake: state.intake.clone(),
        rejections: rejections.clone(),
        budget: state.budget.clone(),
        replies: Replies::new(
            HashMap::new(),
            client(),
            ReplyLimits::default(),
            state.store.clone(),
            state.clock.clone(),
            Entropy::system(),
        ),
        shadow: state.shadow.clone(),
        metrics: state.metrics.clone(),
        limits: CallbackLimits { body_bytes_max: setup.limits.body_bytes_max, ..CallbackLimits::default() },
        clock: state.clock.clone(),
        ids: ids.clone(),
    })
}

/// Measures how long something takes.
pub(crate) struct Stopwatch(Clock, i64);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        let clock = Clock::system();
        let began_ms = clock.steady_ms();
        Self(clock, began_ms)
    }

    pub(crate) fn ms(&self) -> i64 {
        self.0.steady_ms() - self.1
    }
}

/// Waits until `what` is true, at most half a minute.
pub(crate) async fn until(mut what: impl AsyncFnMut() -> bool) {
    for _ in 0..3_000 {
        if what().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come true within half a minute");
}

/// As [`until`], for what needs many steps on a busy machine: at most a minute.
pub(crate) async fn patiently(mut what: impl AsyncFnMut() -> bool) {
    let limit = Duration::from_mins(1);
    let waited = tokio::time::timeout(limit, async {
        while !what().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "it did not come true within {limit:?}");
}
