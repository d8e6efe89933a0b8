//! Faults on demand: what the fake platform does instead of what it should.

use serde::{Deserialize, Serialize};

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// Nothing: lets a request pass between two faults.
    None,
    /// Hangs up; the message is not shown to anybody.
    CloseBefore,
    /// Shows the message, then hangs up: the answer is lost.
    CloseAfter,
    /// Shows the message and answers with half of the answer.
    Truncate,
    /// Answers this HTTP status without showing the message.
    Http {
        /// 500, 502, 302, …
        status: u16,
    },
    /// Answers a web page, as a proxy would.
    Html,
    /// Answers right, but late.
    Slow {
        /// How late.
        delay_ms: u64,
    },
    /// Answers this errcode without showing the message: -1 is "busy".
    Errcode {
        /// The code.
        code: i64,
    },
}

/// A fault, on whom and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What goes wrong.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// Only for this robot or method; otherwise for whoever comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// For how many requests.
    #[serde(default = "once")]
    pub times: u32,
}

impl Fault {
    /// `kind` for the next `times` requests.
    pub fn times(kind: FaultKind, times: u32) -> Self {
        Self { kind, key: None, times }
    }

    /// The same, only for the robot or method `key`.
    pub fn of(key: &str, kind: FaultKind, times: u32) -> Self {
        Self { kind, key: Some(key.to_owned()), times }
    }
}

fn once() -> u32 {
    1
}

/// The faults still to come, in the order they were asked for.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn all(&self) -> &[Fault] {
        &self.0
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes the fault that was asked for `key` and nobody else.
    pub(super) fn take_named(&mut self, key: &str) -> Option<FaultKind> {
        self.take_first(|only| only == Some(key))
    }

    /// Takes the fault that a request to robot `key`, or a call of the method `key`, meets.
    pub(super) fn take(&mut self, key: &str) -> Option<FaultKind> {
        self.take_first(|only| only.is_none_or(|only| only == key))
    }

    fn take_first(&mut self, meets: impl Fn(Option<&str>) -> bool) -> Option<FaultKind> {
        let at = self.0.iter().position(|fault| meets(fault.key.as_deref()))?;
        let fault = self.0.get_mut(at)?;
        let kind = fault.kind.clone();
        fault.times = fault.times.saturating_sub(1);
        if fault.times == 0 {
            self.0.remove(at);
        }
        Some(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_met_in_order_by_those_they_are_meant_for() {
        let mut faults = Faults::default();
        faults.add(serde_json::from_str(r#"{"fault":"close_after","key":"a"}"#).unwrap());
        faults.add(serde_json::from_str(r#"{"fault":"http","status":500,"times":2}"#).unwrap());
        assert_eq!(faults.take("b"), Some(FaultKind::Http { status: 500 }));
        assert_eq!(faults.take("a"), Some(FaultKind::CloseAfter));
        assert_eq!(faults.take("a"), Some(FaultKind::Http { status: 500 }));
        assert_eq!(faults.take("a"), None);
    }
}
