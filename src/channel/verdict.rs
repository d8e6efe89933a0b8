//! What an exchange with the platform's API came to. HTTP 200 means nothing: the verdict is `errcode`.

use bytes::Bytes;

use super::transport::Exchange;
use crate::domain::evidence::{TEXT_BYTES_MAX, cut};
use crate::domain::outcome::{Outcome, RetryCause, Try};
use crate::sabotage::{self, Protection};
use crate::wecom::api::answer::ApiAnswer;
use crate::wecom::errcode::{self, ErrcodeClass};

/// How long a target rests after 45009, "api freq out of limit": WeCom blocks by the minute.
pub(super) const REST_MS: i64 = 60_000;

/// How long it rests after other "too many" answers, which pass sooner.
pub(super) const SHORT_REST_MS: i64 = 5_000;

/// The address we came from is not on the app's list.
const NOT_ALLOWED_ADDRESS: i64 = 60020;

/// What an exchange came to, and the body of the answer if it was WeCom's.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) tried: Try,
    pub(super) class: Option<ErrcodeClass>,
    pub(super) body: Bytes,
}

/// Judges an exchange.
pub(super) fn judge(exchange: Exchange) -> Verdict {
    let nothing = |outcome, http_status: Option<u16>, why: String| Verdict {
        tried: Try {
            outcome,
            http_status: http_status.map(i64::from),
            errcode: None,
            error: Some(why),
            answer: None,
            response_code: None,
        },
        class: None,
        body: Bytes::new(),
    };
    let (http_status, retry_after_s, body) = match exchange {
        Exchange::NotSent { why } => {
            return nothing(Outcome::Retry { cause: RetryCause::NotSent, after_ms: None }, None, why);
        }
        Exchange::Lost { http_status, why } => return nothing(Outcome::Lost, http_status, why),
        Exchange::Answered { http_status, retry_after_s, body } => (http_status, retry_after_s, body),
    };
    let (outcome, class, errcode, error) = match http_status {
        200..=299 => read_body(&body),
        // A proxy between us and WeCom that passed nothing on.
        429 => {
            let after_ms = retry_after_s.map(|seconds| seconds.saturating_mul(1_000));
            (Outcome::Retry { cause: RetryCause::Busy, after_ms }, None, None, Some("HTTP 429".to_owned()))
        }
        408 | 500.. => (Outcome::Lost, None, None, Some(format!("HTTP {http_status}"))),
        _ => {
            let why = format!("HTTP {http_status}: that was not WeCom's API answering");
            (Outcome::Refused, None, None, Some(why))
        }
    };
    let shown = String::from_utf8_lossy(&body);
    let answer = Some(cut(&shown, TEXT_BYTES_MAX).to_owned());
    let http_status = Some(i64::from(http_status));
    Verdict { tried: Try { outcome, http_status, errcode, error, answer, response_code: None }, class, body }
}

/// The platform busy with itself: it does not say whether it had done the work before.
const SYSTEM_BUSY: i64 = -1;

/// The same where the platform would not know a repetition for one: then "busy" is no more than a lost answer, and
/// the message's policy decides.
pub(super) fn where_nothing_is_checked(mut tried: Try) -> Try {
    if tried.errcode == Some(SYSTEM_BUSY) {
        tried.outcome = Outcome::Lost;
    }
    tried
}

/// "Not granted": of a channel that people are sent to it is said of the whole app; of a call that asks for more than
/// that, perhaps of this call alone.
const NOT_GRANTED: [i64; 2] = [48001, 48002];

/// The same where it is said of this call alone, which is refused.
pub(super) fn where_a_grant_of_its_own_is_needed(mut tried: Try) -> Try {
    if tried.errcode.is_some_and(|code| NOT_GRANTED.contains(&code)) {
        tried.outcome = Outcome::Refused;
    }
    tried
}

fn read_body(body: &[u8]) -> (Outcome, Option<ErrcodeClass>, Option<i64>, Option<String>) {
    let Ok(answer) = ApiAnswer::parse(body) else {
        let is_page = body.trim_ascii_start().first() == Some(&b'<');
        return if is_page {
            let why = "a web page: that was not WeCom's API answering";
            (Outcome::Refused, None, None, Some(why.to_owned()))
        } else {
            (Outcome::Lost, None, None, Some("the answer has no errcode".to_owned()))
        };
    };
    let known = errcode::lookup(answer.errcode);
    let outcome = match known.class {
        ErrcodeClass::Ok => Outcome::Accepted { references: Vec::new(), refused: Vec::new() },
        ErrcodeClass::Retry => Outcome::Retry { cause: RetryCause::Busy, after_ms: None },
        ErrcodeClass::RateLimited if known.code == 45009 => Outcome::Wait { rest_ms: REST_MS },
        ErrcodeClass::RateLimited => Outcome::Wait { rest_ms: SHORT_REST_MS },
        ErrcodeClass::Permanent if known.stops_channel && !sabotage::off(Protection::ChannelHalt) => {
            Outcome::Halt { rest_ms: None }
        }
        ErrcodeClass::RefreshToken
        | ErrcodeClass::Permanent
        | ErrcodeClass::Recipient
        | ErrcodeClass::Unknown => Outcome::Refused,
    };
    let error = (known.class != ErrcodeClass::Ok).then(|| explained(&known, &answer));
    (outcome, Some(known.class), Some(answer.errcode), error)
}

/// The code, its meaning, and the platform's words, which hold the id its support asks for.
fn explained(known: &errcode::Errcode, answer: &ApiAnswer) -> String {
    let text = format!("errcode {}, {}; WeCom says: {}", known.code, known.meaning, answer.errmsg);
    match &answer.from_ip {
        Some(address) if known.code == NOT_ALLOWED_ADDRESS => {
            format!("{text} (put the address {address} on the app's list of trusted addresses)")
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::Ending;

    fn answered(http_status: u16, body: &str) -> Try {
        judge(Exchange::Answered { http_status, retry_after_s: Some(7), body: body.to_owned().into() }).tried
    }

    #[test]
    fn the_errcode_is_the_verdict() {
        for (code, ending) in [
            (0, Ending::Accepted),
            (-1, Ending::Busy),
            (45009, Ending::Limited),
            (45033, Ending::Limited),
            (93000, Ending::Halted),
            (60020, Ending::Halted),
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
        let not_sent = judge(Exchange::NotSent { why: "refused".to_owned() });
        assert_eq!(not_sent.tried.outcome.ending(), Ending::NotSent);
    }

    #[test]
    fn a_foreign_address_is_named_with_what_to_do() {
        let body = r#"{"errcode":60020,"errmsg":"not allow to access from your ip, hint: [17_abc], from ip: 203.0.113.7, more info at …"}"#;
        let error = answered(200, body).error.unwrap();
        assert!(error.contains("hint: [17_abc]"), "{error}");
        assert!(
            error.ends_with("(put the address 203.0.113.7 on the app's list of trusted addresses)"),
            "{error}"
        );
    }
}
