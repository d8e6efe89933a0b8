//! The query parameters of a callback, in the one form each of them may have.
//!
//! The signature joins its parts without separators. So a timestamp is exactly 10 digits, a nonce 1 to 64 letters,
//! digits, `_` and `-`, and each parameter stands once: nothing can then move from one field to the next, and no
//! two readers of one query can see different values.

use std::borrow::Cow;

use crate::sabotage::{self, Protection};
use crate::wecom::limits::ReadLimits;
use crate::wecom::refusal::{Refusal, Step, quote};

/// The signed parameters of a request. Others belong to the configured URL and are left alone.
#[derive(Debug)]
pub struct Params<'a> {
    /// `msg_signature`, not yet looked at.
    pub signature: Cow<'a, str>,
    /// `timestamp`, 10 digits.
    pub timestamp: Cow<'a, str>,
    /// `nonce`, 1 to 64 characters of `[0-9A-Za-z_-]`.
    pub nonce: Cow<'a, str>,
    /// `echostr`, only with a URL check; blanks are the `+` some proxy turned into them.
    pub echostr: Option<Cow<'a, str>>,
}

impl<'a> Params<'a> {
    /// Reads a raw query string (without the `?`).
    ///
    /// A plus sign stays a plus sign: the platform writes `%2B`, and a bare `+` is base64, not a blank.
    ///
    /// # Errors
    /// [`Step::Parameter`], [`Step::Timestamp`] or [`Step::Nonce`].
    pub fn read(raw_query: &'a str, limits: &ReadLimits) -> Result<Self, Refusal> {
        let ReadLimits { query_bytes_max, parameters_max, .. } = *limits;
        if raw_query.len() > query_bytes_max {
            return Err(parameter(format!(
                "the query has {} bytes, {query_bytes_max} are read",
                raw_query.len()
            )));
        }
        let mut found = Found::default();
        for (index, pair) in raw_query.split('&').enumerate() {
            if index >= parameters_max {
                return Err(parameter(format!("more than {parameters_max} query parameters")));
            }
            found.take(pair)?;
        }
        let Found { signature, timestamp, nonce, echostr } = found;
        let params = Self {
            signature: signature.ok_or_else(|| missing("msg_signature"))?,
            timestamp: timestamp.ok_or_else(|| missing("timestamp"))?,
            nonce: nonce.ok_or_else(|| missing("nonce"))?,
            echostr: echostr.map(blanks_to_plus),
        };
        if !sabotage::off(Protection::StrictSyntax) {
            check_timestamp(&params.timestamp)?;
            check_nonce(&params.nonce)?;
        }
        Ok(params)
    }

    /// The timestamp as a number of seconds since 1970.
    pub fn timestamp_s(&self) -> i64 {
        self.timestamp.parse().unwrap_or(0)
    }
}

/// Refuses a timestamp that is not exactly 10 digits.
///
/// # Errors
/// [`Step::Timestamp`].
pub fn check_timestamp(text: &str) -> Result<(), Refusal> {
    if text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(());
    }
    Err(Refusal::new(Step::Timestamp, format!("the timestamp is not 10 digits: \"{}\"", quote(text))))
}

/// Refuses a nonce that is not 1 to 64 letters, digits, `_` and `-`.
///
/// # Errors
/// [`Step::Nonce`].
pub fn check_nonce(text: &str) -> Result<(), Refusal> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=64).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(());
    }
    Err(Refusal::new(
        Step::Nonce,
        format!("the nonce is not 1 to 64 letters, digits, `_` and `-`: \"{}\"", quote(text)),
    ))
}

/// The parameters met so far.
#[derive(Default)]
struct Found<'a> {
    signature: Option<Cow<'a, str>>,
    timestamp: Option<Cow<'a, str>>,
    nonce: Option<Cow<'a, str>>,
    echostr: Option<Cow<'a, str>>,
}

