//! The drop-in API: what scripts written for qyapi meet when only their host is changed.

use serde_json::{Value, json};
use wecom_gateway::cli::dev::wecom::{FakeWecom, Fault, FaultKind};
use wecom_gateway::clock::Clock;

use crate::app::{AGENT, CORP, SECRET, platform};
use crate::gateway::{Gateway, Setup};
use crate::rest::{Rest, json};
use crate::robot::KEY;

const API_KEY: &str = "operator-key-0123456789abcdef";
const READER: &str = "reader-key-0123456789abcdef";

async fn start(name: &str) -> (FakeWecom, Gateway, Rest) {
    let fake = platform(&Clock::system()).await;
    fake.add_robot("second");
    let channels = format!(
        "  wechat_api:\n    corp_id: {CORP}\n    secret: {SECRET}\n    agent_id: '{AGENT}'\n    base_url: {0}\n    \
         token: ''\n    encoding_aes_key: ''\n  wechat_bot:\n    webhook_url: {1}\n    secret: ''\n    token: ''\n    \
         encoding_aes_key: ''\n",
        fake.base_url(),
        fake.robot_url(KEY)
    );
    let extra = format!("auth: {{ api_keys: 'o:operator:{API_KEY},r:reader:{READER}' }}\n");
    let gateway = Gateway::start(name, Setup { extra, channels, ..Setup::default() });
    let rest = Rest::new(gateway.address(), None);
    (fake, gateway, rest)
}

async fn token(rest: &Rest, secret: &str) -> Value {
    json(&rest.get(&format!("/cgi-bin/gettoken?corpid={CORP}&corpsecret={secret}")).await)
}

async fn send(rest: &Rest, token: &str, message: &Value) -> Value {
    json(&rest.post(&format!("/cgi-bin/message/send?access_token={token}"), message).await)
}

fn text(to: &str) -> Value {
    // As SDKs send it: every field of the envelope, a number as text, and something unknown.
    json!({"touser": to, "toparty": "", "totag": "", "agentid": AGENT.to_string(), "msgtype": "text", "safe": 0,
        "text": {"content": "hi"}, "x_extension": 1})
}

#[tokio::test]
async fn a_script_that_changed_its_host_sends_and_is_tracked() {
    let (fake, gateway, rest) = start("compat").await;
    for secret in [SECRET, API_KEY] {
        let given = token(&rest, secret).await;
        assert_eq!((&given["errcode"], &given["expires_in"]), (&json!(0), &json!(7_200)));
        let access = given["access_token"].as_str().expect("a token").to_owned();
        assert!(access.len() <= 512 && !access.contains(SECRET));
        let sent = send(&rest, &access, &text("ann|Unknown1")).await;
        assert_eq!((&sent["errcode"], &sent["errmsg"]), (&json!(0), &json!("ok")), "{sent}");
        assert_eq!(sent["invaliduser"], "unknown1");
        let id = sent["msgid"].as_str().expect("our id").to_owned();
        let status =
            Rest::new(gateway.address(), Some(API_KEY)).json(&format!("/api/v1/messages/{id}/status")).await;
        assert_eq!(status["status"], "sent");
        let recall = json!({"msgid": id});
        let recalled =
            json(&rest.post(&format!("/cgi-bin/message/recall?access_token={access}"), &recall).await);
        assert_eq!(recalled["errcode"], 0, "{recalled}");
        fake.revoke_tokens();
        assert_eq!(
            send(&rest, &access, &text("bob")).await["errcode"],
            0,
            "the gateway's own token is its matter"
        );
    }
    assert_eq!(fake.shown(Some("ann")).len(), 2);
    let long = json!({"touser": "cid", "msgtype": "text", "agentid": AGENT, "text": {"content": "图".repeat(1_000)}});
    let access = token(&rest, SECRET).await["access_token"].as_str().expect("a token").to_owned();
    assert_eq!(send(&rest, &access, &long).await["errcode"], 0);
    assert!(fake.shown(Some("cid"))[0].content.ends_with("已截断）"), "cut as the platform would, but said");
    assert!(!gateway.log().contains(SECRET) && !gateway.log().contains(KEY), "a secret is in the log");
}

