//! The commands of the real binary.

#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]

use std::net::TcpListener;
use std::path::Path;

use sqlx::{AssertSqlSafe, Executor};
use wecom_gateway::store::Engine;

use crate::database::Database;
use crate::desk::{Desk, KEY, TOKEN, assert_no_secret};

#[test]
fn help_names_every_command_and_no_secret() {
    let desk = Desk::new().complete();
    let help = desk.run(&["--help"]).ok();
    for command in ["serve", "demo", "check", "migrate", "healthcheck", "openapi", "codec", "key", "dev"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} in {help}");
        assert_no_secret(&desk.run(&[command, "--help"]).ok());
    }
    for (command, subcommands) in [
        ("codec", &["seal", "open", "sign", "verify"][..]),
        ("key", &["new", "list", "revoke"]),
        ("dev", &["callback", "post", "receiver", "wecom"]),
    ] {
        for subcommand in subcommands {
            assert_no_secret(&desk.run(&[command, subcommand, "--help"]).ok());
        }
    }
}

#[test]
fn version_package_and_change_log_agree() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(Desk::new().run(&["--version"]).ok(), format!("wecom-gateway {version}\n"));
    let newest = include_str!("../../CHANGELOG.md")
        .lines()
        .find(|line| line.starts_with("## ") && *line != "## Unreleased");
    assert_eq!(newest.and_then(|line| line.split_whitespace().nth(1)), Some(version));
}

#[test]
fn check_shows_what_is_in_force_and_what_a_handshake_needs() {
    let desk = Desk::new().complete().with(&[("GATEWAY_PUBLIC_URL", "https://gateway.example.com/")]);
    let out = desk.run(&["check"]).ok();
    assert_no_secret(&out);
    for line in [
        "(built in) is right. In force:",
        "  channels.wechat_api.corp_id = ww1  (WECHAT_CORP_ID)",
        "  channels.wechat_api.secret = ***  (WECHAT_CORP_SECRET)",
        "  channels.wechat_bot.webhook_url = ***  (WECHAT_BOT_WEBHOOK_URL)",
        "  auth.api_keys = [***]  (GATEWAY_API_KEYS)",
        "  callback URL: https://gateway.example.com/api/v1/webhooks/wechat/api",
        "  callback URL: https://gateway.example.com/api/v1/webhooks/wechat/bot",
        "  EncodingAESKey: 43 characters",
        "  receive ids: `ww1`",
        "  URL verification: succeeds with these keys",
    ] {
        assert!(out.lines().any(|found| found == line), "{line:?} in {out}");
    }
}

#[test]
fn the_log_level_of_the_command_line_wins() {
    let desk = Desk::new().with(&[("LOG_LEVEL", "WARNING")]);
    let level = |arguments: &[&str]| {
        let out = desk.run(arguments).ok();
        out.lines().find_map(|line| line.strip_prefix("  logging.level = ")).map(ToOwned::to_owned)
    };
    assert_eq!(level(&["check"]).as_deref(), Some("WARNING  (LOG_LEVEL)"));
    assert_eq!(level(&["check", "--log-level", "DEBUG"]).as_deref(), Some("debug  (command line)"));
    let wrong = desk.run(&["check", "--log-level", "loud"]);
    assert!(wrong.code == 2 && wrong.err.contains("trace, debug, info, warn or error"), "{wrong:?}");
}

#[test]
fn a_dotenv_file_is_used_and_the_process_wins_over_it() {
    let desk = Desk::new().with(&[("GATEWAY_ENV", "development")]);
    desk.write(".env", "GATEWAY_ENV=production\nDATABASE_URL='sqlite:from-file.db'\n");
    let out = desk.run(&["check"]).ok();
    assert!(out.contains("service.environment = development  (GATEWAY_ENV)"), "{out}");
    assert!(out.contains("database.url = sqlite:from-file.db  (DATABASE_URL)"), "{out}");
    desk.write(".env", "hunter2\n");
    assert_eq!(desk.run(&["check"]).failed(2), "./.env:1:1: should be NAME=value");
}

