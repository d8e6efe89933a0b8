//! JSON envelopes and plaintexts: limits, and ids that a double cannot hold.

use std::borrow::Cow;

use serde_json::Value;

/// Deepest nesting that is read; documented callbacks go eight deep.
pub(crate) const DEPTH_MAX: usize = 64;

/// Most commas, brackets and braces that are read.
pub(crate) const MARKS_MAX: usize = 20_000;

/// The largest integer that every JSON reader keeps exact: 2^53 − 1.
const EXACT_MAX: u128 = 9_007_199_254_740_991;

/// Why JSON cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JsonFault {
    /// More than [`MARKS_MAX`] values.
    #[error("it has more than {MARKS_MAX} values")]
    Values,
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("it is nested deeper than {DEPTH_MAX}")]
    Depth,
    /// Not JSON, or not an object.
    #[error("it is no JSON object")]
    Malformed,
}

/// Parses an object; integers beyond 2^53 − 1 become strings.
///
/// # Errors
/// See [`JsonFault`].
pub(crate) fn parse(text: &str) -> Result<Value, JsonFault> {
    let text = quote_large_integers(text.trim_start_matches('\u{FEFF}'))?;
    serde_json::from_str(&text).ok().filter(Value::is_object).ok_or(JsonFault::Malformed)
}

/// Puts quotes around integers that a double would round, and checks the limits on the way. What is no JSON stays
/// none.
///
/// # Errors
/// A limit is broken.
pub(crate) fn quote_large_integers(text: &str) -> Result<Cow<'_, str>, JsonFault> {
    let mut out = String::new();
    let mut copied = 0;
    let mut limits = Limits::default();
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => skip_string(&mut bytes),
            b'-' | b'0'..=b'9' => {
                let mut end = at + 1;
                while bytes.next_if(|(_, byte)| is_part_of_number(*byte)).is_some() {
                    end += 1;
                }
                let number = text.get(at..end).unwrap_or_default();
                if is_large_integer(number) {
                    out.push_str(text.get(copied..at).unwrap_or_default());
                    out.push('"');
                    out.push_str(number);
                    out.push('"');
                    copied = end;
                }
            }
            other => limits.count(other)?,
        }
    }
    if copied == 0 {
        return Ok(Cow::Borrowed(text));
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    Ok(Cow::Owned(out))
}

/// What was met so far.
#[derive(Default)]
struct Limits {
    marks: usize,
    depth: usize,
}

impl Limits {
    fn count(&mut self, byte: u8) -> Result<(), JsonFault> {
        match byte {
            b',' => self.marks += 1,
            b'[' | b'{' => {
                self.marks += 1;
                self.depth += 1;
            }
            b']' | b'}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        if self.marks > MARKS_MAX {
            return Err(JsonFault::Values);
        }
        if self.depth > DEPTH_MAX { Err(JsonFault::Depth) } else { Ok(()) }
    }
}

fn is_part_of_number(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-')
}

/// Goes behind the closing quote of a string.
fn skip_string(bytes: &mut impl Iterator<Item = (usize, u8)>) {
    while let Some((_, byte)) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

/// Whether `number` is an integer whose digits a double would change. A leading zero is no JSON and stays so.
fn is_large_integer(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    plain && !digits.is_empty() && digits.parse::<u128>().map_or(true, |value| value > EXACT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn large_integers_stay_exact_and_the_rest_stays_as_it_is() {
        let text = r#"{"a":9007199254740991,"b":9007199254740992,"c":-18446744073709551615,"d":340282366920938463463374607431768211456,
            "e":1.5,"f":"12345678901234567890","g":[18446744073709551615,1],"h":1e3,"i":"\"9007199254740992,","j":0}"#;
        let expected = json!({
            "a": 9_007_199_254_740_991_u64, "b": "9007199254740992", "c": "-18446744073709551615",
            "d": "340282366920938463463374607431768211456", "e": 1.5, "f": "12345678901234567890",
            "g": ["18446744073709551615", 1], "h": 1000.0, "i": "\"9007199254740992,", "j": 0,
        });
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn what_is_no_json_object_is_refused() {
        for text in [
            "",
            "[]",
            "1",
            "\"a\"",
            "{",
            "{\"a\":01}",
            "{\"a\":00000000000000000001}",
            "{\"a\"",
            "{\"a\":--9007199254740992}",
            "{\"a\":9007199254740992 1}",
            "{\"\\",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn depth_and_number_of_values_are_bounded() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(DEPTH_MAX - 1)).is_ok());
        assert_eq!(parse(&nested(DEPTH_MAX)), Err(JsonFault::Depth));
        assert_eq!(parse(&nested(100_000)), Err(JsonFault::Depth));
        let long = |commas: usize| format!("{{\"a\":[1{}]}}", ",1".repeat(commas));
        assert!(parse(&long(MARKS_MAX - 2)).is_ok());
        assert_eq!(parse(&long(MARKS_MAX - 1)), Err(JsonFault::Values));
    }
}
