//! Who calls us: one source, several at one address, keys being exchanged, wrong set-ups.

use wecom_gateway::source::{Accepted, Answer, Refused, SealedSettings, SourceSettings, Sources};
use wecom_gateway::wecom::refusal::Step;

use crate::sealer::{
    CORP, KEY, NOW_S, OTHER_KEY, Sealer, TOKEN, app, check, keys, post, sealed, sources, text_message,
};

fn step(outcome: Result<Accepted, Refused>) -> Step {
    outcome.expect_err("refused").refusal.step
}

#[test]
fn an_app_is_checked_and_called() {
    let sources = sources(vec![app("crm")]);
    let request = Sealer::usual().seal(b"1616140317555161061");
    assert_eq!(check(&sources, "api", &request.check_query()).expect("answered"), "1616140317555161061");
    // A proxy that decodes and sends the plus sign on, and one that makes it a blank.
    for query in [request.check_query().replace("%2B", "+"), request.check_query().replace("%2B", "%20")] {
        assert!(check(&sources, "api", &query).is_ok(), "{query}");
    }
    // Saved again a year later: a check has no window, it changes nothing.
    let old = Sealer::usual().seal_at(b"1", NOW_S - 400 * 86_400);
    assert_eq!(check(&sources, "api", &old.check_query()).expect("answered"), "1");

    let request = Sealer::usual().seal(text_message("1000002").as_bytes());
    for body in [request.xml(), request.json()] {
        let accepted = post(&sources, "api", &request.query(), &body).expect("accepted");
        assert_eq!(accepted.source.as_ref(), "crm");
        assert!(matches!(accepted.answer, Answer::Passive(_)), "{:?}", accepted.answer);
        let [event] = accepted.events.as_slice() else { panic!("one event") };
        assert_eq!(event.event.kind.as_str(), "message.text");
        assert_eq!(event.event.user_id.as_deref(), Some("zhangsan"));
        assert_eq!(event.payload, text_message("1000002"));
    }
}

#[test]
fn commands_are_answered_with_the_word_success() {
    let sources = sources(vec![app("suite")]);
    let command = b"<xml><SuiteId>dk1</SuiteId><InfoType><![CDATA[suite_ticket]]></InfoType><TimeStamp>1</TimeStamp></xml>";
    let request = Sealer::usual().seal(command);
    let accepted = post(&sources, "api", &request.query(), &request.xml()).expect("accepted");
    assert_eq!(accepted.answer, Answer::Success);
    let request = Sealer::usual().seal(b"not even XML");
    let accepted = post(&sources, "api", &request.query(), &request.xml()).expect("accepted");
    assert!(matches!(accepted.answer, Answer::Passive(_)), "{:?}", accepted.answer);
    assert_eq!(accepted.events[0].event.kind.as_str(), "unreadable");
}

/// B-1: what is wrong is told to the operator, and to nobody else.
#[test]
fn twelve_broken_setups_have_twelve_diagnoses() {
    let cases = broken_setups();
    assert_eq!(cases.len(), 12);
    for (what, outcome, step, hint) in cases {
        let refused = outcome.expect_err(what);
        assert_eq!(refused.refusal.step, step, "{what}: {refused:?}");
        assert!(refused.refusal.detail.contains(hint), "{what}: {refused:?}");
        assert_eq!(refused.status, step.status(), "{what}");
        for secret in [TOKEN, KEY, OTHER_KEY, "OtherToken"] {
            assert!(!format!("{refused:?}").contains(secret), "{what} shows a secret");
        }
    }
}

#[test]
fn a_wrong_receive_id_is_told_with_the_right_one() {
    let sources = crm_with(sealed(TOKEN, KEY, &["wwOther"]));
    let request = Sealer::usual().seal(b"<xml/>");
    let refused = post(&sources, "api", &request.query(), &request.xml()).expect_err("refused");
    assert_eq!(refused.refusal.expected_receive_id.as_deref(), Some("wwOther"));
    assert_eq!(refused.refusal.found_receive_id.as_deref(), Some(CORP));
    assert_eq!(refused.source.as_deref(), Some("crm"));
}

type Case = (&'static str, Result<Accepted, Refused>, Step, &'static str);

