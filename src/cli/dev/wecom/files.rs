//! Files uploaded to the fake platform: their names, for whom they are, and for how long.
//!
//! Source: document 96484 at developer.work.weixin.qq.com. The bytes are not kept: nobody sees them here.

use std::collections::HashMap;

use super::apps::AppReply;
use super::world::ApiReply;

/// How long an uploaded file is kept.
const FILE_MS: i64 = 3 * 24 * 3_600_000;

/// What the form of an upload has in it.
const FILE_FIELD: &[u8] = b"name=\"media\"";

/// Uploaded files: for whom, and when.
#[derive(Debug, Default)]
pub(super) struct Files(HashMap<String, (String, i64)>);

impl Files {
    /// An upload for the corp (`owner` is empty) or for the robot with this key. `form` holds the file.
    pub(super) fn upload(&mut self, owner: &str, kind: &str, form: &[u8], now_ms: i64) -> AppReply {
        let has_file = form.windows(FILE_FIELD.len()).any(|window| window == FILE_FIELD);
        if !["image", "voice", "video", "file"].contains(&kind) {
            return ApiReply::error(40004, "invalid media type").into();
        }
        if !has_file {
            return ApiReply::error(41005, "media data missing").into();
        }
        let media_id = format!("fake-media-{}", self.0.len() + 1);
        self.0.insert(media_id.clone(), (owner.to_owned(), now_ms));
        let mut reply = AppReply::from(ApiReply::ok());
        reply.more.insert("type".to_owned(), kind.into());
        reply.more.insert("media_id".to_owned(), media_id.into());
        reply.more.insert("created_at".to_owned(), (now_ms / 1_000).to_string().into());
        reply
    }

    /// Whether a message may name this file: uploaded for its sender, and not too long ago.
    pub(super) fn has(&self, owner: &str, media_id: &str, now_ms: i64) -> bool {
        self.0.get(media_id).is_some_and(|(of, at_ms)| of == owner && now_ms < at_ms + FILE_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_for_its_owner_and_three_days() {
        let mut files = Files::default();
        assert_eq!(files.upload("", "poem", FILE_FIELD, 0).reply.errcode, 40004);
        assert_eq!(files.upload("", "file", b"--b", 0).reply.errcode, 41005);
        assert_eq!(files.upload("", "file", FILE_FIELD, 0).more["media_id"], "fake-media-1");
        assert!(files.has("", "fake-media-1", FILE_MS - 1) && !files.has("", "fake-media-1", FILE_MS));
        assert!(!files.has("robot", "fake-media-1", 0) && !files.has("", "fake-media-2", 0));
    }
}
