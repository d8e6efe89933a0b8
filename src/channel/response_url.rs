//! Answers to smart robots' callbacks after the callback itself: one request to the address that it carried.
//!
//! The address comes out of a sealed callback, and is called only where it leads to the platform, or to where the
//! robot itself is configured to send: whoever got hold of the keys of a callback must not make us call others.
//! Protocol: developer.work.weixin.qq.com/document/path/101138 (主动回复消息).

use super::transport::Transport;
use super::verdict::{judge, where_nothing_is_checked};
use super::wecom_robot::Robot;
use crate::domain::evidence::{TEXT_BYTES_MAX, cut};
use crate::domain::outcome::Try;
use crate::secret::Secret;

/// The platform.
const HOST: &str = "qyapi.weixin.qq.com";

/// The only call that is made.
const PATH: &str = "/cgi-bin/aibot/response";

/// Where one callback is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseUrl {
    url: Secret,
    code: Secret,
}

impl ResponseUrl {
    /// Reads what a callback carried; `None`: that is no address to answer at. `robot`: where else than at the platform.
    pub fn parse(text: &str, robot: Option<&Robot>) -> Option<Self> {
        let url = reqwest::Url::parse(text).ok()?;
        let is_platform = url.scheme() == "https" && url.host_str() == Some(HOST) && url.port().is_none();
        let is_own = || robot.is_some_and(|robot| robot.address().is_at(&url));
        if url.path() != PATH || !(is_platform || is_own()) {
            return None;
        }
        let code = url.query_pairs().find(|(name, _)| name == "response_code")?.1.into_owned();
        Some(Self { url: Secret::new(url.as_str()), code: Secret::new(code) })
    }
}

/// Answers at such addresses. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Responder {
    transport: Transport,
}

impl Responder {
    /// One behind `transport`.
    pub fn new(transport: Transport) -> Self {
        Self { transport }
    }

    /// Says `body` at `at`, once.
    pub async fn post(&self, at: &ResponseUrl, body: String) -> Try {
        let mut tried = where_nothing_is_checked(judge(self.transport.post_json(&at.url, body).await).tried);
        let clean = |text: String| text.replace(at.code.expose(), "***");
        tried.error = tried.error.map(|text| cut(&clean(text), TEXT_BYTES_MAX).to_owned());
        tried.answer = None;
        tried
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::transport::TransportLimits;
    use crate::channel::wecom_robot::{BASE_URL_DEFAULT, RobotAddress};

    #[test]
    fn only_the_platform_and_the_robots_own_host_are_answered() {
        let at = |text: &str| ResponseUrl::parse(text, None).is_some();
        assert!(at("https://qyapi.weixin.qq.com/cgi-bin/aibot/response?response_code=X"));
        for other in [
            "http://qyapi.weixin.qq.com/cgi-bin/aibot/response?response_code=X",
            "https://qyapi.weixin.qq.com:8443/cgi-bin/aibot/response?response_code=X",
            "https://qyapi.weixin.qq.com.example.com/cgi-bin/aibot/response?response_code=X",
            "https://user@example.com/cgi-bin/aibot/response?response_code=X",
            "https://qyapi.weixin.qq.com/cgi-bin/gettoken?response_code=X",
            "https://qyapi.weixin.qq.com/cgi-bin/aibot/response",
            "http://127.0.0.1:9/cgi-bin/aibot/response?response_code=X",
            "",
        ] {
            assert!(!at(other), "{other}");
        }
        let address = RobotAddress::parse(
            &Secret::new("http://127.0.0.1:9/cgi-bin/webhook/send?key=k"),
            BASE_URL_DEFAULT,
        );
        let robot = Robot::new(address.unwrap(), Transport::new(TransportLimits::default()).unwrap());
        let own = |port: u16| format!("http://127.0.0.1:{port}/cgi-bin/aibot/response?response_code=X");
        assert!(ResponseUrl::parse(&own(9), Some(&robot)).is_some());
        assert!(ResponseUrl::parse(&own(10), Some(&robot)).is_none());
        let shown = format!("{:?}", ResponseUrl::parse(&own(9), Some(&robot)));
        assert!(!shown.contains("response_code=X"), "{shown}");
    }
}
