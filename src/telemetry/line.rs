//! One log line: a fixed set of facts → bytes, bounded and with nothing in it that could forge another line.
//!
//! Values come from strangers. Control characters, line separators and characters that turn the direction of text
//! are escaped in both forms; a value that is too long is cut, and the line says so.

use std::fmt::Write;

use crate::clock::rfc3339_ms;
use crate::config::LogFormat;
use crate::sabotage::{self, Protection};

/// What a line says.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    /// Milliseconds since 1970.
    pub(super) time_ms: i64,
    /// `INFO` and its like.
    pub(super) level: &'static str,
    /// The module that speaks.
    pub(super) target: String,
    /// A sentence.
    pub(super) message: String,
    /// Facts by name: those of the spans around it, then its own.
    pub(super) fields: Vec<(&'static str, FieldValue)>,
}

/// The value of one field.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FieldValue {
    /// Text, escaped and cut when it is written.
    Text(String),
    /// A number or boolean in its JSON form.
    Bare(String),
}

impl Line {
    /// The line in `format`, at most `bytes_max` bytes with its newline.
    pub(super) fn render(&self, format: LogFormat, bytes_max: usize) -> String {
        let mut out =
            Output { text: String::with_capacity(256), room: bytes_max.saturating_sub(RESERVE), cut: false };
        match format {
            LogFormat::Json => self.json(&mut out),
            LogFormat::Text => self.text(&mut out),
        }
        out.text
    }

