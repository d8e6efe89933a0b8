//! Whom an app message is for: people, departments and tags, as lists or in the platform's `a|b` form.

use serde_json::{Map, Value};

use super::field::{FieldError, type_name};

/// Everybody who can see the app.
pub const ALL: &str = "@all";

/// Most people named in one send.
pub const USERS_MAX: usize = 1_000;

/// Most departments, and most tags, in one send.
pub const GROUPS_MAX: usize = 100;

/// Longest user id.
const USER_BYTES_MAX: usize = 64;

/// Longest id of a group chat.
const CHAT_BYTES_MAX: usize = 64;

/// Longest department or tag id: a number.
const GROUP_BYTES_MAX: usize = 20;

/// Whom a message is for. The platform sends to the union of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipients {
    /// User ids, each once; or only [`ALL`].
    pub users: Vec<String>,
    /// Department ids.
    pub parties: Vec<String>,
    /// Tag ids.
    pub tags: Vec<String>,
    /// A group chat that the app made; then nobody else.
    pub chat: Option<String>,
}

impl Recipients {
    /// Takes `touser`, `toparty` and `totag` out of `message`.
    ///
    /// # Errors
    /// Nobody is named, too many are, or a name is none.
    pub fn take(message: &mut Map<String, Value>) -> Result<Self, FieldError> {
        if let Some(chat) = take_chat(message)? {
            return Ok(Self { chat: Some(chat), ..Self::default() });
        }
        let mut users = names("touser", message.remove("touser"), USERS_MAX, USER_BYTES_MAX)?;
        let mut parties = names("toparty", message.remove("toparty"), GROUPS_MAX, GROUP_BYTES_MAX)?;
        let mut tags = names("totag", message.remove("totag"), GROUPS_MAX, GROUP_BYTES_MAX)?;
        for (field, ids) in [("toparty", &parties), ("totag", &tags)] {
            if let Some(id) = ids.iter().find(|id| !id.bytes().all(|b| b.is_ascii_digit())) {
                return Err(FieldError::new(field, "ids, which are numbers", super::field::shown(id)));
            }
        }
        if users.iter().any(|user| user == ALL) {
            if users.len() > 1 {
                return Err(FieldError::new(
                    "touser",
                    "\"@all\" alone, or user ids",
                    "\"@all\" among others",
                ));
            }
            // The platform ignores the others then; what is kept says so too.
            users = vec![ALL.to_owned()];
            parties.clear();
            tags.clear();
        }
        if users.is_empty() && parties.is_empty() && tags.is_empty() {
            return Err(FieldError::new("touser", "at least one of touser, toparty and totag", "nobody"));
        }
        Ok(Self { users, parties, tags, chat: None })
    }

    /// Whether it goes to everybody who can see the app.
    pub fn is_all(&self) -> bool {
        self.users.first().is_some_and(|user| user == ALL)
    }

    /// Those it is for, if they are all known by name: none for `@all`, departments and tags; a chat is one.
    pub fn named(&self) -> Vec<String> {
        if let Some(chat) = &self.chat {
            return vec![format!("chat:{chat}")];
        }
        let all_named = !self.is_all() && self.parties.is_empty() && self.tags.is_empty();
        if all_named { self.users.clone() } else { Vec::new() }
    }

    /// Puts them into a request in the platform's form.
    pub fn put(&self, request: &mut Map<String, Value>) {
        if let Some(chat) = &self.chat {
            request.insert("chatid".to_owned(), chat.as_str().into());
        }
        for (field, ids) in [("touser", &self.users), ("toparty", &self.parties), ("totag", &self.tags)] {
            if !ids.is_empty() {
                request.insert(field.to_owned(), Value::String(ids.join("|")));
            }
        }
    }
}

