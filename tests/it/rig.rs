//! Store, tracker, sender and fake platform together, on a clock that only the test moves.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use wecom_gateway::channel::response_url::Responder;
use wecom_gateway::channel::transport::{Transport, TransportLimits};
use wecom_gateway::cli::dev::wecom::FakeWecom;
use wecom_gateway::dispatch::{
    Dispatch, DispatchParts, DispatchSettings, Observer, Target, TargetKind, Targets,
};
use wecom_gateway::domain::delivery::Delivery;
use wecom_gateway::domain::fold::Tracked;
use wecom_gateway::domain::status::Status;
use wecom_gateway::entropy::Entropy;
use wecom_gateway::ids::MessageId;
use wecom_gateway::messages::{Accepted, Caller, Messages, SendChannel, SendError};
use wecom_gateway::store::{DeliveryFilter, MessageFilter, PAGE_LIMIT_MAX, Store};
use wecom_gateway::tracker::{Hooks, Tracker};

use crate::database::Database;
use crate::robot::{KEY, robot_at};

/// The channel that the rig's robot is.
pub(crate) const CHANNEL: &str = "wechat_bot";

/// The channel that the rig's app is.
pub(crate) const APP: &str = "wechat_api";

/// Longest wait for something that should happen at once.
const PATIENCE: Duration = Duration::from_mins(2);

/// How far the clock goes in one step of [`Rig::until`].
const STEP_MS: i64 = 1_000;

/// One gateway's sending side.
pub(crate) struct Rig {
    pub(crate) store: Store,
    pub(crate) tracker: Tracker,
    pub(crate) dispatch: Dispatch,
    pub(crate) messages: Messages,
    pub(crate) targets: Targets,
    clock: wecom_gateway::clock::Clock,
}

impl Rig {
    /// Starts one on `database` that sends to the fake's robot.
    pub(crate) async fn start(database: &Database, fake: &FakeWecom) -> Self {
        Self::start_with(database, &fake.robot_url(KEY), Hooks::default()).await
    }

    /// Starts one that sends to the robot at `url`.
    pub(crate) async fn start_with(database: &Database, url: &str, hooks: Hooks) -> Self {
        let target = Target::robot(CHANNEL, robot_at(url));
        let settings = DispatchSettings { scan_ms: 50, lease_ms: 600_000, ..DispatchSettings::default() };
        Self::with_targets(database, vec![target], settings, hooks).await
    }

    /// Starts one that sends through an app of the fake's, and through its robot.
    pub(crate) async fn with_app(database: &Database, fake: &FakeWecom) -> Self {
        let app = crate::app::app_at(&fake.base_url(), crate::app::SECRET, &database.clock);
        let targets = vec![Target::app(APP, app, 8), Target::robot(CHANNEL, robot_at(&fake.robot_url(KEY)))];
        let settings = DispatchSettings { scan_ms: 50, lease_ms: 600_000, ..DispatchSettings::default() };
        Self::with_targets(database, targets, settings, Hooks::default()).await
    }

    /// Asks for a message in WeCom's form to be sent through the app.
    pub(crate) async fn ask(&self, request: Value) -> Result<Accepted, SendError> {
        let mut request = request;
        request["channel"] = APP.into();
        self.messages.send(request, &Caller::default(), None).await
    }

    /// Accepts a text to `users` through the app.
    pub(crate) async fn text_to(&self, users: &str, content: &str) -> MessageId {
        self.ask(json!({"touser": users, "text": content})).await.expect("the message is accepted").id
    }

