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
#[cfg(feature = "mongodb")]
mod archive;
mod auth;
mod backup;
mod brokers;
mod callbacks;
mod check;
mod cli;
mod clock_jumps;
mod compat;
mod config;
mod config_mistakes;
mod custom_source;
mod database;
mod deploy;
mod desk;
mod disk_faults;
mod disk_full;
mod dispatch;
mod documents;
mod durability;
mod encryption;
mod endpoints;
mod envelopes;
mod figures;
mod flush_order;
mod forgery;
mod forward;
mod forward_faults;
mod forward_limits;
mod forward_order;
mod forward_tls;
mod forwarder;
mod fuzz_smoke;
mod gateway;
mod halts;
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
mod migration;
mod monitoring;
mod mysql_tls;
mod nginx;
mod openapi;
mod overload;
mod payloads;
mod platform_addresses;
mod privacy;
mod proxy;
mod queue_events;
mod quotas;
mod receivers;
mod redis;
mod redis_server;
mod repeats;
mod replay;
mod replicas;
mod replies;
mod rest;
mod retention;
mod rig;
mod robot;
mod robots;
mod rotation;
mod samples;
mod sealed_rows;
mod sealer;
mod secrets;
mod server;
mod service;
mod settings;
mod several_apps;
mod shadow;
mod signatures;
mod site;
mod slow_clients;
mod small_machine;
mod smart_robots;
mod sources;
mod spool;
mod stop;
mod store;
mod store_open;
mod store_plans;
mod stream;
mod streams;
mod suites;
mod tracking;
mod vectors;
mod versions;
mod wechatpadpro;
mod wire;
