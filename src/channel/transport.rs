//! One HTTP request out, and what is certain about it afterwards.
//!
//! The difference that matters is whether the other side can have seen the request: what never left may be sent
//! again, what left and was not answered may have been taken. So connections are not reused (a kept one may be
//! closed under a request that was already written), nothing is repeated or redirected, and the environment's
//! proxies are not used.

use std::error::Error;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::secret::Secret;

/// Limits of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportLimits {
    /// Longest wait for name, connection and TLS.
    pub connect_timeout_ms: u64,
    /// Longest time for all of it: connection, request, head and body of the answer.
    pub attempt_timeout_ms: u64,
    /// Longest body of an answer that is read.
    pub answer_bytes_max: usize,
}

impl Default for TransportLimits {
    fn default() -> Self {
        Self { connect_timeout_ms: 3_000, attempt_timeout_ms: 8_000, answer_bytes_max: 65_536 }
    }
}

/// What is certain after a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// Nothing reached the other side.
    NotSent {
        /// Why not, without the address.
        why: String,
    },
    /// It may have arrived; a whole answer did not come.
    Lost {
        /// The HTTP status, if the head of an answer came.
        http_status: Option<u16>,
        /// What happened, without the address.
        why: String,
    },
    /// A whole answer.
    Answered {
        /// The HTTP status.
        http_status: u16,
        /// `Retry-After`, if given in seconds.
        retry_after_s: Option<i64>,
        /// The body.
        body: Bytes,
    },
}

/// Makes requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Transport {
    client: reqwest::Client,
    limits: TransportLimits,
}

impl Transport {
    /// A transport within `limits`.
    pub fn new(limits: TransportLimits) -> Result<Self, String> {
        // A program that links the gateway as a library may have chosen another provider; then that one stays.
        let _chosen_before = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .user_agent(concat!("wecom-gateway/", env!("CARGO_PKG_VERSION")))
            // Shorter than the whole, so that a slow connection is known not to have sent anything.
            .connect_timeout(Duration::from_millis(
                limits.connect_timeout_ms.min(limits.attempt_timeout_ms / 2),
            ))
            .timeout(Duration::from_millis(limits.attempt_timeout_ms))
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .build()
            .map_err(|error| chain(&error))?;
        Ok(Self { client, limits })
    }

    /// The longest that one request can take.
    pub fn attempt_timeout_ms(&self) -> u64 {
        self.limits.attempt_timeout_ms
    }

    /// Posts `body` as JSON.
    pub async fn post_json(&self, url: &Secret, body: String) -> Exchange {
        let request = self
            .client
            .post(url.expose())
            .header(reqwest::header::CONTENT_TYPE, "application/json; charset=utf-8")
            .body(body);
        self.exchange(request).await
    }

    /// Posts `body` as it is.
    pub async fn post(&self, url: &Secret, content_type: &str, body: Bytes) -> Exchange {
        let request =
            self.client.post(url.expose()).header(reqwest::header::CONTENT_TYPE, content_type).body(body);
        self.exchange(request).await
    }

    /// Gets `url`.
    pub async fn get(&self, url: &Secret) -> Exchange {
        self.exchange(self.client.get(url.expose())).await
    }

    async fn exchange(&self, request: reqwest::RequestBuilder) -> Exchange {
        match request.send().await {
            Ok(answer) => self.read(answer).await,
            Err(error) => {
                let never_left = error.is_connect() || error.is_builder();
                let why = chain(&error.without_url());
                if never_left { Exchange::NotSent { why } } else { Exchange::Lost { http_status: None, why } }
            }
        }
    }

    async fn read(&self, mut answer: reqwest::Response) -> Exchange {
        let http_status = answer.status().as_u16();
        let lost = |why: String| Exchange::Lost { http_status: Some(http_status), why };
        let retry_after_s = answer
            .headers()
            .get(reqwest::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let mut body = BytesMut::new();
        loop {
            match answer.chunk().await {
                Ok(Some(part)) if body.len() + part.len() > self.limits.answer_bytes_max => {
                    return lost(format!("the answer is longer than {} bytes", self.limits.answer_bytes_max));
                }
                Ok(Some(part)) => body.extend_from_slice(&part),
                Ok(None) => return Exchange::Answered { http_status, retry_after_s, body: body.freeze() },
                Err(error) => return lost(chain(&error.without_url())),
            }
        }
    }
}

/// An error with its causes, which is where the useful part is.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