    /// Starts one that sends to these.
    pub(crate) async fn with_targets(
        database: &Database,
        targets: Vec<Target>,
        settings: DispatchSettings,
        hooks: Hooks,
    ) -> Self {
        let store = database.open().await;
        let mut channels: HashMap<String, SendChannel> = targets
            .iter()
            .filter_map(|target| {
                let kind = match &target.kind {
                    TargetKind::Robot(robot) => SendChannel::Robot(robot.clone()),
                    TargetKind::App(app) => SendChannel::App(app.clone()),
                    TargetKind::Web(_) => return None,
                };
                Some((target.id.clone(), kind))
            })
            .collect();
        channels.insert("off".to_owned(), SendChannel::Disabled);
        channels.insert("deaf".to_owned(), SendChannel::ReceiveOnly);
        let (clock, ids) = (database.clock.clone(), database.ids.clone());
        let tracker = Tracker::start(store.clone(), clock.clone(), ids.clone(), hooks);
        let parts = DispatchParts {
            store: store.clone(),
            clock: clock.clone(),
            entropy: Entropy::seeded(9),
            ids: ids.clone(),
            news: tracker.news(),
            owner: ids.make::<MessageId>().to_string(),
            observer: Observer::default(),
        };
        let transport = Transport::new(TransportLimits::default()).expect("a transport");
        let targets = Targets::build(targets).expect("different robots");
        let dispatch = Dispatch::start(parts, targets.clone(), settings);
        let messages =
            Messages::new(store.clone(), clock.clone(), ids, dispatch.clone(), tracker.news(), channels)
                .with_responder(Responder::new(transport));
        Self { store, tracker, dispatch, messages, targets, clock }
    }

    /// Accepts a text.
    pub(crate) async fn text(&self, content: &str) -> MessageId {
        self.text_with(content, json!({})).await
    }

    /// Accepts a text with the gateway's own fields beside it.
    pub(crate) async fn text_with(&self, content: &str, options: Value) -> MessageId {
        self.send(content, options, None).await.expect("the message is accepted").id
    }

    /// Asks for a text to be sent.
    pub(crate) async fn send(
        &self,
        content: &str,
        options: Value,
        idempotency_key: Option<&str>,
    ) -> Result<Accepted, SendError> {
        let mut request = json!({"channel": CHANNEL, "msgtype": "text", "text": {"content": content}});
        for (field, value) in options.as_object().expect("options are an object") {
            request[field] = value.clone();
        }
        self.messages.send(request, &Caller::default(), idempotency_key).await
    }

    /// What became of a message.
    pub(crate) async fn tracked(&self, id: &MessageId) -> Tracked {
        self.tracker.status(id.as_str(), &[]).await.expect("the store answers").expect("the message is known")
    }

    /// Its status alone.
    pub(crate) async fn status(&self, id: &MessageId) -> Status {
        self.tracked(id).await.status
    }

    /// How many of `ids` stand at `status`.
    pub(crate) async fn count(&self, ids: &[MessageId], status: Status) -> usize {
        let mut count = 0;
        for id in ids {
            count += usize::from(self.status(id).await == status);
        }
        count
    }

    /// How many messages a list shows at `status`; it follows within moments.
    pub(crate) async fn listed(&self, status: Status) -> usize {
        let filter =
            MessageFilter { status: Some(status), limit: PAGE_LIMIT_MAX, ..MessageFilter::default() };
        self.store.messages(&filter).await.expect("the store answers").items.len()
    }

    /// The delivery of a message.
    pub(crate) async fn delivery(&self, id: &MessageId) -> Delivery {
        let cargo = wecom_gateway::domain::delivery::Cargo::Message(id.clone());
        let filter = DeliveryFilter { cargo: Some(cargo), ..DeliveryFilter::default() };
        let page = self.store.deliveries(&filter).await.expect("the store answers");
        page.items.into_iter().next().expect("the message has a delivery")
    }

    /// Waits, while the clock stands still, until `holds`.
    pub(crate) async fn soon(&self, what: &str, holds: impl AsyncFnMut() -> bool) {
        self.poll(what, 0, holds).await;
    }

    /// Lets time pass until `holds`.
    pub(crate) async fn until(&self, what: &str, holds: impl AsyncFnMut() -> bool) {
        self.poll(what, STEP_MS, holds).await;
    }

    /// The same with steps of `step_ms` that leave the sender time to work in between, however busy the machine is.
    pub(crate) async fn until_slowly(&self, what: &str, step_ms: i64, mut holds: impl AsyncFnMut() -> bool) {
        for _ in 0..1_500 {
            if holds().await {
                return;
            }
            self.pass_ms(step_ms);
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        panic!("{what} did not happen");
    }

    async fn poll(&self, what: &str, step_ms: i64, mut holds: impl AsyncFnMut() -> bool) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !holds().await {
                self.clock.advance_ms(step_ms);
                self.dispatch.wake();
                tokio::time::sleep(Duration::from_millis(2)).await;
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
        self.dispatch.stop(Duration::from_secs(5)).await;
        self.tracker.stop().await;
        self.store.close().await;
    }
}