#[tokio::test]
async fn robots_take_their_own_key_or_one_of_ours() {
    let (fake, gateway, rest) = start("compat-robot").await;
    let message = json!({"msgtype": "text", "text": {"content": "hi"}, "unknown": 1});
    for key in [KEY, API_KEY] {
        let answer = json(&rest.post(&format!("/cgi-bin/webhook/send?key={key}"), &message).await);
        assert_eq!(answer["errcode"], 0, "{answer}");
        let id = answer["msgid"].as_str().expect("our id").to_owned();
        let history =
            Rest::new(gateway.address(), Some(READER)).json(&format!("/api/v1/messages/{id}/history")).await;
        assert_eq!(history.as_array().expect("a list").last().expect("sent")["status"], "sent");
    }
    assert_eq!(fake.inbox(KEY).len(), 2);
    fake.add_fault(Fault::times(FaultKind::Errcode { code: 44004 }, 1));
    let refused = json(&rest.post(&format!("/cgi-bin/webhook/send?key={KEY}"), &message).await);
    assert_eq!(refused["errcode"], 44004, "the platform's own verdict: {refused}");
    fake.add_fault(Fault::times(FaultKind::CloseAfter, 1));
    let lost = json(&rest.post(&format!("/cgi-bin/webhook/send?key={KEY}"), &message).await);
    assert_eq!(lost["errcode"], 0, "a lost answer must not make the script send again: {lost}");
    for (key, body, errcode) in [
        ("second", &message, 93000),
        (READER, &message, 93000),
        ("", &message, 93000),
        (KEY, &json!({"msgtype": "poem", "poem": {}}), 40008),
        (KEY, &json!({"msgtype": "text", "text": {"content": ""}}), 44004),
        (KEY, &json!({"msgtype": "text", "text": {"content": "x".repeat(2_049)}}), 40058),
        (KEY, &json!([]), 40058),
    ] {
        let answer = json(&rest.post(&format!("/cgi-bin/webhook/send?key={key}"), body).await);
        assert_eq!(answer["errcode"], errcode, "{body}: {answer}");
    }
}

#[tokio::test]
async fn what_the_platform_would_refuse_is_refused_with_its_codes() {
    let (fake, _gateway, rest) = start("compat-refused").await;
    let code = async |target: &str| json(&rest.get(target).await)["errcode"].clone();
    assert_eq!(code("/cgi-bin/gettoken").await, 41002);
    assert_eq!(code(&format!("/cgi-bin/gettoken?corpid={CORP}")).await, 41004);
    for wrong in ["wrong", READER] {
        assert_eq!(code(&format!("/cgi-bin/gettoken?corpid={CORP}&corpsecret={wrong}")).await, 40001);
    }
    let access = token(&rest, SECRET).await["access_token"].as_str().expect("a token").to_owned();
    for (token, errcode) in
        [("", 41001), ("x", 40014), (&access[1..], 40014), (&access[..access.len() - 1], 40014)]
    {
        assert_eq!(send(&rest, token, &text("ann")).await["errcode"], errcode, "{token}");
    }
    let with = |name: &str, value: Value| {
        let mut message = text("ann");
        message[name] = value;
        message
    };
    for (message, errcode) in [
        (with("touser", json!("")), 82001),
        (with("msgtype", json!("poem")), 40008),
        (with("agentid", json!(7)), 301_002),
        (with("text", json!({"content": ""})), 44004),
        (with("touser", json!("unknown1|unknown2")), 81013),
    ] {
        assert_eq!(send(&rest, &access, &message).await["errcode"], errcode, "{message}");
    }
    assert!(fake.shown(None).is_empty());
    for _ in 0..20 {
        let _refused = code(&format!("/cgi-bin/gettoken?corpid={CORP}&corpsecret=guess")).await;
    }
    assert_eq!(
        code(&format!("/cgi-bin/gettoken?corpid={CORP}&corpsecret=guess")).await,
        45009,
        "no guessing"
    );
    assert_eq!(token(&rest, SECRET).await["errcode"], 0, "who has the right one is not locked out");
}

