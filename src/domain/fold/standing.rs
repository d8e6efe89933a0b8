//! Where one subject stands: the highest of what counts, and what of it is shown.

use crate::domain::status::Status;

use super::said::{Mark, Said};

/// Where one person, or the message as a whole, stands.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// What is shown.
    pub(super) shown: Status,
    /// The highest rank apart from a recall.
    pub(super) beneath: Status,
    /// All that counts, recalls included.
    marks: Vec<(Status, Mark)>,
}

impl Standing {
    /// What follows from what is said of the person and of the whole message.
    ///
    /// A `delivered` or `read` of the whole message does not lift a person who is known to have failed.
    pub(super) fn of(own: &Said, whole: &Said, base_generation: i64) -> Self {
        let generation = own.generation().map_or(base_generation, |of| of.max(base_generation));
        let own: Vec<(Status, &Mark)> = own.counted(generation).collect();
        let best_of_own = own.iter().map(|(status, _)| *status).filter(|s| *s != Status::Recalled).max();
        let marks: Vec<(Status, Mark)> = whole
            .counted(generation)
            .filter(|(status, _)| {
                best_of_own != Some(Status::Failed) || !matches!(status, Status::Delivered | Status::Read)
            })
            .chain(own.iter().copied())
            .map(|(status, mark)| (status, mark.clone()))
            .collect();
        let said = |status: &Status| marks.iter().any(|(of, _)| of == status);
        let beneath = marks
            .iter()
            .map(|(status, _)| *status)
            .filter(|status| *status != Status::Recalled)
            .max()
            .unwrap_or(Status::Pending);
        let reached = matches!(beneath, Status::Sent | Status::Delivered | Status::Read);
        let shown = if reached && said(&Status::Recalled) { Status::Recalled } else { beneath };
        Self { shown, beneath, marks }
    }

    /// What a recall covers here.
    pub(super) fn covered(&self) -> Option<Status> {
        (self.shown == Status::Recalled).then_some(self.beneath)
    }

    /// Since when the subject has been at `status` or, on the way to the reader, past it.
    pub(super) fn since(&self, status: Status) -> i64 {
        let first = |wanted: &dyn Fn(Status) -> bool| {
            self.marks.iter().filter(|(of, _)| wanted(*of)).map(|(_, mark)| mark.at_ms).min()
        };
        let at = match status {
            Status::Failed => first(&|of| of == Status::Failed),
            // A recall that became known before the sending took effect with the sending.
            Status::Recalled => first(&|of| of == Status::Recalled)
                .max(first(&|of| matches!(of, Status::Sent | Status::Delivered | Status::Read))),
            _ => first(&|of| of >= status && of != Status::Failed && of != Status::Recalled),
        };
        at.unwrap_or(0)
    }

    /// The evidence of a status that needs a reason.
    pub(super) fn reason(&self, status: Status) -> Option<&Mark> {
        if !matches!(status, Status::Failed | Status::Uncertain | Status::Expired) {
            return None;
        }
        self.marks
            .iter()
            .filter(|(of, _)| *of == status)
            .map(|(_, mark)| mark)
            .min_by_key(|mark| (mark.at_ms, mark.id.clone()))
    }
}
