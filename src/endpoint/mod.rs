//! OUT to business systems: an event becomes a body, the body is signed and posted, the answer becomes an `Outcome`.
//!
//! What an address may be is decided in `guard.rs`, at the moment of connecting and not only when it is written down.

mod broker;
pub mod broker_address;
#[cfg(feature = "nats")]
mod broker_tls;
pub mod guard;
pub mod http;
mod link;
#[cfg(feature = "mongodb")]
pub mod mongodb;
#[cfg(feature = "nats")]
pub mod nats;
pub mod payload;
mod payload_v2;
pub mod publication;
pub mod redis_stream;
pub mod schema;
pub mod signing;
pub mod stream;
mod wechatpadpro;
