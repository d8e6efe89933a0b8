//! An archive in MongoDB: one document for each event, under the event's id, so that a repetition changes nothing.
//!
//! The driver finds the members of a replica set itself, and where they say they are is where it goes. So an archive
//! only stands in the configuration, like the database of the gateway, and is not behind the guard.

use std::time::Duration;

use mongodb::bson::{Binary, Bson, DateTime, Document, doc, spec::BinarySubtype};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{
    Acknowledgment, ClientOptions, Credential, ServerAddress, Tls, TlsOptions, WriteConcern,
};
use mongodb::{Client, Collection};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::broker_address::BrokerAddress;
use super::http::WebSettings;
use super::payload::JSON;
use super::publication::{Publication, lost, not_sent, refused, taken};
use crate::domain::outcome::Try;
use crate::secret::Secret;

/// One collection.
#[derive(Debug)]
pub struct MongoArchive {
    host: String,
    options: ClientOptions,
    database: String,
    collection: String,
    /// Made with the first event: it looks after its connections itself.
    client: OnceCell<Client>,
}

impl MongoArchive {
    /// The collection `collection` of `database` at `address`.
    pub(super) fn new(
        address: &BrokerAddress,
        (user, secret): (&str, Option<Secret>),
        (database, collection): (&str, &str),
        settings: &WebSettings,
    ) -> Self {
        let host = address.host_text();
        let connect_timeout = Duration::from_millis(settings.connect_timeout_ms);
        let mut options = ClientOptions::default();
        options.hosts = vec![ServerAddress::Tcp { host: host.clone(), port: Some(address.port) }];
        options.app_name = Some("wecom-gateway".to_owned());
        options.connect_timeout = Some(connect_timeout);
        options.server_selection_timeout = Some(connect_timeout);
        // What is said to be archived has to outlive the loss of one member.
        options.write_concern = Some(WriteConcern::builder().w(Acknowledgment::Majority).build());
        if let (Some(secret), false) = (secret, user.is_empty()) {
            let login = Credential::builder().username(user.to_owned());
            options.credential = Some(login.password(secret.expose().to_owned()).build());
        }
        if address.has_tls {
            options.tls = Some(Tls::Enabled(TlsOptions::default()));
        }
        Self {
            host,
            options,
            database: database.to_owned(),
            collection: collection.to_owned(),
            client: OnceCell::new(),
        }
    }

    /// Writes the document of one event.
    pub(super) async fn publish(&self, publication: &Publication<'_>, whole: Duration) -> Try {
        let collection = match self.collection().await {
            Ok(collection) => collection,
            Err(error) => return not_sent(&error.to_string()),
        };
        let writing =
            collection.replace_one(doc! {"_id": publication.id}, document(publication)).upsert(true);
        match tokio::time::timeout(whole, async { writing.await }).await {
            Ok(Ok(result)) if result.matched_count > 0 => taken("replaced".to_owned()),
            Ok(Ok(_)) => taken("inserted".to_owned()),
            Ok(Err(error)) => meaning(&error),
            Err(_elapsed) => lost(&format!("no answer in {} ms", whole.as_millis())),
        }
    }

    /// The server's host, for people.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    async fn collection(&self) -> Result<Collection<Document>, Error> {
        let client = self.client.get_or_try_init(async || Client::with_options(self.options.clone())).await?;
        Ok(client.database(&self.database).collection(&self.collection))
    }
}

/// The document of an event: what a receiver would get, with the id as `_id` and the time as a date.
fn document(publication: &Publication<'_>) -> Document {
    let mut document = doc! {
        "_id": publication.id,
        "type": publication.kind,
        "version": publication.version,
        "source": publication.source,
        "accepted_at": DateTime::from_millis(publication.accepted_ms),
    };
    let body = &publication.body;
    let json =
        (body.content_type == JSON).then(|| serde_json::from_slice::<Value>(&body.bytes).ok()).flatten();
    match json {
        // The frame of our own payload; a plaintext in JSON has none.
        Some(Value::Object(mut frame)) if frame.get("id").and_then(Value::as_str) == Some(publication.id) => {
            document.insert("data", bson(frame.remove("data").unwrap_or_default()));
        }
        Some(json) => {
            document.insert("body", bson(json));
        }
        None => {
            let text = std::str::from_utf8(&body.bytes).map(|text| Bson::String(text.to_owned()));
            let binary =
                || Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: body.bytes.to_vec() });
            document.insert("body", text.unwrap_or_else(|_not_text| binary()));
        }
    }
    document
}

/// The same value: `$oid` and its like are names that strangers may use, and mean nothing here.
fn bson(value: Value) -> Bson {
    match value {
        Value::Null => Bson::Null,
        Value::Bool(flag) => Bson::Boolean(flag),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Bson::Int64(whole),
            // What fits no number of theirs stays as it was written.
            (None, Some(float)) if !number.is_u64() => Bson::Double(float),
            _ => Bson::String(number.to_string()),
        },
        Value::String(text) => Bson::String(text),
        Value::Array(items) => Bson::Array(items.into_iter().map(bson).collect()),
        Value::Object(map) => {
            // Names end at a zero byte there.
            let name = |name: String| name.replace('\0', "\u{FFFD}");
            Bson::Document(map.into_iter().map(|(key, value)| (name(key), bson(value))).collect())
        }
    }
}

fn meaning(error: &Error) -> Try {
    match error.kind.as_ref() {
        ErrorKind::Authentication { .. } => {
            not_sent(&format!("the server refuses the credentials (`user` and `secret`): {error}"))
        }
        ErrorKind::ServerSelection { .. }
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::ConnectionPoolCleared { .. } => not_sent(&error.to_string()),
        ErrorKind::Io(_) => lost(&error.to_string()),
        _ => refused(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::endpoint::payload::Body;

    fn documented(content_type: &'static str, bytes: &[u8]) -> Document {
        let body = Body { content_type, bytes: Bytes::copy_from_slice(bytes) };
        document(&Publication {
            id: "evt_1",
            kind: "message.text",
            source: "app",
            body: &body,
            version: 1,
            run: 0,
            accepted_ms: 1_700_000_000_007,
        })
    }

    #[test]
    fn a_document_is_what_a_receiver_would_get() {
        let data = json!({"user_id": "a", "body": {"N": 7, "Big": u64::MAX, "F": 0.5, "$oid": "x", "L": [null, true]}});
        let payload = json!({"id": "evt_1", "type": "message.text", "data": data});
        let document = documented(JSON, payload.to_string().as_bytes());
        assert_eq!(document.get_str("_id").unwrap(), "evt_1");
        assert_eq!(document.get_datetime("accepted_at").unwrap().timestamp_millis(), 1_700_000_000_007);
        let body = document.get_document("data").unwrap().get_document("body").unwrap();
        assert_eq!(body.get_i64("N").unwrap(), 7);
        assert_eq!(body.get_str("Big").unwrap(), "18446744073709551615");
        assert_eq!(body.get_str("$oid").unwrap(), "x");
    }

    #[test]
    fn a_plaintext_stays_word_for_word() {
        assert_eq!(
            documented("application/xml; charset=utf-8", b"<xml/>").get_str("body").unwrap(),
            "<xml/>"
        );
        assert_eq!(
            documented("application/octet-stream", b"\xff").get_binary_generic("body").unwrap(),
            b"\xff"
        );
        assert_eq!(documented(JSON, b"{\"a\":1}").get_document("body").unwrap().get_i64("a").unwrap(), 1);
    }
}
