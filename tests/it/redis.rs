//! replicas share tokens, budgets and news by Redis; whatever becomes of it, nothing is lost, doubled or held up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wecom_gateway::channel::access_token::{Credentials, TokenDesk};
use wecom_gateway::channel::transport::{Transport, TransportLimits};
use wecom_gateway::channel::wecom_app::App;
use wecom_gateway::clock::Clock;
use wecom_gateway::domain::outcome::Ending;
use wecom_gateway::entropy::Entropy;
use wecom_gateway::ephemeral::{Ephemeral, Reach, RedisSettings};
use wecom_gateway::secret::Secret;
use wecom_gateway::store::Engine;

use crate::app::{AGENT, CORP, SECRET, platform};
use crate::database::Database;
use crate::forwarder::receiver;
use crate::gateway::{Gateway, Platform, Setup, default_channels, text_message};
use crate::redis_server::RedisServer;
use crate::rest::{Rest, json as body_of};
use crate::wire::Wire;

const TARGET: &str = "/api/v1/webhooks/wechat/api";

/// The platform gives up after 5 s.
const PATIENCE: Duration = Duration::from_millis(4_500);

/// One replica's way to send.
struct Replica {
    app: App,
    ephemeral: Ephemeral,
}

fn replica(base_url: &str, redis: &RedisServer) -> Replica {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let settings = RedisSettings { url: Some(Secret::new(redis.url())), ..RedisSettings::default() };
    let ephemeral = Ephemeral::new(&settings, &clock, &entropy).expect("an address");
    let limits = TransportLimits { attempt_timeout_ms: 5_000, ..TransportLimits::default() };
    let transport = Transport::new(limits).expect("a transport");
    let credentials =
        Credentials { base_url: base_url.to_owned(), corp_id: CORP.to_owned(), secret: Secret::new(SECRET) };
    let token = TokenDesk::shared_by(ephemeral.clone()).token(&credentials, &transport, &clock, &entropy);
    Replica { app: App::new(AGENT, token, transport, clock), ephemeral }
}

impl Replica {
    async fn send(&self) -> Ending {
        let body = json!({"touser": "ann", "msgtype": "text", "agentid": AGENT, "text": {"content": "hi"}})
            .to_string();
        let sent = tokio::time::timeout(Duration::from_secs(30), self.app.deliver(&body));
        sent.await.expect("nothing waits for Redis for long").outcome.ending()
    }
}

