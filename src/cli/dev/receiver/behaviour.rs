//! What a receiver can do to its sender.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

/// How a request is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// With a status, by its number: `500`.
    Status(u16),
    /// With 429 or 503 and a `Retry-After` in seconds: `429-after-2`.
    RetryAfter(u16, u64),
    /// With a redirect to the receiver itself: `redirect-302`.
    Redirect(u16),
    /// With 200 after so many ms: `slow-300`.
    Slow(u64),
    /// With 200 and words of its own after so many ms: `says-300&body=…`.
    Says(u64, String),
    /// Not at all: `timeout`.
    Timeout,
    /// By hanging up: `close`.
    Close,
    /// With half an answer, then a reset: `cut`.
    Cut,
    /// One byte of the head a second: `header-drip`.
    HeaderDrip,
    /// One byte of the body a second: `body-drip`.
    BodyDrip,
    /// With a body that never ends: `endless-body`.
    EndlessBody,
    /// With chunks that never end: `endless-chunks`.
    EndlessChunks,
    /// With a body of 10 GB: `big-body`.
    BigBody,
    /// With bytes that say they are gzip and would unpack to more: `gzip-bomb`.
    GzipBomb,
    /// With something else than HTTP: `garbage`.
    Garbage,
    /// As HTTP/0.9 did: `http09`.
    Http09,
    /// With a head of 1 MB: `huge-headers`.
    HugeHeaders,
    /// With `100 Continue` for ever: `continue-flood`.
    ContinueFlood,
}

const WORDS: [(&str, Behaviour); 13] = [
    ("timeout", Behaviour::Timeout),
    ("close", Behaviour::Close),
    ("cut", Behaviour::Cut),
    ("header-drip", Behaviour::HeaderDrip),
    ("body-drip", Behaviour::BodyDrip),
    ("endless-body", Behaviour::EndlessBody),
    ("endless-chunks", Behaviour::EndlessChunks),
    ("big-body", Behaviour::BigBody),
    ("gzip-bomb", Behaviour::GzipBomb),
    ("garbage", Behaviour::Garbage),
    ("http09", Behaviour::Http09),
    ("huge-headers", Behaviour::HugeHeaders),
    ("continue-flood", Behaviour::ContinueFlood),
];

const DRIP: Duration = Duration::from_secs(1);
static BLOCK: [u8; 65_536] = [b'x'; 65_536];

impl Behaviour {
    /// Reads the word of `?type=`.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((_, behaviour)) = WORDS.iter().find(|(word, _)| *word == text) {
            return Some(behaviour.clone());
        }
        if let Some(status) = text.strip_prefix("redirect-") {
            return Some(Self::Redirect(status.parse().ok()?));
        }
        if let Some(ms) = text.strip_prefix("slow-") {
            return Some(Self::Slow(ms.parse().ok()?));
        }
        if let Some(ms) = text.strip_prefix("says-") {
            return Some(Self::Says(ms.parse().ok()?, String::new()));
        }
        if let Some((status, seconds)) = text.split_once("-after-") {
            return Some(Self::RetryAfter(status.parse().ok()?, seconds.parse().ok()?));
        }
        text.parse().ok().filter(|status| (200..=599).contains(status)).map(Self::Status)
    }

    /// Plays it; whether the connection can take another request.
    pub(super) async fn play(&self, stream: &mut TcpStream) -> io::Result<bool> {
        match self {
            Self::Status(status) => answer(stream, *status, "").await.map(|()| true),
            Self::RetryAfter(status, seconds) => {
                answer(stream, *status, &format!("Retry-After: {seconds}\r\n")).await.map(|()| true)
            }
            Self::Redirect(status) => {
                let place = format!("Location: http://{}/redirected\r\n", stream.local_addr()?);
                answer(stream, *status, &place).await.map(|()| true)
            }
            Self::Slow(ms) => {
                sleep(Duration::from_millis(*ms)).await;
                answer(stream, 200, "").await.map(|()| true)
            }
            Self::Says(ms, body) => {
                sleep(Duration::from_millis(*ms)).await;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await.map(|()| true)
            }
            Self::Timeout => for_ever().await,
            Self::Close => Ok(false),
            Self::Cut => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await?;
                stream.set_zero_linger()?;
                Ok(false)
            }
            Self::HeaderDrip => {
                drip(stream, b"", b"HTTP/1.1 200 OK\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").await
            }
            Self::BodyDrip => {
                drip(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", &vec![b'y'; 100_000]).await
            }
            Self::EndlessBody => flood(stream, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", &BLOCK).await,
            Self::BigBody => {
                flood(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n", &BLOCK).await
            }
            Self::EndlessChunks => {
                flood(
                    stream,
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                    &b"1\r\nz\r\n".repeat(1_000),
                )
                .await
            }
            Self::GzipBomb => {
                let bomb = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3, 0xEC, 0xC1, 1, 1, 0, 0];
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
                    bomb.len()
                );
                stream.write_all(&[head.as_bytes(), &bomb].concat()).await?;
                Ok(true)
            }
            Self::Garbage => stream.write_all(b"\x00\x01\x02 this is not HTTP\r\n\r\n").await.map(|()| false),
            Self::Http09 => stream.write_all(b"<html>hello from 1991</html>").await.map(|()| false),
            Self::HugeHeaders => {
                let line = format!("X-Long: {}\r\n", "h".repeat(8_000));
                stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
                for _ in 0..128 {
                    stream.write_all(line.as_bytes()).await?;
                }
                stream.write_all(b"Content-Length: 0\r\n\r\n").await?;
                Ok(false)
            }
            Self::ContinueFlood => flood(stream, b"", b"HTTP/1.1 100 Continue\r\n\r\n").await,
        }
    }
}

async fn answer(stream: &mut TcpStream, status: u16, headers: &str) -> io::Result<()> {
    let body = format!("answered {status}\n");
    let body = if matches!(status, 204 | 304) { "" } else { body.as_str() };
    let length = if matches!(status, 204 | 304) {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    stream.write_all(format!("HTTP/1.1 {status} Said\r\n{headers}{length}\r\n{body}").as_bytes()).await
}

async fn drip(stream: &mut TcpStream, first: &[u8], slowly: &[u8]) -> io::Result<bool> {
    stream.write_all(first).await?;
    for byte in slowly {
        stream.write_all(&[*byte]).await?;
        sleep(DRIP).await;
    }
    Ok(false)
}

async fn flood(stream: &mut TcpStream, first: &[u8], again: &[u8]) -> io::Result<bool> {
    stream.write_all(first).await?;
    loop {
        stream.write_all(again).await?;
        tokio::task::yield_now().await;
    }
}

async fn for_ever() -> io::Result<bool> {
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read() {
        assert_eq!(Behaviour::parse("500"), Some(Behaviour::Status(500)));
        assert_eq!(Behaviour::parse("429-after-2"), Some(Behaviour::RetryAfter(429, 2)));
        assert_eq!(Behaviour::parse("redirect-302"), Some(Behaviour::Redirect(302)));
        assert_eq!(Behaviour::parse("slow-300"), Some(Behaviour::Slow(300)));
        assert_eq!(Behaviour::parse("says-7"), Some(Behaviour::Says(7, String::new())));
        for (word, behaviour) in WORDS {
            assert_eq!(Behaviour::parse(word), Some(behaviour));
        }
        for text in ["", "99", "600", "slow-", "often", "x-after-1"] {
            assert_eq!(Behaviour::parse(text), None, "{text}");
        }
    }
}
