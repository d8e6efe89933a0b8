//! Messages of an app (`message/send`): every kind, checked against the platform's limits before it leaves.
//!
//! Protocol: developer.work.weixin.qq.com/document/path/90236 (发送应用消息).

use serde_json::{Map, Value};

use super::field::{FieldError, Part, shown, type_name};
use super::recipients::Recipients;
use super::template_card::{self, CardFor};

/// Longest `duplicate_check_interval`, in seconds.
pub const DUPLICATE_CHECK_S_MAX: i64 = 14_400;

/// What the platform takes for `duplicate_check_interval` when it is not said.
pub const DUPLICATE_CHECK_S_DEFAULT: i64 = 1_800;

/// Articles in one news message.
const ARTICLES_MAX: usize = 8;

/// Longest title of a card or an article; longer ones the platform would cut.
const TITLE_BYTES_MAX: usize = 128;

/// Longest description.
const DESCRIPTION_BYTES_MAX: usize = 512;

/// Longest HTML of an mpnews article: 666 KB.
const HTML_BYTES_MAX: usize = 666 * 1024;

/// The kinds that can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppMessageKind {
    /// Plain text with links.
    Text,
    /// An uploaded picture.
    Image,
    /// An uploaded AMR recording.
    Voice,
    /// An uploaded film.
    Video,
    /// An uploaded file.
    File,
    /// A title, a description and a link.
    TextCard,
    /// Up to eight articles that lead to pages.
    News,
    /// Up to eight articles kept by the platform.
    MpNews,
    /// A subset of markdown.
    Markdown,
    /// A notice of a mini program.
    MiniProgramNotice,
    /// A card, perhaps with buttons that call back.
    TemplateCard,
    /// The older card with buttons.
    TaskCard,
}

impl AppMessageKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Text,
        Self::Image,
        Self::Voice,
        Self::Video,
        Self::File,
        Self::TextCard,
        Self::News,
        Self::MpNews,
        Self::Markdown,
        Self::MiniProgramNotice,
        Self::TemplateCard,
        Self::TaskCard,
    ];

    /// The platform's word, `msgtype`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::Voice => "voice",
            Self::Video => "video",
            Self::File => "file",
            Self::TextCard => "textcard",
            Self::News => "news",
            Self::MpNews => "mpnews",
            Self::Markdown => "markdown",
            Self::MiniProgramNotice => "miniprogram_notice",
            Self::TemplateCard => "template_card",
            Self::TaskCard => "taskcard",
        }
    }

    /// Reads [`AppMessageKind::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Longest `content` of the kinds that are one text, in bytes; what is longer the platform cuts.
    pub fn content_bytes_max(self) -> Option<usize> {
        matches!(self, Self::Text | Self::Markdown).then_some(2048)
    }

    /// Whether the platform takes `safe` with it.
    fn takes_safe(self) -> bool {
        matches!(self, Self::Text | Self::Image | Self::Video | Self::File | Self::MpNews)
    }
}

/// A message as `message/send` takes it, without whom it is for.
#[derive(Clone, Debug, PartialEq)]
pub struct AppMessage {
    kind: AppMessageKind,
    /// `msgtype`, the object under it, and the options.
    request: Map<String, Value>,
}

/// Fields beside `msgtype` and its object.
const OPTIONS: [&str; 4] = ["safe", "enable_id_trans", "enable_duplicate_check", "duplicate_check_interval"];

impl AppMessage {
    /// Checks a message in the platform's form: `{"msgtype":"text","text":{"content":"…"}}` with the options beside
    /// it, from which the recipients were taken out.
    ///
    /// # Errors
    /// The first field that is missing, unknown, of a wrong type or over its limit.
    pub fn parse(message: Map<String, Value>) -> Result<Self, FieldError> {
        let root = Part::root(&message);
        let kind = kind(&root)?;
        let word = kind.as_str();
        let known = |name: &str| name == "msgtype" || name == word || OPTIONS.contains(&name);
        if let Some(name) = message.keys().find(|name| !known(name)) {
            return Err(FieldError::new(
                name,
                format!("a field of a {word} message"),
                "a field it does not have",
            ));
        }
        root.optional_number("safe", 0..=if kind == AppMessageKind::MpNews { 2 } else { 1 })?;
        if !kind.takes_safe() && root.get("safe").and_then(Value::as_i64).is_some_and(|safe| safe != 0) {
            return Err(root.wrong("safe", format!("0 for a {word} message"), "1"));
        }
        root.optional_number("enable_id_trans", 0..=1)?;
        root.optional_number("enable_duplicate_check", 0..=1)?;
        root.optional_number("duplicate_check_interval", 1..=DUPLICATE_CHECK_S_MAX)?;
        content(kind, &root.object(word)?)?;
        Ok(Self { kind, request: message })
    }

