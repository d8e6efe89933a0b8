//! The real binary, started as production starts it, and the platform that calls it.
//!
//! A [`Gateway`] is a child process on a port of its own with a data folder of its own; it can be killed and
//! started again on the same data. A [`Platform`] seals callbacks as WeCom does.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use wecom_gateway::cli::dev::platform;
use wecom_gateway::domain::event::Format;
use wecom_gateway::entropy::Entropy;

/// The Token of every test source.
pub(crate) const TOKEN: &str = "EnvelopeToken2024";
/// The EncodingAESKey of every test source; its unused trailing bits are set.
pub(crate) const AES_KEY: &str = "zQUMPM08HSe8jnPJjoqgA2RB19fLy0Mg1YLVUHFjxQR";
/// The corp of every test source.
pub(crate) const CORP_ID: &str = "ww1234567890abcdef";

/// A folder that goes away with its value.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A new empty folder below the system's temporary one.
    pub(crate) fn new(name: &str) -> Self {
        let unique = u64::from_le_bytes(Entropy::system().bytes());
        let path = std::env::temp_dir().join(format!("wecom-gateway-{name}-{unique:016x}"));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How a gateway under test is configured.
pub(crate) struct Setup {
    /// `sqlite:…` or `mysql://…`; empty: a SQLite file in the gateway's folder.
    pub(crate) database_url: String,
    /// Further keys of `webhook`, each with its comma.
    pub(crate) webhook: String,
    /// Further lines of YAML at the top level.
    pub(crate) extra: String,
    /// Lines below `channels:`; the default has one app `api` and one robot `bot`.
    pub(crate) channels: String,
    /// Environment variables.
    pub(crate) environment: Vec<(String, String)>,
    /// The port it listens on; 0: another free one with each start.
    pub(crate) port: u16,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            database_url: String::new(),
            webhook: String::new(),
            extra: String::new(),
            channels: default_channels(),
            environment: Vec::new(),
            port: 0,
        }
    }
}

/// One app on `…/wechat/api` and one robot on `…/wechat/bot`.
pub(crate) fn default_channels() -> String {
    format!(
        "  wechat_api:\n    corp_id: {CORP_ID}\n    secret: corp-secret\n    agent_id: '1000002'\n    token: {TOKEN}\n    \
         encoding_aes_key: {AES_KEY}\n    callback_window_ms: 9000000000000\n  \
         wechat_bot:\n    webhook_url: http://127.0.0.1:9/cgi-bin/webhook/send?key=none\n    secret: bot-secret\n    \
         token: {TOKEN}\n    encoding_aes_key: {AES_KEY}\n    callback_window_ms: 9000000000000\n"
    )
}

/// [`default_channels`] with more keys for the app and for the robot, a line each.
pub(crate) fn channels_with(app: &str, robot: &str) -> String {
    let mut channels = String::new();
    for line in default_channels().lines() {
        if line == "  wechat_bot:" {
            app.lines().for_each(|line| channels.extend(["    ", line, "\n"]));
        }
        channels.extend([line, "\n"]);
    }
    robot.lines().for_each(|line| channels.extend(["    ", line, "\n"]));
    channels
}

/// A running gateway process.
pub(crate) struct Gateway {
    folder: Folder,
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    setup: Setup,
}

impl Gateway {
    /// Starts the binary and waits until it listens.
    pub(crate) fn start(name: &str, setup: Setup) -> Self {
        let folder = Folder::new(name);
        let (child, address, log) = launch(&folder, &setup);
        Self { folder, child, address, log, setup }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its folder, with `gateway.yaml` and, on SQLite, `gateway.db`.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Every line it has printed so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("log lock").join("\n")
    }

    /// Whether it prints `text`, now or soon: lines are written by a thread of their own.
    pub(crate) async fn logs(&self, text: &str) -> bool {
        for _ in 0..500 {
            if self.log().contains(text) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    /// `kill -9`, without any chance to tidy up.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on the same data after it ended.
    pub(crate) fn restart(&mut self) {
        let (child, address, log) = launch(&self.folder, &self.setup);
        (self.child, self.address, self.log) = (child, address, log);
    }

    /// Sends `signal` (`TERM`, `HUP`, …).
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.pid().to_string()).status();
        assert!(status.expect("kill runs").success(), "kill -{signal}");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("--- last lines of the gateway, newest first ---\n{}", tail.join("\n"));
        }
    }
}

