//! very many slow connections, to the gateway and to nginx in front of it: heads and bodies that drip, silence,
//! answers that are not read. Good callbacks are answered all the time, and every slow connection is closed in the end.
//!
//! `R12_CONNECTIONS` says how many (default 800; in full 10,000, which needs as many files twice). A
//! quarter of them goes through nginx: 40,000 for 10,000 there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::gateway::{Gateway, Platform, Setup, text_message};
use crate::proxy::{API, Nginx, upstream_of};
use crate::wire::Wire;

/// The platform gives up after 5 s.
const PATIENCE: Duration = Duration::from_millis(4_500);

/// Slow connections from one address of this machine.
const PER_ADDRESS: usize = 500;

#[derive(Clone, Copy, Debug)]
enum Slow {
    /// A line of the head every two seconds.
    Head,
    /// A byte of the body every two seconds.
    Body,
    /// One request, and then nothing.
    Idle,
    /// Many requests, and no answer is read.
    Deaf,
}

/// One in seven costs the gateway an answer of many kilobytes before it is slow.
const ALL: [Slow; 7] = [Slow::Head, Slow::Body, Slow::Idle, Slow::Head, Slow::Body, Slow::Idle, Slow::Deaf];

fn connections() -> usize {
    std::env::var("R12_CONNECTIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(800)
}

fn setup() -> Setup {
    Setup {
        webhook: "trusted_proxies: [127.0.0.1], ".to_owned(),
        extra: "limits: { http: { connections_max: 12000, idle_timeout_ms: 15000, api_rate_per_address_per_s: 0 } }\n".to_owned(),
        ..Setup::default()
    }
}

/// A connection from one of our many addresses; a deaf one has hardly any room for answers.
async fn connect(number: usize, slow: Slow, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if matches!(slow, Slow::Deaf) {
        socket.set_recv_buffer_size(2_048)?;
    }
    let host = u8::try_from(2 + number / PER_ADDRESS).expect("few addresses");
    socket.bind(SocketAddr::from(([127, 0, 1, host], 0)))?;
    socket.connect(to).await
}

/// Behaves as `slow` says until it cannot write any more.
async fn torment(slow: Slow, stream: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    let (first, drip) = match slow {
        Slow::Head => (format!("POST {API} HTTP/1.1\r\nHost: localhost\r\n"), "X-More: 1\r\n"),
        Slow::Body => {
            (format!("POST {API}?a=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"), "x")
        }
        Slow::Idle => ("GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), ""),
        Slow::Deaf => ("GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(8), ""),
    };
    stream.write_all(first.as_bytes()).await?;
    stream.flush().await?;
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        stream.write_all(drip.as_bytes()).await?;
        stream.flush().await?;
    }
}

fn files_of(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count()
}

fn rss_kib(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).expect("its memory")
}

/// One good callback after the other until `stop`; how long each took.
async fn good_traffic(mut post: impl AsyncFnMut(u64) -> u16, stop: CancellationToken) -> Vec<Duration> {
    let mut took = Vec::new();
    let mut id = 0;
    while !stop.is_cancelled() {
        id += 1;
        let begun = Instant::now();
        let status = tokio::time::timeout(PATIENCE, post(id)).await.expect("before the platform gives up");
        assert_eq!(status, 200, "good callback {id}");
        took.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    took.sort_unstable();
    took
}

fn target_of(id: u64) -> (String, String) {
    let (query, body) = Platform::app().seal(&text_message("zhangsan", id, "beside slow ones"));
    (format!("{API}?{query}"), body)
}

/// Waits until `pid` has closed what it had opened for the slow ones.
async fn closes_all(pid: u32, before: usize) -> Duration {
    let begun = Instant::now();
    while files_of(pid) > before + 20 {
        assert!(begun.elapsed() < Duration::from_mins(2), "{} files are open, {before} were", files_of(pid));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_connections_are_closed_and_good_callbacks_do_not_notice() {
    let gateway = Gateway::start("slow", setup());
    let (address, pid, count) = (gateway.address(), gateway.pid(), connections());
    let (files, memory_kib) = (files_of(pid), rss_kib(pid));
    let stop = CancellationToken::new();
    let good = tokio::spawn(good_traffic(
        async move |id| {
            let (target, body) = target_of(id);
            let mut wire = Wire::connect(address).await.expect("connects");
            wire.post(&target, body.as_bytes()).await.expect("an answer").status
        },
        stop.clone(),
    ));
    let mut slow = tokio::task::JoinSet::new();
    for (number, kind) in ALL.into_iter().cycle().take(count).enumerate() {
        let mut stream = connect(number, kind, address).await.expect("it accepts");
        slow.spawn(async move {
            let _closed = torment(kind, &mut stream).await;
            // Kept: it is the gateway that has to close.
            std::future::pending::<()>().await;
        });
    }
    // Nearly all of them at once: the first heads are overdue after ten seconds.
    let begun = Instant::now();
    let (mut most, mut peak_kib) = (0, 0);
    while most < files + count * 9 / 10 && begun.elapsed() < Duration::from_secs(8) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        (most, peak_kib) = (most.max(files_of(pid)), peak_kib.max(rss_kib(pid)));
    }
    let closed = closes_all(pid, files).await;
    stop.cancel();
    let took = good.await.expect("good callbacks are answered");
    let each_kib = peak_kib.saturating_sub(memory_kib) / count;
    eprintln!(
        "{count} slow connections, {most} files at once: closed {closed:?} after the last came, {each_kib} KiB each; {} good callbacks, p99 {:?}",
        took.len(),
        took[took.len() * 99 / 100]
    );
    assert!(each_kib < 100, "{each_kib} KiB for each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_connections_end_at_nginx_and_never_reach_the_gateway() {
    let gateway = Gateway::start("slow-nginx", setup());
    let nginx = Nginx::start(&upstream_of(&[gateway.address().port()]));
    let count = connections() / 4;
    let address = SocketAddr::from(([127, 0, 0, 1], nginx.port()));
    let (files, proxy_files) = (files_of(gateway.pid()), files_of(nginx.pid()));
    let stop = CancellationToken::new();
    let (client, url) = (nginx.client(), nginx.url());
    let good = tokio::spawn(good_traffic(
        async move |id| {
            let (query, body) = Platform::app().seal(&text_message("zhangsan", id, "beside slow ones"));
            client
                .post(format!("{url}?{query}"))
                .body(body)
                .send()
                .await
                .expect("an answer")
                .status()
                .as_u16()
        },
        stop.clone(),
    ));
    let tls = tls_of(&nginx);
    let mut slow = tokio::task::JoinSet::new();
    for (number, kind) in
        [Some(Slow::Head), Some(Slow::Body), None].into_iter().cycle().take(count).enumerate()
    {
        let mut stream = connect(number, Slow::Head, address).await.expect("it accepts");
        let tls = tls.clone();
        slow.spawn(async move {
            // Some never say a word, the others do so by TLS.
            let Some(kind) = kind else {
                let _closed = stream.read(&mut [0]).await;
                return std::future::pending::<()>().await;
            };
            let name = rustls::pki_types::ServerName::from(std::net::IpAddr::from([127, 0, 0, 1]));
            let mut stream = tls.connect(name, stream).await.expect("a handshake");
            let _closed = torment(kind, &mut stream).await;
            std::future::pending::<()>().await;
        });
    }
    let reached = files_of(gateway.pid()).saturating_sub(files);
    // Bodies may drip: nginx bounds the time between two bytes. It holds them alone, until their clients go.
    let closed = closes_all(nginx.pid(), proxy_files + count / 3).await;
    slow.shutdown().await;
    closes_all(nginx.pid(), proxy_files).await;
    stop.cancel();
    let took = good.await.expect("good callbacks are answered");
    eprintln!(
        "{count} slow connections to nginx: closed {closed:?} after the last came, {reached} connections to the gateway; {} good callbacks, p99 {:?}",
        took.len(),
        took[took.len() * 99 / 100]
    );
    // nginx keeps what it has of a request until it has all.
    assert!(reached < 20, "{reached} connections to the gateway");
}

/// A client that trusts nginx's certificate.
fn tls_of(nginx: &Nginx) -> tokio_rustls::TlsConnector {
    use rustls::pki_types::pem::PemObject as _;
    let _chosen_before = rustls::crypto::ring::default_provider().install_default();
    let file = nginx.folder().join("fullchain.pem");
    let certificate = rustls::pki_types::CertificateDer::from_pem_file(file).expect("a certificate");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).expect("a root");
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    tokio_rustls::TlsConnector::from(Arc::new(config))
}
