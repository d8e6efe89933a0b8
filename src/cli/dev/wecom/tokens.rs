//! Access tokens of the fake platform: one for each corp and secret until it ends. Source: document 91039 at
//! developer.work.weixin.qq.com.

use std::collections::{BTreeMap, HashMap};

use super::world::ApiReply;

/// How long a token lives.
const TOKEN_S: i64 = 7_200;

/// Who may have a token, and who has.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// The secret of each corp; without any, every pair is one.
    secrets: BTreeMap<String, String>,
    current: HashMap<String, Token>,
    made: u64,
}

#[derive(Clone, Debug)]
struct Token {
    corp_id: String,
    secret: String,
    until_ms: i64,
}

impl Tokens {
    /// Makes a corp exist whose app has this secret; again: the secret was changed.
    pub(super) fn add(&mut self, corp_id: &str, secret: &str) {
        self.secrets.insert(corp_id.to_owned(), secret.to_owned());
        self.current.retain(|_, token| token.corp_id != corp_id || token.secret == secret);
    }

    /// Whether there is such an app.
    pub(super) fn judge_pair(&self, corp_id: &str, secret: &str) -> Result<(), ApiReply> {
        let known = self.secrets.get(corp_id);
        match (corp_id, secret, known) {
            ("", ..) => Err(ApiReply::error(41002, "corpid missing")),
            (_, "", _) => Err(ApiReply::error(41004, "corpsecret missing")),
            (.., None) if !self.secrets.is_empty() => Err(ApiReply::error(40013, "invalid corpid")),
            (_, given, Some(right)) if given != right => Err(ApiReply::error(40001, "invalid credential")),
            _ => Ok(()),
        }
    }

    /// Its token, and how many seconds that lives; the same until it ends.
    pub(super) fn current(&mut self, corp_id: &str, secret: &str, now_ms: i64) -> (String, i64) {
        let same =
            |token: &Token| token.corp_id == corp_id && token.secret == secret && now_ms < token.until_ms;
        if let Some((text, token)) = self.current.iter().find(|(_, token)| same(token)) {
            return (text.clone(), (token.until_ms - now_ms) / 1_000);
        }
        self.made += 1;
        let text = format!("fake-access-token-{}", self.made);
        let until_ms = now_ms + TOKEN_S * 1_000;
        let token = Token { corp_id: corp_id.to_owned(), secret: secret.to_owned(), until_ms };
        self.current.insert(text.clone(), token);
        (text, TOKEN_S)
    }

    /// Ends every token before its time.
    pub(super) fn revoke(&mut self) {
        self.current.clear();
    }

    /// Whether a call with `token` is looked at.
    pub(super) fn admit(&self, token: &str, now_ms: i64) -> Result<(), ApiReply> {
        match self.current.get(token) {
            _ if token.is_empty() => Err(ApiReply::error(41001, "access_token missing")),
            None => Err(ApiReply::error(40014, "invalid access_token")),
            Some(known) if known.until_ms <= now_ms => Err(ApiReply::error(42001, "access_token expired")),
            Some(_) => Ok(()),
        }
    }
}
