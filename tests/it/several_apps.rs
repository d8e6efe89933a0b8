//! B-20: several apps on one URL, told apart by signature, then receive id, then `AgentID`.

use serde_json::Value;

use crate::gateway::{AES_KEY, CORP_ID, Gateway, Platform, Setup, TOKEN};
use crate::wire::Wire;

const OTHER_KEY: &str = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C";

/// Three apps on `shared`: one with a Token of its own, two that differ only in `AgentID`.
fn channels() -> String {
    let app = |name: &str, token: &str, key: &str, agent: &str| {
        format!(
            "  {name}:\n    type: wechat_api\n    handler: shared\n    corp_id: {CORP_ID}\n    secret: s\n    agent_id: '{agent}'\n    token: {token}\n    encoding_aes_key: {key}\n    callback_window_ms: 9000000000000\n"
        )
    };
    app("sales", "TokenOfSales", OTHER_KEY, "1000001")
        + &app("support", TOKEN, AES_KEY, "1000002")
        + &app("hr", TOKEN, AES_KEY, "1000003")
}

#[tokio::test]
async fn three_hundred_callbacks_find_their_app() {
    let gateway = Gateway::start("several-apps", Setup { channels: channels(), ..Setup::default() });
    let mut wire = Wire::connect(gateway.address()).await.expect("connects");
    let apps = [
        ("sales", Platform::new("TokenOfSales", OTHER_KEY, CORP_ID), "1000001"),
        ("support", Platform::app(), "1000002"),
        ("hr", Platform::app(), "1000003"),
    ];
    for id in 0..300 {
        let (_, platform, agent) = &apps[id % 3];
        let (query, body) = platform.seal(&message(id, agent));
        let answer = wire
            .post(&format!("/api/v1/webhooks/wechat/shared?{query}"), body.as_bytes())
            .await
            .expect("answer");
        assert_eq!(answer.status, 200, "{id}: {}", answer.text());
    }
    for (name, ..) in &apps {
        let answer = wire.get(&format!("/api/v1/events?source={name}&limit=1000")).await.expect("an answer");
        let page: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(page["data"].as_array().map(Vec::len), Some(100), "{name}");
    }
}

#[tokio::test]
async fn what_fits_two_apps_is_refused_and_said() {
    let gateway = Gateway::start("ambiguous", Setup { channels: channels(), ..Setup::default() });
    let mut wire = Wire::connect(gateway.address()).await.expect("connects");
    let (query, body) = Platform::app().seal(&message(1, "1000099"));
    let answer = wire
        .post(&format!("/api/v1/webhooks/wechat/shared?{query}"), body.as_bytes())
        .await
        .expect("an answer");
    assert_eq!(answer.status, 403);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    loop {
        let answer = wire.get("/api/v1/rejections").await.expect("an answer");
        if answer.text().contains("\"ambiguous\"") {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{}", answer.text());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn message(id: usize, agent: &str) -> String {
    format!(
        "<xml><ToUserName>{CORP_ID}</ToUserName><FromUserName>zhangsan</FromUserName><CreateTime>1700000000</CreateTime><MsgType>text</MsgType><Content>{id}</Content><MsgId>{id}</MsgId><AgentID>{agent}</AgentID></xml>"
    )
}
