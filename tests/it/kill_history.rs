//! R-1c, S1-30: statuses and histories after `kill -9`. Every report that was answered 200 is in the history of its
//! message, and the status is what the reports add up to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::database::{Database, on_both};
use crate::gateway::{CORP_ID, Gateway, Platform, Setup};
use crate::wire::Wire;

const KILLS: u64 = 4;
const CLIENTS: u64 = 8;
const TARGET: &str = "/api/v1/webhooks/wechat/api";

/// PMC's forms, in the order in which a message lives through them, and what each reports.
const REPORTS: [(&str, &str); 3] =
    [("send_msg_result", "sent"), ("msg_audit", "delivered"), ("msg_read", "read")];

/// By message: how many of its reports were answered 200.
type Ledger = Arc<Mutex<HashMap<u64, usize>>>;

on_both! {
    async fn no_report_that_was_answered_is_missing(database: &Database) {
        let setup = Setup { database_url: database.url.clone(), ..Setup::default() };
        let mut gateway = Gateway::start("kill-history", setup);
        let ledger = Ledger::default();
        for round in 0..KILLS {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let first_id = round * 1_000_000 + client;
                    tokio::spawn(report(gateway.address(), first_id, Arc::clone(&ledger)))
                })
                .collect();
            tokio::time::sleep(Duration::from_millis(300 + 70 * round)).await;
            gateway.kill();
            for client in clients {
                client.await.expect("client");
            }
            gateway.restart();
        }
        let answered = ledger.lock().expect("ledger").clone();
        assert!(answered.len() > 50, "only {} messages", answered.len());
        let mut wire = Wire::connect(gateway.address()).await.expect("connects");
        for (id, reports) in answered {
            let history = json(&mut wire, &format!("/api/v1/messages/{}/history", name(id))).await;
            let words: Vec<&str> =
                history.as_array().expect("a list").iter().map(|entry| entry["status"].as_str().expect("status")).collect();
            let expected: Vec<&str> = REPORTS.iter().take(reports).map(|(_, status)| *status).collect();
            // One report more may be stored: its answer was on the way when the process died.
            assert!(words.starts_with(&expected) && words.len() <= reports + 1, "{id}: {words:?}, answered {expected:?}");
            let status = json(&mut wire, &format!("/api/v1/messages/{}/status", name(id))).await;
            assert_eq!(status["status"].as_str(), words.last().copied(), "{id}");
        }
    }
}

/// Reports on message after message until the gateway dies.
async fn report(address: std::net::SocketAddr, first_id: u64, ledger: Ledger) {
    let platform = Platform::app();
    let Ok(mut wire) = Wire::connect(address).await else { return };
    for step in 0..100_000 {
        let id = first_id + step * CLIENTS;
        for (at, (form, _)) in REPORTS.iter().enumerate() {
            let (query, body) = platform.seal(&plaintext(form, id));
            let Ok(answer) = wire.post(&format!("{TARGET}?{query}"), body.as_bytes()).await else { return };
            assert_eq!(answer.status, 200, "{}", answer.text());
            ledger.lock().expect("ledger").insert(id, at + 1);
        }
    }
}

fn plaintext(form: &str, id: u64) -> String {
    format!(
        "<xml><ToUserName>{CORP_ID}</ToUserName><FromUserName>zhangsan</FromUserName><CreateTime>1700000000</CreateTime><MsgType>{form}</MsgType><MsgId>{}</MsgId><AgentID>1000002</AgentID></xml>",
        name(id)
    )
}

fn name(id: u64) -> String {
    (7_000_000_000_000_000_000 + id).to_string()
}

async fn json(wire: &mut Wire, target: &str) -> Value {
    let answer = wire.get(target).await.expect("an answer");
    assert_eq!(answer.status, 200, "{target}: {}", answer.text());
    serde_json::from_slice(&answer.body).expect("JSON")
}
