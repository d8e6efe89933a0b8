//! OUT to people: how messages leave through WeCom.
//!
//! A channel turns a stored body into one request and the answer into an [`crate::domain::outcome::Outcome`].
//! It knows neither tables nor queues; when and how often it is asked is decided in [`crate::dispatch`].

pub mod access_token;
pub mod gate;
pub mod response_url;
pub mod transport;
mod verdict;
pub mod wecom_app;
pub mod wecom_robot;
