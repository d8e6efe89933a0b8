//! What every fuzz target checks, as plain functions of bytes: no panic, and the promises that hold for any input.
//!
//! `fuzz_targets/` feeds them from libFuzzer; `tests/it/fuzz_smoke.rs` from seeded random bytes in every test run.

use wecom_gateway::domain::event::{EventKind, Format};
use wecom_gateway::entropy::Entropy;
use wecom_gateway::wecom::callback::SealedCallback;
use wecom_gateway::wecom::envelope;
use wecom_gateway::wecom::event;
use wecom_gateway::wecom::keys::{EncodingAesKey, ReceiveIds, Token};
use wecom_gateway::wecom::limits::ReadLimits;
use wecom_gateway::wecom::params::Params;
use wecom_gateway::wecom::reply::seal_parts;

const TOKEN: &str = "FuzzToken2024";
const KEY: &str = "zQUMPM08HSe8jnPJjoqgA2RB19fLy0Mg1YLVUHFjxQR";

/// A callback that is sealed rightly and then changed at one place, the first byte of `data` says where and how; the
/// rest is the plaintext. What opens in spite of that is the plaintext itself.
pub(crate) fn envelope(data: &[u8]) {
    let Some(([place, change], plaintext)) = data.split_first_chunk::<2>() else { return };
    let (token, key) = keys();
    let (timestamp, nonce) = ("1700000000", "4242");
    let (encrypt, signature) =
        seal_parts(&token, &key, "ww1", plaintext, timestamp, nonce, &Entropy::seeded(1));
    let mut query = format!("msg_signature={signature}&timestamp={timestamp}&nonce={nonce}").into_bytes();
    let mut body = if place & 1 == 0 {
        format!("<xml><Encrypt><![CDATA[{encrypt}]]></Encrypt></xml>").into_bytes()
    } else {
        format!("{{\"encrypt\":\"{encrypt}\"}}").into_bytes()
    };
    let target = if place & 2 == 0 { &mut query } else { &mut body };
    let at = usize::from(place >> 2) * target.len() / 64;
    if let Some(byte) = target.get_mut(at) {
        *byte ^= change;
    }
    let Ok(query) = String::from_utf8(query) else { return };
    let opened = SealedCallback::read(&query, &body, &ReadLimits::DEFAULT)
        .and_then(|sealed| sealed.verify(&token)?.decrypt(&key, &ReceiveIds::new(vec!["ww1".into()])));
    match opened {
        Ok(opened) => assert_eq!(opened.message, plaintext),
        Err(refusal) => {
            assert!(*change != 0, "{refusal:?}");
            assert!(refusal.detail.len() < 500);
        }
    }
}

/// Bytes as the body of a callback: what is found in them is the text of one element or member.
pub(crate) fn outer(data: &[u8]) {
    match envelope::sealed_text(data, &ReadLimits::DEFAULT) {
        Ok(sealed) => assert!(sealed.len() <= data.len()),
        Err(refusal) => assert!(refusal.detail.len() < 500),
    }
    let query = "msg_signature=5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3&timestamp=1409659589&nonce=263014780";
    if let Ok(sealed) = SealedCallback::read(query, data, &ReadLimits::DEFAULT) {
        let (token, _) = keys();
        assert!(sealed.verify(&token).is_err());
    }
}

/// Bytes as a plaintext, XML or JSON.
pub(crate) fn plaintext(data: &[u8]) {
    let reading = event::reading(data, &ReadLimits::DEFAULT);
    assert_eq!(reading, event::reading(data, &ReadLimits::DEFAULT));
    let event = &reading.event;
    assert!(!event.kind.as_str().is_empty() && event.kind.as_str().len() <= EventKind::BYTES_MAX);
    assert_ne!(event.user_id.as_deref(), Some("sys"));
    for id in [
        &event.corp_id,
        &event.agent_id,
        &event.user_id,
        &event.external_user_id,
        &event.chat_id,
        &event.message_ref,
    ] {
        assert!(id.as_ref().is_none_or(|id| (1..=256).contains(&id.len())));
    }
    let body = event::body_json(data, event.format);
    match event.format {
        Format::Opaque => {
            assert_eq!(event.kind.as_str(), EventKind::UNREADABLE);
            assert!(body.get("base64").is_some() || body.as_str().map(str::as_bytes) == Some(data));
        }
        Format::Json => assert!(body.is_object()),
        // What was read as a document once is read as one again, not kept as a text.
        Format::Xml => assert!(body.as_str().map(str::as_bytes) != Some(data)),
    }
}

/// Bytes as a JSON plaintext: what `serde_json` calls an object is one here, within the limits.
pub(crate) fn json(data: &[u8]) {
    plaintext(data);
    let object = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(data).is_ok();
    let (marks, deepest) = data.iter().fold((0, 0), |(marks, deep), byte| match byte {
        b',' => (marks + 1, deep),
        b'[' | b'{' => (marks + 1, deep + 1),
        _ => (marks, deep),
    });
    if object && marks < 20_000 && deepest < 64 {
        assert_eq!(event::read(data, &ReadLimits::DEFAULT).format, Format::Json);
    }
}

/// Bytes as a query string: what is read has the one form each parameter may have.
pub(crate) fn query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Params::read(text, &ReadLimits::DEFAULT) {
        Ok(params) => {
            assert!(
                params.timestamp.len() == 10 && params.timestamp.bytes().all(|byte| byte.is_ascii_digit())
            );
            assert!((1..=64).contains(&params.nonce.len()));
            assert!(params.nonce.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)));
            assert!(params.echostr.is_none_or(|echostr| !echostr.contains(' ')));
        }
        Err(refusal) => assert!(refusal.detail.len() < 500),
    }
}

#[expect(clippy::expect_used, reason = "both are constants")]
fn keys() -> (Token, EncodingAesKey) {
    (Token::parse(TOKEN).expect("a token"), EncodingAesKey::parse(KEY).expect("a key"))
}
