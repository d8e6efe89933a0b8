//! Who is really calling: the client's address behind proxies we trust, and which addresses may call what.
//!
//! `X-Forwarded-For` is read only from a trusted proxy and only from the right: each trusted hop vouches for the
//! entry to its left, the first address that is not a trusted proxy is the client. `Forwarded` and `X-Real-IP` are
//! never used.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::http::platform_addresses::PlatformAddresses;
use crate::sabotage::{self, Protection};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// An address as a client is counted by: one IPv4 address, or the /64 that one customer has in IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressKey(u128);

impl AddressKey {
    /// The key of `address`; an IPv4 address written as IPv6 counts as IPv4.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().to_bits()),
            IpAddr::V6(v6) => Self(v6.to_bits() & !u128::from(u64::MAX)),
        }
    }

    /// The key as a number.
    pub(crate) fn bits(self) -> u128 {
        self.0
    }

    /// The key of which `bits` are the number.
    pub(crate) fn from_bits(bits: u128) -> Self {
        Self(bits)
    }
}

/// Networks and what they are for. Empty lists: `trusted_proxies` and `rate_exempt` nobody, `*_allow` everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerRules {
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Who may send callbacks.
    pub callback_allow: Vec<IpNet>,
    /// Who may call the API, with the right key.
    pub api_allow: Vec<IpNet>,
    /// Who has no request budget, for example the platform's own addresses.
    pub rate_exempt: Vec<IpNet>,
    /// Where the platform says it calls from.
    pub platform: PlatformAddresses,
}

impl PeerRules {
    /// Whether `peer` is a proxy whose word counts.
    pub fn is_trusted_proxy(&self, peer: IpAddr) -> bool {
        contains(&self.trusted_proxies, peer.to_canonical())
    }

    /// Whether `client` may send callbacks: it is listed, or it is one of the platform's addresses. With neither list
    /// in force everybody may.
    pub(crate) fn may_call_back(&self, client: IpAddr) -> bool {
        if self.platform.in_force() {
            contains(&self.callback_allow, client)
                || self.platform.hold(client)
                || sabotage::off(Protection::AddressList)
        } else {
            allows(&self.callback_allow, client)
        }
    }

    /// The client behind `peer`.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.is_trusted_proxy(client) {
            return client;
        }
        // Several header lines are one list, in order (RFC 9110 §5.3).
        let lines: Vec<&str> =
            headers.get_all(X_FORWARDED_FOR).iter().map(|line| line.to_str().unwrap_or("?")).collect();
        for entry in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
            let Some(address) = parse_entry(entry) else {
                // What a proxy reports is not an address: the proxy is all we know.
                return client;
            };
            client = address;
            if !self.is_trusted_proxy(client) {
                return client;
            }
        }
        client
    }
}

/// Whether `networks` is empty or holds `address`.
pub(crate) fn allows(networks: &[IpNet], address: IpAddr) -> bool {
    networks.is_empty() || contains(networks, address) || sabotage::off(Protection::AddressList)
}

/// Whether `networks` holds `address`.
pub(crate) fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:4711`.
fn parse_entry(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    entry
        .parse::<IpAddr>()
        .ok()
        .or_else(|| entry.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
        .or_else(bracketed)
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(trusted: &[&str]) -> PeerRules {
        PeerRules {
            trusted_proxies: trusted.iter().map(|net| net.parse().unwrap()).collect(),
            ..PeerRules::default()
        }
    }

    fn client(rules: &PeerRules, peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(X_FORWARDED_FOR, line.parse().unwrap());
        }
        headers.insert("x-real-ip", "203.0.113.66".parse().unwrap());
        headers.insert("forwarded", "for=203.0.113.67".parse().unwrap());
        rules.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn nobody_is_believed_without_trust() {
        let none = rules(&[]);
        assert_eq!(client(&none, "198.51.100.7", &["192.0.2.1"]), "198.51.100.7");
        let other = rules(&["10.0.0.0/8"]);
        assert_eq!(client(&other, "198.51.100.7", &["192.0.2.1"]), "198.51.100.7");
        assert_eq!(client(&other, "::ffff:198.51.100.7", &["192.0.2.1"]), "198.51.100.7");
    }

    #[test]
    fn the_client_is_the_rightmost_hop_that_is_not_ours() {
        let ours = rules(&["10.0.0.0/8", "fd00::/8"]);
        for (peer, forwarded, expected) in [
            ("10.0.0.1", &["192.0.2.1"][..], "192.0.2.1"),
            ("10.0.0.1", &["1.1.1.1, 192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", &["1.1.1.1, 192.0.2.1, 10.9.9.9"], "192.0.2.1"),
            ("10.0.0.1", &["1.1.1.1", "192.0.2.1", "10.9.9.9"], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.1:4711"], "192.0.2.1"),
            ("10.0.0.1", &["2001:db8::1"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1", &["::ffff:192.0.2.1"], "192.0.2.1"),
            ("::ffff:10.0.0.1", &["192.0.2.1"], "192.0.2.1"),
            ("fd00::1", &["192.0.2.1, fd12::7"], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.2"], "10.0.0.2"),
            // What is not an address ends the walk at the hop that reported it.
            ("10.0.0.1", &["192.0.2.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.1, , 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["192.0.2.1, 300.1.1.1, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["\"192.0.2.1\""], "10.0.0.1"),
        ] {
            assert_eq!(client(&ours, peer, forwarded), expected, "{peer} {forwarded:?}");
        }
        let long = ["1.2.3.4"; 200].join(",");
        assert_eq!(client(&ours, "10.0.0.1", &[&long]), "1.2.3.4");
    }

    #[test]
    fn a_customer_is_one_ipv4_address_or_one_ipv6_network() {
        let key = |text: &str| AddressKey::of(text.parse().unwrap());
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
    }

    #[test]
    fn an_empty_allow_list_allows_all() {
        let address = "192.0.2.1".parse().unwrap();
        assert!(allows(&[], address) && !contains(&[], address));
        let nets: Vec<IpNet> = vec!["192.0.2.0/24".parse().unwrap()];
        assert!(allows(&nets, address) && !allows(&nets, "198.51.100.1".parse().unwrap()));
    }
}
