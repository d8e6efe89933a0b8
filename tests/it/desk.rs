//! A folder in which commands of the real binary run, with no variables but those of the test.

#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use wecom_gateway::clock::Clock;
use wecom_gateway::entropy::Entropy;

/// The Token of a complete set-up.
pub(crate) const TOKEN: &str = "t0kenCanary";
/// The EncodingAESKey of a complete set-up.
pub(crate) const KEY: &str = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C";

/// A folder of its own, and the variables of a complete set-up.
pub(crate) struct Desk {
    pub(crate) folder: PathBuf,
    variables: BTreeMap<String, String>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let unique = u64::from_le_bytes(Entropy::system().bytes());
        let folder = std::env::temp_dir().join(format!("wecom-gateway-cli-{unique:016x}"));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        Self { folder, variables: BTreeMap::new() }
    }

    pub(crate) fn with(mut self, variables: &[(&str, &str)]) -> Self {
        self.variables
            .extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self
    }

    /// An app and a robot, every secret a canary.
    pub(crate) fn complete(self) -> Self {
        self.with(&[
            ("WECHAT_CORP_ID", "ww1"),
            ("WECHAT_CORP_SECRET", "c0rpCanary"),
            ("WECHAT_AGENT_ID", "1000002"),
            ("WECHAT_TOKEN", TOKEN),
            ("WECHAT_ENCODING_AES_KEY", KEY),
            ("WECHAT_BOT_WEBHOOK_URL", "r0botCanary"),
            ("WECHAT_BOT_SECRET", "b0tCanary"),
            ("GATEWAY_API_KEYS", "ap1Canary-ap1Canary"),
            ("GATEWAY_MASTER_KEY", "mast3rCanary"),
            ("DATABASE_URL", "sqlite:canary.db"),
        ])
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with_input(arguments, "")
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Ended {
        let clock = Clock::system();
        let begin_ms = clock.steady_ms();
        let mut child = Command::new(env!("CARGO_BIN_EXE_wecom-gateway"))
            .args(arguments)
            .current_dir(&self.folder)
            .env_clear()
            .envs(&self.variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        // A command that needs no input may end before it was read.
        let _ = child.stdin.take().expect("its input").write_all(input.as_bytes());
        let Output { status, stdout, stderr } = child.wait_with_output().expect("its end");
        Ended {
            code: status.code().expect("no signal"),
            out: String::from_utf8(stdout).expect("UTF-8"),
            err: String::from_utf8(stderr).expect("UTF-8"),
            took_ms: clock.steady_ms() - begin_ms,
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) took_ms: i64,
}

impl Ended {
    pub(crate) fn ok(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        self.out
    }

    /// The one line that says why it failed.
    pub(crate) fn failed(&self, code: i32) -> &str {
        assert_eq!((self.code, self.err.lines().count()), (code, 1), "{self:?}");
        self.err.trim_end().strip_prefix("wecom-gateway: ").expect("the program's name")
    }
}

/// That none of the canaries of [`Desk::complete`] stands in `text`.
pub(crate) fn assert_no_secret(text: &str) {
    assert!(!text.contains("Canary") && !text.contains(KEY), "{text}");
}
