//! The OpenAPI document says what the router does, and the router does what the document says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use wecom_gateway::http::document;

use crate::rest::Rest;
use crate::site::{ADMIN, Setup, Site};

/// Twelve methods, standard and other.
const METHODS: [&str; 12] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "QUERY",
    "BREW",
];

/// Every path of the document with its methods, and a request target for it.
pub(crate) fn described() -> BTreeMap<String, BTreeSet<String>> {
    let document = serde_json::to_value(document()).expect("the document is JSON");
    let paths = document["paths"].as_object().expect("paths");
    paths
        .iter()
        .map(|(path, item)| {
            let methods = item.as_object().expect("operations").keys().map(|method| method.to_uppercase());
            (path.clone(), methods.collect())
        })
        .collect()
}

/// A request target for a path of the document.
pub(crate) fn target(path: &str) -> String {
    path.replace("{file}", "WW_verify_a.txt")
        .replace("{kind}", "wechat")
        .replace("{handler}", "api")
        .replace("{id}", "x")
        .replace("{token}", "x")
}

/// The methods that the header `Allow` names.
fn allowed(header: &str) -> BTreeSet<String> {
    header.split(',').map(|method| method.trim().to_owned()).filter(|method| method != "HEAD").collect()
}

fn site() -> Setup {
    Setup { verify_files: [("WW_verify_a.txt".to_owned(), "proof".to_owned())].into(), ..Setup::default() }
}

#[tokio::test]
async fn every_described_operation_is_there_and_no_other() {
    let mut site = Site::start(site()).await;
    site.refuse_reloads();
    let admin = Rest::new(site.address(), Some(ADMIN));
    for (path, methods) in described() {
        let target = target(&path);
        for method in METHODS {
            let answer = admin.send(method, &target, "", b"").await;
            assert_ne!(answer.status, 500, "{method} {path}");
            if methods.contains(method) || method == "HEAD" && methods.contains("GET") {
                assert_ne!(answer.status, 405, "{method} {path} is described and not there");
                continue;
            }
            assert_eq!(answer.status, 405, "{method} {path} is there and not described: {}", answer.text());
            let header = answer.header("allow").unwrap_or_else(|| panic!("{method} {path} has no Allow"));
            assert_eq!(allowed(header), methods, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn unknown_paths_are_404_for_every_method() {
    let site = Site::start(site()).await;
    let admin = Rest::new(site.address(), Some(ADMIN));
    for path in [
        "/",
        "/x",
        "//health",
        "/health/",
        "/api",
        "/api/v1/",
        "/api/v1/events/a/b",
        "/api/v1/webhooks/wechat",
        "/WW_verify_b.txt",
        "/WW_verify_a.txt/",
        "/..%2f..%2fetc%2fpasswd",
        "/api/v1/../../health",
        "/%00",
        "/*",
    ] {
        for method in METHODS {
            let answer = admin.send(method, path, "", b"").await;
            assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text());
        }
    }
    assert_eq!(admin.get("/WW_verify_a.txt").await.text(), "proof");
    assert_eq!(admin.get("/WW_verify_a.txt").await.header("content-type"), Some("text/plain; charset=utf-8"));
}

#[tokio::test]
async fn the_document_is_served_and_complete() {
    let site = Site::start(site()).await;
    let served = Rest::new(site.address(), Some(ADMIN)).json("/api/v1/openapi.json").await;
    assert_eq!(served, serde_json::to_value(document()).unwrap());
    assert!(served["openapi"].as_str().unwrap().starts_with("3.1"));
    let schemas = served["components"]["schemas"].as_object().unwrap();
    let mut referred = BTreeSet::new();
    references(&served, &mut referred);
    for name in &referred {
        assert!(schemas.contains_key(name), "{name} is referred to and not there");
    }
    for (path, item) in served["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(
                operation["summary"].as_str().is_some_and(|text| !text.is_empty()),
                "{method} {path} says nothing"
            );
            let named = path.matches('{').count();
            let parameters = operation["parameters"]
                .as_array()
                .map_or(0, |all| all.iter().filter(|parameter| parameter["in"] == "path").count());
            assert_eq!(named, parameters, "{method} {path} describes its path");
        }
    }
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if name == "$ref" {
                    let name = member.as_str().and_then(|text| text.strip_prefix("#/components/schemas/"));
                    found.insert(name.expect("a schema of this document").to_owned());
                }
                references(member, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}
