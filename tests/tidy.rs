//! The rules of this repository that the compiler does not know: who may import whom, and what files look like.
//!
//! Each rule is a function from texts to complaints. The tests at the top run the rules over the tree; those in
//! `each_rule_sees` show every rule catching what it forbids.

#[path = "tidy/code.rs"]
mod code;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use code::{before_tests, paths, production};

/// Lines a file may have before its tests begin.
const FILE_LINES_MAX: usize = 400;

/// Crates and who may name them. `app` may name everything.
const KEPT_TO: &[(&str, &[&str])] = &[
    ("sqlx", &["store"]),
    ("libsqlite3_sys", &["store"]),
    ("axum", &["http", "cli/dev"]),
    ("utoipa_axum", &["http"]),
    ("redis", &["ephemeral", "endpoint/redis_stream"]),
    ("async_nats", &["endpoint/nats"]),
    ("mongodb", &["endpoint/mongodb"]),
    ("reqwest", &["channel", "endpoint", "upkeep", "cli/dev", "cli/demo", "cli/check"]),
    ("anyhow", &["main", "cli"]),
    ("getrandom", &["entropy"]),
    ("crate::app", &["main", "cli", "gateway"]),
    ("crate::cli", &["main", "cli"]),
];

/// The pure bands, and the only modules of this crate they may name. Randomness comes to `wecom` as an argument.
const PURE: &[(&str, &[&str])] = &[
    ("wecom", &["wecom", "domain", "entropy", "sabotage", "secret"]),
    ("domain", &["domain", "ids", "sabotage", "secret"]),
];

/// What a pure band must not name besides other modules: tasks, files, sockets, time, randomness, the environment.
const IMPURE: &[&str] = &[
    "tokio",
    "tokio_util",
    "sqlx",
    "axum",
    "hyper",
    "hyper_util",
    "tower",
    "reqwest",
    "redis",
    "getrandom",
    "tracing",
    "metrics",
    "std::fs",
    "std::net",
    "std::io",
    "std::env",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::sync::Mutex",
];

/// Rooms of the upper bands: what the first must not name.
const BLIND_TO: &[(&str, &[&str])] = &[
    ("source", &["crate::store", "crate::http", "crate::channel", "crate::intake"]),
    (
        "store",
        &[
            "crate::http",
            "crate::wecom",
            "crate::source",
            "crate::channel",
            "crate::config",
            "crate::dispatch",
        ],
    ),
    ("channel", &["crate::store", "crate::http", "crate::dispatch", "crate::source"]),
    ("endpoint", &["crate::store", "crate::http", "crate::dispatch", "crate::source"]),
    // It hands out the settings of the others, and runs nothing.
    ("config", &["tokio", "hyper"]),
    ("intake", &["crate::http", "crate::wecom"]),
    ("tracker", &["crate::http"]),
    ("dispatch", &["crate::http"]),
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] =
    &["common", "helper", "helpers", "manager", "misc", "models", "types", "util", "utils"];

/// Attributes that hide a fault or a test. `#[expect]` with a reason says when it is no longer needed.
const HIDING: &[&str] = &["#[allow(", "#![allow(", "#[ignore", "#[should_panic"];

/// Marks of unfinished work; written apart so that this file does not hold them.
const UNFINISHED: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME")];

/// Endings of files that people write.
const WRITTEN: &[&str] = &["rs", "sh", "py", "js", "md", "toml", "yaml", "yml", "sql", "tsv", "txt"];

/// Folders of files that people write.
const PLACES: &[&str] =
    &["benches", "config", "docker", "docs", "examples", "fuzz", "nginx", "scripts", "src", "tests"];

