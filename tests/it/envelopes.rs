//! All 315 sealed samples: each opens to its plaintext, and is accepted by a source.

use bytes::Bytes;
use http::HeaderMap;
use wecom_gateway::secret::Secret;
use wecom_gateway::source::{
    Answer, CallbackKeys, PLAIN_WINDOW_MS, RawCallback, SealedSettings, SourceSettings, Sources, WECHAT,
};
use wecom_gateway::wecom::callback::SealedCallback;
use wecom_gateway::wecom::keys::{EncodingAesKey, ReceiveIds, Token};
use wecom_gateway::wecom::limits::ReadLimits;

use crate::vectors::{folder, read_json};

#[test]
fn every_sealed_sample_is_opened_accepted_and_answered() {
    let file = read_json("callback-envelopes.json");
    let meta = |name: &str| file["meta"][name].as_str().expect("text").to_owned();
    let (token, key) = (
        Token::parse(&meta("token")).expect("a token"),
        EncodingAesKey::parse(&meta("encodingAESKey")).expect("a key"),
    );
    let envelopes = file["envelopes"].as_array().expect("envelopes");
    assert_eq!(envelopes.len(), 315);
    for envelope in envelopes {
        let part = |name: &str| envelope[name].as_str().unwrap_or_else(|| panic!("{name}"));
        let (sample, receive_id) = (part("sample"), part("receiveId"));
        let plaintext = std::fs::read(format!("{}/callback-samples/{sample}", folder())).expect("a sample");
        let sealed =
            SealedCallback::read(part("query"), part("body").as_bytes(), &ReadLimits::DEFAULT).expect(sample);
        let accepted = ReceiveIds::new(vec![receive_id.to_owned()]);
        let opened = sealed.verify(&token).expect(sample).decrypt(&key, &accepted).expect(sample);
        assert_eq!(opened.message, plaintext, "{sample}");

        let sources = Sources::build(vec![source(&meta("token"), &meta("encodingAESKey"), receive_id)])
            .expect("sources");
        let body = Bytes::from(part("body").to_owned());
        let raw = RawCallback {
            query: part("query"),
            headers: &HeaderMap::new(),
            body: &body,
            limits: ReadLimits::DEFAULT,
        };
        let accepted = sources
            .receive(WECHAT, "all", &raw, sealed.timestamp_s())
            .unwrap_or_else(|refused| panic!("{sample}: {refused:?}"));
        assert_eq!(accepted.events[0].payload, plaintext, "{sample}");
        let is_command = ["suite_command", "provider_command", "openplatform"].contains(&part("channel"));
        let is_right = if is_command {
            accepted.answer == Answer::Success
        } else {
            matches!(accepted.answer, Answer::Passive(_))
        };
        assert!(is_right, "{sample}: {:?}", accepted.answer);
    }
}

/// An app that takes callbacks for one receive id, whatever app they name but another self-built one.
fn source(token: &str, key: &str, receive_id: &str) -> SourceSettings {
    SourceSettings {
        name: "all".into(),
        handler: "all".into(),
        enabled: true,
        sealed: Some(SealedSettings {
            keys: CallbackKeys { token: Secret::new(token), encoding_aes_key: Secret::new(key) },
            previous: None,
            receive_ids: vec![receive_id.to_owned()],
            window_ms: 0,
        }),
        agent_id: None,
        plain_secret: Secret::default(),
        plain_window_ms: PLAIN_WINDOW_MS,
    }
}