#[test]
fn the_example_of_a_dotenv_file_names_every_variable_and_loads() {
    let (example, shipped) =
        (include_str!("../../.env.example"), include_str!("../../config/notification.yaml"));
    for piece in shipped.split("${").skip(1) {
        let name: String = piece.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let explained = name == "VAR" || name.is_empty();
        assert!(explained || example.contains(&format!("\n{name}=")), "{name} is missing");
    }
    let desk = Desk::new();
    desk.write(".env", example);
    assert!(desk.run(&["check"]).ok().contains("database.url = sqlite:data/gateway.db"));
}

#[test]
fn the_file_is_found_by_option_by_variable_or_in_its_usual_place() {
    let desk = Desk::new();
    let named = |name: &str| format!("service: {{name: {name}}}");
    let name = |arguments: &[&str], desk: &Desk| {
        let out = desk.run(arguments).ok();
        out.lines()
            .find_map(|line| line.strip_prefix("  service.name = "))
            .map(ToOwned::to_owned)
            .expect("a name")
    };
    assert_eq!(name(&["check"], &desk), "PMC通知服务  (line 8)");
    std::fs::create_dir(desk.folder.join("config")).expect("a folder");
    desk.write("config/notification.yaml", &named("usual"));
    assert_eq!(name(&["check"], &desk), "usual  (line 1)");
    desk.write("variable.yaml", &named("variable"));
    let desk = desk.with(&[("GATEWAY_CONFIG", "variable.yaml")]);
    assert_eq!(name(&["check"], &desk), "variable  (line 1)");
    desk.write("option.yaml", &named("option"));
    assert_eq!(name(&["check", "--config", "option.yaml"], &desk), "option  (line 1)");
    assert_eq!(name(&["--config", "option.yaml", "check"], &desk), "option  (line 1)");
}

#[test]
fn a_broken_set_up_ends_at_once_with_one_line_that_names_the_cause() {
    for (variables, yaml, command, code, expected) in [
        (
            &[][..],
            "webhook: {prot: 1}",
            "serve",
            2,
            "n.yaml:1:11: webhook.prot: unknown key; allowed here: enabled, host, port",
        ),
        (&[], "webhook: [", "check", 2, "n.yaml:"),
        (
            &[],
            "webhook: {port: 80 80}",
            "serve",
            2,
            "n.yaml:1:17: webhook.port: `80 80` should be a whole number",
        ),
        (
            &[("WECHAT_CORP_ID", "ww1"), ("WECHAT_AGENT_ID", "1")],
            "",
            "serve",
            2,
            "n.yaml:1:1: channels.wechat_api.secret: variable WECHAT_CORP_SECRET is not set",
        ),
        (
            &[("DATABASE_URL", "postgres://u:hunter2@h/d")],
            "",
            "migrate",
            2,
            "n.yaml:1:1: database.url: should be sqlite:path or mysql://",
        ),
        (
            &[("DATABASE_URL", "mysql://u:hunter2@127.0.0.1:1/d")],
            "{webhook: {port: 0}, spool: {enabled: false}}",
            "serve",
            1,
            "cannot use the database mysql://u:***@127.0.0.1:1/d: ",
        ),
        (
            &[("DATABASE_URL", "sqlite:n.yaml/x.db")],
            "webhook: {port: 0}",
            "serve",
            1,
            "cannot use the database sqlite:n.yaml/x.db: ",
        ),
    ] {
        let desk = Desk::new().with(variables);
        desk.write("n.yaml", yaml);
        let ended = desk.run(&["--config", "n.yaml", command]);
        assert!(ended.failed(code).starts_with(expected), "{expected:?}, got {ended:?}");
        assert!(ended.took_ms < 3000 && !ended.err.contains("hunter2"), "{ended:?}");
    }
    let missing = Desk::new();
    let ended = missing.run(&["--config", "nope.yaml", "serve"]);
    assert_eq!(ended.failed(2), "nope.yaml: cannot be read: No such file or directory (os error 2)");
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let desk = Desk::new();
    desk.write("n.yaml", &format!("webhook: {{host: 127.0.0.1, port: {}}}", address.port()));
    let ended = desk.run(&["--config", "n.yaml"]);
    let expected = format!(
        "cannot listen on {address}: the port is in use; stop the other program or change webhook.port"
    );
    assert_eq!(ended.failed(1), expected);
    assert!(ended.took_ms < 3000, "{ended:?}");
}