#[tokio::test]
async fn files_go_through_and_can_be_sent() {
    let (fake, _gateway, rest) = start("compat-media").await;
    let access = token(&rest, SECRET).await["access_token"].as_str().expect("a token").to_owned();
    let form = b"--b\r\nContent-Disposition: form-data; name=\"media\"; filename=\"a.png\"\r\n\r\n\x89PNG....\r\n--b--\r\n";
    let headers = "Content-Type: multipart/form-data; boundary=b\r\n";
    let upload = async |target: &str, headers: &str| json(&rest.send("POST", target, headers, form).await);
    let answer = upload(&format!("/cgi-bin/media/upload?type=image&access_token={access}"), headers).await;
    assert_eq!((&answer["errcode"], &answer["type"]), (&json!(0), &json!("image")), "{answer}");
    let image = json!({"touser": "ann", "agentid": AGENT, "msgtype": "image", "image": {"media_id": answer["media_id"]}});
    assert_eq!(send(&rest, &access, &image).await["errcode"], 0);
    assert_eq!(fake.shown(Some("ann"))[0].msgtype, "image");
    let robots = upload(&format!("/cgi-bin/webhook/upload_media?type=file&key={KEY}"), headers).await;
    let file = json!({"msgtype": "file", "file": {"media_id": robots["media_id"]}});
    let sent = json(&rest.post(&format!("/cgi-bin/webhook/send?key={KEY}"), &file).await);
    assert_eq!(sent["errcode"], 0, "{sent}");
    let of_another = json!({"msgtype": "file", "file": {"media_id": answer["media_id"]}});
    let refused = json(&rest.post(&format!("/cgi-bin/webhook/send?key={KEY}"), &of_another).await);
    assert_eq!(refused["errcode"], 40007);
    for (target, headers, errcode) in [
        (format!("/cgi-bin/media/upload?type=poem&access_token={access}"), headers, 40004),
        (
            format!("/cgi-bin/media/upload?type=image&access_token={access}"),
            "Content-Type: image/png\r\n",
            41005,
        ),
        ("/cgi-bin/media/upload?type=image&access_token=x".to_owned(), headers, 40014),
        (format!("/cgi-bin/webhook/upload_media?type=image&key={KEY}"), headers, 40004),
    ] {
        assert_eq!(upload(&target, headers).await["errcode"], errcode, "{target}");
    }
}

#[tokio::test]
async fn group_chats_are_made_and_sent_to() {
    let (fake, gateway, rest) = start("compat-chat").await;
    let access = token(&rest, SECRET).await["access_token"].as_str().expect("a token").to_owned();
    let post = async |method: &str, body: &Value| {
        json(&rest.post(&format!("/cgi-bin/appchat/{method}?access_token={access}"), body).await)
    };
    let order = json!({"name": "on call", "owner": "ann", "userlist": ["ann", "bob"], "chatid": "oncall"});
    assert_eq!(post("create", &order).await, json!({"errcode": 0, "errmsg": "ok", "chatid": "oncall"}));
    assert_eq!(post("create", &order).await["errcode"], 86215, "the platform's own verdict");
    let change = json!({"chatid": "oncall", "add_user_list": ["cid"]});
    assert_eq!(post("update", &change).await["errcode"], 0);
    let shown = json(&rest.get(&format!("/cgi-bin/appchat/get?access_token={access}&chatid=oncall")).await);
    assert_eq!(shown["chat_info"]["userlist"], json!(["ann", "bob", "cid"]), "{shown}");
    let message = json!({"chatid": "oncall", "msgtype": "text", "text": {"content": "hi"}, "safe": 0});
    let sent = post("send", &message).await;
    assert_eq!(sent["errcode"], 0, "{sent}");
    let id = sent["msgid"].as_str().expect("our id").to_owned();
    let status =
        Rest::new(gateway.address(), Some(API_KEY)).json(&format!("/api/v1/messages/{id}/status")).await;
    assert_eq!(status["status"], "sent");
    assert_eq!(fake.shown(Some("chat:oncall")).len(), 1);

    assert_eq!(post("send", &json!({"msgtype": "text", "text": {"content": "hi"}})).await["errcode"], 86001);
    for (target, errcode) in [
        (format!("/cgi-bin/appchat/get?access_token={access}&chatid=a%26b"), 86001),
        (format!("/cgi-bin/appchat/get?access_token={access}&chatid=none"), 86003),
        ("/cgi-bin/appchat/get?access_token=x&chatid=oncall".to_owned(), 40014),
    ] {
        assert_eq!(json(&rest.get(&target).await)["errcode"], errcode, "{target}");
    }
    fake.add_fault(Fault::of("appchat/create", FaultKind::CloseBefore, 1));
    assert_eq!(post("create", &json!({"userlist": ["ann", "bob"]})).await["errcode"], -1);
}
