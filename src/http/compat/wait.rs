//! Waiting for what the platform says to a message that was just taken.

use std::time::Duration;

use tokio::sync::broadcast;

use super::Compat;
use super::answer::QyAnswer;
use crate::domain::fold::Tracked;
use crate::domain::status::Status;
use crate::messages::Accepted;

/// Another replica may send the message; then nobody here tells of its end.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Compat {
    /// The platform's answer to `accepted`, in its own form; errcode 0 if none came in time. `ended` was subscribed to
    /// before the message was taken.
    pub(super) async fn outcome(
        &self,
        accepted: &Accepted,
        mut ended: broadcast::Receiver<std::sync::Arc<str>>,
    ) -> QyAnswer {
        let id = accepted.id.as_str();
        let patience = Duration::from_millis(self.answer_wait_ms);
        let found = tokio::time::timeout(patience, async {
            loop {
                match self.tracker.status(id, &[]).await {
                    Ok(Some(tracked)) if tracked.status != Status::Pending => return Some(tracked),
                    Ok(_) => {}
                    Err(_) => return None,
                }
                let _or_look = tokio::time::timeout(LOOK_EVERY, told(&mut ended, id)).await;
            }
        });
        let answer = found.await.ok().flatten().map_or_else(QyAnswer::ok, |tracked| said(&tracked));
        answer.with("msgid", id)
    }
}

/// Waits until `ended` names the message, or may have.
async fn told(ended: &mut broadcast::Receiver<std::sync::Arc<str>>, id: &str) {
    loop {
        match ended.recv().await {
            Ok(reference) if reference.as_ref() == id => return,
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(_)) => return,
            // The sender is gone: the clock decides when to look.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// A status in the platform's words. A lost answer is not an error: the caller would send it again.
fn said(tracked: &Tracked) -> QyAnswer {
    if matches!(tracked.status, Status::Failed | Status::Expired) {
        let code = tracked.details.get("code").and_then(serde_json::Value::as_i64).unwrap_or(-1);
        return QyAnswer::error(code, tracked.error_message.clone().unwrap_or_default());
    }
    let failed = |prefix: &str| -> String {
        let names = tracked.recipients.iter().filter(|one| one.status == Status::Failed);
        let names = names.filter_map(|one| {
            let is_group = one.user_id.contains(':');
            if prefix.is_empty() {
                (!is_group).then_some(one.user_id.as_str())
            } else {
                one.user_id.strip_prefix(prefix)
            }
        });
        // The platform gives user ids back in lower case.
        names.collect::<Vec<_>>().join("|").to_lowercase()
    };
    QyAnswer::ok()
        .with("invaliduser", failed(""))
        .with("invalidparty", failed("party:"))
        .with("invalidtag", failed("tag:"))
}
