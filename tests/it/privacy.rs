//! One person, erased and exported.

use serde_json::{Value, json};
use wecom_gateway::domain::status::Status;
use wecom_gateway::privacy::{ExportLimits, Person, erase, export};
use wecom_gateway::store::{Engine, MessageFilter};

use crate::database::{Database, on_both};
use crate::gateway::{Gateway, Platform, Setup, text_message};
use crate::ledger;
use crate::rest::{Rest, json as body};
use crate::site::until;
use crate::store::message;

const EVENTS: u64 = 230;

async fn post(gateway: &Gateway, user: &str, id: u64) {
    let (query, sealed) = Platform::app().seal(&text_message(user, id, &format!("canary-of-{user}")));
    let target = format!("/api/v1/webhooks/wechat/api?{query}");
    let answer = Rest::new(gateway.address(), None).send("POST", &target, "", sealed.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

async fn report(rest: &Rest, user: &str, status: &str) {
    let report = json!({"status": status, "user_id": user, "error_message": format!("canary-of-{user}")});
    let answer = rest.post("/api/v1/messages/theirs-1/status", &report).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

on_both! {
    async fn texts_go_and_rows_and_counts_stay(database: &Database) {
        let setup = Setup { database_url: database.url.clone(), ..Setup::default() };
        let mut gateway = Gateway::start("privacy", setup);
        let rest = Rest::new(gateway.address(), None);
        for id in 0..EVENTS {
            post(&gateway, "zhangsan", id).await;
        }
        for id in EVENTS..EVENTS + 5 {
            post(&gateway, "lisi", id).await;
        }
        for (user, status) in [("zhangsan", "failed"), ("lisi", "delivered")] {
            report(&rest, user, status).await;
        }
        let counts = |status: &Value| status["details"]["counts"].clone();
        let before = rest.json("/api/v1/messages/theirs-1/status").await;

        let known = rest.json("/api/v1/users/zhangsan").await;
        let events = known["events"].as_array().expect("a list");
        assert_eq!((events.len(), &known["complete"]), (230, &json!(true)));
        assert!(events.iter().all(|event| event["raw"].as_str().expect("a text").contains("canary-of-zhangsan")));

        let answer = rest.send("DELETE", "/api/v1/users/zhangsan", "", b"").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let erased = body(&answer);
        let numbers = ["events", "evidence", "pending_messages"].map(|name| erased[name].as_u64());
        assert_eq!((numbers, &erased["complete"]), ([Some(230), Some(1), Some(0)], &json!(true)), "{erased}");

        let nothing = rest.json("/api/v1/users/zhangsan").await;
        assert_eq!((&nothing["events"], &nothing["messages"]), (&json!([]), &json!([])));
        assert_eq!(rest.json("/api/v1/users/lisi").await["events"].as_array().expect("a list").len(), 5);
        assert_eq!(database.number("SELECT COUNT(*) FROM events").await, 235, "rows stay");
        let after = rest.json("/api/v1/messages/theirs-1/status").await;
        assert_eq!((&after["status"], counts(&after)), (&before["status"], counts(&before)), "counts stay");
        let history = rest.get("/api/v1/messages/theirs-1/history").await.text();
        let alias = erased["alias"].as_str().expect("a name");
        assert!(history.contains(alias) && !history.contains("zhangsan") && history.contains("lisi"), "{history}");
        assert!(ledger::event_payloads(database).await.iter().all(|text| !text.contains("zhangsan")));

        post(&gateway, "zhangsan", 3).await;
        assert_eq!(database.number("SELECT COUNT(*) FROM events").await, 235, "a repeat is still known");
        let again = body(&rest.send("DELETE", "/api/v1/users/zhangsan", "", b"").await);
        assert_eq!((&again["events"], &again["evidence"]), (&json!(0), &json!(0)), "{again}");
        until(async || {
            let audit = rest.get("/api/v1/audit").await.text();
            audit.contains("user.erased") && audit.contains(alias) && audit.contains("user.exported")
        })
        .await;
        ledger::check_integrity(database).await;

        gateway.signal("TERM");
        assert!(gateway.wait(std::time::Duration::from_secs(20)).is_some());
        if database.engine == Engine::Sqlite {
            let path = database.url.strip_prefix("sqlite:").expect("a file");
            let left = || {
                let bytes = std::fs::read(path).expect("read");
                bytes.windows(18).filter(|found| *found == b"canary-of-zhangsan").count()
            };
            // Pages that were split before keep copies until their place is needed, or the file is written anew.
            assert!(left() < 30, "{} of 231 texts were not overwritten", left());
            let vacuum = std::process::Command::new("sqlite3").args([path, "VACUUM"]).status();
            assert!(vacuum.expect("sqlite3 is installed").success());
            assert_eq!(left(), 0);
        }
    }

    async fn a_message_of_several_loses_a_name_and_one_of_theirs_alone_its_text(database: &Database) {
        let store = database.open().await;
        let [mut shared, mut alone, waiting] = [(), (), ()].map(|()| message(database));
        shared.message.body = String::from(r#"{"touser":"zhangsan|lisi","text":{"content":"for both"}}"#);
        alone.message.recipients = vec!["zhangsan".to_owned()];
        store.add_messages(&[shared.clone(), alone.clone(), waiting.clone()]).await.expect("added");
        let sent = |id: &wecom_gateway::ids::MessageId| (id.clone(), Status::Sent, database.clock.wall_ms());
        store.set_message_status(&[sent(&shared.message.id), sent(&alone.message.id)]).await.expect("set");

        let found = export(&store, Person::Member("zhangsan"), ExportLimits { rows_max: 3, ..ExportLimits::default() }).await;
        let found = found.expect("exported");
        assert_eq!((found.messages.len(), found.complete), (3, true), "exactly as many as it may");
        let cut = export(&store, Person::Member("zhangsan"), ExportLimits { rows_max: 2, ..ExportLimits::default() }).await;
        assert!(!cut.expect("exported").complete);

        let deadline_ms = database.clock.steady_ms() + 1_000;
        let done = erase(&store, Person::Member("zhangsan"), "erased:x", &database.clock, deadline_ms).await.expect("erased");
        assert_eq!((done.messages, done.pending_messages, done.complete), (2, 1, true), "{done:?}");
        let read = async |id| store.message(id).await.expect("asked").expect("it stays");
        let shared = read(&shared.message.id).await;
        assert_eq!(shared.body, r#"{"text":{"content":"for both"},"touser":"erased:x|lisi"}"#);
        assert_eq!(shared.recipients, ["erased:x", "lisi"]);
        assert_eq!(read(&alone.message.id).await.body, "{}");
        assert_eq!(read(&waiting.message.id).await.body, waiting.message.body, "it is still to be sent");
        let of = async |user: &str| {
            let filter = MessageFilter { user_id: Some(user.to_owned()), ..MessageFilter::default() };
            store.messages(&filter).await.expect("listed").items.len()
        };
        assert_eq!((of("zhangsan").await, of("lisi").await, of("erased:x").await), (1, 2, 2));

        let late = erase(&store, Person::Member("lisi"), "erased:y", &database.clock, i64::MIN).await.expect("erased");
        assert!(!late.complete && late.messages + late.pending_messages == 1, "it stops when its time is over: {late:?}");
    }

    async fn a_customer_is_shown_and_erased_by_their_external_id(database: &Database) {
        customers(database, "").await;
    }

    async fn a_customer_is_erased_from_sealed_rows_too(database: &Database) {
        customers(database, "encryption: { key: a-key-at-rest-for-tests }\n").await;
        let payloads = ledger::event_payloads(database).await;
        assert_eq!(payloads.iter().filter(|text| text.is_empty()).count(), 230);
        assert!(payloads.iter().all(|text| !text.contains("canary")), "the others are sealed");
    }

    async fn a_follower_is_erased_by_openid(database: &Database) {
        let setup = Setup { database_url: database.url.clone(), ..Setup::default() };
        let gateway = Gateway::start("followers", setup);
        let rest = Rest::new(gateway.address(), None);
        post(&gateway, "o6_bmjrPTlm6_2sgVt7hMZOPfL2M", 1).await;
        let target = "/api/v1/users/o6_bmjrPTlm6_2sgVt7hMZOPfL2M";
        assert_eq!(rest.json(target).await["events"].as_array().expect("a list").len(), 1);
        assert_eq!(body(&rest.send("DELETE", target, "", b"").await)["events"], json!(1));
        assert!(ledger::event_payloads(database).await.iter().all(String::is_empty));
    }
}

/// A change of a customer, as the platform tells it.
fn customer_event(customer: &str, at_s: u64) -> String {
    format!(
        "<xml><ToUserName>ww1234567890abcdef</ToUserName><FromUserName>sys</FromUserName><CreateTime>{at_s}</CreateTime>\
         <MsgType>event</MsgType><Event>change_external_contact</Event><ChangeType>add_external_contact</ChangeType>\
         <UserID>zhangsan</UserID><ExternalUserID>{customer}</ExternalUserID><State>canary-of-{customer}</State></xml>"
    )
}

async fn customers(database: &Database, encryption: &str) {
    let setup =
        Setup { database_url: database.url.clone(), extra: encryption.to_owned(), ..Setup::default() };
    let gateway = Gateway::start("customers", setup);
    let rest = Rest::new(gateway.address(), None);
    let tell = async |customer: &str, at_s: u64| {
        let (query, sealed) = Platform::app().seal(&customer_event(customer, at_s));
        let target = format!("/api/v1/webhooks/wechat/api?{query}");
        assert_eq!(rest.send("POST", &target, "", sealed.as_bytes()).await.status, 200);
    };
    for at_s in 0..EVENTS {
        tell("wmAAA", 1_700_000_000 + at_s).await;
    }
    for at_s in 0..5 {
        tell("wmBBB", 1_700_000_000 + at_s).await;
    }
    post(&gateway, "zhangsan", 1).await;
    let known = rest.json("/api/v1/customers/wmAAA").await;
    let events = known["events"].as_array().expect("a list");
    assert_eq!((events.len(), &known["complete"]), (230, &json!(true)));
    assert_eq!((&known["external_user_id"], &known["user_id"]), (&json!("wmAAA"), &Value::Null));
    assert!(events.iter().all(|event| event["raw"].as_str().expect("a text").contains("canary-of-wmAAA")));
    let listed = rest.json("/api/v1/events?external_user_id=wmBBB").await;
    assert_eq!(listed["data"].as_array().expect("a list").len(), 5);

    let erased = body(&rest.send("DELETE", "/api/v1/customers/wmAAA", "", b"").await);
    assert_eq!((&erased["events"], &erased["complete"]), (&json!(230), &json!(true)), "{erased}");
    assert_eq!(rest.json("/api/v1/customers/wmAAA").await["events"], json!([]));
    assert_eq!(rest.json("/api/v1/customers/wmBBB").await["events"].as_array().expect("a list").len(), 5);
    assert_eq!(rest.json("/api/v1/users/zhangsan").await["events"].as_array().expect("a list").len(), 6);
    assert_eq!(database.number("SELECT COUNT(*) FROM events").await, 236, "rows stay");
    assert!(ledger::event_payloads(database).await.iter().all(|text| !text.contains("wmAAA")));
    tell("wmAAA", 1_700_000_003).await;
    assert_eq!(database.number("SELECT COUNT(*) FROM events").await, 236, "a repeat is still known");
    let again = body(&rest.send("DELETE", "/api/v1/customers/wmAAA", "", b"").await);
    assert_eq!(again["events"], json!(0), "{again}");
    until(async || {
        let audit = rest.get("/api/v1/audit").await.text();
        audit.contains("customer.erased") && audit.contains("customer.exported")
    })
    .await;
}
