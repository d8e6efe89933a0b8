//! The protocol of WeCom callbacks: bytes in, values out.
//!
//! Nothing here does input or output, reads a clock or knows a table. What is true of a callback follows from its
//! bytes and the keys alone, so every rule can be tested with published vectors, and fuzzed.
//!
//! A callback goes through [`callback::SealedCallback`] (syntax, signature, decryption, receive id) and comes out
//! as a plaintext; [`event::read`] says what the plaintext means.

pub mod api;
pub mod callback;
pub mod cipher;
pub mod dedup;
pub mod envelope;
pub mod errcode;
pub mod event;
mod json;
pub mod keys;
mod leaf;
pub mod limits;
pub mod params;
pub mod refusal;
pub mod reply;
pub mod signature;
mod xml;
