//! Why a callback was refused: for the operator in full, for the stranger only a status.

use crate::wecom::keys::ReceiveIds;

/// The step of the way in at which a callback failed; a later one compares greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// No source listens at this address.
    Route,
    /// A query parameter or header is missing, doubled, too long or not decodable.
    Parameter,
    /// The body is no envelope, or holds a DTD.
    Body,
    /// The nonce holds something other than 1 to 64 letters, digits, `_` and `-`.
    Nonce,
    /// The ciphertext is not canonical base64.
    Base64,
    /// The signature is of another token, or of other bytes.
    Signature,
    /// The timestamp is not 10 digits, or lies outside the window.
    Timestamp,
    /// A length is wrong: of the ciphertext, or of the message in it.
    Length,
    /// The padding is wrong: usually another `EncodingAESKey`.
    Padding,
    /// The receive id behind the message is not one of this source's.
    ReceiveId,
    /// The message is for another app.
    Agent,
    /// Several sources share the address and the callback fits more than one.
    Ambiguous,
}

impl Step {
    /// Every step, in the order in which they are met.
    pub const ALL: [Self; 12] = [
        Self::Route,
        Self::Parameter,
        Self::Body,
        Self::Nonce,
        Self::Base64,
        Self::Signature,
        Self::Timestamp,
        Self::Length,
        Self::Padding,
        Self::ReceiveId,
        Self::Agent,
        Self::Ambiguous,
    ];

    /// The word in records, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Parameter => "parameter",
            Self::Body => "body",
            Self::Timestamp => "timestamp",
            Self::Nonce => "nonce",
            Self::Base64 => "base64",
            Self::Signature => "signature",
            Self::Length => "length",
            Self::Padding => "padding",
            Self::ReceiveId => "receive_id",
            Self::Agent => "agent",
            Self::Ambiguous => "ambiguous",
        }
    }

    /// Reads [`Step::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.as_str() == text)
    }

    /// The HTTP status a stranger sees. From the signature on, and for every form that guards it, there is one
    /// answer only, so that nobody can ask the gateway about keys, paddings or corp ids.
    pub fn status(self) -> u16 {
        match self {
            Self::Route => 404,
            Self::Parameter | Self::Body => 400,
            Self::Timestamp
            | Self::Nonce
            | Self::Base64
            | Self::Signature
            | Self::Length
            | Self::Padding
            | Self::ReceiveId
            | Self::Agent
            | Self::Ambiguous => 403,
        }
    }
}

/// A refused callback, explained to the operator. Holds no secret, and never leaves through the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where it failed.
    pub step: Step,
    /// What was wrong and, where it is known, what to look at. At most a few hundred bytes.
    pub detail: String,
    /// With [`Step::ReceiveId`]: what is configured.
    pub expected_receive_id: Option<String>,
    /// With [`Step::ReceiveId`]: what the message carried.
    pub found_receive_id: Option<String>,
}

impl Refusal {
    /// Longest text taken over from a request, in bytes.
    const QUOTE_BYTES_MAX: usize = 80;

    /// A refusal at `step`.
    pub fn new(step: Step, detail: impl Into<String>) -> Self {
        Self { step, detail: detail.into(), expected_receive_id: None, found_receive_id: None }
    }

    /// The message decrypts, but was sealed for somebody else.
    pub fn receive_id(expected: &ReceiveIds, found: &str) -> Self {
        let expected = expected.to_string();
        let found = quote(found);
        Self {
            step: Step::ReceiveId,
            detail: format!("the message is for receive id \"{found}\", this source accepts \"{expected}\""),
            expected_receive_id: Some(expected),
            found_receive_id: Some(found),
        }
    }
}

/// `text` for a record: cut, and with control characters replaced.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if out.len() + c.len_utf8() > Refusal::QUOTE_BYTES_MAX {
            out.push('…');
            break;
        }
        out.push(if c.is_control() { '\u{FFFD}' } else { c });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_read_back() {
        for step in Step::ALL {
            assert_eq!(Step::parse(step.as_str()), Some(step));
            assert!([400, 403, 404].contains(&step.status()));
        }
        assert_eq!(Step::parse("other"), None);
    }

    #[test]
    fn quotes_are_short_and_harmless() {
        assert_eq!(quote("ww1\r\nx"), "ww1\u{FFFD}\u{FFFD}x");
        assert!(quote(&"图".repeat(1000)).len() <= Refusal::QUOTE_BYTES_MAX + '…'.len_utf8());
    }
}
