//! The steps about what is said at once, and about a developer who listens.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::console::Console;
use super::site::{CORP_ID, HELP, Site};
use super::steps::{call, plaintext};
use crate::cli::dev::listen::{ListenArgs, Listener};
use crate::domain::event::Format;
use crate::wecom::event::body_json;

/// Shows them.
pub(super) async fn show(site: &Site, console: &mut Console<'_>) -> anyhow::Result<()> {
    reply(site, console).await?;
    listen(site, console).await
}

async fn reply(site: &Site, console: &mut Console<'_>) -> anyhow::Result<()> {
    console.step("A member writes `help`, another opens the app: both are answered at once, sealed")?;
    let help = format!(
        "<xml><ToUserName>{CORP_ID}</ToUserName><FromUserName>lisi</FromUserName><CreateTime>{}</CreateTime><MsgType>text\
         </MsgType><Content>help</Content><MsgId>7000000000000000888</MsgId><AgentID>1000002</AgentID></xml>",
        site.caller.now_s()
    );
    let said = told(site, &help).await?;
    ensure!(said == HELP, "the rule said {said}");
    console.line(&format!("by a rule of the configuration: {said}"))?;
    let opened = plaintext(site, "event.enter_agent", "", "zhaoliu")?;
    let said = told(site, &opened).await?;
    ensure!(said == "Good morning", "the business system said {said}");
    let asked = site.receiver.received_at("/greet");
    console.line(&format!(
        "by a business system, asked with the signed event within {} ms: {said}",
        asked.last().and_then(|one| one.header("x-webhook-reply-within-ms")).unwrap_or_default()
    ))?;
    console.command(&format!("curl -s '{}'", site.url("/metrics")))?;
    Ok(())
}

/// What the platform reads in the answer.
async fn told(site: &Site, plaintext: &str) -> anyhow::Result<String> {
    let answer = call(site, plaintext, None).await?;
    ensure!(answer.http_status == 200, "the callback was answered {answer:?}");
    let opened = site.platform.open_reply(&answer).with_context(|| format!("no reply in {answer:?}"))?;
    let body = body_json(opened.as_bytes(), Format::Xml);
    Ok(body.get("Content").and_then(Value::as_str).unwrap_or_default().to_owned())
}

async fn listen(site: &Site, console: &mut Console<'_>) -> anyhow::Result<()> {
    console.step("A developer listens: live events arrive, signed, at a program on this machine")?;
    let args = ListenArgs {
        gateway: site.url(""),
        key: String::new(),
        to: Some(site.receiver.url("/local")),
        secret: None,
        kind: Some("message.*".to_owned()),
        source: None,
        user_id: Some("sunqi".to_owned()),
        since: Some(site.caller.now_s().to_string()),
        count: Some(1),
    };
    let listener = Listener::new(&args, site.clock.clone(), &site.entropy)?;
    let mut lines = Vec::new();
    let heard = listener.listen(args.count, |line| {
        lines.push(line.to_owned());
        Ok(())
    });
    let live = async {
        let message = plaintext(site, "message.text", "7000000000000000999", "sunqi")?;
        call(site, &message, None).await
    };
    let (heard, answer) = tokio::join!(heard, live);
    heard?;
    ensure!(answer?.http_status == 200, "the callback was refused");
    ensure!(site.receiver.received_at("/local").len() == 1, "nothing came to the local program");
    for line in lines {
        console.line(&line)?;
    }
    console.command(&format!(
        "./target/release/wecom-gateway dev listen --gateway {} --to {}",
        site.url(""),
        site.receiver.url("/local")
    ))?;
    Ok(())
}
