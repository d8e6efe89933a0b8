//! `channels:` — the apps and robots. The map's key is the channel's name; its type says which keys it has.
//!
//! A channel of which nothing is set is off, with a warning: the shipped file then starts with no account at all. A
//! channel of which only a part is set is a mistake, and each missing part is named.

mod app;
mod callback;
mod parts;
mod replies;
mod robot;
mod shadow;

pub use app::AppConfig;
pub use replies::{AskConfig, RULES_MAX, RepliesConfig};
pub use robot::RobotConfig;
pub use shadow::ShadowConfig;

use super::document::{Entry, Node, Value};
use super::section::Section;
use crate::endpoint::guard::Guard;
use crate::secret::Secret;
use crate::source::{PLAIN_WINDOW_MS, SealedSettings, SourceSettings};

/// One app or robot.
#[derive(Clone, Debug)]
pub struct ChannelConfig {
    /// The name, the map's key.
    pub name: String,
    /// Whether it takes part. If not, its callbacks and sends are refused.
    pub enabled: bool,
    /// The last part of its callback URL.
    pub handler: String,
    /// How sealed callbacks are opened; `None` if there are none.
    pub sealed: Option<SealedSettings>,
    /// What it is, and what that needs to send.
    pub kind: ChannelKindConfig,
    /// What is said at once to those who call back.
    pub replies: RepliesConfig,
    /// Who else gets its callbacks as they came.
    pub shadow: Option<ShadowConfig>,
}

impl ChannelConfig {
    /// Whether the channel has what it takes to be called.
    pub fn has_route(&self) -> bool {
        let has_secret = matches!(&self.kind, ChannelKindConfig::Robot(robot) if !robot.secret.is_empty());
        self.sealed.is_some() || has_secret
    }

    /// The channel in its role of calling us.
    pub fn source(&self) -> SourceSettings {
        let (agent_id, plain_secret) = match &self.kind {
            ChannelKindConfig::App(app) => (app.agent_id.map(|id| id.to_string()), Secret::default()),
            ChannelKindConfig::Robot(robot) => (None, robot.secret.clone()),
        };
        SourceSettings {
            name: self.name.clone(),
            handler: self.handler.clone(),
            enabled: self.enabled,
            sealed: self.sealed.clone(),
            agent_id,
            plain_secret,
            plain_window_ms: PLAIN_WINDOW_MS,
        }
    }

    /// Whether the channel has what it takes to send.
    pub fn can_send(&self) -> bool {
        match &self.kind {
            ChannelKindConfig::App(app) => {
                !app.corp_id.is_empty() && !app.secret.is_empty() && app.agent_id.is_some()
            }
            ChannelKindConfig::Robot(robot) => !robot.webhook_url.is_empty(),
        }
    }
}

/// What a channel is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelKindConfig {
    /// `type: wechat_api`, an app of a WeCom corp.
    App(AppConfig),
    /// `type: wechat_bot`, a group robot.
    Robot(RobotConfig),
}

/// What the keys of a type gave.
struct Found {
    /// Whether anything is set.
    is_set: bool,
    sealed: Option<SealedSettings>,
    kind: ChannelKindConfig,
}

/// The types there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChannelType {
    App,
    Robot,
}

impl ChannelType {
    const ALL: [Self; 2] = [Self::App, Self::Robot];

    /// The text of the configuration, and the name of the shipped channel.
    const fn as_str(self) -> &'static str {
        match self {
            Self::App => "wechat_api",
            Self::Robot => "wechat_bot",
        }
    }

    const fn handler(self) -> &'static str {
        match self {
            Self::App => "api",
            Self::Robot => "bot",
        }
    }
}

/// Reads the map of channels; a file without it has the shipped two.
pub(super) fn read(section: &mut Section<'_, '_>) -> Vec<ChannelConfig> {
    const KEY: &str = "channels";
    let entries = match section.entries(KEY) {
        Some((_, entries)) => entries,
        None => ChannelType::ALL.map(|kind| absent(section, kind)).into(),
    };
    let mut channels = Vec::new();
    for Entry { key: name, place, node } in entries {
        if !is_name(&name) {
            section.wrong(KEY, place, format!("`{name}` should have letters, digits, `_`, `-` and `.` only"));
            continue;
        }
        channels.extend(section.sub(&format!("{KEY}.{name}"), node, |section| channel(section, name)));
    }
    channels
}

/// The shipped channel of `kind`, with nothing said about it.
fn absent(section: &Section<'_, '_>, kind: ChannelType) -> Entry {
    let node = Node { place: section.place(), value: Value::Null };
    Entry { key: kind.as_str().to_owned(), place: section.place(), node }
}

fn channel(section: &mut Section<'_, '_>, name: String) -> Option<ChannelConfig> {
    let kind = section.parsed("type", &name, "wechat_api or wechat_bot", |text| {
        ChannelType::ALL.into_iter().find(|kind| kind.as_str() == text)
    });
    let Some(kind) = kind else {
        section.ignore_rest();
        return None;
    };
    let enabled = section.flag("enabled", true);
    if !enabled {
        section.allow_unset();
    }
    let handler = section
        .parsed("handler", kind.handler(), "letters, digits, `_`, `-` and `.`, and not `verify`", |text| {
            (is_name(text) && text != "verify").then(|| text.to_owned())
        })
        .unwrap_or_default();
    let shipped = name == kind.as_str();
    let found = match kind {
        ChannelType::App => app::read(section, shipped, enabled),
        ChannelType::Robot => robot::read(section, shipped, enabled),
    };
    if enabled && !found.is_set {
        section.warn(format!("channel {name} is off: none of its variables is set"));
    }
    let enabled = enabled && found.is_set;
    let replies = replies::read(section);
    let shadow = section.section("shadow", shadow::read);
    let channel =
        ChannelConfig { name, enabled, handler, sealed: found.sealed, kind: found.kind, replies, shadow };
    if channel.enabled {
        warn_of_halves(section, &channel);
    }
    Some(channel)
}

/// Checks addresses, which needs the other sections.
pub(super) fn check(root: &mut Section<'_, '_>, channels: &[ChannelConfig], guard: &Guard) {
    for channel in channels.iter().filter(|channel| channel.enabled) {
        let ask = channel.replies.ask.as_ref().map(|ask| ("ask", &ask.url, &ask.place));
        let shadow = channel.shadow.as_ref().map(|shadow| ("shadow", &shadow.url, &shadow.place));
        for (key, url, place) in ask.into_iter().chain(shadow) {
            if let Err(why) = guard.url(url) {
                root.wrong(&format!("channels.{}.{key}.url", channel.name), place.clone(), why);
            }
        }
    }
}

/// Says what a channel in use cannot do.
fn warn_of_halves(section: &mut Section<'_, '_>, channel: &ChannelConfig) {
    let name = &channel.name;
    if !channel.has_route() {
        section.warn(format!(
            "channel {name} has no callback route: its token and encoding_aes_key are not set"
        ));
    }
    if !channel.can_send() {
        section.warn(format!("channel {name} cannot send: its keys for sending are left empty"));
    }
}

/// Whether `text` can be the name of a channel or a handler: it stands in URLs, logs and metrics.
fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        && !text.bytes().all(|b| b == b'.')
}
