//! What is asked for an endpoint, in JSON as the API and the configuration file have it.
//!
//! `{"url": …, "secret": …, "events": ["message.*"], "active": true}` is enough; everything else has a default. The
//! secret is not part of it: it is kept apart, sealed.

use serde_json::{Map, Value, json};

use super::fields::{Fields, SpecError, is_word};
use super::kind::EndpointKind;
use super::schedule::ScheduleName;
use super::wechatpadpro;
use crate::domain::filter::{Condition, Filter, KINDS_MAX, KindPattern};
use crate::domain::retry::Schedule;

/// Most addresses of one endpoint.
pub const TARGETS_MAX: usize = 10;

/// Most secrets that sign at once: the one in use and the one before it.
pub const SECRETS_MAX: usize = 2;

/// Most headers of one's own.
pub const HEADERS_MAX: usize = 10;

const URL_BYTES_MAX: usize = 2_048;
const PATHS_MAX: usize = 50;
const DAY_MS: i64 = 86_400_000;

/// One address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebTarget {
    /// Where.
    pub url: String,
    /// Its share with `weighted`.
    pub weight: u32,
}

/// Which of several addresses gets an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Each of them.
    #[default]
    All,
    /// One by chance.
    Random,
    /// One in turn, by weight.
    Weighted,
    /// The first that works.
    Failover,
}

/// How requests are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// `webhook-id`, `webhook-timestamp`, `webhook-signature`, and the plain headers beside them.
    #[default]
    Standard,
    /// `X-Webhook-Signature`, `X-Webhook-ID`, `X-Webhook-Timestamp`.
    Plain,
    /// `X-Hub-Signature-256`, `X-Hub-Signature`, `X-GitHub-Event`, `X-GitHub-Delivery`.
    GitHub,
    /// `X-Webhook-Timestamp`, and `X-Webhook-Signature` over the time, a colon and the body, as WeChatPadPro's guide
    /// has it.
    WeChatPadPro,
    /// The same without the colon, as its published receivers have it.
    WeChatPadProConcat,
}

impl Dialect {
    /// Whether it is one of WeChatPadPro's.
    pub fn is_wechatpadpro(self) -> bool {
        matches!(self, Self::WeChatPadPro | Self::WeChatPadProConcat)
    }
}

/// What the body is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PayloadForm {
    /// `{id, type, version, timestamp, source, data}`.
    #[default]
    Json,
    /// The decrypted plaintext, word for word.
    Raw,
    /// WeChatPadPro's ten flat fields, of messages only.
    WeChatPadPro,
}

/// What keeps deliveries in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderBy {
    /// The member.
    User,
    /// The group chat.
    Chat,
    /// The customer.
    ExternalContact,
    /// All events of the endpoint.
    Everything,
}

/// What a dead letter does to those behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDead {
    /// They wait until it is delivered or dropped by hand.
    #[default]
    Block,
    /// They go on.
    Skip,
}

/// Order within a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderSpec {
    /// The key.
    pub by: OrderBy,
    /// What a dead letter does.
    pub on_dead: OnDead,
}

const STRATEGIES: [(&str, Strategy); 4] = [
    ("all", Strategy::All),
    ("random", Strategy::Random),
    ("weighted", Strategy::Weighted),
    ("failover", Strategy::Failover),
];
const DIALECTS: [(&str, Dialect); 5] = [
    ("standard", Dialect::Standard),
    ("plain", Dialect::Plain),
    ("github", Dialect::GitHub),
    ("wechatpadpro", Dialect::WeChatPadPro),
    ("wechatpadpro_concat", Dialect::WeChatPadProConcat),
];
const PAYLOADS: [(&str, PayloadForm); 3] =
    [("json", PayloadForm::Json), ("raw", PayloadForm::Raw), ("wechatpadpro", PayloadForm::WeChatPadPro)];
