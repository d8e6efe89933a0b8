//! The service as an operator meets it: its start, its switches, the documented commands.

use std::time::{Duration, Instant};

use serde_json::json;
use wecom_gateway::clock::Clock;

use crate::gateway::{Gateway, Platform, Setup, default_channels, text_message};
use crate::rest::{Rest, json};
use crate::wire::Wire;

#[tokio::test]
async fn it_answers_health_soon_after_its_start() {
    let start = Instant::now();
    let gateway = Gateway::start("health", Setup::default());
    let mut wire = Wire::connect(gateway.address()).await.expect("connects");
    let health = wire.get("/health").await.expect("an answer");
    assert_eq!(health.status, 200, "{}", health.text());
    // S1-23 allows 2 s; ten times that is no figure, only the sign that nothing waits for something that never comes.
    assert!(start.elapsed() < Duration::from_secs(20));
    let status = wire.get("/api/v1/status").await.expect("an answer");
    assert!(status.text().contains(env!("CARGO_PKG_VERSION")), "{}", status.text());
}

#[tokio::test]
async fn without_webhooks_health_stays() {
    let setup = Setup { webhook: "enabled: false, ".to_owned(), ..Setup::default() };
    let gateway = Gateway::start("no-webhook", setup);
    let mut wire = Wire::connect(gateway.address()).await.expect("connects");
    let (query, body) = Platform::app().seal(&text_message("zhangsan", 1, "off"));
    let answer =
        wire.post(&format!("/api/v1/webhooks/wechat/api?{query}"), body.as_bytes()).await.expect("an answer");
    assert_eq!(answer.status, 404);
    assert_eq!(wire.get("/health").await.expect("an answer").status, 200);
}

#[tokio::test]
async fn a_disabled_channel_takes_and_sends_nothing() {
    let channels = default_channels()
        .replace("  wechat_api:\n", "  wechat_api:\n    enabled: false\n")
        .replace("  wechat_bot:\n", "  wechat_bot:\n    enabled: false\n");
    let gateway = Gateway::start("disabled", Setup { channels, ..Setup::default() });
    let mut wire = Wire::connect(gateway.address()).await.expect("connects");
    let (query, body) = Platform::app().seal(&text_message("zhangsan", 1, "off"));
    let answer =
        wire.post(&format!("/api/v1/webhooks/wechat/api?{query}"), body.as_bytes()).await.expect("an answer");
    assert_eq!(answer.status, 404);
    let message = "{\"channel\":\"wechat_bot\",\"msgtype\":\"text\",\"text\":{\"content\":\"x\"}}";
    let request = format!(
        "POST /api/v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{message}",
        message.len()
    );
    wire.send(request.as_bytes()).await.expect("sent");
    let answer = wire.answer().await.expect("an answer");
    assert!(
        (400..500).contains(&answer.status) && answer.text().contains("switched off"),
        "{} {}",
        answer.status,
        answer.text()
    );
}

/// Nothing but `WECHAT_*` variables: the app and the robot send.
#[tokio::test]
async fn an_app_and_a_robot_are_set_up_by_variables_alone() {
    let fake = crate::app::platform(&Clock::system()).await;
    let variables = [
        ("WECHAT_CORP_ID", crate::app::CORP.to_owned()),
        ("WECHAT_CORP_SECRET", crate::app::SECRET.to_owned()),
        ("WECHAT_AGENT_ID", crate::app::AGENT.to_string()),
        ("WECHAT_BASE_URL", fake.base_url()),
        ("WECHAT_TOKEN", crate::gateway::TOKEN.to_owned()),
        ("WECHAT_ENCODING_AES_KEY", crate::gateway::AES_KEY.to_owned()),
        ("WECHAT_BOT_WEBHOOK_URL", fake.robot_url(crate::robot::KEY)),
        ("WECHAT_BOT_SECRET", "bot-secret".to_owned()),
    ];
    let environment = variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let channels = "  wechat_api: {}\n  wechat_bot: {}\n".to_owned();
    let gateway = Gateway::start("variables", Setup { channels, environment, ..Setup::default() });
    let rest = Rest::new(gateway.address(), None);
    for (body, status) in [
        (json!({"channel": "wechat_api", "touser": "ann|unknown1", "text": "hi"}), "sent"),
        (json!({"channel": "wechat_bot", "text": "hi"}), "sent"),
    ] {
        let answer = rest.post("/api/v1/messages", &body).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        let id = json(&answer)["message_id"].as_str().expect("an id").to_owned();
        crate::site::until(async || {
            rest.json(&format!("/api/v1/messages/{id}/status")).await["status"] == status
        })
        .await;
    }
    assert_eq!((fake.calls("gettoken").len(), fake.calls("message/send").len()), (1, 1));
    assert_eq!((fake.shown(Some("ann")).len(), fake.inbox(crate::robot::KEY).len()), (1, 1));
    let channels = rest.json("/api/v1/channels").await;
    assert_eq!(channels["channels"][0]["per_member_per_minute_max"], 30);
    assert!(!gateway.log().contains(crate::app::SECRET), "the secret is in the log");

    let batch = json!({"messages": [{"channel": "wechat_api", "touser": "bob", "text": "a"}, {"channel": "wechat_bot"}]});
    let answer = rest.post("/api/v1/messages/batch", &batch).await;
    assert!(answer.status == 400 && answer.text().contains("messages[1].msgtype"), "{}", answer.text());
    let later = json!({"messages": [{"channel": "wechat_api", "touser": "bob", "text": "a", "send_at": "2999-01-01T00:00:00Z"}]});
    assert_eq!(rest.post("/api/v1/messages/batch", &later).await.status, 400, "too far ahead");
    let one = json!({"messages": [{"channel": "wechat_api", "touser": "bob", "text": "a"}]});
    let answer = rest.post("/api/v1/messages/batch", &one).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let id = json(&answer)["messages"][0]["message_id"].as_str().expect("an id").to_owned();
    crate::site::until(async || {
        rest.json(&format!("/api/v1/messages/{id}/status")).await["status"] == "sent"
    })
    .await;
    let act = async |what: &str| rest.post(&format!("/api/v1/messages/{id}/{what}"), &json!(null)).await;
    assert_eq!(act("cancel").await.status, 409);
    assert_eq!(act("recall").await.status, 200);
    assert_eq!(act("recall").await.status, 409);
    assert!(fake.shown(Some("bob"))[0].recalled);
    let card = rest
        .post(&format!("/api/v1/messages/{id}/update-card"), &json!({"button": {"replace_name": "x"}}))
        .await;
    assert_eq!(card.status, 409, "{}", card.text());
}
