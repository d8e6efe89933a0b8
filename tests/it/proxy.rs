//! nginx as it is shipped, in front of gateways under test, with a certificate made on the spot.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::gateway::{Folder, Platform, text_message};
use crate::mariadb::free_port;

/// The shipped site.
pub(crate) const SITE: &str = include_str!("../../nginx/wecom-gateway.conf");
/// The shipped list of replicas.
pub(crate) const UPSTREAM: &str = include_str!("../../nginx/upstream.conf");
/// Where the app's callbacks go.
pub(crate) const API: &str = "/api/v1/webhooks/wechat/api";

/// nginx with the shipped files; only ports and folders differ from a real machine.
pub(crate) struct Nginx {
    process: Child,
    folder: Folder,
    port: u16,
    plain_port: u16,
}

impl Nginx {
    /// Starts it with the text of `upstream.conf`.
    pub(crate) fn start(upstream: &str) -> Self {
        Self::start_as(SITE, upstream)
    }

    /// Starts it with another site than the shipped one.
    pub(crate) fn start_as(site: &str, upstream: &str) -> Self {
        let (folder, port, plain_port) = (Folder::new("nginx"), free_port(), free_port());
        let main = write_files(folder.path(), site, upstream, port, plain_port);
        let process = Command::new(nginx())
            .args(["-c", &main.display().to_string(), "-e", "stderr"])
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is installed");
        let mut waits = 0..1_000;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(waits.next().is_some(), "nginx does not listen: {}", check(&main));
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Self { process, folder, port, plain_port }
    }

    /// Its folder, with its logs and its certificate.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The port without TLS.
    pub(crate) fn plain_port(&self) -> u16 {
        self.plain_port
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The port with TLS.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The address of its callbacks' route.
    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}{API}", self.port)
    }

    /// A client that trusts its certificate, keeps its connections, and waits as long as the platform does.
    pub(crate) fn client(&self) -> reqwest::Client {
        let _chosen_before = rustls::crypto::ring::default_provider().install_default();
        let pem = std::fs::read(self.folder.path().join("fullchain.pem")).expect("the certificate");
        reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&pem).expect("a certificate")])
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build()
            .expect("a client")
    }

    /// What curl makes of `target`: the status, and the answer's head and body.
    pub(crate) fn ask(&self, target: &str, options: &[&str]) -> (u16, String) {
        let url = format!("https://127.0.0.1:{}{target}", self.port);
        let mut command = Command::new("curl");
        command.args(["--silent", "--include", "--max-time", "20", "--cacert"]);
        command.arg(self.folder.path().join("fullchain.pem")).args(options).arg(url);
        let output = command.output().expect("curl is installed");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        (status, text)
    }

    /// Posts a sealed text message of sender `user-ID`.
    pub(crate) fn post(&self, id: u64, options: &[&str]) -> (u16, String) {
        let (query, body) = Platform::app().seal(&text_message(&format!("user-{id}"), id, "through nginx"));
        let options = [&["--data-binary", &body], options].concat();
        self.ask(&format!("{API}?{query}"), &options)
    }

    /// `openssl s_client` with one protocol version, everything weak allowed on its own side.
    pub(crate) fn handshake(&self, version: &str) -> String {
        let to = format!("127.0.0.1:{}", self.port);
        let output = Command::new("openssl")
            .args(["s_client", "-connect", &to, version, "-cipher", "ALL:@SECLEVEL=0"])
            .stdin(Stdio::null())
            .output()
            .expect("openssl is installed");
        both(&output)
    }

    pub(crate) fn logs(&self) -> String {
        let read = |name| std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        read("access.log") + &read("error.log")
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

fn nginx() -> &'static str {
    if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" }
}

fn both(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Writes site, upstream, certificate and a main file; gives the main file.
pub(crate) fn write_files(folder: &Path, site: &str, upstream: &str, port: u16, plain_port: u16) -> PathBuf {
    let place = folder.display().to_string();
    let site = site
        .replace("/etc/nginx/wecom-gateway", &place)
        .replace("/var/log/nginx", &place)
        .replace("listen [::]:443 ssl default_server;", "")
        .replace("listen [::]:80 default_server;", "")
        .replace("listen 443 ", &format!("listen 127.0.0.1:{port} "))
        .replace("listen 80 ", &format!("listen 127.0.0.1:{plain_port} "));
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = kinds.map(|kind| format!("{kind}_temp_path {place}/{kind};")).concat();
    let main = format!(
        "daemon off; master_process off; pid {place}/pid; events {{ worker_connections 16384; }} http {{ {temporary} include {place}/site; }}"
    );
    for (name, text) in [("site", site.as_str()), ("upstream.conf", upstream), ("main", &main)] {
        std::fs::write(folder.join(name), text).expect("written");
    }
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(folder.join("privkey.pem"))
        .arg("-out")
        .arg(folder.join("fullchain.pem"))
        .stderr(Stdio::null())
        .status();
    assert!(made.expect("openssl is installed").success());
    folder.join("main")
}

/// `nginx -t` of the file `main`.
pub(crate) fn check(main: &Path) -> String {
    let output = Command::new(nginx()).args(["-t", "-e", "stderr", "-c"]).arg(main).output();
    both(&output.expect("nginx is installed"))
}

/// The shipped upstream with other replicas.
pub(crate) fn upstream_of(ports: &[u16]) -> String {
    let line = "server 127.0.0.1:8080 max_fails=2 fail_timeout=2s;";
    let lines: Vec<String> = ports.iter().map(|port| line.replace("8080", &port.to_string())).collect();
    assert!(UPSTREAM.contains(&format!("    {line}\n")));
    UPSTREAM.replacen(line, &lines.join("\n"), 1)
}
