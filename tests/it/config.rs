//! The configuration as its users write it: the shipped file, the PMC service's file, and mistakes.

use std::collections::BTreeMap;
use std::path::Path;

use wecom_gateway::config::{self, ChannelKindConfig, Config, Deployment, Environment, Origin, Problems};

pub(crate) const SHIPPED: &str = include_str!("../../config/notification.yaml");

/// The form that users of the PMC service bring along.
const PMC: &str = r#"
service:
  name: "PMC通知服务"
  version: "1.0.0"

webhook:
  enabled: true
  host: "0.0.0.0"
  port: 8080

channels:
  wechat_api:
    enabled: true
    corp_id: "${WECHAT_CORP_ID}"
    secret: "${WECHAT_CORP_SECRET}"
    agent_id: "${WECHAT_AGENT_ID}"

  wechat_bot:
    enabled: true
    webhook_url: "${WECHAT_BOT_WEBHOOK_URL}"
    secret: "${WECHAT_BOT_SECRET}"
"#;

const KEY: &str = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C";

fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Config, Problems> {
    config::parse(&"n.yaml".into(), text, &Environment::of(variables.iter().copied()))
}

pub(crate) fn load(text: &str, variables: &[(&str, &str)]) -> Config {
    parse(text, variables).unwrap_or_else(|problems| panic!("{problems}"))
}

pub(crate) fn problems(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    match parse(text, variables) {
        Ok(_) => panic!("no mistake is found in {text}"),
        Err(problems) => problems.to_string().lines().map(ToOwned::to_owned).collect(),
    }
}

const APP: [(&str, &str); 3] =
    [("WECHAT_CORP_ID", "ww1"), ("WECHAT_CORP_SECRET", "s3cret"), ("WECHAT_AGENT_ID", "1000002")];

#[test]
fn the_shipped_file_loads_with_nothing_set() {
    let config = load(SHIPPED, &[]);
    assert_eq!(config.database.url.expose(), "sqlite:data/gateway.db");
    assert_eq!(config.service.environment, Deployment::Production);
    assert!(config.channels.iter().all(|channel| !channel.enabled));
    let off = ["wechat_api", "wechat_bot"]
        .map(|name| format!("channel {name} is off: none of its variables is set"));
    assert_eq!(config.warnings, off);
}

#[test]
fn the_pmc_file_loads_as_it_stands() {
    let config = load(PMC, &[]);
    assert_eq!((config.service.name.as_str(), config.service.version.as_str()), ("PMC通知服务", "1.0.0"));
    assert!(config.channels.iter().all(|channel| !channel.enabled));

    let mut variables = APP.to_vec();
    variables.extend([("WECHAT_TOKEN", "QDG6eK"), ("WECHAT_ENCODING_AES_KEY", KEY)]);
    variables.extend([("WECHAT_BOT_WEBHOOK_URL", "693a91f6-7xxx"), ("WECHAT_BOT_SECRET", "b0t")]);
    let config = load(PMC, &variables);
    assert_eq!(config.warnings, [""; 0]);
    let [app, robot] = config.channels.as_slice() else { panic!("two channels") };
    let receive_ids = &app.sealed.as_ref().expect("keys").receive_ids;
    assert_eq!(receive_ids, &["ww1"]);
    assert!(app.enabled && robot.enabled && app.has_route() && robot.has_route());
    assert_eq!((app.handler.as_str(), robot.handler.as_str()), ("api", "bot"));
    let ChannelKindConfig::App(app) = &app.kind else { panic!("an app") };
    assert_eq!((app.corp_id.as_str(), app.agent_id, app.secret.expose()), ("ww1", Some(1_000_002), "s3cret"));
    assert_eq!(app.base_url, "https://qyapi.weixin.qq.com");
}

/// Takes the `#` from each line that begins with `#` and no blank, as an operator would.
fn uncommented() -> String {
    let uncomment = |line: &str| {
        let at = line.len() - line.trim_start().len();
        match line[at..].strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') && !rest.is_empty() => format!("{}{rest}\n", &line[..at]),
            _ => format!("{line}\n"),
        }
    };
    SHIPPED.lines().map(uncomment).collect()
}

#[test]
fn the_shipped_file_documents_every_key_with_its_default() {
    let shown = |config: &Config| -> BTreeMap<String, String> {
        config.settings.iter().map(|setting| (setting.path.clone(), setting.shown.clone())).collect()
    };
    let (all, none) = (load(&uncommented(), &[]), load("", &[]));
    assert_eq!(shown(&all), shown(&none));
    assert_eq!(shown(&all), shown(&load(SHIPPED, &[])));
    let left_out: Vec<_> = all.settings.iter().filter(|setting| setting.origin == Origin::Default).collect();
    assert!(left_out.is_empty(), "the shipped file does not name {left_out:?}");
    assert!(shown(&all).len() > 60);
}

