//! How many endpoints there may be, and what cannot be set from outside.

use serde_json::{Value, json};
use wecom_gateway::domain::endpoint::{ENDPOINTS_MAX, EndpointOrigin};
use wecom_gateway::forwarding::ForwardError;

use crate::config::{SHIPPED, load};
use crate::database::{Database, on_both};
use crate::forwarder::Forwarder;

fn request(number: usize) -> Value {
    json!({"url": format!("http://127.0.0.1:9/{number}"), "events": ["*"]})
}

on_both! {
    async fn one_more_endpoint_than_there_may_be_is_refused(database: &Database) {
        let rig = Forwarder::start_small(database, 3).await;
        let first = rig.endpoint(request(0)).await.endpoint.id;
        for number in 1..3 {
            rig.endpoint(request(number)).await;
        }
        let fourth = rig.forwarding.create(request(3)).await;
        assert!(matches!(fourth, Err(ForwardError::Conflict(why)) if why.contains("as many endpoints")));
        assert_eq!(rig.store.endpoints().await.expect("rows").len(), 3);
        rig.forwarding.remove(&first).await.expect("it goes");
        rig.endpoint(request(3)).await;
        rig.stop().await;
    }

    async fn what_is_not_for_callers_to_set_is_refused_and_nothing_is_half_made(database: &Database) {
        let rig = Forwarder::start(database).await;
        let inner = [
            ("id", json!("ep_00000000000000000000000001")), ("origin", json!("file")), ("state", json!("active")),
            ("reason", json!("x")), ("revision", json!(7)), ("version", json!(9)), ("payload_version", json!(9)),
            ("secrets", json!("v1.x")), ("created_at", json!("2026-01-01T00:00:00Z")), ("created_ms", json!(1)),
            ("updated_ms", json!(1)), ("public_key", json!("x")), ("__proto__", json!({})),
        ];
        for (field, value) in &inner {
            let mut asked = request(0);
            asked[*field] = value.clone();
            match rig.forwarding.create(asked).await {
                Err(ForwardError::Field(wrong)) => assert_eq!(wrong.field, *field),
                other => panic!("{field}: {other:?}"),
            }
        }
        assert_eq!(rig.store.endpoints().await.expect("rows").len(), 0, "nothing was made");
        let made = rig.endpoint(request(0)).await.endpoint;
        let before = rig.store.endpoints().await.expect("rows");
        for (field, value) in &inner {
            let change = json!({"name": "half", *field: value});
            assert!(rig.forwarding.change(&made.id, change).await.is_err(), "{field}");
        }
        let wrong_address = json!({"name": "half", "url": "ftp://a.example"});
        assert!(rig.forwarding.change(&made.id, wrong_address).await.is_err());
        let wrong_secret = json!({"secret": "short", "overlap_s": 0});
        assert!(rig.forwarding.rotate(&made.id, wrong_secret).await.is_err());
        assert_eq!(rig.store.endpoints().await.expect("rows"), before, "nothing was changed");
        assert_eq!(before[0].endpoint.origin, EndpointOrigin::Api);
        rig.stop().await;
    }
}

#[test]
fn ten_thousand_is_the_default_and_can_be_set() {
    assert_eq!((ENDPOINTS_MAX, load(SHIPPED, &[]).outbound.endpoints_max), (10_000, 10_000));
    assert_eq!(load("outbound: {endpoints_max: 3}", &[]).outbound.endpoints_max, 3);
}
