//! The answer of every WeCom API: HTTP 200 says nothing, `errcode` says all.

use serde::Deserialize;

/// What the platform answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiAnswer {
    /// 0 for success; see [`crate::wecom::errcode`].
    pub errcode: i64,
    /// The platform's text, without promise about its form.
    pub errmsg: String,
    /// The id its support asks for (`hint: [...]`).
    pub hint: Option<String>,
    /// The address the platform saw us come from (`from ip: ...`): the one to put on its allow list.
    pub from_ip: Option<String>,
}

/// Bytes that are no answer of the API: a proxy's page, a cut body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is no JSON object with an `errcode`")]
pub struct NoAnswer;

impl ApiAnswer {
    /// Reads the body of an answer.
    ///
    /// # Errors
    /// It is not an answer of the API.
    pub fn parse(body: &[u8]) -> Result<Self, NoAnswer> {
        #[derive(Deserialize)]
        struct Wire {
            errcode: i64,
            #[serde(default)]
            errmsg: String,
        }
        let Wire { errcode, errmsg } = serde_json::from_slice(body).map_err(|_not_json| NoAnswer)?;
        let hint = between(&errmsg, "hint: [", "]");
        let from_ip = between(&errmsg, "from ip: ", ",");
        Ok(Self { errcode, errmsg, hint, from_ip })
    }
}

/// What stands behind `begin`, up to `end` or the end.
fn between(text: &str, begin: &str, end: &str) -> Option<String> {
    let (_, rest) = text.split_once(begin)?;
    let found = rest.split(end).next().unwrap_or(rest).trim();
    (!found.is_empty()).then(|| found.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hint_and_address_are_taken_out_of_the_text() {
        let body = br#"{"errcode":60020,"errmsg":"not allow to access from your ip, hint: [1700000000_1_abc], from ip: 203.0.113.7, more info at https://open.work.weixin.qq.com/devtool/query?e=60020"}"#;
        let answer = ApiAnswer::parse(body).unwrap();
        assert_eq!(answer.errcode, 60020);
        assert_eq!(answer.hint.as_deref(), Some("1700000000_1_abc"));
        assert_eq!(answer.from_ip.as_deref(), Some("203.0.113.7"));
        let ok = ApiAnswer::parse(br#"{"errcode":0,"errmsg":"ok"}"#).unwrap();
        assert_eq!((ok.errcode, ok.hint, ok.from_ip), (0, None, None));
    }

    #[test]
    fn other_bodies_are_no_answer() {
        for body in
            [&b""[..], b"<html>", b"{}", b"{\"errmsg\":\"ok\"}", b"{\"errcode\":\"0\"}", b"{\"errcode\":0"]
        {
            assert_eq!(ApiAnswer::parse(body), Err(NoAnswer));
        }
    }
}
