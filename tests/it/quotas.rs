//! What the platform refuses for now, or altogether, and what the fake platform says of it over HTTP.

use serde_json::{Value, json};
use wecom_gateway::cli::dev::wecom::{FakeWecom, Fault, FaultKind};
use wecom_gateway::clock::Clock;
use wecom_gateway::dispatch::{DispatchSettings, Target};
use wecom_gateway::domain::status::Status;
use wecom_gateway::store::Engine;
use wecom_gateway::tracker::Hooks;

use crate::app::platform;
use crate::database::{Database, on_both};
use crate::rest::{Rest, json};
use crate::rig::{APP, Rig};
use crate::robot::KEY;

fn desk(fake: &FakeWecom) -> Rest {
    let address = fake.base_url().trim_start_matches("http://").parse().expect("an address");
    Rest::new(address, None)
}

#[tokio::test]
async fn what_is_too_much_for_one_day_goes_out_on_the_next() {
    let database = Database::new(Engine::Sqlite).await;
    let fake = platform(&database.clock).await;
    // 200 person-times a day.
    fake.set_accounts(1);
    let rig = Rig::with_app(&database, &fake).await;
    let people = |from: usize, count: usize| -> String {
        (from..from + count).map(|number| format!("user{number}")).collect::<Vec<_>>().join("|")
    };
    let first = rig.text_to(&people(0, 150), "one").await;
    let second = rig.text_to(&people(150, 100), "two").await;
    rig.soon("the first", async || rig.status(&first).await == Status::Sent).await;
    rig.soon("a refusal", async || fake.figures()["limited"] == 1).await;
    assert_eq!(rig.status(&second).await, Status::Pending, "never an error to the caller");
    // A minute, five minutes, then once an hour.
    rig.until_slowly("the next day", 600_000, async || rig.status(&second).await == Status::Sent).await;
    let figures = fake.figures();
    assert!((2..=27).contains(&figures["limited"]), "asked {} times within a day", figures["limited"]);
    assert_eq!((figures["shown"], figures["doubled"], figures["dropped"]), (250, 0, 0));
    rig.stop().await;
}

on_both! {
    async fn a_quota_that_is_known_is_kept_ahead_and_across_a_restart(database: &Database) {
        let fake = platform(&database.clock).await;
        fake.set_accounts(1);
        let start = async || {
            let app = crate::app::app_at(&fake.base_url(), crate::app::SECRET, &database.clock);
            let settings = DispatchSettings { scan_ms: 50, lease_ms: 600_000, ..DispatchSettings::default() };
            let targets = vec![Target::app(APP, app, 8).of_accounts(1)];
            Rig::with_targets(database, targets, settings, Hooks::default()).await
        };
        let people = |word: &str, count: usize| -> String {
            (0..count).map(|number| format!("{word}{number}")).collect::<Vec<_>>().join("|")
        };
        let rig = start().await;
        // What was not taken does not count.
        fake.add_fault(Fault::of("message/send", FaultKind::Errcode { code: 40058 }, 1));
        let refused = rig.text_to(&people("nobody", 100), "refused").await;
        rig.soon("the refusal", async || rig.status(&refused).await == Status::Failed).await;
        let first = rig.text_to(&people("a", 150), "one").await;
        rig.soon("the first", async || rig.status(&first).await == Status::Sent).await;
        rig.stop().await;

        let rig = start().await;
        let second = rig.text_to(&people("b", 51), "two").await;
        let third = rig.text_to(&people("c", 50), "three").await;
        rig.soon("what fits", async || rig.status(&third).await == Status::Sent).await;
        assert_eq!(rig.status(&second).await, Status::Pending, "one too many");
        rig.until_slowly("the next day", 600_000, async || rig.status(&second).await == Status::Sent).await;
        let figures = fake.figures();
        assert_eq!((figures["limited"], figures["shown"], figures["dropped"]), (0, 251, 0));
        rig.stop().await;
    }
}

#[tokio::test]
async fn the_fake_platform_keeps_its_own_time_and_accounts() {
    let fake = platform(&Clock::system()).await;
    let desk = desk(&fake);
    let send = async || {
        let message = json!({"msgtype": "text", "text": {"content": "x"}});
        json(&desk.post(&format!("/cgi-bin/webhook/send?key={KEY}"), &message).await)["errcode"].clone()
    };
    for _ in 0..20 {
        assert_eq!(send().await, 0);
    }
    assert_eq!(desk.get("/_fake/assert?robot_peak_per_minute=20&limited=0&shown_min=20").await.status, 200);
    assert_eq!(send().await, 45009);
    let answer = desk.get("/_fake/assert?robot_peak_per_minute=20&limited=0&wrong=0").await;
    assert_eq!(answer.status, 409);
    assert_eq!(
        json(&answer)["broken"],
        json!(["limited is 1, at most 0", "robot_peak_per_minute is 21, at most 20", "wrong is not counted"])
    );
    let before: Value = desk.json("/_fake/clock").await;
    let after = json(&desk.post("/_fake/clock", &json!({"advance_ms": 120_001})).await);
    let passed_ms = after["now_ms"].as_i64().expect("ms") - before["now_ms"].as_i64().expect("ms");
    assert!(passed_ms >= 120_001, "{passed_ms}");
    assert_eq!(send().await, 0, "two minutes have passed there");
    assert_eq!(desk.json("/_fake/figures").await["shown"], 21);
    let people = json!({"accounts": 1});
    assert_eq!(desk.post("/_fake/people", &people).await.status, 201);
}
