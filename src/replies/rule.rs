//! A rule: to which callbacks something is said without asking anybody.

use serde_json::Value;

use crate::domain::event::{Event, Meaning};
use crate::domain::filter::KindPattern;
use crate::wecom::api::passive::{Form, Occasion, PassiveReply};
use crate::wecom::event::body_json;

/// What has to stand in a callback besides its kind; nothing at all if every list is empty, else one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// The whole text, but for blanks around it and letter case.
    pub keywords: Vec<String>,
    /// A part of the text, whatever its letter case.
    pub contains: Vec<String>,
    /// The key of the menu entry, or of the card's button.
    pub keys: Vec<String>,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    kinds: Vec<KindPattern>,
    when: When,
    reply: PassiveReply,
}

impl Rule {
    /// Says `reply` to callbacks of `kinds` that hold what `when` wants.
    pub fn new(kinds: Vec<KindPattern>, when: When, reply: PassiveReply) -> Self {
        let lower = |texts: Vec<String>| texts.iter().map(|text| text.trim().to_lowercase()).collect();
        let when = When { keywords: lower(when.keywords), contains: lower(when.contains), keys: when.keys };
        Self { kinds, when, reply }
    }

    /// What is said.
    pub fn reply(&self) -> &PassiveReply {
        &self.reply
    }

    /// Whether it is said to the callback with `payload`.
    pub(super) fn fits(&self, occasion: &Occasion<'_>, payload: &[u8]) -> bool {
        let kind = occasion.event.kind.as_str();
        self.kinds.iter().any(|pattern| pattern.matches(kind))
            && can_be_said(self.reply.form(), occasion)
            && self.when.holds(occasion.event, payload)
    }
}

/// Whether the platform takes `form` in answer.
fn can_be_said(form: Form, occasion: &Occasion<'_>) -> bool {
    let accepted = occasion.accepts();
    accepted.contains(&form) || (form == Form::Text && accepted.contains(&Form::Stream))
}

impl When {
    fn holds(&self, event: &Event, payload: &[u8]) -> bool {
        if self.keywords.is_empty() && self.contains.is_empty() && self.keys.is_empty() {
            return true;
        }
        let key = match &event.meaning {
            Meaning::Menu { key, .. } | Meaning::Card { key, .. } => Some(key),
            _ => None,
        };
        if key.is_some_and(|key| self.keys.contains(key)) {
            return true;
        }
        if self.keywords.is_empty() && self.contains.is_empty() {
            return false;
        }
        let Some(text) = text_of(event, payload) else { return false };
        let text = text.trim().to_lowercase();
        self.keywords.contains(&text) || self.contains.iter().any(|part| text.contains(part.as_str()))
    }
}

/// What a person wrote: to an app, to a group robot, to a smart robot.
fn text_of(event: &Event, payload: &[u8]) -> Option<String> {
    if event.kind.as_str() != "message.text" {
        return None;
    }
    let body = body_json(payload, event.format);
    let text = ["/Content", "/Text/Content", "/text/content"].iter().find_map(|path| body.pointer(path));
    text.and_then(Value::as_str).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::wecom::event::read;

    fn fits(when: When, kinds: &str, payload: &str, is_robot: bool) -> bool {
        let reply = PassiveReply::parse(&json!({"text": "hi"})).unwrap();
        let rule = Rule::new(vec![KindPattern::parse(kinds).unwrap()], when, reply);
        let event = read(payload.as_bytes(), &crate::wecom::limits::ReadLimits::default());
        rule.fits(&Occasion { event: &event, is_robot }, payload.as_bytes())
    }

    fn text(content: &str) -> String {
        format!(
            "<xml><ToUserName>ww1</ToUserName><FromUserName>z</FromUserName><MsgType>text</MsgType><Content>{content}</Content><MsgId>1</MsgId></xml>"
        )
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn a_keyword_is_the_whole_text_and_a_part_is_a_part() {
        let keyword = || When { keywords: words(&["Help", "帮助"]), ..When::default() };
        for (content, expected) in
            [("help", true), (" HELP ", true), ("帮助", true), ("help me", false), ("", false)]
        {
            assert_eq!(fits(keyword(), "message.*", &text(content), false), expected, "{content}");
        }
        let part = When { contains: words(&["HELP"]), ..When::default() };
        assert!(fits(part.clone(), "message.text", &text("@robot help me"), false));
        assert!(!fits(part, "message.image", &text("@robot help me"), false));
        assert!(fits(When::default(), "*", &text("anything"), false));
    }

    #[test]
    fn robots_are_read_too_and_a_rule_that_the_platform_would_not_take_does_not_fit() {
        let part = || When { contains: words(&["weather"]), ..When::default() };
        let group =
            "<xml><MsgType>text</MsgType><Text><Content>@R weather</Content></Text><MsgId>1</MsgId></xml>";
        let smart = r#"{"msgid":"1","aibotid":"a","from":{"userid":"z"},"msgtype":"text","text":{"content":"weather?"}}"#;
        assert!(fits(part(), "message.text", group, true));
        assert!(fits(part(), "message.text", smart, true));
        assert!(
            !fits(part(), "message.text", smart, false),
            "a smart robot's callback carries no receive id"
        );
        let joined = "<xml><ToUserName>ww1</ToUserName><FromUserName>z</FromUserName><MsgType>event</MsgType><Event>change_contact</Event></xml>";
        assert!(!fits(When::default(), "*", joined, false));
    }

    #[test]
    fn a_menu_entry_is_known_by_its_key() {
        let click = "<xml><ToUserName>ww1</ToUserName><FromUserName>z</FromUserName><MsgType>event</MsgType><Event>click</Event><EventKey>ABOUT</EventKey></xml>";
        let key = |key: &str| When { keys: words(&[key]), ..When::default() };
        assert!(fits(key("ABOUT"), "event.click", click, false));
        assert!(!fits(key("about"), "event.click", click, false));
    }
}
