//! The steps that send: to people through the app, a card that is clicked, a burst, a recall.

use anyhow::ensure;
use serde_json::{Value, json};

use super::console::Console;
use super::site::{BURST_CHANNEL, Site};
use super::steps::{call, list, plaintext, word};

/// Messages in the burst; a robot takes 20 a minute.
const BURST: usize = 25;

/// Shows everything.
pub(super) async fn show(site: &Site, console: &mut Console<'_>) -> anyhow::Result<()> {
    let message = to_three_people(site, console).await?;
    card(site, console).await?;
    burst(site, console).await?;
    recall(site, console, &message).await
}

async fn to_three_people(site: &Site, console: &mut Console<'_>) -> anyhow::Result<String> {
    console.step("The app writes to three people, of whom the company knows two")?;
    let body = json!({"channel": "wechat_api", "touser": ["zhangsan", "lisi", "unknown-wangwu"], "text": "Lunch at noon"});
    let id = accepted(site, &body).await?;
    let status = settled(site, &id).await?;
    ensure!(word(&status, "status") == "sent", "the status is {status}");
    let missed: Vec<String> = status
        .get("recipients")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|one| {
            format!("{} {}: {}", word(one, "user_id"), word(one, "status"), word(one, "error_message"))
        })
        .collect();
    ensure!(missed.len() == 1, "the status is {status}");
    console.line(&format!("status {}, but {}", word(&status, "status"), missed.join(", ")))?;
    console.command(&format!(
        "curl -s {} -H 'Content-Type: application/json' -d '{body}'",
        site.url("/api/v1/messages")
    ))?;
    console.command(&format!("curl -s {}", site.url(&format!("/api/v1/messages/{id}/status"))))?;
    Ok(id)
}

async fn card(site: &Site, console: &mut Console<'_>) -> anyhow::Result<()> {
    console.step("The app sends a card; somebody presses its button, and the card is changed")?;
    let body = json!({"channel": "wechat_api", "touser": "lisi", "msgtype": "template_card", "template_card": {
        "card_type": "button_interaction", "main_title": {"title": "Order 7"}, "task_id": "order-7",
        "button_list": [{"text": "Approve", "key": "approve"}]}});
    let id = accepted(site, &body).await?;
    settled(site, &id).await?;
    let click = plaintext(site, "event.template_card_event", "order-7", "lisi")?;
    let answer = call(site, &click, None).await?;
    ensure!(answer.http_status == 200, "the click was answered {answer:?}");
    let status = site.get(&format!("/api/v1/messages/{id}/status")).await?;
    ensure!(word(&status, "status") == "read", "the status is {status}");
    let path = format!("/api/v1/messages/{id}/interactions");
    let interactions = site.get(&path).await?;
    let first = list(&interactions).first().cloned().unwrap_or_default();
    console.line(&format!(
        "status read; {} did {} {}",
        word(&first, "user_id"),
        word(&first, "interaction_type"),
        word(&first, "value")
    ))?;
    let change = json!({"button": {"replace_name": "Approved"}});
    site.post(&format!("/api/v1/messages/{id}/update-card"), &change).await?;
    console.line("the button now reads Approved; that works once")?;
    console.command(&format!("curl -s {}", site.url(&path)))?;
    Ok(())
}

async fn burst(site: &Site, console: &mut Console<'_>) -> anyhow::Result<()> {
    console.step(&format!(
        "{BURST} alerts to one robot, which takes 20 a minute: the rest waits, none is refused"
    ))?;
    let messages: Vec<Value> = (1..=BURST)
        .map(|number| json!({"channel": BURST_CHANNEL, "text": format!("alert {number}")}))
        .collect();
    site.post("/api/v1/messages/batch", &json!({ "messages": messages })).await?;
    let waits = |answer: &Value| {
        let channels =
            answer.get("channels").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let burst = channels.iter().find(|channel| word(channel, "name") == BURST_CHANNEL);
        burst.and_then(|channel| channel.get("queued")).and_then(Value::as_u64)
    };
    site.until("/api/v1/channels", |answer| waits(answer) == Some(5)).await?;
    let seen = site.shown_by_burst_robot();
    let in_order = seen.iter().enumerate().all(|(at, text)| *text == format!("alert {}", at + 1));
    ensure!(seen.len() == 20 && in_order, "the chat shows {seen:?}");
    console.line("the chat shows alert 1 to alert 20, in order; 5 are queued for the next minute")?;
    console.command(&format!("curl -s {}", site.url("/api/v1/channels")))?;
    Ok(())
}

async fn recall(site: &Site, console: &mut Console<'_>, id: &str) -> anyhow::Result<()> {
    console.step("The message about lunch was a mistake: it is recalled")?;
    site.post(&format!("/api/v1/messages/{id}/recall"), &json!({})).await?;
    let status = site.get(&format!("/api/v1/messages/{id}/status")).await?;
    ensure!(word(&status, "status") == "recalled", "the status is {status}");
    console.line("status recalled; the platform shows it to nobody any more")?;
    console.command(&format!("curl -s -X POST {}", site.url(&format!("/api/v1/messages/{id}/recall"))))?;
    Ok(())
}

async fn accepted(site: &Site, body: &Value) -> anyhow::Result<String> {
    let accepted = site.post("/api/v1/messages", body).await?;
    Ok(word(&accepted, "message_id").to_owned())
}

async fn settled(site: &Site, id: &str) -> anyhow::Result<Value> {
    site.until(&format!("/api/v1/messages/{id}/status"), |status| word(status, "status") != "pending").await
}
