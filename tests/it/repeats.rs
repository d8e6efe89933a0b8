//! R-20, S2-18, SEC-5: the platform repeats itself. One row, and every copy is answered 200.

use crate::database::{Database, on_both};
use crate::gateway::{Gateway, Platform, Setup, text_message};
use crate::ledger;
use crate::wire::Wire;

const TARGET: &str = "/api/v1/webhooks/wechat/api";

on_both! {
    async fn a_thousand_copies_at_once_are_one_event(database: &Database) {
        let setup = Setup { database_url: database.url.clone(), ..Setup::default() };
        let mut gateway = Gateway::start("repeats", setup);
        for id in 0..3 {
            let plaintext = text_message("wangwu", 700 + id, "again");
            copies(&gateway, &plaintext, 1_000).await;
            assert_eq!(ledger::event_payloads(database).await.len() as u64, id + 1);
        }
        gateway.kill();
        gateway.restart();
        copies(&gateway, &text_message("wangwu", 700, "again"), 50).await;
        assert_eq!(ledger::event_payloads(database).await.len(), 3, "known after a restart");
    }
}

on_both! {
    async fn real_events_of_one_second_are_all_kept(database: &Database) {
        let setup = Setup { database_url: database.url.clone(), ..Setup::default() };
        let gateway = Gateway::start("same-second", setup);
        let mut wire = Wire::connect(gateway.address()).await.expect("connects");
        // Same sender, same second, no MsgId: what FromUserName + CreateTime would fold into one.
        for user in ["a", "b", "c"] {
            let plaintext = format!(
                "<xml><ToUserName>ww1234567890abcdef</ToUserName><FromUserName>sys</FromUserName><CreateTime>1700000000</CreateTime><MsgType>event</MsgType><Event>change_contact</Event><ChangeType>delete_user</ChangeType><UserID>{user}</UserID></xml>"
            );
            for _ in 0..3 {
                let (query, body) = Platform::app().seal(&plaintext);
                let answer = wire.post(&format!("{TARGET}?{query}"), body.as_bytes()).await.expect("an answer");
                assert_eq!(answer.status, 200);
            }
        }
        assert_eq!(ledger::event_payloads(database).await.len(), 3);
    }
}

/// Posts `count` copies, each sealed anew, from 100 clients at once.
async fn copies(gateway: &Gateway, plaintext: &str, count: usize) {
    let clients: Vec<_> = (0..100)
        .map(|_| {
            let (address, plaintext) = (gateway.address(), plaintext.to_owned());
            tokio::spawn(async move {
                let platform = Platform::app();
                let mut wire = Wire::connect(address).await.expect("connects");
                for _ in 0..count / 100 + usize::from(count < 100) {
                    let (query, body) = platform.seal(&plaintext);
                    let answer =
                        wire.post(&format!("{TARGET}?{query}"), body.as_bytes()).await.expect("an answer");
                    assert_eq!(answer.status, 200, "{}", answer.text());
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("every copy is answered 200");
    }
}
