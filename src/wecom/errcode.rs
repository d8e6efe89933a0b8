//! WeCom's error codes: what they mean and what a sender should do.
//!
//! The table `errcodes.json` follows the platform's list (developer.work.weixin.qq.com/document/path/90313), less
//! the codes of interfaces a gateway does not call; the classes are ours.

use std::sync::OnceLock;

use serde::Deserialize;

/// What to do about an error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrcodeClass {
    /// 0: nothing is wrong.
    Ok,
    /// The platform is busy: again, a few times, later.
    Retry,
    /// The access token is stale: fetch one, then once more.
    RefreshToken,
    /// Too many calls: wait, without counting it as a try.
    RateLimited,
    /// Will not get better by itself.
    Permanent,
    /// Concerns one recipient only.
    Recipient,
    /// Not in the table: treated as permanent, and worth a look.
    Unknown,
}

impl ErrcodeClass {
    /// The word in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Retry => "retry",
            Self::RefreshToken => "refresh_token",
            Self::RateLimited => "rate_limited",
            Self::Permanent => "permanent",
            Self::Recipient => "recipient",
            Self::Unknown => "unknown",
        }
    }
}

/// One error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Errcode {
    /// The number.
    pub code: i64,
    /// What to do about it.
    pub class: ErrcodeClass,
    /// What it means.
    pub meaning: &'static str,
    /// Whether nothing more can be sent through the channel until somebody mends it.
    #[serde(default)]
    pub stops_channel: bool,
}

/// What is known about `code`.
pub fn lookup(code: i64) -> Errcode {
    if code == 0 {
        return Errcode { code, class: ErrcodeClass::Ok, meaning: "ok", stops_channel: false };
    }
    let table = table();
    let found = table.binary_search_by_key(&code, |entry| entry.code).ok().and_then(|at| table.get(at));
    found.copied().unwrap_or(Errcode {
        code,
        class: ErrcodeClass::Unknown,
        meaning: "a code that is not in the gateway's table",
        stops_channel: false,
    })
}

/// The table, by rising code. Parsed once; a test parses it too, so it cannot be broken in a build that passed.
fn table() -> &'static [Errcode] {
    static TABLE: OnceLock<Vec<Errcode>> = OnceLock::new();
    TABLE.get_or_init(|| serde_json::from_str(include_str!("errcodes.json")).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole_and_rises() {
        assert_eq!(table().len(), 307);
        assert!(table().windows(2).all(|pair| pair[0].code < pair[1].code));
        assert!(table().iter().all(|entry| !entry.meaning.is_empty()));
    }

    #[test]
    fn each_class_is_found() {
        for (code, class) in [
            (0, ErrcodeClass::Ok),
            (-1, ErrcodeClass::Retry),
            (42001, ErrcodeClass::RefreshToken),
            (45009, ErrcodeClass::RateLimited),
            (93000, ErrcodeClass::Permanent),
            (81013, ErrcodeClass::Recipient),
            (7, ErrcodeClass::Unknown),
        ] {
            assert_eq!(lookup(code).class, class, "{code}");
        }
        assert!(lookup(93000).stops_channel && !lookup(40058).stops_channel);
    }
}
