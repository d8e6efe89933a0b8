//! An app against the fake platform: its token, and what each answer, and each missing answer, comes to.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use wecom_gateway::channel::access_token::{AccessToken, Credentials, TokenDesk};
use wecom_gateway::channel::transport::{Transport, TransportLimits};
use wecom_gateway::channel::wecom_app::App;
use wecom_gateway::cli::dev::wecom::{FakeWecom, Fault, FaultKind};
use wecom_gateway::clock::Clock;
use wecom_gateway::domain::outcome::{Ending, Outcome};
use wecom_gateway::entropy::Entropy;
use wecom_gateway::secret::Secret;

pub(crate) const CORP: &str = "ww1234567890abcdef";
pub(crate) const SECRET: &str = "c0rp-s3cret";
pub(crate) const AGENT: u64 = 1_000_002;

/// The app of a fake at `base_url`.
pub(crate) fn app_at(base_url: &str, secret: &str, clock: &Clock) -> App {
    let limits = TransportLimits { attempt_timeout_ms: 1_000, ..TransportLimits::default() };
    let transport = Transport::new(limits).expect("a transport");
    let credentials =
        Credentials { base_url: base_url.to_owned(), corp_id: CORP.to_owned(), secret: Secret::new(secret) };
    let token = AccessToken::new(credentials, transport.clone(), clock.clone(), Entropy::seeded(3));
    App::new(AGENT, Arc::new(token), transport, clock.clone())
}

/// A fake platform with the app.
pub(crate) async fn platform(clock: &Clock) -> FakeWecom {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let fake = FakeWecom::start(loopback, clock.clone(), Entropy::seeded(1)).await.expect("a free port");
    fake.add_app(CORP, SECRET);
    fake.add_robot(crate::robot::KEY);
    fake
}

fn body(to: &str, content: &str) -> String {
    json!({"touser": to, "msgtype": "text", "agentid": AGENT, "text": {"content": content}}).to_string()
}

fn tokens(fake: &FakeWecom) -> usize {
    fake.calls("gettoken").len()
}

#[tokio::test]
async fn a_hundred_sends_at_once_are_one_token_call() {
    let clock = Clock::manual(1_800_000_000_000);
    let fake = platform(&clock).await;
    let app = app_at(&fake.base_url(), SECRET, &clock);
    let mut sends = tokio::task::JoinSet::new();
    for number in 0..100 {
        let app = app.clone();
        sends.spawn(async move { app.deliver(&body(&format!("user{number}"), "hi")).await });
    }
    while let Some(tried) = sends.join_next().await {
        assert_eq!(tried.expect("no panic").outcome.ending(), Ending::Accepted);
    }
    assert_eq!((tokens(&fake), fake.shown(None).len()), (1, 100));
    let call = &fake.calls("message/send")[0];
    assert_eq!(call.body["agentid"], AGENT);

    clock.advance_ms(7_200_000 - 500_000);
    app.deliver(&body("ann", "before it is due")).await;
    assert_eq!(tokens(&fake), 1);
    clock.advance_ms(500_000);
    app.deliver(&body("ann", "after its end")).await;
    assert_eq!(tokens(&fake), 2);
    assert!(fake.calls("message/send").iter().all(|call| call.errcode == 0), "no call with an old token");
}

#[tokio::test]
async fn a_token_that_is_taken_no_more_is_exchanged_once_for_all() {
    let clock = Clock::manual(1_800_000_000_000);
    let fake = platform(&clock).await;
    let app = app_at(&fake.base_url(), SECRET, &clock);
    for code in [40014, 42001, 40001] {
        fake.add_fault(Fault::of("message/send", FaultKind::Errcode { code }, 1));
        let tried = app.deliver(&body("ann", &code.to_string())).await;
        assert_eq!(tried.outcome.ending(), Ending::Accepted, "{code}: {:?}", tried.error);
    }
    assert_eq!(tokens(&fake), 4, "the first, and one for each");
    fake.revoke_tokens();
    let mut sends = tokio::task::JoinSet::new();
    for number in 0..20 {
        let app = app.clone();
        sends.spawn(async move { app.deliver(&body(&format!("user{number}"), "hi")).await });
    }
    while let Some(tried) = sends.join_next().await {
        assert_eq!(tried.expect("no panic").outcome.ending(), Ending::Accepted);
    }
    assert_eq!(tokens(&fake), 5, "one for all that failed together");

    fake.add_fault(Fault::of("message/send", FaultKind::Errcode { code: 42001 }, 2));
    let tried = app.deliver(&body("ann", "never fresh")).await;
    assert_eq!((tried.outcome.ending(), tried.errcode), (Ending::Busy, Some(42001)), "no third request");
}

