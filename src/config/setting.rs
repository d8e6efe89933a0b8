//! The effective configuration, key by key, as people read it.

use std::fmt;

/// One key in force, as `check` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key, written `webhook.port`.
    pub path: String,
    /// Its value; `***` for a secret that is set.
    pub shown: String,
    /// Who set it.
    pub origin: Origin,
}

/// Who set a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody: it is the default.
    Default,
    /// The file, at this line.
    File(u64),
    /// An option of the command line.
    CommandLine,
    /// These variables, named in the file or in the default.
    Variables(Vec<String>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::CommandLine => f.write_str("command line"),
            Self::File(line) => write!(f, "line {line}"),
            Self::Variables(names) => f.write_str(&names.join(", ")),
        }
    }
}
