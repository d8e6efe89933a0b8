//! Streams of brokers as endpoints: what is committed arrives under its id, whatever happens to the broker.

use std::collections::BTreeMap;

use async_nats::jetstream::stream::Config as StreamConfig;
use async_nats::{ConnectOptions, HeaderMap};
use serde_json::{Value, json};
use wecom_gateway::domain::delivery::DeliveryState;
use wecom_gateway::endpoint::guard::{Guard, GuardRules};
use wecom_gateway::endpoint::http::WebSettings;
use wecom_gateway::forwarding::ForwardError;
use wecom_gateway::ids::EventId;
use wecom_gateway::store::{ByHand, Engine};

use crate::brokers::Broker;
use crate::database::{Database, on_both};
use crate::forwarder::Forwarder;

/// Events that go through a restart.
fn restart_events() -> u64 {
    std::env::var("STREAM_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000)
}

/// One entry of a stream.
#[derive(Debug)]
struct Entry {
    id: String,
    kind: String,
    body: Value,
}

async fn nats_client(broker: &Broker) -> async_nats::Client {
    async_nats::connect(broker.url("nats")).await.expect("the broker answers")
}

/// Makes the stream `WECOM`, which takes `subjects`.
async fn make_stream(client: &async_nats::Client, subjects: &str) {
    let config = StreamConfig {
        name: "WECOM".to_owned(),
        subjects: vec![subjects.to_owned()],
        ..StreamConfig::default()
    };
    let context = async_nats::jetstream::new(client.clone());
    context.create_stream(config).await.expect("the stream is made");
}

/// Everything in the stream `WECOM`: subject, headers and body.
async fn nats_entries(client: &async_nats::Client) -> Vec<(String, HeaderMap, Vec<u8>)> {
    let context = async_nats::jetstream::new(client.clone());
    let mut stream = context.get_stream("WECOM").await.expect("the stream");
    let state = stream.info().await.expect("its state").state.clone();
    let mut entries = Vec::new();
    for sequence in state.first_sequence..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await.expect("a message");
        entries.push((message.subject.to_string(), message.headers, message.payload.to_vec()));
    }
    entries
}

fn header(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map(|value| value.as_str().to_owned()).unwrap_or_default()
}

fn nats_entry((_, headers, body): &(String, HeaderMap, Vec<u8>)) -> Entry {
    Entry {
        id: header(headers, "Nats-Msg-Id"),
        kind: header(headers, "x-webhook-event"),
        body: serde_json::from_slice(body).expect("JSON"),
    }
}

