//! Signatures of requests to business systems, against published vectors and those of other people's libraries.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use wecom_gateway::domain::endpoint::Dialect;
use wecom_gateway::endpoint::signing::{Signed, SigningKey, headers};
use wecom_gateway::secret::Secret;

const STANDARD_WEBHOOKS: &str = include_str!("vectors/standard-webhooks-vectors.json");
const GITHUB: &str = include_str!("vectors/github-vectors.json");

fn text<'v>(vector: &'v Value, field: &str) -> &'v str {
    vector[field].as_str().unwrap_or_else(|| panic!("{field} of {vector}"))
}

fn body(vector: &Value) -> Vec<u8> {
    STANDARD.decode(text(vector, "body_base64")).expect("base64")
}

fn header(all: &[(&'static str, String)], name: &str) -> String {
    all.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()).unwrap_or_default()
}

#[test]
fn every_vector_of_standard_webhooks_is_met() {
    let file: Value = serde_json::from_str(STANDARD_WEBHOOKS).expect("JSON");
    let vectors = file["valid"].as_array().expect("a list");
    assert_eq!(vectors.len(), 13);
    for vector in vectors {
        let secrets = vector["signing_secrets"].as_array().expect("a list").iter();
        let keys: Vec<SigningKey> = secrets
            .map(|secret| SigningKey::parse(&Secret::new(secret.as_str().expect("a text"))).expect("a key"))
            .collect();
        let keys: Vec<&SigningKey> = keys.iter().collect();
        let body = body(vector);
        let signed = Signed {
            id: text(vector, "webhook-id"),
            kind: "message.text",
            timestamp_s: text(vector, "webhook-timestamp").parse().expect("seconds"),
            body: &body,
        };
        let all = headers(Dialect::Standard, &keys, &signed);
        assert_eq!(
            header(&all, "webhook-signature"),
            text(vector, "webhook-signature"),
            "{}",
            text(vector, "name")
        );
        assert_eq!(header(&all, "webhook-id"), text(vector, "webhook-id"));
    }
}

#[test]
fn every_vector_of_github_with_a_secret_long_enough_is_met() {
    let file: Value = serde_json::from_str(GITHUB).expect("JSON");
    let mut met = 0;
    for vector in file["valid"].as_array().expect("a list") {
        let Ok(key) = SigningKey::parse(&Secret::new(text(vector, "secret"))) else { continue };
        let body = body(vector);
        let signed = Signed { id: "evt_1", kind: "message.text", timestamp_s: 0, body: &body };
        let all = headers(Dialect::GitHub, &[&key], &signed);
        assert_eq!(header(&all, "x-hub-signature-256"), text(vector, "X-Hub-Signature-256"));
        assert_eq!(header(&all, "x-hub-signature"), text(vector, "X-Hub-Signature"));
        let plain = header(&headers(Dialect::Plain, &[&key], &signed), "x-webhook-signature");
        assert_eq!(
            format!("sha256={plain}"),
            text(vector, "X-Hub-Signature-256"),
            "the plain form is its hex"
        );
        met += 1;
    }
    assert_eq!(met, 3);
}
