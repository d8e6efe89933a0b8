//! clients that hang up in mid-request. Whatever was answered 200 is stored; a repeat of anything folds.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wecom_gateway::entropy::Entropy;

use crate::database::{Database, on_both};
use crate::gateway::{Gateway, Platform, Setup, text_message};
use crate::ledger;
use crate::wire::{Wire, post_bytes};

const MESSAGES: u64 = 4_000;
const CLIENTS: usize = 32;
const TARGET: &str = "/api/v1/webhooks/wechat/api";

on_both! {
    async fn hanging_up_loses_and_doubles_nothing(database: &Database) {
        let setup = Setup { database_url: database.url.clone(), ..Setup::default() };
        let gateway = Gateway::start("hangup", setup);
        for (share, first_id) in [(0.1, 0), (0.5, MESSAGES)] {
            let acked = send_all(gateway.address(), first_id, share).await;
            let acked_again = send_all(gateway.address(), first_id, 0.0).await;
            assert_eq!(acked_again.len() as u64, MESSAGES, "every repeat is answered 200");
            eprintln!("{}: {share} hang up, {} of {MESSAGES} answered at first", database.engine.as_str(), acked.len());
        }
        let rows = ledger::event_payloads(database).await;
        let distinct: HashSet<&String> = rows.iter().collect();
        assert_eq!((rows.len() as u64, distinct.len() as u64), (2 * MESSAGES, 2 * MESSAGES), "one row each");
    }
}

/// Sends `MESSAGES` messages; `share` of them are left by their client after 1–120 ms. Returns the answered ids.
async fn send_all(address: SocketAddr, first_id: u64, share: f64) -> HashSet<u64> {
    let acked = Arc::new(Mutex::new(HashSet::new()));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let acked = Arc::clone(&acked);
            tokio::spawn(async move {
                let (platform, random) = (Platform::app(), Entropy::seeded(first_id + client as u64));
                let mut wire = Wire::connect(address).await.expect("connects");
                for id in (first_id..first_id + MESSAGES).skip(client).step_by(CLIENTS) {
                    let (query, body) = platform.seal(&text_message("lisi", id, "hang up"));
                    let target = format!("{TARGET}?{query}");
                    if random.unit() < share {
                        leave(address, &target, body.as_bytes(), &random).await;
                        continue;
                    }
                    let answer = wire.post(&target, body.as_bytes()).await.expect("an answer");
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    acked.lock().expect("lock").insert(id);
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("a well-behaved client is unhurt");
    }
    Arc::try_unwrap(acked).expect("all clients ended").into_inner().expect("lock")
}

/// Sends a request, sometimes only a part of it, and closes the socket before the answer is read.
async fn leave(address: SocketAddr, target: &str, body: &[u8], random: &Entropy) {
    let Ok(mut wire) = Wire::connect(address).await else { return };
    let bytes = post_bytes(target, body);
    let part = if random.unit() < 0.3 { bytes.len() / 2 } else { bytes.len() };
    let _ = wire.send(&bytes[..part]).await;
    // A fifth leaves at once, before the handler can have finished.
    if random.unit() > 0.2 {
        tokio::time::sleep(Duration::from_secs_f64(0.001 + random.unit() * 0.119)).await;
    }
}