    /// Its kind.
    pub fn kind(&self) -> AppMessageKind {
        self.kind
    }

    /// A chat takes fewer kinds and options.
    fn check_for_chat(&self) -> Result<(), FieldError> {
        use AppMessageKind::{MiniProgramNotice, TaskCard, TemplateCard};
        if matches!(self.kind, MiniProgramNotice | TemplateCard | TaskCard) {
            let word = self.kind.as_str();
            return Err(FieldError::new("msgtype", "a kind that chats take", shown(word)));
        }
        match OPTIONS.iter().find(|name| **name != "safe" && self.request.contains_key(**name)) {
            Some(name) => Err(FieldError::new(name, "nothing in a message to a chat", "an option")),
            None => Ok(()),
        }
    }

    /// The request body for `recipients` of the app `agent_id`: the same bytes every time, so that the platform knows
    /// a repetition.
    pub fn to_body(&self, recipients: &Recipients, agent_id: u64) -> Result<String, FieldError> {
        if self.kind == AppMessageKind::MiniProgramNotice && recipients.is_all() {
            return Err(FieldError::new("touser", "user ids: a miniprogram_notice has no @all", "\"@all\""));
        }
        let mut request = self.request.clone();
        recipients.put(&mut request);
        if recipients.chat.is_some() {
            // The app is the one whose token it is; and a chat knows no repetition.
            self.check_for_chat()?;
        } else {
            request.insert("agentid".to_owned(), agent_id.into());
        }
        Ok(Value::Object(request).to_string())
    }
}

/// How long the platform knows a repetition of the request `body`, in seconds; `None`: not at all.
pub fn duplicate_check_s(body: &str) -> Option<i64> {
    #[derive(serde::Deserialize)]
    struct Wire {
        #[serde(default)]
        enable_duplicate_check: i64,
        duplicate_check_interval: Option<i64>,
    }
    let wire: Wire = serde_json::from_str(body).ok()?;
    (wire.enable_duplicate_check == 1)
        .then(|| wire.duplicate_check_interval.unwrap_or(DUPLICATE_CHECK_S_DEFAULT))
}

fn kind(root: &Part<'_>) -> Result<AppMessageKind, FieldError> {
    let given = root.get("msgtype").unwrap_or(&Value::Null);
    let words = || AppMessageKind::ALL.map(AppMessageKind::as_str).join(", ");
    let word = given.as_str().ok_or_else(|| root.wrong("msgtype", words(), type_name(given)))?;
    AppMessageKind::parse(word).ok_or_else(|| root.wrong("msgtype", words(), shown(word)))
}

/// The object under `msgtype`.
fn content(kind: AppMessageKind, part: &Part<'_>) -> Result<(), FieldError> {
    match kind {
        AppMessageKind::Text | AppMessageKind::Markdown => {
            part.text("content", kind.content_bytes_max().unwrap_or(0)).map(|_| ())
        }
        AppMessageKind::Image | AppMessageKind::Voice | AppMessageKind::File => part.media_id("media_id"),
        AppMessageKind::Video => {
            part.media_id("media_id")?;
            part.optional_text("title", TITLE_BYTES_MAX)?;
            part.optional_text("description", DESCRIPTION_BYTES_MAX).map(|_| ())
        }
        AppMessageKind::TextCard => {
            part.text("title", TITLE_BYTES_MAX)?;
            part.text("description", DESCRIPTION_BYTES_MAX)?;
            part.url("url")?;
            part.optional_characters("btntxt", 4)
        }
        AppMessageKind::News => part.objects("articles", 1..=ARTICLES_MAX)?.iter().try_for_each(article),
        AppMessageKind::MpNews => {
            part.objects("articles", 1..=ARTICLES_MAX)?.iter().try_for_each(kept_article)
        }
        AppMessageKind::MiniProgramNotice => mini_program(part),
        AppMessageKind::TemplateCard => template_card::check(part, CardFor::App),
        AppMessageKind::TaskCard => task_card(part),
    }
}