/// Everything in the Redis stream `wecom`.
async fn redis_entries(url: &str) -> Vec<Entry> {
    let client = redis::Client::open(url).expect("an address");
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let connection = client.get_multiplexed_async_connection_with_config(&patient).await;
    let mut connection = connection.expect("the broker answers");
    let mut command = redis::cmd("XRANGE");
    command.arg("wecom").arg("-").arg("+");
    let all: Vec<(String, Vec<String>)> = command.query_async(&mut connection).await.expect("the stream");
    let entry = |(_, fields): &(String, Vec<String>)| {
        let fields: BTreeMap<&str, &str> =
            fields.chunks(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
        Entry {
            id: fields["id"].to_owned(),
            kind: fields["type"].to_owned(),
            body: serde_json::from_str(fields["body"]).expect("JSON"),
        }
    };
    all.iter().map(entry).collect()
}

fn nats_endpoint(broker: &Broker) -> Value {
    json!({"kind": "nats", "url": broker.url("nats"), "subject": "wecom.{kind}", "events": ["*"], "schedule": "fast"})
}

fn redis_endpoint(broker: &Broker) -> Value {
    json!({"kind": "redis_stream", "url": broker.url("redis"), "stream": "wecom", "events": ["*"], "schedule": "fast"})
}

/// Every event is in the stream, and what is there twice has the id of the first.
fn assert_complete(entries: &[Entry], ids: &[EventId]) {
    let mut by_id: BTreeMap<&str, &Entry> = BTreeMap::new();
    for entry in entries {
        assert_eq!(entry.body["id"], entry.id.as_str());
        assert_eq!(entry.body["type"], entry.kind.as_str());
        if let Some(first) = by_id.insert(&entry.id, entry) {
            assert_eq!(first.body, entry.body, "a repetition says the same");
        }
    }
    let missing = ids.iter().filter(|id| !by_id.contains_key(id.as_str())).count();
    assert_eq!((missing, by_id.len()), (0, ids.len()), "nothing is lost, nothing made up");
}

/// Records the texts `numbers`, a hundred in one call.
async fn burst(rig: &Forwarder, numbers: std::ops::Range<u64>) -> Vec<EventId> {
    let mut ids = Vec::new();
    let events: Vec<_> = numbers.map(|number| rig.text("zhangsan", number)).collect();
    for some in events.chunks(100) {
        ids.extend(some.iter().map(|event| event.id.clone()));
        rig.intake.accept(some.to_vec()).await.expect("they are recorded");
    }
    ids
}

/// Half of the events, then the broker ends, comes back, and gets the other half.
async fn through_a_restart(
    rig: &Forwarder,
    database: &Database,
    broker: &mut Broker,
    signal: &str,
) -> Vec<EventId> {
    let done = async || database.number("SELECT COUNT(*) FROM deliveries WHERE state = 'succeeded'").await;
    let failed = async || database.number("SELECT COUNT(*) FROM attempts WHERE error IS NOT NULL").await;
    let count = restart_events();
    let mut ids = burst(rig, 0..count / 2).await;
    rig.soon("the first of them", async || done().await >= 50).await;
    broker.end(signal);
    ids.extend(burst(rig, count / 2..count).await);
    rig.soon("tries that fail", async || failed().await > 0).await;
    assert!(done().await < i64::try_from(count / 2).expect("a count"), "it ended in mid-stream");
    broker.restart().await;
    rig.until("all of them", async || done().await == i64::try_from(count).expect("a count")).await;
    ids
}

on_both! {
    async fn a_stream_of_nats_has_every_event_after_a_restart(database: &Database) {
        let mut broker = Broker::nats(&[]).await;
        make_stream(&nats_client(&broker).await, "wecom.>").await;
        let rig = Forwarder::start(database).await;
        rig.endpoint(nats_endpoint(&broker)).await;
        let ids = through_a_restart(&rig, database, &mut broker, "TERM").await;
        let entries: Vec<Entry> = nats_entries(&nats_client(&broker).await).await.iter().map(nats_entry).collect();
        assert_complete(&entries, &ids);
        assert_eq!(entries.len(), ids.len(), "the stream knows repetitions");
        eprintln!("NATS: {} events across a restart, none lost, none twice", ids.len());
        rig.stop().await;
    }

    async fn a_stream_of_redis_has_every_event_after_a_restart(database: &Database) {
        let mut broker = Broker::redis(&[]).await;
        let rig = Forwarder::start(database).await;
        rig.endpoint(redis_endpoint(&broker)).await;
        let ids = through_a_restart(&rig, database, &mut broker, "KILL").await;
        let entries = redis_entries(&broker.url("redis")).await;
        assert_complete(&entries, &ids);
        let repeats = entries.len() - ids.len();
        eprintln!("Redis: {} events across a restart, none lost, {repeats} repeated under their id", ids.len());
        rig.stop().await;
    }

    async fn an_entry_says_what_a_request_would(database: &Database) {
        let (nats, redis) = (Broker::nats(&[]).await, Broker::redis(&[]).await);
        let client = nats_client(&nats).await;
        make_stream(&client, "wecom.>").await;
        let rig = Forwarder::start(database).await;
        let mut request = nats_endpoint(&nats);
        request["events"] = json!(["message.*"]);
        request["match"] = json!({"field": "user_id", "equals": "lisi"});
        request["mask"] = json!(["body.Content"]);
        let of_nats = rig.endpoint(request).await;
        let mut request = redis_endpoint(&redis);
        request["order"] = json!({"by": "everything"});
        let of_redis = rig.endpoint(request).await;
        assert!(of_nats.secret.is_empty() && of_redis.secret.is_empty(), "nothing signs");
        rig.texts("zhangsan", 0..10).await;
        let ids = rig.texts("lisi", 10..20).await;
        rig.soon("all", async || rig.count(DeliveryState::Succeeded).await == 10 + 20).await;
        let entries = nats_entries(&client).await;
        assert_eq!(entries.len(), 10, "the filter holds");
        let (subject, headers, _) = &entries[0];
        assert_eq!(subject, "wecom.message.text");
        assert_eq!(header(headers, "x-webhook-version"), "1");
        assert_eq!(header(headers, "content-type"), "application/json; charset=utf-8");
        assert_eq!(nats_entry(&entries[0]).body["data"]["body"]["Content"], "***");
        let in_order: Vec<String> =
            redis_entries(&redis.url("redis")).await.iter().map(|entry| entry.body["data"]["body"]["Content"].to_string()).collect();
        let expected: Vec<String> = (0..20).map(|number| format!("\"text {number}\"")).collect();
        assert_eq!(in_order, expected, "the order holds");
        let delivery = rig.deliveries(&ids[0]).await.into_iter().find(|one| one.target_id == of_nats.endpoint.id.as_str()).expect("it is there");
        let attempts = rig.store.attempts(&delivery.id).await.expect("attempts");
        let answer = attempts[0].answer.clone().expect("an answer");
        assert!(answer.starts_with("stream WECOM, sequence "), "{answer}");
        // A replay is not dropped as a repetition.
        let again = json!({"endpoint": of_nats.endpoint.id.as_str(), "event_id": ids[0].as_str()});
        rig.forwarding.replay(again).await.expect("it runs");
        rig.soon("the replay", async || nats_entries(&client).await.len() == 11).await;
        let (_, headers, _) = nats_entries(&client).await.remove(10);
        assert_eq!((header(&headers, "webhook-id"), header(&headers, "x-webhook-replay")), (ids[0].to_string(), "true".to_owned()));
        rig.stop().await;
    }

    async fn refused_credentials_are_said_and_lose_nothing(database: &Database) {
        let nats = Broker::nats(&["--user", "gateway", "--pass", "the right one"]).await;
        let redis = Broker::redis(&["--requirepass", "the right one"]).await;
        let login = ConnectOptions::with_user_and_password("gateway".to_owned(), "the right one".to_owned());
        let client = login.connect(nats.url("nats")).await.expect("the broker answers");
        make_stream(&client, "wecom.>").await;
        let rig = Forwarder::start(database).await;
        let table = [(nats_endpoint(&nats), Some("gateway")), (redis_endpoint(&redis), None)];
        for ((request, user), number) in table.into_iter().zip(0..) {
            let mut request = request;
            request["schedule"] = json!("once");
            request["secret"] = json!("the wrong one");
            if let Some(user) = user {
                request["user"] = json!(user);
            }
            let made = rig.endpoint(request).await;
            let id = rig.accept(rig.text("zhangsan", number)).await;
            let target = made.endpoint.id.as_str();
            let of_it = async || rig.deliveries(&id).await.into_iter().find(|one| one.target_id == target).expect("a delivery");
            rig.soon("the end", async || of_it().await.state == DeliveryState::Dead).await;
            let attempts = rig.store.attempts(&of_it().await.id).await.expect("attempts");
            let error = attempts[0].error.clone().expect("an error");
            assert!(error.starts_with("not sent: the broker refuses the credentials"), "{error}");
            assert!(!error.contains("the wrong one"), "{error}");
            let right = json!({"secret": "the right one", "overlap_s": 0});
            rig.forwarding.rotate(&made.endpoint.id, right).await.expect("the secret is exchanged");
            rig.forwarding.by_hand(ByHand::Retry, &of_it().await.id).await.expect("it is tried again");
            rig.until("the second try", async || of_it().await.state == DeliveryState::Succeeded).await;
        }
        assert_eq!(nats_entries(&client).await.len(), 2, "the second event went to both");
        rig.stop().await;
    }

    async fn a_broker_that_does_not_take_it_says_why(database: &Database) {
        let (nats, redis) = (Broker::nats(&[]).await, Broker::redis(&[]).await);
        let client = redis::Client::open(redis.url("redis")).expect("an address");
        let mut connection = client.get_multiplexed_async_connection().await.expect("the broker answers");
        redis::cmd("SET").arg("wecom").arg("no stream").exec_async(&mut connection).await.expect("it is set");
        let rig = Forwarder::start(database).await;
        for request in [nats_endpoint(&nats), redis_endpoint(&redis)] {
            let mut request = request;
            request["schedule"] = json!("once");
            rig.endpoint(request).await;
        }
        let id = rig.accept(rig.text("zhangsan", 1)).await;
        rig.soon("the end", async || rig.count(DeliveryState::Dead).await == 2).await;
        let mut errors = Vec::new();
        for delivery in rig.deliveries(&id).await {
            errors.push(rig.store.attempts(&delivery.id).await.expect("attempts")[0].error.clone().expect("an error"));
        }
        errors.sort();
        assert!(errors[0].contains("WRONGTYPE"), "{errors:?}");
        assert_eq!(errors[1], "failed: no stream of the broker takes the subject wecom.message.text");
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_a_stream_is_checked() {
    let database = Database::new(Engine::Sqlite).await;
    let rig = Forwarder::start_with(&database, GuardRules::default()).await;
    let nats = |url: &str| json!({"kind": "nats", "url": url, "subject": "wecom", "events": ["*"]});
    let with = |name: &str, value: Value| {
        let mut request = nats("tls://nats.example.com");
        request[name] = value;
        request
    };
    for (request, field) in [
        (nats("nats://nats.example.com"), "url"),
        (nats("tls://127.0.0.1"), "url"),
        (nats("https://nats.example.com"), "url"),
        (nats("tls://user:pw@nats.example.com"), "url"),
        (with("subject", json!("$JS.API.STREAM.DELETE.WECOM")), "subject"),
        (with("user", json!("gateway")), "secret"),
        (with("secret", json!("")), "secret"),
        (with("headers", json!({"x-a": "b"})), "headers"),
        (
            json!({"kind": "mongodb", "url": "mongodb://127.0.0.1", "database": "a", "collection": "b", "events": ["*"]}),
            "kind",
        ),
    ] {
        match rig.forwarding.create(request.clone()).await {
            Err(ForwardError::Field(wrong)) => assert_eq!(wrong.field, field, "{request}"),
            other => panic!("{request}: {other:?}"),
        }
    }
    let made = rig.endpoint(nats("tls://nats.example.com")).await;
    let id = &made.endpoint.id;
    for (change, field) in [(json!({"kind": "http"}), "kind"), (json!({"url": "nats://10.0.0.1"}), "url")] {
        match rig.forwarding.change(id, change.clone()).await {
            Err(ForwardError::Field(wrong)) => assert_eq!(wrong.field, field, "{change}"),
            other => panic!("{change}: {other:?}"),
        }
    }
    let changed = rig.forwarding.change(id, json!({"subject": "other"})).await.expect("it changes");
    assert_eq!(changed.spec.to_json()["subject"], "other");
    assert!(rig.forwarding.rotate(id, json!({})).await.is_err(), "nobody makes up a broker's password");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_broker_with_a_right_certificate_is_spoken_to() {
    let database = Database::new(Engine::Sqlite).await;
    let (nats, redis) = (Broker::nats_with_tls().await, Broker::redis_with_tls().await);
    let pem = std::fs::read(format!("{}/tests/it/certificates/authority.pem", env!("CARGO_MANIFEST_DIR")));
    let trusting = WebSettings { extra_roots: pem.expect("a file"), ..WebSettings::default() };
    for (web, says) in
        [(trusting, ["no stream of the broker", ""]), (WebSettings::default(), ["certificate"; 2])]
    {
        let guard = Guard::new(GuardRules { development: true, ..GuardRules::default() });
        let rig = Forwarder::start_calling(&database, web, guard).await;
        let mut endpoints = Vec::new();
        for (mut request, scheme, port) in
            [(nats_endpoint(&nats), "tls", nats.port), (redis_endpoint(&redis), "rediss", redis.port)]
        {
            request["url"] = json!(format!("{scheme}://localhost:{port}"));
            request["schedule"] = json!("once");
            endpoints.push(rig.endpoint(request).await.endpoint.id);
        }
        let id = rig.accept(rig.text("zhangsan", says[1].len() as u64)).await;
        rig.soon("the ends", async || rig.deliveries(&id).await.iter().all(|one| one.due_ms.is_none())).await;
        for (endpoint, says) in endpoints.iter().zip(says) {
            let all = rig.deliveries(&id).await;
            let delivery = all.iter().find(|one| one.target_id == endpoint.as_str()).expect("a delivery");
            let error = rig.store.attempts(&delivery.id).await.expect("attempts")[0].error.clone();
            let error = error.unwrap_or_default();
            assert!(error.to_lowercase().contains(says), "{error}");
            assert_eq!(error.is_empty(), says.is_empty(), "{error}");
        }
        for endpoint in &endpoints {
            rig.forwarding.remove(endpoint).await.expect("it goes");
        }
        rig.stop().await;
    }
}