#[test]
fn a_channel_with_some_variables_missing_names_each() {
    assert_eq!(
        problems(PMC, &[("WECHAT_CORP_ID", "ww1"), ("WECHAT_TOKEN", "QDG6eK"), ("WECHAT_BOT_SECRET", "s")]),
        [
            "n.yaml:13:5: channels.wechat_api.encoding_aes_key: variable WECHAT_ENCODING_AES_KEY is not set",
            "n.yaml:15:13: channels.wechat_api.secret: variable WECHAT_CORP_SECRET is not set",
            "n.yaml:16:15: channels.wechat_api.agent_id: variable WECHAT_AGENT_ID is not set",
            "n.yaml:20:18: channels.wechat_bot.webhook_url: variable WECHAT_BOT_WEBHOOK_URL is not set",
        ]
    );
}

#[test]
fn a_channel_without_callback_keys_sends_and_says_so() {
    for text in [SHIPPED, PMC] {
        let config = load(text, &APP);
        let app = &config.channels[0];
        assert!(app.enabled && app.can_send() && !app.has_route());
        assert_eq!(
            config.warnings[0],
            "channel wechat_api has no callback route: its token and encoding_aes_key are not set"
        );
    }
}

#[test]
fn a_channel_that_is_off_needs_no_variables_but_no_unknown_keys_either() {
    let off = "channels: {wechat_api: {enabled: false, corp_id: '${NOPE}', token: '${NOPE}'}, wechat_bot: {enabled: off}}";
    let config = load(off, &[("WECHAT_CORP_ID", "ww1")]);
    assert!(config.channels.iter().all(|channel| !channel.enabled) && config.warnings.is_empty());
    let typo = "channels: {wechat_bot: {enabled: false, tokem: x}}";
    assert_eq!(
        problems(typo, &[]),
        [
            "n.yaml:1:41: channels.wechat_bot.tokem: unknown key; allowed here: type, enabled, handler, webhook_url, secret, token, encoding_aes_key, receive_ids, callback_window_ms, previous, replies, ask, shadow"
        ]
    );
}

#[test]
fn a_part_left_empty_on_purpose_is_no_mistake() {
    let text = format!(
        "channels: {{in: {{type: wechat_api, corp_id: ww1, secret: '', agent_id: '', token: QDG6eK, encoding_aes_key: {KEY}}}}}"
    );
    let config = load(&text, &[]);
    assert!(config.channels[0].has_route() && !config.channels[0].can_send());
    assert_eq!(config.warnings, ["channel in cannot send: its keys for sending are left empty"]);
}

#[test]
fn several_channels_of_a_type_have_names_of_their_own() {
    let text = format!(
        "channels:
  hr: {{type: wechat_api, corp_id: ww1, secret: x, agent_id: 1, token: tok1, encoding_aes_key: {KEY},
       receive_ids: [ww1, ww2], callback_window_ms: 600000, previous: {{token: old1, encoding_aes_key: {KEY}}}}}
  ops: {{type: wechat_bot, webhook_url: 'https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=abc', handler: ops}}"
    );
    let config = load(&text, &APP);
    let [hr, ops] = config.channels.as_slice() else { panic!("two channels") };
    assert_eq!((hr.name.as_str(), hr.handler.as_str()), ("hr", "api"));
    assert_eq!((ops.name.as_str(), ops.handler.as_str()), ("ops", "ops"));
    let sealed = hr.sealed.as_ref().expect("keys");
    assert_eq!(sealed.window_ms, 600_000);
    assert!(sealed.previous.is_some());
    assert_eq!(sealed.receive_ids, ["ww1", "ww2"]);
}

#[test]
fn channels_that_nothing_tells_apart_are_a_mistake() {
    let app = format!(
        "type: wechat_api, corp_id: ww1, secret: x, agent_id: 1, token: tok1, encoding_aes_key: {KEY}"
    );
    let text = format!("channels: {{a: {{{app}}}, b: {{{app}}}}}");
    let found = problems(&text, &[]);
    assert!(
        found.len() == 1 && found[0].starts_with("n.yaml: channels: channels a and b share the handler"),
        "{found:?}"
    );
    assert!(load(&text.replace("b: {", "b: {handler: other, "), &[]).channels[1].has_route());
}

#[test]
fn the_form_of_callback_keys_is_checked() {
    let text = "channels: {wechat_bot: {webhook_url: abc, token: 'a b', encoding_aes_key: short, previous: {token: 'old!'}}}";
    assert_eq!(
        problems(text, &[]),
        [
            "n.yaml:1:50: channels.wechat_bot.token: the Token may hold letters, digits, `_` and `-` only; character 2 is another",
            "n.yaml:1:75: channels.wechat_bot.encoding_aes_key: the EncodingAESKey must have exactly 43 characters, this one has 5",
            "n.yaml:1:100: channels.wechat_bot.previous.token: the Token may hold letters, digits, `_` and `-` only; character 4 is another",
        ]
    );
}

