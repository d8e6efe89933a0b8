//! Robots of group chats that are told what is wrong: of WeCom, DingTalk and Feishu, each signed as it wants.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::channel::transport::{Exchange, Transport};
use crate::secret::Secret;

/// Whose robot it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RobotKind {
    /// 企业微信群机器人: its address is its secret.
    WeCom,
    /// 钉钉自定义机器人: signs with `timestamp` and `sign` in the address.
    DingTalk,
    /// 飞书自定义机器人: signs with `timestamp` and `sign` in the body.
    Feishu,
}

impl RobotKind {
    /// The word in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WeCom => "wecom",
            Self::DingTalk => "dingtalk",
            Self::Feishu => "feishu",
        }
    }
}

/// A robot that is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertRobot {
    /// Whose it is.
    pub kind: RobotKind,
    /// Its address.
    pub url: Secret,
    /// What it signs with; empty if signing is off in its settings.
    pub secret: Secret,
}

impl AlertRobot {
    /// Tells it `text`.
    ///
    /// # Errors
    /// Why it did not take it, without the address.
    pub(super) async fn tell(&self, transport: &Transport, text: &str, now_ms: i64) -> Result<(), String> {
        let (url, body) = self.request(text, now_ms);
        match transport.post_json(&url, body.to_string()).await {
            Exchange::Answered { http_status: 200, body, .. } => judged(&body),
            Exchange::Answered { http_status, .. } => Err(format!("it answers {http_status}")),
            Exchange::NotSent { why } | Exchange::Lost { why, .. } => Err(why),
        }
    }

    /// The address and the body of the request.
    fn request(&self, text: &str, now_ms: i64) -> (Secret, Value) {
        let (plain, secret) = (self.url.clone(), self.secret.expose());
        match self.kind {
            RobotKind::WeCom => (plain, json!({"msgtype": "text", "text": {"content": text}})),
            RobotKind::DingTalk => {
                let body = json!({"msgtype": "text", "text": {"content": text}});
                if secret.is_empty() {
                    return (plain, body);
                }
                let sign = signature(secret.as_bytes(), format!("{now_ms}\n{secret}").as_bytes());
                let sign = sign.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
                let joint = if plain.expose().contains('?') { '&' } else { '?' };
                (Secret::new(format!("{}{joint}timestamp={now_ms}&sign={sign}", plain.expose())), body)
            }
            RobotKind::Feishu => {
                let mut body = json!({"msg_type": "text", "content": {"text": text}});
                if !secret.is_empty() {
                    let seconds = now_ms.div_euclid(1000).to_string();
                    // Their form: the text is the key, and nothing is signed.
                    let sign = signature(format!("{seconds}\n{secret}").as_bytes(), b"");
                    if let Some(members) = body.as_object_mut() {
                        members.extend([
                            ("timestamp".to_owned(), json!(seconds)),
                            ("sign".to_owned(), json!(sign)),
                        ]);
                    }
                }
                (plain, body)
            }
        }
    }
}

/// HMAC-SHA256 in base64.
fn signature(key: &[u8], text: &[u8]) -> String {
    // A key of any length will do.
    let mac = Hmac::<Sha256>::new_from_slice(key).map(|mac| mac.chain_update(text).finalize().into_bytes());
    STANDARD.encode(mac.unwrap_or_default())
}

/// All three say 200 whatever happened, and in the body what it was.
fn judged(body: &Bytes) -> Result<(), String> {
    let answer: Value =
        serde_json::from_slice(body).map_err(|_not_json| "its answer is no JSON".to_owned())?;
    let code = ["errcode", "code", "StatusCode"].iter().find_map(|name| answer.get(name)?.as_i64());
    match code {
        Some(0) => Ok(()),
        Some(code) => {
            let why =
                ["errmsg", "msg"].iter().find_map(|name| answer.get(name)?.as_str()).unwrap_or_default();
            Err(format!("it refuses: {code} {}", why.chars().take(200).collect::<String>()))
        }
        None => Err("its answer has no code".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn robot(kind: RobotKind, secret: &str) -> AlertRobot {
        AlertRobot {
            kind,
            url: Secret::new("https://robot.example/send?access_token=t"),
            secret: Secret::new(secret),
        }
    }

    #[test]
    fn each_is_signed_as_it_wants() {
        let (url, body) = robot(RobotKind::WeCom, "").request("x", 1_700_000_000_123);
        assert_eq!(url.expose(), "https://robot.example/send?access_token=t");
        assert_eq!(body, json!({"msgtype": "text", "text": {"content": "x"}}));
        // Both computed with: printf … | openssl dgst -sha256 -hmac … -binary | base64
        let (url, _) = robot(RobotKind::DingTalk, "SECabc").request("x", 1_700_000_000_123);
        assert_eq!(
            url.expose(),
            "https://robot.example/send?access_token=t&timestamp=1700000000123&sign=IqXBU%2FaLfwMA3S%2FtDcfRmHx5vWHw9Y1aOgFLBr1Ti9w%3D"
        );
        let (_, body) = robot(RobotKind::Feishu, "abc").request("x", 1_700_000_000_123);
        assert_eq!(body["timestamp"], "1700000000");
        assert_eq!(body["sign"], "VIS10b0EBvzzSdFnuk4tznEmK5wHaruvf/WnViv2yR4=");
        assert_eq!((&body["msg_type"], &body["content"]), (&json!("text"), &json!({"text": "x"})));
        assert!(robot(RobotKind::Feishu, "").request("x", 0).1.get("sign").is_none());
    }

    #[test]
    fn an_answer_counts_by_its_code() {
        for body in [r#"{"errcode":0,"errmsg":"ok"}"#, r#"{"code":0,"msg":"success"}"#, r#"{"StatusCode":0}"#]
        {
            assert_eq!(judged(&Bytes::from(body)), Ok(()), "{body}");
        }
        for body in
            [r#"{"errcode":310000,"errmsg":"sign not match"}"#, r#"{"code":19021,"msg":"sign"}"#, "{}", "<"]
        {
            assert!(judged(&Bytes::from(body)).is_err(), "{body}");
        }
    }
}
