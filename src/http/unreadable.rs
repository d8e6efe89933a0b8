//! Requests whose head cannot be read: they never become a request, yet their sender gets an answer like others.
//!
//! hyper answers them itself, with a status and nothing else. That answer is held back on the wire, and ours is sent
//! in its place: a problem with the id under which the log has it.

use std::net::SocketAddr;

use axum::http::StatusCode;
use http_body_util::BodyExt;

use crate::http::gate::Gate;
use crate::http::problem::Problem;

/// hyper's own answers are shorter.
const BARE_BYTES_MAX: usize = 256;

/// The status of an answer that hyper made by itself, if `bytes` are one. Ours carry the id of their request.
pub(crate) fn bare_status(bytes: &[u8]) -> Option<u16> {
    if bytes.len() > BARE_BYTES_MAX {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    let (line, headers) = text.strip_prefix("HTTP/1.1 ")?.split_once("\r\n")?;
    let is_empty = headers.lines().any(|header| header.eq_ignore_ascii_case("content-length: 0"));
    let is_ours = headers.to_ascii_lowercase().contains("x-request-id:");
    let status = line.get(..3)?.parse().ok()?;
    (is_empty && !is_ours && (400..500).contains(&status)).then_some(status)
}

/// The bytes to answer with.
pub(crate) async fn answer(gate: &Gate, peer: SocketAddr, status: u16) -> Vec<u8> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let request_id = gate.turn_away(peer, "head");
    tracing::debug!(%request_id, %peer, status = status.as_u16(), "the head of a request cannot be read");
    let (parts, body) = Problem::of_status(status).to_json(request_id).into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let reason = status.canonical_reason().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\nconnection: close\r\n", status.as_u16()).into_bytes();
    for (name, value) in &parts.headers {
        bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    let rest = format!("x-request-id: {request_id}\r\ncontent-length: {}\r\n\r\n", body.len());
    bytes.extend_from_slice(rest.as_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hypers_own_answers_are_held_back() {
        let bare =
            "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(bare_status(bare.as_bytes()), Some(431));
        for other in [
            bare.replace("431", "200"),
            bare.replace("431", "503"),
            bare.replace("connection: close", "X-Request-Id: req_1"),
            bare.replace(": 0", ": 7"),
            bare.trim_end().to_owned(),
            format!("{bare}x"),
            bare.replace("close", &"x".repeat(300)),
            String::new(),
        ] {
            assert_eq!(bare_status(other.as_bytes()), None, "{other}");
        }
    }
}
