//! A group robot: one address that takes messages and never says what became of them.
//!
//! The `key` in the address is the whole credential, so the address is a secret. There is no message id, no recall
//! and no deduplication: a request whose answer was lost may have been shown to everybody in the chat.
//! Protocol: developer.work.weixin.qq.com/document/path/99110 (消息推送配置说明).

use sha2::{Digest, Sha256};

use crate::channel::transport::{Exchange, Transport};
use crate::domain::evidence::{TEXT_BYTES_MAX, cut};
use crate::domain::outcome::{Outcome, RetryCause, Try};
use crate::domain::pace::PaceLimit;
use crate::secret::Secret;
use crate::wecom::api::answer::ApiAnswer;
use crate::wecom::errcode::{self, ErrcodeClass};

/// WeCom takes 20 messages a minute from one robot; whether its minute slides is not documented, so ours does,
/// with a margin.
pub const PACE: PaceLimit = PaceLimit { count: 20, window_ms: 60_500 };

/// How long a robot rests after 45009, "api freq out of limit": WeCom blocks by the minute.
pub const REST_MS: i64 = 60_000;

/// How long it rests after other "too many" answers, which pass sooner.
pub const SHORT_REST_MS: i64 = 5_000;

/// Where a bare key is sent to.
pub const BASE_URL_DEFAULT: &str = "https://qyapi.weixin.qq.com";

/// Longest key that is taken for one.
const KEY_BYTES_MAX: usize = 128;

/// Why what was configured is not a robot's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RobotAddressError {
    /// Neither an address nor a key.
    #[error("is neither an http(s) address nor a robot's key (letters, digits, - and _)")]
    Form,
    /// An address without a key.
    #[error("has no `key` parameter: copy the whole address that WeCom shows for the robot")]
    NoKey,
    /// More than one key.
    #[error("has more than one `key` parameter")]
    TwoKeys,
    /// The base address is not one.
    #[error("the base address is not an http(s) address")]
    Base,
}

/// A robot's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RobotAddress {
    url: Secret,
    key: Secret,
}

impl RobotAddress {
    /// Reads the address that WeCom shows for a robot, or the key at its end, which is sent to `base_url`.
    pub fn parse(configured: &Secret, base_url: &str) -> Result<Self, RobotAddressError> {
        let text = configured.expose().trim();
        if !text.contains("://") {
            let is_key = (1..=KEY_BYTES_MAX).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            if !is_key {
                return Err(RobotAddressError::Form);
            }
            let base = web_address(base_url).ok_or(RobotAddressError::Base)?;
            let base = base.as_str().trim_end_matches('/');
            let url = Secret::new(format!("{base}/cgi-bin/webhook/send?key={text}"));
            return Ok(Self { url, key: Secret::new(text) });
        }
        let url = web_address(text).ok_or(RobotAddressError::Form)?;
        let mut keys = url.query_pairs().filter(|(name, _)| name == "key").map(|(_, key)| key.into_owned());
        let key = keys.next().filter(|key| !key.is_empty()).ok_or(RobotAddressError::NoKey)?;
        if keys.next().is_some() {
            return Err(RobotAddressError::TwoKeys);
        }
        Ok(Self { url: Secret::new(url.as_str()), key: Secret::new(key) })
    }

    /// Tells robots apart without showing the key: 8 hex digits.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.key.expose().as_bytes());
        let start = digest.iter().take(4).fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        format!("{start:08x}")
    }

    /// `text` without the key, should somebody have echoed it.
    fn redact(&self, text: &str) -> String {
        text.replace(self.key.expose(), "***")
    }
}