#[test]
fn several_mistakes_are_a_line_each() {
    let desk = Desk::new();
    desk.write("n.yaml", "webhook: {port: x}\nservice: {nam: x}\nredis: {url: '${A}'}");
    let ended = desk.run(&["--config", "n.yaml", "check"]);
    let lines: Vec<_> = ended.err.lines().map(|line| line.split(": ").nth(2).expect("a key")).collect();
    assert_eq!(lines, ["webhook.port", "service.nam", "redis.url"]);
}

#[test]
fn codec_seals_opens_signs_and_verifies() {
    let desk = Desk::new().complete();
    let message = "<xml><MsgType><![CDATA[text]]></MsgType><MsgId>7</MsgId></xml>";
    let sealed = desk.run_with_input(&["codec", "seal"], message).ok();
    let (query, body) = sealed.split_once('\n').expect("two lines");
    assert_eq!(desk.run_with_input(&["codec", "open", "--query", query], body).ok(), format!("{message}\n"));
    let right = desk.run_with_input(&["codec", "verify", "--query", query], body).ok();
    assert_eq!(right, format!("right: message.text, {} bytes for receive id `ww1`\n", message.len()));

    let part = |name: &str| query.split('&').find_map(|it| it.strip_prefix(name)).expect("a parameter");
    let ciphertext =
        body.split("CDATA[").nth(1).and_then(|rest| rest.split(']').next()).expect("a ciphertext");
    let (timestamp, nonce) = (part("timestamp="), part("nonce="));
    let signed =
        desk.run_with_input(&["codec", "sign", "--timestamp", timestamp, "--nonce", nonce], ciphertext);
    assert_eq!(signed.ok().trim_end(), part("msg_signature="));

    let check = desk.run_with_input(&["codec", "seal", "--url-check"], "1616140317555161061").ok();
    assert_eq!(desk.run(&["codec", "open", "--query", check.trim_end()]).ok(), "1616140317555161061\n");
}

#[test]
fn codec_says_which_part_is_wrong() {
    let desk = Desk::new().complete();
    let sealed = desk.run_with_input(&["codec", "seal"], "<xml></xml>").ok();
    let (query, body) = sealed.split_once('\n').expect("two lines");
    let verify = |desk: &Desk, more: &[&str]| {
        let arguments = [&["codec", "verify", "--query", query], more].concat();
        let ended = desk.run_with_input(&arguments, body);
        assert_no_secret(&ended.err);
        ended
    };
    let other_key = "a".repeat(43);
    for (variables, more, code, expected) in [
        (("WECHAT_TOKEN", "other"), &[][..], 1, "wrong at signature"),
        (("WECHAT_ENCODING_AES_KEY", other_key.as_str()), &[], 1, "wrong at padding"),
        (("WECHAT_ENCODING_AES_KEY", "short"), &[], 2, "the EncodingAESKey must have exactly 43 characters"),
        (("WECHAT_CORP_ID", "ww2"), &[], 1, "wrong at receive_id: the message is for receive id \"ww1\""),
        (("WECHAT_TOKEN", ""), &[], 2, "set WECHAT_TOKEN, or give --token-file or --channel"),
        (("X", "x"), &["--channel", "nobody"], 2, "there is no channel `nobody`"),
        (("X", "x"), &["--channel", "wechat_bot"], 2, "channel wechat_bot has no token and encoding_aes_key"),
    ] {
        let desk = Desk::new().complete().with(&[variables]);
        assert!(verify(&desk, more).failed(code).starts_with(expected), "{expected}");
    }
    let bare = Desk::new();
    let token = bare.write("token", &format!("{TOKEN}\n"));
    let key = bare.write("key", KEY);
    let files =
        ["--token-file", &token.display().to_string(), "--encoding-aes-key-file", &key.display().to_string()];
    assert!(verify(&bare, &files).ok().starts_with("right:"));
    assert!(verify(&desk, &["--channel", "wechat_api"]).ok().starts_with("right:"));
}

