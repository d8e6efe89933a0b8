//! Conditions on the fields of an event: `equals`, `in`, `prefix`, `exists`, four comparisons; `all`, `any`, `not`.
//!
//! In JSON: `{"field": "body.Content", "prefix": "order"}`, `{"any": […]}`, `{"not": {…}}`. Comparisons are of whole
//! numbers; what is none does not hold. A field that is not there fulfils nothing but `exists: false` and `not`.

use serde_json::{Map, Value, json};

use super::Subject;
use crate::domain::endpoint::SpecError;

/// How deep `all`, `any` and `not` may be nested.
pub const CONDITION_DEPTH_MAX: usize = 5;

/// Most tests in one condition; each value of `in` counts.
pub const CONDITION_LEAVES_MAX: usize = 100;

/// Longest path or value, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// Something that holds of an event, or does not.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// Each of them.
    All(Vec<Self>),
    /// One of them.
    Any(Vec<Self>),
    /// The opposite.
    Not(Box<Self>),
    /// One field fulfils a test.
    Field(String, Test),
}

/// A test of one field.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// Exactly this text.
    Equals(String),
    /// One of these.
    In(Vec<String>),
    /// Begins so.
    Prefix(String),
    /// Is there (`true`) or not.
    Exists(bool),
    /// A whole number above this, below it, …
    Compare(Comparison, i64),
}

/// How two numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// >
    Above,
    /// >=
    AtLeast,
    /// <
    Below,
    /// <=
    AtMost,
}

impl Comparison {
    const ALL: [Self; 4] = [Self::Above, Self::AtLeast, Self::Below, Self::AtMost];

    fn as_str(self) -> &'static str {
        match self {
            Self::Above => "above",
            Self::AtLeast => "at_least",
            Self::Below => "below",
            Self::AtMost => "at_most",
        }
    }

    fn holds(self, found: i64, bound: i64) -> bool {
        match self {
            Self::Above => found > bound,
            Self::AtLeast => found >= bound,
            Self::Below => found < bound,
            Self::AtMost => found <= bound,
        }
    }
}

impl Condition {
    /// Reads the JSON form at `path`.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn parse(path: &str, value: &Value) -> Result<Self, SpecError> {
        let mut leaves = 0;
        let condition = read(path, value, 1, &mut leaves)?;
        if leaves > CONDITION_LEAVES_MAX {
            return Err(SpecError::new(path, format!("has more than {CONDITION_LEAVES_MAX} tests")));
        }
        Ok(condition)
    }

    /// The JSON form.
    pub fn to_json(&self) -> Value {
        let list = |parts: &[Self]| Value::from(parts.iter().map(Self::to_json).collect::<Vec<_>>());
        match self {
            Self::All(parts) => json!({ "all": list(parts) }),
            Self::Any(parts) => json!({ "any": list(parts) }),
            Self::Not(part) => json!({ "not": part.to_json() }),
            Self::Field(field, test) => match test {
                Test::Equals(wanted) => json!({ "field": field, "equals": wanted }),
                Test::In(wanted) => json!({ "field": field, "in": wanted }),
                Test::Prefix(wanted) => json!({ "field": field, "prefix": wanted }),
                Test::Exists(flag) => json!({ "field": field, "exists": flag }),
                Test::Compare(how, bound) => json!({ "field": field, how.as_str(): bound }),
            },
        }
    }

    /// Whether it holds.
    pub fn holds(&self, subject: &Subject<'_>) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(subject)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(subject)),
            Self::Not(part) => !part.holds(subject),
            Self::Field(field, test) => {
                let found = subject.field(field);
                let value = found.text();
                match test {
                    Test::Equals(wanted) => value == Some(wanted),
                    Test::In(wanted) => value.is_some_and(|value| wanted.iter().any(|one| one == value)),
                    Test::Prefix(wanted) => value.is_some_and(|value| value.starts_with(wanted.as_str())),
                    Test::Exists(wanted) => !matches!(found, super::Found::Nothing) == *wanted,
                    Test::Compare(how, bound) => value
                        .and_then(|value| value.trim().parse().ok())
                        .is_some_and(|number| how.holds(number, *bound)),
                }
            }
        }
    }
}

