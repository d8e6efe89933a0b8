//! the wall clock of a running gateway is set a day back, two hours back, ahead, five years ahead, and right again,
//! under load. Nothing is refused, nothing is late or lost, the token is fetched once, and history keeps its order.
//!
//! The clock is moved by libfaketime (Debian: `faketime`), which the real binary is started with.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;
use wecom_gateway::cli::dev::receiver::Receiver;
use wecom_gateway::cli::dev::wecom::FakeWecom;
use wecom_gateway::clock::Clock;
use wecom_gateway::config::RetentionConfig;
use wecom_gateway::entropy::Entropy;
use wecom_gateway::store::{Engine, NewEvent, Purge};
use wecom_gateway::upkeep::Upkeep;

use crate::database::{Database, on_both};
use crate::forwarder::receiver;
use crate::gateway::{AES_KEY, CORP_ID, Folder, Gateway, Platform, Setup, TOKEN, text_message};
use crate::intake::event;
use crate::ledger;
use crate::rest::Rest;
use crate::site::patiently;
use crate::wire::Wire;

const TARGET: &str = "/api/v1/webhooks/wechat/api";

/// The platform gives up after 5 s.
const PATIENCE: Duration = Duration::from_millis(4_500);

/// What the clock is off by, one after the other, in seconds.
const JUMPS_S: [&str; 6] = ["-86400", "-7200", "+7200", "+86400", "+157680000", "+0"];

/// Tries of a delivery to an endpoint that always fails, and the pause between two.
const TRIES: usize = 4;
const RETRY_MS: i64 = 1_000;

/// A clock that can be set while its gateway runs.
struct FakeTime(Folder);

impl FakeTime {
    fn new(offset_s: &str) -> Self {
        let time = Self(Folder::new("faketime"));
        time.set(offset_s);
        time
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("offset")
    }

    fn set(&self, offset_s: &str) {
        // Never seen half written.
        let next = self.0.path().join("next");
        std::fs::write(&next, format!("{offset_s}\n")).expect("written");
        std::fs::rename(next, self.file()).expect("set");
    }

    fn environment(&self) -> Vec<(String, String)> {
        let library = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"]
            .map(|place| format!("{place}/faketime/libfaketime.so.1"))
            .into_iter()
            .find(|path| Path::new(path).exists())
            .expect("libfaketime is installed: scripts/install.sh");
        let file = self.file().display().to_string();
        [
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", &file),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec()
    }
}

/// A gateway on `time`, whose callbacks have 26 hours as in production.
fn gateway(name: &str, database: &Database, time: &FakeTime, platform_url: &str) -> Gateway {
    let channels = format!(
        "  wechat_api:\n    corp_id: {CORP_ID}\n    secret: corp-secret\n    agent_id: '1000002'\n    token: {TOKEN}\n    encoding_aes_key: {AES_KEY}\n    base_url: {platform_url}\n"
    );
    let setup = Setup {
        database_url: database.url.clone(),
        channels,
        extra: "auth: { master_key: a-master-key-for-tests-only }\nlimits: { dispatch: { lease_ms: 20000, scan_ms: 250 }, attempt: { attempt_timeout_ms: 6000 }, http: { api_rate_per_address_per_s: 0 } }\n".to_owned(),
        environment: time.environment(),
        ..Setup::default()
    };
    Gateway::start(name, setup)
}

async fn post(address: SocketAddr, id: u64) -> u16 {
    post_of(address, id, "zhangsan").await
}

/// The platform's own clock is right, and so are its stamps.
async fn post_of(address: SocketAddr, id: u64, user: &str) -> u16 {
    let now_s = Clock::system().wall_s();
    let (query, body) = Platform::app().seal_at(&text_message(user, id, "what time is it"), now_s);
    let target = format!("{TARGET}?{query}");
    let mut wire = Wire::connect(address).await.expect("connects");
    let answer = wire.post(&target, body.as_bytes());
    tokio::time::timeout(PATIENCE, answer).await.expect("in time").expect("an answer").status
}

/// Callbacks until it is stopped; none may be refused.
struct Load {
    stop: Arc<AtomicBool>,
    acked: Arc<Mutex<HashSet<u64>>>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn on(addresses: &[SocketAddr]) -> Self {
        let (stop, acked) = (Arc::<AtomicBool>::default(), Arc::<Mutex<HashSet<u64>>>::default());
        let next = Arc::new(AtomicU64::new(1));
        let clients = addresses
            .iter()
            .map(|&address| {
                let (stop, acked, next) = (Arc::clone(&stop), Arc::clone(&acked), Arc::clone(&next));
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let id = next.fetch_add(1, Ordering::Relaxed);
                        assert_eq!(post(address, id).await, 200, "a good callback was refused");
                        acked.lock().expect("lock").insert(id);
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                })
            })
            .collect();
        Self { stop, acked, clients }
    }

    async fn end(self) -> HashSet<u64> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("no good callback was refused");
        }
        self.acked.lock().expect("lock").clone()
    }
}

