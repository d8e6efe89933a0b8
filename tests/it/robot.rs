//! A robot against the fake platform: what each answer, and each missing answer, comes to.

use std::net::SocketAddr;
use std::time::Duration;

use wecom_gateway::channel::transport::{Transport, TransportLimits};
use wecom_gateway::channel::wecom_robot::{Robot, RobotAddress};
use wecom_gateway::cli::dev::wecom::{FakeWecom, Fault, FaultKind};
use wecom_gateway::clock::Clock;
use wecom_gateway::domain::outcome::{Ending, Outcome, Try};
use wecom_gateway::entropy::Entropy;
use wecom_gateway::secret::Secret;
use wecom_gateway::wecom::api::robot::RobotMessage;

pub(crate) const KEY: &str = "693a91f6-7aaa-4bc4-97a0-0ec2sifa5aaa";

/// A fake platform with one robot.
pub(crate) async fn platform(clock: &Clock) -> FakeWecom {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let fake = FakeWecom::start(loopback, clock.clone(), Entropy::seeded(1)).await.expect("a free port");
    fake.add_robot(KEY);
    fake
}

/// A robot at `url` that is given up after a second.
pub(crate) fn robot_at(url: &str) -> Robot {
    let limits = TransportLimits { attempt_timeout_ms: 1_000, ..TransportLimits::default() };
    let address = RobotAddress::parse(&Secret::new(url), "http://127.0.0.1:9").expect("an address");
    Robot::new(address, Transport::new(limits).expect("a transport"))
}

fn text(content: &str) -> String {
    RobotMessage::text(content).expect("a text").to_body()
}

async fn meets(fake: &FakeWecom, robot: &Robot, kind: FaultKind) -> Try {
    fake.add_fault(Fault::times(kind, 1));
    robot.deliver(&text("hello")).await
}

#[tokio::test]
async fn a_message_arrives_as_it_was_given() {
    let fake = platform(&Clock::system()).await;
    let tried = robot_at(&fake.robot_url(KEY)).deliver(&text("你好, robot")).await;
    assert_eq!(tried.outcome, Outcome::Accepted { references: Vec::new(), refused: Vec::new() });
    assert_eq!((tried.http_status, tried.errcode, tried.error), (Some(200), Some(0), None));
    let inbox = fake.inbox(KEY);
    assert_eq!(inbox.len(), 1);
    assert_eq!((inbox[0].msgtype.as_str(), inbox[0].content.as_str()), ("text", "你好, robot"));
}

#[tokio::test]
async fn refusals_say_the_code_its_meaning_and_the_platforms_words() {
    let fake = platform(&Clock::system()).await;
    let tried = robot_at(&fake.robot_url("no-such-robot")).deliver(&text("hello")).await;
    assert_eq!(tried.outcome, Outcome::Halt { rest_ms: None });
    let error = tried.error.expect("a reason");
    assert!(error.starts_with("errcode 93000, "), "{error}");
    assert!(error.contains("invalid webhook url"), "{error}");

    let too_long = r#"{"msgtype":"text","text":{"content":"X"}}"#.replace('X', &"x".repeat(2_049));
    let tried = robot_at(&fake.robot_url(KEY)).deliver(&too_long).await;
    assert_eq!((tried.outcome, tried.errcode), (Outcome::Refused, Some(40058)));
}

