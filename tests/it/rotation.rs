//! B-21, SEC-57: Token and EncodingAESKey are exchanged under load. Nothing good is refused during the overlap, the
//! old pair is refused after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::gateway::{AES_KEY, CORP_ID, Gateway, Platform, Setup, TOKEN, configuration, text_message};
use crate::wire::Wire;

const TARGET: &str = "/api/v1/webhooks/wechat/api";
const NEW_TOKEN: &str = "RotatedToken2026";
const NEW_AES_KEY: &str = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C";

fn channels(token: &str, key: &str, previous: &str) -> String {
    format!(
        "  wechat_api:\n    corp_id: {CORP_ID}\n    secret: corp-secret\n    agent_id: '1000002'\n    token: {token}\n    encoding_aes_key: {key}\n    callback_window_ms: 9000000000000\n{previous}"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_exchanged_without_a_refused_callback() {
    let gateway =
        Gateway::start("rotation", Setup { channels: channels(TOKEN, AES_KEY, ""), ..Setup::default() });
    let (stop, refused, sent) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let old_pair = steady_load(&gateway, Platform::app(), 0, &stop, &refused, &sent);
    let previous = format!("    previous: {{ token: {TOKEN}, encoding_aes_key: {AES_KEY} }}\n");
    reload(&gateway, channels(NEW_TOKEN, NEW_AES_KEY, &previous)).await;
    let new_pair = steady_load(
        &gateway,
        Platform::new(NEW_TOKEN, NEW_AES_KEY, CORP_ID),
        1 << 32,
        &stop,
        &refused,
        &sent,
    );
    for _ in 0..5 {
        reload(&gateway, channels(NEW_TOKEN, NEW_AES_KEY, &previous)).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in [old_pair, new_pair] {
        client.await.expect("client");
    }
    assert!(sent.load(Ordering::Relaxed) > 100, "too little load to say anything");
    assert_eq!(refused.load(Ordering::Relaxed), 0, "of {}", sent.load(Ordering::Relaxed));

    reload(&gateway, channels(NEW_TOKEN, NEW_AES_KEY, "")).await;
    let mut wire = Wire::connect(gateway.address()).await.expect("connects");
    let (query, body) = Platform::app().seal(&text_message("zhangsan", 1, "old"));
    assert_eq!(
        wire.post(&format!("{TARGET}?{query}"), body.as_bytes()).await.expect("an answer").status,
        403
    );
}

#[tokio::test]
async fn a_bad_file_keeps_the_old_keys() {
    let gateway =
        Gateway::start("bad-reload", Setup { channels: channels(TOKEN, AES_KEY, ""), ..Setup::default() });
    let mut wire = Wire::connect(gateway.address()).await.expect("connects");
    std::fs::write(gateway.folder().join("gateway.yaml"), "channels:\n  wechat_api:\n    tokn: x\n")
        .expect("written");
    let answer = wire.post("/api/v1/reload", b"").await.expect("an answer");
    assert!((400..500).contains(&answer.status), "{} {}", answer.status, answer.text());
    assert!(gateway.logs("tokn").await, "the log names the key:\n{}", gateway.log());
    let (query, body) = Platform::app().seal(&text_message("zhangsan", 1, "still here"));
    assert_eq!(
        wire.post(&format!("{TARGET}?{query}"), body.as_bytes()).await.expect("an answer").status,
        200
    );
}

/// One callback every 10 ms until `stop`; counts what is not answered 200.
fn steady_load(
    gateway: &Gateway,
    platform: Platform,
    first_id: u64,
    stop: &Arc<AtomicBool>,
    refused: &Arc<AtomicU64>,
    sent: &Arc<AtomicU64>,
) -> tokio::task::JoinHandle<()> {
    let (address, stop, refused, sent) =
        (gateway.address(), Arc::clone(stop), Arc::clone(refused), Arc::clone(sent));
    tokio::spawn(async move {
        let mut wire = Wire::connect(address).await.expect("connects");
        let mut id = first_id;
        while !stop.load(Ordering::Relaxed) {
            let (query, body) = platform.seal(&text_message("zhangsan", id, "rotation"));
            let answer = wire.post(&format!("{TARGET}?{query}"), body.as_bytes()).await.expect("an answer");
            refused.fetch_add(u64::from(answer.status != 200), Ordering::Relaxed);
            sent.fetch_add(1, Ordering::Relaxed);
            id += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
}

/// Writes a new configuration and has it read.
async fn reload(gateway: &Gateway, channels: String) {
    let setup = Setup { channels, ..Setup::default() };
    std::fs::write(gateway.folder().join("gateway.yaml"), configuration(gateway.folder(), &setup))
        .expect("written");
    let mut wire = Wire::connect(gateway.address()).await.expect("connects");
    let answer = wire.post("/api/v1/reload", b"").await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
}
