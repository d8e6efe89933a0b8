//! `dev wecom`: a fake WeCom platform, for tests, demonstrations and people without an account.
//!
//! It takes messages of robots and apps and answers as the platform does (HTTP 200 whatever happens, `errcode` inside,
//! 20 a minute for a robot, silence about what is too much for a member), shows what people would have seen, fails on
//! demand, and sends callbacks to a gateway. Everything is in memory, on the loopback interface.
//!
//! Its own routes: `GET /_fake/inbox?key=` (what people saw), `GET /_fake/requests?key=` (all that came),
//! `DELETE /_fake/requests`, `POST` and `DELETE /_fake/faults`, `GET /_fake/faults`, `POST /_fake/robots` (also to switch
//! one off), `DELETE /_fake/robots?key=`, `POST /_fake/callback`; of apps: `GET /_fake/people?user=` (what each person
//! saw), `POST /_fake/people` (who is missing or unlicensed, how many accounts there are), `GET /_fake/calls?method=`,
//! `DELETE /_fake/tokens`, `/_fake/apps` and `/_fake/peer` (`rules.rs`: who sees an app, from where it may be called). A
//! fault's `key` is a robot's key, or a method such as `message/send` or `gettoken`. `GET /_fake/figures` has counts,
//! `GET /_fake/assert?doubled=0` compares them, `POST /_fake/clock` with `{"advance_ms": 60000}` lets a minute pass.

mod addresses;
mod app_routes;
mod apps;
mod chats;
mod faults;
mod figures;
mod files;
mod quota;
mod request;
mod routes;
mod rules;
mod smart_robots;
mod tokens;
mod world;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clap::Args;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::listener;
use super::platform::Caller;
use super::say;
use crate::clock::Clock;
use crate::entropy::Entropy;

pub use apps::{AppCall, Shown};
pub use faults::{Fault, FaultKind};
pub use rules::AppRules;
pub use smart_robots::Said;
pub use world::RobotRequest;
use world::World;

/// Where to listen and whom to know.
#[derive(Clone, Debug, Args)]
pub struct WecomArgs {
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 9100)]
    pub port: u16,
    /// The key of a robot that exists. May be given several times.
    #[arg(long = "robot-key", default_value = "demo-robot")]
    pub robot_keys: Vec<String>,
    /// A company and its app secret, `CORPID:SECRET`. Without any, every pair gets a token.
    #[arg(long = "app")]
    pub apps: Vec<String>,
}

/// Plays the platform until interrupted.
pub async fn run(args: WecomArgs) -> anyhow::Result<()> {
    let address = SocketAddr::from(([127, 0, 0, 1], args.port));
    let fake = FakeWecom::start(address, Clock::system(), Entropy::system()).await?;
    for key in &args.robot_keys {
        fake.add_robot(key);
        say(&format!("robot: {}", fake.robot_url(key)))?;
    }
    for app in &args.apps {
        let (corp_id, secret) = app.split_once(':').unwrap_or((app, ""));
        fake.add_app(corp_id, secret);
    }
    say(&format!("fake WeCom platform on {}; what people saw: {0}/_fake/inbox", fake.base_url()))?;
    tokio::signal::ctrl_c().await?;
    fake.stop().await;
    Ok(())
}

/// A running fake platform.
#[derive(Debug)]
pub struct FakeWecom {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Shared {
    world: Mutex<World>,
    clock: Clock,
    /// How far its time was moved ahead of the clock.
    ahead_ms: AtomicI64,
    entropy: Entropy,
    caller: Caller,
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        // Each change is one call, so a panic elsewhere has not spoiled it.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> i64 {
        self.clock.wall_ms().saturating_add(self.ahead_ms.load(Ordering::Relaxed))
    }
}

impl FakeWecom {
    /// Starts it on `listen`; minutes pass by `clock`.
    pub async fn start(listen: SocketAddr, clock: Clock, entropy: Entropy) -> anyhow::Result<Self> {
        Self::with_robots(listen, &[], clock, entropy).await
    }

