//! Template cards: five kinds for apps, of which group robots take the two that need no callback.

use std::collections::HashSet;

use super::field::{FieldError, Part, shown};

/// Longest `task_id`.
pub(super) const TASK_ID_BYTES_MAX: usize = 128;

/// Longest key of a button, question, submit button or menu action.
const KEY_BYTES_MAX: usize = 1024;

/// Longest id of an option.
const OPTION_ID_BYTES_MAX: usize = 128;

/// Longest text of a card that has no limit of its own: the platform shows far less.
const TEXT_BYTES_MAX: usize = 2048;

/// The kinds of card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CardKind {
    TextNotice,
    NewsNotice,
    ButtonInteraction,
    VoteInteraction,
    MultipleInteraction,
}

impl CardKind {
    const ALL: [Self; 5] = [
        Self::TextNotice,
        Self::NewsNotice,
        Self::ButtonInteraction,
        Self::VoteInteraction,
        Self::MultipleInteraction,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::TextNotice => "text_notice",
            Self::NewsNotice => "news_notice",
            Self::ButtonInteraction => "button_interaction",
            Self::VoteInteraction => "vote_interaction",
            Self::MultipleInteraction => "multiple_interaction",
        }
    }

    fn is_notice(self) -> bool {
        matches!(self, Self::TextNotice | Self::NewsNotice)
    }
}

/// Who takes the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CardFor {
    App,
    /// Cannot be called back, so only notices.
    Robot,
}

/// Checks the object under `template_card`.
pub(super) fn check(card: &Part<'_>, who: CardFor) -> Result<(), FieldError> {
    let word = card.text("card_type", 64)?;
    let taken = |kind: &CardKind| who == CardFor::App || kind.is_notice();
    let kind =
        CardKind::ALL.into_iter().filter(taken).find(|kind| kind.as_str() == word).ok_or_else(|| {
            let words: Vec<&str> = CardKind::ALL.into_iter().filter(taken).map(CardKind::as_str).collect();
            card.wrong("card_type", words.join(", "), shown(word))
        })?;
    task_id(card)?;
    let mut keys = Keys::default();
    around(card, &mut keys)?;
    match kind {
        CardKind::TextNotice => text_notice(card),
        CardKind::NewsNotice => news_notice(card),
        CardKind::ButtonInteraction => buttons(card, &mut keys),
        CardKind::VoteInteraction => vote(card, &mut keys),
        CardKind::MultipleInteraction => selects(card, &mut keys),
    }
}

/// The id under which clicks come back. Must not repeat within the app.
fn task_id(card: &Part<'_>) -> Result<(), FieldError> {
    match card.optional_text("task_id", TASK_ID_BYTES_MAX)? {
        None => Ok(()),
        Some(id) if is_task_id(id) => Ok(()),
        Some(id) => Err(card.wrong("task_id", "letters, digits, _ - and @", shown(id))),
    }
}

fn is_task_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-@".contains(&b))
}

/// What stands around the body of every kind.
fn around(card: &Part<'_>, keys: &mut Keys) -> Result<(), FieldError> {
    if let Some(source) = card.optional_object("source")? {
        source.optional_url("icon_url")?;
        source.optional_text("desc", TEXT_BYTES_MAX)?;
        source.optional_number("desc_color", 0..=3)?;
    }
    if let Some(menu) = card.optional_object("action_menu")? {
        menu.optional_text("desc", TEXT_BYTES_MAX)?;
        for action in menu.objects("action_list", 1..=3)? {
            action.text("text", TEXT_BYTES_MAX)?;
            keys.take(&action, "key", KEY_BYTES_MAX)?;
        }
    }
    if let Some(title) = card.optional_object("main_title")? {
        title.optional_text("title", TEXT_BYTES_MAX)?;
        title.optional_text("desc", TEXT_BYTES_MAX)?;
    }
    if let Some(quote) = card.optional_object("quote_area")? {
        jump(&quote, 0..=2)?;
    }
    card.optional_text("sub_title_text", TEXT_BYTES_MAX)?;
    for row in card.optional_objects("horizontal_content_list", 6)? {
        row.text("keyname", TEXT_BYTES_MAX)?;
        row.optional_text("value", TEXT_BYTES_MAX)?;
        if row.optional_number("type", 0..=3)? == Some(1) {
            row.url("url")?;
        }
    }
    for row in card.optional_objects("jump_list", 3)? {
        row.text("title", TEXT_BYTES_MAX)?;
        jump(&row, 0..=2)?;
    }
    if let Some(action) = card.optional_object("card_action")? {
        jump(&action, 0..=2)?;
    }
    Ok(())
}

