//! SIGTERM under load. Exit 0 within ten seconds, every accepted request answered, nothing lost.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::database::{Database, on_both};
use crate::gateway::{Gateway, Platform, Setup, text_message};
use crate::ledger;
use crate::wire::Wire;

const ROUNDS: u64 = 10;
const CLIENTS: u64 = 16;
const TARGET: &str = "/api/v1/webhooks/wechat/api";

on_both! {
    async fn a_stop_under_load_answers_what_it_took(database: &Database) {
        let setup = Setup { database_url: database.url.clone(), ..Setup::default() };
        let mut gateway = Gateway::start("stop", setup);
        let acked = Arc::new(Mutex::new(HashSet::new()));
        for round in 0..ROUNDS {
            if round > 0 {
                gateway.restart();
            }
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let (address, acked) = (gateway.address(), Arc::clone(&acked));
                    tokio::spawn(async move { send_until_closed(address, round * 1_000_000 + client, acked).await })
                })
                .collect();
            tokio::time::sleep(Duration::from_millis(100 + round * 20)).await;
            gateway.signal("TERM");
            if round % 3 == 0 {
                gateway.signal("TERM");
            }
            let status = gateway.wait(Duration::from_secs(10)).expect("it ends within ten seconds");
            assert_eq!(status.code(), Some(0), "round {round}");
            for client in clients {
                client.await.expect("no request that was taken stays without an answer");
            }
        }
        let (stored, doubled) = ledger::message_ids(database).await;
        assert_eq!(doubled, 0);
        let acked = acked.lock().expect("lock");
        assert!(acked.len() > 500, "only {} were answered", acked.len());
        assert_eq!(acked.difference(&stored).count(), 0, "lost of {}", acked.len());
    }
}

#[test]
fn a_stop_is_heard_from_the_first_moment() {
    let mut gateway = Gateway::start("stop-early", Setup::default());
    for round in 0..10 {
        if round > 0 {
            gateway.restart();
        }
        gateway.signal("TERM");
        let status = gateway.wait(Duration::from_secs(10)).expect("it ends within ten seconds");
        assert_eq!(status.code(), Some(0), "round {round}");
    }
}

/// Sends until the server closes the connection, which it may do only between two requests.
async fn send_until_closed(address: std::net::SocketAddr, first_id: u64, acked: Arc<Mutex<HashSet<u64>>>) {
    let platform = Platform::app();
    let Ok(mut wire) = Wire::connect(address).await else { return };
    for step in 0..50_000 {
        let id = first_id + step * CLIENTS;
        let (query, body) = platform.seal(&text_message("zhaoliu", id, "stop"));
        let Ok(answer) = wire.post(&format!("{TARGET}?{query}"), body.as_bytes()).await else { return };
        assert_eq!(answer.status, 200, "{}", answer.text());
        acked.lock().expect("lock").insert(id);
        if answer.header("connection") == Some("close") {
            return;
        }
    }
}
