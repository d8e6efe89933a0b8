//! A robot's address: sealed callbacks with an empty receive id, and PMC's signed plain JSON.

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue};
use wecom_gateway::domain::event::Meaning;
use wecom_gateway::secret::Secret;
use wecom_gateway::source::{Accepted, Answer, RawCallback, Refused, SourceSettings, Sources, WECHAT};
use wecom_gateway::wecom::limits::ReadLimits;
use wecom_gateway::wecom::refusal::Step;

use crate::sealer::{KEY, NOW_S, Sealer, TOKEN, app, post, sealed, sources};

fn step(outcome: Result<Accepted, Refused>) -> Step {
    outcome.expect_err("refused").refusal.step
}

/// A robot with every way to be called.
fn robot() -> SourceSettings {
    SourceSettings {
        handler: "bot".into(),
        sealed: Some(sealed(TOKEN, KEY, &[""])),
        plain_secret: Secret::new("robot-secret"),
        ..app("robot")
    }
}

/// Headers of PMC's signed plain JSON.
fn plain_headers(secret: &str, token: &str, timestamp_s: i64, body: &str) -> HeaderMap {
    let (timestamp, nonce) = (timestamp_s.to_string(), "n0nce");
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(secret.as_bytes()).expect("a key");
    for part in [token, &timestamp, nonce, body] {
        mac.update(part.as_bytes());
    }
    let signature = format!("{:x}", Bytes::copy_from_slice(&mac.finalize().into_bytes()));
    let pairs = [("signature", signature.as_str()), ("timestamp", &timestamp), ("nonce", nonce)];
    let header = |(name, value): (&str, &str)| {
        let name = HeaderName::try_from(format!("x-wechatwork-{name}")).expect("a name");
        (name, HeaderValue::try_from(value).expect("a value"))
    };
    pairs.into_iter().map(header).collect()
}

fn post_plain(sources: &Sources, headers: &HeaderMap, body: &str) -> Result<Accepted, Refused> {
    let body = Bytes::from(body.to_owned());
    sources.receive(
        WECHAT,
        "bot",
        &RawCallback { query: "", headers, body: &body, limits: ReadLimits::DEFAULT },
        NOW_S,
    )
}

#[test]
fn a_robot_takes_sealed_callbacks_with_an_empty_receive_id() {
    let robots = sources(vec![robot()]);
    let message = r#"{"msgid":"1","aibotid":"a","from":{"userid":"zhangsan"},"msgtype":"text","text":{"content":"hi"}}"#;
    let request = Sealer::new(TOKEN, KEY, "").seal(message.as_bytes());
    for body in [request.xml(), request.json()] {
        let accepted = post(&robots, "bot", &request.query(), &body).expect("accepted");
        assert_eq!(accepted.events[0].event.kind.as_str(), "message.text");
    }
    let request = Sealer::usual().seal(message.as_bytes());
    assert_eq!(step(post(&robots, "bot", &request.query(), &request.json())), Step::ReceiveId);
}

#[test]
fn a_robot_takes_signed_plain_json() {
    let robots = sources(vec![robot()]);
    let body = r#"{"msgid":"7","from":{"userid":"zhangsan"},"click":{"key":"approve"}}"#;
    let good = plain_headers("robot-secret", TOKEN, NOW_S, body);
    let accepted = post_plain(&robots, &good, body).expect("accepted");
    assert!(matches!(accepted.events[0].event.meaning, Meaning::Interaction { .. }));
    assert_eq!((accepted.answer, accepted.events[0].payload.as_ref()), (Answer::Empty, body.as_bytes()));
    for (off_s, expected) in [(300, true), (-300, true), (301, false), (-301, false)] {
        let headers = plain_headers("robot-secret", TOKEN, NOW_S + off_s, body);
        assert_eq!(post_plain(&robots, &headers, body).is_ok(), expected, "{off_s}");
    }
    // Without a Token of its own the robot signs with an empty one.
    let bare = sources(vec![SourceSettings { sealed: None, ..robot() }]);
    assert!(post_plain(&bare, &plain_headers("robot-secret", "", NOW_S, body), body).is_ok());
}

#[test]
fn forged_plain_json_is_refused() {
    let robots = sources(vec![robot()]);
    let body = r#"{"msgid":"7","from":{"userid":"zhangsan"}}"#;
    let good = plain_headers("robot-secret", TOKEN, NOW_S, body);
    let refused = |headers: &HeaderMap, body: &str| step(post_plain(&robots, headers, body));
    assert_eq!(refused(&plain_headers("other", TOKEN, NOW_S, body), body), Step::Signature);
    assert_eq!(refused(&plain_headers("robot-secret", "", NOW_S, body), body), Step::Signature);
    assert_eq!(refused(&good, &body.replace('7', "8")), Step::Signature);
    let changed = |name: &'static str, value: &str| {
        let mut headers = good.clone();
        headers.insert(name, HeaderValue::try_from(value).expect("a value"));
        headers
    };
    assert_eq!(refused(&changed("x-wechatwork-nonce", "n1nce"), body), Step::Signature);
    assert_eq!(refused(&changed("x-wechatwork-nonce", "n nce"), body), Step::Nonce);
    assert_eq!(refused(&changed("x-wechatwork-timestamp", "170000000"), body), Step::Timestamp);
    assert_eq!(refused(&changed("x-wechatwork-signature", "xyz"), body), Step::Signature);
    let mut doubled = good.clone();
    doubled.append("x-wechatwork-nonce", HeaderValue::from_static("n0nce"));
    assert_eq!(refused(&doubled, body), Step::Parameter);
    let mut missing = good.clone();
    missing.remove("x-wechatwork-timestamp");
    assert_eq!(refused(&missing, body), Step::Parameter);
    // A character moved from the nonce into the body leaves the hash as it was.
    assert_eq!(refused(&changed("x-wechatwork-nonce", "n0nc"), &format!("e{body}")), Step::Body);
    // Sealed sources alone have nothing to prove plain JSON with.
    let sealed_only = sources(vec![SourceSettings { plain_secret: Secret::default(), ..robot() }]);
    assert_eq!(step(post_plain(&sealed_only, &good, body)), Step::Signature);
}
