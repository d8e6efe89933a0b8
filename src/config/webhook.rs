//! `webhook:` — where the gateway listens, and whom it listens to.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::document::{Entry, Value};
use super::section::Section;

/// The listening side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookConfig {
    /// Whether callback routes exist; health and management stay without them.
    pub enabled: bool,
    /// The address to listen on.
    pub host: IpAddr,
    /// The port to listen on; 0 takes a free one.
    pub port: u16,
    /// Where management listens instead; `None`: where callbacks do.
    pub management: Option<SocketAddr>,
    /// The gateway's address as the platform sees it, without a trailing `/`; empty if unknown.
    pub public_url: String,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Client addresses that may call; empty allows all.
    pub allow: Vec<IpNet>,
    /// Client addresses without a request budget.
    pub rate_exempt: Vec<IpNet>,
    /// What is done about the addresses that the platform says it calls from.
    pub platform_addresses: PlatformAddressesConfig,
    /// How often the platform is asked for them.
    pub platform_addresses_every_ms: u64,
    /// Domain ownership files by name (`WW_verify_….txt`) and their text.
    pub verify_files: BTreeMap<String, String>,
}

/// What is done about the addresses that the platform says it calls from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlatformAddressesConfig {
    /// It is not asked.
    #[default]
    Off,
    /// They are shown, and have no request budget.
    Show,
    /// Besides, callbacks from elsewhere are refused.
    Enforce,
}

impl PlatformAddressesConfig {
    fn parse(text: &str) -> Option<Self> {
        [("off", Self::Off), ("show", Self::Show), ("enforce", Self::Enforce)]
            .into_iter()
            .find_map(|(word, it)| (word == text).then_some(it))
    }
}

pub(super) fn read(section: &mut Section<'_, '_>) -> WebhookConfig {
    WebhookConfig {
        enabled: section.flag("enabled", true),
        host: section
            .parsed("host", "0.0.0.0", "an IP address to listen on, such as 0.0.0.0 or ::", |text| {
                text.parse().ok()
            })
            .unwrap_or(IpAddr::from([0, 0, 0, 0])),
        port: section.number("port", 0..=u16::MAX, 8080),
        management: management(section),
        public_url: public_url(section),
        trusted_proxies: networks(section, "trusted_proxies", "${GATEWAY_TRUSTED_PROXIES:-}"),
        allow: networks(section, "allow", "${GATEWAY_ALLOW:-}"),
        rate_exempt: networks(section, "rate_exempt", ""),
        platform_addresses: section
            .parsed("platform_addresses", "off", "off, show or enforce", PlatformAddressesConfig::parse)
            .unwrap_or_default(),
        platform_addresses_every_ms: section.number(
            "platform_addresses_every_ms",
            100..=604_800_000,
            86_400_000,
        ),
        verify_files: verify_files(section),
    }
}

/// `HOST:PORT`; empty for none.
fn management(section: &mut Section<'_, '_>) -> Option<SocketAddr> {
    let read = |text: &str| if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) };
    let expected = "empty, or an address and a port such as 127.0.0.1:8081";
    section.parsed("management", "${GATEWAY_MANAGEMENT:-}", expected, read).flatten()
}

fn public_url(section: &mut Section<'_, '_>) -> String {
    section
        .parsed(
            "public_url",
            "${GATEWAY_PUBLIC_URL:-}",
            "empty, or an http or https address without a query",
            |text| {
                let is_plain = !text.contains(['?', '#', '@', ' ']);
                let is_web = text.is_empty() || super::is_web_url(text);
                (is_plain && is_web).then(|| text.trim_end_matches('/').to_owned())
            },
        )
        .unwrap_or_default()
}

/// A list of networks; a single address is a network of one.
pub(super) fn networks(section: &mut Section<'_, '_>, key: &str, default: &str) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for (text, place) in section.texts(key, default) {
        match text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
            Ok(network) => networks.push(network.trunc()),
            Err(_) => {
                section.wrong(key, place, format!("`{text}` is no address or network such as 10.0.0.0/8"));
            }
        }
    }
    networks
}

fn verify_files(section: &mut Section<'_, '_>) -> BTreeMap<String, String> {
    const KEY: &str = "verify_files";
    let mut files = BTreeMap::new();
    let (place, entries) = section.entries(KEY).unzip();
    for Entry { key: name, place, node } in entries.unwrap_or_default() {
        if !is_verify_file(&name) {
            section.wrong(KEY, place, format!("`{name}` should be a name like WW_verify_0aB1.txt"));
            continue;
        }
        let Value::Text(text) = node.value else {
            section.wrong(KEY, node.place, format!("`{name}` should have the file's text"));
            continue;
        };
        if text.len() > VERIFY_FILE_BYTES_MAX {
            let what = format!("the text of `{name}` should have at most {VERIFY_FILE_BYTES_MAX} bytes");
            section.wrong(KEY, node.place, what);
            continue;
        }
        files.insert(name, text);
    }
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    section.note_plain(KEY, format!("{{{}}}", names.join(", ")), place.map(|place| place.line));
    files
}

fn is_verify_file(name: &str) -> bool {
    name.strip_prefix("WW_verify_").and_then(|rest| rest.strip_suffix(".txt")).is_some_and(|code| {
        (1..=64).contains(&code.len())
            && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    })
}

const VERIFY_FILE_BYTES_MAX: usize = 4096;
