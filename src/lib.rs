//! wecom-gateway: durable, signed, tracked callbacks of WeChat Work (企业微信, WeCom).
//!
//! The tree is the table of contents; `ARCHITECTURE.md` draws it. The import rule, kept by `tests/tidy.rs`: `wecom`
//! and `domain` are pure (no runtime, no SQL, no HTTP, no time); `store` alone speaks SQL; axum stands only in
//! `http` and `cli/dev`; an HTTP client only where something goes out; `app` alone may name everything.

pub mod app;
pub mod channel;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dispatch;
pub mod domain;
pub mod endpoint;
pub mod entropy;
pub mod ephemeral;
pub mod forwarding;
pub mod http;
pub mod ids;
pub mod intake;
pub mod messages;
pub mod privacy;
pub mod replies;
pub mod sabotage;
pub mod seals;
pub mod secret;
pub mod shadow;
pub mod source;
pub mod spool;
pub mod store;
pub mod telemetry;
pub mod tracker;
pub mod upkeep;
pub mod vault;
pub mod wecom;
