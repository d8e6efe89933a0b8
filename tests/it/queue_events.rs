//! What happens in the queue is counted and said: completed, failed, stalled; each request and answer has a line.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use wecom_gateway::dispatch::{Dispatch, DispatchParts, DispatchSettings, Observer, QueueEvent, Targets};
use wecom_gateway::entropy::Entropy;
use wecom_gateway::ids::EventId;
use wecom_gateway::store::{Engine, SHARDS};

use crate::database::Database;
use crate::endpoints::{call, wait};
use crate::forwarder::receiver;
use crate::gateway::{Gateway, Platform, Setup};
use crate::rest::Rest;

fn start(name: &str, levels: &str) -> Gateway {
    let extra = "auth: { master_key: a-master-key-for-tests-only }\nlimits: { http: { api_rate_per_address_per_s: 0 } }\n";
    let environment = vec![("LOG_LEVEL".to_owned(), levels.to_owned())];
    Gateway::start(name, Setup { extra: extra.to_owned(), environment, ..Setup::default() })
}

async fn endpoint(rest: &Rest, url: &str) {
    let request = json!({"url": url, "events": ["*"], "schedule": "once"});
    assert_eq!(rest.post("/api/v1/endpoints", &request).await.status, 201);
}

/// The lines of the log with this message.
fn lines(gateway: &Gateway, message: &str) -> Vec<Value> {
    let log = gateway.log();
    let all = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    all.map(|line| line.get("fields").cloned().unwrap_or(line))
        .filter(|line| line["message"] == message)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_completed_and_what_is_given_up_is_counted_and_said() {
    let gateway = start("queue-events", "info,dispatch=debug");
    let (rest, receiver, platform) = (Rest::new(gateway.address(), None), receiver().await, Platform::app());
    endpoint(&rest, &receiver.url("/good")).await;
    endpoint(&rest, &receiver.url("/bad?type=500")).await;
    let figure = async |event: &str| {
        let text = rest.get("/metrics").await.text();
        let name = format!("wecom_queue_events_total{{event=\"{event}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(name.as_str()).map(str::to_owned));
        line.expect("the figure is there from the start").parse::<u64>().expect("a number")
    };
    assert_eq!((figure("completed").await, figure("failed").await, figure("stalled").await), (0, 0, 0));
    for number in 0..3 {
        assert!(call(gateway.address(), &platform, "zhangsan", number).await);
    }
    wait("the ends", async || figure("completed").await == 3 && figure("failed").await == 3).await;
    assert!(gateway.logs("a delivery is given up").await);
    wait("the lines", async || {
        lines(&gateway, "a delivery is given up").len() == 3
            && lines(&gateway, "a delivery is completed").len() == 3
    })
    .await;
    assert_eq!(lines(&gateway, "a delivery is given up")[0]["state"], "dead");
    assert_eq!(figure("stalled").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_silent_owner_has_left_is_taken_over_and_counted() {
    let database = Database::new(Engine::MySql).await;
    let store = database.open().await;
    let now_ms = database.clock.steady_ms();
    let all = usize::try_from(SHARDS).expect("a count");
    let left = store.lease_shards("the dead one", 10_000, now_ms, all).await.expect("free shards");
    assert!(left.len() == all && left.iter().all(|shard| !shard.stalled), "nobody had them");
    let stalled = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&stalled);
    let (news, _nobody_listens) = mpsc::channel(1);
    let parts = DispatchParts {
        store: store.clone(),
        clock: database.clock.clone(),
        entropy: Entropy::system(),
        ids: database.ids.clone(),
        news,
        owner: database.ids.make::<EventId>().to_string(),
        observer: Observer::default().with_queue(move |event, times| {
            assert_eq!(event, QueueEvent::Stalled);
            counted.fetch_add(times, Ordering::AcqRel);
        }),
    };
    let settings = DispatchSettings { scan_ms: 20, lease_ms: 600, ..DispatchSettings::default() };
    let dispatch = Dispatch::start(parts, Targets::default(), settings);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(stalled.load(Ordering::Acquire), 0, "its lease lasts");
    // The lease, and a second.
    database.clock.advance_ms(11_000);
    dispatch.wake();
    wait("the takeover", async || stalled.load(Ordering::Acquire) == all).await;
    dispatch.stop(Duration::from_secs(5)).await;
    // What was given back is nobody's stall.
    let later_ms = database.clock.steady_ms();
    let free = store.lease_shards("another", 1, later_ms, all).await.expect("free shards");
    assert!(free.len() == all && free.iter().all(|shard| !shard.stalled));
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_and_each_answer_has_one_line_and_no_body() {
    let gateway = start("request-lines", "info,http=debug,dispatch=debug");
    let (rest, receiver, platform) = (Rest::new(gateway.address(), None), receiver().await, Platform::app());
    endpoint(&rest, &receiver.url("/good")).await;
    endpoint(&rest, &receiver.url("/bad?type=500")).await;
    for number in 0..5 {
        assert!(call(gateway.address(), &platform, "zhangsan", number).await);
    }
    let forged = "/api/v1/webhooks/wechat/api?msg_signature=0&timestamp=1800000000&nonce=a";
    assert_eq!(rest.send("POST", forged, "Content-Type: text/xml\r\n", b"<xml/>").await.status, 400);
    let is_callback = |line: &&Value| line["path"].as_str().is_some_and(|path| path.ends_with("/wechat/api"));
    wait("the lines", async || {
        lines(&gateway, "request").iter().filter(is_callback).count() == 6
            && lines(&gateway, "delivered").len() == 5
            && lines(&gateway, "not delivered").len() == 5
    })
    .await;
    let requests = lines(&gateway, "request");
    let statuses: Vec<i64> =
        requests.iter().filter(is_callback).filter_map(|line| line["status"].as_i64()).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 400]);
    for line in requests.iter().filter(is_callback) {
        for field in ["request_id", "method", "client", "took_us"] {
            assert!(!line[field].is_null(), "{field}: {line}");
        }
    }
    assert_eq!(lines(&gateway, "delivered")[0]["http_status"], 200);
    assert_eq!(lines(&gateway, "not delivered")[0]["http_status"], 500);
    let log = gateway.log();
    for hidden in ["text 3", "msg_signature", "<xml"] {
        assert!(!log.contains(hidden), "{hidden} is in the log");
    }
}
