//! What is said to a smart robot's callback after its answer: through its `response_url`, and as a stream.

use bytes::Bytes;
use serde_json::{Value, json};
use wecom_gateway::cli::dev::wecom::{FakeWecom, Fault, FaultKind};
use wecom_gateway::clock::Clock;
use wecom_gateway::domain::event::Format;
use wecom_gateway::ids::EventId;
use wecom_gateway::intake::{Intake, IntakeLimits};
use wecom_gateway::messages::{ActError, Caller};
use wecom_gateway::source::AcceptedEvent;
use wecom_gateway::store::{NewEvent, Purge, Recorded, StreamRow};
use wecom_gateway::wecom::limits::ReadLimits;

use crate::app::platform;
use crate::database::{Database, on_both};
use crate::gateway::{Gateway, Platform, Setup, channels_with};
use crate::rest::{Rest, json as read};
use crate::rig::{CHANNEL, Rig};
use crate::robot::KEY;
use crate::samples::sample;

fn said(fake: &FakeWecom) -> Vec<Value> {
    fake.responses().into_iter().map(|said| said.body["markdown"]["content"].clone()).collect()
}

/// The published sample of what a person writes to a smart robot, from `number`, to be answered at the fake.
fn written(fake: &FakeWecom, number: usize) -> String {
    let mut message: Value = serde_json::from_slice(&sample("aibot-text.json")).expect("JSON");
    message["msgid"] = json!(format!("CAIQ{number}"));
    message["response_url"] =
        json!(format!("{}/cgi-bin/aibot/response?response_code=CODE{number}", fake.base_url()));
    message.to_string()
}

/// The published sample of how the platform asks for the rest of a stream.
fn asked(number: usize, stream_id: &str) -> String {
    let mut message: Value = serde_json::from_slice(&sample("aibot-stream.json")).expect("JSON");
    message["msgid"] = json!(format!("POLL{number}"));
    message["stream"]["id"] = json!(stream_id);
    message.to_string()
}

/// A stored callback of the rig's robot.
async fn stored(database: &Database, rig: &Rig, plaintext: String) -> EventId {
    let intake = Intake::start(rig.store.clone(), IntakeLimits::default(), database.clock.clone());
    let read = AcceptedEvent::read(CHANNEL, Bytes::from(plaintext), &ReadLimits::DEFAULT);
    assert_eq!(read.event.format, Format::Json);
    let id: EventId = database.ids.make();
    let event = NewEvent {
        id: id.clone(),
        source: CHANNEL.into(),
        dedup_key: read.dedup_key,
        event: read.event,
        payload: read.payload,
        accepted_ms: database.clock.wall_ms(),
        evidence: Vec::new(),
    };
    assert_eq!(intake.accept(vec![event]).await, Ok(vec![Recorded::New]));
    intake.stop().await;
    id
}

fn markdown(content: &str) -> Value {
    json!({ "markdown": content })
}

