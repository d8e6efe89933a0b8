//! Texts and documents: every character, every id, and what is built to hurt a parser.

use proptest::prelude::*;
use serde_json::{Value, json};
use wecom_gateway::domain::event::{EventKind, Format};
use wecom_gateway::wecom::callback::SealedCallback;
use wecom_gateway::wecom::event;
use wecom_gateway::wecom::limits::ReadLimits;
use wecom_gateway::wecom::refusal::Step;

/// P-4: whatever somebody types comes out as it went in, however the platform writes it.
#[test]
fn every_character_survives_in_each_way_it_can_be_written() {
    let all: Vec<char> = (0..=0x0010_FFFF).filter_map(char::from_u32).collect();
    assert_eq!(all.len(), 1_112_064);
    for chunk in all.chunks(4096) {
        let text: String = chunk.iter().collect();
        let cdata = format!("<![CDATA[{}]]>", text.replace("]]>", "]]]]><![CDATA[>"));
        assert_eq!(content(&cdata), text, "CDATA {:?}", chunk.first());
    }
    // White space around a text that is not in a CDATA section is the document's, so these stand between letters.
    for chunk in all.chunks(4096) {
        let text: String = format!("a{}a", chunk.iter().collect::<String>());
        let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        assert_eq!(content(&escaped), text, "text {:?}", chunk.first());
    }
    for chunk in all.chunks(4096) {
        let references: String =
            chunk.iter().map(|c| ["&#", &u32::from(*c).to_string(), ";"].concat()).collect();
        let text: String = chunk.iter().collect();
        assert_eq!(
            content(&format!("a{references}a")),
            format!("a{text}a"),
            "references {:?}",
            chunk.first()
        );
    }
}

/// The text of a message whose content is written as `markup`.
fn content(markup: &str) -> String {
    let document = format!("<xml><MsgType>text</MsgType><Content>{markup}</Content></xml>");
    let event = event::read(document.as_bytes(), &ReadLimits::DEFAULT);
    assert_eq!(event.kind.as_str(), "message.text");
    event::body_json(document.as_bytes(), event.format)["Content"].as_str().expect("a text").to_owned()
}

