//! The API: what people and programs ask and order. A file for each resource.
//!
//! Handlers read a request, ask one part of the gateway, and show its answer; they decide nothing. A caller whose
//! key is for some sources sees what belongs to those, and of the rest not even that it exists.

pub(super) mod audit;
pub mod channels;
pub(super) mod deliveries;
pub(super) mod endpoint_acts;
pub(super) mod endpoints;
pub(super) mod event_stream;
pub(super) mod events;
pub(crate) mod files;
pub(super) mod handlers;
pub mod keys;
mod listing;
pub(super) mod messages;
pub(super) mod metrics;
pub(super) mod platform_addresses;
pub(super) mod rejections;
pub mod reload;
pub(super) mod replays;
pub(super) mod schemas;
pub(super) mod shadow;
pub(super) mod smart_robots;
pub mod status;
pub(super) mod suites;
pub(super) mod users;
