//! WeChatPadPro's dialect outbound: its clients configure a webhook and get pushes without a change.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use wecom_gateway::cli::dev::receiver::Received;
use wecom_gateway::domain::delivery::DeliveryState;
use wecom_gateway::domain::event::{Event, EventKind, Format};
use wecom_gateway::store::{Engine, NewEvent};

use crate::database::{Database, on_both};
use crate::endpoints::{call, wait};
use crate::forwarder::{Forwarder, receiver};
use crate::gateway::{Gateway, Platform, Setup};
use crate::rest::{Rest, json};

const ADMIN: &str = "admin-key-0123456789abcdef";
const READER: &str = "reader-key-0123456789abcdef";
const SECRET: &str = "test-secret-0001";

/// What an independent receiver does: lines of style, time, signature and body in hex; it prints how many are right.
const VERIFIER: &str = "
import sys, hmac, hashlib
good = 0
for line in sys.stdin:
    style, time, signature, body = line.split()
    signed = time.encode() + (b':' if style == 'colon' else b'') + bytes.fromhex(body)
    good += hmac.compare_digest(hmac.new(b'test-secret-0001', signed, hashlib.sha256).hexdigest(), signature)
print(good)
";

/// How many of `pushes` that receiver finds right, signed in `style`.
fn verified(pushes: &[Received], style: &str) -> usize {
    let mut lines = String::new();
    for push in pushes {
        let header = |name: &str| push.header(name).unwrap_or("-").to_owned();
        let body: String = push.body.iter().fold(String::new(), |mut text, byte| {
            let _infallible = write!(text, "{byte:02x}");
            text
        });
        let (time, signature) = (header("x-webhook-timestamp"), header("x-webhook-signature"));
        let _infallible = writeln!(lines, "{style} {time} {signature} {body}");
    }
    let file = std::env::temp_dir().join(format!("wecom-gateway-pushes-{style}-{}", std::process::id()));
    std::fs::write(&file, lines).expect("the pushes are written");
    let input = std::fs::File::open(&file).expect("the pushes");
    let python = Command::new("python3").args(["-c", VERIFIER]).stdin(Stdio::from(input)).output();
    std::fs::remove_file(&file).expect("it goes");
    let text = String::from_utf8(python.expect("python3 is installed").stdout).expect("a number");
    text.trim().parse().expect("a number")
}

fn pro(url: &str, dialect: &str, events: &Value) -> Value {
    json!({"url": url, "secret": SECRET, "dialect": dialect, "payload": "wechatpadpro", "events": events, "schedule": "once"})
}

