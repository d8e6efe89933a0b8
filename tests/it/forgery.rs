//! What a stranger could try against the signature: flipped bits, cut requests, moved characters, appended blocks.

use proptest::prelude::*;
use sha1::{Digest, Sha1};
use wecom_gateway::entropy::Entropy;
use wecom_gateway::wecom::callback::{Opened, SealedCallback};
use wecom_gateway::wecom::keys::{EncodingAesKey, ReceiveIds, Token};
use wecom_gateway::wecom::limits::ReadLimits;
use wecom_gateway::wecom::refusal::{Refusal, Step};
use wecom_gateway::wecom::signature::Signature;

use crate::sealer::{CORP, KEY, Request, Sealer, TOKEN, text_message};

fn open(query: &str, body: &[u8]) -> Result<Opened, Refusal> {
    let token = Token::parse(TOKEN).expect("a token");
    let key = EncodingAesKey::parse(KEY).expect("a key");
    SealedCallback::read(query, body, &ReadLimits::DEFAULT)?
        .verify(&token)?
        .decrypt(&key, &ReceiveIds::new(vec![CORP.into()]))
}

/// P-2. Around the ciphertext stands an envelope that nobody signs: a flip there may pass, but changes nothing.
#[test]
fn no_flipped_bit_changes_what_is_accepted() {
    let message = text_message("1000002").replace("hello", &"hello ".repeat(40));
    let request = Sealer::usual().seal(message.as_bytes());
    let (mut flips, mut refused) = (0, 0);
    for body in [request.xml(), request.json()] {
        let (query, body) = (request.query().into_bytes(), body.into_bytes());
        let signed_from = find(&body, request.encrypt.as_bytes());
        let signed = signed_from..signed_from + request.encrypt.len();
        for bit in 0..(query.len() + body.len()) * 8 {
            let (mut query, mut body) = (query.clone(), body.clone());
            let at = bit / 8;
            let in_signed_part = at < query.len() || signed.contains(&(at - query.len()));
            match query.get_mut(at) {
                Some(byte) => *byte ^= 1 << (bit % 8),
                None => body[at - query.len()] ^= 1 << (bit % 8),
            }
            flips += 1;
            // A query that is no UTF-8 does not come through HTTP.
            let Ok(query) = String::from_utf8(query) else { continue };
            match open(&query, &body) {
                Ok(opened) => {
                    assert!(!in_signed_part, "flipped bit {bit}: {query}");
                    assert_eq!(opened.message, message, "flipped bit {bit}");
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(flips > 11_000 && refused > flips / 2, "{refused} of {flips}");
}

/// P-2.
#[test]
fn no_cut_and_no_doubled_parameter_is_accepted() {
    let request = Sealer::usual().seal(text_message("1000002").as_bytes());
    let (query, body) = (request.query(), request.xml());
    assert!(open(&query, body.as_bytes()).is_ok());
    for length in 0..query.len() {
        assert!(open(&query[..length], body.as_bytes()).is_err(), "{length}");
    }
    for length in 0..body.len() {
        assert!(open(&query, &body.as_bytes()[..length]).is_err(), "{length}");
    }
    for pair in query.split('&') {
        for doubled in [format!("{query}&{pair}"), format!("{pair}&{query}")] {
            assert_eq!(open(&doubled, body.as_bytes()).expect_err("refused").step, Step::Parameter);
        }
    }
}

/// P-3, SEC-6: characters move between the parts that the hash joins, so that its input stays the same.
#[test]
fn ten_thousand_moved_characters_are_refused() {
    let mut forged = 0;
    let mut seed = 0;
    while forged < 10_000 {
        seed += 1;
        let original = signed_with_random_nonce(seed);
        for shifted in shifts(&original) {
            // Only what a naive reader would take counts: the signature over the moved parts is right.
            let token = Token::parse(TOKEN).expect("a token");
            let naive = Signature::over(&token, &shifted.timestamp, &shifted.nonce, &shifted.encrypt);
            if naive.to_hex() != shifted.signature {
                continue;
            }
            forged += 1;
            for body in [shifted.xml(), shifted.json()] {
                let refusal = open(&shifted.query(), body.as_bytes()).expect_err("refused");
                assert!(refusal.step < Step::Padding, "{refusal:?}");
            }
        }
    }
}

/// A request with a nonce of 1 to 64 characters.
fn signed_with_random_nonce(seed: u64) -> Request {
    let entropy = Entropy::seeded(seed);
    let random: [u8; 66] = entropy.bytes();
    let alphabet = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
    let length = 1 + usize::from(random[0] % 64);
    let nonce: String =
        random[1..=length].iter().map(|byte| char::from(alphabet[usize::from(byte % 64)])).collect();
    let timestamp = (1_600_000_000 + u64::from(random[65]) * 1_000_003).to_string();
    let (token, key) = (Token::parse(TOKEN).expect("a token"), EncodingAesKey::parse(KEY).expect("a key"));
    let (encrypt, signature) =
        wecom_gateway::wecom::reply::seal_parts(&token, &key, CORP, b"<xml/>", &timestamp, &nonce, &entropy);
    Request { signature, timestamp, nonce, encrypt }
}

/// Every way to move the borders between timestamp, nonce and ciphertext that keeps their sorted order's text.
fn shifts(request: &Request) -> Vec<Request> {
    let mut parts = [("t", &request.timestamp), ("n", &request.nonce), ("e", &request.encrypt)];
    parts.sort_by(|one, other| one.1.cmp(other.1));
    let joined: String = parts.iter().map(|part| part.1.as_str()).collect();
    let (first, second) = (parts[0].1.len(), parts[0].1.len() + parts[1].1.len());
    let near = |border: usize| border.saturating_sub(70)..(border + 70).min(joined.len());
    let mut out = Vec::new();
    for one in near(first).step_by(3) {
        for other in near(second).filter(|other| *other >= one) {
            if (one, other) == (first, second) {
                continue;
            }
            let pieces = [&joined[..one], &joined[one..other], &joined[other..]];
            let mut shifted = request.clone();
            for ((name, _), piece) in parts.iter().zip(pieces) {
                match *name {
                    "t" => shifted.timestamp = piece.into(),
                    "n" => shifted.nonce = piece.into(),
                    _ => shifted.encrypt = piece.into(),
                }
            }
            out.push(shifted);
        }
    }
    out
}

/// P-3, SEC-6: whoever knows one signature can compute that of a longer input, without the Token.
#[test]
fn an_extended_hash_is_refused_in_every_form_it_can_be_sent() {
    let request = Sealer::usual().seal(b"<xml/>");
    for token_length in 1..=64 {
        let suffix = "AAAA".repeat(16);
        let known = token_length + request.timestamp.len() + request.nonce.len() + request.encrypt.len();
        let (appended, signature) = extended(&request.signature, known, suffix.as_bytes());
        if token_length == TOKEN.len() {
            // The forgery is a real one, if the parts sort as the hash saw them.
            let mut parts = [TOKEN, &request.timestamp, &request.nonce, &request.encrypt];
            parts.sort_unstable();
            let whole = [parts.concat().as_bytes(), &appended].concat();
            assert_eq!(signature, hex(&Sha1::digest(whole)));
        }
        let forged = Request { signature, ..request.clone() };
        let raw = [b"<xml><Encrypt>", request.encrypt.as_bytes(), &appended, b"</Encrypt></xml>"].concat();
        let as_text: String = appended.iter().map(|byte| char::from(*byte)).collect();
        let text = format!("<xml><Encrypt>{}{as_text}</Encrypt></xml>", request.encrypt);
        let json = serde_json::json!({ "encrypt": format!("{}{as_text}", request.encrypt) }).to_string();
        for body in [raw, text.into_bytes(), json.into_bytes()] {
            let refusal = open(&forged.query(), &body).expect_err("refused");
            assert!(matches!(refusal.step, Step::Body | Step::Base64), "{refusal:?}");
        }
    }
}

/// What is appended to a hashed input of `known` bytes, and the hash of the whole.
fn extended(signature: &str, known: usize, suffix: &[u8]) -> (Vec<u8>, String) {
    let padding = |length: usize| {
        let mut out = vec![0x80];
        out.resize(1 + (119 - length % 64) % 64, 0);
        out.extend_from_slice(&(length as u64 * 8).to_be_bytes());
        out
    };
    let mut appended = padding(known);
    let hashed = known + appended.len();
    appended.extend_from_slice(suffix);
    let tail = [suffix, &padding(hashed + suffix.len())].concat();
    let mut state: [u32; 5] =
        std::array::from_fn(|at| u32::from_str_radix(&signature[at * 8..at * 8 + 8], 16).expect("hex"));
    sha1::block_api::compress(&mut state, tail.as_chunks::<64>().0);
    (appended, hex(&state.map(u32::to_be_bytes).concat()))
}

fn hex(bytes: &[u8]) -> String {
    format!("{:x}", bytes::Bytes::copy_from_slice(bytes))
}

fn find(haystack: &[u8], needle: &[u8]) -> usize {
    haystack.windows(needle.len()).position(|window| window == needle).expect("it is there")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// P-1, on both envelopes.
    #[test]
    fn what_is_sealed_is_opened(message in prop::collection::vec(any::<u8>(), 0..65_536), receive_id in "[a-z0-9]{0,40}") {
        let request = Sealer::new(TOKEN, KEY, &receive_id).seal(&message);
        let (token, key) = (Token::parse(TOKEN).expect("a token"), EncodingAesKey::parse(KEY).expect("a key"));
        for body in [request.xml(), request.json()] {
            let query = request.query();
            let sealed = SealedCallback::read(&query, body.as_bytes(), &ReadLimits::DEFAULT).expect("read");
            let opened = sealed.verify(&token).expect("signed").decrypt(&key, &ReceiveIds::any()).expect("opened");
            prop_assert_eq!(&opened.message, &message);
            prop_assert_eq!(&opened.receive_id, &receive_id);
        }
    }

    /// Another key never opens, another token never verifies.
    #[test]
    fn foreign_keys_are_refused(token in "[A-Za-z0-9]{3,32}", key in "[A-Za-z0-9]{43}") {
        let request = Sealer::new(&token, &key, CORP).seal(text_message("1000002").as_bytes());
        prop_assert!(open(&request.query(), request.xml().as_bytes()).is_err());
    }
}