#[tokio::test]
async fn each_answer_and_each_missing_one_has_its_outcome() {
    let clock = Clock::manual(1_800_000_000_000);
    let fake = platform(&clock).await;
    let app = app_at(&fake.base_url(), SECRET, &clock);
    for (kind, ending, shown) in [
        (FaultKind::CloseAfter, Ending::AnswerLost, true),
        (FaultKind::CloseBefore, Ending::AnswerLost, false),
        (FaultKind::Truncate, Ending::AnswerLost, true),
        (FaultKind::Slow { delay_ms: 60_000 }, Ending::AnswerLost, true),
        (FaultKind::Http { status: 500 }, Ending::AnswerLost, false),
        (FaultKind::Http { status: 302 }, Ending::Refused, false),
        (FaultKind::Html, Ending::Refused, false),
        (FaultKind::Errcode { code: -1 }, Ending::Busy, false),
        (FaultKind::Errcode { code: 45033 }, Ending::Limited, false),
        (FaultKind::Errcode { code: 60020 }, Ending::Halted, false),
        (FaultKind::Errcode { code: 301_002 }, Ending::Halted, false),
        (FaultKind::Errcode { code: 40058 }, Ending::Refused, false),
    ] {
        let before = fake.shown(None).len();
        fake.add_fault(Fault::of("message/send", kind.clone(), 1));
        let tried = app.deliver(&body("ann", &format!("{kind:?}"))).await;
        assert_eq!(tried.outcome.ending(), ending, "{kind:?}: {:?}", tried.error);
        assert_eq!(fake.shown(None).len() - before, usize::from(shown), "{kind:?}");
        let seen = format!("{:?} {:?}", tried.error, tried.answer);
        assert!(!seen.contains(SECRET) && !seen.contains("fake-access-token"), "{seen}");
    }
    fake.add_fault(Fault::of("message/send", FaultKind::Errcode { code: 60020 }, 1));
    let error = app.deliver(&body("ann", "from abroad")).await.error.expect("a reason");
    assert!(error.contains("hint: [fake]") && error.contains("the address 127.0.0.1"), "{error}");
}

#[tokio::test]
async fn too_many_calls_rest_the_app_longer_each_time() {
    let clock = Clock::manual(1_800_000_000_000);
    let fake = platform(&clock).await;
    let app = app_at(&fake.base_url(), SECRET, &clock);
    let mut rests = Vec::new();
    for _ in 0..4 {
        fake.add_fault(Fault::of("message/send", FaultKind::Errcode { code: 45009 }, 1));
        let Outcome::Wait { rest_ms } = app.deliver(&body("ann", "x")).await.outcome else {
            panic!("no rest")
        };
        rests.push(rest_ms / 1_000);
    }
    assert_eq!(rests, [60, 300, 3_600, 3_600]);
    app.deliver(&body("ann", "through")).await;
    fake.add_fault(Fault::of("message/send", FaultKind::Errcode { code: 45009 }, 1));
    assert_eq!(app.deliver(&body("ann", "x")).await.outcome, Outcome::Wait { rest_ms: 60_000 });
}

