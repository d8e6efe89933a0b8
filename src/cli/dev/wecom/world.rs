//! What the fake platform knows and which rules it keeps: robots, their messages, their limits; `apps.rs` has the rest.
//!
//! The rules are those the real platform showed; sources: document 99110 and the table of error codes 90313 at
//! developer.work.weixin.qq.com.

use std::collections::{HashMap, VecDeque};

use serde::Serialize;
use serde_json::Value;

use super::apps::Apps;
use super::faults::Faults;

/// Messages a robot may get in one minute.
const ROBOT_PER_MINUTE: usize = 20;

/// The minute; also how long a robot that was sent too much is blocked.
const MINUTE_MS: i64 = 60_000;

/// Requests that are remembered; older ones are forgotten.
const REQUESTS_MAX: usize = 100_000;

/// An answer of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiReply {
    pub(super) errcode: i64,
    pub(super) errmsg: String,
}

impl ApiReply {
    pub(super) fn ok() -> Self {
        Self { errcode: 0, errmsg: "ok".to_owned() }
    }

    pub(super) fn error(errcode: i64, text: &str) -> Self {
        Self::error_from(errcode, text, "127.0.0.1")
    }

    /// The same to a caller from `peer`.
    pub(super) fn error_from(errcode: i64, text: &str, peer: &str) -> Self {
        let errmsg = format!(
            "{text}, hint: [fake], from ip: {peer}, more info at https://open.work.weixin.qq.com/devtool/query?e={errcode}"
        );
        Self { errcode, errmsg }
    }
}

/// One request to a robot.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RobotRequest {
    /// The robot's key.
    pub key: String,
    /// When it came, ms since 1970.
    pub at_ms: i64,
    /// `msgtype`, if it had one.
    pub msgtype: String,
    /// The content of a text or markdown.
    pub content: String,
    /// The body as it came, if it was JSON.
    pub body: Value,
    /// The errcode that was, or would have been, answered.
    pub errcode: i64,
    /// Whether the people in the chat saw it.
    pub shown: bool,
}

/// All that the fake knows.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) faults: Faults,
    robots: HashMap<String, Robot>,
    pub(super) apps: Apps,
    requests: VecDeque<RobotRequest>,
    /// Late answers to smart robots' callbacks.
    pub(super) responses: Vec<super::Said>,
    /// What `getcallbackip` says.
    pub(super) callback_ips: Vec<String>,
}

#[derive(Debug, Default)]
struct Robot {
    taken_ms: VecDeque<i64>,
    blocked_until_ms: i64,
    disabled: bool,
}

impl World {
    pub(super) fn add_robot(&mut self, key: &str) {
        self.robots.entry(key.to_owned()).or_default();
    }

    /// Switches a robot off or on, if it exists.
    pub(super) fn enable_robot(&mut self, key: &str, enabled: bool) {
        if let Some(robot) = self.robots.get_mut(key) {
            robot.disabled = !enabled;
        }
    }

    pub(super) fn remove_robot(&mut self, key: &str) {
        self.robots.remove(key);
    }

    pub(super) fn has_robot(&self, key: &str) -> bool {
        self.robots.contains_key(key)
    }

    /// Requests to one robot, or to all, oldest first.
    pub(super) fn requests(&self, key: Option<&str>) -> Vec<RobotRequest> {
        self.requests.iter().filter(|request| key.is_none_or(|key| request.key == key)).cloned().collect()
    }

    /// How many requests to robots people saw.
    pub(super) fn shown_count(&self) -> usize {
        self.requests.iter().filter(|request| request.shown).count()
    }

    pub(super) fn forget_requests(&mut self) {
        self.requests.clear();
    }

    /// `webhook/send`. With `refused`, the platform answers that instead of taking the message.
    pub(super) fn send(
        &mut self,
        key: &str,
        body: &[u8],
        now_ms: i64,
        refused: Option<ApiReply>,
    ) -> ApiReply {
        let parsed: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let reply = refused.unwrap_or_else(|| self.judge(key, &parsed, now_ms));
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let msgtype = text(parsed.get("msgtype"));
        let request = RobotRequest {
            key: key.to_owned(),
            at_ms: now_ms,
            content: text(parsed.get(&msgtype).and_then(|inner| inner.get("content"))),
            msgtype,
            body: parsed,
            errcode: reply.errcode,
            shown: reply.errcode == 0,
        };
        self.remember(request);
        reply
    }

    /// A request that was not taken, and not answered by the API either.
    pub(super) fn note_unread(&mut self, key: &str, now_ms: i64) {
        self.remember(RobotRequest {
            key: key.to_owned(),
            at_ms: now_ms,
            msgtype: String::new(),
            content: String::new(),
            body: Value::Null,
            errcode: -1,
            shown: false,
        });
    }