/// An article of `news`, which leads to a page or into a mini program.
pub(super) fn article(article: &Part<'_>) -> Result<(), FieldError> {
    article.text("title", TITLE_BYTES_MAX)?;
    article.optional_text("description", DESCRIPTION_BYTES_MAX)?;
    article.optional_url("picurl")?;
    let has = |name: &str| article.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    match (has("appid"), has("pagepath")) {
        (true, true) => {
            article.optional_text("pagepath", 128)?;
            article.optional_url("url")
        }
        (true, false) => Err(article.wrong("pagepath", "a page, since appid is given", "nothing")),
        (false, true) => Err(article.wrong("appid", "an app id, since pagepath is given", "nothing")),
        (false, false) => article.url("url"),
    }
}

fn kept_article(article: &Part<'_>) -> Result<(), FieldError> {
    article.text("title", TITLE_BYTES_MAX)?;
    article.media_id("thumb_media_id")?;
    article.text("content", HTML_BYTES_MAX)?;
    article.optional_text("author", 64)?;
    article.optional_url("content_source_url")?;
    article.optional_text("digest", DESCRIPTION_BYTES_MAX).map(|_| ())
}

fn mini_program(notice: &Part<'_>) -> Result<(), FieldError> {
    notice.text("appid", TITLE_BYTES_MAX)?;
    notice.characters("title", 4..=12)?;
    if notice.get("description").and_then(Value::as_str).is_some_and(|text| !text.is_empty()) {
        notice.characters("description", 4..=12)?;
    }
    notice.optional_text("page", 1024)?;
    for row in notice.optional_objects("content_item", 10)? {
        row.characters("key", 1..=10)?;
        row.characters("value", 1..=30)?;
    }
    Ok(())
}