/// The configuration file of a gateway under test.
pub(crate) fn configuration(folder: &Path, setup: &Setup) -> String {
    let database = if setup.database_url.is_empty() {
        format!("sqlite:{}", folder.join("gateway.db").display())
    } else {
        setup.database_url.clone()
    };
    let mut yaml = String::new();
    let _ = write!(
        yaml,
        "service: {{ environment: development }}\nwebhook: {{ {}host: 127.0.0.1, port: {}, rate_exempt: [127.0.0.0/8] }}\ndatabase: {{ url: '{database}' }}\nchannels:\n{}{}",
        setup.webhook, setup.port, setup.channels, setup.extra
    );
    yaml
}

fn launch(folder: &Folder, setup: &Setup) -> (Child, SocketAddr, Arc<Mutex<Vec<String>>>) {
    let file = folder.path().join("gateway.yaml");
    std::fs::write(&file, configuration(folder.path(), setup)).expect("configuration written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_wecom-gateway"));
    command
        .current_dir(folder.path())
        .arg("--config")
        .arg(&file)
        .arg("serve")
        .env_remove("WECOM_GATEWAY_SABOTAGE")
        .envs(std::env::var("WECOM_GATEWAY_SABOTAGE").map(|value| ("WECOM_GATEWAY_SABOTAGE", value)))
        .envs(setup.environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    let mut child = command.spawn().expect("the gateway starts");
    let log = Arc::new(Mutex::new(Vec::new()));
    let stdout = child.stdout.take().expect("its output");
    let (found, address) = std::sync::mpsc::channel();
    let lines = Arc::clone(&log);
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some(address) = listening(&line) {
                let _ = found.send(address);
            }
            lines.lock().expect("log lock").push(line);
        }
    });
    if let Ok(address) = address.recv_timeout(Duration::from_secs(20)) {
        (child, address, log)
    } else {
        let _ = child.kill();
        let _ = child.wait();
        panic!("the gateway does not listen:\n{}", log.lock().expect("log lock").join("\n"));
    }
}

/// The address in the start line of the JSON log.
fn listening(line: &str) -> Option<SocketAddr> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields").unwrap_or(&line);
    if fields.get("message")?.as_str()? != "listening" {
        return None;
    }
    fields.get("address")?.as_str()?.parse().ok()
}

/// Seals callbacks as the platform does.
#[derive(Clone)]
pub(crate) struct Platform {
    settings: platform::Platform,
    entropy: Entropy,
}

impl Platform {
    /// The platform as the app `api` of [`default_channels`] knows it.
    pub(crate) fn app() -> Self {
        Self::new(TOKEN, AES_KEY, CORP_ID)
    }

    /// The platform as the robot `bot` knows it: its receive id is empty.
    pub(crate) fn robot() -> Self {
        Self::new(TOKEN, AES_KEY, "")
    }

    pub(crate) fn new(token: &str, key: &str, receive_id: &str) -> Self {
        let settings = platform::Platform::new(token, key, receive_id).expect("keys");
        Self { settings, entropy: Entropy::system() }
    }

    /// Query and XML body of a callback with `plaintext`, stamped 1700000000.
    pub(crate) fn seal(&self, plaintext: &str) -> (String, String) {
        self.seal_at(plaintext, 1_700_000_000)
    }

    /// The same with a stamp of its own.
    pub(crate) fn seal_at(&self, plaintext: &str, now_s: i64) -> (String, String) {
        let request = self.settings.callback(plaintext.as_bytes(), Format::Xml, now_s, &self.entropy, None);
        (request.query, request.body)
    }

    /// The same with a JSON plaintext and envelope, as smart robots have it.
    pub(crate) fn seal_json(&self, plaintext: &str) -> (String, String) {
        let request =
            self.settings.callback(plaintext.as_bytes(), Format::Json, 1_700_000_000, &self.entropy, None);
        (request.query, request.body)
    }

    /// What a sealed answer says; none if it is empty or sealed by somebody else.
    pub(crate) fn open(&self, body: &str) -> Option<String> {
        let answer = platform::PlatformAnswer { http_status: 200, request_id: None, body: body.to_owned() };
        self.settings.open_reply(&answer)
    }
}

/// The plaintext of a text message, about 500 bytes.
pub(crate) fn text_message(user: &str, message_id: u64, content: &str) -> String {
    format!(
        "<xml><ToUserName><![CDATA[{CORP_ID}]]></ToUserName><FromUserName><![CDATA[{user}]]></FromUserName><CreateTime>1700000000</CreateTime><MsgType><![CDATA[text]]></MsgType><Content><![CDATA[{content}]]></Content><MsgId>{message_id}</MsgId><AgentID>1000002</AgentID></xml>"
    )
}
