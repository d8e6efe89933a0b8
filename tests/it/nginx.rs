//! The shipped nginx site in front of the real gateway, with a certificate made on the spot.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use wecom_gateway::store::Engine;

use crate::database::Database;
use crate::gateway::{Folder, Gateway, Setup};
use crate::ledger;
use crate::mariadb::free_port;
use crate::proxy::{API, Nginx, SITE, UPSTREAM, check, upstream_of, write_files};
use crate::rest::Rest;

const UPSTREAM_DOCKER: &str = include_str!("../../nginx/upstream.docker.conf");

fn behind_a_proxy(more: &str) -> Setup {
    Setup { webhook: format!("trusted_proxies: [127.0.0.1], {more}"), ..Setup::default() }
}

#[test]
fn nginx_accepts_the_shipped_files() {
    for upstream in [UPSTREAM, UPSTREAM_DOCKER] {
        let folder = Folder::new("nginx-t");
        let main = write_files(folder.path(), SITE, upstream, free_port(), free_port());
        let said = check(&main);
        assert!(said.contains("test is successful") && !said.contains("[warn]"), "{said}");
    }
}

#[tokio::test]
async fn only_modern_tls_and_only_public_routes_pass() {
    let gateway = Gateway::start("nginx", behind_a_proxy("verify_files: {WW_verify_a1.txt: proof}, "));
    let nginx = Nginx::start(&upstream_of(&[gateway.address().port()]));

    for refused in ["-tls1", "-tls1_1"] {
        let said = nginx.handshake(refused);
        assert!(said.contains("alert protocol version"), "{refused}: {said}");
    }
    for (spoken, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = nginx.handshake(spoken);
        assert!(said.contains(&format!("New, {name}, Cipher is")) && !said.contains("(NONE)"), "{said}");
    }

    let (status, text) = nginx.post(1, &[]);
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("Strict-Transport-Security: max-age=31536000"), "{text}");
    for (target, expected) in [
        ("/health", 200),
        ("/health/ready", 200),
        ("/WW_verify_a1.txt", 200),
        ("/api/v1/messages", 404),
        ("/api/v1/events?limit=1", 404),
        ("/api/v1/webhooks/handlers", 404),
        ("/api/v1/webhooks/../messages", 404),
        ("/api/v1/webhooks/wechat/api/../../../status", 404),
        ("/api/v1/status", 404),
        ("/metrics", 404),
        ("/health/../metrics", 404),
        ("/v1/webhook/Config", 404),
        ("/", 404),
    ] {
        let (status, text) = nginx.ask(target, &["--path-as-is"]);
        assert_eq!(status, expected, "{target}: {text}");
        assert!(expected == 200 || text.contains("<center>nginx</center>"), "not nginx itself: {text}");
    }
    assert_eq!(nginx.ask(API, &["--request", "DELETE"]).0, 403);

    let large = nginx.folder().join("large");
    for (bytes, expected) in [(1_048_576, 400), (1_048_577, 413)] {
        std::fs::write(&large, vec![b'x'; bytes]).expect("written");
        let body = format!("@{}", large.display());
        assert_eq!(nginx.ask(API, &["--data-binary", &body]).0, expected, "{bytes} bytes");
    }

    let plain = Rest::new(([127, 0, 0, 1], nginx.plain_port()).into(), None);
    let answer = plain.get("/health?a=1").await;
    assert_eq!((answer.status, answer.header("location")), (301, Some("https://localhost/health?a=1")));
    assert_eq!(plain.send("POST", API, "", b"x").await.status, 403);
}

#[tokio::test]
async fn the_true_client_is_seen_and_a_forged_one_is_not() {
    let gateway = Gateway::start("nginx-xff", behind_a_proxy("allow: [127.0.0.5], "));
    let nginx = Nginx::start(&upstream_of(&[gateway.address().port()]));
    for (number, (from, header, expected)) in [
        ("127.0.0.5", "X-Nothing: 1", 200),
        ("127.0.0.6", "X-Nothing: 1", 403),
        ("127.0.0.6", "X-Forwarded-For: 127.0.0.5", 403),
        ("127.0.0.6", "X-Real-IP: 127.0.0.5", 403),
        ("127.0.0.6", "Forwarded: for=127.0.0.5", 403),
        ("127.0.0.5", "X-Forwarded-For: 127.0.0.6", 200),
    ]
    .into_iter()
    .enumerate()
    {
        let id = u64::try_from(number).expect("small");
        let (status, text) = nginx.post(id, &["--interface", from, "--header", header]);
        assert_eq!(status, expected, "{from} {header}: {text}");
    }
    let rejections = Rest::new(gateway.address(), None);
    crate::site::until(async || {
        let found = rejections.json("/api/v1/rejections").await.to_string();
        found.contains("\"127.0.0.6\"") && !found.contains("\"127.0.0.5\"")
    })
    .await;
}

