//! What is said in the answer to a callback, by the real binary: by rule, by asking, and nothing at all when that
//! fails in any way.

use std::time::Duration;

use serde_json::{Value, json};
use wecom_gateway::cli::dev::receiver::{Behaviour, Receiver};
use wecom_gateway::domain::event::Format;
use wecom_gateway::wecom::event::body_json;

use crate::forwarder::receiver;
use crate::gateway::{Gateway, Platform, Setup, channels_with, text_message};
use crate::rest::Rest;
use crate::site::{Stopwatch, patiently};
use crate::wire::Answer;

const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// A gateway whose app and robot have the keys `more` (below `channels.….`, without indentation).
fn start(name: &str, more: &str, limits: &str) -> Gateway {
    let channels = channels_with(more, more);
    let extra = format!("auth: {{ master_key: a-master-key-for-tests-only }}\n{limits}");
    Gateway::start(name, Setup { extra, channels, ..Setup::default() })
}

async fn call(gateway: &Gateway, handler: &str, (query, body): (String, String)) -> Answer {
    let rest = Rest::new(gateway.address(), None);
    let target = format!("/api/v1/webhooks/wechat/{handler}?{query}");
    rest.send("POST", &target, "Content-Type: text/xml\r\n", body.as_bytes()).await
}

/// What the app is told in answer to a text; `None`: nothing.
async fn told(gateway: &Gateway, number: u64, content: &str) -> Option<Value> {
    let platform = Platform::app();
    let answer = call(gateway, "api", platform.seal(&text_message("zhangsan", number, content))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    if answer.body.is_empty() {
        return None;
    }
    let plaintext = platform.open(&answer.text()).unwrap_or_else(|| panic!("sealed: {}", answer.text()));
    Some(body_json(plaintext.as_bytes(), Format::Xml))
}

fn ask(receiver: &Receiver) -> String {
    format!("ask: {{ url: '{}', secret: '{SECRET}' }}", receiver.url("/ask"))
}

fn says(reply: &Value) -> Behaviour {
    Behaviour::Says(0, reply.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_answer_every_kind_of_source_in_its_own_way() {
    let rules = "replies:\n- { keyword: [help, 帮助], reply: { text: 'Write to it@example.com' } }\n\
                 - { contains: weather, reply: { msgtype: news, news: { articles: [ { title: Sunny, url: 'https://example.com/w' } ] } } }\n\
                 - { events: event.click, key: LOGO, reply: { image: MEDIA_1 } }\n\
                 - { events: event.template_card_event, reply: { msgtype: update_template_card, template_card: { card_type: vote_interaction, \
                     main_title: { title: T }, checkbox: { question_key: q, mode: 1, option_list: [ { id: a, text: A, is_checked: true } ] }, submit_button: { text: S, key: s } } } }\n\
                 - { keyword: hello, reply: { text: 'hello to you' } }\n";
    let gateway = start("replies-rules", rules, "");
    let help = told(&gateway, 1, "帮助").await.expect("a reply");
    assert_eq!(
        (&help["Content"], &help["ToUserName"], &help["FromUserName"], &help["MsgType"]),
        (
            &json!("Write to it@example.com"),
            &json!("zhangsan"),
            &json!(crate::gateway::CORP_ID),
            &json!("text")
        )
    );
    let repeated = told(&gateway, 1, "帮助").await.expect("a repeat is told the same");
    assert_eq!(repeated["Content"], help["Content"]);
    let news = told(&gateway, 2, "how is the WEATHER?").await.expect("a reply");
    assert_eq!(news["Articles"]["item"]["Title"], "Sunny");
    assert_eq!(told(&gateway, 3, "something else").await, None);

    let app = Platform::app();
    let event = |inner: &str| {
        format!(
            "<xml><ToUserName>{}</ToUserName><FromUserName>lisi</FromUserName><CreateTime>1700000000</CreateTime><MsgType>event</MsgType>{inner}<AgentID>1000002</AgentID></xml>",
            crate::gateway::CORP_ID
        )
    };
    let click = event("<Event>click</Event><EventKey>LOGO</EventKey>");
    let answer = call(&gateway, "api", app.seal(&click)).await;
    let image = body_json(app.open(&answer.text()).expect("sealed").as_bytes(), Format::Xml);
    assert_eq!((&image["Image"]["MediaId"], &image["ToUserName"]), (&json!("MEDIA_1"), &json!("lisi")));
    let click = event(
        "<Event>template_card_event</Event><EventKey>k</EventKey><TaskId>t</TaskId><CardType>vote_interaction</CardType>",
    );
    let answer = call(&gateway, "api", app.seal(&click)).await;
    let card = body_json(app.open(&answer.text()).expect("sealed").as_bytes(), Format::Xml);
    assert_eq!(card["TemplateCard"]["CheckBox"]["OptionList"]["IsChecked"], "true");

    let robot = Platform::robot();
    let text = "<xml><From><UserId>z</UserId></From><MsgType>text</MsgType><Text><Content>hello</Content></Text><MsgId>r1</MsgId></xml>";
    let answer = call(&gateway, "bot", robot.seal(text)).await;
    assert_eq!(
        robot.open(&answer.text()).expect("sealed"),
        "<xml><MsgType><![CDATA[text]]></MsgType><Text><Content><![CDATA[hello to you]]></Content></Text></xml>"
    );
    let smart = json!({"msgid": "s1", "aibotid": "a", "chattype": "single", "from": {"userid": "z"}, "msgtype": "text", "text": {"content": "hello"}});
    let answer = call(&gateway, "bot", robot.seal_json(&smart.to_string())).await;
    let said: Value = serde_json::from_str(&robot.open(&answer.text()).expect("sealed")).expect("JSON");
    assert_eq!(
        (&said["stream"]["content"], &said["stream"]["finish"]),
        (&json!("hello to you"), &json!(true))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_business_system_is_asked_once_and_its_words_are_sealed() {
    let receiver = receiver().await;
    let gateway = start("replies-asked", &ask(&receiver), "");
    receiver.always(Some(says(&json!({"text": "]]> <script>alert(1)</script> 好"}))));
    let said = told(&gateway, 1, "question").await.expect("a reply");
    assert_eq!(said["Content"], "]]> <script>alert(1)</script> 好");
    let [question] = &receiver.received()[..] else { panic!("one question") };
    assert!(question.is_signed_with(SECRET));
    assert_eq!(question.json()["data"]["body"]["Content"], "question");
    assert_eq!(question.header("x-webhook-event"), Some("message.text"));
    let within: u64 =
        question.header("x-webhook-reply-within-ms").and_then(|ms| ms.parse().ok()).expect("a time");
    assert!((1_000..=3_500).contains(&within), "{within}");

    receiver.always(Some(says(&json!({"text": "another"}))));
    let again = told(&gateway, 1, "question").await.expect("the repeat gets the reply of the first");
    assert_eq!(again["Content"], said["Content"]);
    assert_eq!(receiver.received().len(), 1, "nobody is asked twice");
    assert_eq!(told(&gateway, 2, "question").await.expect("a reply")["Content"], "another");

    // Repeats that come while the first waits, and a first caller that hangs up.
    receiver.always(Some(Behaviour::Says(1_000, json!({"text": "slowly"}).to_string())));
    let platform = Platform::app();
    let (query, body) = platform.seal(&text_message("zhangsan", 3, "question"));
    let head = format!(
        "POST /api/v1/webhooks/wechat/api?{query} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut gone = crate::wire::Wire::connect(gateway.address()).await.expect("connects");
    gone.send(&[head.as_bytes(), body.as_bytes()].concat()).await.expect("sent");
    patiently(async || receiver.received().len() == 3).await;
    drop(gone);
    let (one, two) = tokio::join!(told(&gateway, 3, "question"), told(&gateway, 3, "question"));
    assert_eq!(
        (one.expect("a reply")["Content"].clone(), two.expect("a reply")["Content"].clone()),
        (json!("slowly"), json!("slowly"))
    );
    assert_eq!(receiver.received().len(), 3);
    let metrics = Rest::new(gateway.address(), None).get("/metrics").await.text();
    for line in [
        "wecom_replies_total{source=\"wechat_api\",outcome=\"asked\"} 3",
        "wecom_replies_total{source=\"wechat_api\",outcome=\"repeated\"} 3",
        "wecom_reply_ask_seconds_count{source=\"wechat_api\"} 3",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_the_answer_is_empty_in_time_and_the_event_is_delivered() {
    let receiver = receiver().await;
    let limits = "limits: { reply: { answer_bytes_max: 4096 }, http: { api_rate_per_address_per_s: 0 } }\n";
    let gateway = start("replies-broken", &ask(&receiver), limits);
    let deliveries = crate::forwarder::receiver().await;
    let rest = Rest::new(gateway.address(), None);
    let endpoint = json!({"url": deliveries.url("/hook"), "secret": "a secret of the receiver", "events": ["message.*"]});
    assert_eq!(rest.post("/api/v1/endpoints", &endpoint).await.status, 201);
    let reply = |value: Value| Behaviour::Says(0, value.to_string());
    // At the edge: the longest text, and an answer of exactly the limit.
    receiver.always(Some(reply(json!({"text": "x".repeat(2_048)}))));
    assert!(told(&gateway, 1, "q").await.is_some());
    let padded = |bytes: usize| {
        let body = json!({"text": "x"}).to_string();
        Behaviour::Says(0, format!("{body}{}", " ".repeat(bytes - body.len())))
    };
    receiver.always(Some(padded(4_096)));
    assert!(told(&gateway, 2, "q").await.is_some());
    let mut number = 2;
    for (behaviour, outcome) in [
        (padded(4_097), "wrong"),
        (reply(json!({"text": "x".repeat(2_049)})), "wrong"),
        (reply(json!({"msgtype": "update_button", "button": {"replace_name": "x"}})), "wrong"),
        (reply(json!({"msgtype": "poem"})), "wrong"),
        (reply(json!(["hi"])), "wrong"),
        (reply(json!({"text": "\u{0}"})), "wrong"),
        (Behaviour::Says(0, "hello, this is no JSON".to_owned()), "wrong"),
        (Behaviour::Says(0, String::new()), "nothing"),
        (reply(json!(null)), "nothing"),
        (Behaviour::Status(204), "nothing"),
        (Behaviour::Status(500), "failed"),
        (Behaviour::Redirect(302), "failed"),
        (Behaviour::Close, "failed"),
        (Behaviour::Cut, "failed"),
        (Behaviour::Garbage, "failed"),
        (Behaviour::GzipBomb, "wrong"),
        (Behaviour::BigBody, "wrong"),
        (Behaviour::EndlessChunks, "wrong"),
        (Behaviour::HeaderDrip, "late"),
        (Behaviour::Says(10_000, json!({"text": "too late"}).to_string()), "late"),
    ] {
        number += 1;
        let counted = async || {
            let name = format!("wecom_replies_total{{source=\"wechat_api\",outcome=\"{outcome}\"}} ");
            let text = rest.get("/metrics").await.text();
            let line = text.lines().find_map(|line| line.strip_prefix(&name).map(ToOwned::to_owned));
            line.and_then(|count| count.parse::<u64>().ok()).unwrap_or(0)
        };
        let before = counted().await;
        receiver.always(Some(behaviour.clone()));
        let watch = Stopwatch::start();
        assert_eq!(told(&gateway, number, "q").await, None, "{behaviour:?}");
        let took_ms = watch.ms();
        assert!(took_ms < 4_500, "{behaviour:?} took {took_ms} ms");
        patiently(async || counted().await == before + 1).await;
    }
    assert_eq!(receiver.received_at("/redirected").len(), 0, "no redirect was followed");
    assert!(gateway.logs("no reply from the business system").await);
    patiently(async || deliveries.received().len() == usize::try_from(number).expect("few")).await;
    let page = rest.json("/api/v1/events?limit=100").await;
    assert_eq!(page["data"].as_array().map(Vec::len), usize::try_from(number).ok(), "nothing is lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_questions_at_once_than_allowed_are_not_asked() {
    let receiver = receiver().await;
    let gateway = start("replies-busy", &ask(&receiver), "limits: { reply: { asks_in_flight_max: 2 } }\n");
    receiver.always(Some(Behaviour::Says(1_500, json!({"text": "hi"}).to_string())));
    let first = async { tokio::join!(told(&gateway, 1, "q"), told(&gateway, 2, "q")) };
    let third = async {
        patiently(async || receiver.received().len() == 2).await;
        let watch = Stopwatch::start();
        let said = told(&gateway, 3, "q").await;
        (said, watch.ms())
    };
    let ((one, two), (three, took_ms)) = tokio::join!(first, third);
    assert!(one.is_some() && two.is_some());
    assert_eq!(three, None);
    assert!(took_ms < 1_400, "it waited for nobody: {took_ms} ms");
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(receiver.received().len(), 2);
}
