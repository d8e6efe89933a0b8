//! Tracked links: who opened what, and who merely looked.

use serde_json::{Value, json};
use wecom_gateway::clock::Clock;

use crate::app::{AGENT, CORP, SECRET, platform};
use crate::gateway::{Gateway, Setup};
use crate::rest::{Rest, json};

const PHONE: &str = "User-Agent: Mozilla/5.0 (iPhone) wxwork/4.1.36\r\n";

fn channels(base_url: &str) -> String {
    format!(
        "  wechat_api:\n    corp_id: {CORP}\n    secret: {SECRET}\n    agent_id: '{AGENT}'\n    base_url: {base_url}\n    \
         token: ''\n    encoding_aes_key: ''\n"
    )
}

#[tokio::test]
async fn a_link_opened_by_a_person_is_a_click_and_programs_are_nobody() {
    let fake = platform(&Clock::system()).await;
    let webhook = "public_url: 'https://gw.example.com', ".to_owned();
    let setup = Setup { webhook, channels: channels(&fake.base_url()), ..Setup::default() };
    let gateway = Gateway::start("links", setup);
    let rest = Rest::new(gateway.address(), None);
    let alone = json!({"channel": "wechat_api", "touser": "cid", "track_links": true, "msgtype": "textcard",
        "textcard": {"title": "t", "description": "d", "url": "https://example.com/a?b=1"}});
    let shared = json!({"channel": "wechat_api", "touser": "cid|dan", "track_links": true,
        "text": "<a href=\"https://example.com/b\">b</a>"});
    for (body, recipient) in [(alone, json!("cid")), (shared, Value::Null)] {
        let answer = rest.post("/api/v1/messages", &body).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        let id = json(&answer)["message_id"].as_str().expect("an id").to_owned();
        let status = async || rest.json(&format!("/api/v1/messages/{id}/status")).await["status"].clone();
        crate::site::until(async || status().await == "sent").await;
        let sent = fake.calls("message/send").pop().expect("the send").body.to_string();
        let (_, link) = sent.split_once("https://gw.example.com/l/").expect("a link");
        let token = link.get(..30).expect("a token").to_owned();
        assert!(!sent.contains("https://example.com/"), "{sent}");

        let open =
            async |method: &str, headers: &str| rest.send(method, &format!("/l/{token}"), headers, b"").await;
        let prefetch = format!("{PHONE}Sec-Purpose: prefetch\r\n");
        let scanner = "User-Agent: Slackbot 1.0\r\n";
        for (method, headers) in [("HEAD", PHONE), ("GET", scanner), ("GET", &prefetch), ("GET", "")] {
            assert_eq!(open(method, headers).await.status, 302, "it leads on all the same");
        }
        let interactions =
            async || rest.json(&format!("/api/v1/messages/{id}/interactions")).await["data"].clone();
        assert_eq!(interactions().await, json!([]), "programs are nobody");
        let answer = open("GET", PHONE).await;
        assert!(answer.header("location").is_some_and(|to| to.starts_with("https://example.com/")));
        let seen = interactions().await;
        assert_eq!((&seen[0]["interaction_type"], &seen[0]["user_id"]), (&json!("click"), &recipient));
        assert_eq!(status().await, if recipient.is_null() { "sent" } else { "read" });
        for guess in [format!("{}x", &token[..29]), "x".to_owned(), "..%2f".to_owned()] {
            assert_eq!(rest.send("GET", &format!("/l/{guess}"), PHONE, b"").await.status, 404, "{guess}");
        }
        let elsewhere = open("GET", &format!("{PHONE}X-Forwarded-Host: evil.example\r\n")).await;
        assert!(elsewhere.header("location").is_some_and(|to| to.starts_with("https://example.com/")));
    }
}

#[tokio::test]
async fn links_are_only_tracked_where_people_can_reach_the_gateway() {
    let fake = platform(&Clock::system()).await;
    let setup = Setup { channels: channels(&fake.base_url()), ..Setup::default() };
    let gateway = Gateway::start("no-links", setup);
    let rest = Rest::new(gateway.address(), None);
    let body = json!({"channel": "wechat_api", "touser": "cid", "track_links": true, "text": "x"});
    let answer = rest.post("/api/v1/messages", &body).await;
    assert!(answer.status == 400 && answer.text().contains("track_links"), "{}", answer.text());
}
