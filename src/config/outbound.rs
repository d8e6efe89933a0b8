//! `outbound:` — which addresses of business systems may be called, and how.

use std::net::IpAddr;

use ipnet::IpNet;

use super::section::Section;
use crate::domain::endpoint::{ENDPOINTS_MAX, is_word};
use crate::endpoint::http::WebSettings;

/// The way out to business systems.
#[derive(Clone, Debug)]
pub struct OutboundConfig {
    /// Networks that may be called although they are not public.
    pub networks: Vec<IpNet>,
    /// Names that may be called whatever their addresses are.
    pub hosts: Vec<String>,
    /// Limits, and the proxy.
    pub web: WebSettings,
    /// Most endpoints, of the file and of the API together.
    pub endpoints_max: usize,
}

pub(super) fn read(section: &mut Section<'_, '_>) -> OutboundConfig {
    let of = WebSettings::default();
    let (networks, hosts) = allow(section);
    let proxy = section.secret("proxy", "${GATEWAY_OUTBOUND_PROXY:-}");
    let ca_file = section.text("ca_file", "");
    let mut extra_roots = Vec::new();
    if !ca_file.is_empty() {
        match std::fs::read(&ca_file) {
            Ok(bytes) => extra_roots = bytes,
            Err(error) => section.wrong("ca_file", section.place(), format!("cannot be read: {error}")),
        }
    }
    let web = WebSettings {
        connect_timeout_ms: section.number("connect_timeout_ms", 100..=15_000, of.connect_timeout_ms),
        head_timeout_ms: section.number("head_timeout_ms", 100..=15_000, of.head_timeout_ms),
        answer_bytes_max: section.number("answer_bytes_max", 1_024..=1_048_576, of.answer_bytes_max),
        idle_connections_max: section.number("idle_connections_max", 0..=1_000, of.idle_connections_max),
        proxy,
        extra_roots,
    };
    let endpoints_max = section.number("endpoints_max", 1..=100_000, ENDPOINTS_MAX);
    OutboundConfig { networks, hosts, web, endpoints_max }
}

/// Networks and names in one list.
fn allow(section: &mut Section<'_, '_>) -> (Vec<IpNet>, Vec<String>) {
    const KEY: &str = "allow";
    let (mut networks, mut hosts) = (Vec::new(), Vec::new());
    for (text, place) in section.texts(KEY, "") {
        if let Ok(network) = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
            networks.push(network.trunc());
        } else if is_word(&text) && !text.starts_with(|c: char| c.is_ascii_digit()) {
            hosts.push(text.trim_end_matches('.').to_ascii_lowercase());
        } else {
            section.wrong(KEY, place, format!("`{text}` is no network, address or name"));
        }
    }
    (networks, hosts)
}
