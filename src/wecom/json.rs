//! JSON envelopes and plaintexts: limits, and ids that a double cannot hold.

use std::borrow::Cow;

use serde_json::Value;

use crate::wecom::limits::ReadLimits;

/// The largest integer that every JSON reader keeps exact: 2^53 − 1.
const EXACT_MAX: u128 = 9_007_199_254_740_991;

/// Why JSON cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JsonFault {
    /// More values than this.
    #[error("it has more than {0} values")]
    Values(usize),
    /// Nested deeper than this.
    #[error("it is nested deeper than {0}")]
    Depth(usize),
    /// Not JSON, or not an object.
    #[error("it is no JSON object")]
    Malformed,
}

/// Parses an object; integers beyond 2^53 − 1 become strings.
///
/// # Errors
/// See [`JsonFault`].
pub(crate) fn parse(text: &str, limits: &ReadLimits) -> Result<Value, JsonFault> {
    let text = quote_large_integers(text.trim_start_matches('\u{FEFF}'), limits)?;
    serde_json::from_str(&text).ok().filter(Value::is_object).ok_or(JsonFault::Malformed)
}

/// Puts quotes around integers that a double would round, and checks the limits on the way. What is no JSON stays
/// none.
///
/// # Errors
/// A limit is broken.
pub(crate) fn quote_large_integers<'a>(
    text: &'a str,
    limits: &ReadLimits,
) -> Result<Cow<'a, str>, JsonFault> {
    let mut out = String::new();
    let mut copied = 0;
    let mut met = Met::default();
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
            other => met.count(other, limits)?,
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
struct Met {
    marks: usize,
    depth: usize,
}

impl Met {
    fn count(&mut self, byte: u8, limits: &ReadLimits) -> Result<(), JsonFault> {
        match byte {
            b',' => self.marks += 1,
            b'[' | b'{' => {
                self.marks += 1;
                self.depth += 1;
            }
            b']' | b'}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        if self.marks > limits.json_values_max {
            return Err(JsonFault::Values(limits.json_values_max));
        }
        let depth_max = limits.json_depth_max;
        if self.depth > depth_max { Err(JsonFault::Depth(depth_max)) } else { Ok(()) }
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

    fn parse(text: &str) -> Result<Value, JsonFault> {
        super::parse(text, &ReadLimits::DEFAULT)
    }

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
        assert_eq!(parse(&nested(100_000)), Err(JsonFault::Depth(64)));
        let long = |commas: usize| format!("{{\"a\":[1{}]}}", ",1".repeat(commas));
        for (depth, number) in [(64, 20_000), (2, 5), (100, 1_000_000)] {
            let limits = ReadLimits { json_depth_max: depth, json_values_max: number, ..ReadLimits::DEFAULT };
            let deep = ReadLimits { json_values_max: 1_000, ..limits };
            assert!(super::parse(&nested(depth - 1), &deep).is_ok());
            assert_eq!(super::parse(&nested(depth), &deep), Err(JsonFault::Depth(depth)));
            assert!(super::parse(&long(number - 2), &limits).is_ok());
            assert_eq!(super::parse(&long(number - 1), &limits), Err(JsonFault::Values(number)));
        }
    }
}
