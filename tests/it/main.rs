//! One integration binary; a file per feature.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test says what it expects"
)]
#![expect(clippy::too_many_lines, reason = "a story is told in one piece")]
#![expect(clippy::disallowed_methods, reason = "a test waits for real things, and not for ever")]

mod alerts;
mod api;
mod app;
mod app_sends;
mod auth;
mod backup;
mod callbacks;
mod check;
mod cli;
mod compat;
mod config;
mod config_mistakes;
mod custom_source;
mod database;
mod deploy;
mod desk;
mod dispatch;
mod documents;
mod durability;
mod endpoints;
mod envelopes;
mod figures;
mod flush_order;
mod forgery;
mod forward;
mod forward_faults;
mod forward_order;
mod forward_tls;
mod forwarder;
mod fuzz_smoke;
mod gateway;
mod hangup;
mod intake;
mod keys;
mod kill;
mod kill_history;
mod ledger;
mod limits;
mod links;
mod mariadb;
mod metrics;
mod monitoring;
mod nginx;
mod openapi;
mod payloads;
mod platform_addresses;
mod privacy;
mod repeats;
mod replay;
mod rest;
mod retention;
mod rig;
mod robot;
mod robots;
mod rotation;
mod samples;
mod sealer;
mod secrets;
mod server;
mod service;
mod several_apps;
mod signatures;
mod site;
mod sources;
mod spool;
mod stop;
mod store;
mod store_open;
mod store_plans;
mod tracking;
mod vectors;
mod wire;
