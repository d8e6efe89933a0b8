//! The receivers of `examples/receivers`: what they take, what they refuse, and that they handle an event once.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use wecom_gateway::clock::Clock;
use wecom_gateway::domain::endpoint::Dialect;
use wecom_gateway::endpoint::signing::{Signed, SigningKey, headers};
use wecom_gateway::secret::Secret;

use crate::database::Database;
use crate::forwarder::Forwarder;
use crate::rest::Rest;
use crate::site::patiently;

const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const OLD_SECRET: &str = "the secret before that one";

/// A sample that runs.
struct Sample {
    child: Child,
    address: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Sample {
    /// Starts `receiver.py` or `receiver.js` with further arguments.
    async fn start(file: &str, arguments: &[&str]) -> Self {
        let program = if file == SAMPLES[0] { "python3" } else { "node" };
        let path = format!("{}/examples/receivers/{file}", env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new(program)
            .arg(path)
            .args(["--port", "0", "--secret", SECRET])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let (heard, out) = (Arc::clone(&lines), child.stdout.take().expect("its output"));
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                heard.lock().expect("lines").push(line);
            }
        });
        let found = || lines.lock().expect("lines").first().and_then(|line| address(line));
        patiently(async || found().is_some()).await;
        let address = found().expect("an address");
        Self { child, address, lines }
    }

    /// The ids of the events that were handled.
    fn handled(&self) -> Vec<String> {
        let lines = self.lines.lock().expect("lines").clone();
        lines.iter().skip(1).filter_map(|line| line.split(' ').next().map(ToOwned::to_owned)).collect()
    }

    /// The status for `body`, signed with `secret` at a time `off_s` from now, after `change` of the headers.
    async fn post(&self, request: &Request<'_>) -> u16 {
        let timestamp_s = Clock::system().wall_s() + request.off_s;
        let signed = Signed { id: request.id, kind: "message.text", timestamp_s, body: request.body };
        let keys: Vec<SigningKey> = request
            .secrets
            .iter()
            .map(|text| SigningKey::parse(&Secret::new(*text)).expect("a secret"))
            .collect();
        let mut text = String::new();
        for (name, value) in headers(request.dialect, &keys.iter().collect::<Vec<_>>(), &signed) {
            let name = if name == request.renamed.0 { request.renamed.1 } else { name };
            text.extend([name, ": ", value.as_str(), "\r\n"]);
        }
        let body = if request.is_forged { [request.body, b" "].concat() } else { request.body.to_vec() };
        Rest::new(self.address, None).send("POST", "/hook", &text, &body).await.status
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn address(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("receiver on http://")?.strip_suffix('/')?.parse().ok()
}

/// One request of the gateway's.
struct Request<'r> {
    id: &'r str,
    body: &'r [u8],
    secrets: &'r [&'r str],
    dialect: Dialect,
    off_s: i64,
    renamed: (&'r str, &'r str),
    is_forged: bool,
}

impl Default for Request<'_> {
    fn default() -> Self {
        Self {
            id: "evt_1",
            body: br#"{"id":"evt_1","type":"message.text","data":{"user_id":"zhangsan"}}"#,
            secrets: &[SECRET],
            dialect: Dialect::Standard,
            off_s: 0,
            renamed: ("", ""),
            is_forged: false,
        }
    }
}

const SAMPLES: [&str; 2] = ["receiver.py", "receiver.js"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_keep_to_the_rules() {
    for file in SAMPLES {
        let sample = Sample::start(file, &[]).await;
        assert_eq!(sample.post(&Request::default()).await, 200, "{file}");
        assert_eq!(sample.post(&Request::default()).await, 200, "{file}: a repeat is answered");
        let pretty = b"{\n  \"id\": \"evt_2\",\n  \"type\" : \"message.text\" }\n";
        let raw = Request { id: "evt_2", body: pretty, ..Request::default() };
        assert_eq!(sample.post(&raw).await, 200, "{file}: the raw body counts");
        let exchanged =
            Request { id: "evt_3", secrets: &["a secret of tomorrow", SECRET], ..Request::default() };
        assert_eq!(sample.post(&exchanged).await, 200, "{file}: one of two signatures is enough");
        // Both clocks are this machine's; half a minute is left for the request.
        for (off_s, expected) in [(-270, 200), (299, 200), (-301, 401), (331, 401)] {
            let id = format!("evt_off{off_s}");
            let request = Request { id: &id, off_s, ..Request::default() };
            assert_eq!(sample.post(&request).await, expected, "{file}: {off_s} s");
        }
        for (what, request) in [
            ("a changed body", Request { id: "evt_4", is_forged: true, ..Request::default() }),
            ("another secret", Request { id: "evt_5", secrets: &[OLD_SECRET], ..Request::default() }),
            (
                "no signature",
                Request { id: "evt_6", renamed: ("webhook-signature", "x-other"), ..Request::default() },
            ),
        ] {
            assert_eq!(sample.post(&request).await, 401, "{file}: {what}");
        }
        patiently(async || sample.handled().len() >= 5).await;
        let handled = sample.handled();
        assert_eq!(
            handled.iter().filter(|id| *id == "evt_1").count(),
            4,
            "{file}: once for each id: {handled:?}"
        );

        let other = Sample::start(file, &["--header", "X-Signature", "--secret", OLD_SECRET]).await;
        let renamed = |name| Request { renamed: (name, "x-signature"), ..Request::default() };
        assert_eq!(
            other.post(&renamed("webhook-signature")).await,
            200,
            "{file}: the header's name is a setting"
        );
        let plain =
            Request { dialect: Dialect::Plain, secrets: &[OLD_SECRET], ..renamed("x-webhook-signature") };
        assert_eq!(other.post(&plain).await, 200, "{file}: the plain form, the second secret");
        assert_eq!(other.post(&Request::default()).await, 401, "{file}: it looks where it was told");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_take_a_hundred_deliveries_each_once() {
    let database = Database::new(wecom_gateway::store::Engine::Sqlite).await;
    let rig = Forwarder::start(&database).await;
    let folder = crate::gateway::Folder::new("receivers");
    // Their clocks are the machine's, the rig's is a test's.
    let tolerance = ["--tolerance", "1000000000"];
    let mut samples = Vec::new();
    for file in SAMPLES {
        let inbox = folder.path().join(file).display().to_string();
        let sample = Sample::start(file, &[&tolerance[..], &["--inbox", &inbox]].concat()).await;
        let url = format!("http://{}/hook", sample.address);
        let endpoint: Value = json!({"url": url, "secret": SECRET, "events": ["*"], "schedule": "once"});
        rig.endpoint(endpoint).await;
        samples.push(sample);
    }
    let ids = rig.texts("zhangsan", 0..100).await;
    for sample in &samples {
        rig.until("a hundred deliveries", async || sample.handled().len() >= 100).await;
        let mut handled = sample.handled();
        handled.sort();
        let mut expected: Vec<String> = ids.iter().map(ToString::to_string).collect();
        expected.sort();
        assert!(handled == expected, "{} handled", handled.len());
    }
    rig.stop().await;
}