fn task_card(card: &Part<'_>) -> Result<(), FieldError> {
    card.text("title", TITLE_BYTES_MAX)?;
    card.text("description", DESCRIPTION_BYTES_MAX)?;
    card.optional_url("url")?;
    card.text("task_id", template_card::TASK_ID_BYTES_MAX)?;
    for button in card.objects("btn", 1..=2)? {
        button.text("key", 128)?;
        button.text("name", 128)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(message: &Value) -> Result<AppMessage, FieldError> {
        AppMessage::parse(message.as_object().unwrap().clone())
    }

    fn field(message: &Value) -> String {
        parse(message).map_or_else(|error| error.field, |_| String::new())
    }

    #[expect(clippy::needless_pass_by_value, reason = "it is what json! gives")]
    fn with(word: &str, inner: Value) -> Value {
        json!({"msgtype": word, word: inner})
    }

    /// One good message of each kind.
    fn good(kind: AppMessageKind) -> Value {
        let media = || json!({"media_id": "m"});
        let article = json!({"title": "t", "url": "https://example.com"});
        let inner = match kind {
            AppMessageKind::Text | AppMessageKind::Markdown => json!({"content": "hi"}),
            AppMessageKind::Image | AppMessageKind::Voice | AppMessageKind::Video | AppMessageKind::File => {
                media()
            }
            AppMessageKind::TextCard => {
                json!({"title": "t", "description": "d", "url": "https://example.com"})
            }
            AppMessageKind::News => json!({"articles": [article]}),
            AppMessageKind::MpNews => {
                json!({"articles": [{"title": "t", "thumb_media_id": "m", "content": "<p>"}]})
            }
            AppMessageKind::MiniProgramNotice => json!({"appid": "wx1", "title": "会议室预定"}),
            AppMessageKind::TemplateCard => json!({"card_type": "text_notice", "main_title": {"title": "t"},
                "card_action": {"type": 1, "url": "https://example.com"}}),
            AppMessageKind::TaskCard => json!({"title": "t", "description": "d", "task_id": "x",
                "btn": [{"key": "k", "name": "n"}]}),
        };
        with(kind.as_str(), inner)
    }

    #[test]
    fn every_kind_can_be_sent() {
        for kind in AppMessageKind::ALL {
            assert_eq!(parse(&good(kind)).map(|message| message.kind()), Ok(kind));
            assert_eq!(AppMessageKind::parse(kind.as_str()), Some(kind));
            let mut empty = good(kind);
            empty[kind.as_str()] = json!({});
            assert!(field(&empty).starts_with(kind.as_str()), "{kind:?}");
        }
    }

    #[test]
    fn limits_count_bytes_and_hold_at_their_edge() {
        let card = |title: usize, description: usize, url: usize, button: &str| {
            with(
                "textcard",
                json!({"title": "t".repeat(title), "description": "d".repeat(description),
                "url": format!("http://{}", "u".repeat(url - 7)), "btntxt": button}),
            )
        };
        let articles = |count: usize| {
            with("news", json!({"articles": vec![json!({"title": "t", "url": "https://x"}); count]}))
        };
        let notice = |title: &str, rows: usize| {
            with(
                "miniprogram_notice",
                json!({"appid": "a", "title": title,
                "content_item": vec![json!({"key": "k", "value": "v"}); rows]}),
            )
        };
        let mpnews = |html: usize| {
            with(
                "mpnews",
                json!({"articles": [{"title": "t", "thumb_media_id": "m", "content": "x".repeat(html)}]}),
            )
        };
        for (message, expected) in [
            (with("text", json!({"content": "a".repeat(2048)})), ""),
            (with("text", json!({"content": "a".repeat(2049)})), "text.content"),
            (with("text", json!({"content": "图".repeat(682)})), ""),
            (with("text", json!({"content": "图".repeat(683)})), "text.content"),
            (with("markdown", json!({"content": "a".repeat(2049)})), "markdown.content"),
            (card(128, 512, 2048, "更多详情"), ""),
            (card(129, 512, 2048, ""), "textcard.title"),
            (card(128, 513, 2048, ""), "textcard.description"),
            (card(128, 512, 2049, ""), "textcard.url"),
            (card(128, 512, 20, "更多详情吧"), "textcard.btntxt"),
            (articles(8), ""),
            (articles(9), "news.articles"),
            (articles(0), "news.articles"),
            (with("news", json!({"articles": [{"title": "t", "appid": "a"}]})), "news.articles[0].pagepath"),
            (with("news", json!({"articles": [{"title": "t", "appid": "a", "pagepath": "p"}]})), ""),
            (mpnews(666 * 1024), ""),
            (mpnews(666 * 1024 + 1), "mpnews.articles[0].content"),
            (notice("会议室预", 10), ""),
            (notice("会议室", 10), "miniprogram_notice.title"),
            (notice(&"会".repeat(12), 10), ""),
            (notice(&"会".repeat(13), 10), "miniprogram_notice.title"),
            (notice("会议室预", 11), "miniprogram_notice.content_item"),
            (with("video", json!({"media_id": "m", "description": "d".repeat(513)})), "video.description"),
            (with("image", json!({"media_id": "m".repeat(513)})), "image.media_id"),
        ] {
            assert_eq!(field(&message), expected, "{:.200}", message.to_string());
        }
    }

    #[test]
    fn options_and_unknown_fields() {
        let beside = |word: AppMessageKind, name: &str, value: Value| -> String {
            let mut message = good(word);
            message[name] = value;
            field(&message)
        };
        assert_eq!(beside(AppMessageKind::Text, "safe", json!(1)), "");
        assert_eq!(beside(AppMessageKind::Text, "safe", json!(2)), "safe");
        assert_eq!(beside(AppMessageKind::MpNews, "safe", json!(2)), "");
        assert_eq!(beside(AppMessageKind::News, "safe", json!(1)), "safe");
        assert_eq!(beside(AppMessageKind::News, "safe", json!(0)), "");
        assert_eq!(
            beside(AppMessageKind::Text, "enable_duplicate_check", json!(2)),
            "enable_duplicate_check"
        );
        assert_eq!(beside(AppMessageKind::Text, "duplicate_check_interval", json!(14_400)), "");
        assert_eq!(
            beside(AppMessageKind::Text, "duplicate_check_interval", json!(14_401)),
            "duplicate_check_interval"
        );
        assert_eq!(beside(AppMessageKind::Text, "tousr", json!("a")), "tousr");
        assert_eq!(field(&json!({})), "msgtype");
        assert_eq!(field(&json!({"msgtype": "poem"})), "msgtype");
        assert_eq!(field(&json!({"msgtype": "text"})), "text");
    }

    #[test]
    fn the_body_is_the_platforms_and_repeats() {
        let message = parse(&good(AppMessageKind::Text)).unwrap();
        let recipients = Recipients { users: vec!["a".to_owned(), "b".to_owned()], ..Recipients::default() };
        let body = message.to_body(&recipients, 1_000_002).unwrap();
        let expected =
            json!({"msgtype": "text", "text": {"content": "hi"}, "touser": "a|b", "agentid": 1_000_002});
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
        assert_eq!(message.to_body(&recipients, 1_000_002).unwrap(), body);
        let all = Recipients { users: vec!["@all".to_owned()], ..Recipients::default() };
        let notice = parse(&good(AppMessageKind::MiniProgramNotice)).unwrap();
        assert_eq!(notice.to_body(&all, 1).unwrap_err().field, "touser");
    }
}
