//! Who may call what.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use wecom_gateway::http::HttpLimits;
use wecom_gateway::http::document;
use wecom_gateway::ids::ApiKeyId;
use wecom_gateway::store::{ApiKeyRow, AuditFilter, Role};

use crate::openapi::target;
use crate::rest::Rest;
use crate::site::{ADMIN, OPERATOR, READER, Setup, Site, until};
use crate::wire::Wire;

/// Method, path and role of every operation of the document that asks for a key.
fn operations() -> Vec<(String, String, Option<Role>)> {
    let document = serde_json::to_value(document()).expect("JSON");
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let role = operation["security"][0]["api_key"][0].as_str();
            operations.push((
                method.to_uppercase(),
                path.clone(),
                role.map(|role| Role::parse(role).expect("a role")),
            ));
        }
    }
    operations
}

/// The hash of a key as the store keeps it.
pub(crate) fn hash(key: &str) -> String {
    let digits =
        |byte: &u8| [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).expect("a digit"));
    Sha256::digest(key.as_bytes()).iter().flat_map(digits).collect()
}

async fn add_key(site: &Site, key: &str, role: Role, sources: &[&str]) -> ApiKeyId {
    let id: ApiKeyId = site.ids.make();
    let row = ApiKeyRow {
        id: id.clone(),
        name: "made".to_owned(),
        shown_prefix: key.chars().take(8).collect(),
        hash: hash(key),
        role,
        sources: sources.iter().map(|source| (*source).to_owned()).collect(),
        created_ms: site.clock.wall_ms(),
        revoked_ms: None,
    };
    site.store.add_api_key(&row).await.expect("the key is new");
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_asks_for_the_role_it_says() {
    let mut site = Site::start(Setup::default()).await;
    site.refuse_reloads();
    let address = site.address();
    let callers = [
        (None, None),
        (Some("not-a-key-0123456789"), None),
        (Some(READER), Some(Role::Reader)),
        (Some(OPERATOR), Some(Role::Operator)),
        (Some(ADMIN), Some(Role::Admin)),
    ];
    let mut guarded = 0;
    for (method, path, asked) in operations() {
        for (key, has) in callers {
            let caller = Rest::new(address, key);
            let answer =
                caller.send(&method, &target(&path), "Content-Type: application/json\r\n", b"{}").await;
            let context = format!("{method} {path} with {key:?}: {} {}", answer.status, answer.text());
            match (asked, has) {
                (None, _) => assert!(![401, 429].contains(&answer.status), "{context}"),
                (Some(_), None) => assert!([401, 429].contains(&answer.status), "{context}"),
                (Some(asked), Some(has)) if has < asked => assert_eq!(answer.status, 403, "{context}"),
                (Some(_), Some(_)) => assert!(![401, 403, 429].contains(&answer.status), "{context}"),
            }
            if asked.is_some() && answer.status == 401 {
                assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{context}");
            }
        }
        guarded += usize::from(asked.is_some());
    }
    assert!(guarded >= 15, "only {guarded} routes ask for a key");
}

#[tokio::test]
async fn the_key_has_one_form() {
    let site = Site::start(Setup::default()).await;
    let anybody = Rest::new(site.address(), None);
    for (header, status) in [
        (format!("Bearer {READER}"), 200),
        (format!("bearer {READER}"), 200),
        (format!("Bearer  {READER} "), 200),
        (format!("Basic {READER}"), 401),
        (READER.to_owned(), 401),
        ("Bearer".to_owned(), 401),
        ("Bearer ".to_owned(), 401),
        (format!("Bearer {READER}x"), 401),
        (format!("Bearer {}", &READER[1..]), 401),
        (format!("Bearer r:reader:{READER}"), 401),
        (format!("Bearer {}", "x".repeat(4_000)), 401),
    ] {
        let headers = format!("Authorization: {header}\r\n");
        let answer = anybody.send("GET", "/api/v1/webhooks/handlers", &headers, b"").await;
        assert!(
            answer.status == status || status == 401 && answer.status == 429,
            "{header}: {}",
            answer.status
        );
    }
    let in_the_url = anybody.get(&format!("/api/v1/webhooks/handlers?key={READER}")).await;
    assert_eq!(in_the_url.status, 401);
}

#[tokio::test]
async fn without_any_key_only_this_machine_may_call() {
    let site = Site::start(Setup { keys: Vec::new(), ..Setup::default() }).await;
    let ask = async |source: [u8; 4], lines: &str| {
        let mut wire = Wire::connect_from(source, site.address()).await.unwrap();
        wire.send(format!("GET /api/v1/events HTTP/1.1\r\n{lines}\r\n").as_bytes()).await.unwrap();
        wire.answer().await.unwrap().status
    };
    let here = [127, 0, 0, 1];
    for host in ["localhost", "localhost:8080", "127.0.0.1", "[::1]:80"] {
        assert_eq!(ask(here, &format!("Host: {host}\r\n")).await, 200, "{host}");
    }
    for host in ["gateway.example.com", "10.0.0.1", "localhost.example.com"] {
        assert_eq!(ask(here, &format!("Host: {host}\r\n")).await, 401, "{host}");
    }
    for trace in
        ["X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: https", "X-Real-IP: 127.0.0.1", "Forwarded: for=x"]
    {
        assert_eq!(ask(here, &format!("Host: localhost\r\n{trace}\r\n")).await, 401, "{trace}");
    }
    assert_eq!(ask(here, "Host: localhost\r\nOrigin: http://evil.example\r\n").await, 401);
    // A key that is shown has to be right, even here.
    assert_eq!(ask(here, "Host: localhost\r\nAuthorization: Bearer x\r\n").await, 401);

    // The first key that is made closes the door.
    add_key(&site, "a-key-from-the-store-0123456789", Role::Reader, &[]).await;
    until(async || ask(here, "Host: localhost\r\n").await == 401).await;
}

#[tokio::test]
async fn a_stored_key_works_until_it_is_revoked() {
    let site = Site::start(Setup::default()).await;
    let key = "a-key-from-the-store-0123456789";
    let id = add_key(&site, key, Role::Reader, &[]).await;
    let caller = Rest::new(site.address(), Some(key));
    assert_eq!(caller.get("/api/v1/events").await.status, 200);
    assert_eq!(caller.post("/api/v1/messages", &json!({})).await.status, 403);
    assert!(site.store.revoke_api_key(&id, site.clock.wall_ms()).await.unwrap());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(caller.get("/api/v1/events").await.status, 401, "a second after it was revoked");
}

#[tokio::test]
async fn wrong_keys_are_slowed_and_right_ones_are_not() {
    let limits = HttpLimits { wrong_keys_per_address_per_minute: 3, ..Setup::default().limits };
    let site = Site::start(Setup { limits, ..Setup::default() }).await;
    let wrong = Rest::new(site.address(), Some("not-a-key-0123456789"));
    for n in 0..3 {
        assert_eq!(wrong.get("/api/v1/events").await.status, 401, "try {n}");
    }
    let answer = wrong.get("/api/v1/events").await;
    assert_eq!(answer.status, 429);
    let wait_s: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=20).contains(&wait_s), "{wait_s}");
    assert_eq!(Rest::new(site.address(), Some(READER)).get("/api/v1/events").await.status, 200);

    let (store, _database) = site.stop().await;
    let rows = store.audit(&AuditFilter::default()).await.unwrap().items;
    let refused: Vec<_> = rows.iter().filter(|row| row.action == "api_key.refused").collect();
    assert!(!refused.is_empty() && refused.iter().all(|row| row.address == "127.0.0.1"), "{rows:?}");
    assert!(!format!("{rows:?}").contains("not-a-key"), "a key stands in the audit");
}

#[tokio::test]
async fn acts_and_refused_roles_are_audited() {
    let site = Site::start(Setup::default()).await;
    let (reader, operator) =
        (Rest::new(site.address(), Some(READER)), Rest::new(site.address(), Some(OPERATOR)));
    assert_eq!(reader.post("/api/v1/reload", &Value::Null).await.status, 403);
    let report = operator.post("/api/v1/messages/theirs-1/status", &json!({"status": "delivered"})).await;
    assert_eq!(report.status, 200, "{}", report.text());
    let (store, _database) = site.stop().await;
    let rows = store.audit(&AuditFilter::default()).await.unwrap().items;
    let seen = |actor: &str, action: &str, subject: &str| {
        rows.iter().any(|row| {
            (row.actor.as_str(), row.action.as_str(), row.subject.as_str()) == (actor, action, subject)
        })
    };
    assert!(seen("config:r", "role.refused", "/api/v1/reload"), "{rows:?}");
    assert!(seen("config:o", "message.reported", "theirs-1"), "{rows:?}");
}
