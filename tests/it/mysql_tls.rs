//! TLS to MySQL: a certificate that cannot be checked is not spoken to, and a server may insist on TLS.

use wecom_gateway::clock::Clock;
use wecom_gateway::entropy::Entropy;
use wecom_gateway::ids::IdMaker;
use wecom_gateway::secret::Secret;
use wecom_gateway::store::{Store, StoreError, StoreSettings};

use crate::gateway::{Gateway, Platform, Setup, text_message};
use crate::mariadb::Server;
use crate::rest::Rest;

fn certificate(name: &str) -> String {
    format!("{}/tests/it/certificates/{name}.pem", env!("CARGO_MANIFEST_DIR"))
}

/// A server with the certificate `name` that takes nothing but TLS.
async fn server(name: &str) -> Server {
    let path = certificate(name);
    let (cert, key) = (format!("--ssl-cert={path}"), format!("--ssl-key={path}"));
    Server::start(&[&cert, &key, "--require-secure-transport=ON"]).await
}

async fn open(url: &str) -> Result<(), StoreError> {
    let clock = Clock::system();
    let ids = IdMaker::new(clock.clone(), Entropy::system());
    Store::open(&StoreSettings::new(Secret::new(url)), clock, ids).await?.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_certificate_that_can_be_checked_is_spoken_to() {
    let authority = certificate("authority");
    let verified = format!("ssl-mode=VERIFY_IDENTITY&ssl-ca={authority}");
    let (right, wrong) = (server("right").await, server("unknown-authority").await);
    let url = |server: &Server, query: &str| {
        format!("{}?{query}", server.url("gateway").replace("127.0.0.1", "localhost"))
    };
    open(&url(&right, &verified)).await.expect("it is the right one");
    open(&url(&right, &verified).replace("localhost", "127.0.0.1")).await.expect_err("another name");
    open(&url(&right, "ssl-mode=DISABLED")).await.expect_err("the server insists on TLS");
    open(&url(&wrong, &verified)).await.expect_err("nobody vouches for it");
    open(&url(&wrong, "ssl-mode=REQUIRED")).await.expect("encrypted, and not checked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_variables_lead_to_a_server_by_tls() {
    let server = server("right").await;
    let port = server.url("").trim_end_matches('/').rsplit(':').next().expect("a port").to_owned();
    let variables = [
        ("MYSQL_HOST", "localhost".to_owned()),
        ("MYSQL_PORT", port),
        ("MYSQL_USER", "root".to_owned()),
        ("MYSQL_DATABASE", "gateway".to_owned()),
        ("MYSQL_SSL_MODE", "VERIFY_IDENTITY".to_owned()),
        ("MYSQL_SSL_CA", certificate("authority")),
    ];
    let environment = variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let setup = Setup {
        database_url: "${DATABASE_URL:-}".to_owned(),
        extra: "spool: { enabled: false }\n".to_owned(),
        environment,
        ..Setup::default()
    };
    let gateway = Gateway::start("mysql-tls", setup);
    let (query, body) = Platform::app().seal(&text_message("zhangsan", 1, "by TLS"));
    let target = format!("/api/v1/webhooks/wechat/api?{query}");
    let rest = Rest::new(gateway.address(), None);
    assert_eq!(rest.send("POST", &target, "", body.as_bytes()).await.status, 200);
    assert_eq!(rest.json("/api/v1/status").await["database"], "mysql");
}
