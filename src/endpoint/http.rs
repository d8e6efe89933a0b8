//! One request to a business system, and what it came to.
//!
//! 2xx is success, whatever the body says. Redirects are failures and never followed. What the other side answers is
//! a stranger's input: it is read up to a limit in bytes and time, and only its beginning is kept. Connections are
//! reused; a request that was cut off may have arrived and is sent again, which receivers know by `webhook-id`.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use reqwest::Url;

use super::guard::Guard;
use crate::domain::evidence::cut;
use crate::domain::outcome::{Outcome, RetryCause, Try};
use crate::sabotage::{self, Protection};
use crate::secret::Secret;

/// How much of an answer is kept.
pub const ANSWER_KEPT_BYTES: usize = 4_096;

/// Limits and ways of requests to business systems.
#[derive(Clone, Debug)]
pub struct WebSettings {
    /// Longest wait for name, connection and TLS.
    pub connect_timeout_ms: u64,
    /// Longest wait for the head of an answer.
    pub head_timeout_ms: u64,
    /// How much of an answer is read.
    pub answer_bytes_max: usize,
    /// Idle connections kept for each host.
    pub idle_connections_max: usize,
    /// A proxy for everything; empty: none. The environment's proxies are not used.
    pub proxy: Secret,
    /// Certificates (PEM) trusted beside the system's.
    pub extra_roots: Vec<u8>,
}

impl Default for WebSettings {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 3_000,
            head_timeout_ms: 10_000,
            answer_bytes_max: 65_536,
            idle_connections_max: 64,
            proxy: Secret::default(),
            extra_roots: Vec::new(),
        }
    }
}

/// Calls business systems. Cheap to clone.
#[derive(Clone, Debug)]
pub struct WebClient {
    client: reqwest::Client,
    guard: Guard,
    settings: WebSettings,
}

/// A request to be made.
#[derive(Debug)]
pub struct WebRequest {
    /// Where to; checked again here.
    pub url: Url,
    /// Everything but the user agent.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
    /// Longest time for all of it.
    pub timeout_ms: u64,
}

impl WebClient {
    /// A client behind `guard`.
    ///
    /// # Errors
    /// The proxy or the certificates cannot be used.
    pub fn new(settings: WebSettings, guard: Guard) -> Result<Self, String> {
        // A program that links the gateway as a library may have chosen another provider; then that one stays.
        let _chosen_before = rustls::crypto::ring::default_provider().install_default();
        let redirects = if sabotage::off(Protection::NoRedirects) {
            reqwest::redirect::Policy::default()
        } else {
            reqwest::redirect::Policy::none()
        };
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("wecom-gateway/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_millis(settings.connect_timeout_ms))
            .pool_max_idle_per_host(settings.idle_connections_max)
            .pool_idle_timeout(Duration::from_secs(20))
            .redirect(redirects)
            .retry(reqwest::retry::never())
            .referer(false)
            .tcp_nodelay(true)
            .dns_resolver(guard.clone())
            .no_proxy();
        if !settings.proxy.is_empty() {
            let proxy = reqwest::Proxy::all(settings.proxy.expose());
            builder =
                builder.proxy(proxy.map_err(|_with_password| "outbound.proxy is not an address".to_owned())?);
        }
        if !settings.extra_roots.is_empty() {
            let roots = reqwest::Certificate::from_pem_bundle(&settings.extra_roots);
            builder = builder.tls_certs_merge(roots.map_err(|error| format!("outbound.ca_file: {error}"))?);
        }
        let client = builder.build().map_err(|error| chain(&error))?;
        Ok(Self { client, guard, settings })
    }

    /// The guard in front.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Limits and ways.
    pub fn settings(&self) -> &WebSettings {
        &self.settings
    }

    /// Makes one request.
    pub async fn post(&self, request: WebRequest) -> Try {
        let whole = Duration::from_millis(request.timeout_ms);
        match tokio::time::timeout(whole, self.exchange(request)).await {
            Ok(tried) => tried,
            Err(_elapsed) => {
                failed(Outcome::Lost, None, &format!("no whole answer in {} ms", whole.as_millis()))
            }
        }
    }

    /// Makes one request whose answer matters: all of it, if it has at most `bytes_max` bytes.
    ///
    /// # Errors
    /// There is no whole answer.
    pub async fn ask(&self, request: WebRequest, bytes_max: usize) -> Result<WebAnswer, WebFault> {
        let whole = Duration::from_millis(request.timeout_ms);
        let asked = async {
            let answer = self.begin(request).await.map_err(|tried| match tried.outcome {
                Outcome::Lost => WebFault::Lost(tried.error.unwrap_or_default()),
                _ => WebFault::NotSent(tried.error.unwrap_or_default()),
            })?;
            read_whole(answer, bytes_max).await
        };
        tokio::time::timeout(whole, asked)
            .await
            .unwrap_or_else(|_elapsed| Err(WebFault::Late(u64::try_from(whole.as_millis()).unwrap_or(0))))
    }

    async fn exchange(&self, request: WebRequest) -> Try {
        match self.begin(request).await {
            Ok(answer) => self.read(answer).await,
            Err(tried) => tried,
        }
    }

    /// Sends the request; the answer once its head is here, or what came of it instead.
    async fn begin(&self, request: WebRequest) -> Result<reqwest::Response, Try> {
        let not_sent = Outcome::Retry { cause: RetryCause::NotSent, after_ms: None };
        if let Err(why) = self.guard.url(request.url.as_str()) {
            return Err(failed(not_sent, None, &format!("the address {why}")));
        }
        // A proxy resolves names itself, out of the guard's sight.
        if !self.settings.proxy.is_empty()
            && let Some(url::Host::Domain(name)) = request.url.host()
            && let Err(refused) = self.guard.resolve(name).await
        {
            return Err(failed(not_sent, None, &format!("the host {refused}")));
        }
        let mut headers = HeaderMap::with_capacity(request.headers.len());
        headers.extend(request.headers);
        let sent = self.client.post(request.url).headers(headers).body(request.body).send();
        let head = Duration::from_millis(self.settings.head_timeout_ms);
        match tokio::time::timeout(head, sent).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                let never_left = error.is_connect() || error.is_builder();
                let why = chain(&error.without_url());
                Err(failed(if never_left { not_sent } else { Outcome::Lost }, None, &why))
            }
            Err(_elapsed) => {
                Err(failed(Outcome::Lost, None, &format!("no answer in {} ms", head.as_millis())))
            }
        }
    }

    async fn read(&self, mut answer: reqwest::Response) -> Try {
        let http_status = answer.status().as_u16();
        let retry_after_s = answer
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse::<i64>().ok());
        let (mut kept, mut read) = (Vec::new(), 0_usize);
        loop {
            match answer.chunk().await {
                Ok(Some(part)) => {
                    read = read.saturating_add(part.len());
                    let room = ANSWER_KEPT_BYTES.saturating_sub(kept.len());
                    kept.extend(part.iter().take(room));
                    // The status has said it all; the connection is closed with what is still to come.
                    if read > self.settings.answer_bytes_max && !sabotage::off(Protection::AnswerLimit) {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    let why = format!("the answer broke off: {}", chain(&error.without_url()));
                    return failed(Outcome::Lost, Some(http_status), &why);
                }
            }
        }
        let answer = (!kept.is_empty()).then(|| shown(&kept));
        let (outcome, error) = meaning(http_status, retry_after_s);
        Try {
            outcome,
            http_status: Some(i64::from(http_status)),
            errcode: None,
            error,
            answer,
            response_code: None,
        }
    }
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebAnswer {
    /// The status, redirects among them.
    pub http_status: u16,
    /// `Content-Type`, if it is text.
    pub content_type: Option<String>,
    /// The body.
    pub body: Bytes,
}

