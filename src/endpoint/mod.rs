//! OUT to business systems: an event becomes a body, the body is signed and posted, the answer becomes an `Outcome`.
//!
//! What an address may be is decided in `guard.rs`, at the moment of connecting and not only when it is written down.

pub mod guard;
pub mod http;
pub mod payload;
pub mod schema;
pub mod signing;
