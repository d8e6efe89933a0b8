//! `kill -9` at random moments under load. What was answered 200 is in the table, once.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wecom_gateway::entropy::Entropy;

use crate::database::{Database, on_both};
use crate::gateway::{Gateway, Platform, Setup, text_message};
use crate::ledger;
use crate::wire::Wire;

const KILLS: usize = 10;
const ACKED_MIN: usize = 20_000;
const CLIENTS: usize = 24;
const TARGET: &str = "/api/v1/webhooks/wechat/api";

/// What the clients did, by message id.
#[derive(Default)]
struct Ledger {
    next: AtomicU64,
    sent: Mutex<HashSet<u64>>,
    acked: Mutex<HashSet<u64>>,
}

on_both! {
    async fn nothing_answered_is_lost_or_doubled_over_ten_kills(database: &Database) {
        let seed = u64::from_le_bytes(Entropy::system().bytes());
        eprintln!("{}: seed {seed}", database.engine.as_str());
        let moments = Entropy::seeded(seed);
        let setup = Setup { database_url: database.url.clone(), ..Setup::default() };
        let mut gateway = Gateway::start("kill", setup);
        let ledger = Arc::new(Ledger::default());
        for round in 0..=KILLS {
            let goal = ACKED_MIN * (round + 1) / (KILLS + 1);
            run_until(&gateway, &ledger, goal, Duration::from_secs_f64(0.02 + moments.unit() * 0.08)).await;
            gateway.kill();
            compare(database, &ledger).await;
            if round < KILLS {
                gateway.restart();
            }
        }
        let acked = ledger.acked.lock().expect("ledger").len();
        eprintln!("{}: {KILLS} kills, {acked} answered", database.engine.as_str());
        assert!(acked >= ACKED_MIN);
    }
}

/// Load until `goal` messages are answered, then a random moment more: the kill falls anywhere in a commit.
async fn run_until(gateway: &Gateway, ledger: &Arc<Ledger>, goal: usize, then: Duration) {
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(client(gateway.address(), Arc::clone(ledger), Arc::clone(&stop))))
        .collect();
    let deadline = tokio::time::timeout(Duration::from_mins(1), async {
        while ledger.acked.lock().expect("ledger").len() < goal {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    deadline.await.expect("the goal is reached within a minute");
    tokio::time::sleep(then).await;
    // The process dies while its clients still send.
    let _ = std::process::Command::new("kill").arg("-9").arg(gateway.pid().to_string()).status();
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        let _ = client.await;
    }
}

/// Sends messages one after the other; every fifth twice, every hundredth three times.
async fn client(address: SocketAddr, ledger: Arc<Ledger>, stop: Arc<AtomicBool>) {
    let platform = Platform::app();
    let Ok(mut wire) = Wire::connect(address).await else { return };
    while !stop.load(Ordering::Relaxed) {
        let id = ledger.next.fetch_add(1, Ordering::Relaxed);
        let plaintext = text_message("zhangsan", id, "kill test");
        ledger.sent.lock().expect("ledger").insert(id);
        let copies = if id.is_multiple_of(100) {
            3
        } else if id.is_multiple_of(5) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let (query, body) = platform.seal(&plaintext);
            match wire.post(&format!("{TARGET}?{query}"), body.as_bytes()).await {
                Ok(answer) if answer.status == 200 => {
                    ledger.acked.lock().expect("ledger").insert(id);
                }
                Ok(answer) => panic!("answered {} {}", answer.status, answer.text()),
                Err(_) => return,
            }
        }
    }
}

/// `acked − rows`, `rows − sent` and doubled rows are all empty.
async fn compare(database: &Database, ledger: &Ledger) {
    ledger::check_integrity(database).await;
    let (stored, doubled) = ledger::message_ids(database).await;
    let (sent, acked) = (ledger.sent.lock().expect("ledger"), ledger.acked.lock().expect("ledger"));
    let lost = acked.difference(&stored).count();
    let phantom = stored.difference(&sent).count();
    assert_eq!((lost, doubled, phantom), (0, 0, 0), "lost, doubled, phantom of {} answered", acked.len());
}
