//! The steps about business systems: an endpoint, a receiver that fails twice, the list of tries, a replay.

use anyhow::ensure;
use serde_json::{Value, json};

use super::console::Console;
use super::site::Site;
use super::steps::{call, list, plaintext, word};

/// Shows them.
pub(super) async fn show(site: &Site, console: &mut Console<'_>) -> anyhow::Result<()> {
    console.step("A business system wants messages; it will refuse each event twice before it takes it")?;
    let url = site.receiver.url("/hooks/wecom?type=500&times=2");
    let body = json!({"url": url, "events": ["message.*"], "delays_ms": [300, 600]});
    let made = site.post("/api/v1/endpoints", &body).await?;
    let (endpoint, secret) = (word(&made, "id").to_owned(), word(&made, "secret").to_owned());
    console.line(&format!("endpoint {endpoint}; its secret is shown once and sealed in the database"))?;
    console.command(&format!(
        "curl -s {} -H 'Content-Type: application/json' -d '{body}'",
        site.url("/api/v1/endpoints")
    ))?;
    let delivery = deliver(site, console, &secret).await?;
    replay(site, console, &endpoint, &delivery).await
}

/// Returns the delivery.
async fn deliver(site: &Site, console: &mut Console<'_>, secret: &str) -> anyhow::Result<Value> {
    console.step("A message comes in: answered at once, delivered as soon as the other side can")?;
    let plaintext = plaintext(site, "message.text", "7000000000000000777", "wangwu")?;
    let answer = call(site, &plaintext, None).await?;
    ensure!(answer.http_status == 200, "the callback was answered {answer:?}");
    let done = site
        .until("/api/v1/deliveries?state=succeeded", |page| {
            list(page).iter().any(|delivery| delivery["event_id"].is_string())
        })
        .await?;
    let delivery = list(&done).iter().find(|delivery| delivery["event_id"].is_string());
    let delivery = delivery.cloned().unwrap_or_default();
    let path = format!("/api/v1/deliveries/{}", word(&delivery, "id"));
    let detail = site.get(&path).await?;
    for one in detail.get("tries").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default() {
        let error = one["error"].as_str().unwrap_or("delivered");
        console.line(&format!(
            "try {}: HTTP {}, {} ms, {error}",
            one["number"], one["http_status"], one["duration_ms"]
        ))?;
    }
    let received = site.receiver.received_at("/hooks/wecom");
    ensure!(received.len() == 3, "{} requests came", received.len());
    ensure!(received.iter().all(|one| one.is_signed_with(secret)), "a signature is wrong");
    ensure!(
        received.iter().all(|one| Some(&one.body) == received.first().map(|first| &first.body)),
        "bodies differ"
    );
    console.line(
        "three requests with one webhook-id and the same bytes, each signed anew; the receiver verified all",
    )?;
    console.command(&format!("curl -s {}", site.url(&path)))?;
    Ok(delivery)
}

async fn replay(
    site: &Site,
    console: &mut Console<'_>,
    endpoint: &str,
    delivery: &Value,
) -> anyhow::Result<()> {
    console.step("The event is wanted once more: a replay has the same id and says what it is")?;
    let body = json!({"endpoint": endpoint, "event_id": word(delivery, "event_id")});
    let replay = site.post("/api/v1/replays", &body).await?;
    let runs = |page: &Value| list(page).iter().filter(|one| one["run"].as_i64() > Some(0)).count();
    site.until("/api/v1/deliveries?state=succeeded", |page| runs(page) == 1).await?;
    let received = site.receiver.received_at("/hooks/wecom");
    let last = received.last();
    let is_replay = last.and_then(|one| one.header("x-webhook-replay")) == Some("true");
    ensure!(is_replay, "the last request is no replay");
    let id = last.and_then(|one| one.header("webhook-id")).unwrap_or_default();
    ensure!(id == word(delivery, "event_id"), "the replay has another id");
    console.line(&format!("{} delivered {id} again, X-Webhook-Replay: true", word(&replay, "id")))?;
    console.command(&format!(
        "curl -s {} -H 'Content-Type: application/json' -d '{body}'",
        site.url("/api/v1/replays")
    ))?;
    Ok(())
}
