//! The variables of the process, and of a `.env` file below them.
//!
//! The only reader of the process environment. What the process has wins over the file; an empty value counts as
//! unset in both, because container tools pass on unset variables as empty ones.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::problem::{Place, Problem, Problems};
use super::variables::is_name;

/// Variables by name.
#[derive(Clone, Default)]
pub struct Environment {
    process: BTreeMap<String, String>,
    file: BTreeMap<String, String>,
}

impl Environment {
    /// The environment of this process, and the file `.env` in `directory` if there is one.
    ///
    /// # Errors
    /// Every line of the file that is not understood, or that the file cannot be read.
    pub fn read(directory: &Path) -> Result<Self, Problems> {
        let process = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let path = directory.join(".env");
        let shown = path.display().to_string();
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Self { process, file: parse(&shown, &text)? }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self { process, file: BTreeMap::new() })
            }
            Err(error) => Err(Problems(vec![Problem {
                place: Place::file(shown),
                path: String::new(),
                what: format!("cannot be read: {error}"),
            }])),
        }
    }

    /// Exactly these variables.
    pub fn of<N: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (N, V)>) -> Self {
        let process = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { process, file: BTreeMap::new() }
    }

    /// The value of `name`; `None` if it is unset or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let set = |map: &'_ BTreeMap<String, String>| -> bool {
            map.get(name).is_some_and(|value| !value.is_empty())
        };
        let map = if set(&self.process) { &self.process } else { &self.file };
        map.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// Names only: values are secrets more often than not.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.process.keys().chain(self.file.keys())).finish()
    }
}

/// Reads the lines `NAME=value` of a `.env` file. Nothing is replaced inside values: a `$` is a `$`.
fn parse(file: &str, text: &str) -> Result<BTreeMap<String, String>, Problems> {
    let mut variables = BTreeMap::new();
    let mut problems = Vec::new();
    for (line, number) in text.trim_start_matches('\u{feff}').lines().zip(1..) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match parse_line(line) {
            Ok((name, value)) => {
                variables.insert(name.to_owned(), value);
            }
            Err(what) => problems.push(Problem {
                place: Place { file: file.into(), line: number, column: 1 },
                path: String::new(),
                what: what.to_owned(),
            }),
        }
    }
    if problems.is_empty() { Ok(variables) } else { Err(Problems(problems)) }
}

fn parse_line(line: &str) -> Result<(&str, String), &'static str> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=').ok_or("should be NAME=value")?;
    let (name, value) = (name.trim_end(), value.trim_start());
    if !is_name(name) {
        return Err("a name has letters, digits and _ only");
    }
    let value = if let Some(inside) = value.strip_prefix('\'') {
        single_quoted(inside)?.to_owned()
    } else if let Some(inside) = value.strip_prefix('"') {
        double_quoted(inside)?
    } else {
        let end = value.find(" #").unwrap_or(value.len());
        value.get(..end).unwrap_or(value).trim_end().to_owned()
    };
    Ok((name, value))
}

fn single_quoted(inside: &str) -> Result<&str, &'static str> {
    let (value, behind) = inside.split_once('\'').ok_or(UNCLOSED)?;
    if is_remark(behind) { Ok(value) } else { Err(BEHIND_QUOTE) }
}

/// Knows `\n`, `\t`, `\"` and `\\`; another backslash stays as it is.
fn double_quoted(inside: &str) -> Result<String, &'static str> {
    let mut value = String::new();
    let mut chars = inside.chars();
    loop {
        match chars.next().ok_or(UNCLOSED)? {
            '"' => break,
            '\\' => match chars.next().ok_or(UNCLOSED)? {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                escaped @ ('"' | '\\') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
    if is_remark(chars.as_str()) { Ok(value) } else { Err(BEHIND_QUOTE) }
}

fn is_remark(behind: &str) -> bool {
    let behind = behind.trim_start();
    behind.is_empty() || behind.starts_with('#')
}

const UNCLOSED: &str = "the quote is not closed on this line";
const BEHIND_QUOTE: &str = "only a # remark may stand behind the closing quote";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dotenv_file_is_read_line_by_line() {
        let text = "\u{feff}# settings\r\nA=1\r\n\nexport B = two words  # why\nC='a # \"b\" \\n $X'\n\
                    D=\"x\\n\\\"y\\\"\\\\ \\d $X\" # remark\nE=\nF=p@ss:/#%w=rd\nA=last\n";
        let variables = parse(".env", text).unwrap();
        let shown: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let expected = [
            ("A", "last"),
            ("B", "two words"),
            ("C", "a # \"b\" \\n $X"),
            ("D", "x\n\"y\"\\ \\d $X"),
            ("E", ""),
            ("F", "p@ss:/#%w=rd"),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn every_bad_line_is_reported_without_its_value() {
        let problems =
            parse(".env", "GOOD=1\nhunter2\n1A=hunter2\nB='hunter2\nC=\"hunter2\" hunter2\n").unwrap_err();
        let lines: Vec<u64> = problems.0.iter().map(|problem| problem.place.line).collect();
        assert_eq!(lines, [2, 3, 4, 5]);
        assert!(!problems.to_string().contains("hunter2"));
    }

    #[test]
    fn the_process_wins_and_empty_is_unset() {
        let mut environment = Environment::of([("A", "process"), ("B", "")]);
        environment.file = parse(".env", "A=file\nB=file\nC=file\nD=\n").unwrap();
        assert_eq!(environment.get("A"), Some("process"));
        assert_eq!(environment.get("B"), Some("file"));
        assert_eq!(environment.get("C"), Some("file"));
        assert_eq!((environment.get("D"), environment.get("E")), (None, None));
        assert!(!format!("{environment:?}").contains("process"));
    }
}
