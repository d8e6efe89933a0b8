//! What sending promises, in numbers. Small here; `benches/README.md` says how to run it in full.

use std::collections::HashMap;

use serde_json::{Value, json};
use wecom_gateway::channel::transport::{Transport, TransportLimits};
use wecom_gateway::channel::wecom_robot::{Robot, RobotAddress};
use wecom_gateway::cli::dev::wecom::{FakeWecom, Fault, FaultKind};
use wecom_gateway::clock::Clock;
use wecom_gateway::dispatch::{DispatchSettings, Target};
use wecom_gateway::domain::status::Status;
use wecom_gateway::ids::MessageId;
use wecom_gateway::messages::Caller;
use wecom_gateway::secret::Secret;
use wecom_gateway::store::Engine;
use wecom_gateway::tracker::Hooks;

use crate::app::{AGENT, CORP, SECRET, platform};
use crate::database::Database;
use crate::gateway::{Gateway, Setup};
use crate::rest::{Rest, json};
use crate::rig::{APP, Rig};
use crate::site::Stopwatch;

/// How much is done: the variable, or little.
fn size(variable: &str, little: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(little)
}

/// Messages in batches of at most a thousand.
async fn batches(rig: &Rig, messages: Vec<Value>) -> Vec<MessageId> {
    let mut ids = Vec::new();
    for batch in messages.chunks(1_000) {
        let taken = rig.messages.send_all(batch.to_vec(), &Caller::default()).await.expect("taken");
        ids.extend(taken.into_iter().map(|accepted| accepted.id));
    }
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn robots_at_their_limits_lose_nothing_and_keep_order() {
    let (robots, each) = (size("SENDING_ROBOTS", 5), size("SENDING_EACH", 45));
    let database = Database::new(Engine::Sqlite).await;
    let fake = platform(&database.clock).await;
    let transport = Transport::new(TransportLimits::default()).expect("a transport");
    let targets = (0..robots).map(|robot| {
        let key = format!("robot-{robot}");
        fake.add_robot(&key);
        let address =
            RobotAddress::parse(&Secret::new(fake.robot_url(&key)), "http://x").expect("an address");
        Target::robot(key, Robot::new(address, transport.clone()))
    });
    let settings = DispatchSettings { scan_ms: 50, ..DispatchSettings::default() };
    let rig = Rig::with_targets(&database, targets.collect(), settings, Hooks::default()).await;
    let message = |number: usize, robot: usize| json!({"channel": format!("robot-{robot}"), "text": number.to_string()});
    let all = (0..each).flat_map(|number| (0..robots).map(move |robot| (number, robot)));
    batches(&rig, all.map(|(number, robot)| message(number, robot)).collect()).await;

    let watch = Stopwatch::start();
    let mut shown = 0;
    while shown < robots * each {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let now = (0..robots).map(|robot| fake.inbox(&format!("robot-{robot}")).len()).sum();
        if now == shown {
            rig.pass_ms(1_000);
        }
        shown = now;
        assert!(watch.ms() < 600_000, "{shown} of {} after ten minutes", robots * each);
    }
    for robot in 0..robots {
        let requests = fake.requests(&format!("robot-{robot}"));
        assert!(requests.iter().all(|request| request.errcode == 0), "one 45009 is too many");
        let seen: Vec<String> = requests.into_iter().map(|request| request.content).collect();
        let expected: Vec<String> = (0..each).map(|number| number.to_string()).collect();
        assert_eq!(seen, expected, "in order, none lost, none twice");
    }
    eprintln!("{robots} robots, {each} messages each: 0 x 45009, in order; {} s", watch.ms() / 1_000);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_answers_neither_double_nor_lose_an_app_message() {
    let count = size("SENDING_CUT", 100);
    let database = Database::new(Engine::Sqlite).await;
    let fake = platform(&database.clock).await;
    for _ in 0..count / 20 {
        fake.add_fault(Fault::of("message/send", FaultKind::None, 19));
        fake.add_fault(Fault::of("message/send", FaultKind::CloseAfter, 1));
    }
    let rig = Rig::with_app(&database, &fake).await;
    let message = |number: usize| json!({"channel": APP, "touser": format!("user{number}"), "text": "x"});
    let ids = batches(&rig, (0..count).map(message).collect()).await;
    let watch = Stopwatch::start();
    while fake.shown(None).len() < count || rig.count(&ids, Status::Sent).await < count {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        rig.pass_ms(500);
        assert!(watch.ms() < 600_000, "not all are sent after ten minutes");
    }
    assert_once(&fake, count);
    let calls = fake.calls("message/send").len();
    eprintln!("{count} app messages, {} answers cut: each shown once, all `sent`", calls - count);
    rig.stop().await;
}

fn assert_once(fake: &FakeWecom, count: usize) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for shown in fake.shown(None) {
        *seen.entry(shown.user).or_default() += 1;
    }
    assert_eq!(seen.len(), count, "somebody got nothing");
    assert!(seen.values().all(|times| *times == 1), "somebody got it twice");
}

fn setup(fake: &FakeWecom) -> Setup {
    let channels = format!(
        "  wechat_api:\n    corp_id: {CORP}\n    secret: {SECRET}\n    agent_id: '{AGENT}'\n    base_url: {}\n    \
         token: ''\n    encoding_aes_key: ''\n",
        fake.base_url()
    );
    Setup { channels, ..Setup::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queued_sends_survive_a_kill_and_go_out_once() {
    let count = size("SENDING_QUEUED", 300);
    let fake = platform(&Clock::system()).await;
    let mut gateway = Gateway::start("queued", setup(&fake));
    let rest = Rest::new(gateway.address(), None);
    let message =
        |number: usize| json!({"channel": "wechat_api", "touser": format!("user{number}"), "text": "x"});
    let messages: Vec<Value> = (0..count).map(message).collect();
    for batch in messages.chunks(1_000) {
        let answer = rest.post("/api/v1/messages/batch", &json!({ "messages": batch })).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    let mut kills = 0;
    for share in [10, 4, 2] {
        let watch = Stopwatch::start();
        while fake.shown(None).len() < count / share {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            assert!(watch.ms() < 600_000, "{} of {count}", fake.shown(None).len());
        }
        gateway.kill();
        gateway.restart();
        kills += 1;
    }
    let watch = Stopwatch::start();
    while fake.shown(None).len() < count {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        assert!(watch.ms() < 1_200_000, "{} of {count}", fake.shown(None).len());
    }
    // What was on its way at a kill is sent again, and the platform knows it.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_once(&fake, count);
    eprintln!("{count} queued, killed {kills} times: each shown once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_to_a_thousand_people_has_a_status_for_each() {
    let fake = platform(&Clock::system()).await;
    let gateway = Gateway::start("thousand", setup(&fake));
    let rest = Rest::new(gateway.address(), None);
    let users: Vec<String> = (0..1_000)
        .map(|number| if number % 10 == 0 { format!("Unknown{number}") } else { format!("User{number}") })
        .collect();
    let began = Stopwatch::start();
    let answer =
        rest.post("/api/v1/messages", &json!({"channel": "wechat_api", "touser": users, "text": "x"})).await;
    let id = json(&answer)["message_id"].as_str().expect("an id").to_owned();
    let path = format!("/api/v1/messages/{id}/status");
    crate::site::until(async || rest.json(&path).await["status"] == "sent").await;
    let sent_ms = began.ms();
    let asked = Stopwatch::start();
    let status = rest.json(&path).await;
    let status_ms = asked.ms();
    assert_eq!(status["details"]["counts"], json!({"sent": 900, "failed": 100}));
    let failed = status["recipients"].as_array().expect("a list");
    assert_eq!(failed.len(), 100);
    assert!(failed.iter().all(|one| one["user_id"].as_str().is_some_and(|user| user.starts_with("Unknown"))));
    eprintln!("1,000 people: sent and seen after {sent_ms} ms, status read in {status_ms} ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unpaced_message_is_on_its_way_at_once() {
    let count = size("SENDING_UNPACED", 50);
    let fake = platform(&Clock::system()).await;
    let gateway = Gateway::start("unpaced", setup(&fake));
    let rest = Rest::new(gateway.address(), None);
    let mut ids = Vec::new();
    for number in 0..count {
        let body = json!({"channel": "wechat_api", "touser": format!("user{number}"), "text": "x"});
        let answer = rest.post("/api/v1/messages", &body).await;
        ids.push(json(&answer)["message_id"].as_str().expect("an id").to_owned());
    }
    let mut waits_ms = Vec::new();
    for id in ids {
        let path = format!("/api/v1/messages/{id}/history");
        let mut times = Vec::new();
        crate::site::until(async || {
            let history = rest.json(&path).await;
            let entries = history.as_array().expect("a list");
            times = entries
                .iter()
                .filter_map(|entry| wecom_gateway::clock::parse_time_ms(entry["timestamp"].as_str()?))
                .collect();
            times.len() >= 2
        })
        .await;
        waits_ms.push(times[1] - times[0]);
    }
    assert_once(&fake, count);
    waits_ms.sort_unstable();
    let at = |share: usize| waits_ms[(waits_ms.len() * share / 100).min(waits_ms.len() - 1)];
    eprintln!("{count} unpaced: taken to sent p50 {} ms, p99 {} ms", at(50), at(99));
}
