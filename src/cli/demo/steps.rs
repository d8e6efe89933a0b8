//! The steps, in the order of a first day with the gateway.

use anyhow::ensure;
use serde_json::{Value, json};

use super::answers;
use super::console::Console;
use super::forward;
use super::sending;
use super::site::{AES_KEY, AGENT_ID, CORP_ID, FOLDER, Site, TOKEN};
use crate::cli::dev::platform::{Forgery, PlatformAnswer};
use crate::cli::dev::samples::{self, Filling};

/// The callbacks that the platform sends, by kind.
const CALLBACKS: [&str; 12] = [
    "message.text",
    "message.image",
    "message.voice",
    "message.location",
    "message.link",
    "event.subscribe",
    "event.enter_agent",
    "event.click",
    "event.template_card_event",
    "event.change_contact.create_user",
    "event.change_contact.delete_user",
    "event.change_external_contact.add_external_contact",
];

const APP: &str = "/api/v1/webhooks/wechat/api";

/// Shows everything.
pub(super) async fn show(site: &Site, console: &mut Console<'_>) -> anyhow::Result<()> {
    begin(site, console).await?;
    check_url(site, console).await?;
    let first = send_callbacks(site, console).await?;
    repeat(site, console, &first).await?;
    forge(site, console).await?;
    let message = send_message(site, console).await?;
    follow(site, console, &message).await?;
    sending::show(site, console).await?;
    forward::show(site, console).await?;
    answers::show(site, console).await?;
    console.title(
        "Done: verified, decrypted, stored before the answer, folded, refused with a reason, sent, paced, tracked, \
         forwarded, answered at once, listened to.",
    )?;
    Ok(())
}

async fn begin(site: &Site, console: &mut Console<'_>) -> anyhow::Result<()> {
    console.step("A gateway on SQLite and a fake WeCom platform are running")?;
    let health = site.get("/health").await?;
    console.line(&format!("the gateway says {}; its data lie in {FOLDER}", word(&health, "status")))?;
    console.command(&format!("curl -s {}", site.url("/health")))?;
    Ok(())
}

async fn check_url(site: &Site, console: &mut Console<'_>) -> anyhow::Result<()> {
    console
        .step("The platform checks the callback URL: the answer has to be the decrypted text, to the byte")?;
    let echo = "1616140317555161061";
    let request = site.platform.url_check(echo, site.caller.now_s(), &site.entropy);
    let command = format!("curl -s '{}?{}'", site.url(APP), request.query);
    let answer = site.caller.get(&site.url(APP), request).await?;
    ensure!(answer.http_status == 200 && answer.body == echo, "the URL check was answered {answer:?}");
    console.line(&format!("answered 200 {}", answer.body))?;
    console.command(&command)?;
    Ok(())
}

/// Returns the first plaintext, to repeat it.
async fn send_callbacks(site: &Site, console: &mut Console<'_>) -> anyhow::Result<String> {
    console.step("The platform sends twelve encrypted callbacks; each is on disk before it is answered")?;
    let mut first = String::new();
    for (at, name) in CALLBACKS.iter().enumerate() {
        let plaintext = plaintext(site, name, &format!("70000000000000001{at:02}"), "zhangsan")?;
        let answer = call(site, &plaintext, None).await?;
        ensure!(answer.http_status == 200, "{name} was answered {answer:?}");
        if at == 0 {
            first = plaintext;
        }
    }
    let events = site.get("/api/v1/events?limit=100").await?;
    let rows = list(&events);
    ensure!(rows.len() == CALLBACKS.len(), "{} events are stored", rows.len());
    let kinds: Vec<&str> = rows.iter().rev().map(|event| word(event, "kind")).collect();
    for line in kinds.chunks(4) {
        console.line(&line.join("  "))?;
    }
    console.command(&format!("curl -s '{}'", site.url("/api/v1/events?kind=message.*")))?;
    console.command(&format!(
        "./target/release/wecom-gateway dev callback --url {} --token {TOKEN} --encoding-aes-key {AES_KEY} --receive-id {CORP_ID} --kind message.text",
        site.url(APP)
    ))?;
    Ok(first)
}

async fn repeat(site: &Site, console: &mut Console<'_>, plaintext: &str) -> anyhow::Result<()> {
    console.step("The platform repeats the first one, sealed anew: answered 200, stored once")?;
    let answer = call(site, plaintext, None).await?;
    ensure!(answer.http_status == 200, "the repeat was answered {answer:?}");
    let events = list(&site.get("/api/v1/events?limit=100").await?).len();
    ensure!(events == CALLBACKS.len(), "{events} events are stored after a repeat");
    console.line(&format!("answered 200; still {events} events"))?;
    console.command(&format!("curl -s {}", site.url("/api/v1/webhooks/handlers")))?;
    Ok(())
}