on_both! {
    async fn a_callback_is_answered_late_once_and_within_an_hour(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::start(database, &fake).await;
        let me = Caller::default();
        let respond = async |id: &EventId, content: &str| rig.messages.respond(id.as_str(), &me, &markdown(content)).await;
        let first = stored(database, &rig, written(&fake, 1)).await;
        assert!(matches!(rig.messages.respond(first.as_str(), &me, &json!({"text": "x"})).await, Err(ActError::Field(_))));
        // What the platform refused can be said better.
        fake.add_fault(Fault::of("aibot/response", FaultKind::Errcode { code: 40008 }, 1));
        assert!(matches!(respond(&first, "x").await, Err(ActError::Refused { code: Some(40008), .. })));
        let answers = tokio::join!(respond(&first, "a"), respond(&first, "b"), respond(&first, "c"));
        let taken = [&answers.0, &answers.1, &answers.2].iter().filter(|answer| answer.is_ok()).count();
        assert_eq!((taken, said(&fake).len()), (1, 1), "{answers:?}");
        assert!(matches!(respond(&first, "d").await, Err(ActError::Impossible("the event was answered already, which works once"))));

        let lost = stored(database, &rig, written(&fake, 2)).await;
        fake.add_fault(Fault::of("aibot/response", FaultKind::CloseAfter, 1));
        assert!(matches!(respond(&lost, "lost").await, Err(ActError::Unsure(_))));
        assert!(matches!(respond(&lost, "again").await, Err(ActError::Impossible(_))), "it may have been shown");
        assert_eq!(said(&fake).len(), 2);

        let late = stored(database, &rig, written(&fake, 3)).await;
        rig.pass_ms(3_599_999);
        respond(&late, "just in time").await.expect("within the hour");
        let later = stored(database, &rig, written(&fake, 4)).await;
        rig.pass_ms(3_600_000);
        assert!(matches!(respond(&later, "too late").await, Err(ActError::Impossible("the event is older than an hour"))));

        // Where a callback leads elsewhere, nobody is called.
        let elsewhere = written(&fake, 5).replace("/cgi-bin/aibot/response", "/cgi-bin/gettoken");
        let elsewhere = stored(database, &rig, elsewhere).await;
        assert!(matches!(respond(&elsewhere, "x").await, Err(ActError::Impossible(_))));
        let foreign = Caller { allowed: vec!["other".to_owned()], ..Caller::default() };
        assert!(matches!(rig.messages.respond(late.as_str(), &foreign, &markdown("x")).await, Err(ActError::Unknown)));
        assert!(matches!(rig.messages.respond("evt_nothing", &me, &markdown("x")).await, Err(ActError::Unknown)));
        assert_eq!(said(&fake).len(), 3);
        rig.stop().await;
    }

    async fn a_stream_grows_until_it_is_finished_or_nobody_asks(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::start(database, &fake).await;
        let me = Caller::default();
        let id = stored(database, &rig, written(&fake, 1)).await;
        let feed = async |body: Value| rig.messages.feed_stream(id.as_str(), &me, body).await;
        let told = async || rig.store.stream(&id).await.expect("the store answers").expect("it is open");
        for (body, field) in [
            (json!({"content": "x".repeat(20_481)}), "content"),
            (json!({"msg_item": [{}]}), "msg_item"),
            (json!({"id": "mine"}), "id"),
            (json!([]), ""),
        ] {
            let wrong = feed(body).await.expect_err("refused");
            assert!(matches!(wrong, ActError::Field(ref wrong) if wrong.field == field), "{wrong:?}");
        }
        assert!(!feed(json!({"content": "one"})).await.expect("taken").1);
        assert!(!feed(json!({"content": "one"})).await.expect("the same again").1);
        // What opened it comes late, and takes nothing back.
        let opening = StreamRow { source: CHANNEL.to_owned(), body: "{}".to_owned(), finished: false, opened_ms: 0 };
        rig.store.open_stream(&id, opening).await.expect("nothing to do");
        assert_eq!(told().await.body, r#"{"content":"one"}"#);
        assert!(feed(json!({"content": "one two", "finish": true})).await.expect("taken").1);
        assert!(matches!(feed(json!({"content": "three"})).await, Err(ActError::Impossible("the stream is finished"))));
        assert_eq!((told().await.body.as_str(), told().await.finished), (r#"{"content":"one two"}"#, true));

        let second = stored(database, &rig, written(&fake, 2)).await;
        rig.pass_ms(359_999);
        rig.messages.feed_stream(second.as_str(), &me, json!({"content": "x"})).await.expect("in time");
        rig.pass_ms(1);
        let late = rig.messages.feed_stream(second.as_str(), &me, json!({"content": "y"})).await;
        assert!(matches!(late, Err(ActError::Impossible(_))), "{late:?}");

        let purged = rig.store.purge_before(Purge::SmartRobots, database.clock.wall_ms() + 1_000).await.expect("purged");
        assert_eq!(purged.rows, 0, "no responses");
        assert_eq!(rig.store.stream(&id).await.expect("the store answers"), None);
        rig.stop().await;
    }
}

/// Calls the robot's handler; what it answers, opened.
async fn call(gateway: &Gateway, plaintext: &str) -> Option<Value> {
    let robot = Platform::robot();
    let (query, body) = robot.seal_json(plaintext);
    let target = format!("/api/v1/webhooks/wechat/bot?{query}");
    let rest = Rest::new(gateway.address(), None);
    let answer = rest.send("POST", &target, "Content-Type: application/json\r\n", body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    if answer.body.is_empty() {
        return None;
    }
    let plaintext = robot.open(&answer.text()).unwrap_or_else(|| panic!("sealed: {}", answer.text()));
    Some(serde_json::from_str(&plaintext).expect("JSON"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_platform_asks_for_a_stream_and_is_told_what_was_fed_also_after_a_kill() {
    let fake = platform(&Clock::system()).await;
    let rules = "replies:\n- { reply: { msgtype: stream, stream: { content: '正在思考' } } }\n";
    let channels = channels_with("", rules)
        .replace("http://127.0.0.1:9/cgi-bin/webhook/send?key=none", &fake.robot_url(KEY));
    let mut gateway = Gateway::start("stream", Setup { channels, ..Setup::default() });
    let rest = Rest::new(gateway.address(), None);
    let opened = call(&gateway, &written(&fake, 1)).await.expect("an answer");
    let id = opened["stream"]["id"].as_str().expect("an id").to_owned();
    let stream = |finish: bool, content: &str| json!({"msgtype": "stream", "stream": {"id": id, "finish": finish, "content": content}});
    assert_eq!(opened, stream(false, "正在思考"));
    assert_eq!(call(&gateway, &written(&fake, 1)).await, Some(opened), "a repeat is told the same");
    assert_eq!(
        rest.json(&format!("/api/v1/events/{id}")).await["kind"],
        "message.text",
        "the event's own id"
    );
    assert_eq!(call(&gateway, &asked(1, &id)).await, Some(stream(false, "正在思考")));

    let path = format!("/api/v1/events/{id}/stream");
    let put = async |rest: &Rest, body: Value| {
        rest.send("PUT", &path, "Content-Type: application/json\r\n", body.to_string().as_bytes()).await
    };
    let answer = put(&rest, json!({"content": "one"})).await;
    assert_eq!((answer.status, read(&answer)["finished"].clone()), (200, json!(false)));
    assert_eq!(call(&gateway, &asked(2, &id)).await, Some(stream(false, "one")));
    assert_eq!(call(&gateway, &asked(2, &id)).await, Some(stream(false, "one")), "a repeat");
    assert_eq!(put(&rest, json!({"content": "one two"})).await.status, 200);
    gateway.kill();
    gateway.restart();
    let rest = Rest::new(gateway.address(), None);
    assert_eq!(call(&gateway, &asked(3, &id)).await, Some(stream(false, "one two")), "it was on disk");
    assert_eq!(put(&rest, json!({"content": "all", "finish": true})).await.status, 200);
    assert_eq!(call(&gateway, &asked(4, &id)).await, Some(stream(true, "all")));
    let answer = put(&rest, json!({"content": "more"})).await;
    assert_eq!(answer.status, 409, "{}", answer.text());
    // Of a stream that we did not open we know nothing; a rule does not answer for it.
    assert_eq!(call(&gateway, &asked(5, "evt_01h2xcejqtf2nbrexx3vqjhp41")).await, None);

    let answer = rest.post(&format!("/api/v1/events/{id}/respond"), &markdown("**done**")).await;
    assert_eq!((answer.status, read(&answer)["status"].clone()), (200, json!("sent")));
    assert_eq!(said(&fake), ["**done**"]);
    let again = rest.post(&format!("/api/v1/events/{id}/respond"), &markdown("x")).await;
    assert_eq!(again.status, 409, "{}", again.text());
    assert!(!gateway.log().contains("response_code=CODE"), "a code is logged");
}
