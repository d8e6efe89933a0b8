//! `/metrics` counts what happened, exactly.

use crate::rest::Rest;
use crate::sealer::{Sealer, app, text_message};
use crate::site::{ADMIN, READER, Setup, Site, until};
use crate::wire::Wire;

const CALLBACK: &str = "/api/v1/webhooks/wechat/api";

async fn figure(site: &Site, series: &str) -> u64 {
    let text = Rest::new(site.address(), Some(READER)).get("/metrics").await.text();
    let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.rsplit(' ').next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n_requests_raise_the_counters_by_n() {
    let site = Site::start(Setup { sources: vec![app("app")], ..Setup::default() }).await;
    let sealed = Sealer::usual().seal_at(text_message("9").as_bytes(), site.clock.wall_s());
    let target = format!("{CALLBACK}?{}", sealed.query());
    let mut wire = Wire::connect(site.address()).await.unwrap();
    for _ in 0..17 {
        assert_eq!(wire.post(&target, sealed.xml().as_bytes()).await.unwrap().status, 200);
    }
    for _ in 0..5 {
        assert_eq!(wire.post(CALLBACK, b"<xml/>").await.unwrap().status, 400);
    }
    assert_eq!(figure(&site, "wecom_http_requests_total{class=\"callback\",status=\"200\"}").await, 17);
    assert_eq!(figure(&site, "wecom_http_requests_total{class=\"callback\",status=\"400\"}").await, 5);
    assert_eq!(figure(&site, "wecom_http_errors_total{class=\"callback\",kind=\"client\"}").await, 5);
    assert_eq!(figure(&site, "wecom_http_errors_total{class=\"callback\",kind=\"server\"}").await, 0);
    assert_eq!(figure(&site, "wecom_callbacks_received_total{source=\"app\",result=\"accepted\"}").await, 1);
    assert_eq!(figure(&site, "wecom_callbacks_received_total{source=\"app\",result=\"repeated\"}").await, 16);
    let all = "wecom_http_request_duration_seconds_count{class=\"callback\"}";
    until(async || figure(&site, all).await == 22).await;
    let slowest = "wecom_http_request_duration_seconds_bucket{class=\"callback\",le=\"5\"}";
    assert_eq!(figure(&site, slowest).await, 22);
    let text = Rest::new(site.address(), Some(READER)).get("/metrics").await.text();
    let edges = text
        .lines()
        .filter(|line| line.starts_with("wecom_http_request_duration_seconds_bucket{class=\"callback\""));
    assert!(edges.count() >= 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_of_the_process_and_the_queue_are_there() {
    let site = Site::start(Setup::default()).await;
    assert!(figure(&site, "process_resident_memory_bytes").await > 1_000_000);
    assert!(figure(&site, "process_open_fds").await > 3);
    assert!(figure(&site, "wecom_http_connections").await >= 1);
    until(async || figure(&site, "wecom_store_up").await == 1).await;
    let text = Rest::new(site.address(), Some(READER)).get("/metrics").await.text();
    for name in [
        "wecom_ingest_queue_depth",
        "wecom_deliveries_due",
        "wecom_messages{status=\"pending\"}",
        "wecom_messages{status=\"uncertain\"}",
        "wecom_message_transitions_total{status=\"sent\"}",
        "wecom_build_info{",
    ] {
        assert!(text.contains(name), "{name} is not there");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_strangers_send_makes_no_series_and_shows_no_secret() {
    let site = Site::start(Setup { sources: vec![app("app")], ..Setup::default() }).await;
    let mut wire = Wire::connect(site.address()).await.unwrap();
    let lines = async || Rest::new(site.address(), Some(READER)).get("/metrics").await.text().lines().count();
    assert_eq!(wire.post("/api/v1/webhooks/a/b", b"x").await.unwrap().status, 404);
    assert_eq!(wire.get("/nothing").await.unwrap().status, 404);
    let before = lines().await;
    for n in 0..100 {
        assert_eq!(
            wire.post(&format!("/api/v1/webhooks/kind{n}/handler{n}"), b"x").await.unwrap().status,
            404
        );
        assert_eq!(wire.get(&format!("/nothing/{n}")).await.unwrap().status, 404);
    }
    assert_eq!(lines().await, before);
    let text = Rest::new(site.address(), Some(READER)).get("/metrics").await.text();
    for secret in [READER, ADMIN, crate::sealer::TOKEN, crate::sealer::KEY] {
        assert!(!text.contains(secret));
    }
}