#[test]
fn the_database_is_taken_from_mysql_variables_when_there_is_a_host() {
    let mysql = [
        ("MYSQL_HOST", "db.internal"),
        ("MYSQL_PORT", "3307"),
        ("MYSQL_USER", "pmc_user"),
        ("MYSQL_PASSWORD", "p@ss:/#%w?rd"),
        ("MYSQL_DATABASE", "pmc_webhook"),
    ];
    let config = load(SHIPPED, &mysql);
    assert_eq!(
        config.database.url.expose(),
        "mysql://pmc_user:p%40ss%3A%2F%23%25w%3Frd@db.internal:3307/pmc_webhook"
    );
    let shown = config.settings.iter().find(|setting| setting.path == "database.url").expect("noted");
    assert_eq!(shown.shown, "mysql://pmc_user:***@db.internal:3307/pmc_webhook");
    assert_eq!(shown.origin, Origin::Variables(vec!["MYSQL_HOST".into()]));

    let with = |more: &[(&'static str, &'static str)]| [&mysql[..], more].concat();
    let tls = load(SHIPPED, &with(&[("MYSQL_SSL_CA", "/etc/db ca.pem")]));
    assert!(
        tls.database.url.expose().ends_with("/pmc_webhook?ssl-mode=VERIFY_CA&ssl-ca=%2Fetc%2Fdb%20ca.pem")
    );
    let tls = load(
        SHIPPED,
        &with(&[("MYSQL_SSL_MODE", "REQUIRED"), ("MYSQL_SSL_CERT", "c"), ("MYSQL_SSL_KEY", "k")]),
    );
    assert!(tls.database.url.expose().ends_with("/pmc_webhook?ssl-mode=REQUIRED&ssl-cert=c&ssl-key=k"));
    let problem = problems(SHIPPED, &with(&[("MYSQL_SSL_MODE", "verify")]));
    assert!(problem[0].ends_with("variable MYSQL_SSL_MODE should be one of DISABLED, PREFERRED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY"), "{problem:?}");

    let mut both = mysql.to_vec();
    both.push(("DATABASE_URL", "sqlite:/tmp/x.db"));
    assert_eq!(load(SHIPPED, &both).database.url.expose(), "sqlite:/tmp/x.db");
    let line = 1 + SHIPPED.lines().position(|line| line.contains("${DATABASE_URL")).expect("it is there");
    assert_eq!(
        problems(SHIPPED, &[("MYSQL_HOST", "db"), ("MYSQL_PORT", "x")]),
        [
            format!("n.yaml:{line}:8: database.url: variable MYSQL_USER is not set, but MYSQL_HOST is"),
            format!("n.yaml:{line}:8: database.url: variable MYSQL_DATABASE is not set, but MYSQL_HOST is"),
            format!("n.yaml:{line}:8: database.url: variable MYSQL_PORT should be a port number"),
        ]
    );
}

#[test]
fn redis_is_taken_from_its_variables() {
    assert_eq!(load(SHIPPED, &[]).redis.url, None);
    let config = load(SHIPPED, &[("REDIS_HOST", "cache"), ("REDIS_PASSWORD", "a@b")]);
    assert_eq!(config.redis.url.expect("set").expose(), "redis://:a%40b@cache:6379");
    let config = load(SHIPPED, &[("REDIS_HOST", "cache"), ("REDIS_URL", "redis://other")]);
    assert_eq!(config.redis.url.expect("set").expose(), "redis://other");
    let config = load(SHIPPED, &[("REDIS_HOST", "::1"), ("REDIS_PORT", "7000")]);
    assert_eq!(config.redis.url.expect("set").expose(), "redis://[::1]:7000");
    let at_the_edge =
        "redis: {timeout_ms: 10, connect_timeout_ms: 10000, share_every_ms: 20, prefix: a-b_c.d:e}";
    assert_eq!(load(at_the_edge, &[]).redis.prefix, "a-b_c.d:e");
}

