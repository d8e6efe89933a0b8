//! A small HTTP/1.1 client on a plain socket: it does what it is told, also what a good client never would.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// One keep-alive connection.
pub(crate) struct Wire {
    address: SocketAddr,
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of header `name` (any letter case).
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { address, stream, buffer: Vec::with_capacity(4096) })
    }

    /// Connects from another address of this machine: 127.0.0.0/8 is all ours.
    pub(crate) async fn connect_from(source: [u8; 4], address: SocketAddr) -> std::io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((source, 0)))?;
        let stream = socket.connect(address).await?;
        Ok(Self { address, stream, buffer: Vec::with_capacity(4096) })
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Sends a POST and reads its answer.
    pub(crate) async fn post(&mut self, target: &str, body: &[u8]) -> std::io::Result<Answer> {
        self.send(&post_bytes(target, body)).await?;
        self.answer().await
    }

    /// The same as a good client does it: a connection that was closed between two requests is opened anew. On a
    /// machine that stands still for a minute every idle connection is.
    pub(crate) async fn post_again(&mut self, target: &str, body: &[u8]) -> std::io::Result<Answer> {
        self.again(&post_bytes(target, body)).await
    }

    /// The same for a GET.
    pub(crate) async fn get_again(&mut self, target: &str) -> std::io::Result<Answer> {
        self.again(format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).await
    }

    async fn again(&mut self, request: &[u8]) -> std::io::Result<Answer> {
        if self.send(request).await.is_ok() {
            match self.answer().await {
                Err(_) if self.buffer.is_empty() => {}
                answered => return answered,
            }
        }
        *self = Self::connect(self.address).await?;
        self.send(request).await?;
        self.answer().await
    }

    /// Sends a GET and reads its answer.
    pub(crate) async fn get(&mut self, target: &str) -> std::io::Result<Answer> {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).await?;
        self.answer().await
    }

    /// Reads one answer; an end before it is an error.
    pub(crate) async fn answer(&mut self) -> std::io::Result<Answer> {
        let mut answer = self.head().await?;
        let length: usize = answer.header("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
        while self.buffer.len() < length {
            self.more().await?;
        }
        answer.body = self.buffer.drain(..length).collect();
        Ok(answer)
    }

    /// Reads the head of an answer.
    pub(crate) async fn head(&mut self) -> std::io::Result<Answer> {
        let head_end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..head_end]).into_owned();
        self.buffer.drain(..head_end);
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        Ok(Answer { status, head, body: Vec::new() })
    }

    /// Waits for the other side to close; what it still says is returned.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await.is_ok() {}
        std::mem::take(&mut self.buffer)
    }

    async fn more(&mut self) -> std::io::Result<()> {
        let mut chunk = [0; 4096];
        let got = self.stream.read(&mut chunk).await?;
        if got == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend_from_slice(&chunk[..got]);
        Ok(())
    }
}

/// The bytes of a POST.
pub(crate) fn post_bytes(target: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
