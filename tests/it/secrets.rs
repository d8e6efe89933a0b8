//! SEC-30, SEC-31, S1-57: planted secrets appear in no log at TRACE, no answer, no command line.

use std::time::Duration;

use sqlx::{Executor, Row};

use crate::gateway::{AES_KEY, CORP_ID, Gateway, Platform, Setup, text_message};
use crate::mariadb::Server;
use crate::redis_server::RedisServer;
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
const MYSQL_PASSWORD: &str = "CANARY-mysql-password-0010";
const REDIS_PASSWORD: &str = "CANARY-redis-password-0011";
const CANARIES: [&str; 12] = [
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
    MYSQL_PASSWORD,
    REDIS_PASSWORD,
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
    check(&gateway, &answers).await;
}

/// Log, command line and answers of `gateway` are clean.
async fn check(gateway: &Gateway, answers: &[(String, String)]) {
    // The rejection and audit writers run once a second; the robot's refused send is logged by then too.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let log = gateway.log();
    assert!(log.lines().count() > 20, "the log is at TRACE:\n{log}");
    let cmdline = std::fs::read_to_string(format!("/proc/{}/cmdline", gateway.pid())).expect("cmdline");
    for canary in CANARIES {
        assert!(!log.contains(canary), "{canary} is in the log");
        assert!(!cmdline.contains(canary), "{canary} is in the command line");
        for (target, answer) in answers {
            assert!(!answer.contains(canary), "{canary} is in the answer of {target}: {answer}");
        }
    }
}

/// As docker-compose does it: the file names variables alone, and the environment has what they stand for.
fn from_the_environment(database: &Server, redis: &RedisServer) -> Setup {
    let channels = "  wechat_api:\n    corp_id: ${WECHAT_CORP_ID}\n    secret: ${WECHAT_CORP_SECRET}\n    agent_id: '${WECHAT_AGENT_ID}'\n    token: ${WECHAT_TOKEN}\n    encoding_aes_key: ${WECHAT_ENCODING_AES_KEY}\n    callback_window_ms: 9000000000000\n  wechat_bot:\n    webhook_url: ${WECHAT_BOT_WEBHOOK_URL}\n    secret: ${WECHAT_BOT_SECRET}\n";
    let port =
        |url: &str| url.rsplit(':').next().expect("a port").split('/').next().expect("a port").to_owned();
    let environment = [
        ("WECHAT_CORP_ID", CORP_ID.to_owned()),
        ("WECHAT_CORP_SECRET", CORP_SECRET.to_owned()),
        ("WECHAT_AGENT_ID", "1000002".to_owned()),
        ("WECHAT_TOKEN", TOKEN.to_owned()),
        ("WECHAT_ENCODING_AES_KEY", AES_KEY.to_owned()),
        ("WECHAT_BOT_WEBHOOK_URL", format!("http://127.0.0.1:9/cgi-bin/webhook/send?key={BOT_KEY}")),
        ("WECHAT_BOT_SECRET", BOT_SECRET.to_owned()),
        ("GATEWAY_API_KEYS", format!("main:admin:{API_KEY}")),
        ("GATEWAY_MASTER_KEY", MASTER_KEY.to_owned()),
        ("DATABASE_URL", String::new()),
        ("MYSQL_HOST", "127.0.0.1".to_owned()),
        ("MYSQL_PORT", port(&database.url("gateway"))),
        ("MYSQL_USER", "gateway".to_owned()),
        ("MYSQL_PASSWORD", MYSQL_PASSWORD.to_owned()),
        ("MYSQL_DATABASE", "gateway".to_owned()),
        ("REDIS_HOST", "127.0.0.1".to_owned()),
        ("REDIS_PORT", port(&redis.url())),
        ("REDIS_PASSWORD", REDIS_PASSWORD.to_owned()),
        ("LOG_LEVEL", "TRACE".to_owned()),
    ];
    Setup {
        database_url: "${DATABASE_URL:-}".to_owned(),
        channels: channels.to_owned(),
        environment: environment.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        ..Setup::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_have_their_secrets_from_the_environment_alone_and_keep_them() {
    let (database, redis) = (Server::start(&[]).await, RedisServer::start());
    database.execute(&format!("CREATE USER gateway@'127.0.0.1' IDENTIFIED BY '{MYSQL_PASSWORD}'")).await;
    database.execute("GRANT ALL ON gateway.* TO gateway@'127.0.0.1'").await;
    assert_eq!(redis.ask(&["CONFIG", "SET", "requirepass", REDIS_PASSWORD]), "OK");
    let replicas: Vec<Gateway> =
        (0..3).map(|_| Gateway::start("secrets", from_the_environment(&database, &redis))).collect();
    for gateway in &replicas {
        let answers = drive(gateway).await;
        let health = answers.iter().find(|(path, _)| path == "/health").expect("it was asked");
        assert!(health.1.contains("\"store\":\"ok\""), "{}", health.1);
        crate::site::patiently(async || redis_is_reached(gateway).await).await;
        check(gateway, &answers).await;
        let file = std::fs::read_to_string(gateway.folder().join("gateway.yaml")).expect("its configuration");
        for canary in CANARIES {
            assert!(!file.contains(canary), "{canary} is in the file");
        }
    }
    // The text of a message is what a database is for; secrets are not.
    let found = everything_in(&database).await;
    assert!(found.contains(TEXT), "the tables are read");
    for canary in CANARIES.into_iter().filter(|canary| *canary != TEXT) {
        assert!(!found.contains(canary), "{canary} is in the database");
    }
}

async fn redis_is_reached(gateway: &Gateway) -> bool {
    let mut wire = Wire::connect(gateway.address()).await.expect("connects");
    wire.get("/health").await.expect("an answer").text().contains("\"redis\":\"ok\"")
}

/// Every table of the gateway's database, as `mariadb-dump` writes it.
async fn everything_in(server: &Server) -> String {
    use sqlx::Connection as _;
    let mut conn = sqlx::AnyConnection::connect(&server.url("gateway")).await.expect("it answers");
    let port: i64 = conn.fetch_one("SELECT CAST(@@port AS SIGNED)").await.expect("its port").get(0);
    let output = std::process::Command::new("mariadb-dump")
        .args(["--no-defaults", "-h127.0.0.1", "-uroot", &format!("-P{port}"), "gateway"])
        .output()
        .expect("mariadb-dump is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Every secret of the shipped configuration is a variable.
#[test]
fn the_shipped_file_has_no_secret_but_names_variables() {
    let file = include_str!("../../config/notification.yaml");
    let mut seen = 0;
    for line in file.lines().filter(|line| !line.trim_start().starts_with("# ")) {
        let Some((key, value)) = line.trim_start().trim_start_matches('#').split_once(": ") else { continue };
        let secret = ["secret", "password", "token", "_key", "_keys"].iter().any(|end| key.ends_with(end));
        if secret && !value.trim().is_empty() {
            seen += 1;
            assert!(value.starts_with("\"${"), "{line}");
        }
    }
    assert!(seen >= 10, "{seen} secrets were looked at");
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
