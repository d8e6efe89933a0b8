//! SEC-30, SEC-31, S1-57: planted secrets appear in no log at TRACE, no answer, no command line.

use std::time::Duration;

use crate::gateway::{AES_KEY, CORP_ID, Gateway, Platform, Setup, text_message};
use crate::wire::Wire;

const TOKEN: &str = "CANARYtoken0001";
const CORP_SECRET: &str = "CANARY-corp-secret-0002";
const BOT_KEY: &str = "CANARY-robot-key-0003";
const BOT_SECRET: &str = "CANARY-bot-secret-0004";
const API_KEY: &str = "wgk_canarycanarycanarycanarycanarycanarycanary0005";
const WRONG_API_KEY: &str = "wgk_wrongcanarywrongcanarywrongcanarywrong0006";
const QUERY_SECRET: &str = "CANARYquery0007";
const TEXT: &str = "CANARY message text 0008";
const MASTER_KEY: &str = "CANARY-master-key-0009-0123456789abcdef";
const CANARIES: [&str; 10] = [
    TOKEN,
    AES_KEY,
    CORP_SECRET,
    BOT_KEY,
    BOT_SECRET,
    API_KEY,
    WRONG_API_KEY,
    QUERY_SECRET,
    TEXT,
    MASTER_KEY,
];

fn setup() -> Setup {
    let channels = format!(
        "  wechat_api:\n    corp_id: {CORP_ID}\n    secret: ${{WECHAT_CORP_SECRET}}\n    agent_id: '1000002'\n    token: ${{WECHAT_TOKEN}}\n    encoding_aes_key: {AES_KEY}\n    callback_window_ms: 9000000000000\n  wechat_bot:\n    webhook_url: http://127.0.0.1:9/cgi-bin/webhook/send?key={BOT_KEY}\n    secret: {BOT_SECRET}\n"
    );
    let environment = [
        ("WECHAT_CORP_SECRET", CORP_SECRET.to_owned()),
        ("WECHAT_TOKEN", TOKEN.to_owned()),
        ("GATEWAY_API_KEYS", format!("main:admin:{API_KEY}")),
        ("GATEWAY_MASTER_KEY", MASTER_KEY.to_owned()),
        ("LOG_LEVEL", "TRACE".to_owned()),
    ];
    Setup {
        channels,
        environment: environment.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        ..Setup::default()
    }
}

#[tokio::test]
async fn no_secret_leaves_the_process() {
    let gateway = Gateway::start("secrets", setup());
    let answers = drive(&gateway).await;
    // The rejection and audit writers run once a second; the robot's refused send is logged by then too.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let log = gateway.log();
    assert!(log.lines().count() > 20, "the log is at TRACE:\n{log}");
    let cmdline = std::fs::read_to_string(format!("/proc/{}/cmdline", gateway.pid())).expect("cmdline");
    for canary in CANARIES {
        assert!(!log.contains(canary), "{canary} is in the log");
        assert!(!cmdline.contains(canary), "{canary} is in the command line");
        for (target, answer) in &answers {
            assert!(!answer.contains(canary), "{canary} is in the answer of {target}: {answer}");
        }
    }
}

/// Good, bad and forged requests; returns every answer but the ones that must show the event's text.
async fn drive(gateway: &Gateway) -> Vec<(String, String)> {
    let mut answers = Vec::new();
    let mut wire = Wire::connect(gateway.address()).await.expect("connects");
    let target = "/api/v1/webhooks/wechat/api";
    let (query, body) = Platform::new(TOKEN, AES_KEY, CORP_ID).seal(&text_message("zhangsan", 1, TEXT));
    let bot = format!("/api/v1/webhooks/wechat/bot?access_token={QUERY_SECRET}");
    for (target, body) in [
        (format!("{target}?{query}"), body.clone()),
        (format!("{target}?{query}&token={QUERY_SECRET}"), body.clone()),
        (format!("{target}?{query}"), body.replace("Encrypt", "Encrypted")),
        (format!("{target}?msg_signature={QUERY_SECRET}&timestamp=1700000000&nonce=1"), body.clone()),
        (bot, format!("{{\"msgid\":\"1\",\"text\":\"{TEXT}\"}}")),
    ] {
        let answer = wire.post(&target, body.as_bytes()).await.expect("an answer");
        answers.push(("a callback".to_owned(), answer.head + &String::from_utf8_lossy(&answer.body)));
    }
    for path in [
        "/api/v1/status",
        "/api/v1/webhooks/handlers",
        "/api/v1/channels",
        "/api/v1/rejections",
        "/metrics",
        "/health",
        "/api/v1/openapi.json",
        "/api/v1/nothing",
    ] {
        for key in [API_KEY, WRONG_API_KEY] {
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n\r\n");
            wire.send(request.as_bytes()).await.expect("sent");
            let answer = wire.answer().await.expect("an answer");
            answers.push((path.to_owned(), answer.head + &String::from_utf8_lossy(&answer.body)));
        }
    }
    let message =
        format!("{{\"channel\":\"wechat_bot\",\"msgtype\":\"text\",\"text\":{{\"content\":\"{TEXT}\"}}}}");
    let request = format!(
        "POST /api/v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {API_KEY}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{message}",
        message.len()
    );
    wire.send(request.as_bytes()).await.expect("sent");
    let answer = wire.answer().await.expect("an answer");
    assert_eq!(answer.status, 202, "{}", answer.text());
    answers.push(("a send".to_owned(), answer.head + &String::from_utf8_lossy(&answer.body)));
    answers
}
