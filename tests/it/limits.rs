//! Every limit of the HTTP side at its edge, and who may come at all.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use tokio::time::timeout;
use wecom_gateway::http::HttpLimits;
use wecom_gateway::http::body;
use wecom_gateway::http::budget::ByteBudget;
use wecom_gateway::http::origin::Origin;
use wecom_gateway::http::peer::PeerRules;
use wecom_gateway::http::problem::Problem;

use crate::site::{Server, until};
use crate::wire::{Answer, Wire};

const CALLBACK: &str = "/api/v1/webhooks/wechat/api";
const BODY_MAX: usize = 64 << 10;

fn limits() -> HttpLimits {
    HttpLimits { rate_per_address_per_s: 0, api_rate_per_address_per_s: 0, ..HttpLimits::default() }
}

/// Answers the number of bytes it read, and who sent them.
fn router(budget: &ByteBudget) -> Router {
    let budget = budget.clone();
    let read = async move |origin: Origin, body: Body| {
        let received = body::receive(body, BODY_MAX, &budget).await.map_err(Problem::from)?;
        Ok::<_, Problem>(format!("{} {}", received.bytes.len(), origin.client))
    };
    let who = async |origin: Origin| origin.client.to_string();
    Router::new().route("/read", post(read.clone())).route(CALLBACK, post(read)).route("/who", get(who))
}

fn start(limits: HttpLimits, peers: PeerRules) -> (Server, ByteBudget) {
    let budget = ByteBudget::new(limits.bodies_in_flight_bytes_max);
    (Server::start(router(&budget), limits, peers), budget)
}

/// Sends bytes and reads the answer, after which the server has closed.
async fn refused(server: &Server, bytes: &[u8]) -> Answer {
    let mut wire = Wire::connect(server.address).await.expect("the server is there");
    wire.send(bytes).await.expect("the server is there");
    let answer =
        timeout(Duration::from_secs(5), wire.answer()).await.expect("in time").expect("the server is there");
    let _ = timeout(Duration::from_secs(5), wire.rest()).await.expect("it closes");
    answer
}

async fn ask(server: &Server, request: &str) -> Answer {
    let mut wire = Wire::connect(server.address).await.expect("the server is there");
    wire.send(request.as_bytes()).await.expect("the server is there");
    wire.answer().await.expect("the server is there")
}

#[tokio::test]
async fn a_body_may_be_as_large_as_the_limit_and_not_one_byte_larger() {
    let (server, budget) = start(limits(), PeerRules::default());
    let mut wire = Wire::connect(server.address).await.unwrap();
    let answer = wire.post("/read", &vec![b'x'; BODY_MAX]).await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "65536 127.0.0.1"));
    let answer = wire.post("/read", &vec![b'x'; BODY_MAX + 1]).await.unwrap();
    assert_eq!(answer.status, 413);
    assert!(answer.text().contains("body_too_large"), "{}", answer.text());
    assert_eq!(budget.taken(), 0);
}

