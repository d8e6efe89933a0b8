//! What is wrong with a configuration: where, which key, what.
//!
//! Problems are collected, never thrown one by one: somebody who sets the gateway up sees all of them in one run.
//! Texts quote what stands in the file (`${WECHAT_TOKEN}`), never what a variable holds.

use std::fmt;
use std::sync::Arc;

/// A line and column of a configuration file; both start at 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named to us.
    pub file: Arc<str>,
    /// The line, or 0 when the file as a whole is meant.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

impl Place {
    /// The file as a whole.
    pub fn file(file: impl Into<Arc<str>>) -> Self {
        Self { file: file.into(), line: 0, column: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return f.write_str(&self.file);
        }
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One thing to put right before the gateway can start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub place: Place,
    /// The key, written `channels.wechat_api.corp_id`; empty for a fault of the file itself.
    pub path: String,
    /// What is wrong, in one short sentence.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.what)
    }
}

/// Everything that is wrong, in the order of the file; prints one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
