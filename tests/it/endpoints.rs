//! Endpoints by API and by file, against the real binary; events across `kill -9` and senders that hang up.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use wecom_gateway::cli::dev::receiver::Receiver;

use crate::figures::size;
use crate::forwarder::receiver;
use crate::gateway::{Gateway, Platform, Setup, text_message};
use crate::rest::{Rest, json};

fn setup(more: &str) -> Setup {
    let extra = format!(
        "auth: {{ master_key: a-master-key-for-tests-only }}\nlimits: {{ http: {{ api_rate_per_address_per_s: 0 }} }}\n{more}"
    );
    Setup { extra, ..Setup::default() }
}

/// Sends the text `number` of `user`; whether it was answered 200.
pub(crate) async fn call(address: SocketAddr, platform: &Platform, user: &str, number: u64) -> bool {
    let content = format!("text {number}");
    let (query, body) = platform.seal(&text_message(user, 6_000_000_000_000_000_000 + number, &content));
    let rest = Rest::new(address, None);
    let target = format!("/api/v1/webhooks/wechat/api?{query}");
    rest.send("POST", &target, "Content-Type: text/xml\r\n", body.as_bytes()).await.status == 200
}

pub(crate) async fn wait(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..3_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not happen");
}

fn ids(receiver: &Receiver) -> Vec<String> {
    let came = receiver.received();
    came.iter().filter_map(|one| one.header("webhook-id").map(ToOwned::to_owned)).collect()
}

