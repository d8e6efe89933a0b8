//! A source of your own: a shop that posts `{"order": 7, "state": "paid"}` with the header `x-shop-key`.
//!
//! `cargo run --example custom_source` sends it two requests. In a gateway it listens at
//! `/api/v1/webhooks/shop/orders`, and its events are kept, deduplicated, shown and delivered like WeCom's.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use wecom_gateway::domain::event::{Event, EventKind, Format};
use wecom_gateway::secret::Secret;
use wecom_gateway::source::{Accepted, AcceptedEvent, Answer, CustomSource, RawCallback, Refused, Sources};
use wecom_gateway::wecom::limits::ReadLimits;
use wecom_gateway::wecom::refusal::{Refusal, Step};

struct Shop {
    key: Secret,
}

impl CustomSource for Shop {
    fn name(&self) -> &'static str {
        "shop"
    }

    fn kind(&self) -> &'static str {
        "shop"
    }

    fn handler(&self) -> &'static str {
        "orders"
    }

    fn receive(&self, raw: &RawCallback<'_>, _now_s: i64) -> Result<Accepted, Refused> {
        let refused = |step, why: &str| Refused::new(Some(self.name().into()), Refusal::new(step, why));
        let given = raw.headers.get("x-shop-key").and_then(|key| key.to_str().ok());
        if !given.is_some_and(|key| self.key.matches(key)) {
            return Err(refused(Step::Signature, "the shop's key differs"));
        }
        let order: serde_json::Value = serde_json::from_slice(raw.body)
            .map_err(|_not_json| refused(Step::Body, "the order is no JSON"))?;
        let state = order.get("state").and_then(serde_json::Value::as_str).unwrap_or("unknown");
        let event = Event::of_kind(EventKind::from_parts(&["event", "order", state]), Format::Json);
        let event = AcceptedEvent::new(self.name(), event, raw.body.clone());
        Ok(Accepted { source: self.name().into(), events: vec![event], answer: Answer::Success })
    }
}

#[expect(clippy::print_stdout, reason = "an example shows what it does")]
fn main() {
    let sources = Sources::default().with_custom(Arc::new(Shop { key: Secret::new("s3cret") }));
    for key in ["s3cret", "guess"] {
        let headers =
            HeaderMap::from_iter([(HeaderName::from_static("x-shop-key"), HeaderValue::from_static(key))]);
        let raw = RawCallback {
            query: "",
            headers: &headers,
            body: &Bytes::from_static(br#"{"order":7,"state":"paid"}"#),
            limits: ReadLimits::DEFAULT,
        };
        println!("{key}: {:?}", sources.receive("shop", "orders", &raw, 0));
    }
}
