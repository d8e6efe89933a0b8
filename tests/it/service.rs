//! The service as an operator meets it: its start, its switches, the documented commands.

use std::time::{Duration, Instant};

use crate::gateway::{Gateway, Platform, Setup, default_channels, text_message};
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