async fn event_ids(rest: &Rest) -> HashSet<String> {
    let (mut found, mut after) = (HashSet::new(), String::new());
    loop {
        let page = rest.json(&format!("/api/v1/events?limit=1000{after}")).await;
        let rows = page["data"].as_array().expect("a list");
        found.extend(rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { return found };
        after = format!("&cursor={cursor}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_lives_its_life_by_api() {
    let gateway = Gateway::start("endpoints", setup(""));
    let (rest, receiver, platform) = (Rest::new(gateway.address(), None), receiver().await, Platform::app());
    let form = json!({
        "url": receiver.url("/hook"), "secret": "a secret of the receiver", "events": ["message.*"], "active": true
    });
    let answer = rest.post("/api/v1/endpoints", &form).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let made = json(&answer);
    let path = format!("/api/v1/endpoints/{}", made["id"].as_str().expect("an id"));
    assert_eq!((made["secret"].as_str(), &made["active"]), (Some("a secret of the receiver"), &json!(true)));
    let shown = rest.json(&path).await;
    assert_eq!(
        (shown["url"].as_str(), &shown["events"]),
        (Some(receiver.url("/hook").as_str()), &json!(["message.*"]))
    );
    assert!(!shown.to_string().contains("a secret of"), "the secret is shown once");
    assert_eq!(rest.json("/api/v1/endpoints").await["data"].as_array().map(Vec::len), Some(1));

    assert!(call(gateway.address(), &platform, "zhangsan", 1).await);
    wait("the delivery", async || receiver.received().len() == 1).await;
    assert!(receiver.received()[0].is_signed_with("a secret of the receiver"));
    let change = async |body: &Value| {
        let body = body.to_string();
        rest.send("PATCH", &path, "Content-Type: application/json\r\n", body.as_bytes()).await
    };
    assert_eq!(json(&change(&json!({"active": false})).await)["state"], "inactive");
    assert!(call(gateway.address(), &platform, "zhangsan", 2).await);
    assert_eq!(json(&change(&json!({"active": true, "url": receiver.url("/new")})).await)["state"], "active");
    assert!(call(gateway.address(), &platform, "zhangsan", 3).await);
    wait("the delivery", async || receiver.received_at("/new").len() == 1).await;

    let deliveries = rest.json("/api/v1/deliveries?state=succeeded").await;
    let id = deliveries["data"][0]["id"].as_str().expect("an id").to_owned();
    let detail = rest.json(&format!("/api/v1/deliveries/{id}")).await;
    for field in ["number", "timestamp", "duration_ms", "http_status", "answer"] {
        assert!(!detail["tries"][0][field].is_null(), "{field}: {detail}");
    }
    assert_eq!(rest.post(&format!("/api/v1/deliveries/{id}/retry"), &Value::Null).await.status, 409);
    assert_eq!(rest.send("DELETE", &path, "", b"").await.status, 204);
    assert_eq!(rest.get(&path).await.status, 404);
    assert!(call(gateway.address(), &platform, "zhangsan", 4).await);
    let unmatched = rest.json("/api/v1/events?unmatched=true").await;
    assert_eq!(unmatched["data"].as_array().map(Vec::len), Some(2), "the second and the fourth: {unmatched}");
    assert!(unmatched["data"].as_array().unwrap().iter().all(|event| event["deliveries"] == 0));
    let schema = rest.json("/api/v1/schemas/message.text").await;
    assert_eq!(schema["properties"]["type"]["const"], "message.text");
    assert_eq!(rest.get("/api/v1/schemas/order.created").await.status, 404);
    let second = rest.json("/api/v1/schemas/message.text?version=2").await;
    assert_eq!(second["properties"]["version"]["const"], 2);
    assert_eq!(rest.get("/api/v1/schemas/message.text?version=3").await.status, 404);
    assert_eq!(rest.get("/api/v1/schemas/message.text?version=x").await.status, 400);
    let database = std::fs::read(gateway.folder().join("gateway.db")).expect("the database");
    let wal = std::fs::read(gateway.folder().join("gateway.db-wal")).unwrap_or_default();
    for bytes in [database, wal] {
        assert!(!bytes.windows(20).any(|window| window == b"a secret of the rece"), "it is sealed at rest");
    }
    assert!(!gateway.log().contains("a secret of the receiver"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_an_endpoint_is_named_by_its_path() {
    let gateway = Gateway::start("endpoints-wrong", setup(""));
    let (rest, url) = (Rest::new(gateway.address(), None), "http://127.0.0.1:9/");
    let table = [
        (json!({"events": ["*"]}), "`url` is missing"),
        (json!({"url": "https://10.0.0.1/", "events": ["*"]}), "`url` is not a public address"),
        (json!({"url": url, "events": ["order.created"]}), "`events[0]` is no kind of event"),
        (json!({"url": url, "events": ["*"], "secret": "short"}), "`secret` must have 16 to 256 characters"),
        (json!({"url": url, "events": ["*"], "id": "ep_1"}), "`id` is not a field"),
        (json!({"url": url, "events": ["*"], "state": "disabled"}), "`state` is not a field"),
        (json!({"url": url, "events": ["*"], "revision": 9}), "`revision` is not a field"),
        (json!({"url": url, "events": ["*"], "match": {"any": []}}), "`match.any` must be a list"),
        (json!([]), "`body` must be an object"),
    ];
    for (request, detail) in table {
        let answer = rest.post("/api/v1/endpoints", &request).await;
        assert_eq!(answer.status, 400, "{request}: {}", answer.text());
        let problem = json(&answer);
        assert!(problem["detail"].as_str().expect("a detail").starts_with(detail), "{request}: {problem}");
    }
    assert_eq!(rest.json("/api/v1/endpoints").await["data"], json!([]), "nothing is half made");
    assert_eq!(rest.get("/api/v1/endpoints/ep_0").await.status, 404);
    let unknown = "/api/v1/endpoints/ep_00000000000000000000000001";
    for (method, path) in [
        ("GET", String::new()),
        ("DELETE", String::new()),
        ("POST", "/pause".to_owned()),
        ("POST", "/test".to_owned()),
    ] {
        assert_eq!(
            rest.send(method, &format!("{unknown}{path}"), "", b"").await.status,
            404,
            "{method} {path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_of_the_file_is_there_at_the_start_and_gone_when_it_is_taken_out() {
    let receiver = receiver().await;
    let file = format!(
        "endpoints:\n  - {{ name: orders, url: '{}', secret: 'the secret of orders', events: ['message.*'], concurrency: 2 }}\n",
        receiver.url("/file")
    );
    let gateway = Gateway::start("endpoints-file", setup(&file));
    let rest = Rest::new(gateway.address(), None);
    let shown = rest.json("/api/v1/endpoints").await["data"][0].clone();
    assert_eq!((shown["origin"].as_str(), &shown["concurrency"]), (Some("file"), &json!(2)));
    assert!(call(gateway.address(), &Platform::app(), "zhangsan", 1).await);
    wait("the delivery", async || receiver.received_at("/file").len() == 1).await;
    assert!(receiver.received()[0].is_signed_with("the secret of orders"));
    let path = format!("/api/v1/endpoints/{}", shown["id"].as_str().expect("an id"));
    assert_eq!(rest.send("DELETE", &path, "", b"").await.status, 409, "the file has the last word");
    let yaml = gateway.folder().join("gateway.yaml");
    let text = std::fs::read_to_string(&yaml).expect("the file").replace(&file, "");
    std::fs::write(&yaml, text).expect("it is written");
    assert_eq!(rest.post("/api/v1/reload", &Value::Null).await.status, 200);
    assert_eq!(rest.json("/api/v1/endpoints").await["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_answered_is_lost_when_the_gateway_is_killed() {
    let mut gateway = Gateway::start("endpoints-kill", setup(""));
    let (receiver, platform) = (receiver().await, Platform::app());
    for path in ["/a", "/b?type=500&times=1", "/c?type=slow-5"] {
        let form = json!({"url": receiver.url(path), "events": ["*"], "schedule": "fast"});
        assert_eq!(Rest::new(gateway.address(), None).post("/api/v1/endpoints", &form).await.status, 201);
    }
    let mut number = 0;
    let mut accepted = 0;
    for round in 0..5_u64 {
        let address = gateway.address();
        let calls: Vec<_> = (0..4)
            .map(|lane| {
                let platform = platform.clone();
                let first = number + lane * 100;
                tokio::spawn(async move {
                    let mut accepted = 0;
                    for number in first..first + 40 {
                        let user = format!("user{}", number % 7);
                        accepted += usize::from(call_or_not(address, &platform, &user, number).await);
                    }
                    accepted
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(60 + 50 * round)).await;
        gateway.kill();
        for call in calls {
            accepted += call.await.expect("the caller ends");
        }
        number += 1_000;
        gateway.restart();
    }
    let rest = Rest::new(gateway.address(), None);
    assert!(accepted > 20, "{accepted} were answered");
    wait("the end of every delivery", async || {
        rest.json("/api/v1/deliveries?state=queued&limit=1").await["data"] == json!([])
    })
    .await;
    let stored = event_ids(&rest).await;
    assert!(stored.len() >= accepted, "{} of {accepted} are stored", stored.len());
    let ids_at = |path: &str| -> HashSet<String> {
        let came = receiver.received_at(path);
        came.iter().filter_map(|one| one.header("webhook-id").map(ToOwned::to_owned)).collect()
    };
    for path in ["/a", "/b", "/c"] {
        assert_eq!(ids_at(path), stored, "{path}: each of them, and nothing else");
    }
    let again = receiver.received_at("/a").len() - stored.len();
    assert!(
        again <= 5 * (8 + 64),
        "{again} came twice: at most what was on its way or unrecorded at each kill"
    );
}

/// As [`call`], of a gateway that may be gone.
async fn call_or_not(address: SocketAddr, platform: &Platform, user: &str, number: u64) -> bool {
    let content = format!("text {number}");
    let (query, body) = platform.seal(&text_message(user, 6_000_000_000_000_000_000 + number, &content));
    let Ok(mut stream) = TcpStream::connect(address).await else { return false };
    let head = format!(
        "POST /api/v1/webhooks/wechat/api?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    if stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await.is_err() {
        return false;
    }
    let mut answer = Vec::new();
    let _cut = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await;
    answer.starts_with(b"HTTP/1.1 200")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stored_is_delivered_even_if_its_sender_hung_up() {
    let gateway = Gateway::start("endpoints-hangup", setup(""));
    let (rest, receiver, platform) = (Rest::new(gateway.address(), None), receiver().await, Platform::app());
    let form = json!({"url": receiver.url("/hook"), "events": ["*"]});
    assert_eq!(rest.post("/api/v1/endpoints", &form).await.status, 201);
    for number in 0..200_u64 {
        let user = format!("user{}", number % 7);
        let wait = Duration::from_micros(number * 37 % 3_000);
        // A future that is dropped closes its connection.
        let _hung_up =
            tokio::time::timeout(wait, call_or_not(gateway.address(), &platform, &user, number)).await;
    }
    for number in 0..200 {
        let user = format!("user{}", number % 7);
        assert!(call(gateway.address(), &platform, &user, number).await, "the repeat is answered");
    }
    let stored = event_ids(&rest).await;
    assert_eq!(stored.len(), 200, "one row each");
    wait("every delivery", async || ids(&receiver).into_iter().collect::<HashSet<_>>() == stored).await;
    assert_eq!(ids(&receiver).len(), 200, "and each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_survives_a_kill_and_delivers_each_event_once_more() {
    let mut gateway = Gateway::start("endpoints-replay", setup(""));
    let (receiver, platform) = (receiver().await, Platform::app());
    let events = size("REPLAY_EVENTS", 300);
    for number in 0..u64::try_from(events).expect("a number") {
        assert!(call(gateway.address(), &platform, "zhangsan", number).await);
    }
    let rest = Rest::new(gateway.address(), None);
    let form = json!({"url": receiver.url("/hook"), "events": ["*"]});
    let endpoint = json(&rest.post("/api/v1/endpoints", &form).await);
    let request = json!({"endpoint": endpoint["id"], "since": "2020-01-01T00:00:00Z", "per_s": events / 3});
    let replay = json(&rest.post("/api/v1/replays", &request).await);
    let path = format!("/api/v1/replays/{}", replay["id"].as_str().expect("an id"));
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        gateway.kill();
        gateway.restart();
    }
    let rest = Rest::new(gateway.address(), None);
    wait("the end", async || rest.json(&path).await["state"] == "done").await;
    wait("every delivery", async || ids(&receiver).len() >= events).await;
    let stored = event_ids(&rest).await;
    assert_eq!(stored.len(), events, "each was stored once");
    wait("every delivery", async || ids(&receiver).into_iter().collect::<HashSet<_>>() == stored).await;
    let again = ids(&receiver).len() - events;
    assert!(
        again <= 3 * (8 + 64),
        "{again} came twice: at most what was on its way or unrecorded at each kill"
    );
    eprintln!("{events} events replayed across three kills, {again} came twice");
    let deliveries = rest.json("/api/v1/deliveries?limit=1000").await["data"].as_array().map(Vec::len);
    assert_eq!(deliveries, Some(events.min(1_000)), "one delivery each");
}
