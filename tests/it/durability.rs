//! R-2c: a database that says "committed" before it has flushed is refused at start, in one clear line.
//!
//! The setting belongs to the whole server, so the test has a MariaDB of its own.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::gateway::{Folder, Gateway, Setup, configuration};
use crate::mariadb::Server;

/// A refusal to start may take this long.
const REFUSAL_LIMIT: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_server_that_does_not_flush_is_refused() {
    let server = Server::start(&[]).await;
    server.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 2").await;
    let start = Instant::now();
    let refused = serve(&setup(&server, "strict"));
    let said =
        String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
    assert!(refused.status.code().is_some_and(|code| code != 0), "{said}");
    assert!(start.elapsed() < REFUSAL_LIMIT, "it took {:?}", start.elapsed());
    let naming = said.lines().filter(|line| line.contains("innodb_flush_log_at_trx_commit = 2")).count();
    assert_eq!(naming, 1, "{said}");

    Gateway::start("relaxed", setup(&server, "relaxed"));
    server.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 1").await;
    Gateway::start("flushing", setup(&server, "strict"));
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

/// A gateway on `server`.
fn setup(server: &Server, durability: &str) -> Setup {
    // The URL stands in quotes, with room for another key behind it.
    let database_url = format!("{}', durability: '{durability}", server.url("gateway"));
    Setup { database_url, ..Setup::default() }
}
