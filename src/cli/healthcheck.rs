//! `healthcheck`: asks the gateway on this machine; the answer is the exit code.
//!
//! For containers, whose images have no curl. Plain sockets: it runs every few seconds and should cost nothing.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::CommandError;
use crate::config::Config;

/// Asks `/health` at the configured port.
///
/// # Errors
/// If nobody answers within 3 s, or the answer is not 200.
pub fn run(config: &Config) -> Result<(), CommandError> {
    let address = SocketAddr::new(reachable(config.webhook.host), config.webhook.port);
    match ask(address) {
        Ok(status) if status == "200" => Ok(()),
        Ok(status) => Err(CommandError::Failed(format!("{address} answers {status}"))),
        Err(error) => Err(CommandError::Failed(format!("{address} does not answer: {error}"))),
    }
}

/// The address under which a listener on `host` is reached from this machine.
fn reachable(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    }
}

/// The status of `GET /health`, three digits.
fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    // "HTTP/1.1 200"
    let mut line = [0; 12];
    stream.read_exact(&mut line)?;
    let line = String::from_utf8_lossy(&line);
    let not_http = || std::io::Error::new(std::io::ErrorKind::InvalidData, "something that is not HTTP");
    line.strip_prefix("HTTP/1.1 ").map(ToOwned::to_owned).ok_or_else(not_http)
}

const TIMEOUT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_host_is_asked_on_loopback() {
        for (host, asked) in [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.1.2.3", "10.1.2.3")] {
            assert_eq!(reachable(host.parse().unwrap()).to_string(), asked);
        }
    }
}