/// Why there is no whole answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebFault {
    /// The request did not leave.
    #[error("{0}")]
    NotSent(String),
    /// Not within these milliseconds.
    #[error("no whole answer in {0} ms")]
    Late(u64),
    /// The connection or the protocol broke.
    #[error("{0}")]
    Lost(String),
    /// More than these bytes.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

/// Reads an answer to its end, or to the first byte too many.
async fn read_whole(mut answer: reqwest::Response, bytes_max: usize) -> Result<WebAnswer, WebFault> {
    let http_status = answer.status().as_u16();
    let content_type = answer.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
    let mut body = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(part)) => {
                if body.len().saturating_add(part.len()) > bytes_max
                    && !sabotage::off(Protection::AnswerLimit)
                {
                    return Err(WebFault::TooLong(bytes_max));
                }
                body.extend_from_slice(&part);
            }
            Ok(None) => return Ok(WebAnswer { http_status, content_type, body: body.into() }),
            Err(error) => {
                return Err(WebFault::Lost(format!("the answer broke off: {}", chain(&error.without_url()))));
            }
        }
    }
}

/// What a status means.
fn meaning(http_status: u16, retry_after_s: Option<i64>) -> (Outcome, Option<String>) {
    let said = |what: &str| Some(format!("HTTP {http_status}{what}"));
    let retry = |cause, after_ms| Outcome::Retry { cause, after_ms };
    match http_status {
        200..=299 => (Outcome::Accepted { references: Vec::new(), refused: Vec::new() }, None),
        300..=399 => (retry(RetryCause::Failed, None), said(": redirects are not followed")),
        410 => (Outcome::Refused, said(": the other side says that it is gone")),
        429 | 503 => {
            let after_ms = retry_after_s.map(|seconds| seconds.saturating_mul(1_000));
            (retry(RetryCause::Busy, after_ms), said(""))
        }
        _ => (retry(RetryCause::Failed, None), said("")),
    }
}

fn failed(outcome: Outcome, http_status: Option<u16>, why: &str) -> Try {
    let why = cut(why, 1_000).to_owned();
    Try {
        outcome,
        http_status: http_status.map(i64::from),
        errcode: None,
        error: Some(why),
        answer: None,
        response_code: None,
    }
}

/// The beginning of an answer, fit to be stored and shown.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let clean: String =
        text.chars().map(|c| if c.is_control() && c != '\n' { '\u{FFFD}' } else { c }).collect();
    cut(&clean, ANSWER_KEPT_BYTES).to_owned()
}

/// An error with its causes, which is where the useful part is.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::Ending;

    #[test]
    fn every_status_has_its_meaning() {
        for status in 100..=599_u16 {
            let (outcome, error) = meaning(status, Some(7));
            let expected = match status {
                200..=299 => Ending::Accepted,
                410 => Ending::Refused,
                429 | 503 => Ending::Busy,
                _ => Ending::Failed,
            };
            assert_eq!(outcome.ending(), expected, "{status}");
            assert_eq!(error.is_none(), expected == Ending::Accepted);
        }
        let (outcome, _) = meaning(503, Some(7));
        assert_eq!(outcome, Outcome::Retry { cause: RetryCause::Busy, after_ms: Some(7_000) });
    }

    #[test]
    fn an_answer_is_cut_and_cleaned() {
        assert_eq!(shown(b"a\x1b[31mb\r\n\xff"), "a\u{FFFD}[31mb\u{FFFD}\n\u{FFFD}");
        assert!(shown(&[0xFF; ANSWER_KEPT_BYTES]).len() <= ANSWER_KEPT_BYTES);
    }
}
