//! A fresh database for each test, on both engines.
//!
//! `on_both!` makes two tests of one body: on a SQLite file of its own, and on a MySQL database of its own on the
//! server of `TEST_MYSQL_URL`. Both are gone when the test ends, also when it panics.

use std::path::PathBuf;

use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor};
use wecom_gateway::clock::Clock;
use wecom_gateway::entropy::Entropy;
use wecom_gateway::ids::{EventId, IdMaker};
use wecom_gateway::seals::Seals;
use wecom_gateway::secret::Secret;
use wecom_gateway::store::{Engine, Store, StoreSettings};

/// When tests take place, wall ms.
pub(crate) const NOW_MS: i64 = 1_800_000_000_000;

/// A database that is dropped with this value.
pub(crate) struct Database {
    pub(crate) engine: Engine,
    pub(crate) url: String,
    pub(crate) clock: Clock,
    pub(crate) ids: IdMaker,
    seals: Seals,
    place: Place,
}

enum Place {
    Directory(PathBuf),
    Server {
        url: String,
        name: String,
    },
    /// It belongs to somebody else.
    Elsewhere,
}

impl Database {
    /// An empty database.
    pub(crate) async fn new(engine: Engine) -> Self {
        sqlx::any::install_default_drivers();
        let clock = Clock::manual(NOW_MS);
        let ids = IdMaker::new(clock.clone(), Entropy::system());
        let unique = ids.make::<EventId>().to_string();
        let (url, place) = match engine {
            Engine::Sqlite => {
                let directory = std::env::temp_dir().join(format!("wecom-gateway-{unique}"));
                (format!("sqlite:{}/gateway.db", directory.display()), Place::Directory(directory))
            }
            Engine::MySql => {
                let server = std::env::var("TEST_MYSQL_URL")
                    .unwrap_or_else(|_| "mysql://root@127.0.0.1:3306".to_owned());
                let server = server.trim_end_matches('/').to_owned();
                let name = format!("test_{unique}");
                on_server(&server, format!("CREATE DATABASE {name}")).await;
                (format!("{server}/{name}"), Place::Server { url: server, name })
            }
        };
        Self { engine, url, clock, ids, seals: Seals::default(), place }
    }

    /// The database at `url`, which stays when this value goes.
    pub(crate) fn at(engine: Engine, url: String) -> Self {
        sqlx::any::install_default_drivers();
        let clock = Clock::manual(NOW_MS);
        let ids = IdMaker::new(clock.clone(), Entropy::system());
        Self { engine, url, clock, ids, seals: Seals::default(), place: Place::Elsewhere }
    }

    /// The same database, its rows sealed with `key` and readable with `previous`; it stays when this value goes.
    pub(crate) fn sealed(&self, key: &str, previous: &[&str]) -> Self {
        let previous: Vec<Secret> = previous.iter().map(|key| Secret::new(*key)).collect();
        let seals = Seals::new(&Secret::new(key), &previous, &Entropy::system());
        let (clock, ids) = (self.clock.clone(), self.ids.clone());
        Self { engine: self.engine, url: self.url.clone(), clock, ids, seals, place: Place::Elsewhere }
    }

    /// Settings that lead here.
    pub(crate) fn settings(&self) -> StoreSettings {
        let seals = self.seals.clone();
        StoreSettings { seals, ..StoreSettings::new(Secret::new(self.url.clone())) }
    }

    /// Opens the store.
    pub(crate) async fn open(&self) -> Store {
        Store::open(&self.settings(), self.clock.clone(), self.ids.clone()).await.expect("the store opens")
    }

    /// A connection beside the store, to look at rows or to spoil them.
    pub(crate) async fn connect(&self) -> AnyConnection {
        AnyConnection::connect(&self.url).await.expect("the database can be reached")
    }

    /// The number that `sql` gives.
    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        use sqlx::Row as _;
        let mut conn = self.connect().await;
        conn.fetch_one(sql).await.expect("the statement runs").get(0)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        match &self.place {
            Place::Directory(directory) => {
                let _missing = std::fs::remove_dir_all(directory);
            }
            Place::Elsewhere => {}
            Place::Server { url, name } => {
                let (url, sql) = (url.clone(), format!("DROP DATABASE {name}"));
                // The test's own runtime may be on its way out.
                let dropping = std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .expect("a runtime");
                    runtime.block_on(on_server(&url, sql));
                });
                let _told_already = dropping.join();
            }
        }
    }
}

async fn on_server(url: &str, sql: String) {
    let mut conn = AnyConnection::connect(&format!("{url}/mysql")).await.expect("TEST_MYSQL_URL is a server");
    conn.execute(AssertSqlSafe(sql)).await.expect("databases can be made and dropped");
    conn.close().await.expect("the connection closes");
}

/// One test body, two tests: `on_both! { async fn name(database: &Database) { … } }`.
macro_rules! on_both {
    ($($(#[$attribute:meta])* async fn $name:ident($database:ident: &Database) $body:block)+) => {
        $(
            $(#[$attribute])*
            mod $name {
                use super::*;

                async fn check($database: &Database) $body

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn sqlite() {
                    check(&Database::new(wecom_gateway::store::Engine::Sqlite).await).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn mysql() {
                    check(&Database::new(wecom_gateway::store::Engine::MySql).await).await;
                }
            }
        )+
    };
}

pub(crate) use on_both;