/// `text`, if it can be the id of a group chat.
pub fn chat_id(text: &str) -> Option<&str> {
    let is_chat = (1..=CHAT_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    is_chat.then_some(text)
}

/// `chatid`, which stands alone.
fn take_chat(message: &mut Map<String, Value>) -> Result<Option<String>, FieldError> {
    let Some(given) = message.remove("chatid") else { return Ok(None) };
    let allowed = format!("1 to {CHAT_BYTES_MAX} letters and digits");
    let chat = given.as_str().and_then(chat_id).map(str::to_owned);
    let chat =
        chat.ok_or_else(|| FieldError::new("chatid", allowed, super::field::shown(&given.to_string())))?;
    match ["touser", "toparty", "totag"].into_iter().find(|field| message.contains_key(*field)) {
        Some(field) => Err(FieldError::new(field, "nothing beside chatid", "recipients")),
        None => Ok(Some(chat)),
    }
}

/// A list of names, or names joined by `|`; each is kept once, whatever case it is in: the platform does not tell
/// them apart by case.
fn names(
    field: &str,
    given: Option<Value>,
    count_max: usize,
    bytes_max: usize,
) -> Result<Vec<String>, FieldError> {
    let allowed = "a list of ids, or ids joined by |";
    let given: Vec<String> = match given {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::String(text)) => {
            text.split('|').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
        }
        Some(Value::Number(number)) => vec![number.to_string()],
        Some(Value::Array(list)) => list
            .into_iter()
            .map(|name| match name {
                Value::String(name) => Ok(name.trim().to_owned()),
                Value::Number(number) => Ok(number.to_string()),
                other => Err(FieldError::new(field, allowed, format!("a list with {}", type_name(&other)))),
            })
            .collect::<Result<_, _>>()?,
        Some(other) => return Err(FieldError::new(field, allowed, type_name(&other))),
    };
    if given.len() > count_max {
        return Err(FieldError::new(
            field,
            format!("at most {count_max} ids"),
            format!("{} ids", given.len()),
        ));
    }
    let mut seen = std::collections::HashSet::new();
    let mut kept = Vec::with_capacity(given.len());
    for (at, name) in given.into_iter().enumerate() {
        let is_name = !name.is_empty() && !name.contains(['|', '\0', '\n', '\r']);
        if !is_name || name.len() > bytes_max {
            let what = if is_name { format!("{} bytes", name.len()) } else { "no id".to_owned() };
            return Err(FieldError::new(&format!("{field}[{at}]"), format!("1 to {bytes_max} bytes"), what));
        }
        if seen.insert(name.to_lowercase()) {
            kept.push(name);
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn take(message: &Value) -> Result<Recipients, FieldError> {
        Recipients::take(&mut message.as_object().unwrap().clone())
    }

    #[test]
    fn lists_and_the_platforms_form_are_the_same() {
        let list = take(&json!({"touser": ["a", "b"], "toparty": [1, "2"], "totag": 7})).unwrap();
        let joined = take(&json!({"touser": "a|b|A", "toparty": "1|2", "totag": "7|"})).unwrap();
        assert_eq!(list, joined);
        let mut request = Map::new();
        list.put(&mut request);
        assert_eq!(Value::Object(request), json!({"touser": "a|b", "toparty": "1|2", "totag": "7"}));
        assert!(list.named().is_empty(), "members of the department are not known");
        assert_eq!(take(&json!({"touser": "a|b"})).unwrap().named(), ["a", "b"]);
    }

    #[test]
    fn a_chat_stands_alone() {
        assert_eq!(take(&json!({"chatid": "wr1"})).unwrap().named(), ["chat:wr1"]);
        for (message, field) in [
            (json!({"chatid": "wr1", "touser": "a"}), "touser"),
            (json!({"chatid": ""}), "chatid"),
            (json!({"chatid": "a b"}), "chatid"),
            (json!({"chatid": 7}), "chatid"),
        ] {
            assert_eq!(take(&message).unwrap_err().field, field, "{message}");
        }
    }

    #[test]
    fn everybody_stands_alone() {
        let all = take(&json!({"touser": "@all", "toparty": "3"})).unwrap();
        assert!(all.is_all() && all.named().is_empty() && all.parties.is_empty());
        assert_eq!(take(&json!({"touser": "@all|a"})).unwrap_err().field, "touser");
    }

    #[test]
    fn limits_hold_at_their_edge() {
        let users = |count: usize| (0..count).map(|n| format!("u{n}")).collect::<Vec<_>>();
        assert_eq!(take(&json!({"touser": users(1_000)})).unwrap().users.len(), 1_000);
        let error = take(&json!({"touser": users(1_001)})).unwrap_err();
        assert_eq!((error.field.as_str(), error.actual.as_str()), ("touser", "1001 ids"));
        assert!(take(&json!({"toparty": (0..100).collect::<Vec<_>>()})).is_ok());
        assert_eq!(take(&json!({"toparty": (0..101).collect::<Vec<_>>()})).unwrap_err().field, "toparty");
        assert!(take(&json!({"touser": "u".repeat(64)})).is_ok());
        assert_eq!(take(&json!({"touser": "u".repeat(65)})).unwrap_err().field, "touser[0]");
    }

    #[test]
    fn what_names_nobody_is_refused() {
        for (message, field) in [
            (json!({}), "touser"),
            (json!({"touser": ""}), "touser"),
            (json!({"touser": [], "totag": ""}), "touser"),
            (json!({"touser": {"a": 1}}), "touser"),
            (json!({"touser": [true]}), "touser"),
            (json!({"touser": ["a", ""]}), "touser[1]"),
            (json!({"touser": ["a|b"]}), "touser[0]"),
            (json!({"toparty": ["sales"]}), "toparty"),
        ] {
            assert_eq!(take(&message).unwrap_err().field, field, "{message}");
        }
    }
}
