//! The platform's own API, as far as its bytes go: what is sent and how an answer reads.

pub mod answer;
pub mod app;
pub mod callback_ip;
pub mod card_change;
pub mod field;
pub mod links;
pub mod media;
pub mod passive;
pub mod recipients;
pub mod robot;
pub mod sent;
mod template_card;
pub mod token;
