//! Third-party suites: commands are answered `success`, and the newest ticket can be read.

use crate::gateway::{AES_KEY, Gateway, Platform, Setup, TOKEN};
use crate::rest::{Rest, json};
use crate::wire::Wire;

const SUITE: &str = "dk1234567890abcdef";
const OPERATOR: &str = "operator-key-0123456789abcdef";
const READER: &str = "reader-key-0123456789abcdef";

#[tokio::test]
async fn the_newest_ticket_of_a_suite_is_for_operators() {
    let channels = format!(
        "  suite:\n    type: wechat_api\n    handler: suite\n    corp_id: {SUITE}\n    secret: ''\n    agent_id: ''\n    \
         token: {TOKEN}\n    encoding_aes_key: {AES_KEY}\n    receive_ids: ['*']\n    \
         callback_window_ms: 9000000000000\n"
    );
    let extra = format!("auth: {{ api_keys: 'o:operator:{OPERATOR},r:reader:{READER}' }}\n");
    let gateway = Gateway::start("suites", Setup { extra, channels, ..Setup::default() });
    let mut wire = Wire::connect(gateway.address()).await.expect("connects");
    let platform = Platform::new(TOKEN, AES_KEY, SUITE);
    for (suite, ticket, second) in [(SUITE, "first", 1), (SUITE, "second", 2), ("another", "of another", 3)] {
        let (query, body) = platform.seal(&format!(
            "<xml><SuiteId><![CDATA[{suite}]]></SuiteId><InfoType><![CDATA[suite_ticket]]></InfoType>\
             <TimeStamp>{}</TimeStamp><SuiteTicket><![CDATA[{ticket}]]></SuiteTicket></xml>",
            1_700_001_230 + second
        ));
        let target = format!("/api/v1/webhooks/wechat/suite?{query}");
        let answer = wire.post(&target, body.as_bytes()).await.expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, "success"));
    }
    let operator = Rest::new(gateway.address(), Some(OPERATOR));
    let path = format!("/api/v1/suites/{SUITE}/ticket");
    let shown = operator.json(&path).await;
    assert_eq!((&shown["suite_ticket"], &shown["suite_id"]), (&"second".into(), &SUITE.into()), "{shown}");
    let event =
        operator.json(&format!("/api/v1/events/{}", shown["event_id"].as_str().expect("an id"))).await;
    assert_eq!(event["kind"], "command.suite_ticket");
    assert_eq!(operator.json("/api/v1/suites/another/ticket").await["suite_ticket"], "of another");
    let unknown = operator.get("/api/v1/suites/none/ticket").await;
    assert_eq!((unknown.status, &json(&unknown)["status"]), (404, &404.into()));
    assert_eq!(Rest::new(gateway.address(), Some(READER)).get(&path).await.status, 403);
}
