//! Passive replies: the sealed body of the answer to a callback.

use crate::entropy::Entropy;
use crate::wecom::cipher;
use crate::wecom::keys::{EncodingAesKey, Token};
use crate::wecom::signature::Signature;

/// With what, and as which, a reply is sealed.
#[derive(Clone, Copy, Debug)]
pub struct ReplySeal<'a> {
    /// The Token of the callback's URL.
    pub token: &'a Token,
    /// The key of the callback's URL.
    pub key: &'a EncodingAesKey,
    /// The receive id the callback carried.
    pub receive_id: &'a str,
    /// Now, in seconds since 1970.
    pub timestamp_s: i64,
    /// The nonce of the callback; smart robots require the same.
    pub nonce: &'a str,
}

/// Seals `message` (an XML document) as the XML reply of an app or a group robot.
pub fn seal_xml(seal: &ReplySeal<'_>, message: &[u8], entropy: &Entropy) -> String {
    let (encrypt, signature, timestamp) = seal.apply(message, entropy);
    let nonce = seal.nonce;
    format!(
        "<xml><Encrypt><![CDATA[{encrypt}]]></Encrypt><MsgSignature><![CDATA[{signature}]]></MsgSignature>\
         <TimeStamp>{timestamp}</TimeStamp><Nonce><![CDATA[{nonce}]]></Nonce></xml>"
    )
}

/// Seals `message` (a JSON object) as the JSON reply of a smart robot.
pub fn seal_json(seal: &ReplySeal<'_>, message: &[u8], entropy: &Entropy) -> String {
    let (encrypt, signature, timestamp) = seal.apply(message, entropy);
    let nonce = serde_json::Value::from(seal.nonce);
    format!(
        "{{\"encrypt\":\"{encrypt}\",\"msgsignature\":\"{signature}\",\"timestamp\":{timestamp},\"nonce\":{nonce}}}"
    )
}

/// Seals and signs; the two values every sealed body is made of: ciphertext and signature. The platform's own
/// callbacks are made the same way.
pub fn seal_parts(
    token: &Token,
    key: &EncodingAesKey,
    receive_id: &str,
    message: &[u8],
    timestamp: &str,
    nonce: &str,
    entropy: &Entropy,
) -> (String, String) {
    let encrypt = cipher::seal(key, entropy.bytes(), message, receive_id);
    let signature = Signature::over(token, timestamp, nonce, &encrypt).to_hex();
    (encrypt, signature)
}

impl ReplySeal<'_> {
    /// Ciphertext, signature and timestamp.
    fn apply(&self, message: &[u8], entropy: &Entropy) -> (String, String, String) {
        let timestamp = self.timestamp_s.to_string();
        let (encrypt, signature) =
            seal_parts(self.token, self.key, self.receive_id, message, &timestamp, self.nonce, entropy);
        (encrypt, signature, timestamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wecom::callback::SealedCallback;
    use crate::wecom::keys::ReceiveIds;

    #[test]
    fn a_sealed_reply_opens_as_a_callback_does() {
        let token = Token::parse("QDG6eK").unwrap();
        let key = EncodingAesKey::parse("jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C").unwrap();
        let seal = ReplySeal {
            token: &token,
            key: &key,
            receive_id: "ww1",
            timestamp_s: 1_409_659_589,
            nonce: "n1",
        };
        let entropy = Entropy::seeded(1);
        let xml = seal_xml(&seal, "<xml>好</xml>".as_bytes(), &entropy);
        let json = seal_json(&seal, "<xml>好</xml>".as_bytes(), &entropy);
        let signature_in_xml = xml.split("MsgSignature><![CDATA[").nth(1).unwrap().split(']').next().unwrap();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_ne!(
            value["encrypt"],
            xml.split("CDATA[").nth(1).unwrap().split(']').next().unwrap(),
            "random bytes repeat"
        );
        for (body, signature) in [(&xml, signature_in_xml), (&json, value["msgsignature"].as_str().unwrap())]
        {
            let query = format!("msg_signature={signature}&timestamp=1409659589&nonce=n1");
            let opened =
                SealedCallback::read(&query, body.as_bytes(), &crate::wecom::limits::ReadLimits::DEFAULT)
                    .unwrap()
                    .verify(&token)
                    .unwrap()
                    .decrypt(&key, &ReceiveIds::new(vec!["ww1".into()]))
                    .unwrap();
            assert_eq!(opened.message, "<xml>好</xml>".as_bytes());
        }
    }
}
