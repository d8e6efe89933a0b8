//! Texts that are longer than one message may be: refused, split into several, or cut with a notice.
//!
//! Lengths are bytes of UTF-8; a text is only ever cut between characters.

use crate::domain::evidence::cut;

/// What stands at the end of a text that was cut.
pub const NOTICE: &str = "\n…（内容过长，已截断）";

/// What to do with a text that is too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LongText {
    /// The caller is told.
    #[default]
    Refuse,
    /// It becomes several messages, in order.
    Split,
    /// Its end is left out, and a notice says so.
    Truncate,
}

impl LongText {
    /// Reads the word of a request.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "refuse" => Some(Self::Refuse),
            "split" => Some(Self::Split),
            "truncate" => Some(Self::Truncate),
            _ => None,
        }
    }
}

/// `text` in parts of at most `bytes_max` bytes, cut at the end of a line where one is near. Nothing is lost but the
/// line break at a cut, and lines without a text that a part would consist of.
pub fn split(text: &str, bytes_max: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while rest.len() > bytes_max {
        let most = cut(rest, bytes_max);
        // A line that ends in the second half is near enough.
        let line = most.rfind('\n').filter(|at| *at >= bytes_max / 2);
        let part = line.and_then(|at| rest.get(..at)).unwrap_or(most);
        if part.is_empty() {
            break; // No character fits.
        }
        let after = rest.get(part.len()..).unwrap_or_default();
        parts.push(part);
        rest = if line.is_some() { after.strip_prefix('\n').unwrap_or(after) } else { after };
    }
    parts.push(rest);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// The start of `text` with [`NOTICE`] behind it, together at most `bytes_max` bytes; the text itself if it fits.
pub fn truncate(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    [cut(text, bytes_max.saturating_sub(NOTICE.len())), NOTICE].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn five_thousand_characters_become_parts_within_the_limit() {
        let text = "图".repeat(5_000);
        let parts = split(&text, 2_048);
        assert_eq!(parts.len(), 8);
        assert!(parts.iter().all(|part| part.len() <= 2_048));
        assert_eq!(parts.concat(), text);
    }

    #[test]
    fn lines_stay_whole_where_they_can() {
        assert_eq!(split("aaa\nbbb\nccc", 8), ["aaa\nbbb", "ccc"]);
        assert_eq!(split("a\nbbbbbbbbb", 8), ["a\nbbbbbb", "bbb"], "too early a line end is no place to cut");
        assert_eq!(split("short", 8), ["short"]);
    }

    #[test]
    fn a_cut_text_says_so_and_fits() {
        let cut = truncate(&"图".repeat(1_000), 2_048);
        assert!(cut.len() <= 2_048 && cut.ends_with(NOTICE), "{}", cut.len());
        assert_eq!(truncate("short", 2_048), "short");
        for word in ["refuse", "split", "truncate"] {
            assert!(LongText::parse(word).is_some());
        }
        assert_eq!(LongText::parse("shorten"), None);
    }

    proptest! {
        #[test]
        fn parts_fit_and_hold_every_word(text in "[a-z图 \n]{0,400}", bytes_max in 4_usize..64) {
            let parts = split(&text, bytes_max);
            prop_assert!(parts.iter().all(|part| part.len() <= bytes_max && !part.is_empty()));
            let visible = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(visible(&parts.concat()), visible(&text));
        }
    }
}
