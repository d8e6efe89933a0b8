//! What every documented callback is read as; the expectations were made without the gateway.

use serde_json::Value;
use wecom_gateway::domain::event::{EventKind, Format, Meaning};
use wecom_gateway::domain::evidence::InteractionKind;
use wecom_gateway::domain::status::Status;
use wecom_gateway::wecom::event;
use wecom_gateway::wecom::limits::ReadLimits;

use crate::vectors::{folder, read_json};

pub(crate) fn sample(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/callback-samples/{name}", folder())).expect("a sample")
}

fn word(meaning: &Meaning) -> &'static str {
    match meaning {
        Meaning::UserMessage { .. } => "user_message",
        Meaning::Menu { .. } => "menu",
        Meaning::Enter => "enter",
        Meaning::Subscription { .. } => "subscription",
        Meaning::Card { .. } => "card",
        Meaning::Contact { .. } => "contact",
        Meaning::StatusReport { .. } => "status_report",
        Meaning::JobResult { .. } => "job_result",
        Meaning::Interaction { .. } => "interaction",
        Meaning::Feedback { .. } => "feedback",
        Meaning::Other => "other",
    }
}

#[test]
fn every_callback_has_its_kind_and_its_fields() {
    let table = read_json("expected-events.json");
    let table = table.as_object().expect("a table");
    assert_eq!(table.len(), 315);
    let mut kinds = std::collections::BTreeSet::new();
    for (name, expected) in table {
        let reading = event::reading(&sample(name), &ReadLimits::DEFAULT);
        let event = &reading.event;
        let text = |key: &str| expected[key].as_str();
        assert_eq!(Some(event.kind.as_str()), text("kind"), "{name}");
        assert_eq!(Some(word(&event.meaning)), text("meaning"), "{name}");
        assert_eq!(event.corp_id.as_deref(), text("corp_id"), "{name}");
        assert_eq!(event.agent_id.as_deref(), text("agent_id"), "{name}");
        assert_eq!(event.user_id.as_deref(), text("user_id"), "{name}");
        assert_eq!(event.external_user_id.as_deref(), text("external_user_id"), "{name}");
        assert_eq!(event.chat_id.as_deref(), text("chat_id"), "{name}");
        assert_eq!(event.message_ref.as_deref(), text("message_ref"), "{name}");
        assert_eq!(event.created_s, expected["created_s"].as_i64(), "{name}");
        assert_eq!(reading.callback_id.is_some(), expected["own_id"] == true, "{name}");
        kinds.insert(event.kind.clone());
    }
    assert_eq!(kinds.len(), 246);
}

#[test]
fn every_body_becomes_json_without_loss() {
    let text = std::fs::read_to_string(format!("{}/expected-bodies.jsonl", folder())).expect("the bodies");
    let mut count = 0;
    for line in text.lines() {
        let expected: Value = serde_json::from_str(line).expect("JSON");
        let name = expected["file"].as_str().expect("a file");
        let plaintext = sample(name);
        let format = event::read(&plaintext, &ReadLimits::DEFAULT).format;
        assert_eq!(event::body_json(&plaintext, format), expected["body"], "{name}");
        count += 1;
    }
    assert_eq!(count, 340);
}

