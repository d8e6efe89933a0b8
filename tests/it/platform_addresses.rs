//! The platform's own list of addresses: followed, shown, enforced if wanted.

use wecom_gateway::cli::dev::wecom::FakeWecom;
use wecom_gateway::clock::Clock;
use wecom_gateway::entropy::Entropy;

use crate::gateway::{AES_KEY, CORP_ID, Gateway, Setup, TOKEN};
use crate::rest::Rest;
use crate::site::until;
use crate::wire::Wire;

async fn platform() -> FakeWecom {
    let listen = "127.0.0.1:0".parse().expect("an address");
    let platform = FakeWecom::start(listen, Clock::system(), Entropy::system()).await.expect("it starts");
    platform.add_app(CORP_ID, "corp-secret");
    platform
}

fn gateway(platform: &FakeWecom, webhook: &str) -> Gateway {
    let channels = format!(
        "  wechat_api:\n    corp_id: {CORP_ID}\n    secret: corp-secret\n    agent_id: '1000002'\n    token: {TOKEN}\n    \
         encoding_aes_key: {AES_KEY}\n    base_url: '{}'\n",
        platform.base_url()
    );
    let webhook = format!("platform_addresses_every_ms: 100, {webhook}");
    Gateway::start("platform-addresses", Setup { webhook, channels, ..Setup::default() })
}

/// The status of a callback that says nothing, from an address of this machine: 400 if it may come, else 403.
async fn status_from(gateway: &Gateway, last: u8) -> u16 {
    let mut wire = Wire::connect_from([127, 0, 0, last], gateway.address()).await.expect("connects");
    wire.post("/api/v1/webhooks/wechat/api", b"x").await.expect("an answer").status
}

async fn heard(gateway: &Gateway, networks: &[&str]) {
    let rest = Rest::new(gateway.address(), None);
    let networks = serde_json::json!(networks);
    until(async || rest.json("/api/v1/platform-addresses").await["networks"] == networks).await;
}

#[tokio::test]
async fn the_list_is_followed_enforced_and_kept_when_the_platform_is_away() {
    let platform = platform().await;
    platform.set_callback_ips(&["127.0.0.7", "127.0.1.*", "nonsense"]);
    let gateway = gateway(&platform, "platform_addresses: enforce, allow: [127.0.0.20], ");
    heard(&gateway, &["127.0.0.7/32", "127.0.1.0/24"]).await;
    for (last, status) in [(7, 400), (8, 403), (20, 400), (1, 403)] {
        assert_eq!(status_from(&gateway, last).await, status, "127.0.0.{last}");
    }

    platform.set_callback_ips(&["127.0.0.8"]);
    heard(&gateway, &["127.0.0.8/32"]).await;
    for (last, status) in [(7, 403), (8, 400), (20, 400)] {
        assert_eq!(status_from(&gateway, last).await, status, "127.0.0.{last}, after the change");
    }

    let rest = Rest::new(gateway.address(), None);
    platform.set_callback_ips(&[]);
    until(async || rest.json("/api/v1/platform-addresses").await["problem"] == "the list is empty").await;
    platform.stop().await;
    until(async || {
        let known = rest.json("/api/v1/platform-addresses").await;
        assert_eq!((&known["networks"][0], &known["enforced"]), (&"127.0.0.8/32".into(), &true.into()));
        known["problem"].as_str().is_some_and(|problem| problem != "the list is empty")
    })
    .await;
    assert_eq!(
        (status_from(&gateway, 8).await, status_from(&gateway, 7).await),
        (400, 403),
        "the last good list"
    );
    assert!(!gateway.log().contains("corp-secret") && !gateway.log().contains("fake-access-token"));
}

#[tokio::test]
async fn shown_is_not_enforced_and_before_the_first_answer_nobody_is_shut_out() {
    let platform = platform().await;
    platform.set_callback_ips(&["127.0.0.7"]);
    let shown = gateway(&platform, "platform_addresses: show, ");
    heard(&shown, &["127.0.0.7/32"]).await;
    assert_eq!(status_from(&shown, 8).await, 400);
    platform.add_app(CORP_ID, "another-secret");
    let refused = gateway(&platform, "platform_addresses: enforce, ");
    let rest = Rest::new(refused.address(), None);
    let problem = "no access token: the platform answers 40001";
    until(async || rest.json("/api/v1/platform-addresses").await["problem"] == problem).await;
    assert_eq!(status_from(&refused, 8).await, 400);
}