#[tokio::test]
async fn a_post_goes_to_the_next_replica_when_one_is_dead_and_nothing_of_its_query_is_logged() {
    let mut first = Gateway::start("nginx-first", behind_a_proxy(""));
    let second = Gateway::start("nginx-second", behind_a_proxy(""));
    let nginx = Nginx::start(&upstream_of(&[first.address().port(), second.address().port()]));
    let post = |ids: std::ops::Range<u64>| {
        for id in ids {
            let (status, text) = nginx.post(id, &[]);
            assert_eq!(status, 200, "{id}: {text}");
        }
    };
    post(0..10);
    let shared = stored(&second).await.len();
    assert!((1..10).contains(&shared), "both replicas take part, the second took {shared}");
    first.kill();
    post(10..30);
    let found = stored(&second).await;
    assert!(
        (10..30).all(|id| found.contains(&id)),
        "all that came after the death are with the second: {found:?}"
    );

    drop(second);
    assert_eq!(nginx.post(30, &[]).0, 502, "a failure of both goes to the error log, if anywhere");
    let logs = nginx.logs();
    assert!(logs.contains(&format!("\"path\":\"{API}\"")) && logs.contains("\"status\":\"502\""), "{logs}");
    for secret in ["msg_signature", "timestamp=", "nonce=", "?"] {
        assert!(!logs.contains(secret), "{secret} in {logs}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_lose_two_of_them_and_no_callback_fails() {
    let database = Database::new(Engine::MySql).await;
    let replica =
        |name| Gateway::start(name, Setup { database_url: database.url.clone(), ..behind_a_proxy("") });
    let mut replicas = ["nginx-a", "nginx-b", "nginx-c"].map(replica);
    let ports = replicas.each_ref().map(|gateway| gateway.address().port());
    let nginx = Nginx::start(&upstream_of(&ports));
    let (sent, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (answered, failed) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let (mut answered, mut failed) = (BTreeSet::new(), Vec::new());
                    while !stop.load(Ordering::Relaxed) {
                        let id = sent.fetch_add(1, Ordering::Relaxed);
                        match nginx.post(id, &[]) {
                            (200, _) => drop(answered.insert(id)),
                            other => failed.push(other),
                        }
                    }
                    (answered, failed)
                })
            })
            .collect();
        let until_sent = |more: u64| {
            let goal = sent.load(Ordering::Relaxed) + more;
            let mut waits = 0..3_000;
            while sent.load(Ordering::Relaxed) < goal && waits.next().is_some() {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        };
        until_sent(40);
        replicas[0].signal("TERM");
        assert!(replicas[0].wait(std::time::Duration::from_secs(30)).is_some(), "it stops");
        until_sent(40);
        replicas[1].kill();
        until_sent(40);
        stop.store(true, Ordering::Relaxed);
        let mut all = (BTreeSet::new(), Vec::new());
        for client in clients {
            let (answered, failed) = client.join().expect("a client");
            all.0.extend(answered);
            all.1.extend(failed);
        }
        all
    });
    assert_eq!(failed, [], "of {} callbacks", answered.len());
    assert!(answered.len() >= 120, "{}", answered.len());
    let (kept, doubled) = ledger::message_ids(&database).await;
    assert_eq!((kept, doubled), (answered.into_iter().collect(), 0), "each once, whoever took it");
}

#[tokio::test]
async fn in_docker_replicas_are_found_by_name_and_a_dead_one_is_passed_over() {
    let gateway = Gateway::start("nginx-docker", behind_a_proxy(""));
    let names = UdpSocket::bind("127.0.0.1:0").expect("a name server's port");
    let server = names.local_addr().expect("its address");
    // Nobody listens at 127.0.0.9 on the gateway's port.
    std::thread::spawn(move || answer_names(&names, &[[127, 0, 0, 9], [127, 0, 0, 1]]));
    let upstream = UPSTREAM_DOCKER
        .replace("127.0.0.11", &server.to_string())
        .replace("gateway:8080", &format!("gateway:{}", gateway.address().port()));
    let nginx = Nginx::start(&upstream);
    for id in 0..10 {
        let (status, text) = nginx.post(id, &[]);
        assert_eq!(status, 200, "{id}: {text}");
    }
    assert_eq!(stored(&gateway).await.len(), 10);
    assert!(nginx.logs().contains("127.0.0.9:"), "the dead replica was tried: {}", nginx.logs());
}

/// The messages that a gateway has stored, by the number of their sender.
async fn stored(gateway: &Gateway) -> BTreeSet<u64> {
    let events = Rest::new(gateway.address(), None).json("/api/v1/events?limit=100").await;
    let ids = events["data"].as_array().expect("a list").iter();
    ids.filter_map(|event| event["user_id"].as_str()?.strip_prefix("user-")?.parse().ok()).collect()
}

/// A name server that knows one answer.
fn answer_names(socket: &UdpSocket, addresses: &[[u8; 4]]) {
    let mut buffer = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let query = &buffer[..length];
        let name = query[12..].iter().position(|byte| *byte == 0).expect("a name's end");
        let count = u8::try_from(addresses.len()).expect("few");
        let mut answer = [&query[..2], &[0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0]].concat();
        answer.extend_from_slice(&query[12..12 + name + 5]);
        for address in addresses {
            // The name above, an address of the Internet, good for 1 s, 4 bytes.
            answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
            answer.extend_from_slice(address);
        }
        let _client_gone = socket.send_to(&answer, from);
    }
}
