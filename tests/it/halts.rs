//! What concerns a whole channel halts it: messages wait, and nobody asks in a loop.

use serde_json::{Value, json};
use wecom_gateway::cli::dev::wecom::{AppRules, FakeWecom};
use wecom_gateway::clock::{Clock, rfc3339_ms};
use wecom_gateway::dispatch::{DispatchSettings, Target, Targets};
use wecom_gateway::domain::status::Status;
use wecom_gateway::ids::MessageId;
use wecom_gateway::messages::Caller;
use wecom_gateway::tracker::Hooks;

use crate::app::{AGENT, CORP, SECRET, app_at, platform};
use crate::database::{Database, NOW_MS, on_both};
use crate::gateway::{Gateway, Setup};
use crate::rest::{Rest, json as read};
use crate::rig::{APP, CHANNEL, Rig};
use crate::robot::{KEY, robot_at};
use crate::site::until;

const SEND: &str = "message/send";

/// Who is called from elsewhere than the app trusts.
fn abroad() -> AppRules {
    AppRules { trusted: Some(["203.0.113.7".to_owned()].into()), ..AppRules::default() }
}

async fn texts(rig: &Rig, count: usize) -> Vec<MessageId> {
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(rig.text_to(&format!("user{number}"), &format!("message {number}")).await);
    }
    ids
}

/// Why the rig's channel halts, and when it is tried again.
fn halt(rig: &Rig, target: &str) -> Option<(String, Option<i64>)> {
    let gate = rig.targets.get(target).and_then(|target| target.gate.clone()).expect("a channel");
    gate.halt().map(|halt| (halt.reason, halt.until_ms))
}

async fn put(desk: &Rest, target: &str, body: &Value) -> u16 {
    let body = body.to_string();
    desk.send("PUT", target, "Content-Type: application/json\r\n", body.as_bytes()).await.status
}

fn asked(fake: &FakeWecom) -> usize {
    fake.calls(SEND).len()
}

