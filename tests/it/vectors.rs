//! The crypto vectors of other implementations, each through every layer it speaks of.

use serde_json::Value;
use wecom_gateway::wecom::callback::{Opened, SealedCallback};
use wecom_gateway::wecom::cipher::{self, CipherFault};
use wecom_gateway::wecom::keys::{EncodingAesKey, ReceiveIds, Token};
use wecom_gateway::wecom::limits::ReadLimits;
use wecom_gateway::wecom::refusal::{Refusal, Step};
use wecom_gateway::wecom::signature::Signature;

/// The folder of the vectors.
pub(crate) fn folder() -> String {
    format!("{}/tests/it/vectors", env!("CARGO_MANIFEST_DIR"))
}

/// A JSON file among the vectors.
pub(crate) fn read_json(name: &str) -> Value {
    let text = std::fs::read_to_string(format!("{}/{name}", folder())).expect("a vector file");
    serde_json::from_str(&text).expect("JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} in {value}"))
}

fn key_of(vector: &Value) -> EncodingAesKey {
    EncodingAesKey::parse(text(vector, "encodingAESKey")).expect("a key")
}

fn token_of(vector: &Value) -> Token {
    Token::parse(text(vector, "token")).expect("a token")
}

fn receive_ids(vector: &Value) -> ReceiveIds {
    ReceiveIds::new(vec![text(vector, "receiveId").to_owned()])
}

/// Percent-encodes as the platform does.
fn encoded(echostr: &str) -> String {
    echostr
        .replace('%', "%25")
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D")
        .replace(' ', "%20")
}

/// Opens a vector of kind `url_verify`, `post_xml` or `post_json`.
fn open(vector: &Value) -> Result<Opened, Refusal> {
    let (token, key) = (token_of(vector), key_of(vector));
    let short = format!(
        "msg_signature={}&timestamp={}&nonce={}",
        text(vector, "msg_signature"),
        text(vector, "timestamp"),
        text(vector, "nonce")
    );
    if text(vector, "kind") == "url_verify" {
        let query = match vector["raw_query"].as_str() {
            Some(query) => query.to_owned(),
            None => format!("{short}&echostr={}", encoded(text(vector, "echostr"))),
        };
        return SealedCallback::read_url_check(&query, &ReadLimits::DEFAULT)?
            .verify(&token)?
            .decrypt(&key, &receive_ids(vector));
    }
    SealedCallback::read(&short, text(vector, "body").as_bytes(), &ReadLimits::DEFAULT)?
        .verify(&token)?
        .decrypt(&key, &receive_ids(vector))
}

/// What this gateway does other than a vector expects, and why.
fn our_choice(id: &str) -> Option<&'static str> {
    match id {
        // A blank in an echostr can only be a plus sign that a proxy decoded: read as one, no signature fails.
        "derived-echostr-plus-became-space" => Some("accepted"),
        // An echostr that is still percent-encoded is no base64: refused before its signature is computed.
        "derived-echostr-not-urldecoded" => Some("base64"),
        _ => None,
    }
}

/// Whether `step` is what the vector calls `error`.
fn is_error(step: Step, error: &str) -> bool {
    match error {
        "signature" => step == Step::Signature,
        "receiveid" => step == Step::ReceiveId,
        "buffer" | "decrypt" => matches!(step, Step::Length | Step::Padding),
        "base64" => step == Step::Base64,
        "parse" => step == Step::Body,
        other => panic!("{other}"),
    }
}

#[test]
fn every_published_vector_is_met() {
    let file = read_json("crypto-vectors.json");
    let vectors = file["vectors"].as_array().expect("vectors");
    assert_eq!(vectors.len(), 57);
    for vector in vectors {
        let id = text(vector, "id");
        match text(vector, "kind") {
            "url_verify" | "post_xml" | "post_json" => callback(id, vector),
            "encrypt_string" => encrypted_string(id, vector),
            "encrypt_deterministic" => deterministic(id, vector),
            "signature_only" => signature_only(id, vector),
            "mp_signature" => plain_signature(id, vector),
            "invalid_key" => assert!(EncodingAesKey::parse(text(vector, "encodingAESKey")).is_err(), "{id}"),
            other => panic!("{id}: {other}"),
        }
    }
}

fn callback(id: &str, vector: &Value) {
    let outcome = open(vector);
    let expect = &vector["expect"];
    match (our_choice(id), &outcome) {
        (Some("accepted"), Ok(_)) => {}
        (Some(step), Err(refusal)) => assert_eq!(refusal.step.as_str(), step, "{id}"),
        (None, Ok(opened)) => {
            assert_eq!(expect["ok"], true, "{id}");
            assert_eq!(opened.message, text(expect, "plaintext"), "{id}");
            assert_eq!(opened.receive_id, text(expect, "receiveId_in_ciphertext"), "{id}");
        }
        (None, Err(refusal)) => {
            assert_eq!(expect["ok"], false, "{id}: {refusal:?}");
            assert!(is_error(refusal.step, text(expect, "error")), "{id}: {refusal:?}");
        }
        (Some(_), Ok(_)) => panic!("{id} is accepted"),
    }
}

