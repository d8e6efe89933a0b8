//! The requests of a run, ready to be written to a socket: making them costs nothing while the clock runs.

use std::fmt::Write;

use anyhow::{Context, ensure};

use crate::seal::{Sealed, Sealer};

/// The plaintext of a callback has about this many bytes.
const PLAINTEXT_BYTES: usize = 500;
const FILLER: &str = "关于本周项目进度的说明，请各位同事在周五下班之前确认。";

/// Where requests go.
#[derive(Clone)]
pub struct Target {
    /// `host:port`, which is also the `Host` header.
    pub authority: String,
    pub path: String,
}

impl Target {
    /// Reads `http://host:port/path`.
    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let rest = url.strip_prefix("http://").context("only http:// is spoken here")?;
        let (authority, path) = rest.split_once('/').context("the URL has no path")?;
        Ok(Self { authority: authority.to_owned(), path: format!("/{path}") })
    }
}

/// Many requests behind each other in memory.
pub struct Corpus {
    bytes: Vec<u8>,
    /// Where each request ends.
    ends: Vec<usize>,
    /// Whether a run may start again from the front. Callbacks may not: the second round would be repeats, which
    /// a gateway answers without storing anything.
    pub wraps: bool,
}

impl Corpus {
    fn new(wraps: bool) -> Self {
        Self { bytes: Vec::new(), ends: Vec::new(), wraps }
    }

    fn push(&mut self, request: &str) {
        self.bytes.extend(request.as_bytes());
        self.ends.push(self.bytes.len());
    }

    /// Request number `at`; `None` when all are used up.
    pub fn request(&self, at: usize) -> Option<&[u8]> {
        let at = if self.wraps { at % self.ends.len() } else { at };
        let end = *self.ends.get(at)?;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        Some(&self.bytes[start..end])
    }

    /// `count` text messages, each with its own `MsgId`, counted up from `seed`.
    pub fn callbacks(
        target: &Target,
        platform: &Sealer,
        corp: &str,
        count: u64,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let now = unix_seconds()?;
        let mut corpus = Self::new(false);
        let mut request = String::new();
        for number in 0..count {
            let plaintext = text_message(corp, now, seed.wrapping_add(number));
            let sealed = platform.seal(&plaintext, now, random(seed, number))?;
            let body = format!(
                "<xml><ToUserName><![CDATA[{corp}]]></ToUserName><Encrypt><![CDATA[{}]]></Encrypt>\
                 <AgentID><![CDATA[1000002]]></AgentID></xml>",
                sealed.encrypt
            );
            request.clear();
            write!(
                request,
                "POST {}?{} HTTP/1.1\r\nHost: {}\r\nUser-Agent: Mozilla/4.0\r\nAccept: */*\r\n\
                 Content-Type: text/xml\r\nContent-Length: {}\r\n\r\n{body}",
                target.path,
                signature(&sealed),
                target.authority,
                body.len()
            )?;
            corpus.push(&request);
        }
        Ok(corpus)
    }

    /// `count` URL verifications.
    pub fn handshakes(target: &Target, platform: &Sealer, count: u64, seed: u64) -> anyhow::Result<Self> {
        let now = unix_seconds()?;
        let mut corpus = Self::new(true);
        for number in 0..count {
            let sealed = platform.seal(&seed.wrapping_add(number).to_string(), now, random(seed, number))?;
            let echostr = sealed.encrypt.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
            let path = format!("{}?{}&echostr={echostr}", target.path, signature(&sealed));
            corpus.push(&get(target, &path, &[]));
        }
        Ok(corpus)
    }

    /// Plain GETs of `paths`, in a fixed disorder, so that neighbours do not share a page of the database.
    pub fn gets(target: &Target, paths: &str, headers: &[String]) -> anyhow::Result<Self> {
        let mut paths: Vec<&str> = paths.lines().filter(|line| !line.is_empty()).collect();
        ensure!(!paths.is_empty(), "no paths to ask for");
        paths.sort_by_cached_key(|path| path.bytes().fold(7, |hash, byte| mix(hash ^ u64::from(byte))));
        let mut corpus = Self::new(true);
        for path in paths {
            corpus.push(&get(target, path, headers));
        }
        Ok(corpus)
    }
}

fn get(target: &Target, path: &str, headers: &[String]) -> String {
    let mut request =
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: Mozilla/4.0\r\n", target.authority);
    for header in headers {
        request.push_str(header);
        request.push_str("\r\n");
    }
    request + "\r\n"
}

fn signature(sealed: &Sealed) -> String {
    let Sealed { msg_signature, timestamp, nonce, .. } = sealed;
    format!("msg_signature={msg_signature}&timestamp={timestamp}&nonce={nonce}")
}

fn text_message(corp: &str, now: u64, message_id: u64) -> String {
    let head = format!(
        "<xml><ToUserName><![CDATA[{corp}]]></ToUserName><FromUserName><![CDATA[user{}]]></FromUserName>\
         <CreateTime>{now}</CreateTime><MsgType><![CDATA[text]]></MsgType><Content><![CDATA[",
        message_id % 1000
    );
    let tail = format!("]]></Content><MsgId>{message_id}</MsgId><AgentID>1000002</AgentID></xml>");
    let mut plaintext = head;
    while plaintext.len() + tail.len() + FILLER.len() <= PLAINTEXT_BYTES {
        plaintext.push_str(FILLER);
    }
    while plaintext.len() + tail.len() < PLAINTEXT_BYTES {
        plaintext.push('.');
    }
    plaintext + &tail
}

fn random(seed: u64, number: u64) -> [u8; 16] {
    let first = mix(seed ^ mix(number));
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&first.to_le_bytes());
    bytes[8..].copy_from_slice(&mix(first).to_le_bytes());
    bytes
}

/// One step of `SplitMix64`.
fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn unix_seconds() -> anyhow::Result<u64> {
    Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_callback_comes_twice_and_the_end_is_the_end() -> anyhow::Result<()> {
        let target = Target::parse("http://127.0.0.1:1/a")?;
        let platform = Sealer::new("tok", "zQUMPM08HSe8jnPJjoqgA2RB19fLy0Mg1YLVUHFjxQR", "ww1234")?;
        let corpus = Corpus::callbacks(&target, &platform, "ww1234", 1000, 42)?;
        let all: std::collections::HashSet<&[u8]> = (0..1000).filter_map(|at| corpus.request(at)).collect();
        assert_eq!(all.len(), 1000);
        assert_eq!(corpus.request(1000), None);
        Ok(())
    }

    #[test]
    fn a_plaintext_has_the_size_it_should() {
        let plaintext = text_message("ww1234", 1_700_000_000, u64::MAX);
        assert_eq!(plaintext.len(), PLAINTEXT_BYTES);
        assert_ne!(plaintext, text_message("ww1234", 1_700_000_000, 1));
    }
}
