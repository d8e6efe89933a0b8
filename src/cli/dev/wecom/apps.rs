//! What the fake platform knows of apps: tokens, people, what each of them saw, and which rules it keeps.
//!
//! Whoever is asked for exists, unless their id begins with `unknown` or was declared missing. What is too much for a
//! member is dropped without a word, as the real platform does; here it is counted. Sources: documents 91039
//! (tokens), 90236 (sending), 94867 (recall) and 94945 (cards) at developer.work.weixin.qq.com.

use std::collections::{HashMap, HashSet, VecDeque};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::chats::Chats;
use super::files::Files;
use super::quota::Quota;
use super::request::{calls_back, canonical, digest, interval_s, number};
use super::rules::Rules;
use super::tokens::Tokens;
use super::world::ApiReply;
use crate::domain::evidence::cut;

/// What one app may deliver to one member: so many in so many ms.
const MEMBER_LIMITS: [(usize, i64); 2] = [(30, 60_000), (1_000, 3_600_000)];

/// How long a message can be recalled, and a card be changed.
const RECALL_MS: i64 = 24 * 3_600_000;
const CARD_MS: i64 = 72 * 3_600_000;

/// Longest text; the rest is cut without a word.
const TEXT_BYTES_MAX: usize = 2_048;

/// Calls and messages that are remembered.
const REMEMBERED_MAX: usize = 200_000;

/// One message as one person saw it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shown {
    /// The person in lower case; `@all`, `party:N`, `tag:N` for groups.
    pub user: String,
    /// The message's id.
    pub msgid: String,
    /// Its kind.
    pub msgtype: String,
    /// The content of a text or markdown, as it was shown.
    pub content: String,
    /// When, ms since 1970.
    pub at_ms: i64,
    /// Whether it was taken back.
    pub recalled: bool,
    /// Equal for equal requests: who has one twice was sent it twice.
    pub request: String,
}

/// One call of the API.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AppCall {
    /// `gettoken`, `message/send`, …
    pub method: String,
    /// When, ms since 1970.
    pub at_ms: i64,
    /// What was, or would have been, answered.
    pub errcode: i64,
    /// The body as it came, if it was JSON.
    pub body: Value,
}

/// An answer with more than an errcode.
#[derive(Clone, Debug)]
pub(super) struct AppReply {
    pub(super) reply: ApiReply,
    pub(super) more: Map<String, Value>,
}

impl From<ApiReply> for AppReply {
    fn from(reply: ApiReply) -> Self {
        Self { reply, more: Map::new() }
    }
}

/// Everything about apps.
#[derive(Debug, Default)]
pub(super) struct Apps {
    tokens: Tokens,
    missing: HashSet<String>,
    unlicensed: HashSet<String>,
    /// When each was sent.
    messages: HashMap<String, i64>,
    cards: HashMap<String, Card>,
    repeated: HashMap<[u8; 32], (i64, AppReply)>,
    delivered: HashMap<(u64, String), VecDeque<i64>>,
    shown: Vec<Shown>,
    calls: VecDeque<AppCall>,
    dropped: u64,
    pub(super) files: Files,
    pub(super) quota: Quota,
    chats: Chats,
    pub(super) rules: Rules,
}

#[derive(Debug)]
struct Card {
    at_ms: i64,
    agent_id: u64,
}

impl Apps {
    /// Makes a corp exist whose app has this secret; again: the secret was changed.
    pub(super) fn add(&mut self, corp_id: &str, secret: &str) {
        self.tokens.add(corp_id, secret);
    }

    /// `gettoken`: the same token until it ends.
    pub(super) fn token(
        &mut self,
        corp_id: &str,
        secret: &str,
        now_ms: i64,
    ) -> Result<(String, i64), ApiReply> {
        let judged = self.tokens.judge_pair(corp_id, secret);
        let outcome = judged.map(|()| self.tokens.current(corp_id, secret, now_ms));
        let errcode = outcome.as_ref().map_or_else(|reply| reply.errcode, |_| 0);
        self.note("gettoken", now_ms, errcode, Value::Null);
        outcome
    }

