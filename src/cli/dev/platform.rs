//! The platform's side of one callback URL: sealing, signing, posting, and forging in one chosen way.

use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::clock::Clock;
use crate::domain::event::Format;
use crate::entropy::Entropy;
use crate::wecom::callback::SealedCallback;
use crate::wecom::keys::{EncodingAesKey, ReceiveIds, Token};
use crate::wecom::limits::ReadLimits;
use crate::wecom::reply::seal_parts;

/// The platform waits this long for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How a callback is made wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Forgery {
    /// One digit of the signature is another.
    Signature,
    /// One character of the ciphertext is another.
    Ciphertext,
    /// Signed with another Token.
    Token,
    /// Sealed with another key, signed right.
    Key,
    /// For another company.
    ReceiveId,
    /// Signed right, 30 days ago.
    Timestamp,
    /// The nonce was changed after signing.
    Nonce,
    /// A parameter stands twice.
    Doubled,
    /// The body is no envelope.
    Body,
}

/// A request as the platform makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformRequest {
    /// The query string, without `?`.
    pub query: String,
    /// Headers beside `Content-Type`.
    pub headers: Vec<(&'static str, String)>,
    /// The body; empty for a URL check.
    pub body: String,
}

/// What the gateway answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformAnswer {
    /// HTTP status.
    pub http_status: u16,
    /// `X-Request-Id`.
    pub request_id: Option<String>,
    /// The body.
    pub body: String,
}

/// One callback URL as it is saved at the platform.
#[derive(Clone, Debug)]
pub struct Platform {
    token: Token,
    key: EncodingAesKey,
    receive_id: String,
}

impl Platform {
    /// The platform's settings of one URL.
    pub fn new(token: &str, encoding_aes_key: &str, receive_id: &str) -> anyhow::Result<Self> {
        let token = Token::parse(token).context("token")?;
        let key = EncodingAesKey::parse(encoding_aes_key).context("EncodingAESKey")?;
        Ok(Self { token, key, receive_id: receive_id.to_owned() })
    }

    /// A callback that says `message`.
    pub fn callback(
        &self,
        message: &[u8],
        format: Format,
        now_s: i64,
        entropy: &Entropy,
        forgery: Option<Forgery>,
    ) -> PlatformRequest {
        let other_token = Token::parse("NotTheToken").unwrap_or_else(|_| self.token.clone());
        let other_key = EncodingAesKey::parse(&"A".repeat(43)).unwrap_or_else(|_| self.key.clone());
        let token = if forgery == Some(Forgery::Token) { &other_token } else { &self.token };
        let key = if forgery == Some(Forgery::Key) { &other_key } else { &self.key };
        let receive_id =
            if forgery == Some(Forgery::ReceiveId) { "ww0000000000000000" } else { &self.receive_id };
        let age_s = if forgery == Some(Forgery::Timestamp) { 30 * 86_400 } else { 0 };
        let timestamp = format!("{:010}", now_s.saturating_sub(age_s));
        let nonce = u64::from_le_bytes(entropy.bytes()).to_string();
        let (mut sealed, mut signature) =
            seal_parts(token, key, receive_id, message, &timestamp, &nonce, entropy);
        match forgery {
            Some(Forgery::Signature) => signature = other_start(&signature, ['0', '1']),
            Some(Forgery::Ciphertext) => sealed = other_start(&sealed, ['A', 'B']),
            _ => {}
        }
        let sent_nonce = if forgery == Some(Forgery::Nonce) { format!("{nonce}0") } else { nonce };
        let mut query = format!("msg_signature={signature}&timestamp={timestamp}&nonce={sent_nonce}");
        if forgery == Some(Forgery::Doubled) {
            query.push_str("&timestamp=");
            query.push_str(&timestamp);
        }
        let body = match format {
            _ if forgery == Some(Forgery::Body) => "not an envelope".to_owned(),
            Format::Json => format!("{{\"encrypt\":\"{sealed}\"}}"),
            Format::Xml | Format::Opaque => format!(
                "<xml><ToUserName><![CDATA[{receive_id}]]></ToUserName><Encrypt><![CDATA[{sealed}]]></Encrypt></xml>"
            ),
        };
        PlatformRequest { query, headers: Vec::new(), body }
    }

    /// The check of a URL that is being saved; the right answer is `echo`.
    pub fn url_check(&self, echo: &str, now_s: i64, entropy: &Entropy) -> PlatformRequest {
        let timestamp = format!("{now_s:010}");
        let nonce = u64::from_le_bytes(entropy.bytes()).to_string();
        let (sealed, signature) = seal_parts(
            &self.token,
            &self.key,
            &self.receive_id,
            echo.as_bytes(),
            &timestamp,
            &nonce,
            entropy,
        );
        let echostr = sealed.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let query =
            format!("msg_signature={signature}&timestamp={timestamp}&nonce={nonce}&echostr={echostr}");
        PlatformRequest { query, headers: Vec::new(), body: String::new() }
    }

