//! Messages of a group robot (`webhook/send`), checked before they leave.
//!
//! Protocol: developer.work.weixin.qq.com/document/path/99110 (消息推送配置说明).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

use super::app::article;
pub use super::field::FieldError;
use super::field::{Part, shown, type_name};
use super::template_card::{self, CardFor};

/// Articles in one news message.
const ARTICLES_MAX: usize = 8;

/// Largest picture, before base64.
pub const IMAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Fields beside `msgtype` and its object that robots of some corps take: whom in the chat it is for.
const OPTIONS: [&str; 3] = ["chatid", "post_id", "visible_to_user"];

/// A message as `webhook/send` takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct RobotMessage {
    kind: RobotMessageKind,
    body: Map<String, Value>,
}

/// The kinds that can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RobotMessageKind {
    /// Plain text; may name members with `mentioned_list` and `mentioned_mobile_list`.
    Text,
    /// Markdown with colours and `<@userid>`.
    Markdown,
    /// Markdown with tables, images and code, without colours or mentions.
    MarkdownV2,
    /// A picture, in the message itself.
    Image,
    /// Up to eight articles that lead to pages.
    News,
    /// A file uploaded for this robot.
    File,
    /// An AMR recording uploaded for this robot.
    Voice,
    /// A card that leads somewhere; robots cannot be called back.
    TemplateCard,
}

impl RobotMessageKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Text,
        Self::Markdown,
        Self::MarkdownV2,
        Self::Image,
        Self::News,
        Self::File,
        Self::Voice,
        Self::TemplateCard,
    ];

    /// The platform's word, `msgtype`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Markdown => "markdown",
            Self::MarkdownV2 => "markdown_v2",
            Self::Image => "image",
            Self::News => "news",
            Self::File => "file",
            Self::Voice => "voice",
            Self::TemplateCard => "template_card",
        }
    }

    /// Reads [`RobotMessageKind::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Longest `content` of the kinds that are one text, in bytes of UTF-8; beyond it the platform answers 40058.
    pub fn content_bytes_max(self) -> Option<usize> {
        match self {
            Self::Text => Some(2048),
            Self::Markdown | Self::MarkdownV2 => Some(4096),
            _ => None,
        }
    }
}

impl RobotMessage {
    /// Checks a message in the platform's form: `{"msgtype":"text","text":{"content":"…"}}`. Members of the inner
    /// object that the gateway does not know are passed on.
    ///
    /// # Errors
    /// The first field that is missing, unknown, of a wrong type or over its limit.
    pub fn parse(message: &Value) -> Result<Self, FieldError> {
        let body = message.as_object().ok_or_else(|| FieldError::new("", "an object", type_name(message)))?;
        let root = Part::root(body);
        let kind = kind(&root)?;
        let word = kind.as_str();
        let known = |name: &str| name == "msgtype" || name == word || OPTIONS.contains(&name);
        if let Some(name) = body.keys().find(|name| !known(name)) {
            return Err(FieldError::new(
                name,
                format!("a field of a {word} message"),
                "a field it does not have",
            ));
        }
        content(kind, &root)?;
        Ok(Self { kind, body: body.clone() })
    }

    /// A text without mentions.
    ///
    /// # Errors
    /// It is empty or too long.
    pub fn text(content: &str) -> Result<Self, FieldError> {
        Self::parse(&serde_json::json!({ "msgtype": "text", "text": { "content": content } }))
    }

    /// Its kind.
    pub fn kind(&self) -> RobotMessageKind {
        self.kind
    }

    /// The request body, the same bytes every time.
    pub fn to_body(&self) -> String {
        serde_json::to_string(&self.body).unwrap_or_default()
    }
}

fn kind(root: &Part<'_>) -> Result<RobotMessageKind, FieldError> {
    let given = root.get("msgtype").unwrap_or(&Value::Null);
    let words = || RobotMessageKind::ALL.map(RobotMessageKind::as_str).join(", ");
    let word = given.as_str().ok_or_else(|| root.wrong("msgtype", words(), type_name(given)))?;
    RobotMessageKind::parse(word).ok_or_else(|| root.wrong("msgtype", words(), shown(word)))
}

/// The object under `msgtype`.
fn content(kind: RobotMessageKind, root: &Part<'_>) -> Result<(), FieldError> {
    let part = root.object(kind.as_str())?;
    match kind {
        RobotMessageKind::Text | RobotMessageKind::Markdown | RobotMessageKind::MarkdownV2 => {
            part.text("content", kind.content_bytes_max().unwrap_or(0))?;
            part.optional_texts("mentioned_list")?;
            part.optional_texts("mentioned_mobile_list")
        }
        RobotMessageKind::Image => image(&part),
        RobotMessageKind::News => part.objects("articles", 1..=ARTICLES_MAX)?.iter().try_for_each(article),
        RobotMessageKind::File | RobotMessageKind::Voice => part.media_id("media_id"),
        RobotMessageKind::TemplateCard => template_card::check(&part, CardFor::Robot),
    }
}

