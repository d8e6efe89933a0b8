//! Seals passive replies of every padding length, in both forms, for other people's libraries to open.
//!
//! `seal_replies TOKEN ENCODING_AES_KEY RECEIVE_ID`: one JSON object a line, `{"reply": …, "plaintext": …}`.

use std::io::Write;

use anyhow::{Context, Result};
use serde_json::json;
use wecom_gateway::clock::Clock;
use wecom_gateway::entropy::Entropy;
use wecom_gateway::wecom::keys::{EncodingAesKey, Token};
use wecom_gateway::wecom::reply::{ReplySeal, seal_json, seal_xml};

const REPLIES: usize = 64;
const ALPHABET: &str = "wecom-企业微信-ß-🙂-";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &'static str| arguments.next().context(what);
    let (token, key) = (Token::parse(&next("TOKEN")?)?, EncodingAesKey::parse(&next("ENCODING_AES_KEY")?)?);
    let receive_id = next("RECEIVE_ID")?;
    let entropy = Entropy::system();
    let mut out = std::io::stdout().lock();
    for length in 1..=REPLIES {
        let plaintext: String = ALPHABET.chars().cycle().take(length).collect();
        let nonce = format!("nonce{length}");
        let seal = ReplySeal {
            token: &token,
            key: &key,
            receive_id: &receive_id,
            timestamp_s: Clock::system().wall_s(),
            nonce: &nonce,
        };
        for reply in [seal_xml, seal_json].map(|form| form(&seal, plaintext.as_bytes(), &entropy)) {
            writeln!(out, "{}", json!({ "reply": reply, "plaintext": plaintext }))?;
        }
    }
    Ok(())
}
