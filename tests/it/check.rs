//! `check --connect` and `healthcheck`, against small servers that answer as the test wants.

#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use wecom_gateway::wecom::callback::SealedCallback;
use wecom_gateway::wecom::keys::{EncodingAesKey, ReceiveIds, Token};
use wecom_gateway::wecom::limits::ReadLimits;

use crate::desk::{Desk, KEY, TOKEN, assert_no_secret};
use crate::gateway::{self, Gateway, Setup};

/// Answers every request with what `answer` makes of its first line, until the test ends.
fn serve(answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || answer_one(stream, &*answer));
        }
    });
    port
}

fn answer_one(mut stream: TcpStream, answer: &dyn Fn(&str) -> (u16, String)) {
    let mut lines = BufReader::new(stream.try_clone().expect("a stream")).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    while lines.next().is_some_and(|line| !line.is_empty()) {}
    let (status, body) = answer(&first);
    let length = body.len();
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}

#[test]
fn healthcheck_tells_by_its_exit_code() {
    for (status, code) in [(200, 0), (503, 1)] {
        let port = serve(move |line| {
            if line.starts_with("GET /health ") { (status, String::new()) } else { (404, String::new()) }
        });
        let desk = Desk::new();
        desk.write("n.yaml", &format!("webhook: {{port: {port}}}"));
        let ended = desk.run(&["--config", "n.yaml", "healthcheck"]);
        assert_eq!((ended.code, ended.out.as_str()), (code, ""), "{ended:?}");
    }
    let desk = Desk::new();
    let unused = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    desk.write("n.yaml", &format!("webhook: {{port: {}}}", unused.port()));
    assert!(desk.run(&["--config", "n.yaml", "healthcheck"]).failed(1).contains("does not answer"));
}

/// What a gateway with `token`, `key` and `corp_id` answers to a URL verification.
fn verified(line: &str, token: &str, key: &str, corp_id: &str) -> Option<String> {
    let query = line.split(' ').nth(1)?.split_once('?')?.1;
    let (token, key) = (Token::parse(token).ok()?, EncodingAesKey::parse(key).ok()?);
    let accepted = ReceiveIds::new(vec![corp_id.to_owned()]);
    let opened = SealedCallback::read_url_check(query, &ReadLimits::DEFAULT)
        .ok()?
        .verify(&token)
        .ok()?
        .decrypt(&key, &accepted)
        .ok()?;
    String::from_utf8(opened.message.to_vec()).ok()
}

/// A platform that answers `gettoken`, and a gateway behind the public address, in one.
fn world(gettoken: &'static str, gateway: fn(&str) -> (u16, String)) -> u16 {
    serve(move |line| match line.split(' ').nth(1).unwrap_or_default() {
        path if path.starts_with("/cgi-bin/gettoken?corpid=ww1&corpsecret=c0rpCanary") => {
            (200, gettoken.to_owned())
        }
        path if path.starts_with("/api/v1/rejections") => {
            let row = r#"{"data":[{"step":"signature","detail":"the Token differs"}],"next_cursor":null}"#;
            (200, row.to_owned())
        }
        path if path.starts_with("/api/v1/webhooks/wechat/api?") => gateway(line),
        _ => (404, String::new()),
    })
}

#[test]
fn check_connect_explains_what_does_not_answer_as_it_should() {
    const OK: &str = r#"{"errcode":0,"errmsg":"ok","access_token":"acc3ssCanary","expires_in":7200}"#;
    let right = |line: &str| match verified(line, TOKEN, KEY, "ww1") {
        Some(echo) => (200, echo),
        None => (403, String::new()),
    };
    for (gettoken, gateway, code, expected) in [
        (
            OK,
            right as fn(&str) -> (u16, String),
            0,
            "wechat_api sending: right: the platform gives an access token",
        ),
        (OK, right, 0, "wechat_api URL verification: right: "),
        (OK, right, 0, "database: right: sqlite:canary.db answers"),
        (OK, right, 0, "wechat_bot sending: not tried: "),
        (
            r#"{"errcode":40013,"errmsg":"invalid corpid"}"#,
            right,
            1,
            "wechat_api sending: WRONG: the platform answers 40013: corp_id is wrong",
        ),
        (
            r#"{"errcode":40001,"errmsg":"invalid credential"}"#,
            right,
            1,
            "wechat_api sending: WRONG: the platform answers 40001: secret is wrong",
        ),
        ("<html>", right, 1, "is not WeCom's API"),
        (
            OK,
            |_| (403, String::new()),
            1,
            "answers 403; the gateway there says: signature: the Token differs",
        ),
        (OK, |_| (404, String::new()), 1, "answers 404: the proxy does not pass the path on"),
        (
            OK,
            |line| (200, format!("\"{}\"", verified(line, TOKEN, KEY, "ww1").unwrap_or_default())),
            1,
            "something adds to it",
        ),
    ] {
        let address = format!("http://127.0.0.1:{}", world(gettoken, gateway));
        let desk =
            Desk::new().complete().with(&[("WECHAT_BASE_URL", &address), ("GATEWAY_PUBLIC_URL", &address)]);
        let ended = desk.run(&["check", "--connect"]);
        assert_eq!(ended.code, code, "{ended:?}");
        assert!(ended.out.contains(expected), "{expected:?} in {}", ended.out);
        assert_no_secret(&ended.out);
        assert_no_secret(&ended.err);
    }
}

#[test]
fn check_connect_tells_a_wrong_token_key_and_corp_id_apart() {
    let gateway = Gateway::start("check", Setup::default());
    let health = gateway.address().port().to_string();
    for (variables, expected) in [
        (&[][..], "wechat_api URL verification: right: "),
        (&[("WECHAT_TOKEN", "another")], "the gateway there says: signature: "),
        (&[("WECHAT_ENCODING_AES_KEY", KEY)], "the gateway there says: padding: "),
        (
            &[("WECHAT_CORP_ID", "ww2")],
            "the gateway there says: receive_id: the message is for receive id \"ww2\"",
        ),
    ] {
        let desk = Desk::new()
            .complete()
            .with(&[
                ("WECHAT_CORP_ID", gateway::CORP_ID),
                ("WECHAT_TOKEN", gateway::TOKEN),
                ("WECHAT_ENCODING_AES_KEY", gateway::AES_KEY),
                ("WECHAT_BASE_URL", "http://127.0.0.1:9"),
                ("GATEWAY_PUBLIC_URL", &format!("http://{}", gateway.address())),
                ("GATEWAY_API_KEYS", ""),
            ])
            .with(variables);
        desk.write("n.yaml", &format!("webhook: {{host: 127.0.0.1, port: {health}}}"));
        let ended = desk.run(&["--config", "n.yaml", "check", "--connect"]);
        assert!(ended.out.contains(expected), "{expected:?} in {}", ended.out);
        assert!(ended.out.contains("sending: WRONG: http://127.0.0.1:9 cannot be reached"), "{}", ended.out);
        assert_eq!(desk.run(&["--config", "n.yaml", "healthcheck"]).ok(), "");
    }
}
