//! When a program may call without a key: it runs on this machine, and nobody else speaks through it.
//!
//! A proxy on the same machine would make the whole world look local, so any trace of one closes the door. So does
//! a host name that is not this machine (a page may point its own name at 127.0.0.1), and a page of another origin.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::http::origin::Origin;

const TRACES_OF_A_PROXY: [&str; 2] = ["forwarded", "x-real-ip"];
const X_FORWARDED: &str = "x-forwarded-";
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether the request comes from this machine and from nowhere else.
pub(super) fn is_local(headers: &HeaderMap, origin: &Origin) -> bool {
    origin.peer.is_loopback()
        && origin.client == origin.peer
        && has_loopback_host(headers)
        && !headers
            .keys()
            .any(|name| TRACES_OF_A_PROXY.contains(&name.as_str()) || name.as_str().starts_with(X_FORWARDED))
        && !is_from_another_page(headers)
}

fn has_loopback_host(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']').map_or("", |(name, _)| name),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A browser says where a request comes from; programs say nothing.
fn is_from_another_page(headers: &HeaderMap) -> bool {
    let fetched = headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
    let fetched_elsewhere = fetched.is_some_and(|site| site != b"same-origin" && site != b"none");
    let origin_elsewhere = headers.get(header::ORIGIN).is_some_and(|origin| {
        let authority = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
        authority.is_none() || authority != headers.get(header::HOST).and_then(|host| host.to_str().ok())
    });
    fetched_elsewhere || origin_elsewhere
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Entropy;
    use crate::http::request_id::RequestIds;

    fn local(peer: &str, client: &str, lines: &[(&'static str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let origin = Origin {
            request_id: RequestIds::new(&Entropy::seeded(1)).make(0),
            client: client.parse().unwrap(),
            peer: peer.parse().unwrap(),
        };
        is_local(&headers, &origin)
    }

    #[test]
    fn a_program_on_this_machine_is_local() {
        for host in
            ["127.0.0.1", "127.0.0.1:8080", "localhost", "LocalHost:8080", "[::1]", "[::1]:8080", "127.9.9.9"]
        {
            assert!(local("127.0.0.1", "127.0.0.1", &[("host", host)]), "{host}");
        }
        assert!(local("::1", "::1", &[("host", "localhost:8080")]));
    }

    #[test]
    fn anything_that_smells_of_elsewhere_is_not() {
        let host = ("host", "localhost:8080");
        assert!(!local("192.0.2.1", "192.0.2.1", &[host]));
        assert!(!local("127.0.0.1", "192.0.2.1", &[host]));
        assert!(!local("127.0.0.1", "127.0.0.1", &[]));
        assert!(!local("127.0.0.1", "127.0.0.1", &[host, host]));
        for other in
            ["example.com", "localhost.example.com", "127.0.0.1.example.com", "10.0.0.1", "[::2]", "", "["]
        {
            assert!(!local("127.0.0.1", "127.0.0.1", &[("host", other)]), "{other}");
        }
        for name in ["forwarded", "x-real-ip", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"] {
            assert!(!local("127.0.0.1", "127.0.0.1", &[host, (name, "")]), "{name}");
        }
    }

    #[test]
    fn a_page_of_another_origin_is_not_local() {
        let host = ("host", "localhost:8080");
        assert!(local("127.0.0.1", "127.0.0.1", &[host, ("origin", "http://localhost:8080")]));
        for origin in ["http://evil.example", "http://localhost:9090", "null", "https://localhost:8080"] {
            assert!(!local("127.0.0.1", "127.0.0.1", &[host, ("origin", origin)]), "{origin}");
        }
        for site in ["cross-site", "same-site"] {
            assert!(!local("127.0.0.1", "127.0.0.1", &[host, ("sec-fetch-site", site)]), "{site}");
        }
        assert!(local("127.0.0.1", "127.0.0.1", &[host, ("sec-fetch-site", "none")]));
    }
}
