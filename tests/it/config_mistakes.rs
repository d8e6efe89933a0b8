//! Files with mistakes, and what is said about them.

use crate::config::problems;

/// A file, and the lines that say what is wrong with it.
const MISTAKES: &[(&str, &[&str])] = &[
    (
        "service: {nam: x}",
        &["n.yaml:1:11: service.nam: unknown key; allowed here: name, version, environment"],
    ),
    (
        "databases: {}",
        &[
            "n.yaml:1:1: databases: unknown key; allowed here: mongodb, service, webhook, database, spool, redis, auth, encryption, channels, limits, logging, retention, alerts, outbound, endpoints",
        ],
    ),
    (
        "webhook:\n  port: 70000",
        &["n.yaml:2:9: webhook.port: `70000` should be a whole number from 0 to 65535"],
    ),
    (
        "webhook:\n  port: '80 80'\n  host: localhost\n  enabled: maybe",
        &[
            "n.yaml:2:9: webhook.port: `80 80` should be a whole number from 0 to 65535",
            "n.yaml:3:9: webhook.host: `localhost` should be an IP address to listen on, such as 0.0.0.0 or ::",
            "n.yaml:4:12: webhook.enabled: `maybe` should be true or false",
        ],
    ),
    ("webhook: [1]", &["n.yaml:1:10: webhook: should be a map of keys"]),
    ("webhook:\n  port: {a: 1}", &["n.yaml:2:9: webhook.port: should be a single value"]),
    (
        "webhook:\n  allow: [10.0.0.0/8, 10.0.0.0/33]",
        &["n.yaml:2:23: webhook.allow: `10.0.0.0/33` is no address or network such as 10.0.0.0/8"],
    ),
    (
        "webhook:\n  public_url: ftp://x",
        &[
            "n.yaml:2:15: webhook.public_url: `ftp://x` should be empty, or an http or https address without a query",
        ],
    ),
    (
        "encryption: {key: too-short, previous: [a key of sixteen or more, a key of sixteen or more, short]}",
        &[
            "n.yaml:1:13: encryption.key: a key should have at least 16 characters",
            "n.yaml:1:67: encryption.previous: the key 3c076cf7 stands here a second time",
            "n.yaml:1:93: encryption.previous: a key should have at least 16 characters",
        ],
    ),
    (
        "webhook:\n  verify_files: {evil.txt: x}",
        &["n.yaml:2:18: webhook.verify_files: `evil.txt` should be a name like WW_verify_0aB1.txt"],
    ),
    (
        "service: {environment: test}",
        &["n.yaml:1:24: service.environment: `test` should be production, staging or development"],
    ),
    (
        "service: {name: '${NOPE}'}\nredis: {url: '${A}${B}'}",
        &[
            "n.yaml:1:17: service.name: variable NOPE is not set",
            "n.yaml:2:14: redis.url: variable A is not set",
            "n.yaml:2:14: redis.url: variable B is not set",
        ],
    ),
    (
        "service: {name: '${NOPE'}",
        &["n.yaml:1:17: service.name: `${` has no closing `}`; write `$${` for the characters"],
    ),
    ("service: {name: a, name: b}", &["n.yaml:1:20: the key name stands here a second time"]),
    ("service:\n\tname: a", &["n.yaml:2:2: tabs disallowed within this context (block indentation)"]),
    (
        "database: {url: 'postgres://x'}",
        &["n.yaml:1:17: database.url: should be sqlite:path or mysql://user:password@host:port/name"],
    ),
    (
        "redis: {url: 'cache:6379', prefix: 'a b', timeout_ms: 9, connect_timeout_ms: 10001, share_every_ms: 19}",
        &[
            "n.yaml:1:14: redis.url: should be redis://:password@host:port",
            "n.yaml:1:36: redis.prefix: `a b` should be 1 to 64 letters, digits or any of -_.:",
            "n.yaml:1:55: redis.timeout_ms: `9` should be a whole number from 10 to 10000",
            "n.yaml:1:78: redis.connect_timeout_ms: `10001` should be a whole number from 10 to 10000",
            "n.yaml:1:101: redis.share_every_ms: `19` should be a whole number from 20 to 10000",
        ],
    ),
    ("auth: {api_keys: [short]}", &["n.yaml:1:19: auth.api_keys: a key should have at least 16 characters"]),
    (
        "retention: {events_days: 7}",
        &["n.yaml:1:26: retention.events_days: `7` should be a whole number from 8 to 36500"],
    ),
    (
        "limits:\n  callback:\n    deadline_ms: 5000",
        &["n.yaml:3:18: limits.callback.deadline_ms: `5000` should be a whole number from 100 to 4900"],
    ),
    (
        "logging: {format: xml, level: loud}",
        &[
            "n.yaml:1:19: logging.format: `xml` should be json or text",
            "n.yaml:1:31: logging.level: `loud` should be trace, debug, info, warn or error, or several such as info,http=debug",
        ],
    ),
    (
        "endpoints: [{url: x}]",
        &[
            "n.yaml:1:13: endpoints[0].name: should have letters, digits, `_`, `-` and `.`, at most 64 of them",
        ],
    ),
    (
        "channels: {'a b': {}}",
        &["n.yaml:1:12: channels: `a b` should have letters, digits, `_`, `-` and `.` only"],
    ),
    (
        "channels: {mail: {host: x}}",
        &["n.yaml:1:18: channels.mail.type: `mail` should be wechat_api or wechat_bot"],
    ),
    (
        "channels: {hr: {type: wechat_api, corp_id: ww1}}",
        &["n.yaml:1:16: channels.hr.secret: is not set", "n.yaml:1:16: channels.hr.agent_id: is not set"],
    ),
    (
        "channels: {wechat_api: {corp_id: ww1, secret: x, agent_id: one}}",
        &["n.yaml:1:60: channels.wechat_api.agent_id: should be the number of the app, such as 1000002"],
    ),
    (
        "channels: {wechat_bot: {webhook_url: 'not a url'}}",
        &[
            "n.yaml:1:38: channels.wechat_bot.webhook_url: is neither an http(s) address nor a robot's key (letters, digits, - and _)",
        ],
    ),
    (
        "channels: {wechat_bot: {webhook_url: abc, handler: verify}}",
        &[
            "n.yaml:1:52: channels.wechat_bot.handler: `verify` should be letters, digits, `_`, `-` and `.`, and not `verify`",
        ],
    ),
    (
        "channels: {wechat_bot: {webhook_url: abc, token: T0ken, encoding_aes_key: jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C, replies: [{keyword: help}]}}",
        &["n.yaml:1:130: channels.wechat_bot.replies[0].reply: is missing"],
    ),
    (
        "channels: {wechat_bot: {webhook_url: abc, token: T0ken, encoding_aes_key: jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C, replies: [{reply: {text: ''}}]}}",
        &[
            "n.yaml:1:130: channels.wechat_bot.replies[0].reply.text.content: is empty, allowed is 1 to 2048 bytes",
        ],
    ),
    (
        "channels: {wechat_bot: {webhook_url: abc, token: T0ken, encoding_aes_key: jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C, replies: [{events: mesage.text, reply: {text: a}}]}}",
        &[
            "n.yaml:1:130: channels.wechat_bot.replies[0].events: `mesage.text` is no kind of event: kinds begin with message, event, command, status, interaction, unknown or unreadable",
        ],
    ),
    (
        "channels: {wechat_bot: {webhook_url: abc, token: T0ken, encoding_aes_key: jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C, ask: {url: 'https://example.com/'}}}",
        &["n.yaml:1:125: channels.wechat_bot.ask.secret: is missing: requests are signed with it"],
    ),
    (
        "channels: {wechat_bot: {webhook_url: abc, token: T0ken, encoding_aes_key: jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C, shadow: {url: 'http://10.0.0.1/'}}}",
        &["n.yaml:1:128: channels.wechat_bot.shadow.url: must begin with https://"],
    ),
];

#[test]
fn every_mistake_is_named_with_its_line_and_key() {
    for (text, expected) in MISTAKES {
        assert_eq!(problems(text, &[]), *expected, "{text}");
    }
}