#[test]
fn repeated_siblings_are_lists() {
    let table = read_json("expected-events.json");
    let mut seen = 0;
    for (name, expected) in table.as_object().expect("a table") {
        for repeated in expected["repeated"].as_array().into_iter().flatten() {
            let body = event::body_json(&sample(name), Format::Xml);
            let found = find(&body, repeated.as_str().expect("a name"));
            assert!(
                found.is_some_and(|value| value.as_array().is_some_and(|list| list.len() > 1)),
                "{name}: {repeated}"
            );
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

/// The first member called `name`, at any depth.
fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(members) => {
            members.get(name).or_else(|| members.values().find_map(|inner| find(inner, name)))
        }
        Value::Array(items) => items.iter().find_map(|inner| find(inner, name)),
        _ => None,
    }
}

#[test]
fn quirks_are_read_and_attacks_are_not() {
    for (name, kind) in [
        ("quirk-agentid-cdata.xml", "message.text"),
        ("quirk-aibot-escaped-slash.json", "event.brand_new_event"),
        ("quirk-cdata-looks-like-xml.xml", "message.text"),
        ("quirk-cdata-split.xml", "message.text"),
        ("quirk-comment-and-pi.xml", "message.text"),
        ("quirk-compact-oneline.xml", "message.text"),
        ("quirk-element-order-reversed.xml", "message.text"),
        ("quirk-emoji-and-control.xml", "message.text"),
        ("quirk-empty-fields.xml", "event.enter_agent"),
        ("quirk-entities-instead-of-cdata.xml", "message.text"),
        ("quirk-malformed-cdata-value.xml", "command.share_agent_change"),
        ("quirk-msgid-over-i64.xml", "message.text"),
        ("quirk-repeated-piclist.xml", "event.pic_weixin"),
        ("quirk-unknown-event.xml", "event.brand_new_event_2030"),
        ("quirk-unknown-msgtype.xml", "message.hologram"),
        ("quirk-user-text-fakes-encrypt.xml", "message.text"),
        ("quirk-utf8-bom.xml", "message.text"),
        ("quirk-whitespace-around-cdata.xml", "command.suite_ticket"),
        ("quirk-xml-declaration.xml", "message.text"),
        ("quirk-hostile-billion-laughs.xml", EventKind::UNREADABLE),
        ("quirk-hostile-deep-nesting.xml", EventKind::UNREADABLE),
        ("quirk-hostile-unclosed.xml", EventKind::UNREADABLE),
        ("quirk-hostile-xxe.xml", EventKind::UNREADABLE),
    ] {
        let plaintext = sample(name);
        let event = event::read(&plaintext, &ReadLimits::DEFAULT);
        assert_eq!(event.kind.as_str(), kind, "{name}");
        if kind == EventKind::UNREADABLE {
            let kept = event::body_json(&plaintext, event.format);
            assert_eq!(
                kept.as_str().map(str::as_bytes),
                Some(plaintext.as_slice()),
                "{name} is kept word for word"
            );
        }
    }
    let empty = event::read(&sample("quirk-empty-fields.xml"), &ReadLimits::DEFAULT);
    assert_eq!((empty.user_id, empty.agent_id), (None, None));
    let fooled = event::read(&sample("quirk-cdata-looks-like-xml.xml"), &ReadLimits::DEFAULT);
    assert_eq!(fooled.agent_id.as_deref(), Some("1000002"));
    let largest = event::read(&sample("quirk-msgid-over-i64.xml"), &ReadLimits::DEFAULT);
    assert_eq!(largest.message_ref.as_deref(), Some("18446744073709551615"));
    let slash = event::read(&sample("quirk-aibot-escaped-slash.json"), &ReadLimits::DEFAULT);
    assert_eq!(slash.message_ref.as_deref(), Some("CAIQexample/slash=="));
}

#[test]
fn cards_tell_what_was_chosen_in_both_spellings() {
    let expected = vec![
        ("question_1".to_owned(), vec!["opt_1".to_owned(), "opt_2".to_owned()]),
        ("question_2".to_owned(), vec!["opt_3".to_owned()]),
    ];
    let Meaning::Card { task_id, key, card_type, response_code, selected } =
        event::read(&sample("event-template_card_event-typo-spelling.xml"), &ReadLimits::DEFAULT).meaning
    else {
        panic!("a card");
    };
    assert_eq!(
        (task_id.as_str(), key.as_str(), card_type.as_str()),
        ("task-0002", "submit_1", "multiple_interaction")
    );
    assert_eq!((response_code.as_str(), selected), ("RESPONSE_CODE_0002", expected));

    let robot = event::read(
        &sample("aibot-event-template_card_event-multiple_interaction.json"),
        &ReadLimits::DEFAULT,
    );
    let Meaning::Card { task_id, selected, .. } = robot.meaning else { panic!("a card") };
    assert_eq!(task_id, "task-bot-0001");
    assert_eq!(selected[1], ("q2".to_owned(), vec!["b1".to_owned(), "b2".to_owned()]));

    let pressed = event::read(&sample("grouprobot-attachment.xml"), &ReadLimits::DEFAULT);
    assert_eq!(pressed.kind.as_str(), "message.attachment");
    let Meaning::Card { task_id, key, .. } = pressed.meaning else { panic!("a card") };
    assert_eq!((task_id.as_str(), key.as_str()), ("btn_for_show_more", "btn_more"));
}

#[test]
fn people_menus_and_judgements_are_understood() {
    let meaning = |name: &str| event::read(&sample(name), &ReadLimits::DEFAULT).meaning;
    assert_eq!(meaning("event-subscribe.xml"), Meaning::Subscription { joined: true });
    assert_eq!(meaning("event-unsubscribe.xml"), Meaning::Subscription { joined: false });
    assert_eq!(meaning("event-enter_agent.xml"), Meaning::Enter);
    assert_eq!(
        meaning("event-click.xml"),
        Meaning::Menu { action: "click".into(), key: "V1001_TODAY".into() }
    );
    let contact = event::read(&sample("event-change_contact-delete_user.xml"), &ReadLimits::DEFAULT);
    assert_eq!(contact.meaning, Meaning::Contact { change: "delete_user".into() });
    assert_eq!(contact.user_id.as_deref(), Some("zhangsan"), "never sys");
    assert_eq!(
        meaning("aibot-event-feedback_event-inaccurate.json"),
        Meaning::Feedback {
            reference: "FEEDBACK_ID_0001".into(), verdict: 2, text: "回答不准确".into()
        }
    );
}

/// PMC's own forms (S1-8, S1-9, S1-10).
#[test]
fn status_forms_report_and_interactions_name_their_message() {
    let read = |name: &str| {
        let plaintext = std::fs::read(format!("{}/pmc-samples/{name}", folder())).expect("a sample");
        event::read(&plaintext, &ReadLimits::DEFAULT)
    };
    let report = |name: &str, word: &str, status: Status, reference: &str| {
        let event = read(name);
        assert_eq!(event.kind.as_str(), word, "{name}");
        let Meaning::StatusReport { reference: named, status: reported, code, text } = event.meaning else {
            panic!("{name}")
        };
        assert_eq!((named.as_str(), reported), (reference, status), "{name}");
        (event.user_id, code, text)
    };
    let sent = "7000000000000000001";
    for name in ["send_msg_result.xml", "send_msg_result-event.xml"] {
        assert_eq!(
            report(name, "status.send_msg_result", Status::Sent, sent),
            (Some("zhangsan".into()), None, None)
        );
    }
    let failed =
        report("send_msg_result-failed.xml", "status.send_msg_result", Status::Failed, "7000000000000000002");
    assert_eq!(failed, (Some("zhangsan".into()), Some(60011), Some("no privilege to access".into())));
    assert_eq!(
        report("msg_audit.xml", "status.msg_audit", Status::Delivered, sent).0.as_deref(),
        Some("zhangsan")
    );
    assert_eq!(report("msg_read.xml", "status.msg_read", Status::Read, sent).0.as_deref(), Some("zhangsan"));

    let added = read("user_add.xml");
    assert_eq!((added.kind.as_str(), added.user_id.as_deref()), ("event.user_add", Some("lisi")));
    assert_eq!(added.meaning, Meaning::Contact { change: "user_add".into() });
    assert_eq!(read("party_delete.xml").meaning, Meaning::Contact { change: "party_delete".into() });

    let interaction = |name: &str, kind: InteractionKind, value: &str| {
        let event = read(name);
        let expected = Meaning::Interaction {
            reference: "7000000000000000003".into(),
            kind,
            value: Some(value.to_owned()),
        };
        assert_eq!((event.meaning, event.user_id.as_deref()), (expected, Some("zhangsan")), "{name}");
    };
    interaction("bot-click.json", InteractionKind::Click, "approve");
    interaction("bot-reply.json", InteractionKind::Reply, "收到");
}

#[test]
fn status_forms_come_as_json_too_and_need_a_message() {
    let status = |text: &str| match event::read(text.as_bytes(), &ReadLimits::DEFAULT).meaning {
        Meaning::StatusReport { status, code, text, .. } => Some((status, code, text)),
        _ => None,
    };
    assert_eq!(
        status(r#"{"MsgType":"msg_read","MsgId":7,"FromUserName":"a"}"#),
        Some((Status::Read, None, None))
    );
    assert_eq!(
        status(
            r#"{"MsgType":"event","Event":"send_msg_result","MsgId":"7","errcode":1,"error_message":"no"}"#
        ),
        Some((Status::Failed, Some(1), Some("no".into())))
    );
    assert_eq!(
        status(
            r#"{"msgtype":"send_msg_result","msgid":"7","from":{"userid":"a"},"errcode":0,"errmsg":"ok"}"#
        ),
        Some((Status::Sent, None, None))
    );
    assert_eq!(status(r#"{"MsgType":"msg_read","FromUserName":"a"}"#), None);

    let interaction = |text: &str| match event::read(text.as_bytes(), &ReadLimits::DEFAULT).meaning {
        Meaning::Interaction { kind, value, .. } => Some((kind.as_str().to_owned(), value)),
        _ => None,
    };
    let body = |rest: &str| format!(r#"{{"msgid":"7","from":{{"userid":"a"}}{rest}}}"#);
    assert_eq!(interaction(&body(r#","reply":{"content":"ok"}"#)), Some(("reply".into(), Some("ok".into()))));
    assert_eq!(interaction(&body(r#","msgtype":"event","event":"forward""#)), Some(("forward".into(), None)));
    assert_eq!(
        interaction(&body(r#","msgtype":"event","event":{"eventtype":"open"}"#)),
        Some(("open".into(), None))
    );
    assert_eq!(interaction(&body(r#","msgtype":"location""#)), Some(("location".into(), None)));
    assert_eq!(interaction(&body("")), None);
    assert_eq!(interaction(r#"{"msgid":"7","msgtype":"text"}"#), None);
}
