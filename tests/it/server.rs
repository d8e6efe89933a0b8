//! The accept loop: slow clients, caps, a panic, the stop. Raw sockets against a real server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use wecom_gateway::http::HttpLimits;
use wecom_gateway::http::body;
use wecom_gateway::http::budget::ByteBudget;
use wecom_gateway::http::peer::PeerRules;
use wecom_gateway::http::problem::Problem;

use crate::site::{Server, Stopwatch, until};
use crate::wire::Wire;

/// Patience short enough for a test, each different from the others.
fn quick() -> HttpLimits {
    HttpLimits {
        head_timeout_ms: 300,
        body_timeout_ms: 400,
        idle_timeout_ms: 1_200,
        write_timeout_ms: 500,
        stop_timeout_ms: 1_500,
        stop_notice_ms: 300,
        rate_per_address_per_s: 0,
        api_rate_per_address_per_s: 0,
        ..HttpLimits::default()
    }
}

fn echo() -> Router {
    let budget = ByteBudget::new(32 << 20);
    let read = move |body: Body| {
        let budget = budget.clone();
        async move {
            let received = body::receive(body, 1 << 20, &budget).await.map_err(Problem::from)?;
            Ok::<_, Problem>(received.bytes)
        }
    };
    Router::new().route("/echo", post(read)).route("/hello", get(async || "hello"))
}

fn start(router: Router) -> Server {
    Server::start(router, quick(), PeerRules::default())
}

/// Milliseconds until the server closes, and what it said.
async fn closes(stream: &mut TcpStream) -> (i64, String) {
    let began = Stopwatch::start();
    let mut said = Vec::new();
    let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut said)).await.expect("it closes");
    (began.ms(), String::from_utf8_lossy(&said).into_owned())
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("it listens")
}

#[tokio::test]
async fn a_silent_connection_is_closed_when_its_head_is_overdue() {
    let server = start(echo());
    let (after_ms, said) = closes(&mut connect(server.address).await).await;
    assert!((250..900).contains(&after_ms), "{after_ms} ms");
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
}