const ORDERS: [(&str, OrderBy); 4] = [
    ("user", OrderBy::User),
    ("chat", OrderBy::Chat),
    ("external_contact", OrderBy::ExternalContact),
    ("everything", OrderBy::Everything),
];
const ON_DEAD: [(&str, OnDead); 2] = [("block", OnDead::Block), ("skip", OnDead::Skip)];

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSpec {
    /// For people.
    pub name: String,
    /// What it is.
    pub kind: EndpointKind,
    /// Where to.
    pub targets: Vec<WebTarget>,
    /// Which of them.
    pub strategy: Strategy,
    /// Which events.
    pub filter: Filter,
    /// How requests are signed.
    pub dialect: Dialect,
    /// What the body is.
    pub payload: PayloadForm,
    /// Paths in the body's `data` whose values are replaced by `***`.
    pub mask: Vec<String>,
    /// When a try is repeated, by name.
    pub schedule: ScheduleName,
    /// When a try is repeated, in own words: wins over the name.
    pub delays_ms: Vec<i64>,
    /// Longest time of one try.
    pub timeout_ms: i64,
    /// Requests under way at once.
    pub concurrency: usize,
    /// Requests a second at most; 0: no limit.
    pub rate_per_s: u32,
    /// Order within a key, if wanted.
    pub order: Option<OrderSpec>,
    /// How long an event waits before its first try.
    pub delay_ms: i64,
    /// Kinds that go before all others.
    pub urgent: Vec<KindPattern>,
    /// Headers of one's own.
    pub headers: Vec<(String, String)>,
}

impl EndpointSpec {
    /// Reads the JSON form. Addresses are read as texts: whether one may be called is not decided here.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn parse(value: &Value) -> Result<Self, SpecError> {
        let mut fields =
            Fields::of("", value).map_err(|_no_object| SpecError::new("body", "must be an object"))?;
        let name = fields.text("name", 64)?.unwrap_or_default();
        let kind = EndpointKind::read(&mut fields)?;
        let targets = targets(&mut fields)?;
        let order = order(&mut fields)?;
        let spec = Self {
            name,
            kind,
            targets,
            strategy: fields.word("strategy", &STRATEGIES)?.unwrap_or_default(),
            filter: filter(&mut fields)?,
            dialect: fields.word("dialect", &DIALECTS)?.unwrap_or_default(),
            payload: fields.word("payload", &PAYLOADS)?.unwrap_or_default(),
            mask: fields.texts("mask", PATHS_MAX, path)?,
            schedule: fields
                .word("schedule", &ScheduleName::ALL.map(|name| (name.as_str(), name)))?
                .unwrap_or_default(),
            delays_ms: delays(&mut fields)?,
            timeout_ms: fields.number("timeout_ms", 500, 15_000)?.unwrap_or(10_000),
            concurrency: count(fields.number("concurrency", 1, 64)?.unwrap_or(8)),
            rate_per_s: u32::try_from(fields.number("rate_per_s", 0, 10_000)?.unwrap_or(0)).unwrap_or(0),
            order,
            delay_ms: fields.number("delay_ms", 0, 7 * DAY_MS)?.unwrap_or(0),
            urgent: fields.texts("urgent", KINDS_MAX, KindPattern::parse)?,
            headers: headers(&mut fields)?,
        };
        if spec.payload != PayloadForm::Json && !spec.mask.is_empty() {
            return Err(SpecError::new("mask", "goes together with the payload `json` only"));
        }
        if spec.payload == PayloadForm::WeChatPadPro
            && let Err(place) = wechatpadpro::has_numbers(&spec.filter.kinds)
        {
            const REASON: &str =
                "has no type in the payload `wechatpadpro`; name kinds such as `message.text`";
            return Err(SpecError::new(format!("events[{place}]"), REASON));
        }
        if !spec.kind.is_http() {
            spec.is_not_signed()?;
        }
        fields.finish()?;
        Ok(spec)
    }

    /// What only requests over HTTP have.
    fn is_not_signed(&self) -> Result<(), SpecError> {
        const REASON: &str = "is for endpoints of the kind `http`";
        if self.dialect != Dialect::default() {
            return Err(SpecError::new("dialect", REASON));
        }
        if self.headers.is_empty() { Ok(()) } else { Err(SpecError::new("headers", REASON)) }
    }

    /// The JSON form: what [`EndpointSpec::parse`] reads, with every default written out.
    pub fn to_json(&self) -> Value {
        let words = |kinds: &[KindPattern]| kinds.iter().map(KindPattern::to_text).collect::<Vec<_>>();
        let targets: Vec<Value> =
            self.targets.iter().map(|one| json!({"url": one.url, "weight": one.weight})).collect();
        let headers: Map<String, Value> =
            self.headers.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        let mut spec = json!({
            "name": self.name,
            "targets": targets,
            "strategy": word(&STRATEGIES, self.strategy),
            "events": words(&self.filter.kinds),
            "sources": self.filter.sources,
            "match": self.filter.condition.as_ref().map(Condition::to_json),
            "dialect": word(&DIALECTS, self.dialect),
            "payload": word(&PAYLOADS, self.payload),
            "mask": self.mask,
            "schedule": self.schedule.as_str(),
            "delays_ms": self.delays_ms,
            "timeout_ms": self.timeout_ms,
            "concurrency": self.concurrency,
            "rate_per_s": self.rate_per_s,
            "order": self.order.map(|order| json!({
                "by": word(&ORDERS, order.by),
                "on_dead": word(&ON_DEAD, order.on_dead),
            })),
            "delay_ms": self.delay_ms,
            "urgent": words(&self.urgent),
            "headers": headers,
        });
        if let Some(fields) = spec.as_object_mut() {
            self.kind.write(fields);
        }
        spec
    }

    /// When a try is repeated.
    pub fn schedule(&self) -> Schedule {
        if self.delays_ms.is_empty() {
            return self.schedule.schedule();
        }
        Schedule { delays_ms: self.delays_ms.clone(), jitter_share: 0.0 }
    }
}