fn read(path: &str, value: &Value, depth: usize, leaves: &mut usize) -> Result<Condition, SpecError> {
    let wrong = |reason: &str| Err(SpecError::new(path, reason));
    if depth > CONDITION_DEPTH_MAX {
        return wrong(&format!("is nested deeper than {CONDITION_DEPTH_MAX}"));
    }
    let Some(map) = value.as_object() else { return wrong("must be an object") };
    let list = |name: &str, leaves: &mut usize| -> Result<Vec<Condition>, SpecError> {
        let path = format!("{path}.{name}");
        let items = map.get(name).and_then(Value::as_array).filter(|items| !items.is_empty());
        let items = items.ok_or_else(|| SpecError::new(path.clone(), "must be a list that is not empty"))?;
        let each = items.iter().enumerate();
        each.map(|(at, item)| read(&format!("{path}[{at}]"), item, depth + 1, leaves)).collect()
    };
    match (map.len(), map.keys().next().map(String::as_str)) {
        (1, Some("all")) => Ok(Condition::All(list("all", leaves)?)),
        (1, Some("any")) => Ok(Condition::Any(list("any", leaves)?)),
        (1, Some("not")) => {
            let part = map.get("not").unwrap_or(&Value::Null);
            Ok(Condition::Not(Box::new(read(&format!("{path}.not"), part, depth + 1, leaves)?)))
        }
        (2, _) if map.contains_key("field") => leaf(path, map, leaves),
        _ => wrong("must be one of all, any, not, or a field with one test"),
    }
}

fn leaf(path: &str, map: &Map<String, Value>, leaves: &mut usize) -> Result<Condition, SpecError> {
    let field = text(&format!("{path}.field"), map.get("field"))?;
    let known = ["kind", "source", "corp_id", "user_id", "external_user_id", "chat_id"];
    if !known.contains(&field.as_str()) && field.strip_prefix("body.").is_none_or(str::is_empty) {
        let reason = "must be kind, source, corp_id, user_id, external_user_id, chat_id, or body.…";
        return Err(SpecError::new(format!("{path}.field"), reason));
    }
    *leaves = leaves.saturating_add(1);
    let Some((name, value)) = map.iter().find(|(name, _)| *name != "field") else {
        return Err(SpecError::new(path, "has no test"));
    };
    let at = format!("{path}.{name}");
    let test = match name.as_str() {
        "equals" => Test::Equals(text(&at, Some(value))?),
        "prefix" => Test::Prefix(text(&at, Some(value))?),
        "in" => {
            let items = value.as_array().filter(|items| !items.is_empty());
            let items =
                items.ok_or_else(|| SpecError::new(at.clone(), "must be a list that is not empty"))?;
            *leaves = leaves.saturating_add(items.len());
            let each = items.iter().enumerate();
            Test::In(each.map(|(n, item)| text(&format!("{at}[{n}]"), Some(item))).collect::<Result<_, _>>()?)
        }
        "exists" => match value.as_bool() {
            Some(flag) => Test::Exists(flag),
            None => return Err(SpecError::new(at, "must be true or false")),
        },
        other => {
            let how = Comparison::ALL.into_iter().find(|how| how.as_str() == other);
            let how = how.ok_or_else(|| SpecError::new(at.clone(), "is no test that is known here"))?;
            let bound = value.as_i64().ok_or_else(|| SpecError::new(at, "must be a whole number"))?;
            Test::Compare(how, bound)
        }
    };
    Ok(Condition::Field(field, test))
}

