//! How a command ends when it does not succeed: a line that names the cause, and an exit code.

use std::fmt;
use std::io;

use crate::app::StartError;
use crate::config::Problems;

/// Why a command failed. Prints one line for each cause.
#[derive(Debug)]
pub enum CommandError {
    /// The command line asks for something that does not go together.
    Usage(String),
    /// The configuration is wrong.
    Configuration(Problems),
    /// The gateway could not start.
    Start(StartError),
    /// The command did its work, and the answer is no.
    Failed(String),
    /// Input could not be read or output could not be written.
    Io(io::Error),
}

impl CommandError {
    /// The exit code: 2 for what its caller has to change, 1 for everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Configuration(_) => 2,
            Self::Start(_) | Self::Failed(_) | Self::Io(_) => 1,
        }
    }

    /// Whether nobody reads our output any more, which is no failure: `wecom-gateway openapi | head`.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) | Self::Failed(what) => f.write_str(what),
            Self::Configuration(problems) => problems.fmt(f),
            Self::Start(error) => error.fmt(f),
            Self::Io(error) => write!(f, "cannot read or write: {error}"),
        }
    }
}

impl std::error::Error for CommandError {}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Problems> for CommandError {
    fn from(problems: Problems) -> Self {
        Self::Configuration(problems)
    }
}

impl From<StartError> for CommandError {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Place, Problem};

    #[test]
    fn exit_codes_tell_a_mistake_from_a_failure() {
        let problem = Problem { place: Place::file("n.yaml"), path: String::new(), what: "wrong".to_owned() };
        assert_eq!(CommandError::Configuration(Problems(vec![problem])).exit_code(), 2);
        assert_eq!(CommandError::Usage("x".to_owned()).exit_code(), 2);
        assert_eq!(CommandError::Failed("x".to_owned()).exit_code(), 1);
        assert!(CommandError::from(io::Error::from(io::ErrorKind::BrokenPipe)).is_closed_pipe());
    }
}
