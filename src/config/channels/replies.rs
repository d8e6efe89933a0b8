//! `replies:` and `ask:` — what is said at once to those who call back.

use serde_json::Value as Json;

use crate::config::document::Value;
use crate::config::problem::Place;
use crate::config::section::Section;
use crate::domain::filter::{KINDS_MAX, KindPattern};
use crate::endpoint::signing::SigningKey;
use crate::replies::{Rule, When};
use crate::secret::Secret;
use crate::wecom::api::passive::PassiveReply;

/// Most rules of one channel.
pub const RULES_MAX: usize = 100;

/// Most words, parts or keys of one rule.
const WORDS_MAX: usize = 100;

const RULES: &str = "replies";

/// Fields of cards whose values are numbers or yes and no.
const TYPED: [&str; 9] = [
    "type",
    "desc_color",
    "style",
    "mode",
    "disable",
    "is_checked",
    "finish",
    "aspect_ratio",
    "enable_id_trans",
];

/// How a channel answers.
#[derive(Clone, Debug, Default)]
pub struct RepliesConfig {
    /// The rules, in their order.
    pub rules: Vec<Rule>,
    /// Who is asked if no rule fits.
    pub ask: Option<AskConfig>,
}

/// Who is asked.
#[derive(Clone, Debug)]
pub struct AskConfig {
    /// Where.
    pub url: String,
    /// What requests are signed with.
    pub secret: Secret,
    /// About which events.
    pub kinds: Vec<KindPattern>,
    /// Longest time.
    pub timeout_ms: u64,
    pub(in crate::config) place: Place,
}

/// Reads both keys.
pub(super) fn read(section: &mut Section<'_, '_>) -> RepliesConfig {
    let rules = rules(section);
    let ask = section.section("ask", ask);
    RepliesConfig { rules, ask }
}

fn rules(section: &mut Section<'_, '_>) -> Vec<Rule> {
    let Some(node) = section.node(RULES) else {
        section.note_plain(RULES, "[]".to_owned(), None);
        return Vec::new();
    };
    let items = match node.value {
        Value::Null => Vec::new(),
        Value::List(items) => items,
        Value::Text(_) | Value::Map(_) => {
            section.wrong(RULES, node.place, "should be a list".to_owned());
            return Vec::new();
        }
    };
    if items.len() > RULES_MAX {
        section.wrong(RULES, node.place.clone(), format!("has more than {RULES_MAX} entries"));
    }
    let mut rules = Vec::new();
    for (at, item) in items.into_iter().take(RULES_MAX).enumerate() {
        let place = item.place.clone();
        let json = section.json(RULES, item, &|key| TYPED.contains(&key));
        match rule(json) {
            Ok(rule) => rules.push(rule),
            Err((field, what)) => section.wrong(&format!("{RULES}[{at}]{field}"), place, what),
        }
    }
    let shown = if rules.is_empty() { "[]".to_owned() } else { format!("[{} rules]", rules.len()) };
    section.note_plain(RULES, shown, Some(node.place.line));
    rules
}

/// One rule; the error is a field, with the dot before it, and what is wrong with it.
fn rule(json: Json) -> Result<Rule, (String, String)> {
    let Json::Object(mut fields) = json else {
        return Err((String::new(), "should be a map of keys".to_owned()));
    };
    let mut texts = |name: &str| match fields.remove(name) {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::String(text)) if !text.trim().is_empty() => Ok(vec![text]),
        Some(Json::Array(items)) if items.len() <= WORDS_MAX => {
            let all: Option<Vec<String>> = items
                .iter()
                .map(|item| item.as_str().filter(|text| !text.trim().is_empty()).map(ToOwned::to_owned))
                .collect();
            all.ok_or_else(|| (format!(".{name}"), "should be texts".to_owned()))
        }
        Some(_) => Err((format!(".{name}"), format!("should be a text, or a list of at most {WORDS_MAX}"))),
    };
    let kinds = kinds(texts("events")?).map_err(|what| (".events".to_owned(), what))?;
    let when = When { keywords: texts("keyword")?, contains: texts("contains")?, keys: texts("key")? };
    let reply = fields.remove("reply").ok_or_else(|| (".reply".to_owned(), "is missing".to_owned()))?;
    if let Some(unknown) = fields.keys().next() {
        let what = "unknown key; allowed here: events, keyword, contains, key, reply";
        return Err((format!(".{unknown}"), what.to_owned()));
    }
    let reply = PassiveReply::parse(&reply).map_err(|wrong| {
        let dot = if wrong.field.is_empty() { "" } else { "." };
        (format!(".reply{dot}{}", wrong.field), format!("is {}, allowed is {}", wrong.actual, wrong.limit))
    })?;
    Ok(Rule::new(kinds, when, reply))
}

/// Patterns; without any, what people write.
fn kinds(texts: Vec<String>) -> Result<Vec<KindPattern>, String> {
    if texts.len() > KINDS_MAX {
        return Err(format!("has more than {KINDS_MAX} entries"));
    }
    let texts = if texts.is_empty() { vec!["message.*".to_owned()] } else { texts };
    texts.iter().map(|text| KindPattern::parse(text).map_err(|why| format!("`{text}` {why}"))).collect()
}

fn ask(section: &mut Section<'_, '_>) -> Option<AskConfig> {
    let place = section.place();
    let url = section.text("url", "");
    let secret = section.secret("secret", "");
    let texts = section.texts("events", "message.*");
    let timeout_ms = section.number("timeout_ms", 100..=4_800, 3_500);
    if url.is_empty() {
        return None;
    }
    if let Err(why) = SigningKey::parse(&secret) {
        let what = if secret.is_empty() { "is missing: requests are signed with it" } else { why };
        section.wrong("secret", place.clone(), what.to_owned());
    }
    let kinds = match kinds(texts.into_iter().map(|(text, _)| text).collect()) {
        Ok(kinds) => kinds,
        Err(what) => {
            section.wrong("events", place.clone(), what);
            Vec::new()
        }
    };
    Some(AskConfig { url, secret, kinds, timeout_ms, place })
}
