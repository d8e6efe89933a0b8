//! Files to be sent: taken, checked, kept for four days.

use bytes::Bytes;
use serde_json::Value;

use super::request::wrong;
use super::{Caller, Messages, SendChannel, SendError};
use crate::domain::message::Message;
use crate::ids::FileId;
use crate::store::{FILE_NAME_BYTES_MAX, StoredFile};
use crate::wecom::api::media::MediaKind;

/// A file on its way to us.
#[derive(Clone, Debug)]
pub struct NewFile {
    /// The channel it will be sent through.
    pub channel: String,
    /// What it is.
    pub kind: MediaKind,
    /// What people see it is called.
    pub name: String,
    /// Its bytes.
    pub content: Bytes,
}

impl Messages {
    /// Keeps a file; its id stands in messages where the platform has a `media_id`.
    pub async fn keep_file(&self, file: NewFile, caller: &Caller) -> Result<FileId, SendError> {
        let channel = self.channel(&file.channel, caller)?;
        let is_robot = matches!(channel, SendChannel::Robot(_));
        if is_robot && !matches!(file.kind, MediaKind::File | MediaKind::Voice) {
            return Err(wrong("type", "file or voice for a robot", file.kind.as_str()).into());
        }
        let is_name = (1..=FILE_NAME_BYTES_MAX).contains(&file.name.len())
            && !file.name.contains(|c: char| c.is_control() || c == '/' || c == '\\');
        if !is_name {
            let allowed = format!("1 to {FILE_NAME_BYTES_MAX} bytes without slashes");
            return Err(wrong("filename", allowed, format!("{} bytes", file.name.len())).into());
        }
        file.kind.check(&file.content)?;
        let id: FileId = self.ids.make();
        let stored = StoredFile {
            id: id.clone(),
            channel: file.channel,
            kind: file.kind.as_str().to_owned(),
            name: file.name,
            uploaded: None,
        };
        self.store.add_file(&stored, file.content).await.map_err(SendError::Store)?;
        Ok(id)
    }

    /// A message that names a file of ours names one that is there, of its own channel and kind.
    pub(super) async fn check_file(&self, message: &Message) -> Result<(), SendError> {
        let word = message.message_type.as_str();
        if !message.body.contains(FileId::PREFIX) {
            return Ok(());
        }
        let sent: Value = serde_json::from_str(message.part(0)).unwrap_or_default();
        let named = sent.get(word).and_then(|inner| inner.get("media_id")).and_then(Value::as_str);
        let Some(id) = named.and_then(FileId::parse) else { return Ok(()) };
        let field = format!("{word}.media_id");
        let file = self.store.file(&id).await.map_err(SendError::Store)?;
        match file.filter(|file| file.channel == message.channel) {
            None => Err(wrong(&field, "a file kept for this channel", id.as_str()).into()),
            Some(file) if file.kind != word => {
                Err(wrong(&field, format!("a file of type {word}"), file.kind).into())
            }
            Some(_) => Ok(()),
        }
    }
}
