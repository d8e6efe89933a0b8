//! `type: wechat_bot`, a group robot.

use super::parts::Parts;
use super::{ChannelKindConfig, Found, callback};
use crate::channel::wecom_robot::{BASE_URL_DEFAULT, RobotAddress};
use crate::config::section::Section;
use crate::secret::Secret;

/// Where a robot sends, and what proves its plain callbacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RobotConfig {
    /// The address that WeCom shows for the robot, or its key alone; empty if the robot only receives.
    pub webhook_url: Secret,
    /// Signs callbacks in plain JSON, as the PMC service takes them; empty for none.
    pub secret: Secret,
}

/// Reads a robot.
pub(super) fn read(section: &mut Section<'_, '_>, shipped: bool, enabled: bool) -> Found {
    let parts = Parts::read(
        section,
        shipped,
        &[
            ("webhook_url", "${WECHAT_BOT_WEBHOOK_URL}"),
            ("secret", "${WECHAT_BOT_SECRET}"),
            ("token", "${WECHAT_BOT_TOKEN}"),
            ("encoding_aes_key", "${WECHAT_BOT_ENCODING_AES_KEY}"),
        ],
    );
    let is_set = !parts.are_unset();
    let in_use = enabled && is_set;
    if in_use {
        parts.require(section, "webhook_url");
    }
    parts.note_secret(section, "webhook_url");
    parts.note_secret(section, "secret");
    check_webhook_url(section, &parts);
    let receive_ids = receive_ids(section);
    let sealed = callback::read(section, &parts, in_use, receive_ids);
    let robot = RobotConfig {
        webhook_url: Secret::new(parts.text("webhook_url")),
        secret: Secret::new(parts.text("secret")),
    };
    Found { is_set, sealed, kind: ChannelKindConfig::Robot(robot) }
}

/// What may stand behind a message: nothing, unless the file says otherwise.
fn receive_ids(section: &mut Section<'_, '_>) -> Vec<String> {
    let ids: Vec<String> = section.texts("receive_ids", "").into_iter().map(|(id, _)| id).collect();
    if ids.is_empty() { vec![String::new()] } else { ids }
}

/// A full address, or the key at its end.
fn check_webhook_url(section: &mut Section<'_, '_>, parts: &Parts) {
    let text = Secret::new(parts.text("webhook_url"));
    if let (false, Err(error)) = (text.is_empty(), RobotAddress::parse(&text, BASE_URL_DEFAULT)) {
        parts.wrong(section, "webhook_url", &error.to_string());
    }
}
