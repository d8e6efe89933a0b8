//! Everything the demonstration needs: an empty folder, a fake platform, a gateway configured for it, a client.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use crate::app::{Gateway, Running};
use crate::cli::dev::platform::{Caller, Platform};
use crate::cli::dev::receiver::Receiver;
use crate::cli::dev::wecom::FakeWecom;
use crate::clock::Clock;
use crate::config::ConfigFile;
use crate::entropy::Entropy;

/// Where the demonstration keeps its data; emptied at each start.
pub(super) const FOLDER: &str = "data/demo";
pub(super) const TOKEN: &str = "DemoToken2026";
pub(super) const AES_KEY: &str = "zQUMPM08HSe8jnPJjoqgA2RB19fLy0Mg1YLVUHFjxQR";
pub(super) const CORP_ID: &str = "ww00000000000000de";
pub(super) const AGENT_ID: &str = "1000002";
const SECRET: &str = "demo-secret";
const ROBOT_KEY: &str = "demo-robot";
const BURST_KEY: &str = "demo-alerts";

/// The robot that gets the burst.
pub(super) const BURST_CHANNEL: &str = "alerts";

/// What a member is told who writes `help`.
pub(super) const HELP: &str = "Write to it@example.com";

/// How long the demonstration waits for something to happen.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The running parts.
pub(super) struct Site {
    gateway: Running,
    fake: FakeWecom,
    pub(super) receiver: Receiver,
    client: reqwest::Client,
    pub(super) caller: Caller,
    pub(super) platform: Platform,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
}

impl Site {
    /// Starts the platform, then the gateway, on free ports.
    pub(super) async fn start(clock: Clock, entropy: Entropy) -> anyhow::Result<Self> {
        let folder = Path::new(FOLDER);
        if folder.exists() {
            std::fs::remove_dir_all(folder).with_context(|| format!("cannot empty {FOLDER}"))?;
        }
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {FOLDER}"))?;
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let fake = FakeWecom::start(any_port, clock.clone(), entropy.clone()).await?;
        fake.add_robot(ROBOT_KEY);
        fake.add_robot(BURST_KEY);
        fake.add_app(CORP_ID, SECRET);
        let receiver = Receiver::start(any_port).await?;

        let file = folder.join("notification.yaml");
        std::fs::write(&file, configuration(&fake, &receiver))?;
        let file = ConfigFile::find(Some(file), None, folder)?;
        let config = file.load()?;
        let gateway = Gateway::builder(file).start_with(config, clock.clone(), entropy.clone()).await?;
        let caller = Caller::new(clock.clone())?;
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        let platform = Platform::new(TOKEN, AES_KEY, CORP_ID)?;
        Ok(Self { gateway, fake, receiver, client, caller, platform, clock, entropy })
    }

    /// Stops both.
    pub(super) async fn stop(self) {
        self.gateway.stop().await;
        self.fake.stop().await;
        self.receiver.stop().await;
    }

    /// `http://…` and `path`.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.address())
    }

    /// How many messages the people in the robot's chat saw.
    pub(super) fn shown_by_robot(&self) -> usize {
        self.fake.inbox(ROBOT_KEY).len()
    }

    /// What the people in the chat of the burst saw.
    pub(super) fn shown_by_burst_robot(&self) -> Vec<String> {
        self.fake.inbox(BURST_KEY).into_iter().map(|request| request.content).collect()
    }

    /// The answer to a GET, as JSON.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.client.get(self.url(path)).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        anyhow::ensure!(status.is_success(), "{path} answered {status}: {text}");
        serde_json::from_str(&text).with_context(|| format!("{path} answered {text}"))
    }

    /// The answer to a POST of JSON.
    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let answer = self.client.post(self.url(path)).json(body).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        anyhow::ensure!(status.is_success(), "{path} answered {status}: {text}");
        serde_json::from_str(&text).with_context(|| format!("{path} answered {text}"))
    }

    /// Asks for `path` until `done` says so; the answer then.
    pub(super) async fn until(&self, path: &str, done: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let give_up_ms = self.clock.steady_ms().saturating_add(i64::try_from(PATIENCE.as_millis())?);
        loop {
            let answer = self.get(path).await?;
            if done(&answer) {
                return Ok(answer);
            }
            anyhow::ensure!(self.clock.steady_ms() < give_up_ms, "{path} still answers {answer}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// The gateway's configuration, as a user would write it.
fn configuration(fake: &FakeWecom, receiver: &Receiver) -> String {
    let ask_url = receiver.url("/greet?type=says-0&body=%7B%22text%22%3A%22Good+morning%22%7D");
    let (base_url, robot_url, burst_url) =
        (fake.base_url(), fake.robot_url(ROBOT_KEY), fake.robot_url(BURST_KEY));
    format!(
        "# Written by `wecom-gateway demo`.\n\
         service: {{ environment: development }}\n\
         webhook: {{ host: 127.0.0.1, port: 0 }}\n\
         auth: {{ master_key: a-key-for-the-demonstration-only }}\n\
         database: {{ url: 'sqlite:{FOLDER}/gateway.db' }}\n\
         channels:\n\
         \x20 wechat_api:\n\
         \x20   corp_id: {CORP_ID}\n\
         \x20   secret: {SECRET}\n\
         \x20   agent_id: '{AGENT_ID}'\n\
         \x20   base_url: {base_url}\n\
         \x20   token: {TOKEN}\n\
         \x20   encoding_aes_key: {AES_KEY}\n\
         \x20   replies:\n\
         \x20     - {{ keyword: [help, 帮助], reply: {{ text: '{HELP}' }} }}\n\
         \x20   ask: {{ url: '{ask_url}', secret: a-secret-of-the-demonstration, events: [event.enter_agent] }}\n\
         \x20 wechat_bot:\n\
         \x20   webhook_url: {robot_url}\n\
         \x20   secret: demo-robot-secret\n\
         \x20 {BURST_CHANNEL}:\n\
         \x20   type: wechat_bot\n\
         \x20   webhook_url: {burst_url}\n"
    )
}