const SQL_VERBS: &[&str] = &["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "REPLACE "];
const FORMATTING: &[&str] = &["format!(", "write!(", "writeln!("];

#[test]
fn imports_follow_the_table() {
    assert_none(rust_files("src").iter().flat_map(imports));
}

#[test]
fn source_files_keep_their_form() {
    let files = rust_files("src");
    let complaints = |rule: fn(&File) -> Vec<String>| files.iter().flat_map(rule).collect::<Vec<_>>();
    assert_none([complaints(header), complaints(length), complaints(name), complaints(sql)].concat());
}

#[test]
fn nothing_is_hidden_or_left_undone() {
    let mut files = Vec::new();
    for place in PLACES {
        files.extend(text_files(place));
    }
    let rust = files.iter().filter(|file| file.is(&["rs"]) && file.path != "tests/tidy.rs");
    assert_none(files.iter().flat_map(unfinished).chain(rust.flat_map(hiding)));
}

#[test]
fn both_readmes_say_the_same_and_documents_point_at_what_exists() {
    assert_none(twins(&read("README.md"), &read("README.zh-CN.md")));
    let mut documents = text_files("docs");
    documents.extend(["README.md", "README.zh-CN.md", "ARCHITECTURE.md", "benches/README.md"].map(file));
    let exists = |path: &str| root().join(path).exists();
    assert_none(documents.iter().flat_map(|document| dead_paths(document, &exists)));
}

#[test]
fn every_protection_in_use_has_a_control() {
    let mut code = String::new();
    for file in rust_files("src").iter().filter(|file| file.path != "src/sabotage.rs") {
        code.push_str(&production(&file.text));
    }
    assert_none(controls(&read("src/sabotage.rs"), &code, &read("tests/sabotage.tsv")));
}

/// A file of the tree: its path from the root, and its text.
struct File {
    path: String,
    text: String,
}

impl File {
    /// Whether all of it is tests: a test module that outgrew the foot of its file.
    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs")
    }

    /// Whether its name ends in one of `kinds`.
    fn is(&self, kinds: &[&str]) -> bool {
        self.path.rsplit_once('.').is_some_and(|(_, kind)| kinds.contains(&kind))
    }

    /// Whether it is `src/{place}.rs`, or lies in `src/{place}/`.
    fn lies_in(&self, place: &str) -> bool {
        let rest = self.path.strip_prefix("src/").and_then(|path| path.strip_prefix(place));
        rest.is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
    }
}

