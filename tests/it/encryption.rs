//! Encryption at rest through the real binary: nothing that people said is readable in rows, spool or dump, and keys
//! are changed without a stop.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use wecom_gateway::cli::dev::wecom::FakeWecom;
use wecom_gateway::clock::Clock;
use wecom_gateway::store::Engine;

use crate::app::platform;
use crate::database::{Database, on_both};
use crate::forwarder::receiver;
use crate::gateway::{Folder, Gateway, Platform, Setup, configuration, default_channels, text_message};
use crate::ledger::{everything, readable};
use crate::mariadb::Server;
use crate::rest::{Rest, json as body};
use crate::robot::KEY;
use crate::site::until;

const FIRST: &str = "the first key of the tests";
const SECOND: &str = "the second key of the tests";

/// What is said, each in another way into the gateway.
const WORDS: [&str; 5] =
    ["canary-callback", "canary-message", "canary-report", "canary-file-name", "canary-file-content"];

fn encrypted(key: &str, previous: &str) -> String {
    format!("encryption: {{ key: '{key}', previous: [{previous}] }}\n")
}

fn setup(database_url: &str, fake: Option<&FakeWecom>, encryption: &str) -> Setup {
    let channels = default_channels();
    let channels = match fake {
        Some(fake) => {
            channels.replace("http://127.0.0.1:9/cgi-bin/webhook/send?key=none", &fake.robot_url(KEY))
        }
        None => channels,
    };
    Setup {
        database_url: database_url.to_owned(),
        channels,
        extra: format!("auth: {{ master_key: a-master-key-for-tests-only }}\n{encryption}"),
        ..Setup::default()
    }
}

