//! The deduplication key of an event.
//!
//! A repeat carries the same plaintext, perhaps under a new nonce, timestamp and ciphertext. Where the protocol
//! gives the callback an id of its own, that id is the key; everywhere else the whole plaintext is. Sender and
//! second, which documents advise for events, would fold real events: a contact sync makes dozens a second.

use sha2::{Digest, Sha256};

use crate::domain::event::DedupKey;
use crate::wecom::event::Reading;

/// The key of an event of the source called `scope`.
pub fn key(scope: &str, reading: &Reading, plaintext: &[u8]) -> DedupKey {
    let mut hash = Sha256::new();
    part(&mut hash, scope.as_bytes());
    if let Some(id) = &reading.callback_id {
        hash.update(b"id");
        part(&mut hash, id.message_id.as_bytes());
        part(&mut hash, id.sender.as_bytes());
    } else {
        hash.update(b"plaintext");
        part(&mut hash, plaintext);
    }
    finish(hash, reading.event.created_s)
}

/// The key of an event that is no WeCom callback: `identity` is what every repeat of it has in common.
pub fn key_of_identity(scope: &str, created_s: Option<i64>, identity: &[u8]) -> DedupKey {
    let mut hash = Sha256::new();
    part(&mut hash, scope.as_bytes());
    hash.update(b"identity");
    part(&mut hash, identity);
    finish(hash, created_s)
}

fn finish(hash: Sha256, created_s: Option<i64>) -> DedupKey {
    let whole: [u8; 32] = hash.finalize().into();
    let mut half = [0; 16];
    for (to, from) in half.iter_mut().zip(whole) {
        *to = from;
    }
    DedupKey::new(created_s, &half)
}

/// Hashes a part with its length in front, so that no two lists of parts hash alike.
fn part(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wecom::event;

    fn key_of(scope: &str, plaintext: &str) -> DedupKey {
        key(
            scope,
            &event::reading(plaintext.as_bytes(), &crate::wecom::limits::ReadLimits::DEFAULT),
            plaintext.as_bytes(),
        )
    }

    fn message(sender: &str, id: &str, text: &str) -> String {
        format!(
            "<xml><FromUserName>{sender}</FromUserName><CreateTime>1700000000</CreateTime><MsgType>text</MsgType>\
             <Content>{text}</Content><MsgId>{id}</MsgId></xml>"
        )
    }

    #[test]
    fn a_user_message_is_known_by_its_id_and_sender() {
        let first = key_of("app", &message("a", "1", "x"));
        assert_eq!(first, key_of("app", &message("a", "1", " x ")));
        for other in [message("a", "2", "x"), message("b", "1", "x")] {
            assert_ne!(first, key_of("app", &other));
        }
        assert_ne!(first, key_of("other", &message("a", "1", "x")));
        assert_ne!(key_of("app", &message("a", "", "x")), key_of("app", &message("a", "", "y")));
        assert!(first.to_text().starts_with("6553f100"));
    }

    #[test]
    fn events_of_one_second_are_kept_apart_and_repeats_are_not() {
        let event = |user: &str| {
            format!(
                "<xml><FromUserName>sys</FromUserName><CreateTime>1700000000</CreateTime><MsgType>event</MsgType>\
                 <Event>change_contact</Event><ChangeType>create_user</ChangeType><UserID>{user}</UserID></xml>"
            )
        };
        assert_eq!(key_of("app", &event("a")), key_of("app", &event("a")));
        assert_ne!(key_of("app", &event("a")), key_of("app", &event("b")));
    }

    #[test]
    fn an_id_that_names_another_message_is_no_key() {
        let report = |word: &str| {
            format!(
                "<xml><FromUserName>a</FromUserName><CreateTime>1</CreateTime><MsgType>{word}</MsgType><MsgId>7</MsgId></xml>"
            )
        };
        let keys = ["send_msg_result", "msg_audit", "msg_read"].map(|word| key_of("app", &report(word)));
        assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
        let finished = |status: &str| {
            format!(
                "<xml><MsgType>event</MsgType><Event>TEMPLATESENDJOBFINISH</Event><MsgID>7</MsgID><Status>{status}</Status></xml>"
            )
        };
        assert_ne!(key_of("app", &finished("success")), key_of("app", &finished("failed")));
        let click = |key: &str| {
            format!("{{\"msgid\":\"7\",\"from\":{{\"userid\":\"a\"}},\"click\":{{\"key\":\"{key}\"}}}}")
        };
        assert_ne!(key_of("bot", &click("x")), key_of("bot", &click("y")));
    }

    #[test]
    fn robots_are_known_by_their_msgid_alone() {
        let robot = |id: &str, url: &str| {
            format!(
                "{{\"msgid\":\"{id}\",\"aibotid\":\"r\",\"from\":{{\"userid\":\"a\"}},\"response_url\":\"{url}\",\"msgtype\":\"event\",\"event\":{{\"eventtype\":\"enter_chat\"}}}}"
            )
        };
        assert_eq!(key_of("bot", &robot("1", "u")), key_of("bot", &robot("1", "v")));
        assert_ne!(key_of("bot", &robot("1", "u")), key_of("bot", &robot("2", "u")));
    }
}