/// Where a tap leads: `type` 1 an address, 2 a mini program.
fn jump(part: &Part<'_>, kinds: std::ops::RangeInclusive<i64>) -> Result<(), FieldError> {
    match part.optional_number("type", kinds)? {
        Some(1) => part.url("url"),
        Some(2) => part.text("appid", TEXT_BYTES_MAX).map(|_| ()),
        _ => Ok(()),
    }
}

/// A notice leads somewhere.
fn leads_somewhere(card: &Part<'_>) -> Result<(), FieldError> {
    card.object("card_action")?.number("type", 1..=2).map(|_| ())
}

fn text_notice(card: &Part<'_>) -> Result<(), FieldError> {
    leads_somewhere(card)?;
    let title = card.optional_object("main_title")?;
    let has_title =
        title.is_some_and(|title| title.get("title").and_then(|t| t.as_str()).is_some_and(|t| !t.is_empty()));
    let has_text = card.get("sub_title_text").and_then(|t| t.as_str()).is_some_and(|t| !t.is_empty());
    if has_title || has_text {
        Ok(())
    } else {
        Err(card.wrong("main_title.title", "a title, or sub_title_text", "neither"))
    }
}

fn news_notice(card: &Part<'_>) -> Result<(), FieldError> {
    leads_somewhere(card)?;
    card.object("main_title")?.text("title", TEXT_BYTES_MAX)?;
    let image = card.optional_object("card_image")?;
    let area = card.optional_object("image_text_area")?;
    if let Some(image) = &image {
        image.url("url")?;
        let ratio = image.get("aspect_ratio").and_then(serde_json::Value::as_f64);
        if ratio.is_some_and(|ratio| !(1.3..=2.25).contains(&ratio)) {
            return Err(image.wrong("aspect_ratio", "1.3 to 2.25", ratio.unwrap_or_default().to_string()));
        }
    }
    if let Some(area) = &area {
        area.url("image_url")?;
    }
    if image.is_none() && area.is_none() {
        return Err(card.wrong("card_image", "card_image or image_text_area", "neither"));
    }
    for row in card.optional_objects("vertical_content_list", 4)? {
        row.text("title", TEXT_BYTES_MAX)?;
        row.optional_text("desc", TEXT_BYTES_MAX)?;
    }
    Ok(())
}

fn buttons(card: &Part<'_>, keys: &mut Keys) -> Result<(), FieldError> {
    card.object("main_title")?.text("title", TEXT_BYTES_MAX)?;
    if let Some(selection) = card.optional_object("button_selection")? {
        keys.take(&selection, "question_key", KEY_BYTES_MAX)?;
        options(&selection, "option_list", 10)?;
    }
    for button in card.objects("button_list", 1..=6)? {
        button.text("text", TEXT_BYTES_MAX)?;
        button.optional_number("style", 1..=4)?;
        if button.optional_number("type", 0..=1)? == Some(1) {
            button.url("url")?;
        } else {
            keys.take(&button, "key", KEY_BYTES_MAX)?;
        }
    }
    Ok(())
}

fn vote(card: &Part<'_>, keys: &mut Keys) -> Result<(), FieldError> {
    card.object("main_title")?.text("title", TEXT_BYTES_MAX)?;
    let checkbox = card.object("checkbox")?;
    keys.take(&checkbox, "question_key", KEY_BYTES_MAX)?;
    checkbox.optional_number("mode", 0..=1)?;
    options(&checkbox, "option_list", 20)?;
    submit(card, keys)
}

fn selects(card: &Part<'_>, keys: &mut Keys) -> Result<(), FieldError> {
    card.object("main_title")?.text("title", TEXT_BYTES_MAX)?;
    for select in card.objects("select_list", 1..=3)? {
        keys.take(&select, "question_key", KEY_BYTES_MAX)?;
        options(&select, "option_list", 10)?;
    }
    submit(card, keys)
}

fn submit(card: &Part<'_>, keys: &mut Keys) -> Result<(), FieldError> {
    let button = card.object("submit_button")?;
    button.text("text", TEXT_BYTES_MAX)?;
    keys.take(&button, "key", KEY_BYTES_MAX)
}