    fn remember(&mut self, request: RobotRequest) {
        self.requests.push_back(request);
        if self.requests.len() > REQUESTS_MAX {
            self.requests.pop_front();
        }
    }

    fn judge(&mut self, key: &str, body: &Value, now_ms: i64) -> ApiReply {
        let Some(robot) = self.robots.get_mut(key) else {
            return ApiReply::error(93000, "invalid webhook url");
        };
        if robot.disabled {
            return ApiReply::error(93004, "robot is disabled");
        }
        if !robot.takes(now_ms) {
            return ApiReply::error(45009, "api freq out of limit");
        }
        let msgtype = body.get("msgtype").and_then(Value::as_str).unwrap_or_default();
        let media_id = body.get(msgtype).and_then(|inner| inner.get("media_id")).and_then(Value::as_str);
        if media_id.is_some_and(|media_id| !self.apps.files.has(key, media_id, now_ms)) {
            return ApiReply::error(40007, "invalid media_id");
        }
        match check(body) {
            Ok(()) => ApiReply::ok(),
            Err((errcode, text)) => ApiReply::error(errcode, &text),
        }
    }
}

impl Robot {
    /// Whether one more is taken: 20 in any 60 s, and after the 21st none for a minute.
    fn takes(&mut self, now_ms: i64) -> bool {
        if now_ms < self.blocked_until_ms {
            return false;
        }
        while self.taken_ms.front().is_some_and(|at_ms| at_ms + MINUTE_MS <= now_ms) {
            self.taken_ms.pop_front();
        }
        if self.taken_ms.len() >= ROBOT_PER_MINUTE {
            self.blocked_until_ms = now_ms + MINUTE_MS;
            return false;
        }
        self.taken_ms.push_back(now_ms);
        true
    }
}

/// The rules of one message.
fn check(body: &Value) -> Result<(), (i64, String)> {
    let Some(msgtype) = body.get("msgtype").and_then(Value::as_str) else {
        return Err((40058, "Warning: wrong json format. msgtype missing".to_owned()));
    };
    let content_bytes_max = match msgtype {
        "text" => 2048,
        "markdown" | "markdown_v2" => 4096,
        "image" | "news" | "file" | "voice" | "template_card" => {
            let is_there = body.get(msgtype).is_some_and(Value::is_object);
            return if is_there { Ok(()) } else { Err((40058, format!("{msgtype} missing"))) };
        }
        _ => return Err((40008, "invalid message type".to_owned())),
    };
    let content =
        body.get(msgtype).and_then(|inner| inner.get("content")).and_then(Value::as_str).unwrap_or("");
    match content.len() {
        0 => Err((44004, "empty content".to_owned())),
        bytes if bytes > content_bytes_max => {
            Err((40058, format!("{msgtype}.content exceed max length {content_bytes_max}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn send(world: &mut World, key: &str, body: &Value, now_ms: i64) -> i64 {
        world.send(key, body.to_string().as_bytes(), now_ms, None).errcode
    }

    fn text(content: &str) -> Value {
        json!({"msgtype": "text", "text": {"content": content}})
    }

    #[test]
    fn the_errors_are_those_of_the_platform() {
        let mut world = World::default();
        world.add_robot("k");
        for (body, errcode) in [
            (text("hi"), 0),
            (text(&"a".repeat(2048)), 0),
            (text(&"a".repeat(2049)), 40058),
            (text(""), 44004),
            (json!({"msgtype": "markdown", "markdown": {"content": "图".repeat(1366)}}), 40058),
            (json!({"msgtype": "poem", "poem": {}}), 40008),
            (json!({"msgtype": "news"}), 40058),
            (json!([]), 40058),
        ] {
            assert_eq!(send(&mut world, "k", &body, 0), errcode, "{body}");
        }
        assert_eq!(send(&mut world, "other", &text("hi"), 0), 93000);
        let shown = world.requests(Some("k")).into_iter().filter(|request| request.shown).count();
        assert_eq!(shown, 2);
    }

    #[test]
    fn the_21st_in_a_minute_blocks_the_robot_for_one() {
        let mut world = World::default();
        world.add_robot("k");
        for at_ms in 0..20 {
            assert_eq!(send(&mut world, "k", &text("x"), at_ms), 0);
        }
        assert_eq!(send(&mut world, "k", &text("x"), 59_999), 45009);
        assert_eq!(send(&mut world, "k", &text("x"), 119_998), 45009, "blocked");
        assert_eq!(send(&mut world, "k", &text("x"), 119_999), 0);
    }
}
