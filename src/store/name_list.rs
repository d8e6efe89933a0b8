//! A list of names in one column: a JSON array of strings.

/// The column's text.
pub(super) fn to_text(names: &[String]) -> String {
    serde_json::Value::from(names).to_string()
}

/// Reads [`to_text`].
pub(super) fn parse(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_whatever_is_in_them() {
        let names = vec!["a,b".to_owned(), "\"[]\"".to_owned(), "张三".to_owned(), String::new()];
        assert_eq!(parse(&to_text(&names)), Some(names));
        assert_eq!(parse(&to_text(&[])), Some(Vec::new()));
        assert_eq!(parse("a,b"), None);
    }
}
