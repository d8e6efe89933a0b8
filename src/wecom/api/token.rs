//! The answer of `gettoken`.

use serde::Deserialize;

use super::answer::NoAnswer;
use crate::secret::Secret;

/// Longest token that is taken for one; the platform promises 512 bytes.
const TOKEN_BYTES_MAX: usize = 2_048;

/// What `gettoken` gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreshToken {
    /// Goes into the query of every call.
    pub token: Secret,
    /// How long it is good for, in seconds, unless the platform ends it early.
    pub expires_s: i64,
}

impl FreshToken {
    /// Reads the body of an answer whose errcode is 0.
    ///
    /// # Errors
    /// There is no token in it.
    pub fn parse(body: &[u8]) -> Result<Self, NoAnswer> {
        #[derive(Deserialize)]
        struct Wire {
            access_token: String,
            #[serde(default)]
            expires_in: i64,
        }
        let Wire { access_token, expires_in } = serde_json::from_slice(body).map_err(|_not_json| NoAnswer)?;
        let is_token = (1..=TOKEN_BYTES_MAX).contains(&access_token.len())
            && access_token.bytes().all(|b| b.is_ascii_graphic());
        if is_token {
            Ok(Self { token: Secret::new(access_token), expires_s: expires_in.max(0) })
        } else {
            Err(NoAnswer)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_and_anything_else_is_not() {
        let fresh = FreshToken::parse(br#"{"errcode":0,"access_token":"abc","expires_in":7200}"#).unwrap();
        assert!(fresh.token.matches("abc") && fresh.expires_s == 7200);
        for body in [&b"{}"[..], b"{\"access_token\":\"\"}", b"{\"access_token\":\"a b\"}", b"<html>"] {
            assert_eq!(FreshToken::parse(body), Err(NoAnswer));
        }
    }
}
