//! Store, intake, sender and endpoints together, on a clock that only the test moves.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wecom_gateway::cli::dev::receiver::Receiver;
use wecom_gateway::clock::Clock;
use wecom_gateway::dispatch::{Dispatch, DispatchParts, DispatchSettings, Observer, Targets};
use wecom_gateway::domain::delivery::{Cargo, Delivery, DeliveryState};
use wecom_gateway::domain::endpoint::ENDPOINTS_MAX;
use wecom_gateway::endpoint::guard::{Guard, GuardRules};
use wecom_gateway::endpoint::http::{WebClient, WebSettings};
use wecom_gateway::entropy::Entropy;
use wecom_gateway::forwarding::{Forwarding, ForwardingParts, Made};
use wecom_gateway::ids::{EventId, IdMaker};
use wecom_gateway::intake::{Intake, IntakeLimits};
use wecom_gateway::secret::Secret;
use wecom_gateway::source::AcceptedEvent;
use wecom_gateway::store::{DeliveryFilter, NewEvent, Recorded, Store};
use wecom_gateway::vault::Vault;
use wecom_gateway::wecom::limits::ReadLimits;

use crate::database::Database;
use crate::gateway::text_message;

/// Longest wait for something that should happen at once.
const PATIENCE: Duration = Duration::from_mins(2);

