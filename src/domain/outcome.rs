//! What one try of a delivery came to, whatever it goes to.
//!
//! Channels and endpoints translate their protocol into these words; what follows from them is decided in
//! [`crate::domain::retry`].

use crate::domain::delivery::Attempt;
use crate::secret::Secret;

/// What one try came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The other side took it.
    Accepted {
        /// Ids the other side gave the message (msgid): evidence may come under them.
        references: Vec<String>,
        /// The recipients it did not take.
        refused: Vec<RefusedRecipient>,
    },
    /// Refused for good.
    Refused,
    /// Not taken, and it may be tried again.
    Retry {
        /// Why not.
        cause: RetryCause,
        /// What the other side asked us to wait at least.
        after_ms: Option<i64>,
    },
    /// Too many for now: the whole target rests. Does not count as a try.
    Wait {
        /// For how long.
        rest_ms: i64,
    },
    /// Nothing can be sent through the channel until somebody mends it: it halts, and what was to be sent waits.
    Halt {
        /// For how long, where that is known.
        rest_ms: Option<i64>,
    },
    /// The request left and the answer did not come, or says nothing: perhaps taken.
    Lost,
}

/// Why something may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryCause {
    /// Nothing was sent: no address, no connection, no TLS.
    NotSent,
    /// The other side answered that it cannot now.
    Busy,
    /// The other side answered something else than success.
    Failed,
}

/// A recipient whom the other side named as not reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRecipient {
    /// As the other side spells it.
    pub recipient: String,
    /// Its code.
    pub code: i64,
    /// Its meaning.
    pub text: String,
}

/// One try: what it came to and what is worth keeping of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Try {
    /// What it came to.
    pub outcome: Outcome,
    /// HTTP status, if there was an answer.
    pub http_status: Option<i64>,
    /// WeCom's errcode, if the answer had one.
    pub errcode: Option<i64>,
    /// What went wrong, for people; never a secret.
    pub error: Option<String>,
    /// The first bytes of the answer.
    pub answer: Option<String>,
    /// What an interactive card can be changed with, once.
    pub response_code: Option<Secret>,
}

/// How a try ended, as one word: what metrics count and an attempt's error begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Taken.
    Accepted,
    /// Refused for good.
    Refused,
    /// Never left.
    NotSent,
    /// The other side cannot now.
    Busy,
    /// Too many for now.
    Limited,
    /// Nothing can be sent until somebody mends it.
    Halted,
    /// The answer did not come.
    AnswerLost,
    /// Answered, but not with success.
    Failed,
}

impl Ending {
    /// Every ending.
    pub const ALL: [Self; 8] = [
        Self::Accepted,
        Self::Refused,
        Self::NotSent,
        Self::Busy,
        Self::Limited,
        Self::Halted,
        Self::AnswerLost,
        Self::Failed,
    ];

    /// The words in attempts and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::NotSent => "not sent",
            Self::Busy => "busy",
            Self::Limited => "limited",
            Self::Halted => "halted",
            Self::AnswerLost => "answer lost",
            Self::Failed => "failed",
        }
    }

    /// Reads it back from a stored attempt.
    pub fn of(attempt: &Attempt) -> Self {
        Self::of_error(attempt.error.as_deref())
    }

    /// The same from its error.
    pub fn of_error(error: Option<&str>) -> Self {
        let Some(error) = error else { return Self::Accepted };
        let word = error.split_once(':').map_or(error, |(word, _)| word);
        Self::ALL.into_iter().find(|ending| ending.as_str() == word).unwrap_or(Self::Refused)
    }
}

impl Outcome {
    /// The word for it.
    pub fn ending(&self) -> Ending {
        match self {
            Self::Accepted { .. } => Ending::Accepted,
            Self::Refused => Ending::Refused,
            Self::Retry { cause: RetryCause::NotSent, .. } => Ending::NotSent,
            Self::Retry { cause: RetryCause::Busy, .. } => Ending::Busy,
            Self::Retry { cause: RetryCause::Failed, .. } => Ending::Failed,
            Self::Wait { .. } => Ending::Limited,
            Self::Halt { .. } => Ending::Halted,
            Self::Lost => Ending::AnswerLost,
        }
    }
}

impl Try {
    /// The attempt to record: number `number`, begun at `at_ms` (wall).
    pub fn attempt(&self, number: i64, at_ms: i64, duration_ms: i64) -> Attempt {
        let ending = self.outcome.ending();
        let error = match (&self.error, ending) {
            (None, Ending::Accepted) => None,
            (None, _) => Some(ending.as_str().to_owned()),
            (Some(text), _) => Some(format!("{}: {text}", ending.as_str())),
        };
        Attempt {
            number,
            at_ms,
            duration_ms,
            http_status: self.http_status,
            errcode: self.errcode,
            error,
            answer: self.answer.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_reads_back_from_the_attempt_it_made() {
        let outcomes = [
            Outcome::Accepted { references: Vec::new(), refused: Vec::new() },
            Outcome::Refused,
            Outcome::Retry { cause: RetryCause::NotSent, after_ms: None },
            Outcome::Retry { cause: RetryCause::Busy, after_ms: Some(5) },
            Outcome::Retry { cause: RetryCause::Failed, after_ms: None },
            Outcome::Wait { rest_ms: 60_000 },
            Outcome::Lost,
        ];
        for outcome in outcomes {
            let ending = outcome.ending();
            for error in [None, Some("reset: by peer".to_owned())] {
                if ending == Ending::Accepted && error.is_some() {
                    continue;
                }
                let tried = Try {
                    outcome: outcome.clone(),
                    http_status: None,
                    errcode: None,
                    error,
                    answer: None,
                    response_code: None,
                };
                assert_eq!(Ending::of(&tried.attempt(1, 0, 0)), ending);
            }
        }
    }
}
