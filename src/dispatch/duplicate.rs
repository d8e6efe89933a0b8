//! Whether a message whose answer was lost may still be sent again.
//!
//! An app's message is, because the platform knows a repetition by its bytes, but only for as long as the message
//! itself asked it to. After that a repetition would be shown a second time.

use super::Shared;
use super::queue::Waiting;
use super::target::{Target, TargetKind};
use crate::domain::message::Message;
use crate::domain::outcome::Ending;
use crate::domain::retry::Tries;
use crate::sabotage::{self, Protection};
use crate::store::StoreError;
use crate::wecom::api::app::duplicate_check_s;

/// How much of the platform's interval is left unused: its clock is not ours, and the request takes a while.
const MARGIN_MS: i64 = 60_000;

/// Whether sending `message` again cannot show it twice, or the sender said that this does not matter.
pub(super) async fn may_repeat(
    shared: &Shared,
    target: &Target,
    waiting: &Waiting,
    message: &Message,
    tries: &Tries,
) -> Result<bool, StoreError> {
    if tries.lost == 0
        || !matches!(target.kind, TargetKind::App(_))
        || sabotage::off(Protection::DuplicateWindow)
    {
        return Ok(true);
    }
    // Without the platform's check it is only sent again if its sender asked for at-least-once.
    let Some(interval_s) = duplicate_check_s(message.part(tries.accepted)) else { return Ok(true) };
    let attempts = shared.store.attempts(&waiting.delivery.id).await?;
    let first_lost = attempts.iter().find(|attempt| Ending::of(attempt) == Ending::AnswerLost);
    let since_ms = first_lost.map_or(0, |attempt| shared.clock.wall_ms().saturating_sub(attempt.at_ms));
    Ok(since_ms < interval_s.saturating_mul(1_000).saturating_sub(MARGIN_MS))
}