fn text(path: &str, value: Option<&Value>) -> Result<String, SpecError> {
    let text = match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(flag)) => flag.to_string(),
        _ => return Err(SpecError::new(path, "must be a text")),
    };
    if text.len() > TEXT_BYTES_MAX {
        return Err(SpecError::new(path, format!("is longer than {TEXT_BYTES_MAX} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{Event, EventKind, Format};

    fn holds(condition: &Value) -> bool {
        let mut event = Event::of_kind(EventKind::from_parts(&["message", "text"]), Format::Xml);
        event.user_id = Some("zhangsan".to_owned());
        let body = || json!({"Content": "order 7", "Amount": "12", "Items": [{"Id": 5}], "Flag": true});
        let subject = Subject::new("wechat_api", &event, &body);
        let read = Condition::parse("match", condition).unwrap();
        assert_eq!(Condition::parse("match", &read.to_json()).unwrap(), read, "it reads back");
        read.holds(&subject)
    }

    #[test]
    fn each_test_sees_what_it_says() {
        let table = [
            (json!({"field": "user_id", "equals": "zhangsan"}), true),
            (json!({"field": "user_id", "equals": "Zhangsan"}), false),
            (json!({"field": "chat_id", "equals": ""}), false),
            (json!({"field": "user_id", "in": ["lisi", "zhangsan"]}), true),
            (json!({"field": "user_id", "in": ["lisi"]}), false),
            (json!({"field": "body.Content", "prefix": "order"}), true),
            (json!({"field": "body.Content", "prefix": "orders"}), false),
            (json!({"field": "body.Nothing", "exists": false}), true),
            (json!({"field": "body.Items", "exists": true}), true),
            (json!({"field": "body.Items.0.Id", "equals": 5}), true),
            (json!({"field": "body.Items.1.Id", "exists": true}), false),
            (json!({"field": "body.Flag", "equals": true}), true),
            (json!({"field": "body.Amount", "above": 11}), true),
            (json!({"field": "body.Amount", "above": 12}), false),
            (json!({"field": "body.Amount", "at_least": 12}), true),
            (json!({"field": "body.Amount", "below": 12}), false),
            (json!({"field": "body.Amount", "at_most": 12}), true),
            (json!({"field": "body.Content", "above": 0}), false),
            (json!({"not": {"field": "body.Nothing", "equals": "x"}}), true),
            (
                json!({"all": [{"field": "kind", "equals": "message.text"}, {"field": "source", "equals": "wechat_api"}]}),
                true,
            ),
            (json!({"any": [{"field": "kind", "equals": "x"}, {"field": "corp_id", "exists": true}]}), false),
        ];
        for (condition, expected) in table {
            assert_eq!(holds(&condition), expected, "{condition}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        let path = |value: Value| Condition::parse("match", &value).unwrap_err().field;
        assert_eq!(path(json!([])), "match");
        assert_eq!(path(json!({})), "match");
        assert_eq!(path(json!({"all": []})), "match.all");
        assert_eq!(path(json!({"all": [{"field": "kind"}]})), "match.all[0]");
        assert_eq!(path(json!({"any": [{"field": "kind", "matches": ".*"}]})), "match.any[0].matches");
        assert_eq!(path(json!({"not": {"field": "password", "equals": "x"}})), "match.not.field");
        assert_eq!(path(json!({"field": "kind", "in": ["a", {}]})), "match.in[1]");
        assert_eq!(path(json!({"field": "kind", "above": "x"})), "match.above");
        assert_eq!(path(json!({"field": "kind", "equals": "x", "prefix": "y"})), "match");
        assert_eq!(path(json!({"field": "kind", "equals": "x".repeat(257)})), "match.equals");
    }

    #[test]
    fn a_condition_has_a_depth_and_a_size() {
        let leaf = json!({"field": "kind", "exists": true});
        let mut nested = leaf.clone();
        for _ in 1..CONDITION_DEPTH_MAX {
            nested = json!({ "not": nested });
        }
        assert!(Condition::parse("m", &nested).is_ok());
        assert!(Condition::parse("m", &json!({ "not": nested })).is_err());
        let many = |count| json!({"any": vec![leaf.clone(); count]});
        assert!(Condition::parse("m", &many(CONDITION_LEAVES_MAX)).is_ok());
        assert!(Condition::parse("m", &many(CONDITION_LEAVES_MAX + 1)).is_err());
        let values: Vec<String> = (0..CONDITION_LEAVES_MAX).map(|n| n.to_string()).collect();
        assert!(Condition::parse("m", &json!({"field": "kind", "in": values})).is_err());
    }
}