/// What is broken, what came of it, the step and a word of the explanation.
fn broken_setups() -> Vec<Case> {
    let good = sources(vec![app("crm")]);
    let request = Sealer::usual().seal(text_message("1000002").as_bytes());
    let (query, xml) = (request.query(), request.xml());
    let kept: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("nonce")).collect();
    let (without_nonce, twice) = (kept.join("&"), format!("{query}&{query}"));
    let cut = xml.replace(&request.encrypt, &request.encrypt[..request.encrypt.len() - 2]);
    let old = Sealer::usual().seal_at(b"<xml/>", NOW_S - 27 * 3600);
    let other_token = crm_with(sealed("OtherToken", KEY, &[CORP]));
    let other_key = crm_with(sealed(TOKEN, OTHER_KEY, &[CORP]));
    let other_corp = crm_with(sealed(TOKEN, KEY, &["wwOther"]));
    let of_agent = |name: &str, agent: &str| SourceSettings { agent_id: Some(agent.into()), ..app(name) };
    let other_agent = sources(vec![of_agent("crm", "1000009")]);
    let twins = sources(vec![of_agent("hr", "1000003"), of_agent("sales", "1000004")]);
    let posted = |sources: &Sources| post(sources, "api", &query, &xml);
    vec![
        (
            "the console has another address",
            post(&good, "app", &query, &xml),
            Step::Route,
            "no source listens",
        ),
        ("a proxy drops the query", post(&good, "api", "", &xml), Step::Parameter, "`msg_signature`"),
        ("a proxy drops one parameter", post(&good, "api", &without_nonce, &xml), Step::Parameter, "`nonce`"),
        ("a proxy doubles the query", post(&good, "api", &twice, &xml), Step::Parameter, "twice"),
        ("plaintext is posted", post(&good, "api", &query, &text_message("1")), Step::Body, "no `Encrypt`"),
        ("the body is cut", post(&good, "api", &query, &cut), Step::Base64, "multiple of 4"),
        ("the Token differs", posted(&other_token), Step::Signature, "Token"),
        ("the key differs", posted(&other_key), Step::Padding, "EncodingAESKey"),
        ("the corp id differs", posted(&other_corp), Step::ReceiveId, CORP),
        ("the AgentID differs", posted(&other_agent), Step::Agent, "1000002"),
        ("two apps fit", posted(&twins), Step::Ambiguous, "hr and sales"),
        (
            "the clock is wrong",
            post(&good, "api", &old.query(), &old.xml()),
            Step::Timestamp,
            "97200 s behind",
        ),
    ]
}

/// The app `crm` with other keys or receive ids.
fn crm_with(settings: SealedSettings) -> Sources {
    sources(vec![SourceSettings { sealed: Some(settings), ..app("crm") }])
}

/// B-20.
#[test]
fn several_apps_at_one_address_are_told_apart() {
    let at = |name: &str, settings: SealedSettings, agent: Option<&str>| SourceSettings {
        sealed: Some(settings),
        agent_id: agent.map(str::to_owned),
        ..app(name)
    };
    let all = sources(vec![
        at("own-token", sealed("OwnToken", KEY, &[CORP]), None),
        at("own-key", sealed(TOKEN, OTHER_KEY, &[CORP]), None),
        at("other-corp", sealed(TOKEN, KEY, &["wwOther"]), None),
        at("agent-2", sealed(TOKEN, KEY, &[CORP]), Some("1000002")),
        at("agent-3", sealed(TOKEN, KEY, &[CORP]), Some("1000003")),
        at("rest", sealed(TOKEN, KEY, &[CORP]), None),
    ]);
    let to = |sealer: &Sealer, agent: &str| {
        let request = sealer.seal(text_message(agent).as_bytes());
        post(&all, "api", &request.query(), &request.xml()).map(|accepted| accepted.source.to_string())
    };
    assert_eq!(to(&Sealer::new("OwnToken", KEY, CORP), "1000002").as_deref(), Ok("own-token"));
    assert_eq!(to(&Sealer::new(TOKEN, OTHER_KEY, CORP), "1000002").as_deref(), Ok("own-key"));
    assert_eq!(to(&Sealer::new(TOKEN, KEY, "wwOther"), "1000002").as_deref(), Ok("other-corp"));
    assert_eq!(to(&Sealer::usual(), "1000002").as_deref(), Ok("agent-2"));
    assert_eq!(to(&Sealer::usual(), "1000003").as_deref(), Ok("agent-3"));
    // Contact changes name no app; an app nobody knows goes where no app was named either.
    assert_eq!(to(&Sealer::usual(), "").as_deref(), Ok("rest"));
    assert_eq!(to(&Sealer::usual(), "1000099").as_deref(), Ok("rest"));
    // Nobody's token: no source is named, for none is known to be meant.
    let refused = to(&Sealer::new("Nobody", KEY, CORP), "1").expect_err("refused");
    assert_eq!((refused.refusal.step, refused.source), (Step::Signature, None));
    // One's token and nobody's corp: the furthest refusal is told.
    let refused = to(&Sealer::new("OwnToken", KEY, "wwNobody"), "1").expect_err("refused");
    assert_eq!((refused.refusal.step, refused.source.as_deref()), (Step::ReceiveId, Some("own-token")));
}

#[test]
fn an_app_takes_events_of_built_in_apps_and_of_none() {
    let sources = sources(vec![SourceSettings { agent_id: Some("1000002".into()), ..app("crm") }]);
    for (agent, expected) in [
        ("1000002", true),
        ("", true),
        ("3010040", true),
        ("2000004", true),
        ("1000003", false),
        ("7", false),
    ] {
        let request = Sealer::usual().seal(text_message(agent).as_bytes());
        assert_eq!(post(&sources, "api", &request.query(), &request.xml()).is_ok(), expected, "{agent}");
    }
}