/// A picture as base64 with the MD5 of its bytes. Whether the MD5 is right the platform says; its form we check.
fn image(part: &Part<'_>) -> Result<(), FieldError> {
    let text = part.text("base64", IMAGE_BYTES_MAX.div_ceil(3) * 4)?;
    let bytes = BASE64_STANDARD.decode(text).map_err(|_not_base64| {
        part.wrong("base64", "base64 of a JPG or PNG, without a data: prefix", shown(text))
    })?;
    if bytes.len() > IMAGE_BYTES_MAX {
        let allowed = format!("at most {IMAGE_BYTES_MAX} bytes");
        return Err(part.wrong("base64", allowed, format!("{} bytes", bytes.len())));
    }
    let is_picture = bytes.starts_with(b"\x89PNG") || bytes.starts_with(b"\xff\xd8\xff");
    if !is_picture {
        return Err(part.wrong("base64", "a JPG or PNG", "another kind of file"));
    }
    let md5 = part.text("md5", 32)?;
    if md5.len() == 32 && md5.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(())
    } else {
        Err(part.wrong("md5", "32 hex digits", shown(md5)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TEXTS: [RobotMessageKind; 3] =
        [RobotMessageKind::Text, RobotMessageKind::Markdown, RobotMessageKind::MarkdownV2];

    #[test]
    fn limits_count_bytes_and_hold_at_their_edge() {
        for kind in TEXTS {
            let word = kind.as_str();
            let with = |content: String| {
                RobotMessage::parse(&json!({ "msgtype": word, word: { "content": content } }))
            };
            let max = kind.content_bytes_max().unwrap();
            assert_eq!(with("a".repeat(max)).unwrap().kind(), kind);
            let over = with("a".repeat(max + 1)).unwrap_err();
            assert_eq!((over.field, over.actual), (format!("{word}.content"), format!("{} bytes", max + 1)));
            assert!(with("图".repeat(max / 3)).is_ok());
            assert_eq!(with("图".repeat(max / 3 + 1)).unwrap_err().limit, format!("1 to {max} bytes"));
            assert_eq!(with(" \n".into()).unwrap_err().actual, "empty");
        }
    }

    #[test]
    fn unknown_inner_members_are_passed_on_and_the_body_repeats() {
        let message = json!({ "msgtype": "text", "chatid": "wr1", "text": { "content": "hi", "mentioned_list": ["a", "@all"], "new": 1 } });
        let parsed = RobotMessage::parse(&message).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&parsed.to_body()).unwrap(), message);
        assert_eq!(parsed.to_body(), RobotMessage::parse(&message).unwrap().to_body());
    }

    #[test]
    fn errors_name_the_field() {
        let field = |message: Value| {
            RobotMessage::parse(&message).map_or_else(|error| error.field, |_| String::new())
        };
        assert_eq!(field(json!([])), "");
        assert_eq!(RobotMessage::parse(&json!([])).unwrap_err().actual, "a list");
        assert_eq!(field(json!({})), "msgtype");
        assert_eq!(field(json!({ "msgtype": "poem" })), "msgtype");
        assert_eq!(field(json!({ "msgtype": "text" })), "text");
        assert_eq!(field(json!({ "msgtype": "text", "text": { "content": 1 } })), "text.content");
        assert_eq!(
            field(json!({ "msgtype": "text", "text": { "content": "x", "mentioned_list": "a" } })),
            "text.mentioned_list"
        );
        assert_eq!(field(json!({ "msgtype": "text", "text": { "content": "x" }, "touser": "a" })), "touser");
        let shown = RobotMessage::text(&"a".repeat(2049)).unwrap_err().to_string();
        assert_eq!(shown, "`text.content`: 2049 bytes, allowed is 1 to 2048 bytes");
    }

    #[test]
    fn pictures_files_articles_and_cards() {
        let picture = |bytes: &[u8], md5: &str| json!({ "msgtype": "image", "image": { "base64": BASE64_STANDARD.encode(bytes), "md5": md5 } });
        let png = |bytes: usize| [b"\x89PNG".as_slice(), &vec![0; bytes - 4]].concat();
        let md5 = "0123456789abcdef0123456789ABCDEF";
        let card = json!({ "card_type": "button_interaction" });
        for (message, field) in [
            (picture(&png(2 << 20), md5), ""),
            (picture(&png((2 << 20) + 1), md5), "image.base64"),
            (picture(b"GIF89a", md5), "image.base64"),
            (picture(&png(8), "xyz"), "image.md5"),
            (
                json!({ "msgtype": "image", "image": { "base64": "data:image/png;base64,", "md5": md5 } }),
                "image.base64",
            ),
            (json!({ "msgtype": "file", "file": { "media_id": "3a8a" } }), ""),
            (json!({ "msgtype": "voice", "voice": {} }), "voice.media_id"),
            (
                json!({ "msgtype": "news", "news": { "articles": [{ "title": "t", "url": "https://x" }] } }),
                "",
            ),
            (
                json!({ "msgtype": "news", "news": { "articles": [{ "title": "t" }] } }),
                "news.articles[0].url",
            ),
            (json!({ "msgtype": "template_card", "template_card": card }), "template_card.card_type"),
        ] {
            let found = RobotMessage::parse(&message).map_or_else(|error| error.field, |_| String::new());
            assert_eq!(found, field, "{:.120}", message.to_string());
        }
    }
}
