//! A Redis server of a test's own, to be stopped, frozen and spoiled.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server that is killed with this value.
pub(crate) struct RedisServer {
    process: Child,
    directory: PathBuf,
    port: u16,
}

impl RedisServer {
    /// Starts an empty server.
    pub(crate) fn start() -> Self {
        let port = crate::mariadb::free_port();
        let directory = std::env::temp_dir().join(format!("wecom-gateway-redis-{port}"));
        std::fs::create_dir_all(&directory).expect("a directory for the server");
        let server = Self { process: launch(port, &directory), directory, port };
        server.answers();
        server
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What it answers to a command.
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        let port = self.port.to_string();
        let asked = Command::new("redis-cli").args(["-p", &port]).args(command).output();
        String::from_utf8_lossy(&asked.expect("redis-cli is installed").stdout).trim().to_owned()
    }

    /// Sends it a signal (`STOP`, `CONT`, …).
    pub(crate) fn signal(&self, signal: &str) {
        let status =
            Command::new("kill").arg(format!("-{signal}")).arg(self.process.id().to_string()).status();
        assert!(status.expect("kill runs").success(), "kill -{signal}");
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let _dead_already = self.process.kill();
        let _reaped = self.process.wait();
    }

    /// Starts it again, empty, after it was killed.
    pub(crate) fn restart(&mut self) {
        self.process = launch(self.port, &self.directory);
        self.answers();
    }

    fn answers(&self) {
        for _ in 0..300 {
            if self.ask(&["PING"]) == "PONG" {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("redis-server does not answer");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        let _missing = std::fs::remove_dir_all(&self.directory);
    }
}

fn launch(port: u16, directory: &std::path::Path) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--enable-debug-command", "yes"])
        .arg("--dir")
        .arg(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}
