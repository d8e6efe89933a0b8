//! Reading free forms: what the API takes as JSON, written as YAML.

use serde_json::{Map, Value as Json};

use super::Section;
use crate::config::document::{Node, Value};

impl Section<'_, '_> {
    /// `node`, a part of the value of `key`, as JSON with variables replaced. Values of the fields that `typed` names
    /// are read as numbers or as yes and no if they look so; all others are texts.
    pub(in crate::config) fn json(&mut self, key: &str, node: Node, typed: &dyn Fn(&str) -> bool) -> Json {
        self.json_value(key, node, false, typed)
    }

    fn json_value(&mut self, key: &str, node: Node, is_typed: bool, typed: &dyn Fn(&str) -> bool) -> Json {
        match node.value {
            Value::Null => Json::Null,
            Value::Text(text) => {
                let text = self.expanded(key, text, node.place);
                match text.as_str() {
                    "true" if is_typed => Json::Bool(true),
                    "false" if is_typed => Json::Bool(false),
                    number if is_typed => {
                        number.parse::<i64>().map_or_else(|_| Json::from(number), Json::from)
                    }
                    _ => Json::String(text),
                }
            }
            Value::List(items) => {
                items.into_iter().map(|item| self.json_value(key, item, is_typed, typed)).collect()
            }
            Value::Map(entries) => {
                let mut map = Map::new();
                for entry in entries {
                    let is_typed = typed(&entry.key);
                    let value = self.json_value(key, entry.node, is_typed, typed);
                    map.insert(entry.key, value);
                }
                Json::Object(map)
            }
        }
    }
}
