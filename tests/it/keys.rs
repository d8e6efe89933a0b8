//! API keys over HTTP, and the events of security beside them.

use serde_json::{Value, json};

use crate::auth::hash;
use crate::gateway::{Gateway, Setup as Start};
use crate::rest::{Rest, json as body};
use crate::site::{ADMIN, READER, Setup, Site, until};

async fn actions(admin: &Rest) -> Vec<(String, String, String)> {
    let rows = admin.json("/api/v1/audit?limit=1000").await;
    let text = |row: &Value, name: &str| row[name].as_str().expect("a text").to_owned();
    let rows = rows["data"].as_array().expect("a list").iter();
    rows.map(|row| (text(row, "action"), text(row, "subject"), text(row, "detail"))).collect()
}

#[tokio::test]
async fn a_key_is_made_shown_once_used_and_revoked() {
    let site = Site::start(Setup::default()).await;
    let admin = Rest::new(site.address(), Some(ADMIN));
    let wish = json!({"name": "grafana", "role": "operator", "sources": ["bot"]});
    let answer = admin.post("/api/v1/keys", &wish).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let made = body(&answer);
    let key = made["key"].as_str().expect("the key");
    assert_eq!(
        (&made["name"], &made["role"], &made["sources"]),
        (&wish["name"], &wish["role"], &wish["sources"])
    );
    let stored = site.store.api_key_by_hash(&hash(key)).await.expect("asked").expect("only its hash is kept");
    assert_eq!(made["id"], stored.id.as_str());
    let list = admin.get("/api/v1/keys").await.text();
    assert!(list.contains("grafana") && !list.contains(key) && !list.contains(&stored.hash), "{list}");

    let holder = Rest::new(site.address(), Some(key));
    assert_eq!(holder.get("/api/v1/events").await.status, 200);
    assert_eq!(holder.get("/api/v1/keys").await.status, 403, "its role is not enough");
    let path = format!("/api/v1/keys/{}", stored.id.as_str());
    assert_eq!(admin.send("DELETE", &path, "", b"").await.status, 204);
    assert_eq!(admin.send("DELETE", &path, "", b"").await.status, 404, "it is revoked already");
    until(async || holder.get("/api/v1/events").await.status == 401).await;
    until(async || {
        let seen = actions(&admin).await;
        let has =
            |action| seen.iter().any(|(seen, subject, _)| seen == action && subject == stored.id.as_str());
        has("api_key.created") && has("api_key.revoked")
    })
    .await;
}

#[tokio::test]
async fn what_a_key_cannot_be_is_said_and_a_limited_admin_cannot_widen_itself() {
    let site = Site::start(Setup::default()).await;
    let admin = Rest::new(site.address(), Some(ADMIN));
    for (wish, field) in [
        (json!({"role": "root"}), "role"),
        (json!({"sources": ["nobody"]}), "sources"),
        (json!({"name": "x".repeat(33)}), "name"),
        (json!({"rights": "all"}), "rights"),
    ] {
        let answer = admin.post("/api/v1/keys", &wish).await;
        assert_eq!(answer.status, 400, "{wish}");
        assert!(answer.text().contains(field), "{wish}: {}", answer.text());
    }
    let name = "x".repeat(32);
    assert_eq!(admin.post("/api/v1/keys", &json!({"name": name})).await.status, 201, "as long as it may be");
    let limited = admin.post("/api/v1/keys", &json!({"role": "admin", "sources": ["bot"]})).await;
    let limited = Rest::new(site.address(), body(&limited)["key"].as_str());
    assert_eq!(limited.post("/api/v1/keys", &json!({"role": "admin"})).await.status, 403);
    assert_eq!(limited.get("/api/v1/keys").await.status, 403);
    assert_eq!(limited.get("/api/v1/audit").await.status, 403);
}

#[tokio::test]
async fn the_first_key_is_an_admins_for_it_closes_the_door_behind_it() {
    let site = Site::start(Setup { keys: Vec::new(), ..Setup::default() }).await;
    let local = Rest::new(site.address(), None);
    let refused = local.post("/api/v1/keys", &json!({"role": "reader"})).await;
    assert!(refused.status == 409 && refused.text().contains("admin"), "{}", refused.text());
    let answer = local.post("/api/v1/keys", &json!({"role": "admin"})).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let admin = Rest::new(site.address(), body(&answer)["key"].as_str());
    until(async || local.get("/api/v1/keys").await.status == 401).await;
    assert_eq!(admin.post("/api/v1/keys", &json!({"role": "reader"})).await.status, 201);
}