fn word<T: PartialEq + Copy>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, one)| *one == value).map_or("", |(word, _)| word)
}

fn count(number: i64) -> usize {
    usize::try_from(number).unwrap_or(1)
}

fn targets(fields: &mut Fields) -> Result<Vec<WebTarget>, SpecError> {
    let url = fields.text("url", URL_BYTES_MAX)?;
    let mut targets: Vec<WebTarget> = Vec::new();
    for (path, item) in fields.list("targets", TARGETS_MAX)? {
        let mut one = Fields::of(&path, &item)?;
        let url = one.text("url", URL_BYTES_MAX)?.ok_or_else(|| one.wrong("url", "is missing"))?;
        let weight = one.number("weight", 1, 1_000)?.unwrap_or(1);
        if targets.iter().any(|other| other.url == url) {
            return Err(one.wrong("url", "stands in the list twice"));
        }
        targets.push(WebTarget { url, weight: u32::try_from(weight).unwrap_or(1) });
        one.finish()?;
    }
    match (url, targets.is_empty()) {
        (Some(url), true) => Ok(vec![WebTarget { url, weight: 1 }]),
        (None, false) => Ok(targets),
        (None, true) => Err(fields.wrong("url", "is missing")),
        (Some(_), false) => Err(fields.wrong("url", "does not go together with `targets`")),
    }
}

fn filter(fields: &mut Fields) -> Result<Filter, SpecError> {
    let kinds = fields.texts("events", KINDS_MAX, KindPattern::parse)?;
    if kinds.is_empty() {
        return Err(fields.wrong("events", "must name at least one kind of event; `*` for all"));
    }
    let sources = fields.texts("sources", 100, |text| {
        if is_word(text) { Ok(text.to_owned()) } else { Err("must be the name of a channel") }
    })?;
    let condition = match fields.take("match") {
        Some(value) => Some(Condition::parse("match", &value)?),
        None => None,
    };
    Ok(Filter { kinds, sources, condition })
}