on_both! {
    async fn every_push_is_right_to_an_independent_receiver_in_both_styles(database: &Database) {
        let (rig, receiver) = (Forwarder::start(database).await, receiver().await);
        for (style, dialect) in [("colon", "wechatpadpro"), ("concat", "wechatpadpro_concat")] {
            rig.endpoint(pro(&receiver.url(&format!("/{style}")), dialect, &json!(["message.text"]))).await;
        }
        let events: Vec<NewEvent> = (0..1_000).map(|number| rig.text("zhangsan", number)).collect();
        for some in events.chunks(100) {
            rig.intake.accept(some.to_vec()).await.expect("they are recorded");
        }
        rig.soon("all", async || receiver.received().len() == 2_000).await;
        let (colon, concat) = (receiver.received_at("/colon"), receiver.received_at("/concat"));
        assert_eq!((verified(&colon, "colon"), verified(&concat, "concat")), (1_000, 1_000));
        assert_eq!((verified(&colon, "concat"), verified(&concat, "colon")), (0, 0), "each is one of the two");
        let push = colon[0].json();
        let fields: Vec<&str> = push.as_object().expect("an object").keys().map(String::as_str).collect();
        let mut expected = ["key", "msgId", "timestamp", "fromUser", "toUser", "msgType", "content", "isSelfMsg", "createTime", "isHistory"];
        expected.sort_unstable();
        assert_eq!(fields, expected);
        assert_eq!((&push["msgType"], &push["fromUser"], &push["isSelfMsg"]), (&json!(1), &json!("zhangsan"), &json!(false)));
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_types_asked_for_come_and_nothing_of_ones_own() {
    let database = Database::new(Engine::Sqlite).await;
    let (rig, receiver) = (Forwarder::start(&database).await, receiver().await);
    let without_own = json!({"not": {"field": "body.isSelfMsg", "equals": "true"}});
    let mut request = pro(&receiver.url("/some"), "wechatpadpro", &json!(["message.text", "message.image"]));
    request["match"] = without_own;
    rig.endpoint(request).await;
    let kinds = ["text", "image", "voice", "video", "emotion", "link", "system", "revoke"];
    for (kind, number) in kinds.into_iter().zip(0..) {
        for is_own in [false, true] {
            let flat = json!({
                "key": "k", "msgId": format!("{number}{is_own}"), "timestamp": 1, "fromUser": "a", "toUser": "b",
                "msgType": number, "content": "x", "isSelfMsg": is_own, "createTime": 1, "isHistory": false
            });
            let mut event = rig.event(&flat.to_string());
            event.event = Event::of_kind(EventKind::from_parts(&["message", kind]), Format::Json);
            event.payload = Bytes::from(flat.to_string());
            rig.accept(event).await;
        }
    }
    rig.soon("both", async || rig.count(DeliveryState::Succeeded).await == 2).await;
    assert_eq!(rig.count(DeliveryState::Queued).await, 0);
    let mut came: Vec<Value> = receiver.received().iter().map(Received::json).collect();
    came.sort_by_key(|push| push["msgType"].as_i64());
    assert_eq!(came.len(), 2, "only what was asked for");
    for (push, number) in came.iter().zip(0..) {
        assert_eq!((&push["msgType"], &push["isSelfMsg"]), (&json!(number), &json!(false)));
        assert_eq!(push["msgId"], format!("{number}false"));
    }
    rig.stop().await;
}

fn start(name: &str) -> Gateway {
    let extra = format!(
        "auth: {{ master_key: a-master-key-for-tests-only, api_keys: 'a:admin:{ADMIN},r:reader:{READER}' }}\n\
         limits: {{ http: {{ api_rate_per_address_per_s: 0 }} }}\n"
    );
    Gateway::start(name, Setup { extra, ..Setup::default() })
}

/// One call with a key; what is in `Data`.
async fn good(rest: &Rest, method: &str, action: &str, body: &Value) -> Value {
    let answer = called(rest, method, action, ADMIN, body).await;
    assert_eq!((&answer["Code"], &answer["Text"]), (&json!(200), &json!("")), "{method} {action}: {answer}");
    answer["Data"].clone()
}

async fn called(rest: &Rest, method: &str, action: &str, key: &str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let target = format!("/v1/webhook/{action}?key={key}");
    let answer = rest.send(method, &target, "Content-Type: application/json\r\n", body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    assert!(!text.contains(SECRET) && !text.contains("test-secret-0002"), "no secret is shown: {text}");
    json(&answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_is_configured_looked_at_tested_changed_and_taken_away() {
    let gateway = start("wechatpadpro");
    let (rest, receiver, platform) = (Rest::new(gateway.address(), None), receiver().await, Platform::app());
    let mut pascal = json!({
        "URL": receiver.url("/one"), "Secret": SECRET, "Enabled": true, "Timeout": 10, "RetryCount": 3,
        "MessageTypes": ["1", "3", "34", "43", "47", "49"], "IncludeSelfMessage": false
    });
    let camel = json!({
        "url": receiver.url("/two"), "secret": "test-secret-0002", "enabled": false, "timeout": 5, "retryCount": 1,
        "messageTypes": ["*"], "includeSelfMessage": true, "useRedisSync": false
    });
    let shown = |path: &str, body: &Value, names: [&str; 5]| {
        let of = |name: &str| body[name].clone();
        let [enabled, timeout, retries, types, own] = names;
        json!({
            "url": receiver.url(path), "enabled": of(enabled), "timeout": of(timeout), "retryCount": of(retries),
            "messageTypes": of(types), "includeSelfMessage": of(own)
        })
    };
    let names = ["Enabled", "Timeout", "RetryCount", "MessageTypes", "IncludeSelfMessage"];
    assert_eq!(good(&rest, "POST", "Config", &pascal).await, Value::Null);
    assert_eq!(good(&rest, "GET", "List", &Value::Null).await, json!([shown("/one", &pascal, names)]));

    let tested = good(&rest, "GET", "test", &Value::Null).await;
    assert_eq!((&tested["Success"], &tested["Message"]), (&json!(true), &json!("")), "{tested}");
    assert!(tested["Elapsed"].is_i64());
    let pushes = receiver.received_at("/one");
    assert_eq!((pushes.len(), verified(&pushes, "colon")), (1, 1), "one signed push");

    assert!(call(gateway.address(), &platform, "zhangsan", 1).await);
    wait("the push", async || receiver.received_at("/one").len() == 2).await;
    wait("its record", async || good(&rest, "GET", "status", &Value::Null).await["totalSent"] == 2).await;
    let status = good(&rest, "GET", "Status", &Value::Null).await;
    assert_eq!((&status["lastSendStatus"], &status["totalFailed"]), (&json!(true), &json!(0)), "{status}");
    assert!(status["lastSendTime"].as_i64().expect("a time") > 1_700_000_000);

    let lower = ["enabled", "timeout", "retryCount", "messageTypes", "includeSelfMessage"];
    good(&rest, "PUT", "update", &camel).await;
    assert_eq!(good(&rest, "GET", "list", &Value::Null).await, json!([shown("/two", &camel, lower)]));
    assert!(call(gateway.address(), &platform, "zhangsan", 2).await);
    good(&rest, "PUT", "Update", &json!({"Enabled": true, "SignatureStyle": "concat", "Secret": SECRET}))
        .await;
    assert!(call(gateway.address(), &platform, "zhangsan", 3).await);
    wait("the push", async || receiver.received_at("/two").len() == 1).await;
    let pushes = receiver.received_at("/two");
    assert_eq!(verified(&pushes, "concat"), 1, "changed for the next delivery");
    assert!(
        pushes[0].json()["content"].as_str().is_some_and(|text| text.ends_with('3')),
        "while it was off nothing came"
    );

    // Once more is a change of the one there is, and what is not said is as it was never said.
    pascal["URL"] = json!(receiver.url("/three"));
    good(&rest, "POST", "config", &pascal).await;
    assert_eq!(good(&rest, "GET", "List", &Value::Null).await, json!([shown("/three", &pascal, names)]));
    good(&rest, "DELETE", "Delete", &Value::Null).await;
    assert_eq!(good(&rest, "GET", "List", &Value::Null).await, json!([]));
    assert_eq!(called(&rest, "GET", "Status", ADMIN, &Value::Null).await["Code"], 404);
    assert!(!gateway.log().contains(SECRET) && !gateway.log().contains(ADMIN), "nothing of it is in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_webhook_is_said_and_nothing_is_made() {
    let gateway = start("wechatpadpro-wrong");
    let (rest, receiver) = (Rest::new(gateway.address(), None), receiver().await);
    let url = receiver.url("/hook");
    for (body, says) in [
        (json!({}), "URL is missing"),
        (json!({"URL": "ftp://a.example"}), "URL must begin with https://"),
        (json!({"URL": "http://169.254.169.254/"}), "URL is an address of cloud metadata"),
        (json!({"URL": url, "url": url}), "url stands there twice"),
        (json!({"URL": url, "Timeout": 16}), "Timeout must be a whole number from 1 to 15"),
        (json!({"URL": url, "Timeout": "10"}), "Timeout must be a whole number from 1 to 15"),
        (json!({"URL": url, "RetryCount": 21}), "RetryCount must be a whole number from 0 to 20"),
        (json!({"URL": url, "MessageTypes": ["text"]}), "MessageTypes must be a list of types"),
        (json!({"URL": url, "MessageTypes": []}), "MessageTypes must be a list of types"),
        (json!({"URL": url, "Secret": "short"}), "Secret must have 16 to 256 characters"),
        (json!({"URL": url, "Enabled": "yes"}), "Enabled must be true or false"),
        (json!({"URL": url, "id": "ep_1", "origin": "file"}), "id is not a field that is known here"),
        (json!({"URL": url, "SignatureStyle": "none"}), "SignatureStyle must be one of colon, concat"),
    ] {
        let answer = called(&rest, "POST", "Config", ADMIN, &body).await;
        let text = answer["Text"].as_str().expect("a text").to_owned();
        assert!(answer["Code"] == 400 && text.starts_with(says), "{body}: {answer}");
    }
    let answer = called(&rest, "GET", "List", "another-key-0123456789", &Value::Null).await;
    assert_eq!(answer, json!({"Code": -2, "Data": null, "Text": "该 key 无效"}));
    assert_eq!(called(&rest, "POST", "Config", READER, &json!({"URL": url})).await["Code"], 403);
    assert_eq!(called(&rest, "PUT", "Update", ADMIN, &json!({"Enabled": true})).await["Code"], 404);
    assert_eq!(called(&rest, "PATCH", "Config", ADMIN, &Value::Null).await["Code"], 405);
    assert_eq!(called(&rest, "GET", "Diagnostics", ADMIN, &Value::Null).await["Code"], 404);
    assert_eq!(
        called(&rest, "GET", "List", READER, &Value::Null).await["Data"],
        json!([]),
        "nothing was made"
    );
    // A change that is wrong in one thing changes nothing.
    good(&rest, "POST", "Config", &json!({"URL": url, "Secret": SECRET})).await;
    let before = good(&rest, "GET", "List", &Value::Null).await;
    let half = json!({"URL": receiver.url("/other"), "Secret": "short"});
    assert_eq!(called(&rest, "PUT", "Update", ADMIN, &half).await["Code"], 400);
    assert_eq!(good(&rest, "GET", "List", &Value::Null).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_has_its_time_and_its_repetitions() {
    let gateway = start("wechatpadpro-tries");
    let (rest, receiver, platform) = (Rest::new(gateway.address(), None), receiver().await, Platform::app());
    let url = receiver.url("/hook?type=500");
    good(&rest, "POST", "Config", &json!({"URL": url, "Secret": SECRET, "RetryCount": 2})).await;
    assert!(call(gateway.address(), &platform, "zhangsan", 1).await);
    wait("three tries", async || good(&rest, "GET", "Status", &Value::Null).await["totalFailed"] == 3).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(receiver.received().len(), 3, "one and two repetitions");
    let url = receiver.url("/slow?type=slow-3000");
    good(&rest, "PUT", "Update", &json!({"URL": url, "Timeout": 1, "RetryCount": 0})).await;
    let tested = good(&rest, "GET", "Test", &Value::Null).await;
    assert_eq!(tested["Success"], json!(false), "{tested}");
    assert!(
        tested["Message"].as_str().is_some_and(|text| text.contains("no whole answer in 1000 ms")),
        "{tested}"
    );
    let elapsed_ms = tested["Elapsed"].as_i64().expect("a time");
    assert!((1_000..3_000).contains(&elapsed_ms), "{elapsed_ms}");
    assert_eq!(
        receiver.received_at("/slow?type=slow-3000").len().max(receiver.received_at("/slow").len()),
        1
    );
}