async fn all_send(replicas: &[Arc<Replica>]) {
    let mut sends = tokio::task::JoinSet::new();
    for replica in replicas.iter().cycle().take(30) {
        let replica = Arc::clone(replica);
        sends.spawn(async move { replica.send().await });
    }
    while let Some(ending) = sends.join_next().await {
        assert_eq!(ending.expect("no panic"), Ending::Accepted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_ask_for_one_token_between_them() {
    let redis = RedisServer::start();
    let fake = platform(&Clock::system()).await;
    let replicas: Vec<_> = (0..3).map(|_| Arc::new(replica(&fake.base_url(), &redis))).collect();
    let tokens = || fake.calls("gettoken").len();
    all_send(&replicas).await;
    assert_eq!(tokens(), 1, "one for all");

    fake.revoke_tokens();
    all_send(&replicas).await;
    assert_eq!(tokens(), 2, "one for all, again");
    redis.ask(&["FLUSHALL"]);
    all_send(&replicas).await;
    assert_eq!(tokens(), 2, "everybody holds it");
    let late = Arc::new(replica(&fake.base_url(), &redis));
    all_send(std::slice::from_ref(&late)).await;
    assert_eq!(tokens(), 3, "the shelf was emptied");
    let later = replica(&fake.base_url(), &redis);
    assert_eq!((later.send().await, tokens(), later.ephemeral.reach()), (Ending::Accepted, 3, Reach::Ok));

    // What lies there is sealed, and found by nobody who lacks the secret.
    let keys = redis.ask(&["KEYS", "*"]);
    let key = keys.lines().find(|key| key.starts_with("wecom-gateway:token:")).expect("a token");
    let sealed = redis.ask(&["GET", key]);
    let held = fake.calls("message/send").last().map(|call| call.body.to_string()).unwrap_or_default();
    assert!(sealed.starts_with("v1.") && !held.contains(&sealed), "{sealed}");
    assert!(!keys.contains(CORP) && !keys.contains(SECRET), "{keys}");

    // Somebody else's text on the shelf is no token.
    redis.ask(&["SET", key, "v1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "PX", "1000000"]);
    let last = replica(&fake.base_url(), &redis);
    assert_eq!((last.send().await, tokens()), (Ending::Accepted, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_frozen_slow_full_or_gone_holds_no_message_up() {
    let mut redis = RedisServer::start();
    let fake = platform(&Clock::system()).await;
    redis.signal("STOP");
    let replica_of = || replica(&fake.base_url(), &redis);
    let first = replica_of();
    assert_eq!((first.send().await, first.ephemeral.reach()), (Ending::Accepted, Reach::Away), "frozen");
    redis.signal("CONT");
    redis.ask(&["CLIENT", "PAUSE", "20000", "WRITE"]);
    assert_eq!(replica_of().send().await, Ending::Accepted, "slow");
    redis.ask(&["CLIENT", "UNPAUSE"]);
    redis.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(replica_of().send().await, Ending::Accepted, "full");
    redis.kill();
    assert_eq!(replica(&fake.base_url(), &redis).send().await, Ending::Accepted, "gone");
    // A replica that fetches, and never puts its token there, is waited for once, and not for ever.
    redis.restart();
    let waiting = replica(&fake.base_url(), &redis);
    assert_eq!(waiting.send().await, Ending::Accepted);
    let key = redis.ask(&["KEYS", "wecom-gateway:token:*"]);
    redis.ask(&["DEL", &key]);
    redis.ask(&["SET", &format!("{key}:fetching"), "somebody", "PX", "2000"]);
    assert_eq!(replica(&fake.base_url(), &redis).send().await, Ending::Accepted, "a fetch that never ends");
    assert_eq!(fake.calls("gettoken").len(), 6, "each asked for itself");
}

/// Two gateways on one database, with `redis` between them.
async fn two_gateways(database: &Database, redis: &str, more: &str) -> [Gateway; 2] {
    let start = async |name: &str| {
        let setup = Setup {
            database_url: database.url.clone(),
            extra: format!(
                "redis: {{ url: '{redis}' }}\nauth: {{ master_key: a-master-key-for-tests-only }}\n{more}"
            ),
            channels: default_channels(),
            ..Setup::default()
        };
        let name = name.to_owned();
        tokio::task::spawn_blocking(move || Gateway::start(&name, setup)).await.expect("it starts")
    };
    [start("redis-one").await, start("redis-two").await]
}

async fn send(gateway: &Gateway, id: u64) {
    let (query, body) = Platform::app().seal(&text_message("zhangsan", id, "Redis is away"));
    let mut wire = Wire::connect(gateway.address()).await.expect("connects");
    let post = async { wire.post(&format!("{TARGET}?{query}"), body.as_bytes()).await.expect("an answer") };
    let answer = tokio::time::timeout(PATIENCE, post).await.expect("answered before the platform gives up");
    assert_eq!(answer.status, 200, "message {id}");
}

async fn redis_health(gateway: &Gateway, word: &str) {
    for _ in 0..600 {
        let answer = Rest::new(gateway.address(), None).get("/health").await;
        assert_eq!(answer.status, 200, "callbacks are accepted either way");
        if body_of(&answer)["checks"]["redis"] == word {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("/health never says that Redis is {word}");
}

/// Both, so that what one still says of the fault before is not taken for this one.
async fn both_say(gateways: &[Gateway; 2], word: &str) {
    for gateway in gateways {
        redis_health(gateway, word).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_of_redis_loses_or_doubles_a_callback() {
    let mut redis = RedisServer::start();
    let database = Database::new(Engine::MySql).await;
    let gateways = two_gateways(&database, &redis.url(), "").await;
    let mut next = 1;
    let mut slowest = Duration::ZERO;
    // Each id three times, across the moment of the fault, by either gateway.
    let mut some = async |from: u64| {
        for id in from..from + 60 {
            for gateway in [&gateways[0], &gateways[1], &gateways[0]] {
                let start = Instant::now();
                send(gateway, id).await;
                slowest = slowest.max(start.elapsed());
            }
        }
        from + 60
    };
    both_say(&gateways, "ok").await;
    next = some(next).await;
    for _ in 0..3 {
        redis.ask(&["FLUSHALL"]);
        next = some(next).await;
    }
    for (what, begin, end) in [
        ("slow", ["CLIENT", "PAUSE", "600000"], vec!["CLIENT", "UNPAUSE"]),
        ("full", ["CONFIG", "SET", "maxmemory"], vec!["CONFIG", "SET", "maxmemory", "0"]),
        ("locked", ["CONFIG", "SET", "requirepass"], vec!["-a", "x", "CONFIG", "SET", "requirepass", ""]),
    ] {
        let mut begin = begin.to_vec();
        match what {
            "slow" => begin.push("WRITE"),
            "full" => begin.push("1"),
            "locked" => begin.push("x"),
            _ => {}
        }
        redis.ask(&begin);
        if what == "locked" {
            redis.ask(&["-a", "x", "CLIENT", "KILL", "TYPE", "normal"]);
        }
        // In the moment of the fault, and when it is known.
        next = some(next).await;
        both_say(&gateways, "unavailable").await;
        next = some(next).await;
        redis.ask(&end.iter().map(AsRef::as_ref).collect::<Vec<&str>>());
        both_say(&gateways, "ok").await;
    }
    redis.signal("STOP");
    next = some(next).await;
    both_say(&gateways, "unavailable").await;
    next = some(next).await;
    redis.signal("CONT");
    both_say(&gateways, "ok").await;
    redis.kill();
    next = some(next).await;
    both_say(&gateways, "unavailable").await;
    next = some(next).await;
    redis.restart();
    both_say(&gateways, "ok").await;
    next = some(next).await;
    assert_eq!(database.number("SELECT COUNT(*) FROM events").await, i64::try_from(next - 1).expect("few"));
    eprintln!("{} callbacks through eight faults, the slowest answered in {slowest:?}", (next - 1) * 3);
    let figures = Rest::new(gateways[0].address(), None).get("/metrics").await.text();
    assert!(figures.lines().any(|line| line == "wecom_redis_up 1"), "{figures}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_has_one_budget_over_all_replicas() {
    let redis = RedisServer::start();
    let setup = |redis: String| Setup {
        webhook: "trusted_proxies: [127.0.0.1], ".to_owned(),
        extra: format!(
            "redis: {{ url: '{redis}', share_every_ms: 50 }}\nlimits: {{ http: {{ rate_per_address_per_s: 20, rate_burst: 20 }} }}\n"
        ),
        ..Setup::default()
    };
    let gateways =
        [Gateway::start("budget-1", setup(redis.url())), Gateway::start("budget-2", setup(redis.url()))];
    for gateway in &gateways {
        redis_health(gateway, "ok").await;
    }
    let start = Instant::now();
    let mut passed = 0_u32;
    while start.elapsed() < Duration::from_secs(8) {
        for gateway in &gateways {
            let from = "X-Forwarded-For: 198.51.100.7\r\n";
            let rest = Rest::new(gateway.address(), None);
            passed += u32::from(rest.send("GET", TARGET, from, b"").await.status != 429);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let seconds = start.elapsed().as_secs_f64();
    // A burst from each, then 20 a second over both; by themselves they would let through twice that.
    let fair = 20.0 * seconds + 20.0;
    eprintln!("{passed} passed in {seconds:.1} s, one budget is {fair:.0}");
    assert!(f64::from(passed) <= fair + 45.0, "{passed} passed in {seconds} s");
    assert!(f64::from(passed) >= 0.5 * fair, "nobody is shut out: {passed} in {seconds} s");
    redis_health(&gateways[0], "ok").await;
}

/// Without the bell a replica would look for what others commit only once a minute here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_told_what_others_commit_for_its_targets() {
    let redis = RedisServer::start();
    let database = Database::new(Engine::MySql).await;
    let slow_looks = "limits: { dispatch: { scan_ms: 60000, lease_ms: 600000 } }\n";
    let gateways = two_gateways(&database, &redis.url(), slow_looks).await;
    let receiver = receiver().await;
    let rest = Rest::new(gateways[0].address(), None);
    let form = json!({"url": receiver.url("/hook"), "secret": "a secret of the receiver", "events": ["*"]});
    assert_eq!(rest.post("/api/v1/endpoints", &form).await.status, 201);
    for gateway in &gateways {
        redis_health(gateway, "ok").await;
        endpoints_known(gateway).await;
    }
    // One of the two owns the endpoint; the other has to tell it.
    let start = Instant::now();
    for (id, gateway) in (1..).zip(&gateways) {
        send(gateway, id).await;
    }
    while receiver.received().len() < 2 {
        assert!(start.elapsed() < Duration::from_secs(30), "{} of 2 arrived", receiver.received().len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eprintln!("both arrived within {:?}", start.elapsed());
}

async fn endpoints_known(gateway: &Gateway) {
    for _ in 0..300 {
        let listed: Value = Rest::new(gateway.address(), None).json("/api/v1/endpoints").await;
        if listed["data"].as_array().is_some_and(|all| all.len() == 1) {
            // The list is read from the database; the sender follows within a moment.
            tokio::time::sleep(Duration::from_secs(2)).await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the endpoint is not known");
}
