//! Reading Rust well enough for the rules: what is code, and which paths it names.

/// The part of a file before its test module.
pub(crate) fn before_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default()
}

/// The code that ships: no tests, and comments, strings and characters blanked out.
pub(crate) fn production(text: &str) -> String {
    let mut code = String::new();
    let mut rest = before_tests(text);
    while let Some(next) = rest.chars().next() {
        let literal = literal_length(rest);
        if literal > 0 {
            code.push(' ');
            rest = rest.get(literal..).unwrap_or_default();
        } else {
            code.push(next);
            rest = &rest[next.len_utf8()..];
            // Not every `r` begins a raw string: skip the rest of a name at once.
            if next.is_alphanumeric() || next == '_' {
                let name = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                code.push_str(&rest[..name]);
                rest = &rest[name..];
            }
        }
    }
    code
}

/// How long the comment, string or character at the start of `text` is; 0 if there is none.
fn literal_length(text: &str) -> usize {
    let to = |end: &str, from: usize| {
        text.get(from..).and_then(|rest| rest.find(end)).map_or(text.len(), |at| from + at + end.len())
    };
    if text.starts_with("//") {
        return to("\n", 0) - 1;
    }
    if text.starts_with("/*") {
        return to("*/", 2);
    }
    let hashes = text
        .trim_start_matches('b')
        .strip_prefix('r')
        .map(|rest| rest.bytes().take_while(|b| *b == b'#').count());
    if let Some(hashes) = hashes {
        let open = text.find('r').unwrap_or(0) + 1 + hashes;
        if text[open..].starts_with('"') {
            return to(&format!("\"{}", "#".repeat(hashes)), open + 1);
        }
        return 0;
    }
    if text.starts_with('"') || text.starts_with("b\"") {
        let open = text.find('"').unwrap_or(0) + 1;
        let mut escaped = false;
        for (at, c) in text[open..].char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => return open + at + 1,
                _ => {}
            }
        }
        return text.len();
    }
    let mut characters = text.chars();
    match (characters.next(), characters.next(), characters.next()) {
        (Some('\''), Some('\\'), _) => to("'", 3),
        (Some('\''), Some(inner), Some('\'')) => 2 + inner.len_utf8(),
        _ => 0,
    }
}

/// Every path of two parts or more in `code`, with the groups of `use` written out.
pub(crate) fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(start) = rest.find(|c: char| c.is_alphabetic() || c == '_') {
        rest = &rest[start..];
        rest = path(rest, "", &mut found);
    }
    found.retain(|path| path.contains("::"));
    found
}

/// Reads one path, or one group of them, behind `prefix`; gives what follows it.
fn path<'a>(text: &'a str, prefix: &str, found: &mut Vec<String>) -> &'a str {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut whole = prefix.to_owned();
    let mut rest = text;
    loop {
        let end = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
        whole.push_str(&rest[..end]);
        rest = &rest[end..];
        let Some(after) = rest.strip_prefix("::") else { break };
        if let Some(mut group) = after.trim_start().strip_prefix('{') {
            whole.push_str("::");
            loop {
                group = group.trim_start_matches(|c: char| c.is_whitespace() || c == ',' || c == '*');
                if let Some(after) = group.strip_prefix('}') {
                    return after;
                }
                let before = group.len();
                group = path(group, &whole, found);
                if group.len() == before {
                    return group;
                }
                // `as name` behind an item is no item.
                group = group.trim_start();
                if let Some(alias) = group.strip_prefix("as ") {
                    group = alias.trim_start_matches(is_name);
                }
            }
        }
        if !after.starts_with(is_name) {
            rest = after;
            break;
        }
        whole.push_str("::");
        rest = after;
    }
    found.push(whole);
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_written_out() {
        let code = "use a::{b, c::{d, e as f}, g::*}; h::i(j);";
        assert_eq!(paths(code), ["a::b", "a::c::d", "a::c::e", "a::g", "h::i"]);
    }

    #[test]
    fn literals_and_tests_are_no_code() {
        let text = "a(\"b::c\", 'd', r#\"e\"f\"#); // g\n/* h */ i::<'j>();\n#[cfg(test)]\nmod tests {\n    k::l();\n}\n";
        let code = production(text);
        assert_eq!(code.split_whitespace().collect::<String>(), "a(,,);i::<'j>();");
    }
}
