//! What a broker is given, and what its answers come to.

use crate::domain::evidence::cut;
use crate::domain::outcome::{Outcome, RetryCause, Try};
use crate::endpoint::payload::Body;

/// Longest text of an error that is kept, in bytes.
const ERROR_BYTES_MAX: usize = 1_000;

/// One event for a broker.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'p> {
    /// Its id.
    pub id: &'p str,
    /// What happened.
    pub kind: &'p str,
    /// The channel it came in through.
    pub source: &'p str,
    /// The body.
    pub body: &'p Body,
    /// The form of the body.
    pub version: i64,
    /// 0, or the number of a replay.
    pub run: i64,
    /// When the event was accepted, wall ms.
    pub accepted_ms: i64,
}

/// The broker has it, and says so with `answer`.
pub(super) fn taken(answer: String) -> Try {
    Try {
        outcome: Outcome::Accepted { references: Vec::new(), refused: Vec::new() },
        http_status: None,
        errcode: None,
        error: None,
        answer: Some(answer),
        response_code: None,
    }
}

/// Nothing was sent.
pub(super) fn not_sent(why: &str) -> Try {
    failed(Outcome::Retry { cause: RetryCause::NotSent, after_ms: None }, why)
}

/// The broker cannot now.
pub(super) fn busy(why: &str) -> Try {
    failed(Outcome::Retry { cause: RetryCause::Busy, after_ms: None }, why)
}

/// The broker answered that it does not take it.
pub(super) fn refused(why: &str) -> Try {
    failed(Outcome::Retry { cause: RetryCause::Failed, after_ms: None }, why)
}

/// It was sent, and whether it arrived is not known.
pub(super) fn lost(why: &str) -> Try {
    failed(Outcome::Lost, why)
}

fn failed(outcome: Outcome, why: &str) -> Try {
    Try {
        outcome,
        http_status: None,
        errcode: None,
        error: Some(cut(why, ERROR_BYTES_MAX).to_owned()),
        answer: None,
        response_code: None,
    }
}
