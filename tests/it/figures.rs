//! What sending promises, in numbers. Small here; `benches/README.md` says how to run it in full.

use std::collections::HashMap;
use std::fmt::Write as _;

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
pub(crate) fn size(variable: &str, little: usize) -> usize {
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
        let now = fake.shown_counts().1;
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
    while fake.shown_counts().0 < count || rig.count(&ids, Status::Sent).await < count {
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
        while fake.shown_counts().0 < count / share {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            assert!(watch.ms() < 600_000, "{} of {count}", fake.shown_counts().0);
        }
        gateway.kill();
        gateway.restart();
        kills += 1;
    }
    let watch = Stopwatch::start();
    while fake.shown_counts().0 < count {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        assert!(watch.ms() < 1_200_000, "{} of {count}", fake.shown_counts().0);
    }
    // What was on its way at a kill is sent again, and the platform knows it.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_once(&fake, count);
    eprintln!("{count} queued, killed {kills} times: each shown once");
}

/// Robots of their own channels, `robot-0` and on.
fn robots(fake: &FakeWecom, count: usize) -> Setup {
    let mut channels = String::new();
    for robot in 0..count {
        let key = format!("robot-{robot}");
        fake.add_robot(&key);
        let url = fake.robot_url(&key);
        writeln!(channels, "  {key}: {{ type: wechat_bot, webhook_url: '{url}' }}").expect("a string grows");
    }
    Setup { channels, ..Setup::default() }
}

/// The policy of message `number`.
fn policy(number: usize) -> &'static str {
    if number.is_multiple_of(2) { "at_most_once" } else { "at_least_once" }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queued_robot_messages_survive_a_kill_by_their_policy() {
    let (count, each) = (size("SENDING_KILLED_ROBOTS", 3), size("SENDING_KILLED_EACH", 12));
    let fake = platform(&Clock::system()).await;
    let mut gateway = Gateway::start("robots", robots(&fake, count));
    // Answers come late, so that a kill finds messages that are shown and not answered.
    fake.add_fault(Fault::times(FaultKind::Slow { delay_ms: 20 }, u32::MAX));
    let rest = Rest::new(gateway.address(), None);
    let all: Vec<(usize, usize)> =
        (0..each).flat_map(|number| (0..count).map(move |robot| (number, robot))).collect();
    let mut ids = Vec::new();
    for batch in all.chunks(1_000) {
        let of_batch = |(number, robot): &(usize, usize)| json!({"channel": format!("robot-{robot}"), "text": number.to_string(), "policy": policy(*number)});
        let messages: Vec<Value> = batch.iter().map(of_batch).collect();
        let answer = json(&rest.post("/api/v1/messages/batch", &json!({ "messages": messages })).await);
        let taken = answer["messages"].as_array().expect("a list").iter();
        ids.extend(taken.map(|one| one["message_id"].as_str().expect("an id").to_owned()));
    }
    let shown = || fake.shown_counts().1;
    for share in [10, 4, 2] {
        let watch = Stopwatch::start();
        while shown() < all.len() / share {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            assert!(watch.ms() < 600_000, "{} of {}", shown(), all.len());
        }
        gateway.kill();
        gateway.restart();
    }
    let rest = Rest::new(gateway.address(), None);
    let (mut uncertain, mut doubled) = (0, 0);
    let mut seen: Vec<Vec<usize>> = Vec::new();
    for (at, id) in ids.iter().enumerate() {
        let path = format!("/api/v1/messages/{id}/status");
        let watch = Stopwatch::start();
        let status = loop {
            let status = rest.json(&path).await["status"].as_str().expect("a status").to_owned();
            if status != "pending" {
                break status;
            }
            assert!(watch.ms() < 600_000, "message {at} waits");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        };
        uncertain += usize::from(status == "uncertain");
        assert!(["sent", "uncertain"].contains(&status.as_str()), "message {at}: {status}");
    }
    for robot in 0..count {
        let inbox = fake.inbox(&format!("robot-{robot}")).into_iter();
        seen.push(inbox.map(|request| request.content.parse().expect("a number")).collect());
    }
    for (at, (number, robot)) in all.iter().enumerate() {
        let of_robot = seen.get(*robot).map_or(&[][..], Vec::as_slice);
        let times = of_robot.iter().filter(|other| *other == number).count();
        doubled += times.saturating_sub(1);
        if policy(*number) == "at_most_once" {
            assert!(times <= 1, "message {at} was shown {times} times");
        } else {
            assert!(times >= 1, "message {at} was lost");
        }
    }
    for mut of_robot in seen {
        of_robot.dedup();
        assert!(of_robot.is_sorted(), "out of order: {of_robot:?}");
    }
    eprintln!(
        "{} robot messages, killed 3 times: none at_most_once twice, none at_least_once lost, in order; {uncertain} \
         uncertain, {doubled} shown twice",
        all.len()
    );
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