#[tokio::test]
async fn what_may_have_arrived_is_told_from_what_never_left() {
    let fake = platform(&Clock::system()).await;
    let robot = robot_at(&fake.robot_url(KEY));
    for (kind, ending, shown) in [
        (FaultKind::CloseAfter, Ending::AnswerLost, true),
        (FaultKind::CloseBefore, Ending::AnswerLost, false),
        (FaultKind::Truncate, Ending::AnswerLost, true),
        (FaultKind::Slow { delay_ms: 60_000 }, Ending::AnswerLost, true),
        (FaultKind::Http { status: 500 }, Ending::AnswerLost, false),
        (FaultKind::Http { status: 302 }, Ending::Refused, false),
        (FaultKind::Html, Ending::Refused, false),
        (FaultKind::Errcode { code: -1 }, Ending::AnswerLost, false),
        (FaultKind::Errcode { code: 45009 }, Ending::Limited, false),
    ] {
        let before = fake.inbox(KEY).len();
        let tried = meets(&fake, &robot, kind.clone()).await;
        assert_eq!(tried.outcome.ending(), ending, "{kind:?}: {:?}", tried.error);
        assert_eq!(fake.inbox(KEY).len() - before, usize::from(shown), "{kind:?}");
    }
    let address = fake.robot_url(KEY);
    fake.stop().await;
    let tried = robot_at(&address).deliver(&text("hello")).await;
    assert_eq!(tried.outcome.ending(), Ending::NotSent, "{:?}", tried.error);
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_ends_in_time() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/send?key={KEY}", silent.local_addr().expect("bound"));
    let robot = robot_at(&url);
    let body = text("hello");
    let tried = tokio::time::timeout(Duration::from_secs(3), robot.deliver(&body)).await.expect("in time");
    assert_eq!(tried.outcome.ending(), Ending::AnswerLost);
    let error = tried.error.expect("a reason");
    assert!(!error.contains(KEY), "{error}");
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/send?key={KEY}", listener.local_addr().expect("bound"));
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let request_bytes = stream.read(&mut [0; 4_096]).await.expect("a request");
        assert!(request_bytes > 0);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"errcode\":0,\"errmsg\":\"";
        stream.write_all(head.as_bytes()).await.expect("written");
        let mut written = 0_u64;
        while stream.write_all(&[b'x'; 4_096]).await.is_ok() {
            written += 4_096;
        }
        written
    });
    let tried = robot_at(&url).deliver(&text("hello")).await;
    assert_eq!(tried.outcome.ending(), Ending::AnswerLost);
    assert!(tried.error.expect("a reason").contains("longer than 65536 bytes"));
    let written = server.await.expect("the server ends when we hang up");
    assert!(written < 64 << 20, "{written} bytes were taken");
}

#[tokio::test]
async fn an_answer_may_be_as_long_as_the_limit_and_no_longer() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    for (bytes, ending) in [(65_536, Ending::Accepted), (65_537, Ending::AnswerLost)] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/send?key={KEY}", listener.local_addr().expect("bound"));
        let frame = r#"{"errcode":0,"errmsg":""}"#;
        let body = frame.replace(r#":""}"#, &format!(r#":"{}"}}"#, "x".repeat(bytes - frame.len())));
        assert_eq!(body.len(), bytes);
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            assert!(stream.read(&mut [0; 4_096]).await.expect("a request") > 0);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.expect("written");
            // Over the limit the robot hangs up.
            let _hung_up = stream.write_all(body.as_bytes()).await;
        });
        let tried = robot_at(&url).deliver(&text("hello")).await;
        assert_eq!(tried.outcome.ending(), ending, "{bytes}: {:?}", tried.error);
    }
}

#[tokio::test]
async fn the_fake_sends_callbacks_and_knows_tokens() {
    let fake = platform(&Clock::system()).await;
    fake.add_app("ww1", "s3cret");
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let ask = async |path: &str| -> serde_json::Value {
        let answer = client.get(format!("{}{path}", fake.base_url())).send().await.expect("an answer");
        answer.json().await.expect("JSON")
    };
    let token = ask("/cgi-bin/gettoken?corpid=ww1&corpsecret=s3cret").await;
    assert_eq!((token["errcode"].as_i64(), token["expires_in"].as_i64()), (Some(0), Some(7200)));
    assert_eq!(ask("/cgi-bin/gettoken?corpid=ww1&corpsecret=no").await["errcode"].as_i64(), Some(40001));

    let order = serde_json::json!({
        "url": format!("{}/cgi-bin/webhook/send?key=nobody", fake.base_url()),
        "token": "QDG6eK", "encoding_aes_key": "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C",
        "receive_id": "ww1", "plaintext": "<xml/>",
    });
    let answer = client.post(format!("{}/_fake/callback", fake.base_url())).json(&order).send().await;
    let answer: serde_json::Value = answer.expect("an answer").json().await.expect("JSON");
    assert_eq!(answer["http_status"], 200);
    assert_eq!(ask("/_fake/requests?key=nobody").await.as_array().map(Vec::len), Some(1));
}