/// What a listener to the event stream has read.
async fn listen(address: SocketAddr) -> Arc<Mutex<String>> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let heard = Arc::<Mutex<String>>::default();
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connects");
    let request =
        "GET /api/v1/events/stream HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    let all = Arc::clone(&heard);
    tokio::spawn(async move {
        let mut chunk = vec![0; 65_536];
        while let Ok(got @ 1..) = stream.read(&mut chunk).await {
            all.lock().expect("lock").push_str(&String::from_utf8_lossy(&chunk[..got]));
        }
    });
    let began = Arc::clone(&heard);
    patiently(async || began.lock().expect("lock").contains("200 OK")).await;
    heard
}

/// The message numbers that were heard.
fn heard_ids(heard: &Mutex<String>) -> HashSet<u64> {
    let heard = heard.lock().expect("lock");
    let found = heard.split("\"MsgId\":\"").skip(1);
    found.filter_map(|rest| rest.split('"').next()?.parse().ok()).collect()
}

async fn platform() -> FakeWecom {
    let fake = FakeWecom::start(([127, 0, 0, 1], 0).into(), Clock::system(), Entropy::system()).await;
    let fake = fake.expect("a free port");
    fake.add_app(CORP_ID, "corp-secret");
    fake
}

/// A message that is sent before the clock jumps; its id.
async fn sent(rest: &Rest) -> String {
    let form =
        json!({"channel": "wechat_api", "touser": "ann", "msgtype": "text", "text": {"content": "on time"}});
    let answer = rest.post("/api/v1/messages", &form).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let id = crate::rest::json(&answer)["message_id"].as_str().expect("an id").to_owned();
    patiently(async || rest.json(&format!("/api/v1/messages/{id}/status")).await["status"] == "sent").await;
    id
}

/// It is reported as delivered and read after the jump, and the history tells all in the order in which it happened.
async fn told_in_order(rest: &Rest, id: &str) {
    for status in ["delivered", "read"] {
        let answer = rest.post(&format!("/api/v1/messages/{id}/status"), &json!({"status": status})).await;
        assert!(answer.status < 300, "{}", answer.text());
    }
    let history = rest.json(&format!("/api/v1/messages/{id}/history")).await;
    let told: Vec<_> = history.as_array().expect("a list").iter().map(|one| one["status"].clone()).collect();
    assert_eq!(told, ["pending", "sent", "delivered", "read"], "{history}");
    assert_eq!(rest.json(&format!("/api/v1/messages/{id}/status")).await["status"], "read");
}

/// When each event came to `path`, by its id.
fn tries(receiver: &Receiver, path: &str) -> BTreeMap<String, Vec<i64>> {
    let mut tries: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for one in receiver.received_at(path) {
        tries.entry(one.header("webhook-id").expect("an id").to_owned()).or_default().push(one.at_ms);
    }
    tries
}

