//! Streams of NATS (JetStream): an event is published under its id, and delivered when a stream says that it has it.
//!
//! A stream knows a repetition by `Nats-Msg-Id` for as long as its window of duplicates says (two minutes, usually).
//! A replay has another one, or the stream would drop what somebody asks for again. The stream itself is the
//! operator's: its subjects, limits and replicas are no business of a publisher.

use std::pin::pin;
use std::time::Duration;

use async_nats::header::{HeaderMap, NATS_MESSAGE_ID};
use async_nats::jetstream::Context;
use async_nats::jetstream::context::{ContextBuilder, PublishError, PublishErrorKind};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use tokio_util::sync::CancellationToken;

use super::broker::Broker;
use super::broker_address::BrokerAddress;
use super::broker_tls;
use super::guard::Guard;
use super::http::{WebSettings, chain};
use super::link::Link;
use super::publication::{Publication, lost, not_sent, refused, taken};
use crate::domain::endpoint::subject_of;
use crate::domain::outcome::{Outcome, Try};
use crate::sabotage::{self, Protection};
use crate::secret::Secret;

/// One stream of a broker.
#[derive(Debug)]
pub struct NatsStream {
    broker: Broker,
    subject: String,
    link: Link<Connection>,
}

/// A connection, and whether it has broken.
#[derive(Debug)]
struct Connection {
    /// Closes the connection when it is dropped.
    _client: Client,
    context: Context,
    broken: CancellationToken,
}

impl NatsStream {
    /// The stream that takes `subject` at `address`.
    pub(super) fn new(
        address: BrokerAddress,
        login: (&str, Option<Secret>),
        subject: &str,
        guard: &Guard,
        settings: &WebSettings,
    ) -> Self {
        Self {
            broker: Broker::new(address, login, guard, settings),
            subject: subject.to_owned(),
            link: Link::default(),
        }
    }

    /// Publishes one event, and waits for the stream's acknowledgement.
    pub(super) async fn publish(&self, publication: &Publication<'_>, whole: Duration) -> Try {
        let mut time_is_up = pin!(tokio::time::sleep(whole));
        let connecting = async || self.connect().await;
        let connection = match self.link.get_in_time(time_is_up.as_mut(), whole, connecting).await {
            Ok(connection) => connection,
            Err(why) => return not_sent(&why),
        };
        let subject = subject_of(&self.subject, publication.kind, publication.source);
        let exchange = async {
            let payload = publication.body.bytes.clone();
            let sent =
                connection.context.publish_with_headers(subject.clone(), headers(publication), payload);
            let acknowledgement = sent.await?;
            // Negative control: what has left is taken for stored.
            if sabotage::off(Protection::PublishAck) {
                return Ok(taken("nothing".to_owned()));
            }
            acknowledgement.await.map(|ack| {
                let known = if ack.duplicate { ", which had it already" } else { "" };
                taken(format!("stream {}, sequence {}{known}", ack.stream, ack.sequence))
            })
        };
        let tried = tokio::select! {
            answer = exchange => match answer {
                Ok(taken) => return taken,
                Err(error) => meaning(&error, &subject),
            },
            () = connection.broken.cancelled() => lost("the connection broke before the acknowledgement"),
            () = &mut time_is_up => {
                lost(&format!("no acknowledgement in {} ms", whole.as_millis()))
            }
        };
        if connection.broken.is_cancelled() || tried.outcome == Outcome::Lost {
            self.link.forget(&connection).await;
        }
        tried
    }

    /// The broker's host, for people.
    pub(super) fn host(&self) -> &str {
        &self.broker.host
    }

    async fn connect(&self) -> Result<Connection, String> {
        let found = self
            .broker
            .guard
            .addresses(&self.broker.host)
            .await
            .map_err(|refused| format!("the host {refused}"))?;
        // The name is what a certificate is compared with. Without TLS the connection goes to what was checked.
        let names: Vec<String> = if self.broker.address.has_tls {
            vec![format!("tls://{}:{}", self.broker.address.host, self.broker.address.port)]
        } else {
            let url = |ip| format!("nats://{}", std::net::SocketAddr::new(ip, self.broker.address.port));
            found.into_iter().map(url).collect()
        };
        let servers = names.iter().map(|name| name.parse::<ServerAddr>()).collect::<Result<Vec<_>, _>>();
        let servers = servers.map_err(|error| chain(&error))?;
        let broken = CancellationToken::new();
        let connected = self.options(servers.len(), broken.clone())?.connect(servers).await;
        let client = connected.map_err(|error| match error.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                "the broker refuses the credentials (`user` and `secret`)".to_owned()
            }
            _ => chain(&error),
        })?;
        let context = ContextBuilder::new().timeout(Duration::from_mins(1)).build(client.clone());
        Ok(Connection { _client: client, context, broken })
    }

    /// The connection is not mended but made anew, through the guard.
    fn options(&self, servers: usize, broken: CancellationToken) -> Result<ConnectOptions, String> {
        let mut options = ConnectOptions::new()
            .name("wecom-gateway")
            .connection_timeout(self.broker.connect_timeout)
            .ignore_discovered_servers()
            .max_reconnects(servers)
            .no_echo()
            .event_callback(move |event| {
                if matches!(event, Event::Disconnected | Event::Closed | Event::LameDuckMode) {
                    broken.cancel();
                }
                std::future::ready(())
            });
        if self.broker.address.has_tls {
            options =
                options.require_tls(true).tls_client_config(broker_tls::config(&self.broker.extra_roots)?);
        }
        Ok(match (&self.broker.secret, self.broker.user.as_str()) {
            (None, _) => options,
            (Some(token), "") => options.token(token.expose().to_owned()),
            (Some(password), user) => {
                options.user_and_password(user.to_owned(), password.expose().to_owned())
            }
        })
    }
}

fn headers(publication: &Publication<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let message_id = match publication.run {
        0 => publication.id.to_owned(),
        run => format!("{}.{run}", publication.id),
    };
    headers.insert(NATS_MESSAGE_ID, message_id.as_str());
    headers.insert("webhook-id", publication.id);
    headers.insert("content-type", publication.body.content_type);
    headers.insert("x-webhook-event", publication.kind);
    headers.insert("x-webhook-version", publication.version.to_string().as_str());
    if publication.run > 0 {
        headers.insert("x-webhook-replay", "true");
    }
    headers
}

/// What an answer other than an acknowledgement means.
fn meaning(error: &PublishError, subject: &str) -> Try {
    match error.kind() {
        PublishErrorKind::StreamNotFound => {
            refused(&format!("no stream of the broker takes the subject {subject}"))
        }
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => lost(&chain(error)),
        _ => refused(&chain(error)),
    }
}
