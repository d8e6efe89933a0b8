//! `alerts:` — who is told when something needs people.

use super::is_web_url;
use super::section::Section;
use crate::secret::Secret;
use crate::upkeep::alert_robot::{AlertRobot, RobotKind};
use crate::upkeep::alerts::AlertSettings;

pub(super) fn read(section: &mut Section<'_, '_>) -> AlertSettings {
    let of = AlertSettings::default();
    let mut robots = Vec::new();
    for (kind, url, url_default, secret, secret_default) in [
        (RobotKind::WeCom, "wecom_url", "${ALERT_WECOM_URL:-}", "", ""),
        (
            RobotKind::DingTalk,
            "dingtalk_url",
            "${ALERT_DINGTALK_URL:-}",
            "dingtalk_secret",
            "${ALERT_DINGTALK_SECRET:-}",
        ),
        (
            RobotKind::Feishu,
            "feishu_url",
            "${ALERT_FEISHU_URL:-}",
            "feishu_secret",
            "${ALERT_FEISHU_SECRET:-}",
        ),
    ] {
        let address = address(section, url, url_default);
        let secret = if secret.is_empty() { Secret::new("") } else { section.secret(secret, secret_default) };
        if !address.is_empty() {
            robots.push(AlertRobot { kind, url: address, secret });
        }
    }
    AlertSettings {
        robots,
        look_every_ms: section.number("look_every_ms", 10..=3_600_000, of.look_every_ms),
        repeat_after_ms: section.number("repeat_after_ms", 1_000..=604_800_000, of.repeat_after_ms),
        waiting_max: section.number("waiting_max", 1..=1_000, of.waiting_max),
        tries_max: section.number("tries_max", 1..=100_000, of.tries_max),
    }
}

/// A robot's address, which is a secret; empty if there is no such robot.
fn address(section: &mut Section<'_, '_>, key: &str, default: &str) -> Secret {
    let scalar = section.scalar(key, default);
    section.report_unset(key, &scalar);
    section.note_secret(key, &scalar);
    let text = scalar.text.trim();
    if !text.is_empty() && !is_web_url(text) {
        section.wrong(key, scalar.place.clone(), "should be an http or https address".to_owned());
    }
    Secret::new(text)
}