#[test]
fn cdata_sections_end_where_they_end() {
    for text in ["]]>", "]]]>", "]]]]>>", "]]>]]>", "a]]", "]", "<![CDATA[x", "]]&gt;"] {
        let cdata = format!("<![CDATA[{}]]>", text.replace("]]>", "]]]]><![CDATA[>"));
        assert_eq!(content(&cdata), text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// P-7, SEC-56: ids up to 2^64 − 1 stay exact, in XML, as JSON numbers and as JSON strings.
    #[test]
    fn ids_stay_exact(id in prop_oneof![any::<u64>(), (u64::MAX - 1000)..=u64::MAX, (1_u64 << 53) - 5..(1 << 53) + 5]) {
        let text = id.to_string();
        let xml = format!("<xml><MsgType>text</MsgType><MsgId>{id}</MsgId></xml>");
        let number = format!("{{\"MsgType\":\"text\",\"MsgId\":{id}}}");
        let string = format!("{{\"MsgType\":\"text\",\"MsgId\":\"{id}\"}}");
        for plaintext in [&xml, &number, &string] {
            let event = event::read(plaintext.as_bytes(), &ReadLimits::DEFAULT);
            prop_assert_eq!(event.message_ref.as_deref(), Some(text.as_str()));
            let shown = event::body_json(plaintext.as_bytes(), event.format)["MsgId"].clone();
            prop_assert_eq!(shown.as_str().map_or_else(|| shown.to_string(), str::to_owned), text.clone());
            prop_assert!(shown.as_u64().is_none_or(|number| number < 1 << 53));
        }
    }
}

const CANARY: &str = "/tmp/wecom-gateway-canary";

/// SEC-9: ways to make a parser fetch, read or define something.
fn declarations() -> Vec<String> {
    let targets = [
        format!("file://{CANARY}"),
        "http://127.0.0.1:9/x.dtd".into(),
        "ftp://127.0.0.1/".into(),
        "php://filter/read=x".into(),
    ];
    let mut out = Vec::new();
    for target in &targets {
        let uses = "<xml><MsgType>text</MsgType><Encrypt>&x;</Encrypt><Content>&x;</Content></xml>";
        let bare = "<xml><MsgType>text</MsgType><Encrypt>AAAA</Encrypt></xml>";
        out.extend([
            format!("<!DOCTYPE xml [<!ENTITY x SYSTEM \"{target}\">]>{uses}"),
            format!("<?xml version=\"1.0\"?><!DOCTYPE xml [<!ENTITY x SYSTEM '{target}'>]>{uses}"),
            format!("<!DOCTYPE xml [<!ENTITY x PUBLIC \"-//A\" \"{target}\">]>{uses}"),
            format!("<!DOCTYPE xml SYSTEM \"{target}\">{bare}"),
            format!("<!DOCTYPE xml PUBLIC \"-//A\" \"{target}\">{bare}"),
            format!("<!DOCTYPE xml [<!ENTITY % p SYSTEM \"{target}\"> %p;]>{bare}"),
            format!("<!DOCTYPE xml [<!ENTITY % p '<!ENTITY x SYSTEM \"{target}\">'> %p;]>{uses}"),
            format!(
                "<xml xmlns:xi=\"http://www.w3.org/2001/XInclude\"><xi:include href=\"{target}\"/></xml>"
            ),
            format!("<!-- --><!DOCTYPE xml [<!ENTITY x SYSTEM \"{target}\">]>{uses}"),
            format!("<xml xsi:schemaLocation=\"{target}\"><Encrypt>AAAA</Encrypt></xml>"),
        ]);
    }
    out
}

#[test]
fn forty_documents_that_declare_something_are_refused_and_kept_unread() {
    let documents = declarations();
    assert_eq!(documents.len(), 40);
    for document in &documents {
        refused_as_envelope(document);
        unreadable_as_plaintext(document);
    }
}

/// An entity made of twice the one before it.
const ENTITY: &str = "<!ENTITY eM \"&eN;&eN;\">";

/// SEC-10: documents that cost much. Reading stops at a limit on depth or pieces, or at the first attribute, so the
/// work is bounded by the document's length, which HTTP bounds.
#[test]
fn twelve_documents_that_cost_much_are_given_up() {
    let long = |part: &str, times: usize| part.repeat(times);
    let entities: String =
        (0..30).map(|n| ENTITY.replace('N', &n.to_string()).replace('M', &(n + 1).to_string())).collect();
    let attributes: String = (0..1_000_000).map(|n: u32| [" a", &n.to_string(), "=''"].concat()).collect();
    let documents = [
        format!("<!DOCTYPE xml [<!ENTITY e0 \"ha\">{entities}]><xml>&e30;</xml>"),
        format!("<!DOCTYPE xml [<!ENTITY e \"{}\">]><xml>{}</xml>", long("A", 100_000), long("&e;", 10_000)),
        format!("<xml{attributes}></xml>"),
        format!("<xml{}></xml>", long(" a='1'", 1_000_000)),
        long("<a>", 100_000),
        format!("<xml>{}{}</xml>", long("<a>", 100_000), long("</a>", 100_000)),
        format!("<xml>{}</xml>", long("<a/>", 1_000_000)),
        format!("<xml>{}</xml>", long("&amp;", 1_000_000)),
        format!("<xml>{}</xml>", long("<!-- -->", 1_000_000)),
        format!("<xml>{}</xml>", long("<![CDATA[]]>", 1_000_000)),
        format!("<xml{}></xml>", long(" xmlns:a='urn:a'", 100_000)),
        format!("<xml>{}", long("text ", 2_000_000)),
    ];
    for document in &documents {
        refused_as_envelope(document);
        unreadable_as_plaintext(document);
    }
    let deep = format!("{}{}", long("{\"a\":", 100_000), long("}", 100_000));
    let wide = format!("{{\"a\":[{}1]}}", long("1,", 1_000_000));
    for document in [&deep, &wide] {
        unreadable_as_plaintext(document);
        refused_as_envelope(document);
    }
}

fn refused_as_envelope(document: &str) {
    let query = "msg_signature=5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3&timestamp=1409659589&nonce=263014780";
    let refusal =
        SealedCallback::read(query, document.as_bytes(), &ReadLimits::DEFAULT).expect_err("refused");
    assert_eq!(refusal.step, Step::Body, "{}", start(document));
    assert!(refusal.detail.len() < 500, "{}", refusal.detail);
}

fn unreadable_as_plaintext(document: &str) {
    let event = event::read(document.as_bytes(), &ReadLimits::DEFAULT);
    assert_eq!(
        (event.kind.as_str(), event.format),
        (EventKind::UNREADABLE, Format::Opaque),
        "{}",
        start(document)
    );
    assert_eq!(
        event::body_json(document.as_bytes(), event.format),
        Value::from(document),
        "{}",
        start(document)
    );
}

fn start(document: &str) -> String {
    document.chars().take(100).collect()
}

#[test]
fn long_texts_and_long_ids_are_bounded_where_they_matter() {
    let long = "x".repeat(10_000_000);
    let plaintext = format!(
        "<xml><FromUserName>{long}</FromUserName><MsgType>text</MsgType><Content>{long}</Content></xml>"
    );
    let event = event::read(plaintext.as_bytes(), &ReadLimits::DEFAULT);
    assert_eq!((event.kind.as_str(), event.user_id), ("message.text", None));
    assert_eq!(event::body_json(plaintext.as_bytes(), Format::Xml)["FromUserName"], json!(long));
    let kind =
        event::read(format!("<xml><MsgType>{long}</MsgType></xml>").as_bytes(), &ReadLimits::DEFAULT).kind;
    assert_eq!(kind.as_str().len(), EventKind::BYTES_MAX);
}
