//! What an Official Account says of messages that were sent through it.
//!
//! Unlike WeCom it tells what arrived: `TEMPLATESENDJOBFINISH` and `subscribe_msg_sent_event` of one follower,
//! `MASSSENDJOBFINISH` of all. Source: developers.weixin.qq.com/doc/offiaccount, "事件推送群发结果", "模版消息发送任务完成",
//! "订阅通知发送事件".

use crate::domain::event::{JobResult, Meaning};
use crate::domain::status::Status;
use crate::wecom::event::fields::{Fields, Job};

/// The meaning of one of these events; `None`: `fields` are another event.
pub(super) fn meaning(fields: &Fields<'_>) -> Option<Meaning> {
    let (results, of_person) = match fields.event.as_ref() {
        "TEMPLATESENDJOBFINISH" => (vec![of_template(fields)], true),
        "MASSSENDJOBFINISH" => (vec![of_mass(fields)], false),
        "subscribe_msg_sent_event" => (fields.jobs.iter().map(of_subscription).collect(), true),
        _ => return None,
    };
    Some(Meaning::JobResult { results, of_person })
}

/// `success`, or `failed:` and why.
fn of_template(fields: &Fields<'_>) -> JobResult {
    let status = fields.job_status.as_ref();
    let why = status.strip_prefix("failed:").unwrap_or(status).trim();
    result(&fields.message_id, status == "success", None, why)
}

/// `send success`, `send fail` or `err(CODE)`; the counts say how many were reached.
fn of_mass(fields: &Fields<'_>) -> JobResult {
    let status = fields.job_status.as_ref();
    let code = status.strip_prefix("err(").and_then(|rest| rest.strip_suffix(')'));
    let code = code.and_then(|digits| digits.parse().ok());
    if status != "send success" {
        return result(&fields.message_id, false, code, status);
    }
    let Fields { total_count, sent_count, error_count, .. } = fields;
    let reached = format!("{sent_count} of {total_count} reached, {error_count} failed");
    JobResult { text: Some(reached), ..result(&fields.message_id, true, None, "") }
}

fn of_subscription(job: &Job<'_>) -> JobResult {
    let code = job.error_code.parse().ok().filter(|code| *code != 0);
    result(&job.message_id, job.error_code == "0", code, &job.error_status)
}

fn result(reference: &str, succeeded: bool, code: Option<i64>, why: &str) -> JobResult {
    JobResult {
        reference: reference.to_owned(),
        status: if succeeded { Status::Delivered } else { Status::Failed },
        code,
        text: (!succeeded && !why.is_empty()).then(|| why.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wecom::event::read;
    use crate::wecom::limits::ReadLimits;

    /// Status, code and text of each result, and whether they speak of a person.
    fn told(event: &str, rest: &str) -> (Vec<(Status, Option<i64>, String)>, bool) {
        let xml = format!("<xml><MsgType>event</MsgType><Event>{event}</Event><MsgID>7</MsgID>{rest}</xml>");
        match read(xml.as_bytes(), &ReadLimits::DEFAULT).meaning {
            Meaning::JobResult { results, of_person } => {
                let told = |one: JobResult| (one.status, one.code, one.text.unwrap_or_default());
                (results.into_iter().map(told).collect(), of_person)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_documented_ending_is_understood() {
        let status =
            |event: &str, status: &str| told(event, &format!("<Status>{status}</Status>")).0.remove(0);
        let template = |text: &str| status("TEMPLATESENDJOBFINISH", text);
        assert_eq!(template("success"), (Status::Delivered, None, String::new()));
        assert_eq!(template("failed:user block"), (Status::Failed, None, "user block".to_owned()));
        assert_eq!(template("failed: system failed"), (Status::Failed, None, "system failed".to_owned()));
        let mass = |text: &str| status("MASSSENDJOBFINISH", text);
        assert_eq!(mass("send fail"), (Status::Failed, None, "send fail".to_owned()));
        for code in [10_001, 20_001, 20_013, 30_003, 40_002] {
            let text = format!("err({code})");
            assert_eq!(mass(&text), (Status::Failed, Some(code), text));
        }
        let counted = "<Status>send success</Status><TotalCount>100</TotalCount><SentCount>75</SentCount>\
                       <ErrorCount>5</ErrorCount>";
        let (results, of_person) = told("MASSSENDJOBFINISH", counted);
        assert_eq!(results, [(Status::Delivered, None, "75 of 100 reached, 5 failed".to_owned())]);
        assert!(!of_person);
    }

    #[test]
    fn each_message_of_a_list_has_its_own_result() {
        let list = "<SubscribeMsgSentEvent>\
            <List><MsgID>1</MsgID><ErrorCode>0</ErrorCode><ErrorStatus>success</ErrorStatus></List>\
            <List><MsgID>2</MsgID><ErrorCode>20003</ErrorCode><ErrorStatus>user refused</ErrorStatus></List>\
            <List/></SubscribeMsgSentEvent>";
        let (results, of_person) = told("subscribe_msg_sent_event", list);
        assert!(of_person);
        assert_eq!(results[0], (Status::Delivered, None, String::new()));
        assert_eq!(results[1], (Status::Failed, Some(20_003), "user refused".to_owned()));
        assert_eq!(results[2].0, Status::Failed, "and no reference, so no evidence");
    }
}
