//! Sealing as the platform does it, for commands that play its part.

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::wecom::keys::{EncodingAesKey, Token};
use crate::wecom::reply;

/// A message as the platform would send it.
pub struct Sealed {
    /// `msg_signature=…&timestamp=…&nonce=…`
    pub query: String,
    /// The ciphertext, in base64.
    pub encrypt: String,
}

impl Sealed {
    /// Seals `message` for `receive_id`, signed now with a fresh nonce.
    pub fn new(
        token: &Token,
        key: &EncodingAesKey,
        receive_id: &str,
        message: &[u8],
        clock: &Clock,
        entropy: &Entropy,
    ) -> Self {
        let timestamp = clock.wall_s().to_string();
        let nonce = u32::from_le_bytes(entropy.bytes()).to_string();
        let (encrypt, signature) =
            reply::seal_parts(token, key, receive_id, message, &timestamp, &nonce, entropy);
        let query = format!("msg_signature={signature}&timestamp={timestamp}&nonce={nonce}");
        Self { query, encrypt }
    }

    /// The query of a URL verification whose plaintext is the message.
    pub fn url_check_query(&self) -> String {
        let encoded = self.encrypt.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        format!("{}&echostr={encoded}", self.query)
    }

    /// The body of a callback in XML.
    pub fn xml(&self) -> String {
        format!("<xml><Encrypt><![CDATA[{}]]></Encrypt></xml>", self.encrypt)
    }
}
