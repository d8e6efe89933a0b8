//! Shadow mode: the sealed request goes to an old system too, whose failures hurt nothing.

use serde_json::{Value, json};
use wecom_gateway::cli::dev::receiver::{Behaviour, Receiver};
use wecom_gateway::domain::event::Format;
use wecom_gateway::wecom::event::body_json;

use crate::forwarder::receiver;
use crate::gateway::{Gateway, Platform, Setup, channels_with, text_message};
use crate::rest::Rest;
use crate::site::{Stopwatch, patiently};
use crate::wire::Answer;

const API: &str = "/api/v1/webhooks/wechat/api";

/// A gateway whose app has the keys `more`, a line each.
fn start(name: &str, more: &str, extra: &str) -> Gateway {
    let channels = channels_with(more, "");
    Gateway::start(name, Setup { extra: extra.to_owned(), channels, ..Setup::default() })
}

fn shadow(url: &str, more: &str) -> String {
    format!("shadow: {{ url: '{url}'{more} }}\n")
}

fn sealed(number: u64, content: &str) -> (String, String) {
    Platform::app().seal(&text_message("zhangsan", number, content))
}

async fn call(gateway: &Gateway, (query, body): &(String, String)) -> Answer {
    let rest = Rest::new(gateway.address(), None);
    let answer =
        rest.send("POST", &format!("{API}?{query}"), "Content-Type: text/xml\r\n", body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

fn said(answer: &Answer) -> Option<Value> {
    let plaintext = Platform::app().open(&answer.text())?;
    Some(body_json(plaintext.as_bytes(), Format::Xml)["Content"].clone())
}

async fn differences(gateway: &Gateway) -> Vec<Value> {
    let page = Rest::new(gateway.address(), None).json("/api/v1/shadow/differences?source=wechat_api").await;
    page["data"].as_array().expect("a list").clone()
}

async fn count(gateway: &Gateway, outcome: &str) -> u64 {
    let name = format!("wecom_shadow_total{{source=\"wechat_api\",outcome=\"{outcome}\"}} ");
    let text = Rest::new(gateway.address(), None).get("/metrics").await.text();
    let found = text.lines().find_map(|line| line.strip_prefix(&name).map(ToOwned::to_owned));
    found.and_then(|number| number.parse().ok()).unwrap_or(0)
}

async fn stored(gateway: &Gateway) -> usize {
    let page = Rest::new(gateway.address(), None).json("/api/v1/events?limit=1000").await;
    page["data"].as_array().expect("a list").len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_unchanged_and_what_it_is_answered_is_compared() {
    let old = start(
        "shadow-old",
        "replies:\n- { contains: both, reply: { text: the same } }\n- { contains: differ, reply: { text: old words } }\n",
        "",
    );
    let url = format!("http://{}{API}", old.address());
    let rules = "replies:\n- { contains: both, reply: { text: the same } }\n- { contains: differ, reply: { text: new words } }\n";
    let new = start("shadow-new", &(shadow(&url, "") + rules), "");
    for number in 0..20 {
        call(&new, &sealed(number, "nothing to say")).await;
    }
    call(&new, &sealed(20, "both")).await;
    let answer = call(&new, &sealed(21, "they differ")).await;
    assert_eq!(said(&answer), Some(json!("new words")), "the platform gets ours");
    patiently(async || count(&new, "same").await == 21 && count(&new, "reply").await == 1).await;
    assert_eq!((stored(&old).await, stored(&new).await), (22, 22), "the old system accepts every one");
    let [difference] = &differences(&new).await[..] else { panic!("one difference") };
    assert_eq!((&difference["difference"], &difference["http_status"]), (&json!("reply"), &json!(200)));
    assert!(difference["ours"].as_str().is_some_and(|text| text.contains("new words")), "{difference}");
    assert!(difference["theirs"].as_str().is_some_and(|text| text.contains("old words")), "{difference}");
    let event = difference["event_id"].as_str().expect("an event");
    let event = Rest::new(new.address(), None).json(&format!("/api/v1/events/{event}")).await;
    assert_eq!(event["body"]["Content"], "they differ");

    // A repeat is copied too: the old system sees what it would have seen.
    let receiver = receiver().await;
    let other = start("shadow-bytes", &shadow(&receiver.url("/old?tenant=7"), ""), "");
    let request = sealed(1, "word for word");
    for _ in 0..2 {
        call(&other, &request).await;
    }
    patiently(async || receiver.received().len() == 2).await;
    for one in receiver.received() {
        assert_eq!(one.target, format!("/old?tenant=7&{}", request.0));
        assert_eq!(one.body, request.1.as_bytes());
        assert_eq!(one.header("content-type"), Some("text/xml"));
    }
    // Forgeries are nobody's business.
    let rest = Rest::new(other.address(), None);
    let forged = request.0.replacen("msg_signature=", "msg_signature=0", 1);
    assert_ne!(rest.send("POST", &format!("{API}?{forged}"), "", request.1.as_bytes()).await.status, 200);
    assert_eq!(receiver.received().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_system_that_fails_hurts_nothing() {
    let receiver = receiver().await;
    let gateway = start("shadow-broken", &shadow(&receiver.url("/old"), ", timeout_ms: 1500"), "");
    let mut number = 0;
    for (behaviour, outcome) in [
        (Behaviour::Redirect(302), "status"),
        (Behaviour::Status(500), "status"),
        (Behaviour::Timeout, "late"),
        (Behaviour::BodyDrip, "late"),
        (Behaviour::BigBody, "failed"),
        (Behaviour::EndlessChunks, "failed"),
        (Behaviour::Close, "failed"),
        (Behaviour::Garbage, "failed"),
        (Behaviour::Says(0, "<html>login</html>".to_owned()), "reply"),
        (Behaviour::Says(0, "success".to_owned()), "same"),
    ] {
        number += 1;
        receiver.always(Some(behaviour.clone()));
        let before = count(&gateway, outcome).await;
        let watch = Stopwatch::start();
        let answer = call(&gateway, &sealed(number, "text")).await;
        let took_ms = watch.ms();
        assert!(answer.body.is_empty() && took_ms < 1_000, "{behaviour:?}: {took_ms} ms, {}", answer.text());
        patiently(async || count(&gateway, outcome).await == before + 1).await;
        let newest = differences(&gateway).await.first().cloned();
        let shown = newest.map(|one| one["difference"].clone());
        assert!(outcome == "same" || shown == Some(json!(outcome)), "{behaviour:?}: {shown:?}");
    }
    assert_eq!(receiver.received_at("/redirected").len(), 0, "no redirect was followed");
    assert_eq!(stored(&gateway).await, 10, "nothing is lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_one_migrates_the_old_answer_is_passed_on_and_ours_stands_in_for_it() {
    let receiver = receiver().await;
    let more = shadow(&receiver.url("/old"), ", mode: answer") + "replies:\n- { reply: { text: ours } }\n";
    let gateway = start("shadow-answer", &more, "");
    let speaks = |receiver: &Receiver, body: &str| receiver.always(Some(Behaviour::Says(0, body.to_owned())));
    let theirs = "<xml><Encrypt><![CDATA[opaque to us]]></Encrypt></xml>";
    speaks(&receiver, theirs);
    assert_eq!(call(&gateway, &sealed(1, "text")).await.text(), theirs, "not a byte is changed");
    speaks(&receiver, "");
    assert_eq!(call(&gateway, &sealed(2, "text")).await.text(), "", "its silence is passed on too");
    let mut number = 2;
    for behaviour in [
        Behaviour::Redirect(302),
        Behaviour::Status(500),
        Behaviour::BigBody,
        Behaviour::Close,
        Behaviour::Timeout,
    ] {
        number += 1;
        receiver.always(Some(behaviour.clone()));
        let watch = Stopwatch::start();
        let answer = call(&gateway, &sealed(number, "text")).await;
        assert_eq!(said(&answer), Some(json!("ours")), "{behaviour:?}: {}", answer.text());
        assert!(watch.ms() < 4_500, "{behaviour:?} took {} ms", watch.ms());
    }
    assert_eq!(stored(&gateway).await, 7, "nothing is lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_beyond_the_queue_are_dropped_and_counted() {
    let receiver = receiver().await;
    receiver.always(Some(Behaviour::Timeout));
    let limits = "limits: { shadow: { queue_max: 3, differences_max: 2 } }\n";
    let gateway = start("shadow-full", &shadow(&receiver.url("/old"), ", timeout_ms: 2000"), limits);
    for number in 0..5 {
        call(&gateway, &sealed(number, "text")).await;
    }
    assert_eq!(count(&gateway, "dropped").await, 2);
    assert_eq!(stored(&gateway).await, 5);
    patiently(async || count(&gateway, "late").await == 3).await;
    assert_eq!(differences(&gateway).await.len(), 2, "the newest are remembered");
    receiver.always(None);
    let before = receiver.received().len();
    call(&gateway, &sealed(9, "text")).await;
    patiently(async || receiver.received().len() == before + 1).await;
}
