//! People are told, once, by each robot, signed as it wants.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use sqlx::{AssertSqlSafe, Executor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wecom_gateway::cli::dev::receiver::Behaviour;
use wecom_gateway::cli::dev::wecom::AppRules;
use wecom_gateway::clock::Clock;

use crate::database::{Database, on_both};
use crate::gateway::{Gateway, Platform, Setup, text_message};
use crate::mariadb::Server;
use crate::rest::Rest;
use crate::site::until;

const DINGTALK: &str = "SECdingtalk+secret";
const FEISHU: &str = "feishu-secret";

/// Somebody else's robots: they keep what they are told, as request target and body.
#[derive(Clone)]
struct Robots {
    address: SocketAddr,
    told: Arc<Mutex<Vec<(String, Value)>>>,
    /// How many of the next requests are refused.
    refuse: Arc<Mutex<usize>>,
}

impl Robots {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let robots = Self { address, told: Arc::default(), refuse: Arc::default() };
        let serving = robots.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let robots = serving.clone();
                tokio::spawn(async move {
                    let mut text = Vec::new();
                    let (target, body) = loop {
                        let mut part = [0; 4_096];
                        let length = stream.read(&mut part).await.unwrap_or_default();
                        text.extend_from_slice(&part[..length]);
                        let whole = String::from_utf8_lossy(&text).into_owned();
                        let Some((head, body)) = whole.split_once("\r\n\r\n") else { continue };
                        if let Ok(body) = serde_json::from_str(body) {
                            break (head.split(' ').nth(1).expect("a target").to_owned(), body);
                        }
                    };
                    let answer = robots.take(target, body);
                    let answer =
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
                    let _hung_up = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        robots
    }

    fn take(&self, target: String, body: Value) -> &'static str {
        let mut refuse = self.refuse.lock().expect("a lock");
        if *refuse > 0 {
            *refuse -= 1;
            return r#"{"errcode":45009,"code":9499,"errmsg":"too many"}"#;
        }
        self.told.lock().expect("a lock").push((target, body));
        r#"{"errcode":0,"code":0}"#
    }

    fn told(&self) -> Vec<(String, Value)> {
        self.told.lock().expect("a lock").clone()
    }

    fn setup(&self, database_url: &str) -> Setup {
        let at = self.address;
        Setup {
            database_url: database_url.to_owned(),
            extra: format!(
                "alerts: {{ look_every_ms: 50, wecom_url: 'http://{at}/wecom?key=k', \
                 dingtalk_url: 'http://{at}/dingtalk?access_token=t', dingtalk_secret: '{DINGTALK}', \
                 feishu_url: 'http://{at}/feishu/h', feishu_secret: '{FEISHU}' }}\n"
            ),
            ..Setup::default()
        }
    }
}

async fn give_up(database: &Database, id: &str) {
    let sql = dead_row("deliveries", id);
    database.connect().await.execute(AssertSqlSafe(sql)).await.expect("a row");
}

fn dead_row(table: &str, id: &str) -> String {
    format!(
        "INSERT INTO {table} (id, target_id, run, priority, attempts, state, created_ms) \
         VALUES ('dlv_{id}', 'gone', 0, 0, 9, 'dead', 1)"
    )
}

fn hmac(key: &str, text: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any key").chain_update(text);
    STANDARD.encode(mac.finalize().into_bytes())
}

/// What stands behind `name=` in a target, undone.
fn parameter(target: &str, name: &str) -> String {
    let (_, rest) = target.split_once(&format!("{name}=")).expect("the parameter");
    let value = rest.split('&').next().expect("a value");
    value.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=")
}

