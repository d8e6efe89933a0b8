//! Whom we speak to: a certificate that is not right is not spoken to.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use wecom_gateway::domain::delivery::DeliveryState;
use wecom_gateway::endpoint::guard::{Guard, GuardRules, Lookup};
use wecom_gateway::endpoint::http::WebSettings;
use wecom_gateway::secret::Secret;
use wecom_gateway::store::Engine;

use crate::database::Database;
use crate::forwarder::Forwarder;
use crate::mariadb::free_port;

fn file(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/it/certificates/{name}.pem", env!("CARGO_MANIFEST_DIR"))).expect("a file")
}

/// A server with the certificate `name` that answers 200 to everything it understands.
async fn server(name: &str) -> SocketAddr {
    let pem = file(name);
    let certificate = CertificateDer::from_pem_slice(&pem).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(&pem).expect("a key");
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they fit");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut read = [0; 4_096];
                let _some = stream.read(&mut read).await;
                let _sent = stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    .await;
                let _closed = stream.shutdown().await;
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_right_certificate_is_spoken_to() {
    let database = Database::new(Engine::Sqlite).await;
    let web = WebSettings { extra_roots: file("authority"), ..WebSettings::default() };
    let guard = Guard::new(GuardRules { development: true, ..GuardRules::default() });
    let rig = Forwarder::start_calling(&database, web, guard).await;
    let table = [
        ("right", DeliveryState::Succeeded),
        ("expired", DeliveryState::Dead),
        ("wrong-host", DeliveryState::Dead),
        ("unknown-authority", DeliveryState::Dead),
        ("self-signed", DeliveryState::Dead),
    ];
    for ((name, state), number) in table.into_iter().zip(0..) {
        let url = format!("https://localhost:{}/hook", server(name).await.port());
        let made = rig.endpoint(json!({"url": url, "events": ["*"], "schedule": "once"})).await;
        let id = rig.accept(rig.text("zhangsan", number)).await;
        rig.soon(name, async || rig.delivery(&id).await.due_ms.is_none()).await;
        let delivery = rig.delivery(&id).await;
        let attempts = rig.store.attempts(&delivery.id).await.expect("attempts");
        assert_eq!(delivery.state, state, "{name}: {attempts:?}");
        if state == DeliveryState::Dead {
            let error = attempts[0].error.clone().expect("it says why");
            assert!(error.starts_with("not sent: ") && error.contains("certificate"), "{name}: {error}");
        }
        rig.forwarding.remove(&made.endpoint.id).await.expect("it is removed");
    }
    rig.stop().await;
}

/// A proxy that takes `CONNECT` and leads on; the heads it was sent.
async fn proxy() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = client.read_u8().await else { return };
                    head.push(byte);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
                seen.lock().expect("lock").push(head);
                let Ok(mut server) = tokio::net::TcpStream::connect(target).await else { return };
                if client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.is_ok() {
                    let _closed = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    });
    (address, heads)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_gets_everything_and_only_names_that_the_guard_has_checked() {
    let database = Database::new(Engine::Sqlite).await;
    let (proxy, heads) = proxy().await;
    let url = format!("https://localhost:{}/hook", server("right").await.port());
    let web = || WebSettings {
        extra_roots: file("authority"),
        proxy: Secret::new(format!("http://user:hunter2hunter2@{proxy}")),
        ..WebSettings::default()
    };
    let guard = Guard::new(GuardRules { development: true, ..GuardRules::default() });
    let rig = Forwarder::start_calling(&database, web(), guard).await;
    let made = rig.endpoint(json!({"url": url, "events": ["*"], "schedule": "once"})).await;
    rig.texts("zhangsan", 0..5).await;
    rig.soon("all", async || rig.count(DeliveryState::Succeeded).await == 5).await;
    let seen = heads.lock().expect("lock").clone();
    assert_eq!(seen.len(), 5, "each connection goes through it");
    assert!(seen.iter().all(|head| head.starts_with("CONNECT localhost:")));
    assert!(seen.iter().all(|head| head.to_lowercase().contains("proxy-authorization: basic ")));
    rig.forwarding.remove(&made.endpoint.id).await.expect("it goes");
    rig.stop().await;

    // A name that leads inside is not even told to it.
    let inside: Arc<Lookup> =
        Arc::new(|_| Box::pin(async { Ok(vec!["127.0.0.1".parse().expect("an address")]) }));
    let guard = Guard::with_lookup(GuardRules::default(), inside);
    let rig = Forwarder::start_calling(&database, web(), guard).await;
    rig.endpoint(json!({"url": "https://erp.example.com/hook", "events": ["*"], "schedule": "once"})).await;
    let id = rig.accept(rig.text("zhangsan", 9)).await;
    rig.soon("the end", async || rig.delivery(&id).await.state == DeliveryState::Dead).await;
    let attempts = rig.store.attempts(&rig.delivery(&id).await.id).await.expect("attempts");
    let error = attempts[0].error.clone().expect("an error");
    assert!(error.contains("is not a public address") && !error.contains("hunter2"), "{error}");
    assert_eq!(heads.lock().expect("lock").len(), 5);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_may_speak_http2_and_gets_all_over_one_connection() {
    let pem = file("right");
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(&pem).expect("a certificate")],
            PrivateKeyDer::from_pem_slice(&pem).expect("a key"),
        )
        .expect("they fit");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (connections_too, requests_too) = (Arc::clone(&connections), Arc::clone(&requests));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, requests) = (acceptor.clone(), Arc::clone(&requests_too));
            connections_too.fetch_add(1, Ordering::AcqRel);
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service =
                    hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                        assert_eq!(request.version(), hyper::Version::HTTP_2);
                        requests.fetch_add(1, Ordering::AcqRel);
                        async move {
                            Ok::<_, std::convert::Infallible>(hyper::Response::new(axum::body::Body::empty()))
                        }
                    });
                let serving = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
                let _ended = serving.serve_connection(hyper_util::rt::TokioIo::new(stream), service).await;
            });
        }
    });
    let database = Database::new(Engine::Sqlite).await;
    let web = WebSettings { extra_roots: file("authority"), ..WebSettings::default() };
    let guard = Guard::new(GuardRules { development: true, ..GuardRules::default() });
    let rig = Forwarder::start_calling(&database, web, guard).await;
    let url = format!("https://localhost:{port}/hook");
    rig.endpoint(json!({"url": url, "events": ["*"], "concurrency": 1})).await;
    rig.texts("zhangsan", 0..50).await;
    rig.soon("all", async || rig.count(DeliveryState::Succeeded).await == 50).await;
    assert_eq!(requests.load(Ordering::Acquire), 50);
    assert_eq!(connections.load(Ordering::Acquire), 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_knows_only_tls_1_1_is_not_spoken_to() {
    let database = Database::new(Engine::Sqlite).await;
    let right = format!("{}/tests/it/certificates/right.pem", env!("CARGO_MANIFEST_DIR"));
    let web = WebSettings { extra_roots: file("authority"), ..WebSettings::default() };
    let guard = Guard::new(GuardRules { development: true, ..GuardRules::default() });
    let rig = Forwarder::start_calling(&database, web, guard).await;
    for ((version, ending), number) in
        [("-tls1_1", "not sent: "), ("-tls1_2", "answer lost: ")].into_iter().zip(0..)
    {
        let port = free_port();
        let mut old = Command::new("openssl")
            .args([
                "s_server",
                "-accept",
                &format!("127.0.0.1:{port}"),
                "-cert",
                &right,
                "-key",
                &right,
                version,
            ])
            .args(["-cipher", "ALL:@SECLEVEL=0", "-quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is installed");
        for _ in 0..500 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // It takes what is sent, and answers nothing.
        let url = format!("https://localhost:{port}/hook");
        let made =
            rig.endpoint(json!({"url": url, "events": ["*"], "schedule": "once", "timeout_ms": 2_000})).await;
        let id = rig.accept(rig.text("zhangsan", number)).await;
        rig.soon("the end", async || rig.delivery(&id).await.due_ms.is_none()).await;
        let attempts = rig.store.attempts(&rig.delivery(&id).await.id).await.expect("attempts");
        let error = attempts[0].error.clone().expect("an error");
        assert!(error.starts_with(ending), "{version}: {error}");
        rig.forwarding.remove(&made.endpoint.id).await.expect("it goes");
        let _dead_already = old.kill();
        let _reaped = old.wait();
    }
    rig.stop().await;
}