#[test]
fn openapi_is_a_document() {
    let document: serde_json::Value =
        serde_json::from_str(&Desk::new().run(&["openapi"]).ok()).expect("JSON");
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    assert!(document["paths"]["/api/v1/events"].is_object());
}

#[test]
fn keys_are_made_listed_and_revoked() {
    let desk = Desk::new().complete();
    assert_eq!(desk.run(&["key", "list"]).ok(), "there are no keys\n");
    let made =
        desk.run(&["key", "new", "--name", "console", "--role", "operator", "--source", "wechat_api"]).ok();
    let key = made.lines().next().expect("a key");
    assert!(key.starts_with("wgk_") && key.len() == 44, "{made}");
    let list = desk.run(&["key", "list"]).ok();
    assert!(list.contains(&key[..12]) && !list.contains(&key[12..]), "{list}");
    assert!(list.contains("operator") && list.contains("wechat_api") && list.contains("console"), "{list}");
    let id = list.split_whitespace().next().expect("an id");
    assert_eq!(desk.run(&["key", "revoke", id]).ok(), format!("{id} is revoked\n"));
    assert!(desk.run(&["key", "list"]).ok().contains("revoked"));
    assert_eq!(desk.run(&["key", "revoke", id]).failed(1), format!("there is no key {id} in force"));
    assert_eq!(desk.run(&["key", "revoke", "x"]).failed(2), "`x` is no key's id");
    assert_eq!(desk.run(&["key", "new", "--source", "nobody"]).failed(2), "there is no channel `nobody`");
    assert!(!stored(&desk.folder).contains(key), "only the hash is stored");
}

/// Everything in the folder's files, as text.
fn stored(folder: &Path) -> String {
    let files = std::fs::read_dir(folder).expect("the folder").flatten();
    files
        .map(|file| String::from_utf8_lossy(&std::fs::read(file.path()).unwrap_or_default()).into_owned())
        .collect()
}

#[tokio::test]
async fn a_mysql_password_may_have_any_character() {
    let database = Database::new(Engine::MySql).await;
    let url = reqwest::Url::parse(&database.url).expect("an address");
    let name = url.path().trim_start_matches('/').to_owned();
    let user = name.chars().rev().take(16).collect::<String>();
    let mut server = database.connect().await;
    for statement in [
        format!("CREATE USER '{user}'@'%' IDENTIFIED BY 'p@ss:/#%41?&w \"rd'"),
        format!("GRANT ALL ON {name}.* TO '{user}'@'%'"),
    ] {
        server.execute(AssertSqlSafe(statement)).await.expect("a user");
    }
    let desk = Desk::new().with(&[
        ("MYSQL_HOST", url.host_str().expect("a host")),
        ("MYSQL_PORT", &url.port().unwrap_or(3306).to_string()),
        ("MYSQL_USER", &user),
        ("MYSQL_PASSWORD", "p@ss:/#%41?&w \"rd"),
        ("MYSQL_DATABASE", &name),
    ]);
    let migrated = desk.run(&["migrate"]);
    let refused = desk.with(&[("MYSQL_PASSWORD", "p@ss")]).run(&["migrate"]);
    server.execute(AssertSqlSafe(format!("DROP USER '{user}'@'%'"))).await.expect("no user");
    assert!(migrated.ok().starts_with(&format!("the schema of mysql://{user}:***@")));
    assert!(refused.failed(1).starts_with(&format!("cannot use the database mysql://{user}:***@")));
}
