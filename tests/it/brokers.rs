//! Brokers of a test's own, which it may stop: NATS and Redis, on free ports and in directories that go with them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::mariadb::free_port;

/// A broker that is killed with this value.
pub(crate) struct Broker {
    process: Child,
    directory: PathBuf,
    pub(crate) port: u16,
    command: Vec<String>,
}

/// Where tests find certificates.
fn certificate(name: &str) -> String {
    format!("{}/tests/it/certificates/{name}.pem", env!("CARGO_MANIFEST_DIR"))
}

impl Broker {
    /// A NATS server with JetStream, and `options` of its own.
    pub(crate) async fn nats(options: &[&str]) -> Self {
        Self::start("nats", |port, directory| {
            let directory = directory.display().to_string();
            let port = port.to_string();
            ["nats-server", "-a", "127.0.0.1", "-p", &port, "-js", "-sd", &directory]
                .iter()
                .chain(options)
                .map(|&word| word.to_owned())
                .collect()
        })
        .await
    }

    /// A NATS server that speaks TLS with a certificate for localhost.
    pub(crate) async fn nats_with_tls() -> Self {
        let right = certificate("right");
        Self::nats(&["--tls", "--tlscert", &right, "--tlskey", &right]).await
    }

    /// A Redis server that flushes each write, with `options` of its own.
    pub(crate) async fn redis(options: &[&str]) -> Self {
        Self::start("redis", |port, directory| {
            let mut words = vec!["redis-server".to_owned(), "--port".to_owned(), port.to_string()];
            words.extend(["--dir".to_owned(), directory.display().to_string()]);
            let usual =
                ["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "always"];
            words.extend(usual.iter().chain(options).map(|&word| word.to_owned()));
            words
        })
        .await
    }

    /// A Redis server that speaks nothing but TLS, with a certificate for localhost.
    pub(crate) async fn redis_with_tls() -> Self {
        Self::start("redis", |port, directory| {
            let mut words = vec!["redis-server".to_owned(), "--tls-port".to_owned(), port.to_string()];
            words.extend(["--dir".to_owned(), directory.display().to_string()]);
            let (right, authority) = (certificate("right"), certificate("authority"));
            let usual = ["--port", "0", "--bind", "127.0.0.1", "--save", "", "--tls-auth-clients", "no"];
            let files =
                ["--tls-cert-file", &right, "--tls-key-file", &right, "--tls-ca-cert-file", &authority];
            words.extend(usual.iter().chain(&files).map(|&word| word.to_owned()));
            words
        })
        .await
    }

    /// An emulator of MongoDB.
    #[cfg(feature = "mongodb")]
    pub(crate) async fn mongodb() -> Self {
        let program = format!("{}/target/venv/bin/nx-27017", env!("CARGO_MANIFEST_DIR"));
        Self::start("mongodb", |port, directory| {
            let file = |name: &str| directory.join(name).display().to_string();
            let (port, data, log, pid) = (port.to_string(), file("data.db"), file("log"), file("pid"));
            let words = [&program, "--port", &port, "--db", &data, "--log-file", &log, "--pid-file", &pid];
            words.iter().map(|&word| word.to_owned()).collect()
        })
        .await
    }

    async fn start(name: &str, command: impl Fn(u16, &Path) -> Vec<String>) -> Self {
        let port = free_port();
        let directory = std::env::temp_dir().join(format!("wecom-gateway-{name}-{port}"));
        std::fs::create_dir_all(&directory).expect("a directory for the broker");
        let command = command(port, &directory);
        let broker = Self { process: launch(&command), directory, port, command };
        broker.answers().await;
        broker
    }

    /// Ends it with a signal (`TERM`, `KILL`), and waits until it has ended.
    pub(crate) fn end(&mut self, signal: &str) {
        let status =
            Command::new("kill").arg(format!("-{signal}")).arg(self.process.id().to_string()).status();
        assert!(status.expect("kill runs").success(), "kill -{signal}");
        self.process.wait().expect("it ends");
    }

    /// Starts it again on the same data.
    pub(crate) async fn restart(&mut self) {
        self.process = launch(&self.command);
        self.answers().await;
    }

    /// Its address, with `scheme`.
    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    async fn answers(&self) {
        for _ in 0..600 {
            if tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{} does not answer", self.command[0]);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _dead_already = self.process.kill();
        let _reaped = self.process.wait();
        let _missing = std::fs::remove_dir_all(&self.directory);
    }
}

fn launch(command: &[String]) -> Child {
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let spawned = Command::new(&command[0])
        .args(&command[1..])
        .env("PATH", path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    spawned.unwrap_or_else(|error| panic!("{} is installed: {error}", command[0]))
}
