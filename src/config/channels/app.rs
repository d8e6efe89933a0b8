//! `type: wechat_api`, an app of a WeCom corp.

use super::parts::Parts;
use super::{ChannelKindConfig, Found, callback};
use crate::config::is_web_url;
use crate::config::section::Section;
use crate::secret::Secret;

/// More accounts than any corp has.
const ACCOUNTS_MAX: u64 = 100_000_000;

/// What an app needs to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppConfig {
    /// The corp.
    pub corp_id: String,
    /// The app's secret; empty if the app only receives.
    pub secret: Secret,
    /// The app's number; `None` if the app only receives.
    pub agent_id: Option<u64>,
    /// Where the platform's API is, without a trailing `/`.
    pub base_url: String,
    /// The corp's account limit; 0: not known, and the quota of a day is not counted ahead.
    pub accounts: u64,
}

/// Reads an app.
pub(super) fn read(section: &mut Section<'_, '_>, shipped: bool, enabled: bool) -> Found {
    let parts = Parts::read(
        section,
        shipped,
        &[
            ("corp_id", "${WECHAT_CORP_ID}"),
            ("secret", "${WECHAT_CORP_SECRET}"),
            ("agent_id", "${WECHAT_AGENT_ID}"),
            ("token", "${WECHAT_TOKEN}"),
            ("encoding_aes_key", "${WECHAT_ENCODING_AES_KEY}"),
        ],
    );
    let is_set = !parts.are_unset();
    let in_use = enabled && is_set;
    if in_use {
        for key in ["corp_id", "secret", "agent_id"] {
            parts.require(section, key);
        }
    }
    parts.note(section, "corp_id");
    parts.note_secret(section, "secret");
    parts.note(section, "agent_id");
    let corp_id = parts.text("corp_id").to_owned();
    let receive_ids = receive_ids(section, &corp_id);
    let accepts_none = receive_ids.is_empty();
    let sealed = callback::read(section, &parts, in_use, receive_ids);
    if sealed.is_some() && accepts_none {
        parts.wrong(section, "corp_id", "is empty, and so is receive_ids: no callback could be accepted");
    }
    let app = AppConfig {
        secret: Secret::new(parts.text("secret")),
        agent_id: agent_id(section, &parts),
        base_url: base_url(section),
        accounts: section.number("accounts", 0..=ACCOUNTS_MAX, 0),
        corp_id,
    };
    Found { is_set, sealed, kind: ChannelKindConfig::App(app) }
}

fn agent_id(section: &mut Section<'_, '_>, parts: &Parts) -> Option<u64> {
    let text = parts.text("agent_id");
    if text.is_empty() {
        return None;
    }
    let number = text.parse().ok();
    if number.is_none() {
        parts.wrong(section, "agent_id", "should be the number of the app, such as 1000002");
    }
    number
}

/// What may stand behind a message: the corp id, unless the file says otherwise.
fn receive_ids(section: &mut Section<'_, '_>, corp_id: &str) -> Vec<String> {
    let ids: Vec<String> = section.texts("receive_ids", "").into_iter().map(|(id, _)| id).collect();
    if ids.is_empty() && !corp_id.is_empty() { vec![corp_id.to_owned()] } else { ids }
}

fn base_url(section: &mut Section<'_, '_>) -> String {
    section
        .parsed(
            "base_url",
            "${WECHAT_BASE_URL:-https://qyapi.weixin.qq.com}",
            "an http or https address",
            |text| is_web_url(text).then(|| text.trim_end_matches('/').to_owned()),
        )
        .unwrap_or_default()
}