#[tokio::test]
async fn a_token_that_cannot_be_had_sends_nothing() {
    let clock = Clock::manual(1_800_000_000_000);
    let fake = platform(&clock).await;
    let app = app_at(&fake.base_url(), SECRET, &clock);
    for kind in [
        FaultKind::CloseBefore,
        FaultKind::CloseAfter,
        FaultKind::Http { status: 500 },
        FaultKind::Slow { delay_ms: 60_000 },
        FaultKind::Errcode { code: -1 },
    ] {
        clock.advance_ms(1_000);
        fake.revoke_tokens();
        let fresh = app_at(&fake.base_url(), SECRET, &clock);
        fake.add_fault(Fault::of("gettoken", kind.clone(), 1));
        let tried = fresh.deliver(&body("ann", "x")).await;
        assert_eq!(tried.outcome.ending(), Ending::NotSent, "{kind:?}: {:?}", tried.error);
    }
    assert!(fake.calls("message/send").is_empty());
    app.deliver(&body("ann", "x")).await;
    assert_eq!(fake.shown(None).len(), 1);
}

#[tokio::test]
async fn the_answer_names_who_was_not_reached_and_hides_the_cards_code() {
    let clock = Clock::manual(1_800_000_000_000);
    let fake = platform(&clock).await;
    fake.miss(&["party:7"]);
    let app = app_at(&fake.base_url(), SECRET, &clock);
    let card = json!({"touser": "ann|Unknown1", "toparty": "7", "msgtype": "template_card", "agentid": AGENT,
        "template_card": {"card_type": "button_interaction"}});
    let tried = app.deliver(&card.to_string()).await;
    let Outcome::Accepted { references, refused } = tried.outcome else { panic!("{:?}", tried.error) };
    assert_eq!(references, ["fake-msg-1"]);
    let named: Vec<&str> = refused.iter().map(|one| one.recipient.as_str()).collect();
    assert_eq!(named, ["unknown1", "party:7"]);
    assert!(tried.response_code.is_some_and(|code| code.matches("fake-response-code-1")));
    assert!(!tried.answer.expect("kept").contains("fake-response-code"));
}

#[tokio::test]
async fn one_token_serves_all_who_share_a_secret_and_a_mended_one_begins_anew() {
    let clock = Clock::manual(1_800_000_000_000);
    let fake = platform(&clock).await;
    let desk = TokenDesk::default();
    let transport = Transport::new(TransportLimits::default()).expect("a transport");
    let token = |secret: &str| {
        let credentials =
            Credentials { base_url: fake.base_url(), corp_id: CORP.to_owned(), secret: Secret::new(secret) };
        desk.token(&credentials, &transport, &clock, &Entropy::seeded(1))
    };
    assert!(Arc::ptr_eq(&token(SECRET), &token(SECRET)));
    let wrong = token("wrong");
    assert!(!Arc::ptr_eq(&token(SECRET), &wrong));
    for _ in 0..3 {
        let refused = wrong.get().await.expect_err("refused");
        assert_eq!(refused.outcome, Outcome::Halt { rest_ms: Some(60_000) });
    }
    assert_eq!(fake.calls("gettoken").len(), 1, "not asked again at once");
    assert!(wrong.problem().is_some_and(|problem| problem.contains("errcode 40001")));
    assert!(!Arc::ptr_eq(&token("wrong"), &wrong), "a new configuration asks at once");
}

#[tokio::test]
async fn the_fake_answers_apps_over_http() {
    let clock = Clock::system();
    let fake = platform(&clock).await;
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let ask = async |request: reqwest::RequestBuilder| -> Value {
        request.send().await.expect("an answer").json().await.expect("JSON")
    };
    let base = fake.base_url();
    let token = ask(client.get(format!("{base}/cgi-bin/gettoken?corpid={CORP}&corpsecret={SECRET}"))).await;
    assert_eq!((token["errcode"].as_i64(), token["expires_in"].as_i64()), (Some(0), Some(7_200)));
    let token = token["access_token"].as_str().expect("a token").to_owned();
    let sent =
        ask(client.post(format!("{base}/cgi-bin/message/send?access_token={token}")).body(body("ann", "hi")))
            .await;
    assert_eq!(sent["msgid"], "fake-msg-1");
    assert_eq!(ask(client.get(format!("{base}/_fake/people?user=ann"))).await[0]["content"], "hi");
    assert_eq!(
        ask(client.get(format!("{base}/_fake/calls?method=message/send"))).await["calls"][0]["errcode"],
        0
    );
}
