//! The rules: values in, values out.
//!
//! What an event, a message, a status, a delivery are, and how one follows from another. Nothing here knows of
//! sockets, tables or clocks.

pub mod allowance;
pub mod api_key;
pub mod balance;
pub mod breaker;
pub mod day_quota;
pub mod delivery;
pub mod endpoint;
pub mod event;
pub mod evidence;
pub mod filter;
pub mod fold;
pub mod long_text;
pub mod member_pace;
pub mod message;
pub mod outcome;
pub mod pace;
pub mod rate;
pub mod replay;
pub mod retry;
pub mod sealed;
pub mod status;
