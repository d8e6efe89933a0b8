//! S4-30: an endpoint keeps the version of the payload that it was made with, and every delivered event is as the schema
//! of its version says.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use wecom_gateway::cli::dev::receiver::Receiver;
use wecom_gateway::forwarding::FileEndpoint;

use crate::config::load;
use crate::database::{Database, on_both};
use crate::forwarder::{Forwarder, receiver};
use crate::payloads::wrong_payload;
use crate::vectors::{folder, read_json};

/// Sees that what came in at `path` is of this version; the ids of the events.
fn ids(receiver: &Receiver, path: &str, version: i64) -> BTreeSet<String> {
    let came = receiver.received_at(path);
    for one in &came {
        let payload = one.json();
        assert_eq!(wrong_payload(&payload), None);
        assert_eq!(payload["version"], version);
        assert_eq!(one.header("x-webhook-version"), Some(version.to_string().as_str()));
    }
    came.iter().filter_map(|one| one.header("webhook-id").map(str::to_owned)).collect()
}

on_both! {
    async fn each_endpoint_gets_every_event_in_the_version_it_was_made_with(database: &Database) {
        let (rig, receiver) = (Forwarder::start(database).await, receiver().await);
        let old = rig.endpoint(json!({"url": receiver.url("/old"), "events": ["*"]})).await;
        let form = json!({"url": receiver.url("/new"), "events": ["*"], "version": 2, "mask": ["body.Nothing"]});
        let new = rig.endpoint(form).await;
        assert_eq!((old.endpoint.payload_version, new.endpoint.payload_version), (1, 2));

        let mut accepted = BTreeSet::new();
        for name in read_json("expected-events.json").as_object().expect("a table").keys() {
            let plaintext = std::fs::read(format!("{}/callback-samples/{name}", folder())).expect("a sample");
            let Ok(plaintext) = String::from_utf8(plaintext) else { continue };
            let event = rig.event(&plaintext);
            let id = event.id.to_string();
            let recorded = rig.intake.accept(vec![event]).await.expect("recorded");
            if recorded == [wecom_gateway::store::Recorded::New] {
                accepted.insert(id);
            }
        }
        assert!(accepted.len() > 250, "{}", accepted.len());
        let all = accepted.len();
        rig.soon("both", async || ["/old", "/new"].iter().all(|path| receiver.received_at(path).len() >= all)).await;
        assert_eq!(ids(&receiver, "/old", 1), accepted);
        assert_eq!(ids(&receiver, "/new", 2), accepted);

        // A start later, and after changes of other fields, each still has its own.
        for made in [&old, &new] {
            let changed = rig.forwarding.change(&made.endpoint.id, json!({"timeout_ms": 5_000, "version": made.endpoint.payload_version})).await;
            assert_eq!(changed.expect("changed").payload_version, made.endpoint.payload_version);
            let other = json!({"version": 3 - made.endpoint.payload_version});
            let refused = rig.forwarding.change(&made.endpoint.id, other).await.expect_err("it is fixed");
            assert!(refused.to_string().contains("version"), "{refused}");
        }
        rig.stop().await;
        let rig = Forwarder::start(database).await;
        let id = rig.accept(rig.text("zhangsan", 1)).await.to_string();
        rig.soon("both", async || ["/old", "/new"].iter().all(|path| ids(&receiver, path, if *path == "/old" { 1 } else { 2 }).contains(&id))).await;
        let newest = receiver.received_at("/new");
        let told = newest.iter().find(|one| one.header("webhook-id") == Some(id.as_str())).expect("it came").json();
        assert_eq!(told["data"]["text"], "text 1");
        assert_eq!((&told["source"]["channel"], &told["source"]["agent_id"]), (&json!("wechat_api"), &json!("1000002")));

        for (form, field) in [
            (json!({"version": 0}), "version"),
            (json!({"version": 3}), "version"),
            (json!({"version": "2"}), "version"),
            (json!({"version": 2, "payload": "raw"}), "version"),
        ] {
            let mut request = json!({"url": receiver.url("/none"), "events": ["*"]});
            request.as_object_mut().expect("an object").extend(form.as_object().expect("an object").clone());
            let refused = rig.forwarding.create(request).await.expect_err("refused").to_string();
            assert!(refused.contains(field), "{refused}");
        }
        let raw = rig.forwarding.change(&new.endpoint.id, json!({"payload": "raw", "mask": Value::Null})).await;
        assert!(raw.expect_err("it has a version").to_string().contains("payload"));
        rig.stop().await;
    }

    async fn an_endpoint_of_the_file_keeps_its_version_as_well(database: &Database) {
        let rig = Forwarder::start(database).await;
        let of_file = |version: &str| {
            let text = format!(
                "service: {{environment: development}}\nendpoints: [{{name: erp, url: 'http://127.0.0.1:9/', secret: sixteen-letters-here, events: ['*']{version}}}]"
            );
            let one = load(&text, &[]).endpoints.into_iter().next().expect("an endpoint");
            FileEndpoint { spec: one.spec, secrets: one.secrets, active: one.active, version: one.version }
        };
        let stored = async || {
            let rows = rig.store.endpoints().await.expect("rows");
            rows.iter().map(|row| row.endpoint.payload_version).collect::<Vec<_>>()
        };
        rig.forwarding.sync_file(vec![of_file(", version: 2")]).await.expect("it is made");
        assert_eq!(stored().await, [2]);
        rig.forwarding.sync_file(vec![of_file(", timeout_ms: 5000")]).await.expect("it is changed");
        assert_eq!(stored().await, [2]);
        let refused = rig.forwarding.sync_file(vec![of_file(", version: 1")]).await.expect_err("it is fixed");
        assert!(refused.to_string().contains("version"), "{refused}");
        assert_eq!(stored().await, [2]);
        rig.stop().await;
    }
}
