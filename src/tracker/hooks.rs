//! What metrics, and a program that embeds the gateway, are told as messages move.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::domain::fold::{HistoryEntry, InteractionEntry, Tracked};

/// Called for each new fact about a status, with the status of the whole message that follows.
pub type StatusHook = Box<dyn Fn(&HistoryEntry, &Tracked) + Send + Sync>;

/// Called for each new interaction.
pub type InteractionHook = Box<dyn Fn(&InteractionEntry) + Send + Sync>;

/// The hooks of one program. They run in the follower, after the commit: they must not block, and after a crash
/// some calls may be missing. What must not be missed is delivered to an endpoint instead.
#[derive(Default)]
pub struct Hooks {
    /// See [`StatusHook`].
    pub on_status: Vec<StatusHook>,
    /// See [`InteractionHook`].
    pub on_interaction: Vec<InteractionHook>,
}

impl Hooks {
    pub(super) fn status(&self, entry: &HistoryEntry, tracked: &Tracked) {
        for hook in &self.on_status {
            guarded(|| hook(entry, tracked));
        }
    }

    pub(super) fn interaction(&self, entry: &InteractionEntry) {
        for hook in &self.on_interaction {
            guarded(|| hook(entry));
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("on_status", &self.on_status.len())
            .field("on_interaction", &self.on_interaction.len())
            .finish()
    }
}

/// A hook that panics must not end the follower.
fn guarded(call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        tracing::error!("a status or interaction hook panicked");
    }
}