/// One gateway's forwarding side.
pub(crate) struct Forwarder {
    pub(crate) store: Store,
    pub(crate) dispatch: Dispatch,
    pub(crate) intake: Intake,
    pub(crate) forwarding: Forwarding,
    clock: Clock,
    ids: IdMaker,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Forwarder {
    /// Starts one on `database` that may call this machine.
    pub(crate) async fn start(database: &Database) -> Self {
        Self::start_with(database, GuardRules { development: true, ..GuardRules::default() }).await
    }

    /// Starts one that may call what `rules` say.
    pub(crate) async fn start_with(database: &Database, rules: GuardRules) -> Self {
        Self::start_calling(database, WebSettings::default(), Guard::new(rules)).await
    }

    /// Starts one that calls in its own way.
    pub(crate) async fn start_calling(database: &Database, web: WebSettings, guard: Guard) -> Self {
        Self::build(database, web, guard, ENDPOINTS_MAX).await
    }

    /// Starts one that may call this machine and has room for so many endpoints.
    pub(crate) async fn start_small(database: &Database, endpoints_max: usize) -> Self {
        let guard = Guard::new(GuardRules { development: true, ..GuardRules::default() });
        Self::build(database, WebSettings::default(), guard, endpoints_max).await
    }

    async fn build(database: &Database, web: WebSettings, guard: Guard, endpoints_max: usize) -> Self {
        let store = database.open().await;
        let (clock, ids, entropy) = (database.clock.clone(), database.ids.clone(), Entropy::system());
        let (news, _nobody_listens) = mpsc::channel(1);
        let parts = DispatchParts {
            store: store.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            ids: ids.clone(),
            news,
            owner: ids.make::<EventId>().to_string(),
            observer: Observer::default(),
        };
        let settings =
            DispatchSettings { scan_ms: 50, lease_ms: 6_000_000_000, ..DispatchSettings::default() };
        let dispatch = Dispatch::start(parts, Targets::default(), settings);
        let intake = Intake::start(store.clone(), IntakeLimits::default(), clock.clone());
        let forwarding = Forwarding::new(ForwardingParts {
            store: store.clone(),
            dispatch: dispatch.clone(),
            intake: intake.clone(),
            client: WebClient::new(web, guard).expect("a client"),
            vault: Vault::new(&Secret::new("the master key of the tests"), entropy.clone()),
            clock: clock.clone(),
            ids: ids.clone(),
            entropy,
            endpoints_max,
        });
        forwarding.refresh().await.expect("the endpoints are read");
        let stop = CancellationToken::new();
        let running = tokio::spawn(forwarding.clone().run(None, stop.clone()));
        Self { store, dispatch, intake, forwarding, clock, ids, stop, running }
    }

    /// Makes an endpoint.
    pub(crate) async fn endpoint(&self, request: Value) -> Made {
        self.forwarding.create(request).await.expect("the endpoint is made")
    }

    /// A text of `user` as the platform would send it.
    pub(crate) fn text(&self, user: &str, number: u64) -> NewEvent {
        self.event(&text_message(user, 7_000_000_000_000_000_000 + number, &format!("text {number}")))
    }

    /// What `plaintext` says.
    pub(crate) fn event(&self, plaintext: &str) -> NewEvent {
        let read = AcceptedEvent::read("wechat_api", Bytes::from(plaintext.to_owned()), &ReadLimits::DEFAULT);
        NewEvent {
            id: self.ids.make(),
            source: "wechat_api".into(),
            dedup_key: read.dedup_key,
            event: read.event,
            payload: read.payload,
            accepted_ms: self.clock.wall_ms(),
            evidence: Vec::new(),
        }
    }

    /// Records an event; its id.
    pub(crate) async fn accept(&self, event: NewEvent) -> EventId {
        let id = event.id.clone();
        let recorded = self.intake.accept(vec![event]).await.expect("the event is recorded");
        assert_eq!(recorded, [Recorded::New]);
        id
    }

    /// Records the texts `numbers` of `user`.
    pub(crate) async fn texts(&self, user: &str, numbers: std::ops::Range<u64>) -> Vec<EventId> {
        let mut ids = Vec::new();
        for number in numbers {
            ids.push(self.accept(self.text(user, number)).await);
        }
        ids
    }

    /// The deliveries of an event.
    pub(crate) async fn deliveries(&self, id: &EventId) -> Vec<Delivery> {
        let filter = DeliveryFilter { cargo: Some(Cargo::Event(id.clone())), ..DeliveryFilter::default() };
        self.store.deliveries(&filter).await.expect("the store answers").items
    }

    /// The one delivery of an event.
    pub(crate) async fn delivery(&self, id: &EventId) -> Delivery {
        let mut all = self.deliveries(id).await;
        assert_eq!(all.len(), 1, "one delivery");
        all.remove(0)
    }

    /// How many deliveries stand at `state`.
    pub(crate) async fn count(&self, state: DeliveryState) -> usize {
        let filter = DeliveryFilter { state: Some(state), limit: 1_000, ..DeliveryFilter::default() };
        self.store.deliveries(&filter).await.expect("the store answers").items.len()
    }

    /// Waits, while the clock stands still, until `holds`.
    pub(crate) async fn soon(&self, what: &str, holds: impl AsyncFnMut() -> bool) {
        self.poll(what, 0, holds).await;
    }

    /// Lets time pass until `holds`.
    pub(crate) async fn until(&self, what: &str, holds: impl AsyncFnMut() -> bool) {
        self.poll(what, 500, holds).await;
    }

    async fn poll(&self, what: &str, step_ms: i64, mut holds: impl AsyncFnMut() -> bool) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !holds().await {
                self.clock.advance_ms(step_ms);
                self.dispatch.wake();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(waited.await.is_ok(), "{what} did not happen");
    }

    /// Moves the clock, and lets the sender notice.
    pub(crate) fn pass_ms(&self, by_ms: i64) {
        self.clock.advance_ms(by_ms);
        self.dispatch.wake();
    }

    /// Stops everything in order.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.running.await.expect("forwarding ends");
        self.dispatch.stop(Duration::from_secs(5)).await;
        self.intake.stop().await;
        self.store.close().await;
    }
}

/// A receiver on a free port.
pub(crate) async fn receiver() -> Receiver {
    Receiver::start(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port")
}

/// The text numbers that came to `path`, in their order.
pub(crate) fn numbers(receiver: &Receiver, path: &str) -> Vec<u64> {
    receiver.received_at(path).iter().map(number).collect()
}

/// The text number in a body.
pub(crate) fn number(received: &wecom_gateway::cli::dev::receiver::Received) -> u64 {
    let body = received.json();
    let content = body["data"]["body"]["Content"].as_str().expect("a text");
    content.strip_prefix("text ").and_then(|number| number.parse().ok()).expect("a numbered text")
}