#[tokio::test]
async fn strangers_are_counted_by_kind_address_and_minute() {
    let setup = Start {
        webhook: "allow: [127.0.0.1], ".to_owned(),
        extra: format!("auth: {{ api_keys: 'a:admin:{ADMIN},r:reader:{READER}' }}\n"),
        ..Start::default()
    };
    let gateway = Gateway::start("security", setup);
    let [admin, reader, nobody, wrong] = [Some(ADMIN), Some(READER), None, Some("wrong-key-0123456789")]
        .map(|key| Rest::new(gateway.address(), key));
    for _ in 0..5 {
        assert_eq!(reader.get("/api/v1/keys").await.status, 403);
        assert_eq!(nobody.get("/api/v1/events").await.status, 401);
        assert_eq!(wrong.get("/api/v1/events").await.status, 401);
        let target = "/api/v1/webhooks/wechat/api?msg_signature=0123456789012345678901234567890123456789&timestamp=1700000000&nonce=1";
        let sealed = b"<xml><Encrypt>AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=</Encrypt></xml>";
        assert_eq!(admin.send("POST", target, "", sealed).await.status, 403);
    }
    let mut stranger =
        crate::wire::Wire::connect_from([127, 0, 0, 7], gateway.address()).await.expect("connects");
    assert_eq!(stranger.post("/api/v1/webhooks/wechat/api", b"x").await.expect("an answer").status, 403);
    until(async || {
        let seen = actions(&admin).await;
        ["role.refused", "api_key.missing", "api_key.refused", "callback.signature", "callback.address"]
            .iter()
            .all(|wanted| seen.iter().any(|(action, _, _)| action == wanted))
    })
    .await;
    let seen = actions(&admin).await;
    // At most two minutes were touched, each with one row at once and one with the count.
    for kind in ["role.refused", "api_key.missing", "callback.signature"] {
        let rows = seen.iter().filter(|(action, _, _)| action == kind).count();
        assert!((1..=3).contains(&rows), "{kind}: {rows} rows for 5 refusals");
    }
    assert!(
        seen.iter().any(|(action, subject, _)| action == "callback.signature" && subject == "wechat_api"),
        "{seen:?}"
    );
}

#[tokio::test]
async fn lists_of_addresses_hold_for_callbacks_and_for_management() {
    let setup = Start {
        webhook: "allow: [127.0.0.8/31], ".to_owned(),
        extra: "auth: { allow: [127.0.0.1] }\n".to_owned(),
        ..Start::default()
    };
    let gateway = Gateway::start("address-lists", setup);
    for (from, callback, management) in [(1, 403, 200), (8, 400, 403), (9, 400, 403), (10, 403, 403)] {
        let source = [127, 0, 0, from];
        let mut wire = crate::wire::Wire::connect_from(source, gateway.address()).await.expect("connects");
        let answer = wire.post("/api/v1/webhooks/wechat/api", b"x").await.expect("an answer");
        assert_eq!(answer.status, callback, "a callback from {source:?}");
        let mut wire = crate::wire::Wire::connect_from(source, gateway.address()).await.expect("connects");
        assert_eq!(
            wire.get("/api/v1/events").await.expect("an answer").status,
            management,
            "from {source:?}"
        );
        assert_eq!(wire.get("/health").await.expect("an answer").status, 200, "health is everybody's");
    }
    let local = Rest::new(gateway.address(), None);
    until(async || actions(&local).await.iter().any(|(action, _, _)| action == "request.address")).await;
}

#[tokio::test]
async fn management_has_a_listener_of_its_own() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let management = free.local_addr().expect("its address");
    drop(free);
    let setup = Start { webhook: format!("management: '{management}', "), ..Start::default() };
    let mut gateway = Gateway::start("management", setup);
    let (front, back) = (Rest::new(gateway.address(), None), Rest::new(management, None));
    let callback = "/api/v1/webhooks/wechat/api?msg_signature=0";
    for (target, method, there, here) in [
        ("/api/v1/status", "GET", 404, 200),
        ("/metrics", "GET", 404, 200),
        ("/api/v1/webhooks/handlers", "GET", 404, 200),
        ("/health", "GET", 200, 200),
        ("/health/ready", "GET", 200, 200),
        (callback, "POST", 400, 404),
    ] {
        assert_eq!(front.send(method, target, "", b"").await.status, there, "{target} where callbacks come");
        assert_eq!(back.send(method, target, "", b"").await.status, here, "{target} where management is");
    }
    gateway.signal("TERM");
    assert!(gateway.wait(std::time::Duration::from_secs(20)).is_some_and(|status| status.success()));
}
