//! Why the gateway does not start.

use std::io;
use std::net::SocketAddr;

use crate::config::Problems;
use crate::store::StoreError;
use crate::telemetry::TelemetryError;

/// Why the gateway could not start, on one line with what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Configuration(#[from] Problems),
    /// Channels contradict each other; a line each.
    #[error("{0}")]
    Channels(String),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {}", advice(source))]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The database cannot be used.
    #[error("cannot use the database {shown}: {source}")]
    Database {
        /// Its address without the password.
        shown: String,
        /// What is wrong with it.
        source: StoreError,
    },
    /// The spool cannot be used.
    #[error(
        "cannot use the spool in {shown}: {source}; change spool.directory, or set spool.enabled to false"
    )]
    Spool {
        /// Its directory.
        shown: String,
        /// What is wrong with it.
        source: StoreError,
    },
    /// The system does not hand over its signals.
    #[error("cannot listen to signals: {0}")]
    Signals(io::Error),
    /// The log cannot be written.
    #[error(transparent)]
    Log(#[from] TelemetryError),
}

fn advice(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the port is in use; stop the other program or change webhook.port".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have that address; change webhook.host".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "the system does not allow it; ports below 1024 need rights, change webhook.port".to_owned()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_to_start_say_what_to_do_on_one_line() {
        let address: SocketAddr = "0.0.0.0:8080".parse().unwrap();
        let listen = |kind: io::ErrorKind| StartError::Listen { address, source: kind.into() }.to_string();
        assert_eq!(
            listen(io::ErrorKind::AddrInUse),
            "cannot listen on 0.0.0.0:8080: the port is in use; stop the other program or change webhook.port"
        );
        assert!(listen(io::ErrorKind::AddrNotAvailable).contains("webhook.host"));
        assert!(listen(io::ErrorKind::PermissionDenied).contains("below 1024"));
        let database = StartError::Database {
            shown: "mysql://u:***@db/n".to_owned(),
            source: StoreError::Unavailable("connection refused".to_owned()),
        };
        let expected =
            "cannot use the database mysql://u:***@db/n: the database is not available: connection refused";
        assert_eq!(database.to_string(), expected);
    }
}
