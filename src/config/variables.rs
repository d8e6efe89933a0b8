//! `${VAR}` and `${VAR:-default}` in one scalar.
//!
//! They are replaced after the YAML was read, one value at a time: whatever a variable holds stays one value and can
//! add no key. `$${` is a literal `${`. As in a shell's `:-`, an empty variable counts as unset.

use super::environment::Environment;

/// A text with its variables replaced.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expanded {
    /// The text; a variable that is not set left nothing behind.
    pub(super) text: String,
    /// Variables that are not set and have no default, in order.
    pub(super) unset: Vec<String>,
}

/// A piece of a scalar.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Literal(&'a str),
    Variable { name: &'a str, default: Option<&'a str> },
}

/// Replaces the variables of `written`.
///
/// # Errors
/// A sentence, if a `${` is not closed or its name is no name.
pub(super) fn expand(written: &str, environment: &Environment) -> Result<Expanded, String> {
    let mut expanded = Expanded { text: String::new(), unset: Vec::new() };
    for piece in pieces(written)? {
        match piece {
            Piece::Literal(text) => expanded.text.push_str(text),
            Piece::Variable { name, default } => match (environment.get(name), default) {
                (Some(value), _) => expanded.text.push_str(value),
                (None, Some(default)) => expanded.text.push_str(default),
                (None, None) => expanded.unset.push(name.to_owned()),
            },
        }
    }
    Ok(expanded)
}

/// The variables that `written` names.
pub(super) fn names(written: &str) -> Vec<String> {
    let pieces = pieces(written).unwrap_or_default();
    let names = pieces.into_iter().filter_map(|piece| match piece {
        Piece::Variable { name, .. } => Some(name.to_owned()),
        Piece::Literal(_) => None,
    });
    names.collect()
}

fn pieces(written: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = written;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(literal) = before.strip_suffix('$') {
            pieces.extend([Piece::Literal(literal), Piece::Literal("${")]);
            rest = after;
            continue;
        }
        let (inside, behind) =
            after.split_once('}').ok_or("`${` has no closing `}`; write `$${` for the characters")?;
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if !is_name(name) {
            return Err(format!(
                "`${{{inside}}}` names no variable; allowed are ${{NAME}} and ${{NAME:-default}}"
            ));
        }
        pieces.extend([Piece::Literal(before), Piece::Variable { name, default }]);
        rest = behind;
    }
    pieces.push(Piece::Literal(rest));
    Ok(pieces)
}

/// Whether `text` can be the name of a variable.
pub(super) fn is_name(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment::of([("HOST", "db"), ("PASSWORD", "a: \"b\"\n#c ${HOST}"), ("EMPTY", "")])
    }

    #[test]
    fn variables_are_replaced_once_and_as_they_are() {
        for (written, text, unset) in [
            ("plain", "plain", &[][..]),
            ("${HOST}", "db", &[]),
            ("mysql://${HOST}:${PORT:-3306}/x", "mysql://db:3306/x", &[]),
            ("${PASSWORD}", "a: \"b\"\n#c ${HOST}", &[]),
            ("${EMPTY:-fallback}", "fallback", &[]),
            ("${NOPE:-}", "", &[]),
            ("${NOPE}-${EMPTY}", "-", &["NOPE", "EMPTY"]),
            ("$${HOST} costs $5", "${HOST} costs $5", &[]),
            ("$$${HOST}", "$${HOST}", &[]),
            ("${URL:-https://a.example/}", "https://a.example/", &[]),
            ("100% $HOST {x}", "100% $HOST {x}", &[]),
        ] {
            let expanded = expand(written, &environment()).unwrap();
            assert_eq!(
                (expanded.text.as_str(), expanded.unset.as_slice()),
                (text, &*unset.iter().map(ToString::to_string).collect::<Vec<_>>()),
                "{written}"
            );
        }
    }

    #[test]
    fn a_broken_variable_is_said_not_guessed() {
        for written in ["${HOST", "${}", "${1X}", "${A B}", "${A:?x}", "${A-b}"] {
            assert!(expand(written, &environment()).is_err(), "{written}");
        }
    }

    #[test]
    fn names_are_listed_in_order() {
        assert_eq!(names("${A} ${B:-x} $${C}"), ["A", "B"]);
    }
}
