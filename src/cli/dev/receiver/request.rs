//! Requests as the receiver reads them: by hand, so that it depends on nothing the gateway uses.

use std::fmt::Write as _;
use std::io;

use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::signature;

/// Longest head, and longest body.
const HEAD_BYTES_MAX: usize = 64 << 10;
const BODY_BYTES_MAX: usize = 4 << 20;

/// One request.
#[derive(Clone, Debug)]
pub struct Received {
    /// `POST`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case, values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// When it was read, wall ms.
    pub at_ms: i64,
}

impl Received {
    /// The path.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter of the query.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let query = self.target.split_once('?')?.1;
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
    }

    /// A parameter of the query, with `%7B` read as `{`.
    pub fn decoded(&self, name: &str) -> Option<String> {
        let query = self.target.split_once('?')?.1;
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Whether a signature in it was made with `secret`.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        signature::is_right(self, secret)
    }

    pub(super) fn to_json(&self) -> Value {
        let headers: serde_json::Map<String, Value> =
            self.headers.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        json!({
            "at_ms": self.at_ms,
            "method": self.method,
            "target": self.target,
            "headers": headers,
            "body": String::from_utf8_lossy(&self.body),
        })
    }

    /// For the terminal: control characters of a stranger must not reach it.
    pub(super) fn shown(&self, secret: Option<&str>, brief: bool) -> String {
        let mut text = format!("{} {}", self.method, self.target);
        if let Some(secret) = secret {
            text.push_str(if self.is_signed_with(secret) { "  signature ok" } else { "  SIGNATURE WRONG" });
        }
        if brief {
            let _infallible = write!(text, "  {}", self.header("webhook-id").unwrap_or_default());
        } else {
            for (name, value) in &self.headers {
                let _infallible = write!(text, "\n  {name}: {value}");
            }
            let _infallible = write!(text, "\n\n{}\n", String::from_utf8_lossy(&self.body));
        }
        text.chars().map(|c| if c.is_control() && c != '\n' { '·' } else { c }).collect()
    }
}

/// The next request of a connection; `None` at its end. `rest` holds what was read too much.
pub(super) async fn read(stream: &mut TcpStream, rest: &mut Vec<u8>) -> io::Result<Option<Received>> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let end = loop {
        if let Some(at) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if rest.len() > HEAD_BYTES_MAX {
            return Err(invalid());
        }
        if more(stream, rest).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).into_owned();
    rest.drain(..end + 4);
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(Some(0), |(_, value)| value.parse::<usize>().ok());
    let length = length.filter(|length| *length <= BODY_BYTES_MAX).ok_or_else(invalid)?;
    while rest.len() < length {
        if more(stream, rest).await? == 0 {
            return Ok(None);
        }
    }
    let body = rest.drain(..length).collect();
    Ok(Some(Received { method: method.to_owned(), target: target.to_owned(), headers, body, at_ms: 0 }))
}

async fn more(stream: &mut TcpStream, rest: &mut Vec<u8>) -> io::Result<usize> {
    stream.read_buf(rest).await
}
