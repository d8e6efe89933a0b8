//! R-2c: a database that says "committed" before it has flushed is refused at start, in one clear line.
//!
//! The setting belongs to the whole server, so the test has a MariaDB of its own.

use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use sqlx::{AnyConnection, Connection, Executor};

use crate::gateway::{Folder, Gateway, Setup, configuration};

/// A refusal to start may take this long.
const REFUSAL_LIMIT: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_server_that_does_not_flush_is_refused() {
    let server = Server::start().await;
    server.set("SET GLOBAL innodb_flush_log_at_trx_commit = 2").await;
    let start = Instant::now();
    let refused = serve(&server.setup("strict"));
    let said =
        String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
    assert!(refused.status.code().is_some_and(|code| code != 0), "{said}");
    assert!(start.elapsed() < REFUSAL_LIMIT, "it took {:?}", start.elapsed());
    let naming = said.lines().filter(|line| line.contains("innodb_flush_log_at_trx_commit = 2")).count();
    assert_eq!(naming, 1, "{said}");

    Gateway::start("relaxed", server.setup("relaxed"));
    server.set("SET GLOBAL innodb_flush_log_at_trx_commit = 1").await;
    Gateway::start("flushing", server.setup("strict"));
}

/// Runs `serve` to its end, or to the limit.
fn serve(setup: &Setup) -> Output {
    let folder = Folder::new("unsafe");
    let file = folder.path().join("gateway.yaml");
    std::fs::write(&file, configuration(folder.path(), setup)).expect("configuration written");
    let mut child = Command::new(env!("CARGO_BIN_EXE_wecom-gateway"))
        .arg("--config")
        .arg(&file)
        .arg("serve")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the gateway starts");
    let start = Instant::now();
    while start.elapsed() < REFUSAL_LIMIT && child.try_wait().expect("wait").is_none() {
        std::thread::sleep(Duration::from_millis(10));
    }
    // One that runs on is killed by a signal, which is no success either: its output tells.
    let _ = child.kill();
    child.wait_with_output().expect("its output")
}

/// A MariaDB of this test's own.
struct Server {
    child: Child,
    port: u16,
    _folder: Folder,
}

impl Server {
    async fn start() -> Self {
        sqlx::any::install_default_drivers();
        let folder = Folder::new("mariadb");
        let data = folder.path().join("data");
        // Started by root, the server becomes the user it was installed for.
        let root = Command::new("id").arg("-u").output().expect("id runs").stdout == b"0\n";
        let user = if root { "mysql".to_owned() } else { std::env::var("USER").expect("a user") };
        let user = format!("--user={user}");
        let installed = Command::new("mariadb-install-db")
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", &user])
            .arg(format!("--datadir={}", data.display()))
            .output()
            .expect("MariaDB is installed");
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        let child = Command::new("mariadbd")
            .args(["--no-defaults", "--bind-address=127.0.0.1", &user])
            .arg(format!("--port={port}"))
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--socket={}", data.join("socket").display()))
            .arg(format!("--pid-file={}", data.join("pid").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("MariaDB starts");
        let server = Self { child, port, _folder: folder };
        let start = Instant::now();
        while AnyConnection::connect(&server.url("mysql")).await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(30), "MariaDB does not answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        server.set("CREATE DATABASE gateway").await;
        server
    }

    fn url(&self, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{database}", self.port)
    }

    /// A gateway on this server.
    fn setup(&self, durability: &str) -> Setup {
        // The URL stands in quotes, with room for another key behind it.
        let database_url = format!("{}', durability: '{durability}", self.url("gateway"));
        Setup { database_url, ..Setup::default() }
    }

    async fn set(&self, statement: &'static str) {
        let mut conn = AnyConnection::connect(&self.url("mysql")).await.expect("MariaDB answers");
        conn.execute(statement).await.expect("the statement runs");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
