//! Group chats that apps make on the fake platform. Source: documents 90245 to 90248 at developer.work.weixin.qq.com.
//!
//! As with people, whatever is asked for exists, unless its id begins with `unknown`; what was made is also shown.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::apps::AppReply;
use super::world::ApiReply;

/// Longest name of a chat, in characters.
const NAME_CHARS_MAX: usize = 50;

/// Longest id that an app may choose.
const ID_CHARS_MAX: usize = 32;

/// Members of a chat.
const MEMBERS: std::ops::RangeInclusive<usize> = 2..=2_000;

/// Chats by id: what `appchat/get` shows of each.
#[derive(Debug, Default)]
pub(super) struct Chats(HashMap<String, Map<String, Value>>);

impl Chats {
    /// Whether a message to this chat is taken.
    pub(super) fn has(&self, id: &str) -> bool {
        self.0.contains_key(id) || !id.starts_with("unknown")
    }

    pub(super) fn create(&mut self, order: &Value) -> AppReply {
        let name = order.get("name").and_then(Value::as_str).unwrap_or_default();
        let members = order.get("userlist").and_then(Value::as_array).cloned().unwrap_or_default();
        let made = format!("fakechat{}", self.0.len() + 1);
        let id = order.get("chatid").and_then(Value::as_str).filter(|id| !id.is_empty()).unwrap_or(&made);
        if !MEMBERS.contains(&members.len()) {
            return ApiReply::error(86006, "invalid chat member count").into();
        }
        if name.chars().count() > NAME_CHARS_MAX {
            return ApiReply::error(86004, "group name invalid").into();
        }
        if id.len() > ID_CHARS_MAX || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return ApiReply::error(86001, "invalid chat id").into();
        }
        if self.0.contains_key(id) {
            return ApiReply::error(86215, "chat id exists").into();
        }
        let owner = order.get("owner").cloned().or_else(|| members.first().cloned());
        let chat = json!({"chatid": id, "name": name, "owner": owner, "userlist": members});
        let chat = chat.as_object().cloned().unwrap_or_default();
        self.0.insert(id.to_owned(), chat);
        with("chatid", id.into())
    }

    pub(super) fn update(&mut self, order: &Value) -> AppReply {
        let id = order.get("chatid").and_then(Value::as_str).unwrap_or_default();
        let Some(chat) = self.0.get_mut(id) else { return unknown() };
        for field in ["name", "owner"] {
            if let Some(value) = order.get(field).filter(|value| value.is_string()) {
                chat.insert(field.to_owned(), value.clone());
            }
        }
        let listed = |field: &str| order.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
        let (added, removed) = (listed("add_user_list"), listed("del_user_list"));
        if let Some(members) = chat.get_mut("userlist").and_then(Value::as_array_mut) {
            members.extend(added);
            members.retain(|member| !removed.contains(member));
        }
        ApiReply::ok().into()
    }

    pub(super) fn get(&self, order: &Value) -> AppReply {
        let id = order.get("chatid").and_then(Value::as_str).unwrap_or_default();
        self.0.get(id).map_or_else(unknown, |chat| with("chat_info", Value::Object(chat.clone())))
    }
}

fn unknown() -> AppReply {
    ApiReply::error(86003, "chatid does not exist").into()
}

fn with(name: &str, value: Value) -> AppReply {
    AppReply { reply: ApiReply::ok(), more: Map::from_iter([(name.to_owned(), value)]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chat_is_made_changed_and_shown() {
        let mut chats = Chats::default();
        let order = json!({"name": "ops", "owner": "ann", "userlist": ["ann", "bob"], "chatid": "ops1"});
        assert_eq!(chats.create(&order).more["chatid"], "ops1");
        assert_eq!(chats.create(&order).reply.errcode, 86215);
        let change =
            json!({"chatid": "ops1", "name": "on call", "add_user_list": ["cid"], "del_user_list": ["bob"]});
        assert_eq!(chats.update(&change).reply.errcode, 0);
        let shown = chats.get(&json!({"chatid": "ops1"})).more["chat_info"].clone();
        assert_eq!(
            shown,
            json!({"chatid": "ops1", "name": "on call", "owner": "ann", "userlist": ["ann", "cid"]})
        );
        assert!(chats.has("any") && !chats.has("unknown1"));
        for (wrong, errcode) in [
            (json!({"userlist": ["ann"]}), 86006),
            (json!({"userlist": ["a", "b"], "name": "x".repeat(51)}), 86004),
            (json!({"userlist": ["a", "b"], "chatid": "no!"}), 86001),
        ] {
            assert_eq!(chats.create(&wrong).reply.errcode, errcode, "{wrong}");
        }
        assert_eq!(chats.get(&json!({"chatid": "x"})).reply.errcode, 86003);
    }
}
