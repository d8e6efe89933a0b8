//! HTTP: the accept loop, the gate every request passes, the routes.
//!
//! A connection is accepted and timed in `server.rs` and `connection.rs`; `gate.rs` decides whether a request may go
//! on, and writes out what went wrong with it; `callbacks.rs` is what the platform calls and
//! `accepted.rs` what it is answered, `api/` what people and
//! programs call with a key (`auth/`), `public.rs` what anybody may. Nothing in here knows SQL or the cipher.

mod accepted;
pub mod api;
pub mod audit;
pub mod auth;
pub mod body;
pub mod budget;
pub mod callbacks;
mod compat;
mod connection;
mod follow;
pub mod gate;
pub mod health;
mod json_body;
pub mod limits;
mod merge;
pub mod metrics;
mod minute;
pub mod openapi;
pub mod origin;
pub mod peer;
pub mod platform_addresses;
pub mod problem;
mod process;
mod progress;
mod public;
mod query;
mod rate;
pub mod rejections;
pub mod request_id;
pub mod route_class;
mod router;
pub mod server;
pub mod sharing;
pub mod spool_metrics;
pub mod state;
pub mod streams;
mod unreadable;
pub mod watch;
mod wire;

pub use gate::{Gate, GateSettings, Serves};
pub use limits::HttpLimits;
pub use router::{document, router};
pub use server::serve;
pub use state::HttpState;
