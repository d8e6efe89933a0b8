//! three replicas on one MariaDB of their own behind the shipped nginx. Each is stopped in turn, each is killed,
//! one is put to sleep and woken; no callback fails or is lost, no delivery is tried twice at once.
//!
//! `R10_ROUNDS` says how often (default 1: each kind of end meets one replica; from 3 on it goes round).

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use wecom_gateway::cli::dev::receiver::Receiver;
use wecom_gateway::store::{Engine, SHARDS};

use crate::database::Database;
use crate::forwarder::receiver;
use crate::gateway::{Gateway, Platform, Setup, text_message};
use crate::ledger;
use crate::mariadb::{Server, free_port};
use crate::proxy::{Nginx, SITE, upstream_of};
use crate::rest::Rest;

const ENDPOINTS: usize = 6;

/// Requests at once to one endpoint.
const CONCURRENCY: usize = 4;

/// How long the receiver takes to answer.
const ANSWER_MS: u64 = 150;

/// The shortest lease there is.
const LEASE: Duration = Duration::from_secs(20);

const CLIENTS: usize = 3;

fn rounds() -> usize {
    std::env::var("R10_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}

fn setup(database_url: &str) -> Setup {
    Setup {
        database_url: database_url.to_owned(),
        webhook: "trusted_proxies: [127.0.0.1], ".to_owned(),
        port: free_port(),
        extra: format!(
            "auth: {{ master_key: a-master-key-for-tests-only }}\nlimits: {{ dispatch: {{ lease_ms: {}, scan_ms: 250 }}, attempt: {{ attempt_timeout_ms: 6000 }}, http: {{ api_rate_per_address_per_s: 0 }} }}\n",
            LEASE.as_millis()
        ),
        ..Setup::default()
    }
}

/// Shards that a replica holds, as it says.
async fn held(gateway: &Gateway) -> i64 {
    let figures = Rest::new(gateway.address(), None).get("/metrics").await.text();
    let line = figures.lines().find_map(|line| line.strip_prefix("wecom_shards_held "));
    line.expect("the figure").parse().expect("a number")
}

/// Waits until each of `gateways` holds its fair share.
async fn shared_fairly(gateways: impl IntoIterator<Item = &Gateway>) {
    let gateways: Vec<&Gateway> = gateways.into_iter().collect();
    let replicas = i64::try_from(gateways.len()).expect("few");
    let mut found = Vec::new();
    for _ in 0..600 {
        found.clear();
        for gateway in &gateways {
            found.push(held(gateway).await);
        }
        // All are held, and by nobody more than one too many.
        let most = (SHARDS + replicas - 1) / replicas;
        if found.iter().sum::<i64>() == SHARDS && found.iter().all(|one| *one <= most) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("{found:?} is no fair share of {SHARDS}");
}

/// All but the one at `place`.
fn others(gateways: &[Gateway], place: usize) -> impl Iterator<Item = &Gateway> {
    gateways.iter().enumerate().filter(move |(at, _)| *at != place).map(|(_, gateway)| gateway)
}

/// The platform's side: what it sends through nginx, each callback once, and what became of it.
struct Load {
    stop: Arc<AtomicBool>,
    acked: Arc<Mutex<HashSet<u64>>>,
    failed: Arc<Mutex<Vec<String>>>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(nginx: &Nginx, pause: Duration) -> Self {
        let (next, stop) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicBool::new(false)));
        let acked: Arc<Mutex<HashSet<u64>>> = Arc::default();
        let failed: Arc<Mutex<Vec<String>>> = Arc::default();
        let clients = (0..CLIENTS).map(|_| {
            let (next, stop) = (Arc::clone(&next), Arc::clone(&stop));
            let (acked, failed) = (Arc::clone(&acked), Arc::clone(&failed));
            let (client, url) = (nginx.client(), nginx.url());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    let seen = post(&client, &url, id).await;
                    match seen {
                        Ok(200) => drop(lock(&acked).insert(id)),
                        other => lock(&failed).push(format!("{id}: {other:?}")),
                    }
                    tokio::time::sleep(pause).await;
                }
            })
        });
        let clients = clients.collect();
        Self { stop, acked, failed, clients }
    }

    /// Ends it: what was answered 200, and what was not.
    async fn end(self) -> (HashSet<u64>, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("a client");
        }
        (lock(&self.acked).clone(), lock(&self.failed).clone())
    }
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().expect("lock")
}

