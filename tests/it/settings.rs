//! Limits of the configuration where they act: at their edge, with another number than the default.

use serde_json::{Value, json};
use wecom_gateway::dispatch::{DispatchSettings, Target};
use wecom_gateway::domain::allowance::Allowance;
use wecom_gateway::domain::status::Status;
use wecom_gateway::messages::{Caller, SendLimits};
use wecom_gateway::store::Engine;
use wecom_gateway::tracker::Hooks;

use crate::database::Database;
use crate::gateway::{Gateway, Platform, Setup};
use crate::rest::Rest;
use crate::rig::{APP, CHANNEL, Rig};
use crate::robot::{KEY, platform, robot_at};
use crate::wire::Wire;

const API: &str = "/api/v1/webhooks/wechat/api";

const LIMITS: &str = "
limits:
  http:
    page_rows_default: 2
    page_rows_max: 4
  callback:
    parameters_max: 8
    xml_depth_max: 8
    json_values_max: 1000
  messages:
    batch_messages_max: 3
    batch_recipients_max: 5
    send_ahead_ms_max: 60000
    text_parts_max: 2
";

#[tokio::test]
async fn pages_and_requests_to_send_are_as_long_as_configured() {
    let gateway = Gateway::start("settings", Setup { extra: LIMITS.to_owned(), ..Setup::default() });
    let rest = Rest::new(gateway.address(), None);
    let to = |user: &str| json!({"channel": "wechat_api", "touser": user, "text": "x"});
    let send = async |messages: Vec<Value>| {
        rest.post("/api/v1/messages/batch", &json!({ "messages": messages })).await
    };
    assert_eq!(
        send(vec![to("a|b|c"), to("d|e"), json!({"channel": "wechat_bot", "text": "x"})]).await.status,
        202
    );
    for refused in [vec![to("a"); 4], vec![to("a|b|c"), to("d|e|f")]] {
        let answer = send(refused).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.text().contains("`messages`"), "{}", answer.text());
    }
    assert_eq!(send(vec![to("a"), to("b")]).await.status, 202);

    let rows = async |query: &str| {
        let page = rest.json(&format!("/api/v1/messages{query}")).await;
        page["data"].as_array().expect("a list").len()
    };
    assert_eq!((rows("").await, rows("?limit=4").await), (2, 4));
    let answer = rest.get("/api/v1/messages?limit=5").await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("from 1 to 4"), "{}", answer.text());

    let long =
        |bytes: usize| json!({"channel": "wechat_bot", "text": "x".repeat(bytes), "long_text": "split"});
    assert_eq!(rest.post("/api/v1/messages", &long(2 * 2_048)).await.status, 202);
    let answer = rest.post("/api/v1/messages", &long(2 * 2_048 + 1)).await;
    assert!(answer.status == 400 && answer.text().contains("at most 2 parts"), "{}", answer.text());
    let later = |ahead_ms: i64| {
        let at_ms = wecom_gateway::clock::Clock::system().wall_ms() + ahead_ms;
        json!({"channel": "wechat_bot", "text": "x", "send_at": at_ms})
    };
    assert_eq!(rest.post("/api/v1/messages", &later(50_000)).await.status, 202);
    let answer = rest.post("/api/v1/messages", &later(120_000)).await;
    assert!(answer.status == 400 && answer.text().contains("at most 60 s ahead"), "{}", answer.text());
}

