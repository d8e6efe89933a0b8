//! Whether a channel goes on: it halts when the platform says that nothing can be sent until somebody mends it.
//!
//! A key that is not one, an app that was disabled, an address that is not trusted: what one message is told, the next
//! would be told too. So they all wait, and after a rest one of them is the probe. A configuration that is read again
//! makes a new gate, which is open: somebody may have mended what was wrong.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::breaker::{Breaker, RestRule};
use crate::domain::outcome::{Outcome, Try};

/// The gate of one channel.
#[derive(Debug)]
pub struct ChannelGate {
    channel: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    breaker: Breaker,
    reason: Option<String>,
}

/// Why nothing leaves through a channel, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halt {
    /// In the platform's words and ours.
    pub reason: String,
    /// When the next message is tried, steady ms; `None`: it is on its way.
    pub until_ms: Option<i64>,
}

/// Leave to send one message. Dropped without [`Passage::settle`], nothing was sent.
#[derive(Debug)]
pub struct Passage {
    gate: Arc<ChannelGate>,
    is_probe: bool,
}

impl ChannelGate {
    /// An open one.
    pub fn new(channel: String) -> Self {
        let breaker = Breaker::new(RestRule::CHANNEL);
        Self { channel, state: Mutex::new(State { breaker, reason: None }) }
    }

    /// When the next message may leave, steady ms: `i64::MIN` if at once, `i64::MAX` if the probe has to come back.
    pub fn ready_at_ms(&self) -> i64 {
        self.state().breaker.ready_at()
    }

    /// Lets one message through.
    pub fn pass(self: &Arc<Self>) -> Passage {
        let mut state = self.state();
        state.breaker.begin();
        Passage { gate: Arc::clone(self), is_probe: state.breaker.is_open() }
    }

    /// Why nothing leaves; `None`: it goes on.
    pub fn halt(&self) -> Option<Halt> {
        let state = self.state();
        let reason = state.reason.clone()?;
        let ready_at_ms = state.breaker.ready_at();
        Some(Halt { reason, until_ms: (ready_at_ms < i64::MAX).then_some(ready_at_ms) })
    }

    /// The platform refused the channel at `now_ms`.
    fn close(&self, is_probe: bool, tried: &Try, rest_ms: Option<i64>, now_ms: i64) {
        let mut state = self.state();
        if state.breaker.is_open() && !is_probe {
            return; // It was on its way before the halt.
        }
        state.breaker.failed_for(now_ms, rest_ms);
        let reason = tried.error.clone().unwrap_or_else(|| "the platform refuses the channel".to_owned());
        let again_in_s = state.breaker.ready_at().saturating_sub(now_ms) / 1_000;
        state.reason = Some(reason.clone());
        drop(state);
        tracing::error!(
            channel = self.channel,
            error = reason,
            again_in_s,
            "the channel halts: messages wait until somebody mends it; a reload tries at once"
        );
    }

    fn open(&self) {
        let mut state = self.state();
        state.breaker.succeeded();
        if state.reason.take().is_some() {
            drop(state);
            tracing::info!(channel = self.channel, "the channel goes on");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one call, so a panic elsewhere has not spoiled it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Passage {
    /// What became of the message at `now_ms` (steady).
    pub fn settle(self, tried: &Try, now_ms: i64) {
        match &tried.outcome {
            Outcome::Halt { rest_ms } => self.gate.close(self.is_probe, tried, *rest_ms, now_ms),
            Outcome::Accepted { .. } => self.gate.open(),
            // The platform judged the message, so it took the channel.
            Outcome::Refused if tried.errcode.is_some() => self.gate.open(),
            // These say nothing of the channel: the next message is the probe.
            Outcome::Refused | Outcome::Retry { .. } | Outcome::Wait { .. } | Outcome::Lost => {}
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if self.is_probe {
            // Without effect once it is settled: the rest has its time, or is over.
            self.gate.state().breaker.cancelled();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::RetryCause;

    fn tried(outcome: Outcome, errcode: Option<i64>) -> Try {
        Try {
            outcome,
            http_status: Some(200),
            errcode,
            error: errcode.map(|code| format!("errcode {code}")),
            answer: None,
            response_code: None,
        }
    }

    fn halted() -> Try {
        tried(Outcome::Halt { rest_ms: None }, Some(60020))
    }

    #[test]
    fn one_refusal_halts_all_and_one_probe_at_a_time_asks_again() {
        let gate = Arc::new(ChannelGate::new("app".to_owned()));
        let (first, late, later) = (gate.pass(), gate.pass(), gate.pass());
        first.settle(&halted(), 0);
        assert_eq!(gate.ready_at_ms(), 60_000);
        late.settle(&halted(), 50);
        assert_eq!(gate.ready_at_ms(), 60_000, "it was on its way before");
        drop(later);
        assert_eq!(gate.halt(), Some(Halt { reason: "errcode 60020".to_owned(), until_ms: Some(60_000) }));

        let probe = gate.pass();
        assert_eq!((gate.ready_at_ms(), gate.halt().and_then(|halt| halt.until_ms)), (i64::MAX, None));
        drop(probe);
        assert_eq!(gate.ready_at_ms(), 60_000, "it never left");
        gate.pass().settle(&halted(), 60_000);
        assert_eq!(gate.ready_at_ms(), 180_000, "the rest doubles");
        gate.pass()
            .settle(&tried(Outcome::Retry { cause: RetryCause::NotSent, after_ms: None }, None), 180_000);
        assert_eq!(gate.ready_at_ms(), 180_000, "that says nothing of the channel");
        gate.pass().settle(&tried(Outcome::Refused, Some(81013)), 180_001);
        assert_eq!((gate.ready_at_ms(), gate.halt()), (i64::MIN, None), "the platform judged the message");
    }

    #[test]
    fn who_knows_how_long_is_believed() {
        let gate = Arc::new(ChannelGate::new("app".to_owned()));
        gate.pass().settle(&tried(Outcome::Halt { rest_ms: Some(5) }, Some(40001)), 100);
        assert_eq!(gate.ready_at_ms(), 105);
        gate.pass()
            .settle(&tried(Outcome::Accepted { references: Vec::new(), refused: Vec::new() }, Some(0)), 105);
        assert_eq!(gate.ready_at_ms(), i64::MIN);
    }
}