/// An endpoint for the texts of one user.
async fn endpoint(rest: &Rest, url: &str, user: &str) {
    let delays = vec![RETRY_MS; TRIES - 1];
    let form = json!({"url": url, "secret": "a secret of the receiver", "events": ["message.*"], "match": {"field": "user_id", "equals": user}, "delays_ms": delays, "concurrency": 32});
    let answer = rest.post("/api/v1/endpoints", &form).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

async fn shards_held(rest: &Rest) -> i64 {
    let figures = rest.get("/metrics").await.text();
    let line = figures.lines().find_map(|line| line.strip_prefix("wecom_shards_held "));
    line.expect("the figure").parse().expect("a number")
}

on_both! {
    async fn nothing_is_refused_late_or_lost_when_the_clock_jumps(database: &Database) {
        let (time, fake, receiver) = (FakeTime::new("+0"), platform().await, receiver().await);
        let mut gateway = gateway("jumps", database, &time, &fake.base_url());
        let rest = Rest::new(gateway.address(), None);
        endpoint(&rest, &receiver.url("/good"), "zhangsan").await;
        let heard = listen(gateway.address()).await;
        let load = Load::on(&[gateway.address(); 2]);
        for (number, offset_s) in (10_000_000..).zip(JUMPS_S) {
            let (message, tokens) = (sent(&rest).await, fake.calls("gettoken").len());
            // Fails at once, and again after each pause: the clock jumps within the first of them.
            let user = format!("bad{offset_s}");
            endpoint(&rest, &receiver.url(&format!("/{user}?type=500")), &user).await;
            assert_eq!(post_of(gateway.address(), number, &user).await, 200);
            patiently(async || !receiver.received_at(&format!("/{user}")).is_empty()).await;
            time.set(offset_s);
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            told_in_order(&rest, &message).await;
            sent(&rest).await;
            let more = fake.calls("gettoken").len() - tokens;
            assert!(more <= 2, "{offset_s}: the token was fetched {more} times");
            if database.engine == Engine::MySql {
                assert_eq!(shards_held(&rest).await, 64, "{offset_s}");
            }
        }
        let acked = load.end().await;
        patiently(async || tries(&receiver, "/good").len() == acked.len()).await;
        patiently(async || acked.is_subset(&heard_ids(&heard))).await;
        assert!(tries(&receiver, "/good").values().all(|times| times.len() == 1), "each once");
        for offset_s in JUMPS_S {
            let path = format!("/bad{offset_s}");
            patiently(async || receiver.received_at(&path).len() == TRIES).await;
            let times: Vec<i64> = receiver.received_at(&path).iter().map(|one| one.at_ms).collect();
            // Late by what a busy machine takes, not by hours; and no sooner than its jitter allows.
            let pauses: Vec<i64> = times.windows(2).map(|two| two[1] - two[0]).collect();
            assert!(pauses.iter().all(|ms| (RETRY_MS / 4..30_000).contains(ms)), "{offset_s}: {pauses:?}");
        }
        for word in ["took over", "were lost to another"] {
            assert!(!gateway.log().contains(word), "{word}");
        }
        // Rows do not grow old because the machine started with a wrong clock: the database knows better, or else the
        // rows themselves make it doubtful, until somebody sets it.
        gateway.kill();
        time.set("+157680000");
        gateway.restart();
        if database.engine == Engine::Sqlite {
            assert_eq!(post(gateway.address(), 1_000_000).await, 403, "nothing here knows the time");
            patiently(async || gateway.log().contains("nothing is deleted for a day")).await;
            time.set("+0");
        }
        assert_eq!(post(gateway.address(), 1_000_000).await, 200);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (stored, doubled) = ledger::message_ids(database).await;
        assert_eq!((acked.difference(&stored).count(), doubled), (0, 0));
        eprintln!("{}: {} callbacks over {} jumps", database.engine.as_str(), acked.len(), JUMPS_S.len());
    }

    async fn retention_deletes_nothing_because_the_clock_was_set_ahead(database: &Database) {
        let store = database.open().await;
        let events: Vec<NewEvent> = (0..20)
            .map(|number| NewEvent { accepted_ms: database.clock.wall_ms(), ..event(database, number) })
            .collect();
        store.commit_events(&events).await.unwrap();
        database.clock.jump_wall_ms(5 * 365 * 86_400_000);
        store.purge_before(Purge::Events, i64::MAX).await.unwrap();
        let days = RetentionConfig { events_days: 90, messages_days: 180, rejections_days: 30, audit_days: 365 };
        let stop = CancellationToken::new();
        let upkeep = tokio::spawn(Upkeep::new(store.clone(), days, database.clock.clone()).run(stop.clone()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        stop.cancel();
        upkeep.await.unwrap();
        assert_eq!(database.number("SELECT COUNT(*) FROM events").await, 20);
        // What is made meanwhile does not stand five years ahead of everything that comes after it.
        let ahead = event(database, 21).id;
        database.clock.jump_wall_ms(-5 * 365 * 86_400_000);
        database.clock.advance_ms(8 * 86_400_000);
        assert!(event(database, 22).id > ahead);
        let late = wecom_gateway::ids::IdMaker::new(database.clock.clone(), Entropy::system());
        assert!(late.make::<wecom_gateway::ids::EventId>() > ahead, "an id of another process");
    }
}

/// Replicas half a minute ahead and behind share the work by the database's time, and a listener hears both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_with_clocks_a_minute_apart_take_nothing_from_each_other() {
    let database = Database::new(Engine::MySql).await;
    let (fake, receiver) = (platform().await, receiver().await);
    let times = ["+30", "-30"].map(FakeTime::new);
    let replicas = ["ahead", "behind"]
        .map(|name| gateway(name, &database, &times[usize::from(name == "behind")], &fake.base_url()));
    let rests = replicas.each_ref().map(|replica| Rest::new(replica.address(), None));
    for number in 0..4 {
        endpoint(&rests[0], &receiver.url(&format!("/{number}")), "zhangsan").await;
    }
    patiently(async || shards_held(&rests[0]).await == 32 && shards_held(&rests[1]).await == 32).await;
    let heard = [listen(replicas[0].address()).await, listen(replicas[1].address()).await];
    let load = Load::on(&replicas.each_ref().map(Gateway::address));
    // Longer than a lease, so that each is renewed.
    for _ in 0..25 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((shards_held(&rests[0]).await, shards_held(&rests[1]).await), (32, 32));
    }
    let acked = load.end().await;
    patiently(async || heard.iter().all(|heard| acked.is_subset(&heard_ids(heard)))).await;
    for number in 0..4 {
        let path = format!("/{number}");
        patiently(async || tries(&receiver, &path).len() == acked.len()).await;
        assert!(tries(&receiver, &path).values().all(|times| times.len() == 1), "each once");
    }
    for replica in &replicas {
        assert!(!replica.log().contains("took over"), "{}", replica.log());
    }
}