fn delays(fields: &mut Fields) -> Result<Vec<i64>, SpecError> {
    let mut delays = Vec::new();
    for (path, item) in fields.list("delays_ms", 20)? {
        let delay = item.as_i64().filter(|delay| (100..=7 * DAY_MS).contains(delay));
        delays
            .push(delay.ok_or_else(|| SpecError::new(path, "must be a whole number from 100 to 604800000"))?);
    }
    Ok(delays)
}

fn order(fields: &mut Fields) -> Result<Option<OrderSpec>, SpecError> {
    let Some(value) = fields.take("order") else { return Ok(None) };
    let mut order = Fields::of(&fields.at("order"), &value)?;
    let by = order.word("by", &ORDERS)?.ok_or_else(|| order.wrong("by", "is missing"))?;
    let on_dead = order.word("on_dead", &ON_DEAD)?.unwrap_or_default();
    order.finish()?;
    Ok(Some(OrderSpec { by, on_dead }))
}

/// Headers that the sender writes itself, or that would change what a request is.
const KEPT_HEADERS: [&str; 10] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "user-agent",
    "te",
    "upgrade",
    "trailer",
    "expect",
];

fn headers(fields: &mut Fields) -> Result<Vec<(String, String)>, SpecError> {
    let Some(value) = fields.take("headers") else { return Ok(Vec::new()) };
    let Some(map) = value.as_object() else { return Err(fields.wrong("headers", "must be an object")) };
    if map.len() > HEADERS_MAX {
        return Err(fields.wrong("headers", &format!("has more than {HEADERS_MAX} entries")));
    }
    let mut out = Vec::new();
    for (name, value) in map {
        let at = format!("headers.{name}");
        let lower = name.to_ascii_lowercase();
        let is_name = !name.is_empty()
            && name.len() <= 64
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let is_ours =
            ["webhook-", "x-webhook-", "x-hub-", "x-github-"].iter().any(|ours| lower.starts_with(ours));
        if !is_name || is_ours || KEPT_HEADERS.contains(&lower.as_str()) {
            return Err(SpecError::new(at, "cannot be set"));
        }
        let text =
            value.as_str().filter(|text| text.len() <= 512 && text.bytes().all(|b| (32..127).contains(&b)));
        let text =
            text.ok_or_else(|| SpecError::new(at, "must be a text of at most 512 printable characters"))?;
        out.push((lower, text.to_owned()));
    }
    Ok(out)
}