    /// Starts it with robots that exist from its first request on.
    pub async fn with_robots(
        listen: SocketAddr,
        keys: &[&str],
        clock: Clock,
        entropy: Entropy,
    ) -> anyhow::Result<Self> {
        let mut world = World::default();
        for key in keys {
            world.add_robot(key);
        }
        let socket = TcpListener::bind(listen).await?;
        let address = socket.local_addr()?;
        let caller = Caller::new(clock.clone())?;
        let shared = Arc::new(Shared {
            world: Mutex::new(world),
            clock,
            ahead_ms: AtomicI64::new(0),
            entropy,
            caller,
        });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(listener::serve(socket, routes::router(Arc::clone(&shared)), stop.clone()));
        tasks.close();
        Ok(Self { address, shared, stop, tasks })
    }

    /// `http://127.0.0.1:PORT`
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What WeCom would show for the robot with this key.
    pub fn robot_url(&self, key: &str) -> String {
        format!("{}/cgi-bin/webhook/send?key={key}", self.base_url())
    }

    /// Makes a robot exist.
    pub fn add_robot(&self, key: &str) {
        self.shared.world().add_robot(key);
    }

    /// Makes a company with an app exist.
    pub fn add_app(&self, corp_id: &str, secret: &str) {
        self.shared.world().apps.add(corp_id, secret);
    }

    /// These do not exist: user ids, `party:N`, `tag:N`.
    pub fn miss(&self, ids: &[&str]) {
        let ids: Vec<String> = ids.iter().map(|&id| id.to_owned()).collect();
        self.shared.world().apps.miss(&ids);
    }

    /// These have no licence for the interface.
    pub fn unlicense(&self, ids: &[&str]) {
        let ids: Vec<String> = ids.iter().map(|&id| id.to_owned()).collect();
        self.shared.world().apps.unlicense(&ids);
    }

    /// What was said late to smart robots' callbacks, oldest first.
    pub fn responses(&self) -> Vec<Said> {
        self.shared.world().responses.clone()
    }

    /// Sets what an administrator sets for the app `agent_id`.
    pub fn set_rules(&self, agent_id: u64, rules: AppRules) {
        self.shared.world().apps.rules.set(agent_id, rules);
    }

    /// From now on calls come from `address`.
    pub fn come_from(&self, address: &str) {
        self.shared.world().apps.rules.come_from(address);
    }

    /// Switches a robot off or on.
    pub fn enable_robot(&self, key: &str, enabled: bool) {
        self.shared.world().enable_robot(key, enabled);
    }

    /// The corp has so many accounts, and each of its apps 200 person-times a day for every one.
    pub fn set_accounts(&self, accounts: u64) {
        self.shared.world().apps.quota.accounts = Some(accounts);
    }

    /// What it has counted, by name.
    pub fn figures(&self) -> std::collections::BTreeMap<&'static str, u64> {
        figures::of(&self.shared.world())
    }

    /// Ends every token before its time.
    pub fn revoke_tokens(&self) {
        self.shared.world().apps.revoke_tokens();
    }

    /// What one person saw of apps' messages, or all of them, oldest first.
    pub fn shown(&self, user: Option<&str>) -> Vec<Shown> {
        self.shared.world().apps.shown(user)
    }

    /// How many messages people saw: of apps, each person counted, and of robots.
    pub fn shown_counts(&self) -> (usize, usize) {
        let world = self.shared.world();
        (world.apps.shown_count(), world.shown_count())
    }

    /// Calls of the apps' API, oldest first: `gettoken`, `message/send`, …
    pub fn calls(&self, method: &str) -> Vec<AppCall> {
        self.shared.world().apps.calls(Some(method))
    }

    /// How many messages were too much for a member, and dropped without a word.
    pub fn dropped(&self) -> u64 {
        self.shared.world().apps.dropped()
    }

    /// Says that callbacks come from these addresses.
    pub fn set_callback_ips(&self, addresses: &[&str]) {
        self.shared.world().callback_ips = addresses.iter().map(|address| (*address).to_owned()).collect();
    }

    /// Lets something go wrong.
    pub fn add_fault(&self, fault: Fault) {
        self.shared.world().faults.add(fault);
    }

    /// Every request to the robot with this key, oldest first.
    pub fn requests(&self, key: &str) -> Vec<RobotRequest> {
        self.shared.world().requests(Some(key))
    }

    /// What the people in the robot's chat saw, oldest first.
    pub fn inbox(&self, key: &str) -> Vec<RobotRequest> {
        self.requests(key).into_iter().filter(|request| request.shown).collect()
    }

    /// Ends it; connections are cut.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}
