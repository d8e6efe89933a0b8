//! Signed plain JSON: what relays and business systems post to a robot's address, as the PMC service took it.
//!
//! `x-wechatwork-signature` is the lower-case hex HMAC-SHA1 under the robot's secret of Token, timestamp, nonce and
//! body. Those four stand without separators; a timestamp of 10 digits, a nonce of letters and digits, and a body
//! that begins with `{` leave only one way to part them.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha1::Sha1;

use crate::source::sealed::{check_window, refused};
use crate::source::settings::{PlainKeys, WecomSource};
use crate::source::{Accepted, AcceptedEvent, Answer, RawCallback, Refused};
use crate::wecom::params::{check_nonce, check_timestamp};
use crate::wecom::refusal::{Refusal, Step};
use crate::wecom::signature::Signature;

const SIGNATURE: &str = "x-wechatwork-signature";
const TIMESTAMP: &str = "x-wechatwork-timestamp";
const NONCE: &str = "x-wechatwork-nonce";

/// Whether the request is of this form.
pub(super) fn is_plain(headers: &HeaderMap) -> bool {
    headers.contains_key(SIGNATURE)
}

/// Verifies and reads a request.
pub(super) fn receive(
    sources: &[&WecomSource],
    raw: &RawCallback<'_>,
    now_s: i64,
) -> Result<Accepted, Refused> {
    let signed = SignedBody::read(raw).map_err(|refusal| refused(sources, refusal))?;
    let mut fitting =
        sources.iter().filter(|source| source.plain.as_ref().is_some_and(|keys| signed.is_signed_with(keys)));
    let source = match (fitting.next(), fitting.next()) {
        (Some(source), None) => source,
        (Some(one), Some(other)) => {
            let detail = format!("the callback fits {} and {}", one.name, other.name);
            return Err(Refused::new(None, Refusal::new(Step::Ambiguous, detail)));
        }
        (None, _) => {
            let detail = if sources.iter().any(|source| source.plain.is_some()) {
                "the signature does not fit: the robot's secret differs from the sender's, or the body was changed"
            } else {
                "signed plain JSON, but no source here has a secret"
            };
            return Err(refused(sources, Refusal::new(Step::Signature, detail)));
        }
    };
    let name = Arc::clone(&source.name);
    let window_ms = source.plain.as_ref().map_or(0, |keys| keys.window_ms);
    let timestamp_s = signed.timestamp.parse().unwrap_or(0);
    check_window(timestamp_s, Some(now_s), window_ms)
        .map_err(|refusal| Refused::new(Some(Arc::clone(&name)), refusal))?;
    let event = AcceptedEvent::read(&name, raw.body.clone(), &raw.limits);
    Ok(Accepted { source: name, events: vec![event], answer: Answer::Empty })
}

/// The signed parts of a request, each in its one allowed form.
struct SignedBody<'a> {
    signature: Signature,
    timestamp: &'a str,
    nonce: &'a str,
    body: &'a [u8],
}

impl<'a> SignedBody<'a> {
    fn read(raw: &RawCallback<'a>) -> Result<Self, Refusal> {
        let timestamp = only(raw.headers, TIMESTAMP)?;
        let nonce = only(raw.headers, NONCE)?;
        check_timestamp(timestamp)?;
        check_nonce(nonce)?;
        if raw.body.first() != Some(&b'{') {
            return Err(Refusal::new(Step::Body, "signed plain JSON has to begin with `{`"));
        }
        let signature = Signature::parse(only(raw.headers, SIGNATURE)?).ok_or_else(|| {
            Refusal::new(Step::Signature, format!("`{SIGNATURE}` is not 40 lower-case hex digits"))
        })?;
        Ok(Self { signature, timestamp, nonce, body: raw.body })
    }

    fn is_signed_with(&self, keys: &PlainKeys) -> bool {
        let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(keys.secret.expose().as_bytes()) else { return false };
        for part in
            [keys.token.expose().as_bytes(), self.timestamp.as_bytes(), self.nonce.as_bytes(), self.body]
        {
            mac.update(part);
        }
        Signature::from_hash(mac.finalize().into_bytes().into()).matches(&self.signature)
    }
}

/// The value of a header that stands exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(Refusal::new(
            Step::Parameter,
            format!("the header `{name}` is missing, doubled or no ASCII text"),
        )),
    }
}