impl<'a> Found<'a> {
    /// Takes one `name=value`, if its name is one of ours.
    fn take(&mut self, pair: &'a str) -> Result<(), Refusal> {
        let (raw_name, raw_value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(name) = percent_decode(raw_name) else { return Ok(()) };
        let slot = match name.as_ref() {
            "msg_signature" => &mut self.signature,
            "timestamp" => &mut self.timestamp,
            "nonce" => &mut self.nonce,
            "echostr" => &mut self.echostr,
            _ => return Ok(()),
        };
        if slot.is_some() && !sabotage::off(Protection::StrictSyntax) {
            return Err(parameter(format!("the query holds `{name}` twice")));
        }
        let value = percent_decode(raw_value)
            .ok_or_else(|| parameter(format!("`{name}` is not percent-encoded UTF-8")))?;
        *slot = Some(value);
        Ok(())
    }
}

/// Decodes `%41`. `None`: a broken escape, or bytes that are no UTF-8.
fn percent_decode(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.contains('%') {
        return Some(Cow::Borrowed(raw));
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => (hex_digit(bytes.next()?)? << 4) | hex_digit(bytes.next()?)?,
            other => other,
        });
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

/// The value of a hex digit, either case.
fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Base64 never holds a blank, so a blank can only be a `+` that was decoded as in a form.
fn blanks_to_plus(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains(' ') { Cow::Owned(text.replace(' ', "+")) } else { text }
}

fn parameter(detail: String) -> Refusal {
    Refusal::new(Step::Parameter, detail)
}

fn missing(name: &str) -> Refusal {
    parameter(format!(
        "the query has no `{name}`: was the URL opened by hand, or did a proxy drop the query?"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Params<'_>, Refusal> {
        Params::read(query, &ReadLimits::DEFAULT)
    }

    const GOOD: &str = "msg_signature=ab&timestamp=1409659589&nonce=263014780";

    fn step(query: &str) -> Step {
        read(query).unwrap_err().step
    }

    #[test]
    fn order_and_strange_parameters_do_not_matter() {
        let params = read("a=%zz&%ff=1&nonce=n_-0&x&msg_signature=s&timestamp=1409659589&").unwrap();
        assert_eq!(
            (params.signature.as_ref(), params.timestamp_s(), params.nonce.as_ref()),
            ("s", 1_409_659_589, "n_-0")
        );
        assert!(params.echostr.is_none());
    }

    #[test]
    fn a_plus_survives_in_each_of_its_forms() {
        for echostr in ["a%2Bb%2Fc%3D", "a+b/c=", "a b/c=", "a%20b/c="] {
            let query = format!("{GOOD}&echostr={echostr}");
            assert_eq!(read(&query).unwrap().echostr.unwrap(), "a+b/c=", "{echostr}");
        }
    }

    #[test]
    fn missing_doubled_and_undecodable_parameters_are_refused() {
        for (name, _) in GOOD.split('&').filter_map(|pair| pair.split_once('=')) {
            let without: Vec<_> = GOOD.split('&').filter(|pair| !pair.starts_with(name)).collect();
            assert_eq!(step(&without.join("&")), Step::Parameter, "no {name}");
            assert_eq!(step(&format!("{GOOD}&{name}=1409659589")), Step::Parameter, "{name} twice");
            assert_eq!(
                step(&format!("{GOOD}&{}=1", name.replace('n', "%6e"))),
                Step::Parameter,
                "{name} twice, once disguised"
            );
        }
        for value in ["%", "%4", "%4g", "%ff", "%C0%AF"] {
            assert_eq!(step(&format!("{GOOD}&echostr={value}")), Step::Parameter, "{value}");
        }
        assert_eq!(step(""), Step::Parameter);
    }

    #[test]
    fn timestamp_and_nonce_have_one_form_each() {
        let with =
            |timestamp: &str, nonce: &str| format!("msg_signature=a&timestamp={timestamp}&nonce={nonce}");
        for timestamp in [
            "",
            "140965958",
            "14096595890",
            "-409659589",
            "%2B409659589",
            "1409659589%00",
            "１409659589",
            "0x12345678",
            " 409659589",
        ] {
            assert_eq!(step(&with(timestamp, "n")), Step::Timestamp, "{timestamp}");
        }
        for nonce in ["", "a+b", "a%20b", "a=b", "a%26b", "é", "a.b", &"n".repeat(65)] {
            assert_eq!(step(&with("1409659589", nonce)), Step::Nonce, "{nonce}");
        }
        assert!(read(&with("1409659589", &"n".repeat(64))).is_ok());
    }

    #[test]
    fn length_and_number_are_bounded() {
        let ReadLimits { query_bytes_max, parameters_max, .. } = ReadLimits::DEFAULT;
        let filler = |bytes: usize| format!("{GOOD}&x={}", "y".repeat(bytes - GOOD.len() - 3));
        assert!(read(&filler(query_bytes_max)).is_ok());
        assert_eq!(step(&filler(query_bytes_max + 1)), Step::Parameter);
        assert!(read(&format!("{GOOD}{}", "&x=1".repeat(parameters_max - 3))).is_ok());
        assert_eq!(step(&format!("{GOOD}{}", "&x=1".repeat(parameters_max - 2))), Step::Parameter);
    }
}
