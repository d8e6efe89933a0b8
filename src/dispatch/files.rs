//! Files in messages: uploaded when they are first sent, and again when the platform no longer has them.
//!
//! The upload comes before the mark that a request has begun, so a lost upload loses no message.

use std::borrow::Cow;

use serde_json::Value;

use super::Shared;
use super::attempt::unreadable;
use super::target::Target;
use crate::domain::outcome::{Outcome, RetryCause, Try};
use crate::domain::sealed::Unopened;
use crate::ids::FileId;
use crate::store::StoreError;
use crate::wecom::api::media::{MediaKind, media_id};

/// The platform keeps a file for three days; the last hour is left unused.
const KEPT_MS: i64 = 71 * 3_600_000;

/// Invalid media id: the platform has the file no more.
const GONE: i64 = 40007;

/// The request with the platform's names for our files; or what the try comes to that found no way to have them.
pub(super) async fn ready<'b>(
    shared: &Shared,
    target: &Target,
    body: &'b str,
) -> Result<Result<Cow<'b, str>, Try>, StoreError> {
    let Some(id) = named(body) else { return Ok(Ok(Cow::Borrowed(body))) };
    let file = match shared.store.file(&id).await {
        Err(StoreError::Unopened(why @ Unopened::Damaged)) => return Ok(Err(unreadable(&why))),
        file => file?,
    };
    let Some(file) = file else { return Ok(Err(gone())) };
    let now_ms = shared.clock.wall_ms();
    if let Some((name, at_ms)) = &file.uploaded
        && now_ms.saturating_sub(*at_ms) < KEPT_MS
    {
        return Ok(Ok(Cow::Owned(body.replace(id.as_str(), name))));
    }
    let kind = MediaKind::parse(&file.kind).unwrap_or(MediaKind::File);
    let content = match shared.store.file_content(&id).await {
        Err(StoreError::Unopened(why @ Unopened::Damaged)) => return Ok(Err(unreadable(&why))),
        content => content?,
    };
    let (tried, answer) = target.upload(kind, &file.name, &content).await;
    let (Outcome::Accepted { .. }, Ok(name)) = (&tried.outcome, media_id(&answer)) else {
        return Ok(Err(not_uploaded(tried)));
    };
    shared.store.set_uploaded(&id, Some((name.clone(), now_ms))).await?;
    Ok(Ok(Cow::Owned(body.replace(id.as_str(), &name))))
}

/// After the platform said that it has a file no more: it is uploaded again with the next try.
pub(super) async fn forget(shared: &Shared, body: &str, answer: &mut Try) {
    if answer.errcode != Some(GONE) {
        return;
    }
    let Some(id) = named(body) else { return };
    if shared.store.set_uploaded(&id, None).await.is_ok() {
        answer.outcome = Outcome::Retry { cause: RetryCause::Busy, after_ms: None };
    }
}

/// The file of ours that a request names.
fn named(body: &str) -> Option<FileId> {
    if !body.contains(FileId::PREFIX) {
        return None;
    }
    let request: Value = serde_json::from_str(body).ok()?;
    let word = request.get("msgtype")?.as_str()?;
    FileId::parse(request.get(word)?.get("media_id")?.as_str()?)
}

/// The message has not left, whatever became of the upload.
fn not_uploaded(mut tried: Try) -> Try {
    let why = tried.error.take().unwrap_or_else(|| "the answer names no file".to_owned());
    tried.error = Some(format!("the file was not uploaded: {why}"));
    if matches!(tried.outcome, Outcome::Lost | Outcome::Accepted { .. }) {
        tried.outcome = Outcome::Retry { cause: RetryCause::NotSent, after_ms: None };
    }
    tried
}

fn gone() -> Try {
    Try {
        outcome: Outcome::Refused,
        http_status: None,
        errcode: None,
        error: Some("the file is no longer kept: it was given more than four days ago".to_owned()),
        answer: None,
        response_code: None,
    }
}
