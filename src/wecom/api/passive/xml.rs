//! Replies as XML documents, the way the platform's documents print them.
//!
//! JSON names are written in the other letter case (`main_title`, `MainTitle`); a list is its element repeated.

use serde_json::{Map, Value};

use super::Form;

/// Names whose parts JSON does not tell apart.
const NAMES: [(&str, &str); 8] = [
    ("keyname", "KeyName"),
    ("checkbox", "CheckBox"),
    ("taskcard", "TaskCard"),
    ("picurl", "PicUrl"),
    ("userid", "UserId"),
    ("appid", "AppId"),
    ("pagepath", "PagePath"),
    ("replacename", "ReplaceName"),
];

/// The reply of an app to the member `user`, in the name of `corp`.
pub(super) fn of_app(form: Form, body: &Map<String, Value>, user: &str, corp: &str, now_s: i64) -> String {
    let mut xml = String::from("<xml>");
    text(&mut xml, "ToUserName", user);
    text(&mut xml, "FromUserName", corp);
    xml.push_str(&["<CreateTime>", &now_s.to_string(), "</CreateTime>"].concat());
    text(&mut xml, "MsgType", form.as_str());
    match form {
        Form::Text => inside(&mut xml, body.get("text")),
        Form::News => articles(&mut xml, body.get("news")),
        _ => {
            for (name, value) in
                body.iter().filter(|(name, _)| !["msgtype", "userids"].contains(&name.as_str()))
            {
                element(&mut xml, name, value);
            }
        }
    }
    xml.push_str("</xml>");
    xml
}

/// The reply of a group robot to its chat.
pub(super) fn of_robot(form: Form, body: &Map<String, Value>) -> String {
    let mut xml = String::from("<xml>");
    text(&mut xml, "MsgType", form.as_str());
    for (name, value) in body.iter().filter(|(name, _)| *name != "msgtype") {
        element(&mut xml, name, value);
    }
    xml.push_str("</xml>");
    xml
}

fn articles(xml: &mut String, news: Option<&Value>) {
    let articles = news.and_then(|news| news.get("articles")).and_then(Value::as_array);
    let articles = articles.map(Vec::as_slice).unwrap_or_default();
    xml.push_str(&["<ArticleCount>", &articles.len().to_string(), "</ArticleCount><Articles>"].concat());
    for article in articles {
        xml.push_str("<item>");
        inside(xml, Some(article));
        xml.push_str("</item>");
    }
    xml.push_str("</Articles>");
}

/// The fields of an object, without an element around them.
fn inside(xml: &mut String, object: Option<&Value>) {
    for (name, value) in object.and_then(Value::as_object).into_iter().flatten() {
        element(xml, name, value);
    }
}

fn element(xml: &mut String, name: &str, value: &Value) {
    let tag = tag(name);
    match value {
        Value::Null => {}
        Value::Array(items) => items.iter().for_each(|item| element(xml, name, item)),
        Value::Object(map) => {
            xml.push_str(&["<", &tag, ">"].concat());
            for (inner, value) in map {
                element(xml, inner, value);
            }
            xml.push_str(&["</", &tag, ">"].concat());
        }
        Value::String(content) => text(xml, &tag, content),
        Value::Bool(flag) => text(xml, &tag, if *flag { "true" } else { "false" }),
        Value::Number(number) => {
            xml.push_str(&["<", &tag, ">", &number.to_string(), "</", &tag, ">"].concat());
        }
    }
}

/// `main_title` as `MainTitle`, of letters and digits only.
fn tag(name: &str) -> String {
    if let Some((_, tag)) = NAMES.iter().find(|(known, _)| *known == name) {
        return (*tag).to_owned();
    }
    let mut tag = String::with_capacity(name.len());
    for word in name.split('_') {
        let mut letters = word.chars().filter(char::is_ascii_alphanumeric);
        tag.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        tag.extend(letters);
    }
    if tag.starts_with(|c: char| c.is_ascii_alphabetic()) { tag } else { format!("X{tag}") }
}

/// An element with a text. `]]>` would end its section, so it is written in two.
fn text(xml: &mut String, tag: &str, content: &str) {
    let content = content.replace("]]>", "]]]]><![CDATA[>");
    xml.push_str(&["<", tag, "><![CDATA[", &content, "]]></", tag, ">"].concat());
}