#[test]
fn an_archive_is_taken_from_the_variables_of_mongodb() {
    let variables = [("MONGODB_HOST", "mongo"), ("MONGODB_PORT", "27018"), ("MONGODB_DATABASE", "logs")];
    let config = load(SHIPPED, &variables);
    if cfg!(feature = "mongodb") {
        assert_eq!(config.endpoints.len(), 1);
        assert!(!config.warnings.join("\n").contains("MONGODB"), "{:?}", config.warnings);
        let spec = config.endpoints[0].spec.to_json();
        let url = spec["targets"][0]["url"].as_str();
        assert_eq!((url, spec["name"].as_str()), (Some("mongodb://mongo:27018"), Some("mongodb")));
        assert_eq!((spec["database"].as_str(), spec["collection"].as_str()), (Some("logs"), Some("events")));
        assert_eq!(spec["events"], serde_json::json!(["*"]));
    } else {
        assert_eq!(config.endpoints.len(), 0);
        assert!(config.warnings.join("\n").contains("MONGODB_HOST) is set, but"), "{:?}", config.warnings);
    }
    assert_eq!(load(SHIPPED, &[]).endpoints.len(), 0);
    let alone = problems(SHIPPED, &[("MONGODB_HOST", "mongo"), ("MONGODB_USER", "gateway")]);
    assert!(alone.len() == 1 && alone[0].contains("mongodb.user: goes together with"), "{alone:?}");
    let strange = problems(SHIPPED, &[("MONGODB_HOST", "a b/c"), ("MONGODB_PORT", "x")]);
    assert!(strange.iter().any(|one| one.contains("mongodb.port")), "{strange:?}");
}

#[test]
fn a_variable_cannot_add_yaml_nor_show_itself() {
    let hostile = "s3cr:et #\"x\nwebhook: {port: 1}\n${WECHAT_CORP_ID}";
    let config = load("service: {name: '${NAME}'}", &[("NAME", hostile)]);
    assert_eq!(config.service.name, hostile);
    assert_eq!(config.webhook.port, 8080);
    assert_eq!(
        problems(
            "webhook: {port: '${PORT}', allow: '${NETS}'}\ndatabase: {url: '${URL}'}",
            &[("PORT", "hunter2"), ("NETS", "10.0.0.0/8"), ("URL", "hunter2"),]
        ),
        [
            "n.yaml:1:17: webhook.port: `${PORT}` should be a whole number from 0 to 65535",
            "n.yaml:2:17: database.url: should be sqlite:path or mysql://user:password@host:port/name",
        ]
    );
}

#[test]
fn scalars_are_what_their_key_asks_for() {
    let config = load(
        "service: {name: no, version: 1.10}\nwebhook: {enabled: no, port: '${PORT}', trusted_proxies: '${PROXIES}'}",
        &[("PORT", "0"), ("PROXIES", "127.0.0.1, 10.1.2.3/8")],
    );
    assert_eq!((config.service.name.as_str(), config.service.version.as_str()), ("no", "1.10"));
    assert!(!config.webhook.enabled && config.webhook.port == 0);
    let shown: Vec<String> = config.webhook.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["127.0.0.1/32", "10.0.0.0/8"]);
    let literal = load("service: {name: '$${WECHAT_CORP_ID}'}", &APP);
    assert_eq!(literal.service.name, "${WECHAT_CORP_ID}");
}

#[test]
fn a_lease_outlives_the_longest_attempt() {
    let limits = |lease_ms: u32, attempt_ms: u32| {
        format!(
            "limits: {{dispatch: {{lease_ms: {lease_ms}}}, attempt: {{attempt_timeout_ms: {attempt_ms}}}}}"
        )
    };
    assert_eq!(load(&limits(30_000, 10_000), &[]).limits.dispatch.lease_ms, 30_000);
    assert_eq!(
        problems(&limits(30_000, 10_001), &[]),
        [
            "n.yaml:1:9: limits.dispatch.lease_ms: should be at least 30003, three times attempt.attempt_timeout_ms"
        ]
    );
}

#[test]
fn no_secret_is_shown() {
    let mut variables = APP.to_vec();
    variables.extend([
        ("WECHAT_TOKEN", "c4nary"),
        ("WECHAT_ENCODING_AES_KEY", KEY),
        ("WECHAT_BOT_WEBHOOK_URL", "c4nary-robot"),
        ("WECHAT_BOT_SECRET", "c4nary"),
        ("GATEWAY_API_KEYS", "c4nary-c4nary-c4nary, c4nary-c4nary-c4nary"),
        ("GATEWAY_MASTER_KEY", "c4nary-c4nary-c4nary"),
        ("DATABASE_URL", "mysql://u:c4nary@h/d"),
        ("REDIS_URL", "redis://:c4nary@h"),
    ]);
    let config = load(SHIPPED, &variables);
    assert_eq!(config.auth.api_keys.len(), 2);
    let printed = format!("{config:?}");
    assert!(
        !printed.contains("c4nary") && !printed.contains("s3cret") && !printed.contains(KEY),
        "{printed}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let problems =
        config::load(Path::new("/nonexistent/n.yaml"), &Environment::default()).expect_err("no file");
    assert_eq!(
        problems.to_string(),
        "/nonexistent/n.yaml: cannot be read: No such file or directory (os error 2)"
    );
}
