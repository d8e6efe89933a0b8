//! Streams of Redis: an event is appended with its id as a field, and delivered when the broker says under which entry.
//!
//! Redis knows no repetitions: what was appended and whose answer was lost is appended again, with the same `id`. What
//! a restart of the broker keeps is up to its own persistence (`appendfsync always` keeps everything).

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, IntoConnectionInfo, RedisConnectionInfo,
    RedisError, ServerErrorKind, TlsCertificates,
};

use super::broker::Broker;
use super::broker_address::BrokerAddress;
use super::guard::Guard;
use super::http::{WebSettings, chain};
use super::link::Link;
use super::publication::{Publication, busy, lost, not_sent, refused, taken};
use crate::domain::outcome::Try;
use crate::secret::Secret;

/// One stream of a broker.
#[derive(Debug)]
pub struct RedisStream {
    broker: Broker,
    stream: String,
    /// 0: no end.
    max_length: i64,
    link: Link<Connection>,
}

/// A connection that all share: answers come in the order of commands.
struct Connection(MultiplexedConnection);

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

impl RedisStream {
    /// The stream under the key `stream` at `address`.
    pub(super) fn new(
        address: BrokerAddress,
        login: (&str, Option<Secret>),
        (stream, max_length): (&str, i64),
        guard: &Guard,
        settings: &WebSettings,
    ) -> Self {
        Self {
            broker: Broker::new(address, login, guard, settings),
            stream: stream.to_owned(),
            max_length,
            link: Link::default(),
        }
    }

    /// Appends one event.
    pub(super) async fn publish(&self, publication: &Publication<'_>, whole: Duration) -> Try {
        let mut time_is_up = pin!(tokio::time::sleep(whole));
        let connecting = async || self.connect().await;
        let connection = match self.link.get_in_time(time_is_up.as_mut(), whole, connecting).await {
            Ok(connection) => connection,
            Err(why) => return not_sent(&why),
        };
        let mut shared = connection.0.clone();
        let command = self.command(publication);
        let (tried, is_broken) = tokio::select! {
            answer = command.query_async::<String>(&mut shared) => match answer {
                Ok(entry) => return taken(format!("entry {entry}")),
                Err(error) => meaning(&error),
            },
            () = &mut time_is_up => (lost(&format!("no answer in {} ms", whole.as_millis())), true),
        };
        if is_broken {
            self.link.forget(&connection).await;
        }
        tried
    }

    fn command(&self, publication: &Publication<'_>) -> redis::Cmd {
        let mut command = redis::cmd("XADD");
        command.arg(&self.stream);
        if self.max_length > 0 {
            command.arg("MAXLEN").arg("~").arg(self.max_length);
        }
        command.arg("*");
        for (field, value) in
            [("id", publication.id), ("type", publication.kind), ("source", publication.source)]
        {
            command.arg(field).arg(value);
        }
        command.arg("version").arg(publication.version);
        if publication.run > 0 {
            command.arg("replay").arg("true");
        }
        command.arg("content_type").arg(publication.body.content_type);
        command.arg("body").arg(&publication.body.bytes[..]);
        command
    }

    /// The broker's host, for people.
    pub(super) fn host(&self) -> &str {
        &self.broker.host
    }

    async fn connect(&self) -> Result<Connection, String> {
        let (host, port) = (self.broker.host.clone(), self.broker.address.port);
        let address = if self.broker.address.has_tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let mut login =
            RedisConnectionInfo::default().set_db(self.broker.address.database).set_skip_set_lib_name();
        if !self.broker.user.is_empty() {
            login = login.set_username(&self.broker.user);
        }
        if let Some(secret) = &self.broker.secret {
            login = login.set_password(secret.expose());
        }
        let info = address.into_connection_info().map_err(|error| chain(&error))?.set_redis_settings(login);
        let client = if self.broker.address.has_tls && !self.broker.extra_roots.is_empty() {
            let certificates =
                TlsCertificates { client_tls: None, root_cert: Some(self.broker.extra_roots.clone()) };
            Client::build_with_tls(info, certificates)
        } else {
            Client::open(info)
        };
        let client = client.map_err(|error| chain(&error))?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.broker.connect_timeout))
            .set_response_timeout(None)
            .set_dns_resolver(CheckedNames(self.broker.guard.clone()));
        let connected = client.get_multiplexed_async_connection_with_config(&config).await;
        connected.map(Connection).map_err(|error| explain(&error))
    }
}

/// Names are resolved by the guard, and the connection goes to what it has checked.
struct CheckedNames(Guard);

impl redis::io::AsyncDNSResolver for CheckedNames {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        host: &'b str,
        port: u16,
    ) -> redis::RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async move {
            let found = self.0.addresses(host).await;
            let found = found.map_err(|refused| {
                RedisError::from((ErrorKind::InvalidClientConfig, "the host", refused.to_string()))
            })?;
            let all = found.into_iter().map(move |ip| SocketAddr::new(ip, port));
            Ok(Box::new(all) as Box<dyn Iterator<Item = SocketAddr> + Send>)
        })
    }
}

/// What an error means, and whether the connection is of no use any more.
fn meaning(error: &RedisError) -> (Try, bool) {
    match error.kind() {
        ErrorKind::Server(
            ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown | ServerErrorKind::TryAgain,
        ) => (busy(&explain(error)), false),
        // A replica that was the master a moment ago: the name may lead elsewhere now.
        ErrorKind::Server(ServerErrorKind::ReadOnly) => (refused(&explain(error)), true),
        ErrorKind::Server(_) | ErrorKind::Extension => {
            (refused(&explain(error)), error.code() == Some("NOAUTH"))
        }
        _ => (lost(&explain(error)), true),
    }
}

fn explain(error: &RedisError) -> String {
    let is_login = error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"));
    if is_login {
        format!("the broker refuses the credentials (`user` and `secret`): {}", chain(error))
    } else {
        chain(error)
    }
}
