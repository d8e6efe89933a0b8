//! `database:` — where the facts are kept. An empty address means `MYSQL_*` if `MYSQL_HOST` is set, else a file.

use std::ops::RangeInclusive;

use super::problem::Place;
use super::section::{Scalar, Section};
use crate::secret::Secret;
use crate::store::{Durability, StoreSettings};

pub(super) fn read(section: &mut Section<'_, '_>) -> StoreSettings {
    let defaults = StoreSettings::default();
    StoreSettings {
        url: url(section),
        durability: section
            .parsed("durability", defaults.durability.as_str(), "strict or relaxed", Durability::parse)
            .unwrap_or_default(),
        connections_max: section.number("connections_max", 1..=256, defaults.connections_max),
        acquire_timeout_ms: section.number("acquire_timeout_ms", TIMEOUT_MS, defaults.acquire_timeout_ms),
        statement_timeout_ms: section.number(
            "statement_timeout_ms",
            TIMEOUT_MS,
            defaults.statement_timeout_ms,
        ),
        seals: defaults.seals,
        may_be_away: false,
    }
}

fn url(section: &mut Section<'_, '_>) -> Secret {
    const KEY: &str = "url";
    let scalar = section.scalar(KEY, "${DATABASE_URL:-}");
    section.report_unset(KEY, &scalar);
    let text = scalar.text.trim();
    if text.is_empty() {
        let url = from_mysql_variables(section, &scalar.place);
        let written = if url.is_some() { "${MYSQL_HOST}".to_owned() } else { scalar.written };
        let url = url.unwrap_or_else(|| SQLITE_DEFAULT.to_owned());
        section.note(KEY, without_password(&url), &Scalar { written, ..scalar });
        return Secret::new(url);
    }
    if !(text.starts_with("sqlite:") || text.starts_with("mysql://") || text.starts_with("mariadb://")) {
        let what = "should be sqlite:path or mysql://user:password@host:port/name".to_owned();
        section.wrong(KEY, scalar.place.clone(), what);
    }
    section.note(KEY, without_password(text), &scalar);
    Secret::new(text)
}

/// The address that the `MYSQL_*` variables give, if `MYSQL_HOST` is set.
fn from_mysql_variables(section: &mut Section<'_, '_>, place: &Place) -> Option<String> {
    let environment = section.reading.environment;
    let host = environment.get("MYSQL_HOST")?;
    let host =
        if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    let port = environment.get("MYSQL_PORT").unwrap_or("3306");
    let [user, database] = ["MYSQL_USER", "MYSQL_DATABASE"].map(|name| {
        let value = environment.get(name);
        if value.is_none() {
            section.wrong("url", place.clone(), format!("variable {name} is not set, but MYSQL_HOST is"));
        }
        value.unwrap_or_default()
    });
    let password = environment.get("MYSQL_PASSWORD").unwrap_or_default();
    if port.parse::<u16>().is_err() {
        section.wrong("url", place.clone(), "variable MYSQL_PORT should be a port number".to_owned());
    }
    let colon = if password.is_empty() { "" } else { ":" };
    let (user, password, database) =
        (percent_encoded(user), percent_encoded(password), percent_encoded(database));
    let tls = from_tls_variables(section, place);
    Some(format!("mysql://{user}{colon}{password}@{host}:{port}/{database}{tls}"))
}

/// How the `MYSQL_SSL_*` variables want the connection to be encrypted, as the address says it. An authority is
/// there to be asked: with one, certificates are checked unless another mode is named.
fn from_tls_variables(section: &mut Section<'_, '_>, place: &Place) -> String {
    let environment = section.reading.environment;
    let authority = environment.get("MYSQL_SSL_CA");
    let mode = environment.get("MYSQL_SSL_MODE").or(authority.map(|_| "VERIFY_CA"));
    if mode.is_some_and(|mode| !SSL_MODES.contains(&mode)) {
        let what = format!("variable MYSQL_SSL_MODE should be one of {}", SSL_MODES.join(", "));
        section.wrong("url", place.clone(), what);
    }
    let mut query = String::new();
    for (option, value) in [
        ("ssl-mode", mode),
        ("ssl-ca", authority),
        ("ssl-cert", environment.get("MYSQL_SSL_CERT")),
        ("ssl-key", environment.get("MYSQL_SSL_KEY")),
    ] {
        if let Some(value) = value {
            query.push(if query.is_empty() { '?' } else { '&' });
            query.extend([option, "=", &percent_encoded(value)]);
        }
    }
    query
}

/// What MySQL's own clients call them.
const SSL_MODES: [&str; 5] = ["DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"];

/// Writes everything but letters, digits and `-._~` as `%XX`, so that any password can stand in an address.
pub(super) fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// The address `url` for people: the password shows as `***`.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = path.split(['?', '#']).next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((login, host)) => {
            let user = login.split(':').next().unwrap_or_default();
            let hidden = if login.contains(':') { ":***" } else { "" };
            format!("{scheme}://{user}{hidden}@{host}{path}")
        }
        None => format!("{scheme}://{authority}{path}"),
    }
}

const TIMEOUT_MS: RangeInclusive<u64> = 10..=60_000;
const SQLITE_DEFAULT: &str = "sqlite:data/gateway.db";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_their_password() {
        for (url, shown) in [
            ("sqlite:data/gateway.db", "sqlite:data/gateway.db"),
            ("mysql://u:p%40x@db:3306/n", "mysql://u:***@db:3306/n"),
            ("mysql://u:p@ss@db:3306/n?ssl-key=k", "mysql://u:***@db:3306/n"),
            ("mysql://u@db/n", "mysql://u@db/n"),
            ("mysql://db", "mysql://db"),
            ("redis://:secret@cache:6379", "redis://:***@cache:6379"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

    #[test]
    fn every_character_of_a_password_survives_an_address() {
        assert_eq!(percent_encoded("aZ9-._~"), "aZ9-._~");
        assert_eq!(percent_encoded("@:/#% ?密"), "%40%3A%2F%23%25%20%3F%E5%AF%86");
    }
}