#[tokio::test]
async fn callbacks_are_read_as_far_as_configured() {
    let gateway = Gateway::start("settings", Setup { extra: LIMITS.to_owned(), ..Setup::default() });
    let rest = Rest::new(gateway.address(), None);
    let mut wire = Wire::connect(gateway.address()).await.expect("connects");
    let nested = |depth: usize| {
        let inner = depth - 1;
        let text = format!("{}{}", "<a>".repeat(inner), "</a>".repeat(inner));
        format!("<xml><MsgType>event</MsgType><Event>deep{depth}</Event>{text}</xml>")
    };
    for depth in [8, 9] {
        let (query, body) = Platform::app().seal(&nested(depth));
        let answer = wire.post(&format!("{API}?{query}"), body.as_bytes()).await.expect("an answer");
        assert_eq!(answer.status, 200, "what is signed is kept");
    }
    let kinds = rest.json("/api/v1/events").await;
    let kinds: Vec<&str> =
        kinds["data"].as_array().expect("a list").iter().filter_map(|event| event["kind"].as_str()).collect();
    assert_eq!(kinds, ["unreadable", "event.deep8"]);

    let query = "msg_signature=1&timestamp=1700000000&nonce=1";
    for (more, detail) in [("&a&b&c&d&e", "no `Encrypt`"), ("&a&b&c&d&e&f", "more than 8 query parameters")] {
        let answer = wire.post(&format!("{API}?{query}{more}"), b"<xml></xml>").await.expect("an answer");
        assert_eq!(answer.status, 400);
        crate::site::until(async || {
            let page = rest.json("/api/v1/rejections").await;
            let rows = page["data"].as_array().expect("a list");
            rows.iter().any(|row| row["detail"].as_str().is_some_and(|found| found.contains(detail)))
        })
        .await;
    }
}

#[tokio::test]
async fn robots_and_members_are_sent_to_as_fast_as_configured() {
    let database = Database::new(Engine::Sqlite).await;
    let fake = platform(&database.clock).await;
    let allowance = Allowance { robot_per_minute: 2, member_per_minute: 3, member_per_hour: 4 };
    let app = crate::app::app_at(&fake.base_url(), crate::app::SECRET, &database.clock);
    let targets = vec![
        Target::app(APP, app, 8).within(&allowance),
        Target::robot(CHANNEL, robot_at(&fake.robot_url(KEY))).within(&allowance),
    ];
    let settings = DispatchSettings { scan_ms: 50, queue_rows_max: 16, ..DispatchSettings::default() };
    let rig = Rig::with_targets(&database, targets, settings, Hooks::default()).await;
    for number in 0..5 {
        rig.text(&number.to_string()).await;
        rig.text_to("ann", &number.to_string()).await;
    }
    rig.soon("two of the robot, three to ann", async || {
        fake.inbox(KEY).len() == 2 && fake.shown(Some("ann")).len() == 3
    })
    .await;
    rig.pass_ms(59_000);
    rig.soon("their status", async || rig.listed(Status::Sent).await == 5).await;
    assert_eq!((fake.inbox(KEY).len(), fake.shown(Some("ann")).len()), (2, 3), "no minute has passed");
    rig.until("the next minutes", async || fake.inbox(KEY).len() == 5).await;
    assert_eq!(fake.shown(Some("ann")).len(), 4, "and no hour");
    rig.until_slowly("the next hour", 60_000, async || fake.shown(Some("ann")).len() == 5).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_queue_longer_than_memory_goes_out_in_order() {
    let database = Database::new(Engine::Sqlite).await;
    let fake = platform(&database.clock).await;
    let allowance = Allowance { robot_per_minute: 100, ..Allowance::default() };
    let robot = Target::robot(CHANNEL, robot_at(&fake.robot_url(KEY))).within(&allowance);
    let settings = DispatchSettings { scan_ms: 50, queue_rows_max: 16, ..DispatchSettings::default() };
    let rig = Rig::with_targets(&database, vec![robot], settings, Hooks::default()).await;
    // The platform itself takes 20 a minute, so one message fewer than that is sent at once.
    let texts: Vec<String> = (0..19).map(|number| number.to_string()).collect();
    let batch = texts.iter().map(|text| json!({"channel": CHANNEL, "text": text})).collect();
    rig.messages.send_all(batch, &Caller::default()).await.expect("taken");
    rig.soon("all of them", async || fake.inbox(KEY).len() == 19).await;
    let seen: Vec<String> = fake.inbox(KEY).into_iter().map(|request| request.content).collect();
    assert_eq!(seen, texts);
    rig.stop().await;
}

#[test]
fn the_defaults_are_the_platforms_documented_limits() {
    let Allowance { robot_per_minute, member_per_minute, member_per_hour } = Allowance::default();
    assert_eq!((robot_per_minute, member_per_minute, member_per_hour), (20, 30, 1_000));
    let SendLimits { batch_messages_max, batch_recipients_max, text_parts_max, .. } = SendLimits::default();
    assert_eq!((batch_messages_max, batch_recipients_max, text_parts_max), (1_000, 10_000, 50));
}
