//! `redis:` — short-lived state shared by replicas. An empty address means `REDIS_*` if `REDIS_HOST` is set.

use super::database::{percent_encoded, without_password};
use super::section::{Scalar, Section};
use crate::secret::Secret;

/// Where short-lived state is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisConfig {
    /// `redis://:password@host:port`; `None` keeps that state in the process.
    pub url: Option<Secret>,
}

pub(super) fn read(section: &mut Section<'_, '_>) -> RedisConfig {
    const KEY: &str = "url";
    let scalar = section.scalar(KEY, "${REDIS_URL:-}");
    section.report_unset(KEY, &scalar);
    let text = scalar.text.trim();
    if !text.is_empty() {
        if !(text.starts_with("redis://") || text.starts_with("rediss://")) {
            section.wrong(KEY, scalar.place.clone(), "should be redis://:password@host:port".to_owned());
        }
        section.note(KEY, without_password(text), &scalar);
        return RedisConfig { url: Some(Secret::new(text)) };
    }
    let environment = section.reading.environment;
    let Some(host) = environment.get("REDIS_HOST") else {
        section.note(KEY, String::new(), &scalar);
        return RedisConfig { url: None };
    };
    let port = environment.get("REDIS_PORT").unwrap_or("6379");
    let login =
        environment.get("REDIS_PASSWORD").map(|it| format!(":{}@", percent_encoded(it))).unwrap_or_default();
    let url = format!("redis://{login}{host}:{port}");
    let scalar = Scalar { written: "${REDIS_HOST}".to_owned(), ..scalar };
    section.note(KEY, without_password(&url), &scalar);
    RedisConfig { url: Some(Secret::new(url)) }
}
