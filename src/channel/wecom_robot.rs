//! A group robot: one address that takes messages and never says what became of them.
//!
//! The `key` in the address is the whole credential, so the address is a secret. There is no message id, no recall
//! and no deduplication: a request whose answer was lost may have been shown to everybody in the chat.
//! Protocol: developer.work.weixin.qq.com/document/path/99110 (消息推送配置说明).

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::channel::transport::Transport;
use crate::channel::verdict::{judge, where_nothing_is_checked};
use crate::domain::evidence::{TEXT_BYTES_MAX, cut};
use crate::domain::outcome::Try;
use crate::secret::Secret;
use crate::wecom::api::media::MediaKind;

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

    /// Whether `url` leads to the same host and port.
    pub(super) fn is_at(&self, url: &reqwest::Url) -> bool {
        reqwest::Url::parse(self.url.expose()).is_ok_and(|own| own.origin() == url.origin())
    }

    /// Where files for it are uploaded to: beside where it is sent to.
    fn upload_url(&self) -> String {
        self.url.expose().replacen("/webhook/send?", "/webhook/upload_media?", 1)
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

    /// Uploads a file for this robot: `body` is a form (`content_type` says which) with the file under `media`. The
    /// platform's answer.
    pub async fn upload(&self, kind: MediaKind, content_type: &str, body: Bytes) -> (Try, Bytes) {
        let url = Secret::new(format!("{}&type={}", self.address.upload_url(), kind.as_str()));
        let verdict = judge(self.transport.post(&url, content_type, body).await);
        (self.cleaned(verdict.tried), verdict.body)
    }

    /// Whether this is the robot's key.
    pub fn has_key(&self, key: &str) -> bool {
        self.address.key.matches(key)
    }

    fn cleaned(&self, mut tried: Try) -> Try {
        tried.error = tried.error.map(|text| cut(&self.address.redact(&text), TEXT_BYTES_MAX).to_owned());
        tried.answer = tried.answer.map(|text| self.address.redact(&text));
        tried
    }

    /// Sends one message: `body` is what `webhook/send` takes.
    pub async fn deliver(&self, body: &str) -> Try {
        let exchange = self.transport.post_json(&self.address.url, body.to_owned()).await;
        where_nothing_is_checked(self.cleaned(judge(exchange).tried))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn an_echoed_key_is_not_kept() {
        let robot = address("secret-key").unwrap();
        assert_eq!(robot.redact("GET /send?key=secret-key failed"), "GET /send?key=*** failed");
    }
}
