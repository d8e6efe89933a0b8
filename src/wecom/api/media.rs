//! Files: which kinds there are, and how large each may be.
//!
//! Protocol: developer.work.weixin.qq.com/document/path/96484 (上传临时素材).

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::answer::NoAnswer;
use super::field::FieldError;

/// The largest file of any kind.
pub const FILE_BYTES_MAX: usize = 20 * MIB;

/// The platform takes nothing smaller.
const FILE_BYTES_MIN: usize = 6;

const MIB: usize = 1024 * 1024;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// JPG or PNG.
    Image,
    /// AMR, at most a minute.
    Voice,
    /// MP4.
    Video,
    /// Anything.
    File,
}

impl MediaKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Image, Self::Voice, Self::Video, Self::File];

    /// The platform's word, `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Voice => "voice",
            Self::Video => "video",
            Self::File => "file",
        }
    }

    /// Reads [`MediaKind::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Largest file of this kind.
    pub fn bytes_max(self) -> usize {
        match self {
            Self::Image | Self::Video => 10 * MIB,
            Self::Voice => 2 * MIB,
            Self::File => FILE_BYTES_MAX,
        }
    }

    /// Checks a file's size and its first bytes.
    ///
    /// # Errors
    /// The platform would refuse it.
    pub fn check(self, file: &[u8]) -> Result<(), FieldError> {
        if !(FILE_BYTES_MIN..=self.bytes_max()).contains(&file.len()) {
            let allowed = format!("{FILE_BYTES_MIN} to {} bytes", self.bytes_max());
            return Err(FieldError::new("media", allowed, format!("{} bytes", file.len())));
        }
        let (is_right, allowed) = match self {
            Self::Image => {
                (file.starts_with(b"\x89PNG") || file.starts_with(b"\xff\xd8\xff"), "a JPG or PNG")
            }
            Self::Voice => (file.starts_with(b"#!AMR"), "an AMR recording"),
            Self::Video => (file.get(4..8) == Some(b"ftyp"), "an MP4 film"),
            Self::File => (true, ""),
        };
        if is_right { Ok(()) } else { Err(FieldError::new("media", allowed, "another kind of file")) }
    }
}

/// The form in which a file is uploaded: its content type, and its bytes.
pub fn form(name: &str, content: &[u8]) -> (String, Vec<u8>) {
    let digest = Sha256::digest(content);
    let number = digest.iter().take(16).fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    // Made of the content, so that it does not stand in it.
    let boundary = format!("wecom-gateway-{number:032x}");
    let name = name.replace(['"', '\\', '\r', '\n'], "_");
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"media\"; filename=\"{name}\"; filelength={}\r\n\
         Content-Type: application/octet-stream\r\n\r\n",
        content.len()
    );
    let tail = format!("\r\n--{boundary}--\r\n");
    (
        format!("multipart/form-data; boundary={boundary}"),
        [head.as_bytes(), content, tail.as_bytes()].concat(),
    )
}

/// The platform's name for an uploaded file.
///
/// # Errors
/// There is none in the answer.
pub fn media_id(body: &[u8]) -> Result<String, NoAnswer> {
    #[derive(Deserialize)]
    struct Wire {
        media_id: String,
    }
    serde_json::from_slice(body).map(|Wire { media_id }| media_id).map_err(|_not_json| NoAnswer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_held_to_the_platforms_limits() {
        let png = |bytes: usize| [b"\x89PNG".as_slice(), &vec![0; bytes - 4]].concat();
        assert!(MediaKind::Image.check(&png(10 * MIB)).is_ok());
        assert_eq!(MediaKind::Image.check(&png(10 * MIB + 1)).unwrap_err().actual, "10485761 bytes");
        assert_eq!(MediaKind::Image.check(b"GIF89a").unwrap_err().limit, "a JPG or PNG");
        assert!(MediaKind::Voice.check(b"#!AMR\n...").is_ok());
        assert!(MediaKind::Voice.check(&png(64)).is_err());
        assert!(MediaKind::Video.check(b"\0\0\0\x18ftypmp42").is_ok());
        assert!(MediaKind::File.check(b"12345").is_err() && MediaKind::File.check(b"123456").is_ok());
        for kind in MediaKind::ALL {
            assert_eq!(MediaKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(media_id(br#"{"errcode":0,"media_id":"m1"}"#).as_deref(), Ok("m1"));
        assert!(media_id(b"{}").is_err());
    }
}