    /// The plaintext of a sealed passive reply; `None` if the body is none.
    pub fn open_reply(&self, answer: &PlatformAnswer) -> Option<String> {
        let part = |open: &str, close: &str| {
            let (_, rest) = answer.body.split_once(open)?;
            rest.split_once(close).map(|(inside, _)| inside.to_owned())
        };
        let signature =
            part("<MsgSignature><![CDATA[", "]]>").or_else(|| part("\"msgsignature\":\"", "\""))?;
        let nonce = part("<Nonce><![CDATA[", "]]>").or_else(|| part("\"nonce\":\"", "\""))?;
        let timestamp = part("<TimeStamp>", "<").or_else(|| part("\"timestamp\":", ","))?;
        let query = format!("msg_signature={signature}&timestamp={timestamp}&nonce={nonce}");
        let sealed = SealedCallback::read(&query, answer.body.as_bytes(), &ReadLimits::WIDEST).ok()?;
        let ids = ReceiveIds::new(vec![self.receive_id.clone()]);
        let opened = sealed.verify(&self.token).ok()?.decrypt(&self.key, &ids).ok()?;
        String::from_utf8(opened.message.to_vec()).ok()
    }
}

/// Plain JSON signed with a robot's secret, as relays send it to the PMC service: HMAC-SHA1 over Token, timestamp,
/// nonce and body.
pub fn signed_json(
    secret: &str,
    token: &str,
    body: &str,
    now_s: i64,
    entropy: &Entropy,
) -> anyhow::Result<PlatformRequest> {
    let timestamp = format!("{now_s:010}");
    let nonce = u64::from_le_bytes(entropy.bytes()).to_string();
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes())?;
    for part in [token, &timestamp, &nonce, body] {
        mac.update(part.as_bytes());
    }
    let signature =
        mac.finalize().into_bytes().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let headers = vec![
        ("x-wechatwork-signature", signature),
        ("x-wechatwork-timestamp", timestamp),
        ("x-wechatwork-nonce", nonce),
    ];
    Ok(PlatformRequest { query: String::new(), headers, body: body.to_owned() })
}

/// The same text with another first character.
fn other_start(text: &str, [this, that]: [char; 2]) -> String {
    let mut characters = text.chars();
    let other = if characters.next() == Some(this) { that } else { this };
    std::iter::once(other).chain(characters).collect()
}

/// Makes the platform's requests.
#[derive(Clone, Debug)]
pub struct Caller {
    client: reqwest::Client,
    clock: Clock,
}

impl Caller {
    /// A caller with the platform's patience.
    pub fn new(clock: Clock) -> anyhow::Result<Self> {
        // Whoever installed a provider before keeps it.
        let _chosen_before = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(ANSWER_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self { client, clock })
    }

    /// Now, in whole seconds.
    pub fn now_s(&self) -> i64 {
        self.clock.wall_s()
    }

    /// Posts a callback to `url`.
    pub async fn post(&self, url: &str, request: PlatformRequest) -> anyhow::Result<PlatformAnswer> {
        let is_json = request.body.starts_with('{');
        let content_type = if is_json { "application/json" } else { "text/xml" };
        let mut call = self.client.post(with_query(url, &request.query)).header("content-type", content_type);
        for (name, value) in request.headers {
            call = call.header(name, value);
        }
        Self::answer(call.body(request.body)).await
    }

    /// Checks `url`.
    pub async fn get(&self, url: &str, request: PlatformRequest) -> anyhow::Result<PlatformAnswer> {
        Self::answer(self.client.get(with_query(url, &request.query))).await
    }

    async fn answer(call: reqwest::RequestBuilder) -> anyhow::Result<PlatformAnswer> {
        let answer = call.send().await.map_err(reqwest::Error::without_url)?;
        let http_status = answer.status().as_u16();
        let request_id =
            answer.headers().get("x-request-id").and_then(|id| Some(id.to_str().ok()?.to_owned()));
        let body = answer.text().await.map_err(reqwest::Error::without_url)?;
        Ok(PlatformAnswer { http_status, request_id, body })
    }
}

fn with_query(url: &str, query: &str) -> String {
    match (query.is_empty(), url.contains('?')) {
        (true, _) => url.to_owned(),
        (false, true) => format!("{url}&{query}"),
        (false, false) => format!("{url}?{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wecom::callback::Opened;
    use crate::wecom::refusal::Refusal;

    const KEY: &str = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C";

    fn open(request: &PlatformRequest) -> Result<Opened, Refusal> {
        let ids = ReceiveIds::new(vec!["ww1".to_owned()]);
        SealedCallback::read(&request.query, request.body.as_bytes(), &ReadLimits::WIDEST)?
            .verify(&Token::parse("QDG6eK").unwrap())?
            .decrypt(&EncodingAesKey::parse(KEY).unwrap(), &ids)
    }

    #[test]
    fn a_callback_opens_and_a_forged_one_does_not() {
        let platform = Platform::new("QDG6eK", KEY, "ww1").unwrap();
        let entropy = Entropy::seeded(3);
        let make = |format, forgery| platform.callback(b"<xml/>", format, 1_700_000_000, &entropy, forgery);
        for format in [Format::Xml, Format::Json] {
            assert_eq!(open(&make(format, None)).unwrap().message, b"<xml/>"[..]);
            for forgery in Forgery::value_variants() {
                let opened = open(&make(format, Some(*forgery)));
                // An old timestamp is signed right: only a clock can tell.
                assert_eq!(opened.is_ok(), *forgery == Forgery::Timestamp, "{forgery:?}");
            }
        }
    }

    #[test]
    fn the_query_is_added_to_what_the_url_has() {
        assert_eq!(with_query("http://h/p", "a=1"), "http://h/p?a=1");
        assert_eq!(with_query("http://h/p?x=y", "a=1"), "http://h/p?x=y&a=1");
        assert_eq!(with_query("http://h/p", ""), "http://h/p");
    }
}
