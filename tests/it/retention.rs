//! Retention of evidence: what no message of ours holds goes with its age, everything else stays.

use wecom_gateway::domain::status::Status;
use wecom_gateway::store::{Purge, Store};

use crate::database::{Database, NOW_MS, on_both};
use crate::intake::report;
use crate::store::message;

const DAY_MS: i64 = 86_400_000;

on_both! {
    async fn evidence_goes_with_its_age_unless_a_message_holds_it(database: &Database) {
        let store = database.open().await;
        let ours = message(database);
        store.add_messages(std::slice::from_ref(&ours)).await.unwrap();
        let about_ours = report(database, 1, ours.message.id.as_str(), Status::Delivered);
        store.commit_events(&[about_ours, report(database, 2, "theirs-old", Status::Delivered)]).await.unwrap();
        database.clock.advance_ms(10 * DAY_MS);
        store.commit_events(&[report(database, 3, "theirs-new", Status::Delivered)]).await.unwrap();
        assert_eq!(evidence(database).await, 4, "the message's own first one is among them");

        assert_eq!(purged(&store, NOW_MS).await, 0, "at the edge nothing is older");
        assert_eq!(purged(&store, NOW_MS + 5 * DAY_MS).await, 1);
        assert_eq!(store.evidence(&["theirs-old".to_owned()], None, 10).await.unwrap().len(), 0);
        assert_eq!(store.evidence(&["theirs-new".to_owned()], None, 10).await.unwrap().len(), 1);
        assert_eq!(store.evidence(&[ours.message.id.to_string()], None, 10).await.unwrap().len(), 2);
    }

    async fn old_evidence_goes_in_slices(database: &Database) {
        let store = database.open().await;
        let group: Vec<_> =
            (0..250).map(|number| report(database, number, &format!("theirs-{number}"), Status::Read)).collect();
        store.commit_events(&group).await.unwrap();
        let mut slices = Vec::new();
        loop {
            let slice = store.purge_before(Purge::Evidence, NOW_MS + DAY_MS).await.unwrap();
            slices.push(slice.rows);
            if !slice.more {
                break;
            }
        }
        assert_eq!(slices, [100, 100, 50]);
        assert_eq!(evidence(database).await, 0);
    }
}

async fn purged(store: &Store, before_ms: i64) -> u64 {
    store.purge_before(Purge::Evidence, before_ms).await.unwrap().rows
}

async fn evidence(database: &Database) -> i64 {
    database.number("SELECT COUNT(*) FROM evidence").await
}
