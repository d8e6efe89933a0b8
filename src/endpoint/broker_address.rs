//! Addresses of brokers: `scheme://host:port`, behind the same guard as those of receivers.
//!
//! Without TLS only what the operator allows by name or network, and in development this machine: what is told to a
//! broker is neither signed nor sealed by us.

use std::net::IpAddr;

use reqwest::Url;
use url::Host;

use super::guard::{Guard, Refused};
use crate::domain::endpoint::EndpointKind;

/// How addresses of one kind are written.
struct Form {
    with_tls: &'static str,
    without_tls: &'static str,
    port: u16,
    /// Whether a number may follow: the database.
    has_database: bool,
}

const NATS: Form = Form { with_tls: "tls", without_tls: "nats", port: 4_222, has_database: false };
const REDIS: Form = Form { with_tls: "rediss", without_tls: "redis", port: 6_379, has_database: true };
const MONGODB: Form =
    Form { with_tls: "mongodb+tls", without_tls: "mongodb", port: 27_017, has_database: false };

/// Where a broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAddress {
    /// Its host.
    pub host: Host<String>,
    /// Its port.
    pub port: u16,
    /// Whether the connection is sealed.
    pub has_tls: bool,
    /// The number of the database, of Redis.
    pub database: i64,
}

impl BrokerAddress {
    /// The host as it is written without brackets.
    pub fn host_text(&self) -> String {
        match &self.host {
            Host::Domain(name) => name.clone(),
            Host::Ipv4(ip) => ip.to_string(),
            Host::Ipv6(ip) => ip.to_string(),
        }
    }
}

impl Guard {
    /// Checks `text` as an address of an endpoint of `kind`.
    ///
    /// # Errors
    /// What it must be, for people.
    pub fn check_address(&self, kind: &EndpointKind, text: &str) -> Result<(), String> {
        match kind {
            EndpointKind::Http => self.url(text).map(drop),
            _ => self.broker(kind, text).map(drop),
        }
    }

    /// Reads `text` as the address of a broker.
    ///
    /// # Errors
    /// What it must be, for people.
    pub fn broker(&self, kind: &EndpointKind, text: &str) -> Result<BrokerAddress, String> {
        let form = match kind {
            EndpointKind::Http => return Err("is no broker".to_owned()),
            EndpointKind::Nats { .. } => NATS,
            EndpointKind::RedisStream { .. } => REDIS,
            EndpointKind::MongoDb { .. } => MONGODB,
        };
        let schemes = format!("must begin with {}:// or {}://", form.with_tls, form.without_tls);
        let (scheme, rest) = text.split_once("://").ok_or_else(|| schemes.clone())?;
        let has_tls = scheme.eq_ignore_ascii_case(form.with_tls);
        if !has_tls && !scheme.eq_ignore_ascii_case(form.without_tls) {
            return Err(schemes);
        }
        // Hosts of unknown schemes are not read as such; those of https are.
        let url = Self::form(&format!("https://{rest}"))?;
        let port = port_of(rest).unwrap_or(form.port);
        let database = database(&url, form.has_database)?;
        let host = url.host().ok_or_else(|| "must name a host".to_owned())?.to_owned();
        let address = BrokerAddress { host, port, has_tls, database };
        // It only stands in the configuration, whose author may call what they like.
        if matches!(kind, EndpointKind::MongoDb { .. }) {
            return Ok(address);
        }
        self.check_host(&address.host).map_err(|refused| refused.to_string())?;
        if !has_tls && !self.allows_plain(&address.host) {
            return Err(format!(
                "must begin with {}://, or its host must stand in outbound.allow",
                form.with_tls
            ));
        }
        Ok(address)
    }

    /// The addresses of `host` (a name or an address), all of which may be called.
    ///
    /// # Errors
    /// One of them may not, or there are none.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Refused> {
        match host.parse::<IpAddr>() {
            Ok(ip) => self.check_ip(ip).map(|()| vec![ip]),
            Err(_is_a_name) => self.resolve(host).await,
        }
    }
}

/// The port that is written; the parser leaves out the one that its scheme has anyway.
fn port_of(rest: &str) -> Option<u16> {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (_, port) = authority.rsplit_once(':')?;
    port.parse().ok()
}

fn database(url: &Url, has_database: bool) -> Result<i64, String> {
    if url.query().is_some() {
        return Err("must not have a query".to_owned());
    }
    match url.path().trim_start_matches('/') {
        "" => Ok(0),
        number if has_database => {
            let number = number.parse().ok().filter(|number| (0..=999_999).contains(number));
            number.ok_or_else(|| "must have the number of a database behind the host, or nothing".to_owned())
        }
        _ => Err("must have nothing behind host and port".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::guard::GuardRules;

    fn nats() -> EndpointKind {
        EndpointKind::Nats { user: String::new(), subject: "wecom".to_owned() }
    }

    fn redis() -> EndpointKind {
        EndpointKind::RedisStream { user: String::new(), stream: "wecom".to_owned(), max_length: 0 }
    }

    #[test]
    fn host_port_and_database_are_read() {
        let guard = Guard::new(GuardRules::default());
        let read = |kind: &EndpointKind, text: &str| guard.broker(kind, text).unwrap();
        let address = read(&nats(), "tls://NATS.example.com");
        assert_eq!((address.host_text().as_str(), address.port), ("nats.example.com", 4_222));
        assert_eq!(read(&nats(), "tls://nats.example.com:443/").port, 443);
        let address = read(&redis(), "rediss://[2606:4700::1111]:7000/3");
        assert_eq!((address.host_text().as_str(), address.port), ("2606:4700::1111", 7_000));
        assert_eq!((address.database, address.has_tls), (3, true));
    }

    #[test]
    fn what_is_inside_or_in_clear_has_to_be_allowed() {
        let strict = Guard::new(GuardRules::default());
        for text in [
            "nats://nats.example.com",
            "tls://127.0.0.1",
            "tls://2130706433",
            "tls://nats",
            "tls://10.0.0.1:4222",
            "tls://169.254.169.254",
            "tls://user:pw@nats.example.com",
            "tls://nats.example.com/x",
            "tls://nats.example.com?a=b",
            "tls://nats.example.com:0",
            "https://nats.example.com",
            "redis://nats.example.com",
            "nats.example.com",
            "tls://",
        ] {
            assert!(strict.broker(&nats(), text).is_err(), "{text}");
        }
        let inside = Guard::new(GuardRules {
            development: false,
            networks: vec!["10.0.0.0/8".parse().unwrap()],
            hosts: vec!["nats".to_owned()],
        });
        for text in ["nats://nats:4222", "nats://10.0.0.1", "tls://nats"] {
            assert!(inside.broker(&nats(), text).is_ok(), "{text}");
        }
        for text in ["nats://nats.example.com", "nats://192.168.0.1", "nats://169.254.169.254"] {
            assert!(inside.broker(&nats(), text).is_err(), "{text}");
        }
        let development = Guard::new(GuardRules { development: true, ..GuardRules::default() });
        assert!(development.broker(&redis(), "redis://127.0.0.1:6379/1").is_ok());
        assert!(development.broker(&redis(), "redis://127.0.0.1:6379/x").is_err());
        assert!(development.broker(&redis(), "redis://10.0.0.1").is_err());
    }
}
