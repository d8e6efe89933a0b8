//! `endpoints:` — business systems that get events. Each entry is what the API takes, with a name of its own.

use serde_json::Value as Json;

use super::Config;
use super::document::Value;
use super::problem::Place;
use super::section::Section;
use crate::domain::endpoint::{EndpointSpec, SpecError, is_word, payload_version};
use crate::endpoint::guard::{Guard, GuardRules};
use crate::endpoint::signing::SigningKey;
use crate::endpoint::stream::is_built_in;
use crate::secret::Secret;
use crate::vault::MASTER_KEY_CHARS_MIN;

/// One endpoint of the file.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// What is asked for; its name tells it from the others.
    pub spec: EndpointSpec,
    /// Its secrets: the one in use, and perhaps the one before it.
    pub secrets: Vec<Secret>,
    /// Whether it gets events.
    pub active: bool,
    /// The form of its payloads, if one is asked for.
    pub version: Option<i64>,
    place: Place,
}

const KEY: &str = "endpoints";

/// Fields whose values are numbers or yes and no.
const NUMBERS: [&str; 11] = [
    "version",
    "weight",
    "max_length",
    "timeout_ms",
    "concurrency",
    "rate_per_s",
    "delay_ms",
    "delays_ms",
    "active",
    "exists",
    "above",
];

impl EndpointConfig {
    /// An endpoint that another section asks for.
    pub(super) fn new(spec: EndpointSpec, secrets: Vec<Secret>, place: Place) -> Self {
        Self { spec, secrets, active: true, version: None, place }
    }
}

/// Reads the list; `archive` is in it beforehand.
pub(super) fn read(section: &mut Section<'_, '_>, archive: Option<EndpointConfig>) -> Vec<EndpointConfig> {
    let mut endpoints: Vec<EndpointConfig> = archive.into_iter().collect();
    let Some(node) = section.node(KEY) else {
        section.note_plain(KEY, "[]".to_owned(), None);
        return endpoints;
    };
    let items = match node.value {
        Value::Null => Vec::new(),
        Value::List(items) => items,
        Value::Text(_) | Value::Map(_) => {
            section.wrong(KEY, node.place, "should be a list".to_owned());
            return Vec::new();
        }
    };
    for (at, item) in items.into_iter().enumerate() {
        let place = item.place.clone();
        let typed = |key: &str| NUMBERS.contains(&key) || ["at_least", "below", "at_most"].contains(&key);
        let json = section.json(KEY, item, &typed);
        match endpoint(json, place.clone()) {
            Ok(one) if endpoints.iter().any(|other| other.spec.name == one.spec.name) => {
                section.wrong(&format!("{KEY}[{at}].name"), place, "stands in the list twice".to_owned());
            }
            Ok(one) => endpoints.push(one),
            Err(wrong) => section.wrong(&format!("{KEY}[{at}].{}", wrong.field), place, wrong.reason),
        }
    }
    let names: Vec<&str> = endpoints.iter().map(|one| one.spec.name.as_str()).collect();
    section.note_plain(KEY, format!("[{}]", names.join(", ")), Some(node.place.line));
    endpoints
}

/// Checks what needs the other sections: addresses and the master key.
pub(super) fn check(section: &mut Section<'_, '_>, config: &Config) {
    let guard = Guard::new(config.guard_rules());
    for endpoint in &config.endpoints {
        if let Err(why) = is_built_in(&endpoint.spec.kind) {
            let path = format!("{KEY}.{}.kind", endpoint.spec.name);
            section.wrong(&path, endpoint.place.clone(), why);
        }
        for (at, target) in endpoint.spec.targets.iter().enumerate() {
            if let Err(why) = guard.check_address(&endpoint.spec.kind, &target.url) {
                let path = format!("{KEY}.{}.targets[{at}].url", endpoint.spec.name);
                section.wrong(&path, endpoint.place.clone(), why);
            }
        }
    }
    if let Some(first) = config.endpoints.first()
        && config.endpoints.iter().any(|endpoint| !endpoint.secrets.is_empty())
        && !config.can_seal()
    {
        let what = format!(
            "needs auth.master_key (GATEWAY_MASTER_KEY) with at least {MASTER_KEY_CHARS_MIN} characters, which seals \
             the secrets of endpoints"
        );
        section.wrong(KEY, first.place.clone(), what);
    }
}

impl Config {
    /// What may be called.
    pub fn guard_rules(&self) -> GuardRules {
        GuardRules {
            development: self.service.environment == super::Deployment::Development,
            networks: self.outbound.networks.clone(),
            hosts: self.outbound.hosts.clone(),
        }
    }

    /// Whether secrets of endpoints can be sealed: with a master key, or in development without one.
    pub fn can_seal(&self) -> bool {
        let chars = self.auth.master_key.expose().chars().count();
        let is_development = self.service.environment == super::Deployment::Development;
        chars >= MASTER_KEY_CHARS_MIN || (chars == 0 && is_development)
    }
}

fn endpoint(json: Json, place: Place) -> Result<EndpointConfig, SpecError> {
    let Json::Object(mut fields) = json else { return Err(SpecError::new("", "should be a map of keys")) };
    let name = fields.get("name").and_then(Json::as_str).unwrap_or_default();
    if !is_word(name) {
        return Err(SpecError::new(
            "name",
            "should have letters, digits, `_`, `-` and `.`, at most 64 of them",
        ));
    }
    let active = match fields.remove("active") {
        None => true,
        Some(Json::Bool(flag)) => flag,
        Some(_) => return Err(SpecError::new("active", "should be true or false")),
    };
    let (newest, before) = (fields.remove("secret"), fields.remove("previous_secret"));
    let asked = fields.remove("version");
    let spec = EndpointSpec::parse(&Json::Object(fields))?;
    let version = asked.map(|asked| payload_version(Some(&asked), &spec)).transpose()?;
    let is_http = spec.kind.is_http();
    let mut secrets = Vec::new();
    for (field, value, is_needed) in [("secret", newest, is_http), ("previous_secret", before, false)] {
        match value {
            Some(Json::String(text)) if !text.is_empty() => {
                let secret = Secret::new(text);
                if is_http {
                    SigningKey::parse(&secret).map_err(|why| SpecError::new(field, why))?;
                }
                secrets.push(secret);
            }
            _ if is_needed => return Err(SpecError::new(field, "is missing")),
            _ => {}
        }
    }
    Ok(EndpointConfig { spec, secrets, active, version, place })
}