#[tokio::test]
async fn a_promise_of_too_much_is_refused_before_it_is_kept() {
    let (server, _) = start(limits(), PeerRules::default());
    for length in ["65537", "1099511627776"] {
        let head = format!("POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        assert_eq!(refused(&server, head.as_bytes()).await.status, 413, "{length}");
    }
}

#[tokio::test]
async fn a_content_length_that_lies_harms_nobody() {
    let (server, budget) = start(HttpLimits { body_timeout_ms: 300, ..limits() }, PeerRules::default());
    // Shorter than what follows: the rest is read as the next request, which it is not.
    let mut wire = Wire::connect(server.address).await.unwrap();
    wire.send(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc\x00\x01garbage\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(wire.answer().await.unwrap().status, 200);
    let answer = wire.answer().await.unwrap();
    assert_eq!(answer.status, 400);
    assert!(
        answer.header("x-request-id").is_some() && answer.text().contains("\"status\":400"),
        "{answer:?}"
    );
    assert!(wire.rest().await.is_empty());
    // Longer than what follows.
    let late = b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc";
    assert_eq!(refused(&server, late).await.status, 408);
    // Two that differ, none that is a number, and one beside chunks.
    for headers in ["Content-Length: 3\r\nContent-Length: 4", "Content-Length: x", "Content-Length: -1"] {
        let request = format!("POST /read HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\nabc");
        assert_eq!(refused(&server, request.as_bytes()).await.status, 400, "{headers}");
    }
    assert_eq!(budget.taken(), 0);
}

#[tokio::test]
async fn endless_chunks_end_at_the_limit() {
    let (server, budget) = start(limits(), PeerRules::default());
    let mut wire = Wire::connect(server.address).await.unwrap();
    wire.send(b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    let chunk = [format!("{:x}\r\n", 4096).into_bytes(), vec![b'x'; 4096], b"\r\n".to_vec()].concat();
    let mut most = 0;
    for _ in 0..1_000 {
        most = most.max(budget.taken());
        if wire.send(&chunk).await.is_err() {
            break;
        }
    }
    assert_eq!(wire.answer().await.unwrap().status, 413);
    assert!(most <= BODY_MAX, "{most} bytes were waiting");
    let one = b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    assert_eq!(ask(&server, std::str::from_utf8(one).unwrap()).await.text(), "5 127.0.0.1");
    for broken in ["zz\r\nhello\r\n0\r\n\r\n", "-5\r\nhello\r\n", "fffffffffffffffff\r\n"] {
        let request = format!("POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{broken}");
        assert_eq!(refused(&server, request.as_bytes()).await.status, 400, "{broken}");
    }
    until(async || budget.taken() == 0).await;
}

#[tokio::test]
async fn a_head_may_have_32_kib_and_100_lines() {
    let (server, _) = start(limits(), PeerRules::default());
    let head = |bytes: usize| {
        let frame = "GET /who HTTP/1.1\r\nHost: x\r\nX: \r\n\r\n";
        frame.replace("X: ", &format!("X: {}", "y".repeat(bytes - frame.len())))
    };
    assert_eq!(ask(&server, &head(32 << 10)).await.status, 200);
    let answer = refused(&server, head((32 << 10) + 1).as_bytes()).await;
    assert_eq!(answer.status, 431);
    assert!(answer.header("x-request-id").is_some_and(|id| id.starts_with("req_")), "{}", answer.head);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let lines =
        |lines: usize| format!("GET /who HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(lines - 1));
    assert_eq!(ask(&server, &lines(100)).await.status, 200);
    assert_eq!(refused(&server, lines(101).as_bytes()).await.status, 431);
    assert_eq!(refused(&server, lines(200).as_bytes()).await.status, 431);

    let (few, _) = start(HttpLimits { headers_max: 20, ..limits() }, PeerRules::default());
    assert_eq!(ask(&few, &lines(20)).await.status, 200);
    assert_eq!(refused(&few, lines(21).as_bytes()).await.status, 431);
}

#[tokio::test]
async fn a_url_may_have_8_kib() {
    let (server, _) = start(limits(), PeerRules::default());
    let get =
        |bytes: usize| format!("GET /who?{} HTTP/1.1\r\nHost: x\r\n\r\n", "q".repeat(bytes - "/who?".len()));
    assert_eq!(ask(&server, &get(8 << 10)).await.status, 200);
    let answer = ask(&server, &get((8 << 10) + 1)).await;
    assert_eq!(answer.status, 414);
    assert!(answer.text().contains("url_too_long"));
    let callback =
        format!("POST {CALLBACK}?{} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "q".repeat(8 << 10));
    assert_eq!(ask(&server, &callback).await.text(), "url too long");
}

#[tokio::test]
async fn a_coded_body_is_not_opened() {
    let (server, _) = start(limits(), PeerRules::default());
    for (coding, status) in [
        ("identity", 200),
        ("Identity", 200),
        ("gzip", 415),
        ("br", 415),
        ("deflate", 415),
        ("gzip, identity", 415),
    ] {
        let request = format!(
            "POST {CALLBACK} HTTP/1.1\r\nHost: x\r\nContent-Encoding: {coding}\r\nContent-Length: 2\r\n\r\nab"
        );
        assert_eq!(ask(&server, &request).await.status, status, "{coding}");
    }
}

#[tokio::test]
async fn all_bodies_together_have_one_budget() {
    let limits = HttpLimits { bodies_in_flight_bytes_max: 100 << 10, ..limits() };
    let (server, budget) = start(limits, PeerRules::default());
    let head = format!("POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY_MAX}\r\n\r\n");
    let mut waiting = Wire::connect(server.address).await.unwrap();
    waiting.send(head.as_bytes()).await.unwrap();
    waiting.send(&vec![b'x'; BODY_MAX - 1]).await.unwrap();
    until(async || budget.taken() == BODY_MAX - 1).await;

    let mut other = Wire::connect(server.address).await.unwrap();
    let answer = other.post("/read", &vec![b'x'; BODY_MAX]).await.unwrap();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    // A promise takes no room: what is small still fits beside it.
    let mut small = Wire::connect(server.address).await.unwrap();
    assert_eq!(small.post("/read", b"small").await.unwrap().status, 200);

    waiting.send(b"x").await.unwrap();
    assert_eq!(waiting.answer().await.unwrap().status, 200);
    until(async || budget.taken() == 0).await;
    let mut again = Wire::connect(server.address).await.unwrap();
    assert_eq!(again.post("/read", &vec![b'x'; BODY_MAX]).await.unwrap().status, 200);
}

#[tokio::test]
async fn an_address_has_a_budget_of_requests_and_others_theirs() {
    let limits = HttpLimits {
        rate_per_address_per_s: 1,
        rate_burst: 5,
        api_rate_per_address_per_s: 1,
        api_rate_burst: 3,
        ..limits()
    };
    let (server, _) = start(limits, PeerRules::default());
    let mut wire = Wire::connect(server.address).await.unwrap();
    for n in 0..5 {
        assert_eq!(wire.post(CALLBACK, b"x").await.unwrap().status, 200, "callback {n}");
    }
    let answer = wire.post(CALLBACK, b"x").await.unwrap();
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
    assert_eq!(answer.text(), "too many requests");
    // Other routes have a budget of their own.
    let mut wire = Wire::connect(server.address).await.unwrap();
    for n in 0..3 {
        assert_eq!(wire.get("/who").await.unwrap().status, 200, "request {n}");
    }
    assert_eq!(wire.get("/who").await.unwrap().status, 429);
    let mut elsewhere = Wire::connect_from([127, 0, 0, 2], server.address).await.unwrap();
    assert_eq!(elsewhere.get("/who").await.unwrap().status, 200);
    // After a second there is one more.
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    assert_eq!(wire.get("/who").await.unwrap().status, 200);
    assert_eq!(wire.get("/who").await.unwrap().status, 429);
}

#[tokio::test]
async fn some_have_no_budget() {
    let limits = HttpLimits { rate_per_address_per_s: 1, rate_burst: 1, ..limits() };
    let peers = PeerRules { rate_exempt: vec!["127.0.0.2/32".parse().unwrap()], ..PeerRules::default() };
    let (server, _) = start(limits, peers);
    let mut exempt = Wire::connect_from([127, 0, 0, 2], server.address).await.unwrap();
    for _ in 0..50 {
        assert_eq!(exempt.post(CALLBACK, b"x").await.unwrap().status, 200);
    }
    let mut other = Wire::connect(server.address).await.unwrap();
    assert_eq!(other.post(CALLBACK, b"x").await.unwrap().status, 200);
    assert_eq!(other.post(CALLBACK, b"x").await.unwrap().status, 429);
}

#[tokio::test]
async fn only_those_allowed_may_come() {
    let peers = PeerRules {
        callback_allow: vec!["127.0.0.2/32".parse().unwrap()],
        api_allow: vec!["127.0.0.3/32".parse().unwrap()],
        ..PeerRules::default()
    };
    let (server, _) = start(limits(), peers);
    for (source, callback, api) in
        [([127, 0, 0, 1], 403, 403), ([127, 0, 0, 2], 200, 403), ([127, 0, 0, 3], 403, 200)]
    {
        let mut wire = Wire::connect_from(source, server.address).await.unwrap();
        assert_eq!(wire.post(CALLBACK, b"").await.unwrap().status, callback, "{source:?}");
        let mut wire = Wire::connect_from(source, server.address).await.unwrap();
        assert_eq!(wire.get("/who").await.unwrap().status, api, "{source:?}");
    }
}

#[tokio::test]
async fn a_forwarded_address_counts_only_from_a_trusted_proxy() {
    let peers = PeerRules { trusted_proxies: vec!["127.0.0.2/32".parse().unwrap()], ..PeerRules::default() };
    let (server, _) = start(limits(), peers);
    let request = "GET /who HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.9, 203.0.113.5\r\n\
                   X-Real-IP: 192.0.2.1\r\nForwarded: for=192.0.2.2\r\n\r\n";
    for (source, client) in [([127, 0, 0, 1], "127.0.0.1"), ([127, 0, 0, 2], "203.0.113.5")] {
        let mut wire = Wire::connect_from(source, server.address).await.unwrap();
        wire.send(request.as_bytes()).await.unwrap();
        assert_eq!(wire.answer().await.unwrap().text(), client);
    }
}

#[tokio::test]
async fn refusals_of_callbacks_are_the_same_bytes_each_time() {
    let (server, _) = start(limits(), PeerRules::default());
    let mut seen: Vec<(u16, String, Vec<String>)> = Vec::new();
    for path in
        ["/api/v1/webhooks/wechat/none", "/api/v1/webhooks/x/y?msg_signature=1", "/api/v1/webhooks/a/b/c/d"]
    {
        let mut wire = Wire::connect(server.address).await.unwrap();
        let answer = wire.post(path, b"<xml/>").await.unwrap();
        let id = answer.header("x-request-id").expect("an id").to_owned();
        assert!(id.starts_with("req_") && !answer.text().contains(&id));
        let names = answer
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.to_owned());
        seen.push((answer.status, answer.text(), names.collect()));
    }
    assert_eq!(seen[0].0, 404);
    assert_eq!(seen[0].1, "not found");
    assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
}