async fn forge(site: &Site, console: &mut Console<'_>) -> anyhow::Result<()> {
    console
        .step("Somebody forges a callback, and another corp calls: both look alike outside, not inside")?;
    for forgery in [Forgery::Signature, Forgery::ReceiveId] {
        let plaintext = plaintext(site, "message.text", "7000000000000000999", "mallory")?;
        let answer = call(site, &plaintext, Some(forgery)).await?;
        ensure!(answer.http_status == 403, "{forgery:?} was answered {answer:?}");
        console.line(&format!("answered {} {}", answer.http_status, answer.body))?;
    }
    let rejections = site.until("/api/v1/rejections", |answer| list(answer).len() >= 2).await?;
    for row in list(&rejections) {
        let detail = word(row, "detail");
        console.line(&format!("the operator reads: step {}, {detail}", word(row, "step")))?;
    }
    console.command(&format!("curl -s {}", site.url("/api/v1/rejections")))?;
    Ok(())
}

/// Returns the message's id.
async fn send_message(site: &Site, console: &mut Console<'_>) -> anyhow::Result<String> {
    console.step("A program sends a message through the group robot")?;
    let body = json!({"channel": "wechat_bot", "msgtype": "markdown", "markdown": {"content": "**Build 42** is green"}});
    let accepted = site.post("/api/v1/messages", &body).await?;
    let id = word(&accepted, "message_id").to_owned();
    console.line(&format!("accepted as {id}"))?;
    let status =
        site.until(&format!("/api/v1/messages/{id}/status"), |s| word(s, "status") == "sent").await?;
    ensure!(site.shown_by_robot() == 1, "the chat saw {} messages", site.shown_by_robot());
    console.line(&format!("status {}; the chat shows one message", word(&status, "status")))?;
    console.command(&format!(
        "curl -s {} -H 'Content-Type: application/json' -d '{body}'",
        site.url("/api/v1/messages")
    ))?;
    Ok(id)
}

async fn follow(site: &Site, console: &mut Console<'_>, id: &str) -> anyhow::Result<()> {
    console.step("Another system reports by callback that it arrived and was read; nothing is guessed")?;
    for name in ["status.msg_audit", "status.msg_read"] {
        let plaintext = plaintext(site, name, id, "lisi")?;
        let answer = call(site, &plaintext, None).await?;
        ensure!(answer.http_status == 200, "{name} was answered {answer:?}");
    }
    let status = site.get(&format!("/api/v1/messages/{id}/status")).await?;
    ensure!(word(&status, "status") == "read", "the status is {status}");
    let history = site.get(&format!("/api/v1/messages/{id}/history")).await?;
    let entries = history.as_array().map(Vec::as_slice).unwrap_or_default();
    let words: Vec<&str> = entries.iter().map(|entry| word(entry, "status")).collect();
    ensure!(words == ["pending", "sent", "delivered", "read"], "the history is {history}");
    console.line(&format!("history: {}", words.join(" → ")))?;
    console.command(&format!("curl -s {}", site.url(&format!("/api/v1/messages/{id}/status"))))?;
    console.command(&format!("curl -s {}", site.url(&format!("/api/v1/messages/{id}/history"))))?;
    Ok(())
}

pub(super) async fn call(
    site: &Site,
    plaintext: &str,
    forgery: Option<Forgery>,
) -> anyhow::Result<PlatformAnswer> {
    let format = crate::domain::event::Format::Xml;
    let now_s = site.caller.now_s();
    let request = site.platform.callback(plaintext.as_bytes(), format, now_s, &site.entropy, forgery);
    site.caller.post(&site.url(APP), request).await
}

/// The sample `name`, about the message `reference` and caused by `user_id`.
pub(super) fn plaintext(site: &Site, name: &str, reference: &str, user_id: &str) -> anyhow::Result<String> {
    let sample = samples::find(name).ok_or_else(|| anyhow::anyhow!("no sample {name}"))?;
    Ok(sample.fill(&Filling {
        to: CORP_ID.to_owned(),
        user_id: user_id.to_owned(),
        agent_id: AGENT_ID.to_owned(),
        reference: reference.to_owned(),
        created_s: site.caller.now_s(),
    }))
}

pub(super) fn word<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn list(page: &Value) -> &[Value] {
    page.get("data").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
