//! Whom we speak to: a certificate that is not right is not spoken to.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use wecom_gateway::domain::delivery::DeliveryState;
use wecom_gateway::endpoint::guard::{Guard, GuardRules};
use wecom_gateway::endpoint::http::WebSettings;
use wecom_gateway::store::Engine;

use crate::database::Database;
use crate::forwarder::Forwarder;

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