    fn json(&self, out: &mut Output) {
        let value_bytes_max = out.room / 2;
        out.fixed(&format!(r#"{{"time":"{}","level":"{}","target":""#, rfc3339_ms(self.time_ms), self.level));
        out.escaped(&self.target, 256);
        out.fixed(r#"","message":""#);
        out.escaped(&self.message, value_bytes_max);
        out.fixed("\"");
        for (name, value) in &self.fields {
            let Some(room) = out.room_for(name) else { break };
            out.fixed(",\"");
            out.fixed(field_name(name));
            out.fixed("\":");
            match value {
                FieldValue::Bare(text) => out.fixed(text),
                FieldValue::Text(text) => {
                    out.fixed("\"");
                    out.escaped(text, room.min(value_bytes_max));
                    out.fixed("\"");
                }
            }
        }
        out.text.push_str(if out.cut { ",\"cut\":true}\n" } else { "}\n" });
    }

    fn text(&self, out: &mut Output) {
        let value_bytes_max = out.room / 2;
        out.fixed(&format!("{} {:5} ", rfc3339_ms(self.time_ms), self.level));
        out.escaped(self.target.strip_prefix("wecom_gateway::").unwrap_or(&self.target), 256);
        out.fixed(": ");
        out.escaped(&self.message, value_bytes_max);
        for (name, value) in &self.fields {
            let Some(room) = out.room_for(name) else { break };
            out.fixed(" ");
            out.fixed(name);
            out.fixed("=");
            match value {
                FieldValue::Bare(text) => out.fixed(text),
                FieldValue::Text(text) if is_word(text) => out.escaped(text, room.min(value_bytes_max)),
                FieldValue::Text(text) => {
                    out.fixed("\"");
                    out.escaped(text, room.min(value_bytes_max));
                    out.fixed("\"");
                }
            }
        }
        out.text.push_str(if out.cut { " (cut)\n" } else { "\n" });
    }
}

/// Fields must not look like the parts that every line has.
fn field_name(name: &'static str) -> &'static str {
    match name {
        "time" => "time_",
        "level" => "level_",
        "target" => "target_",
        "cut" => "cut_",
        _ => name,
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains([' ', '=', '"'])
}

/// A line that grows up to a bound.
struct Output {
    text: String,
    room: usize,
    cut: bool,
}

impl Output {
    /// Text of our own, which is short.
    fn fixed(&mut self, text: &str) {
        self.text.push_str(text);
        self.room = self.room.saturating_sub(text.len());
    }

    /// How much a field called `name` may take; `None` when nothing useful is left.
    fn room_for(&mut self, name: &str) -> Option<usize> {
        let room = self.room.checked_sub(name.len() + FIELD_OVERHEAD);
        self.cut |= room.is_none();
        room
    }

    /// Text from anywhere, escaped, of at most `bytes_max` bytes.
    fn escaped(&mut self, text: &str, bytes_max: usize) {
        let end = self.text.len() + bytes_max.min(self.room);
        let begin = self.text.len();
        for c in text.chars() {
            let before = self.text.len();
            push_escaped(&mut self.text, c);
            if self.text.len() > end {
                self.text.truncate(before);
                self.cut = true;
                break;
            }
        }
        self.room = self.room.saturating_sub(self.text.len() - begin);
    }
}

/// Appends `c` as JSON would write it, and escapes whatever a terminal or a log reader takes for more than a letter.
fn push_escaped(out: &mut String, c: char) {
    match c {
        _ if sabotage::off(Protection::LogEscaping) => out.push(c),
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        _ if is_more_than_a_letter(c) => {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        }
        _ => out.push(c),
    }
}

/// Controls, line separators, and characters that turn the direction of text.
const fn is_more_than_a_letter(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}'
    )
}

/// Kept free for the end of the line.
const RESERVE: usize = 64;
/// Quotes, colon, blank, and the longest number.
const FIELD_OVERHEAD: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &str, fields: &[(&'static str, FieldValue)]) -> Line {
        Line {
            time_ms: 1_700_000_000_007,
            level: "WARN",
            target: "wecom_gateway::http".to_owned(),
            message: message.to_owned(),
            fields: fields.to_vec(),
        }
    }

    fn text(value: &str) -> FieldValue {
        FieldValue::Text(value.to_owned())
    }

    const HOSTILE: &str = "a\r\n{\"level\":\"ERROR\"}\u{1b}[31m\u{2028}\u{202e}\u{85}\u{0}\\ ü 中";

    #[test]
    fn a_line_reads_as_json_and_as_text() {
        let fields = [
            ("source", text("wechat_api")),
            ("bytes", FieldValue::Bare("12".into())),
            ("why", text("no =")),
            ("none", text("")),
        ];
        let line = line("a callback was refused", &fields);
        assert_eq!(
            line.render(LogFormat::Json, 4096),
            "{\"time\":\"2023-11-14T22:13:20.007Z\",\"level\":\"WARN\",\"target\":\"wecom_gateway::http\",\
             \"message\":\"a callback was refused\",\"source\":\"wechat_api\",\"bytes\":12,\"why\":\"no =\",\"none\":\"\"}\n"
        );
        assert_eq!(
            line.render(LogFormat::Text, 4096),
            "2023-11-14T22:13:20.007Z WARN  http: a callback was refused source=wechat_api bytes=12 why=\"no =\" none=\"\"\n"
        );
    }

    #[test]
    fn strangers_cannot_forge_a_line() {
        let line = line(HOSTILE, &[("user", text(HOSTILE)), ("level", text("ERROR"))]);
        let json = line.render(LogFormat::Json, 4096);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((value["message"].as_str(), value["user"].as_str()), (Some(HOSTILE), Some(HOSTILE)));
        assert_eq!((value["level"].as_str(), value["level_"].as_str()), (Some("WARN"), Some("ERROR")));
        for rendered in [json, line.render(LogFormat::Text, 4096)] {
            let body = rendered.strip_suffix('\n').unwrap();
            assert!(
                !body.contains(|c: char| c.is_control() || "\u{2028}\u{2029}\u{202e}".contains(c)),
                "{body:?}"
            );
            assert!(body.contains("ü 中"));
        }
    }

    #[test]
    fn a_line_never_exceeds_its_bound_and_stays_json() {
        let long = "\u{1b}中\"".repeat(400_000);
        for bytes_max in [512, 16_384] {
            for fields in [
                vec![],
                vec![("user", text(&long)), ("id", text("evt_1")), ("bytes", FieldValue::Bare("7".into()))],
                vec![("f", text("0123456789")); 2000],
            ] {
                let line = line(&long, &fields);
                let json = line.render(LogFormat::Json, bytes_max);
                assert!(json.len() <= bytes_max && json.len() > bytes_max / 2, "{}", json.len());
                let value: serde_json::Value = serde_json::from_str(&json).unwrap();
                assert_eq!(value["cut"], true);
                let rendered = line.render(LogFormat::Text, bytes_max);
                assert!(rendered.len() <= bytes_max && rendered.ends_with(" (cut)\n"));
            }
        }
        let exact = line(&"x".repeat(100), &[]).render(LogFormat::Json, 16_384);
        assert!(!exact.contains("cut"));
    }
}
