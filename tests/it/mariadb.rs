//! A MariaDB server of a test's own, for settings that are global to a server.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor};

/// A server that is killed with this value.
pub(crate) struct Server {
    process: Child,
    directory: PathBuf,
    port: u16,
    options: Vec<String>,
}

impl Server {
    /// Starts a server with `options` and an empty database `gateway`.
    pub(crate) async fn start(options: &[&str]) -> Self {
        sqlx::any::install_default_drivers();
        let port = free_port();
        let directory = std::env::temp_dir().join(format!("wecom-gateway-mariadb-{port}"));
        let (data, temporary) = (directory.join("data"), directory.join("tmp"));
        std::fs::create_dir_all(&temporary).expect("directories for the server");
        let user = format!("--user={}", if is_root() { "root" } else { "mysql" });
        let installed = Command::new("mariadb-install-db")
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", &user])
            .arg(format!("--datadir={}", data.display()))
            .env("TMPDIR", &temporary)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(installed.expect("mariadb-install-db is installed").success(), "an empty server is made");
        let mut all = vec![
            "--no-defaults".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            "--innodb-buffer-pool-size=16M".to_owned(),
            user,
            format!("--datadir={}", data.display()),
            // A server that starts deletes the temporary tables it finds, those of servers beside it too.
            format!("--tmpdir={}", temporary.display()),
            format!("--socket={}", directory.join("socket").display()),
            format!("--port={port}"),
        ];
        all.extend(options.iter().map(|option| (*option).to_owned()));
        let server = Self { process: launch(&all), directory, port, options: all };
        server.execute("CREATE DATABASE gateway").await;
        server
    }

    /// Sends it a signal (`TERM`, `STOP`, `CONT`, …).
    pub(crate) fn signal(&self, signal: &str) {
        let status =
            Command::new("kill").arg(format!("-{signal}")).arg(self.process.id().to_string()).status();
        assert!(status.expect("kill runs").success(), "kill -{signal}");
    }

    /// Waits until it has ended after a signal.
    pub(crate) fn wait(&mut self) {
        self.process.wait().expect("it ends");
    }

    /// Starts it again on the same data.
    pub(crate) fn restart(&mut self) {
        self.process = launch(&self.options);
    }

    /// The URL of one of its databases.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs one statement as root, as soon as the server answers.
    pub(crate) async fn execute(&self, sql: &str) {
        for _ in 0..300 {
            if let Ok(mut conn) = AnyConnection::connect(&self.url("mysql")).await {
                conn.execute(AssertSqlSafe(sql.to_owned())).await.expect("the statement runs");
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("mariadbd does not answer");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _dead_already = self.process.kill();
        let _reaped = self.process.wait();
        let _missing = std::fs::remove_dir_all(&self.directory);
    }
}

fn launch(options: &[String]) -> Child {
    Command::new("mariadbd")
        .args(options)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("mariadbd is installed")
}

/// A port that is free, and that no other test of this process has got.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        if GIVEN.lock().expect("lock").insert(port) {
            return port;
        }
    }
}

/// A server started by root has to be told that this is meant.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
