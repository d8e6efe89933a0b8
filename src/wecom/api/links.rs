//! The addresses in a message that people open: found, and exchanged for others that lead there.

use serde_json::{Map, Value};

use super::field::URL_BYTES_MAX;

/// What stands before an address in a text and in markdown.
const MARKS: [(&str, char); 3] = [("href=\"", '"'), ("href='", '\''), ("](", ')')];

/// Exchanges every address that a person opens in the object under `msgtype`; pictures keep theirs.
pub fn exchange(content: &mut Map<String, Value>, make: &mut impl FnMut(&str) -> String) {
    let word = content.get("msgtype").and_then(Value::as_str).unwrap_or_default().to_owned();
    let Some(inner) = content.get_mut(&word) else { return };
    match word.as_str() {
        "text" | "markdown" | "markdown_v2" => {
            if let Some(Value::String(text)) = inner.get_mut("content") {
                *text = in_text(text, make);
            }
        }
        "textcard" | "news" | "template_card" | "taskcard" => in_fields(inner, make),
        _ => {}
    }
}

/// Members called `url`, at any depth, but for those of pictures.
fn in_fields(value: &mut Value, make: &mut impl FnMut(&str) -> String) {
    match value {
        Value::Object(map) => {
            for (name, value) in map.iter_mut().filter(|(name, _)| *name != "card_image") {
                match value {
                    Value::String(url) if name == "url" && is_web(url) => *url = make(url),
                    Value::Object(_) | Value::Array(_) => in_fields(value, make),
                    _ => {}
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| in_fields(value, make)),
        _ => {}
    }
}

fn in_text(text: &str, make: &mut impl FnMut(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, mark, end)) = first_mark(rest) {
        let begin = at + mark.len();
        let (before, after) = (rest.get(..begin).unwrap_or_default(), rest.get(begin..).unwrap_or_default());
        out.push_str(before);
        let url = after.split(end).next().unwrap_or_default();
        // A picture in markdown is not opened.
        let is_picture = before
            .rfind('[')
            .is_some_and(|open| open > 0 && before.get(..open).is_some_and(|text| text.ends_with('!')));
        if is_web(url) && !(is_picture && mark == "](") && url.len() < after.len() {
            out.push_str(&make(url));
        } else {
            out.push_str(url);
        }
        rest = after.get(url.len()..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

fn first_mark(text: &str) -> Option<(usize, &'static str, char)> {
    MARKS.iter().filter_map(|(mark, end)| Some((text.find(mark)?, *mark, *end))).min()
}

fn is_web(url: &str) -> bool {
    (url.starts_with("http://") || url.starts_with("https://")) && url.len() <= URL_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn exchanged(message: &Value) -> (Value, Vec<String>) {
        let mut content = message.as_object().unwrap().clone();
        let mut found = Vec::new();
        exchange(&mut content, &mut |url| {
            found.push(url.to_owned());
            format!("L{}", found.len())
        });
        (Value::Object(content), found)
    }

    #[test]
    fn what_people_open_is_exchanged_and_pictures_are_not() {
        let (text, found) = exchanged(&json!({"msgtype": "text", "text": {
            "content": "see <a href=\"https://a/?x=1\">a</a>, <a href='https://b'>b</a> or https://bare"}}));
        assert_eq!(text["text"]["content"], "see <a href=\"L1\">a</a>, <a href='L2'>b</a> or https://bare");
        assert_eq!(found, ["https://a/?x=1", "https://b"]);
        let (markdown, _) = exchanged(&json!({"msgtype": "markdown",
            "markdown": {"content": "[a](https://a) ![p](https://p) [m](mailto:x) [open](https://o"}}));
        assert_eq!(markdown["markdown"]["content"], "[a](L1) ![p](https://p) [m](mailto:x) [open](https://o");
        let (news, found) = exchanged(&json!({"msgtype": "news", "news": {"articles": [
            {"title": "t", "url": "https://a", "picurl": "https://p"}, {"title": "t", "url": "https://b"}]}}));
        assert_eq!((&news["news"]["articles"][0]["picurl"], found.len()), (&json!("https://p"), 2));
        let (card, found) = exchanged(&json!({"msgtype": "template_card", "template_card": {
            "card_action": {"type": 1, "url": "https://a"}, "card_image": {"url": "https://p"},
            "jump_list": [{"type": 1, "url": "https://b", "title": "t"}]}}));
        assert_eq!((&card["template_card"]["card_image"]["url"], found.len()), (&json!("https://p"), 2));
        assert_eq!(exchanged(&json!({"msgtype": "image", "image": {"media_id": "m"}})).1.len(), 0);
    }
}
