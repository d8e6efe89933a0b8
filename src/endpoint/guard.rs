//! Which addresses may be called: public ones over https, and what the operator allows.
//!
//! A URL is checked when it is written down, for its form and for addresses that stand in it. A name is resolved once
//! for each connection; every address it has is checked, and the connection goes to those and to no other, so a name
//! that changes its mind in between gains nothing. Addresses of cloud metadata are refused whatever is allowed.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Host;

use crate::sabotage::{self, Protection};

/// What may be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuardRules {
    /// http, and addresses of this machine: for development.
    pub development: bool,
    /// Networks that may be called although they are not public.
    pub networks: Vec<IpNet>,
    /// Names that may be called whatever their addresses are (but for metadata); `.example.com` for all below.
    pub hosts: Vec<String>,
}

/// Finds the addresses of a name.
pub type Lookup =
    dyn Fn(String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> + Send + Sync;

/// The guard. Cheap to clone.
#[derive(Clone)]
pub struct Guard {
    rules: Arc<GuardRules>,
    lookup: Arc<Lookup>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// Why an address is not called.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl Guard {
    /// A guard that asks the system for names.
    pub fn new(rules: GuardRules) -> Self {
        Self::with_lookup(rules, Arc::new(|name| Box::pin(system_lookup(name))))
    }

    /// A guard that asks `lookup` for names.
    pub fn with_lookup(rules: GuardRules, lookup: Arc<Lookup>) -> Self {
        Self { rules: Arc::new(rules), lookup }
    }

    /// Reads `text` as the address of a business system.
    ///
    /// # Errors
    /// What it must be, for people.
    pub fn url(&self, text: &str) -> Result<Url, String> {
        let url = Self::form(text)?;
        let off = sabotage::off(Protection::OutboundGuard);
        match url.scheme() {
            "https" => {}
            "http" if self.rules.development || off => {}
            _ => return Err("must begin with https://".to_owned()),
        }
        let host = url.host().ok_or_else(|| "must name a host".to_owned())?;
        self.check_host(&host.to_owned()).map_err(|refused| refused.to_string())?;
        Ok(url)
    }

    /// An address without what none may have.
    pub(super) fn form(text: &str) -> Result<Url, String> {
        if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
            return Err("must not have blanks, control characters or backslashes".to_owned());
        }
        let url = Url::parse(text).map_err(|_error| "is not an address".to_owned())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not have a user or a password".to_owned());
        }
        if url.fragment().is_some() {
            return Err("must not have a fragment".to_owned());
        }
        if url.port() == Some(0) {
            return Err("must not have the port 0".to_owned());
        }
        Ok(url)
    }

    /// Whether `host` may be called, as far as that can be said without resolving it.
    pub(super) fn check_host(&self, host: &Host<String>) -> Result<(), Refused> {
        match host {
            Host::Ipv4(ip) => self.check(None, IpAddr::V4(*ip)),
            Host::Ipv6(ip) => self.check(None, IpAddr::V6(*ip)),
            Host::Domain(name) => self.check_name(name),
        }
    }

    /// Whether an address may be called that was not found under a name.
    pub(super) fn check_ip(&self, ip: IpAddr) -> Result<(), Refused> {
        self.check(None, ip)
    }

    /// Whether `host` may be spoken to without TLS: the operator has named it, or allowed its network.
    pub(super) fn allows_plain(&self, host: &Host<String>) -> bool {
        let of_network = |ip: IpAddr| self.rules.networks.iter().any(|network| network.contains(&plain(ip)));
        let is_named = match host {
            Host::Ipv4(ip) => of_network(IpAddr::V4(*ip)),
            Host::Ipv6(ip) => of_network(IpAddr::V6(*ip)),
            Host::Domain(name) => self.allows_host(name),
        };
        is_named || self.rules.development || sabotage::off(Protection::OutboundGuard)
    }

    /// The addresses of `name`, all of which may be called.
    ///
    /// # Errors
    /// One of them may not, or there are none.
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, Refused> {
        self.check_name(name)?;
        let found = (self.lookup)(name.to_owned()).await;
        let found = found.map_err(|error| Refused(format!("the name cannot be resolved: {error}")))?;
        if found.is_empty() {
            return Err(Refused("the name has no address".to_owned()));
        }
        for ip in &found {
            self.check(Some(name), *ip)?;
        }
        Ok(found)
    }

    /// Names that always mean something inside.
    fn check_name(&self, name: &str) -> Result<(), Refused> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let inside = ["localhost", "local", "internal", "intranet", "lan", "home", "corp", "arpa"];
        let last = name.rsplit('.').next().unwrap_or_default();
        let is_local = name == "localhost" || name.ends_with(".localhost");
        if name.is_empty() {
            return Err(Refused("must name a host".to_owned()));
        }
        if sabotage::off(Protection::OutboundGuard)
            || self.allows_host(&name)
            || (is_local && self.rules.development)
        {
            return Ok(());
        }
        if inside.contains(&last) || !name.contains('.') {
            return Err(Refused("must not name a host inside; allow it in outbound.allow".to_owned()));
        }
        Ok(())
    }

    /// Whether `ip` may be called, found under `name`.
    fn check(&self, name: Option<&str>, ip: IpAddr) -> Result<(), Refused> {
        let ip = plain(ip);
        if sabotage::off(Protection::OutboundGuard) {
            return Ok(());
        }
        if is_metadata(ip) {
            return Err(Refused("is an address of cloud metadata".to_owned()));
        }
        let is_allowed = is_public(ip)
            || (self.rules.development && ip.is_loopback())
            || self.rules.networks.iter().any(|network| network.contains(&ip))
            || name.is_some_and(|name| self.allows_host(name));
        if is_allowed {
            Ok(())
        } else {
            Err(Refused("is not a public address; allow it in outbound.allow".to_owned()))
        }
    }

    fn allows_host(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.rules.hosts.iter().any(|host| match host.strip_prefix('.') {
            Some(domain) => {
                name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            None => name == *host,
        })
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found = Self::resolve(&guard, name.as_str()).await?;
            // The port is the connector's to fill in.
            let addresses: Addrs = Box::new(found.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(addresses)
        })
    }
}

