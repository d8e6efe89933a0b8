//! A source of the user's own, beside the built-in ones.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use wecom_gateway::source::{
    Accepted, AcceptedEvent, Answer, CustomSource, RawCallback, Refused, SourceSettings,
};
use wecom_gateway::wecom::limits::ReadLimits;
use wecom_gateway::wecom::refusal::{Refusal, Step};

use crate::sealer::{NOW_S, app, sources};

/// A source of another system: the body is a number, and its proof is that it is even.
struct Even;

impl CustomSource for Even {
    fn name(&self) -> &'static str {
        "numbers"
    }

    fn kind(&self) -> &'static str {
        "parity"
    }

    fn handler(&self) -> &'static str {
        "even"
    }

    fn receive(&self, raw: &RawCallback<'_>, _now_s: i64) -> Result<Accepted, Refused> {
        if raw.body.last().is_none_or(|digit| digit % 2 == 1) {
            return Err(Refused { status: 401, ..Refused::new(None, Refusal::new(Step::Signature, "odd")) });
        }
        let event = AcceptedEvent::read(self.name(), raw.body.clone(), &raw.limits);
        Ok(Accepted { source: Arc::from(self.name()), events: vec![event], answer: Answer::Success })
    }
}

#[test]
fn a_source_of_the_users_own_has_its_own_address_and_statuses() {
    let robot = SourceSettings { handler: "bot".into(), ..app("robot") };
    let sources = sources(vec![app("crm"), robot]).with_custom(Arc::new(Even));
    let receive = |kind: &str, handler: &str, body: &'static str| {
        let raw = RawCallback {
            query: "",
            headers: &HeaderMap::new(),
            body: &Bytes::from_static(body.as_bytes()),
            limits: ReadLimits::DEFAULT,
        };
        sources.receive(kind, handler, &raw, NOW_S)
    };
    assert_eq!(receive("parity", "even", "2").expect("accepted").source.as_ref(), "numbers");
    assert_eq!(receive("parity", "even", "3").expect_err("refused").status, 401);
    for (kind, handler) in [("parity", "odd"), ("wechat", "even"), ("parity", "api"), ("", "")] {
        let refused = receive(kind, handler, "2").expect_err("refused");
        assert_eq!((refused.status, refused.refusal.step), (404, Step::Route), "{kind}/{handler}");
    }
    let raw = RawCallback {
        query: "",
        headers: &HeaderMap::new(),
        body: &Bytes::new(),
        limits: ReadLimits::DEFAULT,
    };
    assert_eq!(sources.handshake("parity", "even", &raw, NOW_S).expect_err("refused").status, 404);
    let listed: Vec<_> =
        sources.handlers().into_iter().map(|info| (info.kind, info.handler, info.sources)).collect();
    let expected = [("wechat", "api", "crm"), ("wechat", "bot", "robot"), ("parity", "even", "numbers")];
    assert_eq!(
        listed,
        expected.map(|(kind, handler, name)| (kind.into(), handler.into(), vec![name.into()]))
    );
}
