//! Opening connections: one writer and some readers on SQLite, a pool on MySQL.

use std::fmt::Write as _;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use sqlx::AnyConnection;
use sqlx::AnyPool;
use sqlx::ConnectOptions;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};

use super::{Durability, Engine, StoreError, StoreSettings};

/// Opens connections to one database.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    pub(super) engine: Engine,
    options: AnyConnectOptions,
    durability: Durability,
    acquire_timeout: Duration,
}

impl Connector {
    /// Reads the settings. A SQLite file's directory is made if it is missing.
    pub(super) fn new(settings: &StoreSettings) -> Result<Self, StoreError> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);

        let url = settings.url.expose();
        let engine = Engine::of_url(url).ok_or_else(|| {
            StoreError::Settings("the URL has to begin with sqlite: or mysql://".to_owned())
        })?;
        let url = match engine {
            Engine::Sqlite => sqlite_url(&sqlite_path(url)?),
            Engine::MySql => url.to_owned(),
        };
        let options: AnyConnectOptions = url.parse().map_err(Engine::explain)?;
        Ok(Self {
            engine,
            options: options.disable_statement_logging(),
            durability: settings.durability,
            acquire_timeout: Duration::from_millis(settings.acquire_timeout_ms),
        })
    }

    /// A connection that writes durably.
    pub(super) async fn writer(&self) -> Result<AnyConnection, StoreError> {
        let connect = async {
            let mut conn = self.options.connect().await?;
            self.engine.prepare_writer(&mut conn, self.durability).await?;
            Ok(conn)
        };
        // Recovery of a long WAL belongs to opening a file; only a server has to answer in time.
        match self.engine {
            Engine::Sqlite => connect.await,
            Engine::MySql => tokio::time::timeout(self.acquire_timeout, connect)
                .await
                .unwrap_or_else(|_elapsed| Err(StoreError::Unavailable("no connection in time".to_owned()))),
        }
    }

    /// A connection that copies SQLite's log into its file.
    pub(super) async fn checkpointer(&self) -> Result<AnyConnection, StoreError> {
        let mut conn = self.options.connect().await?;
        self.engine.prepare_checkpointer(&mut conn).await?;
        Ok(conn)
    }

    /// Connections for everything but SQLite's writer; none is opened yet.
    pub(super) fn pool(&self, connections_max: u32) -> AnyPool {
        let engine = self.engine;
        AnyPoolOptions::new()
            .max_connections(connections_max.max(1))
            .acquire_timeout(self.acquire_timeout)
            // A dead connection shows at its first statement; asking before each use would double the round trips.
            .test_before_acquire(false)
            .max_lifetime(None)
            .after_connect(move |conn, _meta| Box::pin(async move { engine.prepare_reader(conn).await }))
            .connect_lazy_with(self.options.clone())
    }
}

/// The path in `sqlite:PATH` or `sqlite://PATH`.
pub(super) fn sqlite_path(url: &str) -> Result<PathBuf, StoreError> {
    let path = url.strip_prefix("sqlite:").unwrap_or(url);
    let path = path.strip_prefix("//").unwrap_or(path);
    let path = path.split_once('?').map_or(path, |(path, _options)| path);
    if path.is_empty() || path == ":memory:" {
        return Err(StoreError::Settings("a SQLite database has to be a file".to_owned()));
    }
    Ok(PathBuf::from(path))
}

/// The address of the SQLite file at `path`.
pub(super) fn sqlite_url_of(path: &Path) -> String {
    ["sqlite:", &path.to_string_lossy()].concat()
}

/// The driver's form: it decodes `%`, so that any file name can be said.
fn sqlite_url(path: &Path) -> String {
    let mut url = "sqlite:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                url.push(char::from(*byte));
            }
            other => {
                // Writing into a string cannot fail.
                let _ = write!(url, "%{other:02X}");
            }
        }
    }
    url.push_str("?mode=rwc");
    url
}

/// Holds a SQLite file for this process. The lock ends with the file handle, also when the process is killed.
pub(super) fn lock_sqlite_file(path: &Path) -> Result<File, StoreError> {
    let unusable = |error: std::io::Error| StoreError::Settings(format!("{}: {error}", path.display()));
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory).map_err(unusable)?;
    }
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let file = File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(path.display().to_string())),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_in_both_forms_and_escaped_for_the_driver() {
        assert_eq!(sqlite_path("sqlite:data/a.db").unwrap(), PathBuf::from("data/a.db"));
        assert_eq!(sqlite_path("sqlite:///tmp/a.db?mode=ro").unwrap(), PathBuf::from("/tmp/a.db"));
        assert!(sqlite_path("sqlite::memory:").is_err());
        assert!(sqlite_path("sqlite:").is_err());
        assert_eq!(sqlite_url(Path::new("/a b#?.db")), "sqlite:/a%20b%23%3F.db?mode=rwc");
    }
}