async fn system_lookup(name: String) -> io::Result<Vec<IpAddr>> {
    Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.map(|address| address.ip()).collect())
}

/// The address that is meant, where one is written inside another.
fn plain(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => embedded(v6).map_or(ip, IpAddr::V4),
    }
}

/// The IPv4 address inside: mapped, compatible, NAT64, 6to4.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match ip.segments() {
        [0, 0, 0, 0, 0, 0xFFFF, high, low]
        | [0x64, 0xFF9B, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some(v4(high, low)),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(v4(high, low)),
        _ => None,
    }
}

fn is_metadata(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            matches!(
                v4.octets(),
                [169, 254, 169, 254] | [169, 254, 170, 2] | [100, 100, 100, 200] | [192, 0, 0, 192]
            )
        }
        IpAddr::V6(v6) => v6.segments() == [0xFD00, 0xEC2, 0, 0, 0, 0, 0, 0x254],
    }
}

/// Whether everybody may reach it (the registries of special addresses of IANA).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !matches!(
            v4.octets(),
            [0 | 10 | 127 | 224..=255, ..]
                | [100, 64..=127, ..]
                | [169, 254, ..]
                | [172, 16..=31, ..]
                | [192, 168, ..]
                | [198, 18 | 19, ..]
                | [192, 0, 0 | 2, _]
                | [192, 88, 99, _]
                | [198, 51, 100, _]
                | [203, 0, 113, _]
        ),
        IpAddr::V6(v6) => {
            let [a, b, ..] = v6.segments();
            let is_global_unicast = (0x2000..=0x3FFF).contains(&a);
            let is_special =
                (a == 0x2001 && (b < 0x200 || b == 0xDB8)) || a == 0x2002 || (a == 0x3FFF && b < 0x1000);
            is_global_unicast && !is_special
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Separated by blanks.
    const REFUSED: &str = r"
        example.com //example.com https:// https:///x http://example.com ftp://example.com
        file:///etc/passwd gopher://example.com javascript:alert(1) data:text/plain,x
        unix:/var/run/docker.sock ws://example.com https://user@example.com https://user:pw@example.com
        https://:pw@example.com https://example.com#x https://example.com:0/ https://example.com:99999/
        https://example.com\@127.0.0.1 https://localhost https://LOCALHOST./ https://a.localhost
        https://printer.local https://metadata.google.internal https://db https://db./ https://wiki.corp
        https://x.home https://nas.lan https://1.0.0.127.in-addr.arpa https://127.0.0.1 https://127.1
        https://127.0.1 https://2130706433 https://0x7f000001 https://0x7f.0.0.1 https://0177.0.0.1
        https://017700000001 https://127.0.0.1. https://0 https://0.0.0.0 https://10.0.0.1 https://10.1
        https://172.16.0.1 https://172.31.255.255 https://192.168.0.1 https://192.168.257
        https://169.254.0.1 https://169.254.169.254 https://169.254.170.2 https://0xA9FEA9FE
        https://2852039166 https://100.100.100.200 https://100.64.0.1 https://100.127.255.255
        https://192.0.0.1 https://192.0.2.1 https://192.88.99.1 https://198.18.0.1 https://198.19.255.255
        https://198.51.100.1 https://203.0.113.1 https://224.0.0.1 https://239.255.255.255
        https://240.0.0.1 https://255.255.255.255 https://[::] https://[::1] https://[::127.0.0.1]
        https://[::ffff:127.0.0.1] https://[::ffff:7f00:1] https://[::ffff:10.0.0.1]
        https://[::ffff:169.254.169.254] https://[64:ff9b::127.0.0.1] https://[64:ff9b::a9fe:a9fe]
        https://[64:ff9b:1::1] https://[2002:7f00:1::] https://[2002:a00:1::] https://[2002:a9fe:a9fe::]
        https://[2001::1] https://[2001:db8::1] https://[2001:10::1] https://[2001:20::1]
        https://[100::1] https://[fc00::1] https://[fd00::1] https://[fd00:ec2::254] https://[fe80::1]
        https://[fe80::1%25eth0] https://[fec0::1] https://[ff02::1] https://[3fff::1] https://[5f00::1]
        https://[4000::1] https://[::ffff:0:127.0.0.1] https://①②⑦.⓪.⓪.① https://127。0。0。1
        https://[0:0:0:0:0:0:0:1] https://[::1 https://1.2.3.4.5 https://256.1.1.1
        https://%31%32%37.0.0.1 https://*.example.com:x HTTPS://127.0.0.1 https:/\127.0.0.1
    ";

    fn production() -> Guard {
        Guard::new(GuardRules::default())
    }

    #[test]
    fn what_may_be_called_in_production() {
        for url in [
            "https://example.com",
            "https://example.com/hook?a=b",
            "https://example.com:8443/hook",
            "https://EXAMPLE.com./hook",
            "https://8.8.8.8/",
            "https://[2606:4700::1111]/",
            "https://xn--fiqs8s.example/",
            "https://例え.example/",
            "https://172.32.0.1/",
            "https://100.128.0.1/",
            "https://[2001:4860:4860::8888]/",
            "https://[::ffff:8.8.8.8]/",
        ] {
            assert!(production().url(url).is_ok(), "{url}: {:?}", production().url(url));
        }
    }

    #[test]
    fn what_may_not() {
        for url in REFUSED.split_ascii_whitespace().chain([
            "",
            "https://exa mple.com",
            "https://example.com/\n",
            "https://exam\tple.com",
        ]) {
            assert!(production().url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn development_allows_this_machine_and_http_and_nothing_else() {
        let guard = Guard::new(GuardRules { development: true, ..GuardRules::default() });
        for url in
            ["http://127.0.0.1:9000/hook", "http://localhost:9000", "http://[::1]/", "http://example.com"]
        {
            assert!(guard.url(url).is_ok(), "{url}");
        }
        for url in ["http://10.0.0.1", "http://169.254.169.254", "ftp://127.0.0.1", "http://db"] {
            assert!(guard.url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn what_the_operator_allows_may_be_called_but_never_metadata() {
        let guard = Guard::new(GuardRules {
            development: false,
            networks: vec!["10.0.0.0/8".parse().unwrap(), "169.254.0.0/16".parse().unwrap()],
            hosts: vec!["erp".to_owned(), ".intra.example".to_owned()],
        });
        for url in ["https://10.1.2.3", "https://erp", "https://a.intra.example", "https://169.254.1.1"] {
            assert!(guard.url(url).is_ok(), "{url}");
        }
        for url in ["http://10.1.2.3", "https://192.168.0.1", "https://crm", "https://169.254.169.254"] {
            assert!(guard.url(url).is_err(), "{url}");
        }
        assert!(!guard.allows_host("evilintra.example") && guard.allows_host("intra.example"));
    }

    #[tokio::test]
    async fn a_name_with_one_forbidden_address_is_refused_as_a_whole() {
        let answers: Arc<Lookup> = Arc::new(|name| {
            Box::pin(async move {
                let all = ["8.8.8.8", "127.0.0.1", "2606:4700::1111", "::1"];
                let chosen = name
                    .trim_end_matches(".example.com")
                    .split('-')
                    .filter_map(|n| all.get(n.parse::<usize>().ok()?));
                Ok(chosen.map(|ip| ip.parse().unwrap()).collect())
            })
        });
        let guard = Guard::with_lookup(GuardRules::default(), answers);
        for (name, is_fine) in [
            ("0", true),
            ("0-2", true),
            ("1", false),
            ("0-1", false),
            ("1-0", false),
            ("2-3", false),
            ("9", false),
        ] {
            assert_eq!(guard.resolve(&format!("{name}.example.com")).await.is_ok(), is_fine, "{name}");
        }
    }
}