#[tokio::test]
async fn a_head_that_drips_is_cut_off_however_often_it_drips() {
    let server = start(echo());
    let stream = connect(server.address).await;
    let (mut reading, mut writing) = stream.into_split();
    let dripping = tokio::spawn(async move {
        let _ = writing.write_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n").await;
        for n in 0..200 {
            if writing.write_all(format!("X-{n}: y\r\n").as_bytes()).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    let began = Stopwatch::start();
    let mut said = Vec::new();
    let _ = timeout(Duration::from_secs(3), reading.read_to_end(&mut said)).await.expect("it closes");
    assert!(began.ms() < 5_000, "{} ms", began.ms());
    dripping.abort();
}

#[tokio::test]
async fn a_body_that_drips_is_answered_408() {
    let server = start(echo());
    let mut stream = connect(server.address).await;
    stream.write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc").await.unwrap();
    let began = Stopwatch::start();
    let mut head = [0; 12];
    timeout(Duration::from_secs(3), stream.read_exact(&mut head)).await.expect("in time").unwrap();
    assert_eq!(&head, b"HTTP/1.1 408");
    assert!(began.ms() >= 350, "{} ms", began.ms());
    let (_, rest) = closes(&mut stream).await;
    assert!(rest.contains("request_timeout") && rest.contains("x-request-id: req_"), "{rest}");
}

#[tokio::test]
async fn an_idle_connection_outlives_the_head_limit_and_not_its_own() {
    let server = start(echo());
    let mut wire = Wire::connect(server.address).await.unwrap();
    assert_eq!(wire.get("/hello").await.unwrap().status, 200);
    sleep(Duration::from_millis(700)).await;
    assert_eq!(wire.get("/hello").await.unwrap().status, 200, "it was closed after the head limit");
    let began = Stopwatch::start();
    assert!(timeout(Duration::from_secs(5), wire.rest()).await.expect("it closes").is_empty());
    assert!(began.ms() >= 1_000, "{} ms", began.ms());
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_closed() {
    const BYTES: usize = 64 << 20;
    let router = Router::new().route("/big", get(async || vec![b'x'; BYTES]));
    let server = start(router);
    let mut stream = connect(server.address).await;
    stream.write_all(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    sleep(Duration::from_millis(1_500)).await;
    let mut got = 0;
    let mut chunk = vec![0; 1 << 20];
    while let Ok(bytes @ 1..) = stream.read(&mut chunk).await {
        got += bytes;
    }
    assert!(got < BYTES, "the whole answer was kept for a client that took nothing");
}

#[tokio::test]
async fn connections_are_capped_in_all_and_for_each_address() {
    for limits in [
        HttpLimits { connections_max: 2, ..quick() },
        HttpLimits { connections_per_address_max: 2, ..quick() },
    ] {
        let server = Server::start(echo(), limits, PeerRules::default());
        let mut first = Wire::connect(server.address).await.unwrap();
        let mut second = Wire::connect(server.address).await.unwrap();
        assert_eq!(first.get("/hello").await.unwrap().status, 200);
        assert_eq!(second.get("/hello").await.unwrap().status, 200);
        let mut third = Wire::connect(server.address).await.unwrap();
        let refused = String::from_utf8(third.rest().await).unwrap();
        assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("retry-after: 1"), "{refused}");
        drop(first);
        until(async || {
            let mut again = Wire::connect(server.address).await.unwrap();
            again.get("/hello").await.is_ok_and(|answer| answer.status == 200)
        })
        .await;
    }
}

#[tokio::test]
async fn a_trusted_proxy_has_no_cap_of_its_own() {
    let limits = HttpLimits { connections_per_address_max: 1, ..quick() };
    let peers = PeerRules { trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()], ..PeerRules::default() };
    let server = Server::start(echo(), limits, peers);
    let mut wires = Vec::new();
    for _ in 0..5 {
        let mut wire = Wire::connect(server.address).await.unwrap();
        assert_eq!(wire.get("/hello").await.unwrap().status, 200);
        wires.push(wire);
    }
}

#[tokio::test]
async fn a_panic_is_a_500_and_harms_nobody_else() {
    let router = echo().route("/panic", get(async || -> &'static str { panic!("secret-of-the-panic") }));
    let server = start(router);
    let mut wire = Wire::connect(server.address).await.unwrap();
    for _ in 0..3 {
        let answer = wire.get("/panic").await.unwrap();
        assert_eq!(answer.status, 500);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert!(!answer.text().contains("secret-of-the-panic") && !answer.text().contains("panic"));
        assert_eq!(wire.get("/hello").await.unwrap().status, 200, "the same connection goes on");
    }
}

#[tokio::test]
async fn requests_sent_at_once_are_answered_in_order() {
    let server = start(echo());
    let mut wire = Wire::connect(server.address).await.unwrap();
    let mut bytes = Vec::new();
    for n in 0..50 {
        let body = format!("request {n}");
        bytes.extend(crate::wire::post_bytes("/echo", body.as_bytes()));
    }
    wire.send(&bytes).await.unwrap();
    for n in 0..50 {
        assert_eq!(wire.answer().await.unwrap().text(), format!("request {n}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_says_so_first_then_finishes_what_it_took() {
    let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (entered_too, leave_too) = (entered.clone(), leave.clone());
    let slow = async move || {
        entered_too.notify_one();
        leave_too.notified().await;
        "done"
    };
    let server = start(echo().route("/slow", get(slow)));
    let (address, health) = (server.address, server.health.clone());
    let mut idle = Wire::connect(address).await.unwrap();
    assert_eq!(idle.get("/hello").await.unwrap().status, 200);
    let mut busy = Wire::connect(address).await.unwrap();
    busy.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    entered.notified().await;

    let began = Stopwatch::start();
    let stopping = tokio::spawn(server.stop());
    until(async || !health.ready()).await;
    assert!(began.ms() < 2_000, "readiness said yes for {} ms", began.ms());
    let mut late = Wire::connect(address).await.expect("the listener is still open");
    let answer = late.get("/hello").await.unwrap();
    assert_eq!(
        (answer.status, answer.header("connection")),
        (200, Some("close")),
        "what still comes is served"
    );

    assert!(idle.rest().await.is_empty(), "an idle connection is closed");
    assert!(TcpStream::connect(address).await.is_err(), "the listener is closed");
    leave.notify_one();
    let answer = busy.answer().await.expect("a request in flight is answered");
    assert_eq!((answer.status, answer.text().as_str()), (200, "done"));
    assert_eq!(stopping.await.unwrap().cut_off, 0);
    assert!(began.ms() < 6_000, "{} ms", began.ms());
}

#[tokio::test]
async fn a_stop_ends_at_its_deadline() {
    let stuck = async || std::future::pending::<&'static str>().await;
    let server = start(Router::new().route("/stuck", get(stuck)));
    let mut wire = Wire::connect(server.address).await.unwrap();
    wire.send(b"GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    sleep(Duration::from_millis(100)).await;
    let began = Stopwatch::start();
    let stopped = server.stop().await;
    assert_eq!(stopped.cut_off, 1);
    assert!(began.ms() >= 1_500, "{} ms", began.ms());
}

#[tokio::test]
async fn work_that_hangs_is_answered_503() {
    let stuck = async || std::future::pending::<&'static str>().await;
    let limits = HttpLimits { handling_timeout_ms: 300, ..quick() };
    let server = Server::start(Router::new().route("/stuck", get(stuck)), limits, PeerRules::default());
    let mut wire = Wire::connect(server.address).await.unwrap();
    let began = Stopwatch::start();
    let answer = wire.get("/stuck").await.unwrap();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert!(began.ms() >= 250, "{} ms", began.ms());
}
