//! One address of an endpoint: an event leaves through it as a signed request, or as an entry of a stream.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use url::Url;

use crate::domain::delivery::Delivery;
use crate::domain::endpoint::{Endpoint, EndpointSpec};
use crate::domain::outcome::Try;
use crate::endpoint::http::{WebClient, WebRequest};
use crate::endpoint::payload::Body;
use crate::endpoint::publication::Publication;
use crate::endpoint::signing::{self, Signed, SigningKey};
use crate::endpoint::stream::StreamClient;
use crate::secret::Secret;
use crate::store::StoredEvent;

/// Secrets of an endpoint, newest first, each with the wall ms until which it is good; `None`: for good.
pub type Secrets = [(Secret, Option<i64>)];

/// One address.
#[derive(Debug)]
pub(super) enum Outlet {
    /// A receiver.
    Web(Box<WebOutlet>),
    /// A broker.
    Stream(StreamClient),
}

/// A receiver, and how requests to it are signed.
#[derive(Debug)]
pub(super) struct WebOutlet {
    client: WebClient,
    url: Url,
    keys: Arc<[(SigningKey, Option<i64>)]>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// One event on its way out.
pub(super) struct Sending<'s> {
    pub(super) place: usize,
    pub(super) delivery: &'s Delivery,
    pub(super) event: &'s StoredEvent,
    pub(super) body: &'s Body,
    pub(super) tried: usize,
    pub(super) now_wall_ms: i64,
}

impl Outlet {
    /// The outlets of an endpoint, one for each address.
    ///
    /// # Errors
    /// An address that may not be called, with what is wrong.
    pub(super) fn all(
        spec: &EndpointSpec,
        secrets: &Secrets,
        client: &WebClient,
    ) -> Result<Vec<Self>, String> {
        if !spec.kind.is_http() {
            let secret = secrets.first().map(|(secret, _)| secret.clone());
            let around = (client.guard(), client.settings());
            let of = |url: &str| StreamClient::new(&spec.kind, url, secret.clone(), around);
            return spec.targets.iter().map(|target| Ok(Self::Stream(of(&target.url)?))).collect();
        }
        // What cannot be read is left out.
        let read =
            |(secret, until_ms): &(Secret, Option<i64>)| Some((SigningKey::parse(secret).ok()?, *until_ms));
        let keys: Arc<[_]> = secrets.iter().filter_map(read).collect();
        let web = |url: &str| {
            Ok(Self::Web(Box::new(WebOutlet {
                client: client.clone(),
                url: client.guard().url(url)?,
                keys: Arc::clone(&keys),
                headers: own_headers(&spec.headers),
            })))
        };
        spec.targets.iter().map(|target| web(&target.url)).collect()
    }

    /// Sends, once.
    pub(super) async fn send(&self, endpoint: &Endpoint, sending: &Sending<'_>) -> Try {
        let timeout_ms = u64::try_from(endpoint.spec.timeout_ms).unwrap_or(0);
        match self {
            Self::Web(web) => web.post(endpoint, sending, timeout_ms).await,
            Self::Stream(stream) => {
                let Sending { event, body, delivery, .. } = *sending;
                let publication = Publication {
                    id: event.id.as_str(),
                    kind: event.kind.as_str(),
                    source: &event.source,
                    body,
                    version: endpoint.payload_version,
                    run: delivery.run,
                    accepted_ms: event.accepted_ms,
                };
                stream.publish(&publication, Duration::from_millis(timeout_ms)).await
            }
        }
    }

    /// Its host, for people.
    pub(super) fn host(&self) -> &str {
        match self {
            Self::Web(web) => web.url.host_str().unwrap_or_default(),
            Self::Stream(stream) => stream.host(),
        }
    }
}

impl WebOutlet {
    async fn post(&self, endpoint: &Endpoint, sending: &Sending<'_>, timeout_ms: u64) -> Try {
        let Sending { delivery, event, body, tried, now_wall_ms, .. } = *sending;
        let timestamp_s = now_wall_ms.div_euclid(1_000);
        let (id, kind) = (event.id.as_str(), event.kind.as_str());
        let signed = Signed { id, kind, timestamp_s, body: &body.bytes };
        let in_force = |until_ms: &Option<i64>| until_ms.is_none_or(|until_ms| until_ms > now_wall_ms);
        let keys: Vec<&SigningKey> =
            self.keys.iter().filter(|(_, until_ms)| in_force(until_ms)).map(|(key, _)| key).collect();
        let mut headers = self.headers.clone();
        headers.push((header::CONTENT_TYPE, HeaderValue::from_static(body.content_type)));
        let mut add = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.push((HeaderName::from_static(name), value));
            }
        };
        for (name, value) in signing::headers(endpoint.spec.dialect, &keys, &signed) {
            add(name, &value);
        }
        add("x-webhook-event", kind);
        add("x-webhook-version", &endpoint.payload_version.to_string());
        add("x-webhook-attempt", &tried.to_string());
        if delivery.run > 0 {
            add("x-webhook-replay", "true");
        }
        let request =
            WebRequest { url: self.url.clone(), headers, body: Bytes::clone(&body.bytes), timeout_ms };
        self.client.post(request).await
    }
}

fn own_headers(headers: &[(String, String)]) -> Vec<(HeaderName, HeaderValue)> {
    let read = |(name, value): &(String, String)| {
        Some((HeaderName::try_from(name.as_str()).ok()?, HeaderValue::try_from(value.as_str()).ok()?))
    };
    headers.iter().filter_map(read).collect()
}
