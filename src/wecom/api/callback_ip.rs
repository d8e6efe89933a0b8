//! `getcallbackip`: the addresses that callbacks come from.

use ipnet::IpNet;
use serde::Deserialize;

use super::answer::{ApiAnswer, NoAnswer};

/// Most entries of a list that are read.
const ENTRIES_MAX: usize = 4_096;

/// Reads the answer's `ip_list`. Entries that are no address, network or pattern such as `192.0.2.*` are left out.
///
/// # Errors
/// The platform refuses, or it is no answer of its.
pub fn parse(body: &[u8]) -> Result<Vec<IpNet>, Refused> {
    #[derive(Deserialize)]
    struct Wire {
        #[serde(default)]
        ip_list: Vec<String>,
    }
    let answer = ApiAnswer::parse(body)?;
    if answer.errcode != 0 {
        return Err(Refused::Code(answer.errcode));
    }
    let Wire { ip_list } = serde_json::from_slice(body).map_err(|_other_form| NoAnswer)?;
    Ok(ip_list.iter().take(ENTRIES_MAX).filter_map(|entry| network(entry.trim())).collect())
}

/// Why there is no list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The platform says so.
    #[error("the platform answers {0}")]
    Code(i64),
    /// Something else answers.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
}

/// `192.0.2.1`, `192.0.2.*`, `192.0.*.*`, `192.0.2.0/24`, `2001:db8::1`, `2001:db8::/32`.
fn network(entry: &str) -> Option<IpNet> {
    if entry.contains('/') {
        return entry.parse::<IpNet>().ok().filter(|network| network.prefix_len() > 0).map(|it| it.trunc());
    }
    if entry.contains(':') {
        return format!("{entry}/128").parse().ok();
    }
    let stars = entry.split('.').rev().take_while(|part| *part == "*").count();
    let bits = match stars {
        0 => 32,
        1 => 24,
        2 => 16,
        _ => return None,
    };
    let zeros: Vec<&str> = entry.split('.').map(|part| if part == "*" { "0" } else { part }).collect();
    let only_last = entry.matches('*').count() == stars;
    only_last.then(|| format!("{}/{bits}", zeros.join(".")).parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_networks_and_patterns_are_read_and_nothing_else() {
        let body = br#"{"errcode":0,"errmsg":"ok","ip_list":["101.226.103.4","101.226.104.*","58.60.*.*",
            "10.0.0.0/8","2001:db8::/32","2001:db8::1","*.*.*.*","1.2.*.4","1.2.3.4.*","0.0.0.0/0","x","1.2.3"]}"#;
        let shown: Vec<String> = parse(body).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "101.226.103.4/32",
                "101.226.104.0/24",
                "58.60.0.0/16",
                "10.0.0.0/8",
                "2001:db8::/32",
                "2001:db8::1/128"
            ]
        );
    }

    #[test]
    fn refusals_and_strange_pages_are_no_list() {
        assert_eq!(parse(br#"{"errcode":40014,"errmsg":"invalid","ip_list":[]}"#), Err(Refused::Code(40014)));
        assert_eq!(parse(b"<html>"), Err(Refused::NoAnswer(NoAnswer)));
        assert_eq!(parse(br#"{"errcode":0,"ip_list":"all"}"#), Err(Refused::NoAnswer(NoAnswer)));
        assert_eq!(parse(br#"{"errcode":0}"#), Ok(Vec::new()));
    }
}