fn encrypted_string(id: &str, vector: &Value) {
    let expect = &vector["expect"];
    let sealed = text(vector, "encrypt");
    let signature =
        Signature::over(&token_of(vector), text(vector, "timestamp"), text(vector, "nonce"), sealed);
    assert_eq!(signature.to_hex(), text(vector, "msg_signature"), "{id}");
    let frame = cipher::open(&key_of(vector), &decoded(sealed)).expect("opens");
    assert_eq!(frame.message, text(expect, "plaintext"), "{id}");
    assert_eq!(frame.receive_id, text(vector, "receiveId"), "{id}");
}

fn deterministic(id: &str, vector: &Value) {
    let expect = &vector["expect"];
    let random = text(expect, "random_ascii").as_bytes().try_into().expect("16 bytes");
    let message = text(expect, "plaintext_in");
    let sealed = cipher::seal(&key_of(vector), random, message.as_bytes(), text(vector, "receiveId"));
    assert_eq!(sealed, text(expect, "encrypt"), "{id}");
    assert_eq!(cipher::open(&key_of(vector), &decoded(&sealed)).expect("opens").message, message, "{id}");
    if let Some(published) = expect["msg_signature"].as_str() {
        let signature =
            Signature::over(&token_of(vector), text(vector, "timestamp"), text(vector, "nonce"), &sealed);
        assert_eq!(signature.to_hex(), published, "{id}");
    }
}

/// Some of these have timestamps and ciphertexts that a callback may not have (`123456`, `0`, `timestamp`, `rust`):
/// the signature itself must be right all the same.
fn signature_only(id: &str, vector: &Value) {
    let signature = Signature::over(
        &token_of(vector),
        text(vector, "timestamp"),
        text(vector, "nonce"),
        text(vector, "encrypt"),
    );
    let fits = signature.to_hex() == text(vector, "msg_signature");
    assert_eq!(vector["expect"]["ok"], fits, "{id}");
}

/// The plain signature of Official Accounts has no ciphertext, which is the same as an empty one.
fn plain_signature(id: &str, vector: &Value) {
    let signature = Signature::over(&token_of(vector), text(vector, "timestamp"), text(vector, "nonce"), "");
    assert_eq!(signature.to_hex(), text(vector, "signature"), "{id}");
}

#[test]
fn every_synthetic_edge_is_met() {
    let file = read_json("crypto-vectors-synthetic.json");
    let vectors = file["vectors"].as_array().expect("vectors");
    assert_eq!(vectors.len(), 64);
    for vector in vectors {
        let (id, expect) = (text(vector, "id"), &vector["expect"]);
        let query = format!(
            "msg_signature={}&timestamp={}&nonce={}",
            text(vector, "msg_signature"),
            text(vector, "timestamp"),
            text(vector, "nonce")
        );
        let body = format!("<xml><Encrypt><![CDATA[{}]]></Encrypt></xml>", text(vector, "encrypt"));
        let outcome =
            SealedCallback::read(&query, body.as_bytes(), &ReadLimits::DEFAULT).and_then(|sealed| {
                sealed.verify(&token_of(vector))?.decrypt(&key_of(vector), &receive_ids(vector))
            });
        match (&outcome, expect["ok"].as_bool(), edge_of_ours(id)) {
            (Ok(opened), Some(true), None) => assert_eq!(opened.message, text(expect, "plaintext"), "{id}"),
            (_, None, Some(accepted)) => assert_eq!(outcome.is_ok(), accepted, "{id}: {outcome:?}"),
            (Err(refusal), Some(false), None) => {
                let allowed = expect["error_any_of"].as_array().expect("errors");
                let named = allowed.iter().any(|error| is_error(refusal.step, error.as_str().expect("text")));
                assert!(named, "{id}: {refusal:?}");
            }
            _ => panic!("{id}: {outcome:?}"),
        }
    }
}

/// Where a vector leaves the choice, whether the gateway accepts.
fn edge_of_ours(id: &str) -> Option<bool> {
    let accepted = match id {
        // Whole blocks and right padding: the platform pads to 32, relays may pad to 16.
        // And the message is bytes at this point: the event that is no UTF-8 is kept as unreadable.
        "padding-16-block" | "invalid-utf8-message" => true,
        // "" means that nothing may stand behind the message; and signed text and ciphertext must say the same in
        // one way only.
        "receiveid-present-when-empty-configured" | "base64-url-alphabet" | "base64-missing-padding" => false,
        _ => return None,
    };
    Some(accepted)
}

#[test]
fn faults_of_the_cipher_are_told_apart() {
    let key = EncodingAesKey::parse("E7yoKM0kNYhJEgPPlrIWAfJWiq62msJKdF0c1jOiyzJ").expect("a key");
    assert_eq!(cipher::open(&key, &[0; 24]), Err(CipherFault::Blocks(24)));
    assert_eq!(cipher::open(&key, &[]), Err(CipherFault::Blocks(0)));
}

fn decoded(base64: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(base64).expect("base64")
}