on_both! {
    async fn each_robot_is_told_once_and_can_check_the_signature(database: &Database) {
        let robots = Robots::start().await;
        let mut gateway = Gateway::start("alerts", robots.setup(&database.url));
        give_up(database, "1").await;
        until(async || robots.told().len() == 3).await;
        let told = robots.told();
        let at = |path: &str| told.iter().find(|(target, _)| target.starts_with(path)).expect("told").clone();
        let text = "dead letters: 1 deliveries were given up";

        let (target, body) = at("/wecom");
        assert_eq!((target.as_str(), &body["msgtype"]), ("/wecom?key=k", &"text".into()));
        assert!(body["text"]["content"].as_str().is_some_and(|it| it.contains(text)), "{body}");
        let (target, body) = at("/dingtalk");
        let stamp = parameter(&target, "timestamp");
        assert_eq!(stamp.len(), 13, "milliseconds");
        assert_eq!(parameter(&target, "sign"), hmac(DINGTALK, &format!("{stamp}\n{DINGTALK}")));
        assert!(body["text"]["content"].as_str().is_some_and(|it| it.contains(text)), "{body}");
        let (target, body) = at("/feishu");
        let stamp = body["timestamp"].as_str().expect("a text");
        assert_eq!((target.as_str(), stamp.len()), ("/feishu/h", 10), "seconds");
        assert_eq!(body["sign"], hmac(&format!("{stamp}\n{FEISHU}"), ""));
        assert!(body["content"]["text"].as_str().is_some_and(|it| it.contains(text)), "{body}");

        gateway.kill();
        *robots.refuse.lock().expect("a lock") = 2;
        gateway.restart();
        give_up(database, "2").await;
        until(async || robots.told().len() == 6).await;
        let again = robots.told().split_off(3);
        assert!(again.iter().all(|(_, body)| body.to_string().contains("2 deliveries were given up")), "{again:?}");
        assert_eq!(again.iter().filter(|(target, _)| target.starts_with("/wecom")).count(), 1, "{again:?}");
        assert!(!gateway.log().contains(DINGTALK) && !gateway.log().contains("access_token=t"), "a secret is logged");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_replicas_one_tells_a_total_and_each_its_own_trouble() {
    let server = Server::start(&[]).await;
    let robots = Robots::start().await;
    let replicas = [(); 2].map(|()| Gateway::start("alerts-two", robots.setup(&server.url("gateway"))));
    for number in 1..=3 {
        server.execute(&dead_row("gateway.deliveries", &number.to_string())).await;
        let text = format!("{number} deliveries were given up");
        let of_this = || robots.told().iter().filter(|(_, body)| body.to_string().contains(&text)).count();
        until(async || of_this() == 3).await;
    }
    assert_eq!(robots.told().len(), 9, "once, by each robot, for both replicas: {:?}", robots.told());
    drop(server);
    let away = || {
        robots.told().iter().filter(|(_, body)| body.to_string().contains("database: it does not")).count()
    };
    until(async || away() == 6).await;
    drop(replicas);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_fails_a_token_that_is_refused_and_a_spool_in_use_are_told() {
    let mut server = Server::start(&[]).await;
    let (robots, receiver) = (Robots::start().await, crate::forwarder::receiver().await);
    let fake = crate::app::platform(&Clock::system()).await;
    let mut setup = robots.setup(&server.url("gateway"));
    setup.extra.push_str("auth: { master_key: a-master-key-for-tests-only }\nspool: { probe_ms: 200 }\n");
    let secret = "    secret: corp-secret\n";
    setup.channels = setup.channels.replace(secret, &format!("{secret}    base_url: {}\n", fake.base_url()));
    let gateway = Gateway::start("alerts-more", setup);
    let rest = Rest::new(gateway.address(), None);
    let told = async |text: &str| {
        until(async || robots.told().iter().any(|(_, body)| body.to_string().contains(text))).await;
    };

    let form = json!({"url": receiver.url("/down"), "secret": "a secret of the receiver", "events": ["*"], "delays_ms": [500, 500, 500, 500, 500, 500, 500, 500]});
    let answer = rest.post("/api/v1/endpoints", &form).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let id = crate::rest::json(&answer)["id"].as_str().expect("an id").to_owned();
    receiver.always(Some(Behaviour::Status(500)));
    for number in 1..=12 {
        call(&gateway, number).await;
    }
    told(&format!("endpoint: {id}: events are not taken")).await;
    receiver.always(None);
    told("endpoint: it is over").await;

    let message = json!({"channel": "wechat_api", "touser": "ann", "text": "hi"});
    assert_eq!(rest.post("/api/v1/messages", &message).await.status, 202);
    told("token: wechat_api: WeCom gives no access token").await;
    fake.add_app(crate::gateway::CORP_ID, "corp-secret");
    let elsewhere = AppRules { trusted: Some(["203.0.113.7".to_owned()].into()), ..AppRules::default() };
    fake.set_rules(crate::app::AGENT, elsewhere);
    assert_eq!(rest.post("/api/v1/reload", &json!({})).await.status, 200);
    told("channel: wechat_api: WeCom refuses the channel").await;

    server.signal("TERM");
    server.wait();
    call(&gateway, 13).await;
    told("spool: callbacks wait on the local disk").await;
    server.restart();
    told("spool: it is over").await;
}

async fn call(gateway: &Gateway, number: u64) {
    let (query, body) = Platform::app().seal(&text_message("zhangsan", number, "an event"));
    let target = format!("/api/v1/webhooks/wechat/api?{query}");
    let answer = Rest::new(gateway.address(), None).send("POST", &target, "", body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}
