//! Every limit of the HTTP side, with its default.
//!
//! The YAML keys under `limits:` carry the same names. A limit exists so that no client, however slow, large or
//! busy, can take what the others need.

use crate::store::{PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX};

/// Up to this many header lines hyper needs no memory for them: any other number costs a few percent of speed.
pub(crate) const HEADERS_MAX_QUICK: usize = 100;

/// Limits of connections, requests and clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Open connections; one more is told `503` and closed.
    pub connections_max: usize,
    /// Open connections of one address (of one /64 in IPv6). Trusted proxies are not counted.
    pub connections_per_address_max: usize,
    /// Longest wait for the head of a request, from its first byte (on a new connection: from its opening).
    pub head_timeout_ms: u64,
    /// Longest wait for the body of a request, from the end of its head.
    pub body_timeout_ms: u64,
    /// How long a kept-alive connection may be silent. Above the idle limit of the proxy in front, or now and then
    /// one of its requests meets a connection that is just being closed.
    pub idle_timeout_ms: u64,
    /// How long a client may take no byte of an answer that is ready.
    pub write_timeout_ms: u64,
    /// Longest work on one request once it is read. Callbacks have a shorter deadline of their own.
    pub handling_timeout_ms: u64,
    /// Longest stop: then what is still open is cut off.
    pub stop_timeout_ms: u64,
    /// How long readiness says no before the listener closes.
    pub stop_notice_ms: u64,
    /// Largest head of a request, request line included.
    pub head_bytes_max: usize,
    /// Most header lines.
    pub headers_max: usize,
    /// Longest path and query.
    pub uri_bytes_max: usize,
    /// Largest body of a callback.
    pub body_bytes_max: usize,
    /// Largest body of any other call.
    pub api_body_bytes_max: usize,
    /// Largest body of a call that sends messages.
    pub send_body_bytes_max: usize,
    /// Largest file, or form with a file, to be uploaded.
    pub upload_bytes_max: usize,
    /// All bodies in flight together.
    pub bodies_in_flight_bytes_max: usize,
    /// Callbacks a second from one address; 0: no limit.
    pub rate_per_address_per_s: u32,
    /// Callbacks at once from one address.
    pub rate_burst: u32,
    /// Other requests a second from one address; 0: no limit.
    pub api_rate_per_address_per_s: u32,
    /// Other requests at once from one address.
    pub api_rate_burst: u32,
    /// Wrong API keys a minute from one address; 0: no limit.
    pub wrong_keys_per_address_per_minute: u32,
    /// Most rows a second that strangers cause: refused requests, and callers turned away. The rest is counted.
    pub strangers_rows_per_s_max: usize,
    /// Rows in one page of a list when nobody says.
    pub page_rows_default: usize,
    /// Most rows in one page of a list.
    pub page_rows_max: usize,
    /// Longest time of one erasure; what is left then is for the next call.
    pub erase_timeout_ms: u64,
    /// How long a caller of `/cgi-bin` waits for the platform's answer.
    pub answer_wait_ms: u64,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connections_per_address_max: 1_024,
            head_timeout_ms: 10_000,
            body_timeout_ms: 10_000,
            idle_timeout_ms: 60_000,
            write_timeout_ms: 10_000,
            handling_timeout_ms: 30_000,
            stop_timeout_ms: 9_000,
            stop_notice_ms: 250,
            head_bytes_max: 32 << 10,
            headers_max: HEADERS_MAX_QUICK,
            uri_bytes_max: 8 << 10,
            body_bytes_max: 1 << 20,
            api_body_bytes_max: 64 << 10,
            send_body_bytes_max: 4 << 20,
            upload_bytes_max: (20 << 20) + (64 << 10),
            bodies_in_flight_bytes_max: 32 << 20,
            rate_per_address_per_s: 1_000,
            rate_burst: 2_000,
            api_rate_per_address_per_s: 50,
            api_rate_burst: 200,
            wrong_keys_per_address_per_minute: 10,
            strangers_rows_per_s_max: 50,
            page_rows_default: PAGE_LIMIT_DEFAULT,
            page_rows_max: PAGE_LIMIT_MAX,
            erase_timeout_ms: 20_000,
            answer_wait_ms: 10_000,
        }
    }
}
