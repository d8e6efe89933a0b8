//! A caller of the API: one request, one connection, with a key or without.

use std::net::SocketAddr;

use serde_json::Value;

use crate::wire::{Answer, Wire};

/// A caller at one address with one key.
#[derive(Clone)]
pub(crate) struct Rest {
    address: SocketAddr,
    key: Option<String>,
}

impl Rest {
    pub(crate) fn new(address: SocketAddr, key: Option<&str>) -> Self {
        Self { address, key: key.map(str::to_owned) }
    }

    /// Sends a request with further header lines, each ending in CR LF.
    pub(crate) async fn send(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> Answer {
        let key = self.key.as_ref().map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
        let length = format!("Content-Length: {}\r\n", body.len());
        let length = if body.is_empty() && method == "GET" { "" } else { &length };
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{key}{headers}{length}\r\n"
        );
        let mut wire = Wire::connect(self.address).await.expect("it listens");
        wire.send(&[head.as_bytes(), body].concat()).await.expect("it reads");
        let mut answer = wire.head().await.expect("it answers");
        answer.body = wire.rest().await;
        answer
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.send("GET", target, "", b"").await
    }

    pub(crate) async fn post(&self, target: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send("POST", target, "Content-Type: application/json\r\n", body.as_bytes()).await
    }

    /// The JSON of an answer that has to be 200.
    pub(crate) async fn json(&self, target: &str) -> Value {
        let answer = self.get(target).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        serde_json::from_slice(&answer.body).expect("JSON")
    }
}

/// The JSON of an answer.
pub(crate) fn json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("no JSON: {}", answer.text()))
}
