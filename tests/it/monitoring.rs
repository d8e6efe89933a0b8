//! The alert rules and the dashboard ask only for figures that the gateway has.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::gateway::{Gateway, Platform, Setup, text_message};
use crate::rest::Rest;

const ALERTS: &str = include_str!("../../deploy/monitoring/alerts.yml");
const DASHBOARD: &str = include_str!("../../deploy/monitoring/dashboard.json");

/// The words of `text` that are names of figures of ours.
fn figures(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c));
    let ours = words.filter(|word| word.starts_with("wecom_") || word.starts_with("process_"));
    ours.map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn alerts_and_dashboard_ask_only_for_figures_that_exist() {
    let gateway = Gateway::start("monitoring", Setup::default());
    let rest = Rest::new(gateway.address(), None);
    let (query, body) = Platform::app().seal(&text_message("zhangsan", 1, "counted"));
    for (query, status) in [(query.as_str(), 200), ("msg_signature=0", 400)] {
        let target = format!("/api/v1/webhooks/wechat/api?{query}");
        assert_eq!(rest.send("POST", &target, "", body.as_bytes()).await.status, status);
    }
    // A robot that nobody listens for: its attempt fails, and is counted.
    let message = serde_json::json!({"channel": "wechat_bot", "msgtype": "text", "text": {"content": "x"}});
    assert_eq!(rest.post("/api/v1/messages", &message).await.status, 202);
    let mut missing = BTreeSet::new();
    crate::site::until(async || {
        let known = figures(&rest.get("/metrics").await.text());
        let asked = figures(&format!("{ALERTS}{DASHBOARD}"));
        assert!(asked.len() > 15, "{asked:?}");
        missing = asked.difference(&known).cloned().collect();
        missing.is_empty()
    })
    .await;
}

#[test]
fn the_rules_fire_when_they_should() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/monitoring");
    for arguments in [
        &["check", "rules", "alerts.yml"][..],
        &["test", "rules", "alerts_test.yml"],
        &["check", "config", "--syntax-only", "prometheus.yml"],
    ] {
        let output = Command::new("promtool").args(arguments).current_dir(&folder).output();
        let output = output.expect("promtool is installed");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && said.contains("SUCCESS"), "{arguments:?}: {said}");
    }
}

#[test]
fn every_panel_of_the_dashboard_asks_something_and_says_what() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    assert!(panels.len() >= 12);
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_i64().expect("an id")), "{panel}");
        let text = |name: &str| panel[name].as_str().is_some_and(|text| !text.is_empty());
        assert!(text("title") && text("description"), "{panel}");
        let targets = panel["targets"].as_array().expect("targets");
        assert!(
            !targets.is_empty()
                && targets.iter().all(|it| !figures(&it["expr"].to_string()).is_empty()
                    || it["expr"].to_string().contains("up{")),
            "{panel}"
        );
    }
}