fn imports(file: &File) -> Vec<String> {
    if file.lies_in("app") || file.is_test() {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    let code = production(&file.text);
    for path in paths(&code) {
        // A module of the file's own may have a crate's name.
        let first = path.split("::").next().unwrap_or_default();
        if code.contains(&format!("mod {first};")) {
            continue;
        }
        let names = |what: &str| path == what || path.starts_with(&format!("{what}::"));
        let mut complain = |why: String| complaints.push(format!("{}: `{path}`: {why}", file.path));
        for (what, places) in KEPT_TO {
            if names(what) && !places.iter().any(|place| file.lies_in(place)) {
                complain(format!("{what} is for {places:?}"));
            }
        }
        for (band, modules) in PURE.iter().filter(|(band, _)| file.lies_in(band)) {
            let foreign = path
                .strip_prefix("crate::")
                .is_some_and(|rest| !modules.contains(&rest.split("::").next().unwrap_or_default()));
            if foreign || IMPURE.iter().any(|what| names(what)) {
                complain(format!("{band} is pure"));
            }
        }
        for (band, others) in BLIND_TO.iter().filter(|(band, _)| file.lies_in(band)) {
            if others.iter().any(|what| names(what)) {
                complain(format!("{band} must not know it"));
            }
        }
    }
    complaints
}

fn header(file: &File) -> Vec<String> {
    let missing = !file.text.starts_with("//!") && !file.is_test();
    missing.then(|| format!("{}: begins without a `//!` header", file.path)).into_iter().collect()
}

fn length(file: &File) -> Vec<String> {
    let lines = before_tests(&file.text).lines().count();
    let long = lines > FILE_LINES_MAX && !file.is_test();
    long.then(|| format!("{}: {lines} lines; {FILE_LINES_MAX} are allowed", file.path)).into_iter().collect()
}

fn name(file: &File) -> Vec<String> {
    let parts = file.path.trim_end_matches(".rs").split('/');
    parts
        .filter(|part| EMPTY_NAMES.contains(part))
        .map(|part| format!("{}: `{part}` says nothing about what is inside", file.path))
        .collect()
}

/// SQL that is put together from values; `String::push_str` of fixed parts is how statements grow.
fn sql(file: &File) -> Vec<String> {
    let text = before_tests(&file.text);
    let mut complaints = Vec::new();
    for formatting in FORMATTING {
        for (at, _) in text.match_indices(formatting) {
            let call = &text[at..];
            let Some(open) = call.find('"') else { continue };
            let literal = call[open + 1..].split('"').next().unwrap_or_default();
            if SQL_VERBS.iter().any(|verb| literal.contains(verb)) {
                let line = text[..at].lines().count();
                complaints.push(format!("{}:{line}: SQL in `{formatting}…)`", file.path));
            }
        }
    }
    complaints
}

fn unfinished(file: &File) -> Vec<String> {
    let complain = |mark: &&str| format!("{}: {mark}", file.path);
    UNFINISHED.iter().filter(|mark| file.text.contains(**mark)).map(complain).collect()
}

fn hiding(file: &File) -> Vec<String> {
    let complain = |what: &&str| format!("{}: {what}…", file.path);
    HIDING.iter().filter(|what| file.text.contains(**what)).map(complain).collect()
}

/// The two readmes: as many headings of each level, and equal code but for its comments.
fn twins(english: &str, chinese: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if headings(english) != headings(chinese) {
        complaints.push(format!(
            "the readmes' headings differ: {:?}, {:?}",
            headings(english),
            headings(chinese)
        ));
    }
    let (english, chinese) = (commands(english), commands(chinese));
    for line in english.symmetric_difference(&chinese) {
        complaints.push(format!("only one readme has the command `{line}`"));
    }
    complaints
}

/// The level of each heading, in order.
fn headings(markdown: &str) -> Vec<usize> {
    let prose = markdown.split("```").step_by(2);
    let heads = prose.flat_map(str::lines).filter(|line| line.starts_with('#'));
    heads.map(|line| line.bytes().take_while(|byte| *byte == b'#').count()).collect()
}

/// Lines of shell blocks without comments and values.
fn commands(markdown: &str) -> BTreeSet<String> {
    let blocks = markdown.split("```").skip(1).step_by(2).filter(|block| block.starts_with("sh"));
    let lines = blocks.flat_map(|block| block.lines().skip(1));
    let bare = lines.map(|line| line.split(" #").next().unwrap_or_default().trim());
    bare.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// Paths in backticks and links that lead nowhere, but for those on lines that say `not yet`.
fn dead_paths(document: &File, exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let base = Path::new(&document.path).parent().and_then(Path::to_str).unwrap_or_default();
    let mut complaints = Vec::new();
    let lines = document.text.lines().filter(|line| !line.contains("not yet"));
    let text = lines.collect::<Vec<_>>().join("\n");
    for part in text.split('`').skip(1).step_by(2) {
        let plain = part.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
        let known = PLACES.iter().any(|place| part.starts_with(&format!("{place}/")));
        // Prose about the code leaves out `src/`.
        let short =
            !known && part.contains('/') && part.rsplit_once('.').is_some_and(|(_, kind)| kind == "rs");
        let path = if short { format!("src/{part}") } else { part.to_owned() };
        if plain && (known || short) && !exists(&path) && !exists(&format!("{base}/{part}")) {
            complaints.push(format!("{}: `{part}` does not exist", document.path));
        }
    }
    for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let target = link.split('#').next().unwrap_or_default();
        let outside = target.is_empty() || target.contains("://") || target.contains(char::is_whitespace);
        if !outside && !exists(target) && !exists(&format!("{base}/{target}")) {
            complaints.push(format!("{}: link to {target}, which does not exist", document.path));
        }
    }
    complaints
}

/// Protections that are asked for in `code` but not controlled, and controls of what does not exist.
fn controls(declared: &str, code: &str, table: &str) -> Vec<String> {
    let after = |text: &str, mark: &str| -> BTreeSet<String> {
        let names = text.split(mark).skip(1);
        names.map(|rest| rest.chars().take_while(char::is_ascii_alphanumeric).collect()).collect()
    };
    let body = declared.split("pub enum Protection {").nth(1).and_then(|rest| rest.split('}').next());
    let variants = body.unwrap_or_default().lines().filter_map(|line| line.trim().strip_suffix(','));
    let known: BTreeSet<String> = variants.map(str::to_owned).collect();
    let rows = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let controlled: BTreeSet<String> =
        rows.filter_map(|row| row.split('\t').next()).map(str::to_owned).collect();
    let used = after(code, "Protection::");
    let uncontrolled =
        used.difference(&controlled).map(|name| format!("{name} has no line in tests/sabotage.tsv"));
    let unknown =
        controlled.difference(&known).map(|name| format!("tests/sabotage.tsv names {name}, which is none"));
    let unused = known.difference(&used).map(|name| format!("no code asks for the protection {name}"));
    uncontrolled.chain(unknown).chain(unused).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn file(path: &str) -> File {
    File { path: path.to_owned(), text: read(path) }
}

fn rust_files(place: &str) -> Vec<File> {
    let files: Vec<File> = text_files(place).into_iter().filter(|file| file.is(&["rs"])).collect();
    assert!(files.len() > 5, "the rules must see the files they are for");
    files
}

/// All files under `place` that people write, in a fixed order; none if the folder does not exist.
fn text_files(place: &str) -> Vec<File> {
    let Ok(entries) = fs::read_dir(root().join(place)) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names.retain(|name| !["node_modules", "target", "__pycache__"].contains(&name.as_str()));
    let mut files = Vec::new();
    for name in names {
        let path = format!("{place}/{name}");
        let written = File { path: path.clone(), text: String::new() }.is(WRITTEN);
        if root().join(&path).is_dir() {
            files.extend(text_files(&path));
        } else if written {
            files.push(file(&path));
        }
    }
    files
}

fn assert_none(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<String> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "{} against the rules:\n  {}", complaints.len(), complaints.join("\n  "));
}

mod each_rule_sees {
    use super::*;

    fn at(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn imports_against_the_table() {
        for (path, text) in [
            ("src/http/status.rs", "use sqlx::Row;"),
            ("src/http/status.rs", "fn f() { sqlx::query(Q); }"),
            ("src/store/events.rs", "use axum::{Router, routing::get};"),
            ("src/wecom/xml.rs", "use std::{collections::HashMap, fs};"),
            ("src/wecom/xml.rs", "use crate::{clock::Clock, wecom::keys};"),
            ("src/domain/event.rs", "fn f() -> crate::store::Store { todo() }"),
            ("src/domain.rs", "use tokio::time;"),
            ("src/store/mod.rs", "use crate::http;"),
            ("src/channel/robot.rs", "use crate::store::Store;"),
            ("src/storefront.rs", "use sqlx::Row;"),
            ("src/dispatch.rs", "use reqwest as client;\nfn f(c: reqwest::Client) {}"),
        ] {
            assert!(!imports(&at(path, text)).is_empty(), "{path}: {text}");
        }
    }

    #[test]
    fn no_harm_in_what_is_allowed() {
        for (path, text) in [
            ("src/store/events.rs", "use sqlx::{Row, any::AnyRow as Record};"),
            ("src/app/start.rs", "use sqlx::Row; use axum::Router;"),
            ("src/config/mod.rs", "mod redis;\npub use redis::Setting;"),
            (
                "src/wecom/xml.rs",
                "// use tokio::time;\nconst A: &str = \"sqlx::query\";\nconst B: char = '\"';",
            ),
            (
                "src/wecom/xml.rs",
                "const A: &str = r#\"axum::\"Router\"#; /* tokio::spawn */ fn f<'a>(a: &'a str) {}",
            ),
            ("src/domain/fold.rs", "fn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::clock::Clock;\n}\n"),
        ] {
            assert_eq!(imports(&at(path, text)), Vec::<String>::new(), "{path}: {text}");
        }
    }

    #[test]
    fn files_without_form() {
        assert_eq!(header(&at("src/a.rs", "// not a header\n")).len(), 1);
        assert_eq!(header(&at("src/a.rs", "//! A header.\n")).len(), 0);
        assert_eq!(length(&at("src/a.rs", &"line\n".repeat(401))).len(), 1);
        let tested = "line\n".repeat(400) + "#[cfg(test)]\nmod tests {\n" + &"line\n".repeat(300);
        assert_eq!(length(&at("src/a.rs", &tested)).len(), 0);
        assert_eq!(name(&at("src/http/utils.rs", "")).len(), 1);
        assert_eq!(name(&at("src/types/event.rs", "")).len(), 1);
        assert_eq!(name(&at("src/http/status.rs", "")).len(), 0);
    }

    #[test]
    fn sql_made_of_values() {
        assert_eq!(sql(&at("src/a.rs", "format!(\"SELECT * FROM t WHERE id = '{id}'\")")).len(), 1);
        assert_eq!(sql(&at("src/a.rs", "let a = format!(\n    \"x; DELETE FROM {table}\",\n);")).len(), 1);
        assert_eq!(sql(&at("src/a.rs", "write!(out, \"UPDATE t SET a = {a}\")")).len(), 1);
        assert_eq!(sql(&at("src/a.rs", "query(\"SELECT 1\"); format!(\"selected {n}\")")).len(), 0);
    }

    #[test]
    fn hidden_and_unfinished_work() {
        assert_eq!(unfinished(&at("src/a.rs", concat!("// TO", "DO: later"))).len(), 1);
        assert_eq!(unfinished(&at("scripts/a.sh", concat!("# FIX", "ME"))).len(), 1);
        for what in ["#[allow(dead_code)]", "#[ignore]", "#[should_panic(expected = \"a\")]"] {
            assert_eq!(hiding(&at("src/a.rs", what)).len(), 1, "{what}");
        }
        assert_eq!(hiding(&at("src/a.rs", "#[expect(dead_code, reason = \"used by b\")]")).len(), 0);
    }

    #[test]
    fn readmes_that_drift_apart() {
        let english = "# A\n## B\n```sh\n# comment\ncargo run # now\n```\n";
        assert_eq!(twins(english, "# 甲\n## 乙\n```sh\n# 注释\ncargo run # 现在\n```\n").len(), 0);
        assert_eq!(twins(english, "# 甲\n### 乙\n```sh\ncargo run\n```\n").len(), 1);
        assert_eq!(twins(english, "# 甲\n## 乙\n```sh\ncargo test\n```\n").len(), 2);
    }

    #[test]
    fn documents_that_point_nowhere() {
        let exists = |path: &str| ["src/main.rs", "docs/features.md"].contains(&path);
        let good =
            at("docs/a.md", "`src/main.rs`, [b](features.md#top), [c](https://example.com), `src/{a,b}.rs`");
        assert_eq!(dead_paths(&good, &exists), Vec::<String>::new());
        let dead = at("README.md", "`src/gone.rs`, `http/gone.rs` and [d](docs/gone.md)");
        assert_eq!(dead_paths(&dead, &exists).len(), 3);
    }

    #[test]
    fn protections_without_a_control() {
        let declared = "pub enum Protection {\n    /// One.\n    Flush,\n    /// Two.\n    Pace,\n}\n";
        let code = "off(Protection::Flush) || off(Protection::Pace)";
        assert_eq!(controls(declared, code, "# name\nFlush\ta\tlib\nPace\tb\tit\n"), Vec::<String>::new());
        assert_eq!(controls(declared, code, "Flush\ta\tlib\n").len(), 1);
        assert_eq!(controls(declared, code, "Flush\ta\tlib\nPace\tb\tit\nGone\tc\tit\n").len(), 1);
        assert_eq!(controls(declared, "off(Protection::Flush)", "Flush\ta\tlib\n").len(), 1);
    }
}