/// B-21.
#[test]
fn previous_keys_hold_until_they_are_taken_away() {
    let with = |previous| {
        let mut settings = sealed("NewToken", OTHER_KEY, &[CORP]);
        settings.previous = previous;
        sources(vec![SourceSettings { sealed: Some(settings), ..app("crm") }])
    };
    let outcome = |sources: &Sources, token: &str, key: &str| {
        let request = Sealer::new(token, key, CORP).seal(b"<xml/>");
        let checked = check(sources, "api", &request.check_query()).is_ok();
        let posted = post(sources, "api", &request.query(), &request.xml()).is_ok();
        assert_eq!(checked, posted);
        posted
    };
    let exchanging = with(Some(keys(TOKEN, KEY)));
    assert!(outcome(&exchanging, "NewToken", OTHER_KEY) && outcome(&exchanging, TOKEN, KEY));
    assert!(!outcome(&exchanging, TOKEN, OTHER_KEY), "halves of two pairs are no pair");
    let only_the_key = with(Some(keys("", KEY)));
    assert!(outcome(&only_the_key, "NewToken", KEY) && outcome(&only_the_key, "NewToken", OTHER_KEY));
    let only_the_token = with(Some(keys(TOKEN, "")));
    assert!(outcome(&only_the_token, TOKEN, OTHER_KEY) && !outcome(&only_the_token, TOKEN, KEY));
    let done = with(None);
    assert!(outcome(&done, "NewToken", OTHER_KEY) && !outcome(&done, TOKEN, KEY));
}

#[test]
fn the_window_has_two_sides_and_an_edge() {
    let sources = sources(vec![app("crm")]);
    let window_s = 26 * 3600;
    for (off_s, expected) in
        [(0, true), (window_s, true), (-window_s, true), (window_s + 1, false), (-window_s - 1, false)]
    {
        let request = Sealer::usual().seal_at(b"<xml/>", NOW_S + off_s);
        let outcome = post(&sources, "api", &request.query(), &request.xml());
        assert_eq!(outcome.is_ok(), expected, "{off_s}");
        if let Err(refused) = outcome {
            assert_eq!((refused.refusal.step, refused.status), (Step::Timestamp, 403));
        }
    }
    // A forged one is told to be forged, whatever its time.
    let request = Sealer::new("Nobody", KEY, CORP).seal_at(b"<xml/>", 1_000_000_000);
    assert_eq!(step(post(&sources, "api", &request.query(), &request.xml())), Step::Signature);
}

#[test]
fn any_receive_id_and_several_can_be_accepted() {
    let outcome = |receive_ids: &[&str], receive_id: &str| {
        let sources =
            sources(vec![SourceSettings { sealed: Some(sealed(TOKEN, KEY, receive_ids)), ..app("crm") }]);
        let request = Sealer::new(TOKEN, KEY, receive_id).seal(b"<xml/>");
        post(&sources, "api", &request.query(), &request.xml()).is_ok()
    };
    assert!(outcome(&["*"], "wwAnyone") && outcome(&["*"], ""));
    assert!(outcome(&["ww1", "dk1"], "dk1") && !outcome(&["ww1", "dk1"], "ww"));
    assert!(outcome(&[""], "") && !outcome(&[""], "ww1") && !outcome(&["ww1"], ""));
}

#[test]
fn unusable_settings_are_all_reported_without_their_secrets() {
    let broken = |name: &str, token: &str, key: &str| SourceSettings {
        sealed: Some(sealed(token, key, &[CORP])),
        ..app(name)
    };
    let twin = |name: &str| SourceSettings { handler: "twins".into(), ..app(name) };
    let problems = Sources::build(vec![
        broken("a", "with blank", KEY),
        broken("b", TOKEN, "short"),
        broken("c", "", ""),
        twin("d"),
        twin("e"),
    ])
    .expect_err("problems");
    assert_eq!(problems.len(), 5, "{problems:#?}");
    for name in
        ["channel a: the Token", "channel b: the EncodingAESKey", "channel c: the Token", "channels d and e"]
    {
        assert!(problems.iter().any(|problem| problem.contains(name)), "{name}: {problems:#?}");
    }
    assert!(!problems.concat().contains("with blank") && !problems.concat().contains(KEY));
    // What is switched off may be unfinished.
    let off = sources(vec![SourceSettings { enabled: false, ..broken("a", "", "") }]);
    assert!(!off.handlers()[0].enabled);
    let refused = post(&off, "api", "", "").expect_err("refused");
    assert_eq!((refused.refusal.step, refused.status), (Step::Route, 404));
    assert!(refused.refusal.detail.contains("switched off"));
}
