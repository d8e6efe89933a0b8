//! YAML and environment → checked types, once, at start; all problems reported at once.
//!
//! A file per section. [`load`] is the way in: it reads the file, replaces `${VAR}`, checks every key, and gives either
//! a [`Config`] or every [`Problem`] there is. Where a part of the gateway states settings of its own, they are read
//! straight into those, so that each default stands once; how the parts use them is for `app` to know.

mod alerts;
mod auth;
mod channels;
mod database;
mod document;
mod encryption;
mod endpoints;
mod environment;
mod file;
mod limits;
mod logging;
mod mongodb;
mod outbound;
mod problem;
mod redis;
mod retention;
mod section;
mod service;
mod setting;
mod spool;
mod variables;
mod webhook;

use std::path::Path;
use std::sync::Arc;

pub use auth::AuthConfig;
pub use channels::{
    AppConfig, AskConfig, ChannelConfig, ChannelKindConfig, RULES_MAX, RepliesConfig, RobotConfig,
    ShadowConfig,
};
pub use database::without_password;
pub use encryption::EncryptionConfig;
pub use endpoints::EndpointConfig;
pub use environment::Environment;
pub use file::ConfigFile;
pub use limits::LimitsConfig;
pub use logging::{LogFileConfig, LogFormat, LogLevel, LogLevels, LoggingConfig};
pub use outbound::OutboundConfig;
pub use problem::{Place, Problem, Problems};
pub use retention::RetentionConfig;
pub use service::{Deployment, ServiceConfig};
pub use setting::{Origin, Setting};
pub use webhook::{PlatformAddressesConfig, WebhookConfig};

use crate::endpoint::guard::Guard;
use crate::ephemeral::RedisSettings;
use crate::source::Sources;
use crate::spool::SpoolSettings;
use crate::store::StoreSettings;
use crate::upkeep::alerts::AlertSettings;
use section::{Reading, Section};

/// The whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name, version and environment.
    pub service: ServiceConfig,
    /// The listening side.
    pub webhook: WebhookConfig,
    /// Where the facts are kept.
    pub database: StoreSettings,
    /// Where short-lived state is shared.
    pub redis: RedisSettings,
    /// Who may ask and manage.
    pub auth: AuthConfig,
    /// What seals rows.
    pub encryption: EncryptionConfig,
    /// Apps and robots, in the order of the file.
    pub channels: Vec<ChannelConfig>,
    /// Every bound.
    pub limits: LimitsConfig,
    /// The log.
    pub logging: LoggingConfig,
    /// Where callbacks go while MySQL is away.
    pub spool: Option<SpoolSettings>,
    /// How long rows are kept.
    pub retention: RetentionConfig,
    /// Who is told when something needs people.
    pub alerts: AlertSettings,
    /// How business systems may be called.
    pub outbound: OutboundConfig,
    /// Business systems of the file.
    pub endpoints: Vec<EndpointConfig>,
    /// What works, but perhaps not as meant; one line each, for the log at start.
    pub warnings: Vec<String>,
    /// Every key in force, secrets masked.
    pub settings: Vec<Setting>,
}

/// Reads the file `path` with the variables of `environment`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path, environment: &Environment) -> Result<Config, Problems> {
    let file: Arc<str> = path.display().to_string().into();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&file, &text, environment),
        Err(error) => {
            let what = format!("cannot be read: {error}");
            Err(Problems(vec![Problem { place: Place::file(file), path: String::new(), what }]))
        }
    }
}

/// Reads `text`, the content of `file`.
///
/// # Errors
/// As [`load`].
pub fn parse(file: &Arc<str>, text: &str, environment: &Environment) -> Result<Config, Problems> {
    let root = document::parse(file, text).map_err(|problem| Problems(vec![problem]))?;
    let mut reading =
        Reading { environment, problems: Vec::new(), warnings: Vec::new(), settings: Vec::new() };
    let mut section = Section::new(&mut reading, String::new(), root);
    let mut config = sections(&mut section);
    section.finish();
    if !reading.problems.is_empty() {
        reading.problems.sort_by_key(|problem| (problem.place.line, problem.place.column));
        return Err(Problems(reading.problems));
    }
    let sources = config.channels.iter().map(ChannelConfig::source).collect();
    if let Err(clashes) = Sources::build(sources) {
        let clash =
            |what| Problem { place: Place::file(Arc::clone(file)), path: "channels".to_owned(), what };
        return Err(Problems(clashes.into_iter().map(clash).collect()));
    }
    config.warnings = reading.warnings;
    config.settings = reading.settings;
    Ok(config)
}

fn sections(root: &mut Section<'_, '_>) -> Config {
    let archive = root.section("mongodb", mongodb::read);
    let config = Config {
        service: root.section("service", service::read),
        webhook: root.section("webhook", webhook::read),
        database: root.section("database", database::read),
        spool: root.section("spool", spool::read),
        redis: root.section("redis", redis::read),
        auth: root.section("auth", auth::read),
        encryption: root.section("encryption", encryption::read),
        channels: channels::read(root),
        limits: root.section("limits", limits::read),
        logging: root.section("logging", logging::read),
        retention: root.section("retention", retention::read),
        alerts: root.section("alerts", alerts::read),
        outbound: root.section("outbound", outbound::read),
        endpoints: endpoints::read(root, archive),
        warnings: Vec::new(),
        settings: Vec::new(),
    };
    endpoints::check(root, &config);
    channels::check(root, &config.channels, &Guard::new(config.guard_rules()));
    config
}

/// Whether `text` is an address of the web.
fn is_web_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_alphanumeric() || c == '[') && !rest.contains(char::is_whitespace)
    })
}
