//! The platform's side of a callback URL, and a source that listens there.

use bytes::Bytes;
use http::HeaderMap;
use wecom_gateway::entropy::Entropy;
use wecom_gateway::secret::Secret;
use wecom_gateway::source::{
    Accepted, CallbackKeys, PLAIN_WINDOW_MS, RawCallback, Refused, SealedSettings, SourceSettings, Sources,
    WECHAT, WINDOW_MS,
};
use wecom_gateway::wecom::keys::{EncodingAesKey, Token};
use wecom_gateway::wecom::limits::ReadLimits;
use wecom_gateway::wecom::reply::seal_parts;

pub(crate) const TOKEN: &str = "SealerToken2024";
pub(crate) const KEY: &str = "zQUMPM08HSe8jnPJjoqgA2RB19fLy0Mg1YLVUHFjxQR";
pub(crate) const OTHER_KEY: &str = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C";
pub(crate) const CORP: &str = "ww1234567890abcdef";
pub(crate) const NOW_S: i64 = 1_700_000_000;

/// Seals as the platform would.
pub(crate) struct Sealer {
    token: Token,
    key: EncodingAesKey,
    receive_id: String,
    entropy: Entropy,
}

/// A request's parts.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) signature: String,
    pub(crate) timestamp: String,
    pub(crate) nonce: String,
    pub(crate) encrypt: String,
}

impl Sealer {
    pub(crate) fn new(token: &str, key: &str, receive_id: &str) -> Self {
        Self {
            token: Token::parse(token).expect("a token"),
            key: EncodingAesKey::parse(key).expect("a key"),
            receive_id: receive_id.to_owned(),
            entropy: Entropy::seeded(7),
        }
    }

    /// The platform as [`app`] knows it.
    pub(crate) fn usual() -> Self {
        Self::new(TOKEN, KEY, CORP)
    }

    pub(crate) fn seal(&self, plaintext: &[u8]) -> Request {
        self.seal_at(plaintext, NOW_S)
    }

    pub(crate) fn seal_at(&self, plaintext: &[u8], timestamp_s: i64) -> Request {
        let timestamp = timestamp_s.to_string();
        let nonce = u32::from_le_bytes(self.entropy.bytes()).to_string();
        let (encrypt, signature) = seal_parts(
            &self.token,
            &self.key,
            &self.receive_id,
            plaintext,
            &timestamp,
            &nonce,
            &self.entropy,
        );
        Request { signature, timestamp, nonce, encrypt }
    }
}

impl Request {
    pub(crate) fn query(&self) -> String {
        format!("msg_signature={}&timestamp={}&nonce={}", self.signature, self.timestamp, self.nonce)
    }

    /// The query of a URL check.
    pub(crate) fn check_query(&self) -> String {
        let echostr = self.encrypt.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        format!("{}&echostr={echostr}", self.query())
    }

    pub(crate) fn xml(&self) -> String {
        format!(
            "<xml><ToUserName><![CDATA[{CORP}]]></ToUserName><AgentID><![CDATA[9]]></AgentID><Encrypt><![CDATA[{}]]></Encrypt></xml>",
            self.encrypt
        )
    }

    pub(crate) fn json(&self) -> String {
        format!("{{\"encrypt\":\"{}\"}}", self.encrypt)
    }
}

/// An app at handler `api` with the usual keys.
pub(crate) fn app(name: &str) -> SourceSettings {
    SourceSettings {
        name: name.into(),
        handler: "api".into(),
        enabled: true,
        sealed: Some(sealed(TOKEN, KEY, &[CORP])),
        agent_id: None,
        plain_secret: Secret::default(),
        plain_window_ms: PLAIN_WINDOW_MS,
    }
}

pub(crate) fn sealed(token: &str, key: &str, receive_ids: &[&str]) -> SealedSettings {
    SealedSettings {
        keys: keys(token, key),
        previous: None,
        receive_ids: receive_ids.iter().map(|id| (*id).to_owned()).collect(),
        window_ms: WINDOW_MS,
    }
}

pub(crate) fn keys(token: &str, key: &str) -> CallbackKeys {
    CallbackKeys { token: Secret::new(token), encoding_aes_key: Secret::new(key) }
}

pub(crate) fn sources(settings: Vec<SourceSettings>) -> Sources {
    Sources::build(settings).expect("sources")
}

/// Posts at `/wechat/{handler}`.
pub(crate) fn post(sources: &Sources, handler: &str, query: &str, body: &str) -> Result<Accepted, Refused> {
    let body = Bytes::from(body.to_owned());
    sources.receive(
        WECHAT,
        handler,
        &RawCallback { query, headers: &HeaderMap::new(), body: &body, limits: ReadLimits::DEFAULT },
        NOW_S,
    )
}

/// Asks for a URL check at `/wechat/{handler}`.
pub(crate) fn check(sources: &Sources, handler: &str, query: &str) -> Result<Bytes, Refused> {
    let raw =
        RawCallback { query, headers: &HeaderMap::new(), body: &Bytes::new(), limits: ReadLimits::DEFAULT };
    sources.handshake(WECHAT, handler, &raw, NOW_S)
}

/// A text message to app `agent`.
pub(crate) fn text_message(agent: &str) -> String {
    format!(
        "<xml><ToUserName><![CDATA[{CORP}]]></ToUserName><FromUserName><![CDATA[zhangsan]]></FromUserName><CreateTime>1700000000</CreateTime><MsgType><![CDATA[text]]></MsgType><Content><![CDATA[hello]]></Content><MsgId>7300000000000000001</MsgId><AgentID>{agent}</AgentID></xml>"
    )
}
