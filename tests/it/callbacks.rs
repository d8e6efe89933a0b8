//! The callback routes of the real binary: handshake, app and robot posts, every sample, every refusal.

use std::fmt::Write as _;

use serde_json::Value;

use crate::gateway::{AES_KEY, CORP_ID, Gateway, Platform, Setup, TOKEN, text_message};
use crate::wire::{Answer, Wire};

const API: &str = "/api/v1/webhooks/wechat/api";
const BOT: &str = "/api/v1/webhooks/wechat/bot";

fn vectors(name: &str) -> Value {
    let path = format!("{}/tests/it/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).expect("a vector file")).expect("JSON")
}

async fn json(wire: &mut Wire, target: &str) -> Value {
    let answer = wire.get_again(target).await.expect("an answer");
    assert_eq!(answer.status, 200, "{target}: {}", answer.text());
    serde_json::from_slice(&answer.body).expect("JSON")
}

#[tokio::test]
async fn the_handshake_answers_the_plaintext_and_nothing_else() {
    let vectors = vectors("crypto-vectors.json");
    let vector =
        vectors["vectors"].as_array().expect("vectors").iter().find(|v| v["id"] == "official-url-verify-1");
    let vector = vector.expect("the official vector");
    let text = |key: &str| vector[key].as_str().expect("text").to_owned();
    let channels = format!(
        "  wechat_api:\n    corp_id: {}\n    secret: s\n    agent_id: '1'\n    token: {}\n    encoding_aes_key: {}\n",
        text("receiveId"),
        text("token"),
        text("encodingAESKey"),
    );
    let gateway = Gateway::start("handshake", Setup { channels, ..Setup::default() });
    let mut wire = Wire::connect(gateway.address()).await.expect("connects");
    let query = text("raw_query");
    let with_blanks = query.replace("%2B", "+");
    for target in [format!("{API}?{query}"), format!("{API}/verify?{query}"), format!("{API}?{with_blanks}")]
    {
        let answer = wire.get(&target).await.expect("an answer");
        assert_eq!(answer.status, 200, "{target}");
        assert_eq!(answer.body, vector["expect"]["plaintext"].as_str().expect("text").as_bytes());
        assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
        assert_eq!(answer.header("content-length"), Some("19"));
    }
}

#[tokio::test]
async fn every_signed_envelope_is_answered_and_kept_word_for_word() {
    let mut channels = String::new();
    let envelopes = vectors("callback-envelopes.json");
    let list = envelopes["envelopes"].as_array().expect("envelopes");
    let meta = &envelopes["meta"];
    let mut ids: Vec<&str> = list.iter().map(|e| e["receiveId"].as_str().expect("receive id")).collect();
    ids.sort_unstable();
    ids.dedup();
    for (at, id) in ids.iter().enumerate() {
        let _ = write!(
            channels,
            "  route{at}:\n    type: wechat_api\n    handler: route{at}\n    corp_id: '{id}'\n    secret: s\n    agent_id: ''\n    token: {}\n    encoding_aes_key: {}\n    receive_ids: ['{id}']\n    callback_window_ms: 9000000000000\n",
            meta["token"].as_str().expect("token"),
            meta["encodingAESKey"].as_str().expect("key"),
        );
    }
    let gateway = Gateway::start("envelopes", Setup { channels, ..Setup::default() });
    let mut wire = Wire::connect(gateway.address()).await.expect("connects");
    for envelope in list {
        let at = ids.iter().position(|id| envelope["receiveId"] == **id).expect("its route");
        let target =
            format!("/api/v1/webhooks/wechat/route{at}?{}", envelope["query"].as_str().expect("query"));
        let answer = wire
            .post_again(&target, envelope["body"].as_str().expect("body").as_bytes())
            .await
            .expect("an answer");
        assert_eq!(answer.status, 200, "{}: {}", envelope["sample"], answer.text());
        let body = answer.text();
        assert!(body.is_empty() || body == "success", "{}: {body}", envelope["sample"]);
    }
    let mut stored = Vec::new();
    let mut target = "/api/v1/events?limit=100".to_owned();
    loop {
        let page = json(&mut wire, &target).await;
        stored.extend(
            page["data"].as_array().expect("data").iter().map(|e| e["id"].as_str().expect("id").to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        target = format!("/api/v1/events?limit=100&cursor={cursor}");
    }
    assert_eq!(stored.len(), list.len());
    let mut kept = std::collections::HashSet::new();
    for id in stored {
        let event = json(&mut wire, &format!("/api/v1/events/{id}")).await;
        assert_ne!(event["kind"], "unreadable", "{event}");
        kept.insert(event["raw"].as_str().expect("raw").to_owned());
    }
    for envelope in list {
        let sample = envelope["sample"].as_str().expect("sample");
        let path = format!("{}/tests/it/vectors/callback-samples/{sample}", env!("CARGO_MANIFEST_DIR"));
        let plaintext = std::fs::read_to_string(path).expect("a sample");
        assert!(kept.contains(&plaintext), "{sample} is kept word for word");
    }
}

#[tokio::test]
async fn robot_posts_are_kept_and_forged_ones_refused() {
    let gateway = Gateway::start("robot-posts", Setup::default());
    let mut wire = Wire::connect(gateway.address()).await.expect("connects");
    let (query, body) = Platform::robot()
        .seal("<xml><From><UserId>zhangsan</UserId></From><MsgType>text</MsgType><MsgId>abc</MsgId></xml>");
    let good = wire.post(&format!("{BOT}?{query}"), body.as_bytes()).await.expect("an answer");
    assert_eq!(good.status, 200, "{}", good.text());
    let forged = query.replacen("msg_signature=", "msg_signature=0", 1);
    let forged =
        wire.post(&format!("{BOT}?{}", &forged[..forged.len()]), body.as_bytes()).await.expect("an answer");
    assert!(forged.status == 403 || forged.status == 400, "{}", forged.status);
    // The tail of an app's callback is a corp id; the robot's has to be empty.
    let (query, body) = Platform::app().seal(&text_message("zhangsan", 1, "for the app"));
    let wrong = wire.post(&format!("{BOT}?{query}"), body.as_bytes()).await.expect("an answer");
    assert_eq!(wrong.status, 403);
    let events = json(&mut wire, "/api/v1/events").await;
    assert_eq!(events["data"].as_array().map(Vec::len), Some(1));
}

/// Most callbacks pass the router by; where something in the address has to be decoded they do not.
#[tokio::test]
async fn a_callback_ends_alike_with_the_router_and_without() {
    let gateway = Gateway::start("both-ways", Setup::default());
    let mut wire = Wire::connect(gateway.address()).await.expect("connects");
    let (query, body) = Platform::app().seal(&text_message("zhangsan", 1, "twice"));
    let forged = query.replacen("msg_signature=", "msg_signature=0", 1);
    for (straight, routed) in [("wechat/api", "wechat/a%70i"), ("wechat/nobody", "we%63hat/nobody")] {
        for query in [&query, &forged] {
            let mut answers = Vec::new();
            for way in [straight, routed] {
                let target = format!("/api/v1/webhooks/{way}?{query}");
                let answer = wire.post_again(&target, body.as_bytes()).await.expect("an answer");
                answers.push((answer.status, without_ids(&answer.head), answer.body));
            }
            assert_eq!(answers[0], answers[1], "{straight} and {routed}");
        }
    }
    let events = json(&mut wire, "/api/v1/events").await;
    assert_eq!(events["data"].as_array().map(Vec::len), Some(1), "the second is known as a repeat");
}

/// SEC-1, SEC-3, SEC-4: whatever is wrong, one text per status, and no header but the request id differs.
#[tokio::test]
async fn refusals_look_alike_from_outside_and_explain_themselves_inside() {
    let gateway = Gateway::start("refusals", Setup::default());
    let mut wire = Wire::connect(gateway.address()).await.expect("connects");
    let mut seen: Vec<Answer> = Vec::new();
    for (what, target, body) in broken() {
        let answer =
            wire.post(&target, body.as_bytes()).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(matches!(answer.status, 400 | 403 | 404), "{what}: {}", answer.status);
        assert!(answer.header("x-request-id").is_some_and(|id| id.starts_with("req_")), "{what}");
        seen.push(answer);
    }
    for status in [400, 403, 404] {
        let mut bodies: Vec<(Vec<u8>, String)> = seen
            .iter()
            .filter(|answer| answer.status == status)
            .map(|answer| (answer.body.clone(), without_ids(&answer.head)))
            .collect();
        assert!(!bodies.is_empty(), "no case gave {status}");
        bodies.dedup();
        assert_eq!(bodies.len(), 1, "answers with {status} differ: {bodies:?}");
    }
    assert_eq!(json(&mut wire, "/api/v1/events").await["data"].as_array().map(Vec::len), Some(0));
    explained(&mut wire, "receive_id", "ww1234567890abcdef", "wwother").await;
    let log = gateway.log();
    for step in ["signature", "receive_id", "parameter", "base64", "padding"] {
        assert!(log.contains(&format!("\"step\":\"{step}\"")), "the log names {step}");
    }
    assert!(!log.contains(TOKEN) && !log.contains(AES_KEY), "no secret in the log");
}

/// The rejection record of `step` names both ids.
async fn explained(wire: &mut Wire, step: &str, expected: &str, found: &str) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    loop {
        let rejections = json(wire, "/api/v1/rejections?limit=100").await;
        let of_step =
            rejections["data"].as_array().expect("data").iter().find(|row| row["step"] == step).cloned();
        if let Some(row) = of_step {
            let text = row.to_string();
            assert!(text.contains(expected) && text.contains(found), "{text}");
            return;
        }
        assert!(std::time::Instant::now() < deadline, "no rejection of step {step}: {rejections}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn without_ids(head: &str) -> String {
    head.lines()
        .filter(|line| {
            !line.to_ascii_lowercase().starts_with("x-request-id")
                && !line.to_ascii_lowercase().starts_with("date")
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Name, target and body of callbacks that must be refused.
fn broken() -> Vec<(String, String, String)> {
    let platform = Platform::app();
    let plaintext = text_message("zhangsan", 1, "broken");
    let (query, body) = platform.seal(&plaintext);
    let part = |name: &str| {
        let value = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
        value.expect("parameter").to_owned()
    };
    let (signature, timestamp, nonce) = (part("msg_signature"), part("timestamp"), part("nonce"));
    let mut cases: Vec<(String, String, String)> = Vec::new();
    let mut case = |what: &str, query: String, body: &str| {
        cases.push((what.to_owned(), format!("{API}?{query}"), body.to_owned()));
    };
    for name in ["msg_signature", "timestamp", "nonce"] {
        let missing: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with(name)).collect();
        case(&format!("{name} missing"), missing.join("&"), &body);
        let pair = query.split('&').find(|pair| pair.starts_with(name)).expect("pair");
        case(&format!("{name} doubled"), format!("{query}&{pair}"), &body);
        case(&format!("{name} empty"), query.replace(pair, &format!("{name}=")), &body);
        case(&format!("{name} not UTF-8"), query.replace(pair, &format!("{name}=%FF")), &body);
        case(&format!("{name} with NUL"), query.replace(pair, &format!("{pair}%00")), &body);
        case(&format!("{name} with a line end"), query.replace(pair, &format!("{pair}%0d%0aX:%20y")), &body);
    }
    for at in 0..signature.len() {
        let mut flipped = signature.clone().into_bytes();
        flipped[at] = if flipped[at] == b'0' { b'1' } else { b'0' };
        let flipped = String::from_utf8(flipped).expect("hex");
        case("signature flipped", query.replace(&signature, &flipped), &body);
    }
    case("signature in upper case", query.replace(&signature, &signature.to_uppercase()), &body);
    case("signature too short", query.replace(&signature, &signature[1..]), &body);
    case("timestamp changed", query.replace(&timestamp, "1700000001"), &body);
    case("timestamp with a sign", query.replace(&timestamp, "+700000000"), &body);
    case("nonce changed", query.replace(&nonce, "12345"), &body);
    case("body empty", query.clone(), "");
    case("body no XML", query.clone(), "hello");
    case("body without Encrypt", query.clone(), "<xml><ToUserName>a</ToUserName></xml>");
    case("body with a DTD", query.clone(), &format!("<!DOCTYPE xml [<!ENTITY a 'b'>]>{body}"));
    case("JSON broken off", query.clone(), "{\"encrypt\": \"");
    case("Encrypt doubled", query.clone(), &body.replace("<Encrypt>", "<Encrypt>AAAA</Encrypt><Encrypt>"));
    let (query, body) = Platform::new(TOKEN, AES_KEY, "wwother").seal(&plaintext);
    case("another corp", query, &body);
    let (query, body) =
        Platform::new(TOKEN, "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C", CORP_ID).seal(&plaintext);
    case("another key", query, &body);
    let (query, body) = Platform::new("OtherToken", AES_KEY, CORP_ID).seal(&plaintext);
    case("another token", query, &body);
    for (what, encrypt) in [("base64", "AAA*"), ("length", "AAAA")] {
        let (query, body) = signed(encrypt);
        case(what, query, &body);
    }
    let (query, body) = signed(&"A".repeat(43 * 4));
    case("padding", query, &body);
    let (query, body) = platform.seal(&plaintext);
    cases.push((
        "no such handler".to_owned(),
        format!("/api/v1/webhooks/wechat/nobody?{query}"),
        body.clone(),
    ));
    cases.push(("no such kind".to_owned(), format!("/api/v1/webhooks/other/api?{query}"), body));
    cases
}

/// `encrypt` under a right signature, so that only what comes after the signature refuses it.
fn signed(encrypt: &str) -> (String, String) {
    use sha1::{Digest, Sha1};
    let (timestamp, nonce) = ("1700000000", "4242");
    let mut parts = [TOKEN, timestamp, nonce, encrypt];
    parts.sort_unstable();
    let mut signature = String::new();
    for byte in Sha1::digest(parts.concat()) {
        let _ = write!(signature, "{byte:02x}");
    }
    (
        format!("msg_signature={signature}&timestamp={timestamp}&nonce={nonce}"),
        format!("<xml><Encrypt><![CDATA[{encrypt}]]></Encrypt></xml>"),
    )
}
