//! The ways to brokers, by the kind of the endpoint.

use std::time::Duration;

use super::guard::Guard;
use super::http::WebSettings;
#[cfg(feature = "mongodb")]
use super::mongodb::MongoArchive;
#[cfg(feature = "nats")]
use super::nats::NatsStream;
use super::publication::Publication;
use super::redis_stream::RedisStream;
use crate::domain::endpoint::EndpointKind;
use crate::domain::outcome::Try;
use crate::secret::Secret;

/// One way to a broker.
#[derive(Debug)]
pub enum StreamClient {
    /// A stream of NATS.
    #[cfg(feature = "nats")]
    Nats(Box<NatsStream>),
    /// A stream of Redis.
    Redis(Box<RedisStream>),
    /// A collection of MongoDB.
    #[cfg(feature = "mongodb")]
    Mongo(Box<MongoArchive>),
}

impl StreamClient {
    /// A way to the broker at `url`. Nothing is connected yet.
    ///
    /// # Errors
    /// The address may not be called, or this build does not know the kind.
    pub fn new(
        kind: &EndpointKind,
        url: &str,
        secret: Option<Secret>,
        (guard, settings): (&Guard, &WebSettings),
    ) -> Result<Self, String> {
        is_built_in(kind)?;
        let address = guard.broker(kind, url)?;
        let login = (kind.user(), secret);
        match kind {
            #[cfg(feature = "nats")]
            EndpointKind::Nats { subject, .. } => {
                Ok(Self::Nats(Box::new(NatsStream::new(address, login, subject, guard, settings))))
            }
            EndpointKind::RedisStream { stream, max_length, .. } => {
                let stream = (stream.as_str(), *max_length);
                Ok(Self::Redis(Box::new(RedisStream::new(address, login, stream, guard, settings))))
            }
            #[cfg(feature = "mongodb")]
            EndpointKind::MongoDb { database, collection, .. } => {
                let place = (database.as_str(), collection.as_str());
                Ok(Self::Mongo(Box::new(MongoArchive::new(&address, login, place, settings))))
            }
            _ => Err("is no broker".to_owned()),
        }
    }

    /// Gives the broker one event; `whole` bounds everything.
    pub async fn publish(&self, publication: &Publication<'_>, whole: Duration) -> Try {
        match self {
            #[cfg(feature = "nats")]
            Self::Nats(stream) => stream.publish(publication, whole).await,
            Self::Redis(stream) => stream.publish(publication, whole).await,
            #[cfg(feature = "mongodb")]
            Self::Mongo(archive) => archive.publish(publication, whole).await,
        }
    }

    /// The broker's host, for people.
    pub fn host(&self) -> &str {
        match self {
            #[cfg(feature = "nats")]
            Self::Nats(stream) => stream.host(),
            Self::Redis(stream) => stream.host(),
            #[cfg(feature = "mongodb")]
            Self::Mongo(archive) => archive.host(),
        }
    }
}

/// Whether this build can speak to endpoints of `kind`.
///
/// # Errors
/// What it was built without.
pub fn is_built_in(kind: &EndpointKind) -> Result<(), String> {
    let is_there = match kind {
        EndpointKind::Http | EndpointKind::RedisStream { .. } => true,
        EndpointKind::Nats { .. } => cfg!(feature = "nats"),
        EndpointKind::MongoDb { .. } => cfg!(feature = "mongodb"),
    };
    if is_there {
        return Ok(());
    }
    let word = kind.as_str();
    Err(format!("is of a kind that this build does not have; build it with `--features {word}`"))
}