/// Posts the callback `id` once; the status of its answer.
async fn post(client: &reqwest::Client, url: &str, id: u64) -> Result<u16, String> {
    let (query, body) = Platform::app().seal(&text_message("zhangsan", id, "to whoever is there"));
    let answer = client.post(format!("{url}?{query}")).body(body).send().await;
    answer.map(|answer| answer.status().as_u16()).map_err(|error| format!("{error:?}"))
}

/// Tries by endpoint and event: when each came.
fn tries(receiver: &Receiver) -> HashMap<(String, String), Vec<i64>> {
    let mut tries: HashMap<_, Vec<i64>> = HashMap::new();
    for one in receiver.received() {
        let id = one.header("webhook-id").expect("an id").to_owned();
        tries.entry((one.path().to_owned(), id)).or_default().push(one.at_ms);
    }
    tries
}

fn repeated(receiver: &Receiver) -> usize {
    tries(receiver).values().map(|times| times.len() - 1).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_share_the_work_whoever_stops_dies_or_sleeps() {
    let server = Server::start(&[]).await;
    let url = server.url("gateway");
    let first = Gateway::start("replica-a", setup(&url));
    let receiver = receiver().await;
    let rest = Rest::new(first.address(), None);
    for number in 0..ENDPOINTS {
        let url = receiver.url(&format!("/{number}?type=slow-{ANSWER_MS}"));
        let form = json!({"url": url, "secret": "a secret of the receiver", "events": ["*"], "timeout_ms": 2000, "delays_ms": [1000, 1000, 1000, 1000], "concurrency": CONCURRENCY});
        let answer = rest.post("/api/v1/endpoints", &form).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    shared_fairly([&first]).await;
    let mut replicas =
        vec![first, Gateway::start("replica-b", setup(&url)), Gateway::start("replica-c", setup(&url))];
    shared_fairly(&replicas).await;

    let ports: Vec<u16> = replicas.iter().map(|gateway| gateway.address().port()).collect();
    let nginx = Nginx::start(&upstream_of(&ports));
    let load = Load::start(&nginx, Duration::from_millis(200));
    let rounds = rounds();
    for round in 0..rounds {
        stop_in_order(&mut replicas, round % 3).await;
    }
    assert_eq!(repeated(&receiver), 0, "an orderly stop, and what is handed over, repeat nothing");
    for round in 0..rounds {
        kill(&mut replicas, (round + 1) % 3).await;
    }
    let by_kills = repeated(&receiver);
    let bound = ENDPOINTS * CONCURRENCY * rounds;
    assert!(by_kills <= bound, "{by_kills} repeated by {rounds} kills");
    for round in 0..rounds {
        sleep_and_wake(&replicas, (round + 2) % 3).await;
    }
    let (acked, failed) = load.end().await;
    assert!(failed.is_empty(), "{} failed beside {}, first {}", failed.len(), acked.len(), failed[0]);
    settled(&receiver, acked.len()).await;

    let database = Database::at(Engine::MySql, url);
    let (stored, doubled) = ledger::message_ids(&database).await;
    assert_eq!((acked.difference(&stored).count(), doubled), (0, 0), "of {}", acked.len());
    let tries = tries(&receiver);
    assert_eq!(tries.len(), stored.len() * ENDPOINTS, "each event to each endpoint");
    let repeated: usize = tries.values().map(|times| times.len() - 1).sum();
    eprintln!(
        "{rounds} rounds, {} events to {ENDPOINTS} endpoints: {repeated} repeated, {by_kills} of them by kills",
        stored.len()
    );
    assert!(repeated <= 2 * bound, "{repeated} repeated by {rounds} kills and as many sleeps");
    for (place, mut times) in tries {
        times.sort_unstable();
        let apart = times.windows(2).map(|two| two[1] - two[0]).min().unwrap_or(i64::MAX);
        assert!(apart >= i64::try_from(ANSWER_MS).expect("small"), "{place:?} was tried twice at once");
    }
    let doubly = "SELECT COUNT(*) FROM (SELECT delivery_id FROM attempts WHERE http_status = 200 GROUP BY delivery_id HAVING COUNT(*) > 1) AS twice";
    let doubly = database.number(doubly).await;
    assert_eq!(doubly, 0, "one success each: nobody wrote for what it no longer owned");
}

/// SIGTERM, and a new start when the others have what it held.
async fn stop_in_order(replicas: &mut [Gateway], place: usize) {
    tokio::time::sleep(Duration::from_secs(3)).await;
    replicas[place].signal("TERM");
    assert!(replicas[place].wait(Duration::from_secs(30)).is_some(), "it stops");
    shared_fairly(others(replicas, place)).await;
    replicas[place].restart();
    shared_fairly(replicas.iter()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
}

/// `kill -9`, and a new start when the others have what it held.
async fn kill(replicas: &mut [Gateway], place: usize) {
    replicas[place].kill();
    let killed = Instant::now();
    shared_fairly(others(replicas, place)).await;
    // A generous bound: the lease, the next look, and a busy machine.
    assert!(killed.elapsed() < LEASE * 3, "taken over after {:?}", killed.elapsed());
    eprintln!("what was killed was taken over after {:?}", killed.elapsed());
    replicas[place].restart();
    shared_fairly(replicas.iter()).await;
}

/// Frozen until the others have what it held, and a moment longer, then woken.
async fn sleep_and_wake(replicas: &[Gateway], place: usize) {
    replicas[place].signal("STOP");
    shared_fairly(others(replicas, place)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    replicas[place].signal("CONT");
    shared_fairly(replicas).await;
}

/// What carries the test above: without the shipped rule nobody asks the next replica, and callbacks fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callbacks_fail_where_nginx_does_not_ask_the_next_replica() {
    let rule = "proxy_next_upstream error timeout http_503 non_idempotent;";
    assert!(SITE.contains(rule));
    for (rule_instead, fails) in [(rule, false), ("proxy_next_upstream error timeout http_503;", true)] {
        let [mut dies, lives] = ["passed-on-a", "passed-on-b"].map(|name| {
            Gateway::start(
                name,
                Setup { webhook: "trusted_proxies: [127.0.0.1], ".to_owned(), ..Setup::default() },
            )
        });
        let ports = [dies.address().port(), lives.address().port()];
        let nginx = Nginx::start_as(&SITE.replace(rule, rule_instead), &upstream_of(&ports));
        let load = Load::start(&nginx, Duration::ZERO);
        crate::site::patiently(async || lock(&load.acked).len() >= 100).await;
        // In the middle of its requests: what nginx has sent it may not be sent again but by the rule.
        dies.signal("STOP");
        tokio::time::sleep(Duration::from_millis(500)).await;
        dies.kill();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (_acked, failed) = load.end().await;
        assert_eq!(!failed.is_empty(), fails, "{rule_instead} {:?}", failed.first());
    }
}

/// Waits until nothing is due and the receiver has everything.
async fn settled(receiver: &Receiver, events: usize) {
    for _ in 0..600 {
        if tries(receiver).len() >= events * ENDPOINTS {
            tokio::time::sleep(Duration::from_secs(1)).await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("{} of {} arrived", tries(receiver).len(), events * ENDPOINTS);
}
