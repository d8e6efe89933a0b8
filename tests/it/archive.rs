//! The archive in MongoDB. Tested against an emulator of its wire protocol (nx-27017, on SQLite), not against MongoDB
//! itself: what is shown is what we ask for, and what we do with the answers.

use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection};
use serde_json::json;
use wecom_gateway::domain::delivery::DeliveryState;
use wecom_gateway::forwarding::FileEndpoint;
use wecom_gateway::ids::EndpointId;

use crate::brokers::Broker;
use crate::config::{SHIPPED, load};
use crate::database::{Database, on_both};
use crate::forwarder::Forwarder;

/// Events that go through a restart.
const EVENTS: u64 = 300;

/// What the configuration makes of `MONGODB_*`.
fn archive(port: u16) -> FileEndpoint {
    let config = load(SHIPPED, &[("MONGODB_HOST", "127.0.0.1"), ("MONGODB_PORT", &port.to_string())]);
    let one = config.endpoints.into_iter().next().expect("an endpoint");
    FileEndpoint { spec: one.spec, secrets: one.secrets, active: one.active, version: one.version }
}

async fn events(server: &Broker) -> Collection<Document> {
    let client = Client::with_uri_str(server.url("mongodb")).await.expect("an address");
    client.database("pmc_logs").collection("events")
}

on_both! {
    async fn every_event_is_archived_once_across_a_restart(database: &Database) {
        let mut server = Broker::mongodb().await;
        let rig = Forwarder::start(database).await;
        rig.forwarding.sync_file(vec![archive(server.port)]).await.expect("the endpoint is there");
        let mut ids = rig.texts("zhangsan", 0..EVENTS / 3).await;
        rig.soon("the first", async || rig.count(DeliveryState::Succeeded).await >= 20).await;
        server.end("KILL");
        ids.extend(rig.texts("zhangsan", EVENTS / 3..EVENTS).await);
        server.restart().await;
        rig.until("all", async || rig.count(DeliveryState::Succeeded).await == ids.len()).await;
        let archived = events(&server).await;
        assert_eq!(archived.count_documents(doc! {}).await.expect("a count"), EVENTS);
        for (id, number) in ids.iter().zip(0_u64..).step_by(37) {
            let found = archived.find_one(doc! {"_id": id.as_str()}).await.expect("an answer").expect("a document");
            assert_eq!(found.get_str("type").expect("a kind"), "message.text");
            assert_eq!(found.get_str("source").expect("a source"), "wechat_api");
            let data = found.get_document("data").expect("data");
            assert_eq!(data.get_str("user_id").expect("a member"), "zhangsan");
            let body = data.get_document("body").expect("a body");
            assert_eq!(body.get_str("Content").expect("a text"), format!("text {number}"));
        }
        // Once more changes nothing.
        let endpoint: EndpointId = rig.store.endpoints().await.expect("rows")[0].endpoint.id.clone();
        rig.forwarding.replay(json!({"endpoint": endpoint.as_str(), "event_id": ids[0].as_str()})).await.expect("it runs");
        rig.soon("the replay", async || rig.count(DeliveryState::Succeeded).await == ids.len() + 1).await;
        assert_eq!(archived.count_documents(doc! {}).await.expect("a count"), EVENTS);
        rig.stop().await;
    }
}
