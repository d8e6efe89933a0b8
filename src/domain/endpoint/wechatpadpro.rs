//! The types of messages as WeChatPadPro numbers them, and the kinds of events that they are here.

use crate::domain::filter::KindPattern;

/// All types, in its own way of writing.
pub const ALL_TYPES: &str = "*";

/// Kinds and numbers. The first kind of a number is what it is read back from.
const TYPES: [(&str, u32); 12] = [
    ("message.text", 1),
    ("message.image", 3),
    ("message.voice", 34),
    ("message.card", 42),
    ("message.video", 43),
    ("message.shortvideo", 43),
    ("message.emotion", 47),
    ("message.location", 48),
    ("message.link", 49),
    ("message.file", 49),
    ("message.system", 10_000),
    ("message.revoke", 10_002),
];

/// What kinds of numbers that are none of those begin with.
const OTHER: &str = "message.type_";

/// The number of a kind; `None`: there is no such type.
pub fn number_of(kind: &str) -> Option<u32> {
    let known = TYPES.iter().find(|(known, _)| *known == kind).map(|(_, number)| *number);
    known.or_else(|| kind.strip_prefix(OTHER)?.parse().ok())
}

/// The kinds of a list of types, each once; the error is the place of what is no type.
///
/// # Errors
/// One of them is no number, and not `*`.
pub fn kinds_of(types: &[String]) -> Result<Vec<String>, usize> {
    let mut kinds: Vec<String> = Vec::new();
    for (place, text) in types.iter().enumerate() {
        let found: Vec<String> = if text == ALL_TYPES {
            TYPES.iter().map(|(kind, _)| (*kind).to_owned()).collect()
        } else {
            let number: u32 = text.parse().map_err(|_no_number| place)?;
            let known: Vec<String> =
                TYPES.iter().filter(|(_, of)| *of == number).map(|(kind, _)| (*kind).to_owned()).collect();
            if known.is_empty() { vec![format!("{OTHER}{number}")] } else { known }
        };
        for kind in found {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
    }
    Ok(kinds)
}

/// The types that a list of kinds was made of.
pub fn types_of(kinds: &[KindPattern]) -> Vec<String> {
    let kinds: Vec<String> = kinds.iter().map(KindPattern::to_text).collect();
    if TYPES.iter().all(|(kind, _)| kinds.iter().any(|known| known == kind)) {
        return vec![ALL_TYPES.to_owned()];
    }
    let mut types: Vec<String> = Vec::new();
    for number in kinds.iter().filter_map(|kind| number_of(kind)) {
        let text = number.to_string();
        if !types.contains(&text) {
            types.push(text);
        }
    }
    types
}

/// Whether every one of `kinds` has a number; the error is the place of one that has none.
pub(super) fn has_numbers(kinds: &[KindPattern]) -> Result<(), usize> {
    let has_none = |kind: &KindPattern| match kind {
        KindPattern::Exact(kind) => number_of(kind).is_none(),
        KindPattern::All | KindPattern::Branch(_) => true,
    };
    kinds.iter().position(has_none).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(types: &[&str]) -> Vec<String> {
        let types: Vec<String> = types.iter().map(|&text| text.to_owned()).collect();
        let kinds = kinds_of(&types).unwrap();
        let patterns: Vec<KindPattern> = kinds.iter().map(|kind| KindPattern::parse(kind).unwrap()).collect();
        assert_eq!(has_numbers(&patterns), Ok(()));
        types_of(&patterns)
    }

    #[test]
    fn types_read_back_as_they_were_written() {
        for types in
            [&["1", "3", "34", "43", "47", "49"][..], &["*"], &["10002", "1"], &["37", "50"], &["49"]]
        {
            assert_eq!(round_trip(types), types);
        }
        assert_eq!(round_trip(&["1", "*", "1"]), ["*"]);
        assert_eq!(kinds_of(&["1".to_owned(), "text".to_owned()]), Err(1));
    }

    #[test]
    fn a_kind_has_one_number() {
        assert_eq!(number_of("message.file"), Some(49));
        assert_eq!(number_of("message.type_37"), Some(37));
        assert_eq!(number_of("event.click"), None);
        assert_eq!(has_numbers(&[KindPattern::parse("message.*").unwrap()]), Err(0));
    }
}