fn web_address(text: &str) -> Option<reqwest::Url> {
    let url = reqwest::Url::parse(text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

/// A robot that can be sent to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Robot {
    address: RobotAddress,
    transport: Transport,
}

impl Robot {
    /// A robot behind `transport`.
    pub fn new(address: RobotAddress, transport: Transport) -> Self {
        Self { address, transport }
    }

    /// Its address.
    pub fn address(&self) -> &RobotAddress {
        &self.address
    }

    /// The longest that one try can take.
    pub fn attempt_timeout_ms(&self) -> u64 {
        self.transport.attempt_timeout_ms()
    }

    /// Sends one message: `body` is what `webhook/send` takes.
    pub async fn deliver(&self, body: &str) -> Try {
        let exchange = self.transport.post_json(&self.address.url, body.to_owned()).await;
        let mut tried = read(exchange);
        tried.error = tried.error.map(|text| cut(&self.address.redact(&text), TEXT_BYTES_MAX).to_owned());
        tried.answer = tried.answer.map(|text| self.address.redact(&text));
        tried
    }
}

/// What a request came to. HTTP 200 means nothing: the verdict is `errcode`.
fn read(exchange: Exchange) -> Try {
    let nothing = |outcome, http_status: Option<u16>, why: String| Try {
        outcome,
        http_status: http_status.map(i64::from),
        errcode: None,
        error: Some(why),
        answer: None,
    };
    let (http_status, retry_after_s, body) = match exchange {
        Exchange::NotSent { why } => {
            return nothing(Outcome::Retry { cause: RetryCause::NotSent, after_ms: None }, None, why);
        }
        Exchange::Lost { http_status, why } => return nothing(Outcome::Lost, http_status, why),
        Exchange::Answered { http_status, retry_after_s, body } => (http_status, retry_after_s, body),
    };
    let shown = String::from_utf8_lossy(&body);
    let answer = Some(cut(&shown, TEXT_BYTES_MAX).to_owned());
    let (outcome, errcode, error) = match http_status {
        200..=299 => read_body(&body),
        // A proxy between us and WeCom that passed nothing on.
        429 => {
            let after_ms = retry_after_s.map(|seconds| seconds.saturating_mul(1_000));
            (Outcome::Retry { cause: RetryCause::Busy, after_ms }, None, Some("HTTP 429".to_owned()))
        }
        408 | 500.. => (Outcome::Lost, None, Some(format!("HTTP {http_status}"))),
        _ => {
            (Outcome::Refused, None, Some(format!("HTTP {http_status}: that was not WeCom's API answering")))
        }
    };
    Try { outcome, http_status: Some(i64::from(http_status)), errcode, error, answer }
}

fn read_body(body: &[u8]) -> (Outcome, Option<i64>, Option<String>) {
    let Ok(answer) = ApiAnswer::parse(body) else {
        let is_page = body.trim_ascii_start().first() == Some(&b'<');
        return if is_page {
            (Outcome::Refused, None, Some("a web page: that was not WeCom's API answering".to_owned()))
        } else {
            (Outcome::Lost, None, Some("the answer has no errcode".to_owned()))
        };
    };
    let known = errcode::lookup(answer.errcode);
    let outcome = match known.class {
        ErrcodeClass::Ok => Outcome::Accepted { references: Vec::new(), refused: Vec::new() },
        ErrcodeClass::Retry => Outcome::Retry { cause: RetryCause::Busy, after_ms: None },
        ErrcodeClass::RateLimited if known.code == 45009 => Outcome::Wait { rest_ms: REST_MS },
        ErrcodeClass::RateLimited => Outcome::Wait { rest_ms: SHORT_REST_MS },
        ErrcodeClass::RefreshToken
        | ErrcodeClass::Permanent
        | ErrcodeClass::Recipient
        | ErrcodeClass::Unknown => Outcome::Refused,
    };
    let error = (known.class != ErrcodeClass::Ok)
        .then(|| format!("errcode {}, {}; WeCom says: {}", known.code, known.meaning, answer.errmsg));
    (outcome, Some(answer.errcode), error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::Ending;

    fn address(configured: &str) -> Result<RobotAddress, RobotAddressError> {
        RobotAddress::parse(&Secret::new(configured), BASE_URL_DEFAULT)
    }

    #[test]
    fn an_address_and_its_key_are_the_same_robot() {
        let key = "693a91f6-7aaa-4bc4-97a0-0ec2sifa5aaa";
        let whole = address(&format!("https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key={key}")).unwrap();
        let bare = address(&format!(" {key} ")).unwrap();
        assert_eq!(whole, bare);
        assert_eq!(whole.fingerprint().len(), 8);
        assert!(!format!("{whole:?}").contains("693a91f6"));
        let elsewhere = RobotAddress::parse(&Secret::new(key), "http://127.0.0.1:9/wecom/").unwrap();
        assert_eq!(
            elsewhere.url.expose(),
            format!("http://127.0.0.1:9/wecom/cgi-bin/webhook/send?key={key}")
        );
    }

    #[test]
    fn what_is_no_robot_says_why() {
        use RobotAddressError::{Base, Form, NoKey, TwoKeys};
        for (configured, error) in [
            ("", Form),
            ("two words", Form),
            ("ftp://host/?key=a", Form),
            ("https://", Form),
            ("https://host/cgi-bin/webhook/send", NoKey),
            ("https://host/cgi-bin/webhook/send?key=", NoKey),
            ("https://host/send?key=a&key=b", TwoKeys),
        ] {
            assert_eq!(address(configured), Err(error), "{configured}");
        }
        assert!(address(&"k".repeat(KEY_BYTES_MAX)).is_ok());
        assert_eq!(address(&"k".repeat(KEY_BYTES_MAX + 1)), Err(Form));
        assert_eq!(RobotAddress::parse(&Secret::new("k"), "qyapi"), Err(Base));
    }

    fn answered(http_status: u16, body: &str) -> Try {
        read(Exchange::Answered { http_status, retry_after_s: Some(7), body: body.to_owned().into() })
    }

    #[test]
    fn the_errcode_is_the_verdict() {
        for (code, ending) in [
            (0, Ending::Accepted),
            (-1, Ending::Busy),
            (45009, Ending::Limited),
            (45033, Ending::Limited),
            (93000, Ending::Refused),
            (40058, Ending::Refused),
            (81013, Ending::Refused),
            (123_456, Ending::Refused),
        ] {
            let tried = answered(200, &format!(r#"{{"errcode":{code},"errmsg":"said so"}}"#));
            assert_eq!(tried.outcome.ending(), ending, "{code}");
            assert_eq!(tried.errcode, Some(code));
            assert_eq!(tried.error.is_some(), code != 0);
        }
        assert_eq!(
            answered(200, r#"{"errcode":45009,"errmsg":""}"#).outcome,
            Outcome::Wait { rest_ms: REST_MS }
        );
    }

    #[test]
    fn what_is_not_wecoms_answer_is_lost_or_refused_by_what_can_have_happened() {
        for (http_status, body, ending) in [
            (500, "", Ending::AnswerLost),
            (502, "<html>bad gateway</html>", Ending::AnswerLost),
            (408, "", Ending::AnswerLost),
            (200, "", Ending::AnswerLost),
            (200, r#"{"errcode":0,"err"#, Ending::AnswerLost),
            (200, r#"{"ok":true}"#, Ending::AnswerLost),
            (200, " <!doctype html>", Ending::Refused),
            (302, "", Ending::Refused),
            (404, r#"{"errcode":0}"#, Ending::Refused),
            (429, "", Ending::Busy),
        ] {
            assert_eq!(answered(http_status, body).outcome.ending(), ending, "{http_status} {body}");
        }
        assert_eq!(
            answered(429, "").outcome,
            Outcome::Retry { cause: RetryCause::Busy, after_ms: Some(7_000) }
        );
        let not_sent = read(Exchange::NotSent { why: "refused".to_owned() });
        assert_eq!(not_sent.outcome.ending(), Ending::NotSent);
    }

    #[test]
    fn an_echoed_key_is_not_kept() {
        let robot = address("secret-key").unwrap();
        assert_eq!(robot.redact("GET /send?key=secret-key failed"), "GET /send?key=*** failed");
    }
}
