//! `mongodb:` — an archive of every event. It becomes an endpoint called `mongodb`.

use serde_json::json;

use super::endpoints::EndpointConfig;
use super::section::Section;
use crate::domain::endpoint::EndpointSpec;
use crate::endpoint::stream::is_built_in;
use crate::secret::Secret;

/// The name of its endpoint.
const NAME: &str = "mongodb";

/// Reads the section; `None`: nothing is archived.
pub(super) fn read(section: &mut Section<'_, '_>) -> Option<EndpointConfig> {
    let host = section.text("host", "${MONGODB_HOST:-}");
    let port = section.parsed("port", "${MONGODB_PORT:-27017}", "a port, from 1 to 65535", |text| {
        text.parse().ok().filter(|port: &u16| *port > 0)
    });
    let port = port.unwrap_or(27_017);
    let database = section.text("database", "${MONGODB_DATABASE:-pmc_logs}");
    let collection = section.text("collection", "events");
    let user = section.text("user", "${MONGODB_USER:-}");
    let password = section.secret("password", "${MONGODB_PASSWORD:-}");
    let tls = section.flag("tls", false);
    if host.is_empty() {
        return None;
    }
    if user.is_empty() != password.is_empty() {
        section.wrong("user", section.place(), "goes together with mongodb.password".to_owned());
    }
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let scheme = if tls { "mongodb+tls" } else { "mongodb" };
    let spec = EndpointSpec::parse(&json!({
        "name": NAME,
        "kind": "mongodb",
        "url": format!("{scheme}://{host}:{port}"),
        "user": user,
        "database": database,
        "collection": collection,
        "events": ["*"],
    }));
    let spec = match spec {
        Ok(spec) => spec,
        Err(wrong) => {
            let field = if wrong.field == "url" { "host" } else { &wrong.field };
            section.wrong(field, section.place(), wrong.reason);
            return None;
        }
    };
    if is_built_in(&spec.kind).is_err() {
        section.warn(
            "mongodb.host (MONGODB_HOST) is set, but this build archives nothing there: the database is the log; \
             build with `--features mongodb`"
                .to_owned(),
        );
        return None;
    }
    let secrets: Vec<Secret> = Some(password).filter(|password| !password.is_empty()).into_iter().collect();
    Some(EndpointConfig::new(spec, secrets, section.place()))
}
