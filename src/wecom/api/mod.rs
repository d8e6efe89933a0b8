//! The platform's own API, as far as its bytes go: what is sent and how an answer reads.

pub mod answer;
pub mod callback_ip;
pub mod robot;
