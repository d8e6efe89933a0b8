//! What receivers do to their senders, and what must not be called.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use wecom_gateway::domain::delivery::{Attempt, DeliveryState};
use wecom_gateway::endpoint::guard::{Guard, GuardRules, Lookup};
use wecom_gateway::endpoint::http::WebSettings;
use wecom_gateway::store::Engine;

use crate::database::Database;
use crate::forwarder::{Forwarder, receiver};

/// The one attempt at an address that answers so.
async fn attempt(rig: &Forwarder, url: &str, number: u64) -> (Attempt, DeliveryState) {
    let made =
        rig.endpoint(json!({"url": url, "events": ["*"], "schedule": "once", "timeout_ms": 4000})).await;
    let id = rig.accept(rig.text("zhangsan", number)).await;
    rig.soon(url, async || rig.deliveries(&id).await.iter().all(|one| one.due_ms.is_none())).await;
    let delivery = rig.delivery(&id).await;
    let mut attempts = rig.store.attempts(&delivery.id).await.expect("attempts");
    assert_eq!(attempts.len(), 1, "{url}");
    rig.forwarding.remove(&made.endpoint.id).await.expect("it is removed");
    (attempts.remove(0), delivery.state)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_receiver_answers_is_bounded_and_recorded() {
    use DeliveryState::{Dead, Failed, Succeeded};
    let database = Database::new(Engine::Sqlite).await;
    let (rig, receiver) = (Forwarder::start(&database).await, receiver().await);
    let table = [
        ("200", Succeeded, Some(200), ""),
        ("204", Succeeded, Some(204), ""),
        ("400", Dead, Some(400), "failed: HTTP 400"),
        ("401", Dead, Some(401), "failed: HTTP 401"),
        ("404", Dead, Some(404), "failed: HTTP 404"),
        ("410", Failed, Some(410), "refused: HTTP 410"),
        ("429-after-2", Dead, Some(429), "busy: HTTP 429"),
        ("500", Dead, Some(500), "failed: HTTP 500"),
        ("503-after-1", Dead, Some(503), "busy: HTTP 503"),
        ("redirect-301", Dead, Some(301), "failed: HTTP 301"),
        ("redirect-302", Dead, Some(302), "failed: HTTP 302"),
        ("redirect-303", Dead, Some(303), "failed: HTTP 303"),
        ("redirect-307", Dead, Some(307), "failed: HTTP 307"),
        ("redirect-308", Dead, Some(308), "failed: HTTP 308"),
        ("timeout", Dead, None, "answer lost: no whole answer in 4000 ms"),
        ("close", Dead, None, "answer lost: "),
        ("cut", Dead, Some(200), "answer lost: the answer broke off"),
        ("header-drip", Dead, None, "answer lost: no whole answer in 4000 ms"),
        ("body-drip", Dead, None, "answer lost: no whole answer in 4000 ms"),
        ("endless-body", Succeeded, Some(200), ""),
        ("endless-chunks", Succeeded, Some(200), ""),
        ("big-body", Succeeded, Some(200), ""),
        ("gzip-bomb", Succeeded, Some(200), ""),
        ("garbage", Dead, None, "answer lost: "),
        ("http09", Dead, None, "answer lost: "),
        ("huge-headers", Dead, None, "answer lost: "),
        ("continue-flood", Dead, None, "answer lost: "),
    ];
    for ((word, state, status, error), number) in table.into_iter().zip(0..) {
        let url = receiver.url(&format!("/hook?type={word}"));
        let (attempt, found) = attempt(&rig, &url, number).await;
        assert_eq!((found, attempt.http_status), (state, status), "{word}: {attempt:?}");
        assert!(attempt.error.as_deref().unwrap_or_default().starts_with(error), "{word}: {attempt:?}");
        assert_eq!(attempt.error.is_none(), state == Succeeded, "{word}");
        assert!(attempt.answer.as_deref().unwrap_or_default().len() <= 4_096, "{word}");
    }
    assert_eq!(receiver.received_at("/redirected").len(), 0, "no redirect was followed");
    let (refused, _) = attempt(&rig, "http://127.0.0.1:9/hook", 100).await;
    assert!(refused.error.expect("it says why").starts_with("not sent: "));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_changes_its_mind_gains_nothing() {
    let database = Database::new(Engine::Sqlite).await;
    let receiver = receiver().await;
    // Public when it is written down, this machine at every other question.
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let lookup: Arc<Lookup> = Arc::new(move |_name| {
        let number = counted.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let answer: &[&str] = match number % 3 {
                0 => &["127.0.0.1"],
                1 => &["93.184.216.34", "127.0.0.1"],
                _ => &["::ffff:127.0.0.1"],
            };
            Ok(answer.iter().map(|ip| ip.parse::<IpAddr>().expect("an address")).collect())
        })
    });
    let guard = Guard::with_lookup(GuardRules::default(), lookup);
    let rig = Forwarder::start_calling(&database, WebSettings::default(), guard).await;
    let url = format!("https://rebinding.example.com:{}/hook", receiver.address().port());
    rig.endpoint(json!({"url": url, "events": ["*"], "schedule": "once"})).await;
    let ids = rig.texts("zhangsan", 0..9).await;
    rig.until("the ends", async || rig.count(DeliveryState::Dead).await == 9).await;
    assert!(asked.load(Ordering::Relaxed) >= 9);
    for id in ids {
        let attempts = rig.store.attempts(&rig.delivery(&id).await.id).await.expect("attempts");
        let error = attempts[0].error.clone().expect("it says why");
        assert!(error.contains("not a public address"), "{error}");
    }
    assert_eq!(receiver.received().len(), 0);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_production_this_machine_is_not_called_and_plain_http_is_not_spoken() {
    let database = Database::new(Engine::Sqlite).await;
    let rig = Forwarder::start_with(&database, GuardRules::default()).await;
    for url in
        ["http://example.com/hook", "https://127.0.0.1/hook", "https://localhost/hook", "https://10.0.0.1/"]
    {
        let refused = rig.forwarding.create(json!({"url": url, "events": ["*"]})).await;
        let refused = refused.expect_err(url).to_string();
        assert!(refused.starts_with("`url` "), "{refused}");
    }
    assert_eq!(database.number("SELECT COUNT(*) FROM endpoints").await, 0, "nothing is half made");
    rig.stop().await;
}
