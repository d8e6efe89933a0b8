use super::*;
use crate::domain::event::EventKind;
use crate::wecom::event::{body_json, read};

const FRAME: Frame<'static> = Frame { now_s: 1_700_000_000, stream_id: "s1" };

fn event(kind: &[&str], format: Format) -> Event {
    let mut event = Event::of_kind(EventKind::from_parts(kind), format);
    event.user_id = Some("zhangsan".to_owned());
    event.corp_id = Some("ww1".to_owned());
    event
}

fn said(reply: &Value, kind: &[&str], format: Format, is_robot: bool) -> Result<String, String> {
    let event = event(kind, format);
    let reply = PassiveReply::parse(reply).map_err(|error| error.to_string())?;
    reply.plaintext(&Occasion { event: &event, is_robot }, &FRAME).map_err(|error| error.to_string())
}

fn sample(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/it/vectors/callback-samples/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

/// The platform's sample as JSON, and what is written for `reply`, both without the time.
fn both(name: &str, reply: &Value, kind: &[&str]) -> (Value, Value) {
    let written = said(reply, kind, Format::Xml, false).unwrap();
    let read = |bytes: &[u8]| {
        let mut body = body_json(bytes, Format::Xml);
        body.as_object_mut().unwrap().remove("CreateTime");
        body.as_object_mut().unwrap().remove("FromUserName");
        body
    };
    (read(&sample(name)), read(written.as_bytes()))
}

#[test]
fn every_form_reads_as_the_platforms_sample_of_it() {
    let message = ["message", "text"];
    let card = ["event", "template_card_event"];
    let articles: Vec<Value> = (1..=2)
        .map(|n| {
            json!({"title": format!("标题{n}"), "description": format!("描述{n}"),
                "picurl": format!("https://example.com/{n}.png"), "url": format!("https://example.com/{n}")})
        })
        .collect();
    for (name, reply, kind) in [
        ("reply-text.xml", json!({"text": "你好"}), message.as_slice()),
        ("reply-image.xml", json!({"image": "MEDIA_ID"}), &message),
        ("reply-voice.xml", json!({"msgtype": "voice", "voice": {"media_id": "MEDIA_ID"}}), &message),
        (
            "reply-video.xml",
            json!({"msgtype": "video", "video": {"media_id": "MEDIA_ID", "title": "标题", "description": "描述"}}),
            &message,
        ),
        ("reply-news.xml", json!({"msgtype": "news", "news": {"articles": articles}}), &message),
        (
            "reply-update_button.xml",
            json!({"msgtype": "update_button", "button": {"replace_name": "已处理"}}),
            &card,
        ),
        (
            "reply-update_taskcard.xml",
            json!({"msgtype": "update_taskcard", "taskcard": {"replace_name": "已收到"}}),
            &["event", "taskcard_click"],
        ),
    ] {
        let (expected, written) = both(name, &reply, kind);
        assert_eq!(written, expected, "{name}");
    }
}

#[test]
fn a_card_reads_as_the_platforms_sample_of_it() {
    let card = json!({
        "card_type": "vote_interaction",
        "source": {"icon_url": "https://example.com/i.png", "desc": "企业微信", "desc_color": 1},
        "main_title": {"title": "欢迎使用", "desc": "描述"},
        "checkbox": {"question_key": "vote_q", "mode": 1, "disable": false, "option_list": [
            {"id": "o1", "text": "选项一", "is_checked": true},
            {"id": "o2", "text": "选项二", "is_checked": false}]},
        "submit_button": {"text": "提交", "key": "submit"},
        "replace_text": "已投票",
    });
    let reply = json!({"msgtype": "update_template_card", "template_card": card});
    let (expected, written) =
        both("reply-update_template_card-vote_interaction.xml", &reply, &["event", "template_card_event"]);
    assert_eq!(written, expected);
    let card = json!({
        "card_type": "button_interaction",
        "source": {"icon_url": "https://example.com/i.png", "desc": "企业微信", "desc_color": 1},
        "main_title": {"title": "欢迎使用", "desc": "描述"},
        "sub_title_text": "副标题",
        "horizontal_content_list": [{"keyname": "邀请人", "value": "张三"},
            {"keyname": "官网", "value": "点击访问", "type": 1, "url": "https://example.com"}],
        "button_selection": {"question_key": "btn_q", "title": "评分", "selected_id": "opt_1", "option_list": [
            {"id": "opt_1", "text": "5"}, {"id": "opt_2", "text": "4"}]},
        "button_list": [{"text": "按钮", "style": 1, "key": "button_1"}],
        "replace_text": "已提交",
    });
    let reply = json!({"msgtype": "update_template_card", "template_card": card});
    let (expected, written) =
        both("reply-update_template_card-button_interaction.xml", &reply, &["event", "template_card_event"]);
    assert_eq!(written, expected);
}

#[test]
fn robots_are_answered_in_their_own_way() {
    let smart = |reply: &Value, kind: &[&str]| {
        said(reply, kind, Format::Json, true).map(|text| serde_json::from_str::<Value>(&text).unwrap())
    };
    let text = json!({"text": "hi"});
    assert_eq!(
        smart(&text, &["event", "enter_chat"]).unwrap(),
        json!({"msgtype": "text", "text": {"content": "hi"}})
    );
    assert_eq!(
        smart(&text, &["message", "text"]).unwrap(),
        json!({"msgtype": "stream", "stream": {"id": "s1", "finish": true, "content": "hi"}})
    );
    for name in ["reply-aibot-stream-finish.json", "reply-aibot-stream-open.json"] {
        let sample: Value = serde_json::from_slice(&sample(name)).unwrap();
        assert_eq!(smart(&sample, &["message", "text"]).unwrap(), sample, "{name}");
    }
    let sample: Value = serde_json::from_slice(&sample("reply-aibot-update_template_card.json")).unwrap();
    assert_eq!(smart(&sample, &["event", "template_card_event"]).unwrap(), sample);
    assert!(smart(&text, &["event", "feedback_event"]).is_err());
    let markdown = said(&json!({"markdown": "**hi**"}), &["message", "text"], Format::Xml, true).unwrap();
    assert_eq!(
        markdown,
        "<xml><MsgType><![CDATA[markdown]]></MsgType><Markdown><Content><![CDATA[**hi**]]></Content></Markdown></xml>"
    );
}

#[test]
fn a_reply_of_the_wrong_type_or_form_is_refused_by_name() {
    let said = |reply: Value, kind: &[&str]| said(&reply, kind, Format::Xml, false).unwrap_err();
    let text = ["message", "text"];
    let button = json!({"msgtype": "update_button", "button": {"replace_name": "x"}});
    assert_eq!(
        said(button, &text),
        "`msgtype`: update_button, allowed is text, image, voice, video, news in answer to message.text"
    );
    assert_eq!(
        said(json!({"text": "hi"}), &["event", "change_contact"]),
        "`msgtype`: text, allowed is nothing in answer to event.change_contact"
    );
    assert!(said(json!({"text": "x".repeat(2_049)}), &text).starts_with("`text.content`: 2049 bytes"));
    assert!(said(json!({"text": "好".repeat(683)}), &text).starts_with("`text.content`: 2049 bytes"));
    assert!(said(json!({"text": "a\u{0}b"}), &text).starts_with("`text.content`: '\\0'"));
    assert!(said(json!({"msgtype": "poem"}), &text).starts_with("`msgtype`: \"poem\""));
    assert!(said(json!({}), &text).starts_with("`msgtype`: nothing"));
    assert!(said(json!([1]), &text).starts_with("``: a list"));
    assert!(said(json!({"text": "a", "touser": "b"}), &text).starts_with("`touser`: a field that text"));
    let nine = vec![json!({"title": "t"}); 9];
    assert!(said(json!({"msgtype": "news", "news": {"articles": nine}}), &text).contains("9 entries"));
}

#[test]
fn the_longest_text_fits_and_nothing_in_it_ends_its_section() {
    let wild = "]]></Content><script>alert(1)</script><![CDATA[";
    for content in ["好".repeat(682), wild.to_owned(), "]]>]]>".to_owned()] {
        let xml = said(&json!({"text": content}), &["message", "text"], Format::Xml, false).unwrap();
        assert_eq!(body_json(xml.as_bytes(), Format::Xml)["Content"], content.as_str());
        assert_eq!(
            read(xml.as_bytes(), &crate::wecom::limits::ReadLimits::default()).kind.as_str(),
            "message.text"
        );
    }
}
