//! `redis:` — short-lived state shared by replicas. An empty address means `REDIS_*` if `REDIS_HOST` is set.

use super::database::{percent_encoded, without_password};
use super::section::{Scalar, Section};
use crate::ephemeral::RedisSettings;
use crate::secret::Secret;

pub(super) fn read(section: &mut Section<'_, '_>) -> RedisSettings {
    let of = RedisSettings::default();
    let url = url(section);
    let expected = format!("1 to {PREFIX_CHARS_MAX} letters, digits or any of -_.:");
    let is_prefix = |text: &str| {
        (1..=PREFIX_CHARS_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
    };
    RedisSettings {
        url,
        prefix: section
            .parsed("prefix", &of.prefix, &expected, |text| is_prefix(text).then(|| text.to_owned()))
            .unwrap_or_default(),
        connect_timeout_ms: section.number("connect_timeout_ms", 10..=10_000, of.connect_timeout_ms),
        timeout_ms: section.number("timeout_ms", 10..=10_000, of.timeout_ms),
        share_every_ms: section.number("share_every_ms", 20..=10_000, of.share_every_ms),
    }
}

/// Longest beginning of a key.
const PREFIX_CHARS_MAX: usize = 64;

fn url(section: &mut Section<'_, '_>) -> Option<Secret> {
    const KEY: &str = "url";
    let scalar = section.scalar(KEY, "${REDIS_URL:-}");
    section.report_unset(KEY, &scalar);
    let text = scalar.text.trim();
    if !text.is_empty() {
        let is_right = url::Url::parse(text)
            .is_ok_and(|url| matches!(url.scheme(), "redis" | "rediss") && url.host_str().is_some());
        if !is_right {
            section.wrong(KEY, scalar.place.clone(), "should be redis://:password@host:port".to_owned());
        }
        section.note(KEY, without_password(text), &scalar);
        return Some(Secret::new(text));
    }
    let environment = section.reading.environment;
    let Some(host) = environment.get("REDIS_HOST") else {
        section.note(KEY, String::new(), &scalar);
        return None;
    };
    let host =
        if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    let port = environment.get("REDIS_PORT").unwrap_or("6379");
    if port.parse::<u16>().is_err() {
        section.wrong(KEY, scalar.place.clone(), "variable REDIS_PORT should be a port number".to_owned());
    }
    let login =
        environment.get("REDIS_PASSWORD").map(|it| format!(":{}@", percent_encoded(it))).unwrap_or_default();
    let url = format!("redis://{login}{host}:{port}");
    let scalar = Scalar { written: "${REDIS_HOST}".to_owned(), ..scalar };
    section.note(KEY, without_password(&url), &scalar);
    Some(Secret::new(url))
}