    /// Ends every token before its time.
    pub(super) fn revoke_tokens(&mut self) {
        self.tokens.revoke();
    }

    /// These do not exist: user ids, `party:N`, `tag:N`.
    pub(super) fn miss(&mut self, ids: &[String]) {
        self.missing.extend(ids.iter().map(|id| id.to_lowercase()));
    }

    /// These have no licence.
    pub(super) fn unlicense(&mut self, ids: &[String]) {
        self.unlicensed.extend(ids.iter().map(|id| id.to_lowercase()));
    }

    /// What one person, or everybody, saw.
    pub(super) fn shown(&self, user: Option<&str>) -> Vec<Shown> {
        let user = user.map(str::to_lowercase);
        self.shown
            .iter()
            .filter(|shown| user.as_ref().is_none_or(|user| shown.user == *user))
            .cloned()
            .collect()
    }

    /// How many messages, each person counted.
    pub(super) fn shown_count(&self) -> usize {
        self.shown.len()
    }

    /// Every call, oldest first.
    pub(super) fn calls(&self, method: Option<&str>) -> Vec<AppCall> {
        self.calls.iter().filter(|call| method.is_none_or(|method| call.method == method)).cloned().collect()
    }

    /// How many messages were dropped without a word.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) fn note(&mut self, method: &str, at_ms: i64, errcode: i64, body: Value) {
        self.calls.push_back(AppCall { method: method.to_owned(), at_ms, errcode, body });
        if self.calls.len() > REMEMBERED_MAX {
            self.calls.pop_front();
        }
    }

    /// A call of `method` with a token. With `refused`, that is answered and nothing done.
    pub(super) fn call(
        &mut self,
        method: &str,
        token: &str,
        body: &[u8],
        now_ms: i64,
        refused: Option<ApiReply>,
    ) -> AppReply {
        let parsed: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let answered = match refused {
            Some(reply) => Err(reply),
            None => self.admit_app(token, &parsed, now_ms).and_then(|()| match method {
                "message/send" => self.send(&parsed, now_ms),
                "message/recall" => self.recall(&parsed, now_ms),
                "appchat/send" => self.rules.may_chat().map(|()| self.send_to_chat(&parsed, now_ms)),
                "appchat/create" => Ok(self.chats.create(&parsed)),
                "appchat/update" => Ok(self.chats.update(&parsed)),
                "appchat/get" => Ok(self.chats.get(&parsed)),
                _ => self.update_card(&parsed, now_ms),
            }),
        };
        let reply = answered.unwrap_or_else(AppReply::from);
        self.note(method, now_ms, reply.reply.errcode, parsed);
        reply
    }

    pub(super) fn admit(&self, token: &str, now_ms: i64) -> Result<(), ApiReply> {
        self.tokens.admit(token, now_ms)
    }

    /// The same for a call that an app makes.
    fn admit_app(&self, token: &str, request: &Value, now_ms: i64) -> Result<(), ApiReply> {
        self.admit(token, now_ms).and_then(|()| self.rules.admit(number(request.get("agentid"))))
    }

    fn send(&mut self, body: &Value, now_ms: i64) -> Result<AppReply, ApiReply> {
        let request = body.as_object().ok_or_else(|| ApiReply::error(40058, "Warning: wrong json format"))?;
        let msgtype = request.get("msgtype").and_then(Value::as_str).unwrap_or_default();
        let inner = request.get(msgtype).filter(|inner| inner.is_object());
        let inner = inner.ok_or_else(|| ApiReply::error(40008, "invalid message type"))?;
        let agent_id = number(request.get("agentid"));
        let agent_id = agent_id.ok_or_else(|| ApiReply::error(40056, "invalid agentid"))?;
        let (reached, mut reply) = self.resolve(agent_id, request)?;
        let content = inner.get("content").and_then(Value::as_str);
        if matches!(msgtype, "text" | "markdown") && content.is_none_or(str::is_empty) {
            return Err(ApiReply::error(44004, "empty content"));
        }
        let media_id = inner.get("media_id").and_then(Value::as_str);
        if media_id.is_some_and(|media_id| !self.files.has("", media_id, now_ms)) {
            return Err(ApiReply::error(40007, "invalid media_id"));
        }
        if let Some(again) = self.repetition(request, now_ms) {
            return Ok(again);
        }
        if !self.quota.takes(agent_id, reached.len(), now_ms) {
            return Err(ApiReply::error(45009, "api freq out of limit"));
        }
        let msgid = format!("fake-msg-{}", self.messages.len() + 1);
        for user in reached {
            let takes = self.takes(agent_id, &user, now_ms);
            if takes {
                let content = cut(content.unwrap_or_default(), TEXT_BYTES_MAX).to_owned();
                let (msgid, msgtype, request) = (msgid.clone(), msgtype.to_owned(), digest(body));
                let recalled = false;
                self.shown.push(Shown { user, msgid, msgtype, content, at_ms: now_ms, recalled, request });
            } else {
                self.dropped += 1;
            }
        }
        self.messages.insert(msgid.clone(), now_ms);
        reply.more.insert("msgid".to_owned(), msgid.into());
        if msgtype == "template_card" && calls_back(inner) {
            let code = format!("fake-response-code-{}", self.cards.len() + 1);
            self.cards.insert(code.clone(), Card { at_ms: now_ms, agent_id });
            reply.more.insert("response_code".to_owned(), code.into());
        }
        self.remember(request, now_ms, &reply);
        Ok(reply)
    }

    /// Who is reached, in lower case, and the lists of those who are not.
    fn resolve(
        &self,
        agent_id: u64,
        request: &Map<String, Value>,
    ) -> Result<(Vec<String>, AppReply), ApiReply> {
        let ids = |field: &str| -> Vec<String> {
            let joined = request.get(field).and_then(Value::as_str).unwrap_or_default();
            joined.split('|').filter(|id| !id.is_empty()).map(str::to_lowercase).collect()
        };
        let named: [(&str, &str, Vec<String>); 3] = [
            ("invaliduser", "", ids("touser")),
            ("invalidparty", "party:", ids("toparty")),
            ("invalidtag", "tag:", ids("totag")),
        ];
        if named.iter().all(|(_, _, ids)| ids.is_empty()) {
            return Err(ApiReply::error(82001, "touser, toparty and totag are all empty"));
        }
        if ids("touser").len() > 1_000 {
            return Err(ApiReply::error(40032, "too many users"));
        }
        let mut reached = Vec::new();
        let mut reply = AppReply::from(ApiReply::ok());
        let mut unlicensed = Vec::new();
        for (list, prefix, ids) in named {
            let mut invalid = Vec::new();
            for id in ids {
                let name = format!("{prefix}{id}");
                let is_seen = self.rules.shows(agent_id, &name);
                if id.starts_with("unknown") || self.missing.contains(&name) || !is_seen {
                    invalid.push(id);
                } else if self.unlicensed.contains(&name) {
                    unlicensed.push(id);
                } else {
                    reached.push(name);
                }
            }
            if !invalid.is_empty() {
                reply.more.insert(list.to_owned(), invalid.join("|").into());
            }
        }
        if !unlicensed.is_empty() {
            reply.more.insert("unlicenseduser".to_owned(), unlicensed.join("|").into());
        }
        if reached.is_empty() {
            return Err(ApiReply::error(81013, "user & party & tag all invalid"));
        }
        Ok((reached, reply))
    }

    /// The answer to a request that was taken before, if it asked for the check.
    fn repetition(&self, request: &Map<String, Value>, now_ms: i64) -> Option<AppReply> {
        let (until_ms, reply) = self.repeated.get(&canonical(request))?;
        (interval_s(request).is_some() && now_ms < *until_ms).then(|| reply.clone())
    }

    fn remember(&mut self, request: &Map<String, Value>, now_ms: i64, reply: &AppReply) {
        if let Some(interval_s) = interval_s(request) {
            self.repeated.insert(canonical(request), (now_ms + interval_s * 1_000, reply.clone()));
        }
    }

    /// Whether the app may still deliver to this member.
    fn takes(&mut self, agent_id: u64, user: &str, now_ms: i64) -> bool {
        let delivered = self.delivered.entry((agent_id, user.to_owned())).or_default();
        while delivered.front().is_some_and(|at_ms| at_ms + MEMBER_LIMITS[1].1 <= now_ms) {
            delivered.pop_front();
        }
        let within =
            |span_ms: i64| delivered.iter().rev().take_while(|at_ms| **at_ms + span_ms > now_ms).count();
        let takes = MEMBER_LIMITS.iter().all(|(count, span_ms)| within(*span_ms) < *count);
        if takes {
            delivered.push_back(now_ms);
        }
        takes
    }

    /// A chat gives no id, and knows no repetition.
    fn send_to_chat(&mut self, body: &Value, now_ms: i64) -> AppReply {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let (chat, msgtype) = (text(body.get("chatid")), text(body.get("msgtype")));
        let Some(inner) = body.get(&msgtype).filter(|_| !chat.is_empty()) else {
            return ApiReply::error(86001, "chatid or message missing").into();
        };
        if !self.chats.has(&chat) {
            return ApiReply::error(86003, "chat id is invalid").into();
        }
        let content = text(inner.get("content"));
        let user = format!("chat:{chat}").to_lowercase();
        self.shown.push(Shown {
            user,
            msgid: String::new(),
            msgtype,
            content,
            at_ms: now_ms,
            recalled: false,
            request: digest(body),
        });
        ApiReply::ok().into()
    }

    fn recall(&mut self, body: &Value, now_ms: i64) -> Result<AppReply, ApiReply> {
        let msgid = body.get("msgid").and_then(Value::as_str).unwrap_or_default();
        let sent_ms = self.messages.get(msgid).ok_or_else(|| ApiReply::error(40058, "invalid msgid"))?;
        if sent_ms + RECALL_MS <= now_ms {
            return Err(ApiReply::error(42052, "the message is too old to be recalled"));
        }
        self.shown.iter_mut().filter(|shown| shown.msgid == msgid).for_each(|shown| shown.recalled = true);
        Ok(ApiReply::ok().into())
    }

    fn update_card(&mut self, body: &Value, now_ms: i64) -> Result<AppReply, ApiReply> {
        let code = body.get("response_code").and_then(Value::as_str).unwrap_or_default();
        let spent = || ApiReply::error(60140, "invalid response_code");
        let card = self.cards.remove(code).ok_or_else(spent)?;
        if card.at_ms + CARD_MS <= now_ms || number(body.get("agentid")) != Some(card.agent_id) {
            return Err(spent());
        }
        Ok(AppReply { reply: ApiReply::ok(), more: Map::from_iter([("invaliduser".to_owned(), json!([]))]) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apps() -> (Apps, String) {
        let mut apps = Apps::default();
        apps.add("ww1", "s3cret");
        let (token, _) = apps.token("ww1", "s3cret", 0).unwrap();
        (apps, token)
    }

    fn call(apps: &mut Apps, token: &str, body: &Value, now_ms: i64) -> AppReply {
        apps.call("message/send", token, body.to_string().as_bytes(), now_ms, None)
    }

    fn text(to: &str) -> Value {
        json!({"touser": to, "msgtype": "text", "agentid": 7, "text": {"content": "hi"}})
    }

    #[test]
    fn tokens_are_for_known_pairs_and_end() {
        let mut free = Apps::default();
        assert!(free.token("any", "pair", 0).is_ok());
        let (mut apps, token) = apps();
        let code = |given: Result<_, ApiReply>| given.map_or_else(|reply| reply.errcode, |_| 0);
        assert_eq!(
            apps.token("ww1", "s3cret", 1_000).unwrap(),
            (token.clone(), 7_199),
            "the same until it ends"
        );
        assert_eq!(code(apps.token("ww1", "wrong", 0)), 40001);
        assert_eq!(code(apps.token("ww2", "s3cret", 0)), 40013);
        assert_eq!(code(apps.token("", "s3cret", 0)), 41002);
        assert_eq!(code(apps.token("ww1", "", 0)), 41004);
        for (token, now_ms, errcode) in
            [("", 0, 41001), ("x", 0, 40014), (&token, 7_200_000, 42001), (&token, 0, 0)]
        {
            assert_eq!(call(&mut apps, token, &text("a"), now_ms).reply.errcode, errcode);
        }
        apps.revoke_tokens();
        assert_eq!(call(&mut apps, &token, &text("a"), 0).reply.errcode, 40014);
    }

    #[test]
    fn who_is_not_reached_is_listed_in_lower_case() {
        let (mut apps, token) = apps();
        apps.miss(&["party:9".to_owned()]);
        apps.unlicense(&["Ed".to_owned()]);
        let mut message = text("Ann|Unknown-Bob|ed");
        message["toparty"] = "9".into();
        let reply = call(&mut apps, &token, &message, 0);
        assert_eq!(reply.reply.errcode, 0);
        assert_eq!(reply.more["invaliduser"], "unknown-bob");
        assert_eq!((&reply.more["invalidparty"], &reply.more["unlicenseduser"]), (&json!("9"), &json!("ed")));
        assert_eq!(apps.shown(Some("ann")).len(), 1);
        assert_eq!(call(&mut apps, &token, &text("unknown"), 0).reply.errcode, 81013);
        assert_eq!(call(&mut apps, &token, &text(""), 0).reply.errcode, 82001);
    }

    #[test]
    fn what_is_too_much_for_a_member_is_dropped_without_a_word() {
        let (mut apps, token) = apps();
        for at_ms in 0..31 {
            assert_eq!(call(&mut apps, &token, &text("ann"), at_ms).reply.errcode, 0);
        }
        assert_eq!((apps.shown(Some("ann")).len(), apps.dropped()), (30, 1));
        call(&mut apps, &token, &text("ann"), 60_000);
        assert_eq!(apps.shown(Some("ann")).len(), 31);
    }

    #[test]
    fn a_repetition_is_known_only_while_it_was_asked_for() {
        let (mut apps, token) = apps();
        let mut message = text("ann");
        message["enable_duplicate_check"] = 1.into();
        message["duplicate_check_interval"] = 10.into();
        for (at_ms, seen) in [(0, 1), (9_999, 1), (10_000, 2)] {
            call(&mut apps, &token, &message, at_ms);
            assert_eq!(apps.shown(None).len(), seen);
        }
    }

    #[test]
    fn cards_change_once_and_messages_are_recalled_for_a_day() {
        let (mut apps, token) = apps();
        let card = json!({"touser": "ann", "msgtype": "template_card", "agentid": 7,
            "template_card": {"card_type": "button_interaction"}});
        let sent = call(&mut apps, &token, &card, 0);
        let change = json!({"agentid": 7, "response_code": sent.more["response_code"]}).to_string();
        let mut act = |method: &str, body: &str, now_ms| {
            apps.call(method, &token, body.as_bytes(), now_ms, None).reply.errcode
        };
        assert_eq!(act("message/update_template_card", &change, 1), 0);
        assert_eq!(act("message/update_template_card", &change, 1), 60140);
        let recall = json!({"msgid": sent.more["msgid"]}).to_string();
        assert_eq!(act("message/recall", &recall, 1), 0);
        assert_eq!(act("message/recall", "{}", 1), 40058);
        assert!(apps.shown(None)[0].recalled);
    }
}