async fn post(address: SocketAddr, id: u64, content: &str) {
    let (query, sealed) = Platform::app().seal(&text_message("zhangsan", id, content));
    let target = format!("/api/v1/webhooks/wechat/api?{query}");
    let answer = Rest::new(address, None).send("POST", &target, "", sealed.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Says every word in its own way, and sees each come out at the other side. Gives the bytes on the disk then.
async fn play(database: &Database, encryption: &str) -> Vec<u8> {
    let fake = platform(&Clock::system()).await;
    let receiver = receiver().await;
    let mut gateway = Gateway::start("encryption", setup(&database.url, Some(&fake), encryption));
    let rest = Rest::new(gateway.address(), None);
    let form = json!({"url": receiver.url("/hook"), "events": ["*"], "secret": "a secret of the receiver"});
    assert_eq!(rest.post("/api/v1/endpoints", &form).await.status, 201);
    post(gateway.address(), 1, "canary-callback").await;
    let report = json!({"status": "failed", "user_id": "zhangsan", "error_message": "canary-report"});
    assert_eq!(rest.post("/api/v1/messages/theirs-1/status", &report).await.status, 200);
    let media = "/api/v1/media?channel=wechat_bot&type=file&filename=canary-file-name.txt";
    let kept = rest.send("POST", media, "", b"canary-file-content").await;
    assert!(kept.status < 300, "{}", kept.text());
    let message = json!({"channel": "wechat_bot", "msgtype": "text", "text": {"content": "canary-message"}});
    let sent = rest.post("/api/v1/messages", &message).await;
    assert_eq!(sent.status, 202, "{}", sent.text());

    until(async || fake.inbox(KEY).iter().any(|shown| shown.content == "canary-message")).await;
    until(async || !receiver.received().is_empty()).await;
    let came = String::from_utf8_lossy(&receiver.received()[0].body).into_owned();
    assert!(came.contains("canary-callback"), "{came}");
    let events = rest.json("/api/v1/events").await;
    let id = events["data"][0]["id"].as_str().expect("an id").to_owned();
    let event = rest.json(&format!("/api/v1/events/{id}")).await;
    assert!(event["raw"].as_str().expect("a text").contains("canary-callback"));
    let history = rest.get("/api/v1/messages/theirs-1/history").await.text();
    assert!(history.contains("canary-report"), "{history}");
    let running = everything(database);
    gateway.signal("TERM");
    assert!(gateway.wait(Duration::from_secs(30)).is_some());
    [running, everything(database)].concat()
}

async fn reload(gateway: &Gateway, setup: &Setup) -> (u16, String) {
    let yaml = configuration(gateway.folder(), setup);
    std::fs::write(gateway.folder().join("gateway.yaml"), yaml).expect("written");
    let answer = Rest::new(gateway.address(), None).post("/api/v1/reload", &Value::Null).await;
    (answer.status, answer.text())
}

async fn all_sealed(rest: &Rest) {
    until(async || rest.json("/api/v1/status").await["encryption"]["left"] == 0).await;
}

on_both! {
    async fn nothing_that_people_said_is_readable_without_the_key(database: &Database) {
        let found = play(database, &encrypted(FIRST, "")).await;
        assert_eq!(readable(&found, &WORDS), [] as [&str; 0]);
        assert!(readable(&found, &["zhangsan"]).len() == 1, "the rows are there, and what they are found by is clear");
    }

    async fn without_encryption_all_of_it_is(database: &Database) {
        let found = play(database, "").await;
        assert_eq!(readable(&found, &WORDS), WORDS, "the search sees what is there");
    }

    async fn keys_are_set_and_changed_and_dropped_without_a_stop(database: &Database) {
        let with = |encryption: &str| setup(&database.url, None, encryption);
        let mut gateway = Gateway::start("keys-at-rest", with(""));
        let rest = Rest::new(gateway.address(), None);
        assert!(rest.json("/api/v1/status").await["encryption"].is_null());
        post(gateway.address(), 1, "canary-before").await;

        let answer = reload(&gateway, &with(&encrypted(FIRST, ""))).await;
        assert_eq!(answer.0, 200, "{}", answer.1);
        post(gateway.address(), 2, "canary-first").await;
        all_sealed(&rest).await;
        let status = rest.json("/api/v1/status").await;
        assert_eq!((&status["encryption"]["resealed"], &status["encryption"]["unreadable"]), (&json!(1), &json!(0)));
        let first = status["encryption"]["key"].clone();

        let refused = reload(&gateway, &with(&encrypted(SECOND, ""))).await;
        assert!(refused.0 >= 400, "{}", refused.1);
        assert_eq!(rest.json("/api/v1/status").await["encryption"]["key"], first, "nothing has changed");
        let answer = reload(&gateway, &with(&encrypted(SECOND, &format!("'{FIRST}'")))).await;
        assert_eq!(answer.0, 200, "{}", answer.1);
        post(gateway.address(), 3, "canary-second").await;
        all_sealed(&rest).await;
        assert_eq!(rest.json("/api/v1/status").await["encryption"]["previous"], json!([first]));

        // The key of before is forgotten once nothing is sealed with it.
        until(async || reload(&gateway, &with(&encrypted(SECOND, ""))).await.0 == 200).await;
        let events = rest.json("/api/v1/events").await;
        let mut texts = String::new();
        for event in events["data"].as_array().expect("a list") {
            let id = event["id"].as_str().expect("an id");
            texts += rest.json(&format!("/api/v1/events/{id}")).await["raw"].as_str().expect("a text");
        }
        let words = ["canary-before", "canary-first", "canary-second"];
        assert_eq!(readable(texts.as_bytes(), &words), words);
        gateway.signal("TERM");
        assert!(gateway.wait(Duration::from_secs(30)).is_some());
        if database.engine == Engine::MySql {
            assert_eq!(readable(&everything(database), &words), [] as [&str; 0]);
        }

        // Without the key it does not begin.
        let yaml = configuration(gateway.folder(), &with(&encrypted(FIRST, "")));
        std::fs::write(gateway.folder().join("gateway.yaml"), yaml).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_wecom-gateway"));
        let output = command.current_dir(gateway.folder()).args(["--config", "gateway.yaml", "serve"]).output();
        let output = output.expect("it runs");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!output.status.success() && said.contains("rows are sealed with the key"), "{said}");
        assert!(!said.contains(FIRST), "{said}");
    }
}

/// What the spool's files hold while the database is away, and the event that comes of it when it is back.
async fn spooled(encryption: &str) -> Vec<u8> {
    let mut server = Server::start(&[]).await;
    let folder = Folder::new("sealed-spool");
    let spool = format!("spool: {{ directory: '{}', probe_ms: 200 }}\n", folder.path().display());
    let setup = setup(&server.url("gateway"), None, &format!("{spool}{encryption}"));
    let gateway = Gateway::start("sealed-spool", setup);
    let rest = Rest::new(gateway.address(), None);
    server.signal("KILL");
    server.wait();
    for id in 1..4 {
        post(gateway.address(), id, "canary-callback").await;
    }
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder.path()).expect("the spool").flatten() {
        found.extend(std::fs::read(file.path()).unwrap_or_default());
    }
    server.restart();
    until(async || {
        let answer = rest.get("/api/v1/events").await;
        answer.status == 200 && body(&answer)["data"].as_array().is_some_and(|events| events.len() == 3)
    })
    .await;
    let events = rest.json("/api/v1/events").await;
    let id = events["data"][0]["id"].as_str().expect("an id").to_owned();
    let event = rest.json(&format!("/api/v1/events/{id}")).await;
    assert!(event["raw"].as_str().expect("a text").contains("canary-callback"));
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_spool_is_sealed_as_well() {
    assert_eq!(readable(&spooled(&encrypted(FIRST, "")).await, &["canary-callback"]), [] as [&str; 0]);
    assert_eq!(readable(&spooled("").await, &["canary-callback"]), ["canary-callback"], "it was there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_missed_when_the_database_comes_back_loses_nothing() {
    let mut server = Server::start(&[]).await;
    let folder = Folder::new("missed-key");
    let url = server.url("gateway");
    let with = |encryption: &str| {
        let spool = format!("spool: {{ directory: '{}', probe_ms: 200 }}\n", folder.path().display());
        setup(&url, None, &format!("{spool}{encryption}"))
    };
    let mut first = Gateway::start("missed-key", with(&encrypted(FIRST, "")));
    post(first.address(), 1, "before").await;
    first.signal("TERM");
    assert!(first.wait(Duration::from_secs(30)).is_some());
    server.signal("KILL");
    server.wait();
    let gateway = Gateway::start("missed-key", with(&encrypted(SECOND, "")));
    post(gateway.address(), 2, "while it is away").await;
    server.restart();
    until(async || gateway.log().contains("rows are sealed with the key")).await;
    post(gateway.address(), 3, "while the key is missing").await;
    let mut answer = (0, String::new());
    for _ in 0..300 {
        answer = reload(&gateway, &with(&encrypted(SECOND, &format!("'{FIRST}'")))).await;
        if answer.0 == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(answer.0, 200, "{}", answer.1);
    let rest = Rest::new(gateway.address(), None);
    until(async || {
        let answer = rest.get("/api/v1/events").await;
        answer.status == 200 && body(&answer)["data"].as_array().is_some_and(|events| events.len() == 3)
    })
    .await;
    let status = rest.json("/api/v1/status").await;
    assert_eq!(
        (&status["spool"]["set_aside"], &status["spool"]["withheld"]),
        (&json!(0), &json!(0)),
        "{status}"
    );
}