fn options(part: &Part<'_>, name: &str, max: usize) -> Result<(), FieldError> {
    let mut ids = Keys::default();
    for option in part.objects(name, 1..=max)? {
        ids.take(&option, "id", OPTION_ID_BYTES_MAX)?;
        option.text("text", TEXT_BYTES_MAX)?;
    }
    Ok(())
}

/// Keys that must differ from each other.
#[derive(Default)]
struct Keys(HashSet<String>);

impl Keys {
    fn take(&mut self, part: &Part<'_>, name: &str, bytes_max: usize) -> Result<(), FieldError> {
        let key = part.text(name, bytes_max)?;
        if self.0.insert(key.to_owned()) {
            Ok(())
        } else {
            Err(part.wrong(name, "a key that no other part of the card has", shown(key)))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn field(card: &Value, who: CardFor) -> String {
        let map = card.as_object().unwrap();
        check(&Part::root(map), who).map_or_else(|error| error.field, |()| String::new())
    }

    fn notice() -> Value {
        json!({"card_type": "text_notice", "main_title": {"title": "t"},
            "card_action": {"type": 1, "url": "https://example.com"}})
    }

    fn button_card(count: usize) -> Value {
        let buttons: Vec<Value> = (0..count).map(|n| json!({"text": "b", "key": format!("k{n}")})).collect();
        json!({"card_type": "button_interaction", "main_title": {"title": "t"}, "button_list": buttons,
            "task_id": "order-7"})
    }

    fn with(mut card: Value, name: &str, value: Value) -> Value {
        card[name] = value;
        card
    }

    #[test]
    fn the_five_cards_pass_and_robots_take_two() {
        let vote = json!({"card_type": "vote_interaction", "main_title": {"title": "t"}, "task_id": "v",
            "checkbox": {"question_key": "q", "option_list": [{"id": "1", "text": "yes"}]},
            "submit_button": {"text": "ok", "key": "s"}});
        let selects = json!({"card_type": "multiple_interaction", "main_title": {"title": "t"}, "task_id": "m",
            "select_list": [{"question_key": "q", "option_list": [{"id": "1", "text": "yes"}]}],
            "submit_button": {"text": "ok", "key": "s"}});
        let news = json!({"card_type": "news_notice", "main_title": {"title": "t"},
            "card_image": {"url": "https://example.com/i.png", "aspect_ratio": 2.25},
            "card_action": {"type": 2, "appid": "wx1"}});
        for (card, for_robots) in [
            (notice(), ""),
            (news, ""),
            (button_card(6), "card_type"),
            (vote, "card_type"),
            (selects, "card_type"),
        ] {
            assert_eq!(field(&card, CardFor::App), "", "{card}");
            assert_eq!(field(&card, CardFor::Robot), for_robots, "{card}");
        }
    }

    #[test]
    fn every_limit_of_a_card_is_named() {
        let rows = |count: usize| Value::Array(vec![json!({"keyname": "k", "value": "v"}); count]);
        let jumps = |count: usize| Value::Array(vec![json!({"title": "k"}); count]);
        for (card, expected) in [
            (json!({"card_type": "poem"}), "card_type"),
            (json!({"card_type": "text_notice"}), "card_action"),
            (with(notice(), "main_title", json!({})), "main_title.title"),
            (with(notice(), "card_action", json!({"type": 1})), "card_action.url"),
            (with(notice(), "card_action", json!({"type": 3})), "card_action.type"),
            (with(notice(), "task_id", json!("a b")), "task_id"),
            (with(notice(), "task_id", json!("t".repeat(128))), ""),
            (with(notice(), "task_id", json!("t".repeat(129))), "task_id"),
            (with(notice(), "horizontal_content_list", rows(6)), ""),
            (with(notice(), "horizontal_content_list", rows(7)), "horizontal_content_list"),
            (with(notice(), "jump_list", jumps(3)), ""),
            (with(notice(), "jump_list", jumps(4)), "jump_list"),
            (with(notice(), "action_menu", json!({"action_list": []})), "action_menu.action_list"),
            (button_card(0), "button_list"),
            (button_card(7), "button_list"),
            (
                with(
                    button_card(1),
                    "button_list",
                    json!([{"text": "a", "key": "k"}, {"text": "b", "key": "k"}]),
                ),
                "button_list[1].key",
            ),
            (
                with(button_card(1), "button_list", json!([{"text": "a", "style": 5, "key": "k"}])),
                "button_list[0].style",
            ),
        ] {
            assert_eq!(field(&card, CardFor::App), expected, "{card}");
        }
    }
}