on_both! {
    async fn an_address_that_is_not_trusted_halts_the_app_and_loses_nothing(database: &Database) {
        let fake = platform(&database.clock).await;
        fake.set_rules(AGENT, abroad());
        let rig = Rig::with_app(database, &fake).await;
        let ids = texts(&rig, 20).await;
        let brief = rig.ask(json!({"touser": "zoe", "text": "x", "expires_at": rfc3339_ms(NOW_MS + 600_000)})).await;
        let brief = brief.expect("taken").id;
        rig.soon("the halt", async || halt(&rig, APP).is_some_and(|(_, until_ms)| until_ms.is_some())).await;
        let (reason, _) = halt(&rig, APP).expect("halted");
        for part in ["errcode 60020", "hint: [fake]", "put the address 127.0.0.1 on the app's list"] {
            assert!(reason.contains(part), "{reason}");
        }
        let first = asked(&fake);
        assert!((1..=8).contains(&first), "no more than were under way: {first}");
        // After 1, 3, 7, 15, 30, 45 and 60 minutes.
        for _ in 0..240 {
            rig.pass_ms(15_000);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let probes = asked(&fake) - first;
        assert!((3..=8).contains(&probes), "{probes} in an hour");
        assert_eq!(rig.count(&ids, Status::Pending).await, 20, "they wait");
        assert_eq!(rig.status(&brief).await, Status::Expired, "its time has passed meanwhile");
        rig.soon("the last probe", async || halt(&rig, APP).is_some_and(|(_, until_ms)| until_ms.is_some())).await;
        rig.messages.cancel(ids[3].as_str(), &Caller::default()).await.expect("what waits can be cancelled");

        fake.set_rules(AGENT, AppRules::default());
        let left: Vec<MessageId> = ids.iter().filter(|id| **id != ids[3]).cloned().collect();
        rig.until_slowly("all", 15_000, async || rig.count(&left, Status::Sent).await == 19).await;
        assert_eq!(halt(&rig, APP), None);
        let figures = fake.figures();
        assert_eq!((figures["shown"], figures["doubled"]), (19, 0));
        rig.stop().await;
    }

    async fn a_reload_or_a_new_start_tries_at_once_and_keeps_the_order(database: &Database) {
        let fake = platform(&database.clock).await;
        fake.enable_robot(KEY, false);
        let rig = Rig::start(database, &fake).await;
        for number in 0..5 {
            rig.text(&format!("message {number}")).await;
        }
        rig.soon("the halt", async || halt(&rig, CHANNEL).is_some_and(|(_, until_ms)| until_ms.is_some())).await;
        let tried = || fake.requests(KEY).len();
        assert_eq!(tried(), 1);
        assert!(halt(&rig, CHANNEL).is_some_and(|(reason, _)| reason.contains("errcode 93004")));

        let again = Target::robot(CHANNEL, robot_at(&fake.robot_url(KEY)));
        rig.dispatch.reload(Targets::build(vec![again]).expect("one robot"));
        rig.soon("a try", async || tried() == 2).await;
        rig.stop().await;

        let rig = Rig::start(database, &fake).await;
        rig.soon("a try", async || tried() == 3).await;
        fake.enable_robot(KEY, true);
        rig.until("all", async || fake.inbox(KEY).len() == 5).await;
        let seen: Vec<String> = fake.inbox(KEY).into_iter().map(|one| one.content).collect();
        assert_eq!(seen, ["message 0", "message 1", "message 2", "message 3", "message 4"]);
        rig.stop().await;
    }

    async fn what_expires_behind_more_than_memory_holds_expires_in_time(database: &Database) {
        let fake = platform(&database.clock).await;
        fake.enable_robot(KEY, false);
        let target = Target::robot(CHANNEL, robot_at(&fake.robot_url(KEY)));
        let settings = DispatchSettings { scan_ms: 50, lease_ms: 600_000, queue_rows_max: 4, ..DispatchSettings::default() };
        let rig = Rig::with_targets(database, vec![target], settings, Hooks::default()).await;
        let mut brief = Vec::new();
        for number in 0..20 {
            let at = rfc3339_ms(NOW_MS + 100_000);
            let options = if number > 9 { json!({"expires_at": at}) } else { json!({}) };
            let id = rig.text_with(&format!("message {number}"), options).await;
            brief.extend((number > 9).then_some(id));
        }
        rig.soon("the halt", async || halt(&rig, CHANNEL).is_some()).await;
        rig.until_slowly("their end", 10_000, async || rig.count(&brief, Status::Expired).await == 10).await;
        assert_eq!(fake.inbox(KEY).len(), 0);
        fake.enable_robot(KEY, true);
        rig.until_slowly("the rest", 10_000, async || fake.inbox(KEY).len() == 10).await;
        let seen: Vec<String> = fake.inbox(KEY).into_iter().map(|one| one.content).collect();
        let expected: Vec<String> = (0..10).map(|number| format!("message {number}")).collect();
        assert_eq!(seen, expected);
        rig.stop().await;
    }

    async fn what_only_one_call_may_not_do_halts_nobody(database: &Database) {
        let fake = platform(&database.clock).await;
        let visible = Some(["ann".to_owned(), "party:2".to_owned()].into());
        fake.set_rules(AGENT, AppRules { visible, ..AppRules::default() });
        let rig = Rig::with_app(database, &fake).await;
        let chat = rig.ask(json!({"chatid": "wr1", "text": "x"})).await.expect("taken").id;
        rig.until("its end", async || rig.status(&chat).await == Status::Failed).await;
        assert_eq!(rig.tracked(&chat).await.details["code"], json!(48002));

        let some = rig.ask(json!({"touser": "ann|bob", "toparty": "2|3", "text": "x"})).await.expect("taken").id;
        rig.until("its end", async || rig.status(&some).await == Status::Sent).await;
        let failed: Vec<String> = rig.tracked(&some).await.recipients.into_iter().map(|one| one.user_id).collect();
        assert_eq!(failed, ["bob", "party:3"], "the app does not show itself to them");
        let nobody = rig.text_to("bob|cid", "x").await;
        rig.until("its end", async || rig.status(&nobody).await == Status::Failed).await;
        assert_eq!(rig.tracked(&nobody).await.details["code"], json!(81013));
        assert_eq!(halt(&rig, APP), None);
        rig.stop().await;
    }

    async fn a_mended_secret_is_tried_at_once(database: &Database) {
        let fake = platform(&database.clock).await;
        fake.add_app(CORP, "another");
        let rig = Rig::with_app(database, &fake).await;
        let ids = texts(&rig, 3).await;
        rig.soon("the halt", async || halt(&rig, APP).is_some_and(|(_, until_ms)| until_ms.is_some())).await;
        assert!(halt(&rig, APP).is_some_and(|(reason, _)| reason.contains("no access token: errcode 40001")));
        fake.add_app(CORP, SECRET);
        let mended = Target::app(APP, app_at(&fake.base_url(), SECRET, &database.clock), 8);
        rig.dispatch.reload(Targets::build(vec![mended]).expect("one app"));
        rig.soon("all", async || rig.count(&ids, Status::Sent).await == 3).await;
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_halt_is_shown_with_its_reason_and_a_reload_ends_it() {
    let fake = platform(&Clock::system()).await;
    let desk = Rest::new(fake.base_url().trim_start_matches("http://").parse().expect("an address"), None);
    let rules = json!({"trusted": ["203.0.113.7"]});
    assert_eq!(put(&desk, &format!("/_fake/apps/{AGENT}"), &rules).await, 204);
    assert_eq!(put(&desk, "/_fake/peer", &json!({"address": "198.51.100.9"})).await, 204);
    let channels = format!(
        "  wechat_api:\n    corp_id: {CORP}\n    secret: {SECRET}\n    agent_id: '{AGENT}'\n    base_url: {}\n    \
         token: ''\n    encoding_aes_key: ''\n",
        fake.base_url()
    );
    let gateway = Gateway::start("halt", Setup { channels, ..Setup::default() });
    let rest = Rest::new(gateway.address(), None);
    let send = async |user: &str| -> String {
        let message = json!({"channel": "wechat_api", "touser": user, "text": "x"});
        let id = read(&rest.post("/api/v1/messages", &message).await)["message_id"].clone();
        format!("/api/v1/messages/{}/status", id.as_str().expect("an id"))
    };
    let tried = send("ann").await;
    until(async || rest.json(&tried).await["error_message"].is_string()).await;
    let untried = send("bob").await;
    let parts = ["errcode 60020", "hint: [fake]", "put the address 198.51.100.9 on the app's list"];
    for path in [&tried, &untried] {
        let status = rest.json(path).await;
        assert_eq!(status["status"], "pending", "{status}");
        let said = status["error_message"].as_str().expect("why it waits");
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    }
    assert_eq!(rest.json(&tried).await["details"]["code"], 60020);
    let channel = rest.json("/api/v1/channels").await["channels"][0].clone();
    assert_eq!(channel["queued"], 2, "{channel}");
    assert!(channel["next_try_at"].is_string(), "{channel}");
    let problem = channel["problem"].as_str().expect("a problem");
    assert!(parts.iter().all(|part| problem.contains(part)), "{problem}");
    for part in parts {
        assert!(gateway.logs(part).await, "the log lacks {part}");
    }

    assert_eq!(desk.send("DELETE", &format!("/_fake/apps/{AGENT}"), "", b"").await.status, 204);
    assert_eq!(rest.post("/api/v1/reload", &json!({})).await.status, 200);
    for path in [&tried, &untried] {
        until(async || rest.json(path).await["status"] == "sent").await;
        assert!(rest.json(path).await["error_message"].is_null());
    }
    until(async || rest.json("/api/v1/channels").await["channels"][0]["problem"].is_null()).await;
}