/// A path in `data`: `user_id`, `body.Content`.
fn path(text: &str) -> Result<String, &'static str> {
    let is_path = !text.is_empty() && text.len() <= 256 && text.split('.').all(|step| !step.is_empty());
    if is_path { Ok(text.to_owned()) } else { Err("must be a path such as `user_id` or `body.Content`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_is_enough_and_reads_back() {
        let spec =
            EndpointSpec::parse(&json!({"url": "https://a.example/hook", "events": ["message.*"]})).unwrap();
        assert_eq!(spec.targets, [WebTarget { url: "https://a.example/hook".to_owned(), weight: 1 }]);
        assert_eq!((spec.concurrency, spec.timeout_ms, spec.schedule), (8, 10_000, ScheduleName::Standard));
        assert_eq!(EndpointSpec::parse(&spec.to_json()).unwrap(), spec);
    }

    #[test]
    fn the_long_form_reads_back() {
        let long = json!({
            "name": "orders", "strategy": "weighted", "events": ["*"], "sources": ["wechat_api"],
            "targets": [{"url": "https://a.example", "weight": 5}, {"url": "https://b.example", "weight": 3}],
            "match": {"field": "user_id", "exists": true}, "dialect": "github", "mask": ["body.Content"],
            "delays_ms": [1000, 5000], "timeout_ms": 500, "concurrency": 1, "rate_per_s": 10,
            "order": {"by": "user", "on_dead": "skip"}, "delay_ms": 1000, "urgent": ["event.*"],
            "headers": {"X-Team": "orders"}
        });
        let spec = EndpointSpec::parse(&long).unwrap();
        assert_eq!(EndpointSpec::parse(&spec.to_json()).unwrap(), spec);
        assert_eq!(spec.order, Some(OrderSpec { by: OrderBy::User, on_dead: OnDead::Skip }));
        assert_eq!(spec.schedule().delay_ms(1, 0.7), Some(1_000));
    }

    #[test]
    fn each_kind_reads_back_and_has_its_own_fields() {
        let of = |more: Value| {
            let mut spec = json!({"url": "tls://a.example", "events": ["*"]});
            if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
                spec.extend(more);
            }
            EndpointSpec::parse(&spec)
        };
        for kind in [
            json!({"kind": "nats", "subject": "wecom.{kind}", "user": "gateway"}),
            json!({"kind": "redis_stream", "stream": "wecom", "max_length": 1_000}),
            json!({"kind": "mongodb", "database": "pmc_logs", "collection": "events"}),
        ] {
            let spec = of(kind.clone()).unwrap();
            assert_eq!(spec.to_json()["kind"], kind["kind"]);
            assert_eq!(EndpointSpec::parse(&spec.to_json()).unwrap(), spec);
        }
        for (wrong, field) in [
            (json!({"kind": "kafka"}), "kind"),
            (json!({"kind": "nats"}), "subject"),
            (json!({"kind": "nats", "subject": "a", "stream": "a"}), "stream"),
            (json!({"kind": "redis_stream", "stream": "a", "max_length": -1}), "max_length"),
            (json!({"kind": "nats", "subject": "a", "dialect": "github"}), "dialect"),
            (json!({"kind": "nats", "subject": "a", "headers": {"x-a": "b"}}), "headers"),
            (json!({"subject": "a"}), "subject"),
            (json!({"kind": "mongodb", "database": "a.b", "collection": "c"}), "database"),
        ] {
            assert_eq!(of(wrong.clone()).unwrap_err().field, field, "{wrong}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        let url = "https://a.example";
        let table = [
            (json!([]), "body"),
            (json!({"events": ["*"]}), "url"),
            (json!({"url": url}), "events"),
            (json!({"url": url, "events": []}), "events"),
            (json!({"url": url, "events": ["order.*"]}), "events[0]"),
            (json!({"url": url, "events": ["*", 7]}), "events[1]"),
            (json!({"url": url, "events": ["*"], "targets": [{"url": url}]}), "url"),
            (json!({"events": ["*"], "targets": [{"url": url}, {"url": url}]}), "targets[1].url"),
            (json!({"events": ["*"], "targets": [{"url": url, "weigth": 1}]}), "targets[0].weigth"),
            (json!({"events": ["*"], "targets": [{"url": url, "weight": 0}]}), "targets[0].weight"),
            (json!({"url": url, "events": ["*"], "revision": 7}), "revision"),
            (json!({"url": url, "events": ["*"], "schedule": "often"}), "schedule"),
            (json!({"url": url, "events": ["*"], "timeout_ms": 15_001}), "timeout_ms"),
            (json!({"url": url, "events": ["*"], "concurrency": 0}), "concurrency"),
            (json!({"url": url, "events": ["*"], "order": {"by": "mood"}}), "order.by"),
            (json!({"url": url, "events": ["*"], "match": {"all": [1]}}), "match.all[0]"),
            (json!({"url": url, "events": ["*"], "headers": {"Host": "x"}}), "headers.Host"),
            (json!({"url": url, "events": ["*"], "headers": {"X-A": "a\r\nb"}}), "headers.X-A"),
            (json!({"url": url, "events": ["*"], "headers": {"webhook-id": "x"}}), "headers.webhook-id"),
            (json!({"url": url, "events": ["*"], "payload": "raw", "mask": ["user_id"]}), "mask"),
            (json!({"url": url, "events": ["message.text", "*"], "payload": "wechatpadpro"}), "events[1]"),
            (json!({"url": url, "events": ["*"], "name": "a\nb"}), "name"),
            (json!({"url": "x".repeat(2_049), "events": ["*"]}), "url"),
        ];
        for (value, field) in table {
            assert_eq!(EndpointSpec::parse(&value).unwrap_err().field, field, "{value}");
        }
    }
}
