//! The OpenAPI document: the routes describe themselves, and `/api/v1/openapi.json` shows it.
//!
//! API routes are registered and described by one macro, so the two cannot differ. The callback routes and the
//! proofs of ownership are not called by people and stand on a plain router; their description is written here, and
//! a test compares it with what the router answers.

use axum::Extension;
use axum::http::header;
use axum::response::IntoResponse;
use bytes::Bytes;
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::Type;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, Content, HttpMethod, Object, OpenApi as Document, Ref, RefOr, Required, Response,
    ResponseBuilder,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::auth::SCHEME;
use crate::http::problem::ProblemBody;
use crate::http::state::HttpState;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "wecom-gateway",
        description = "Callbacks of WeChat Work (企业微信), durable and tracked; messages and their status.\n\n\
            Keys: `Authorization: Bearer <key>`. The role a route asks for stands in its security requirement: \
            `reader` < `operator` < `admin`. Errors are `application/problem+json` (RFC 9457); times are RFC 3339 \
            with milliseconds; lists are newest first, with a cursor.",
        license(name = "MIT OR Apache-2.0")
    ),
    components(schemas(ProblemBody<'_>))
)]
struct Frame;

/// The document, as the router serves it.
#[derive(Clone, Debug)]
pub(crate) struct DocumentText(pub(crate) Bytes);

/// The document of `routes`, completed.
pub(crate) fn completed(routes: Document) -> Document {
    let mut document = Frame::openapi();
    document.merge(routes);
    for (path, method, operation) in plain_routes() {
        document.paths.add_path_operation(path, vec![method], operation);
    }
    let components = document.components.get_or_insert_with(Components::new);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API key")).build();
    components.security_schemes.insert(SCHEME.to_owned(), RefOr::T(SecurityScheme::Http(bearer)));
    for path in document.paths.paths.values_mut() {
        let operations = [&mut path.get, &mut path.post, &mut path.put, &mut path.patch, &mut path.delete];
        for operation in operations.into_iter().filter_map(Option::as_mut) {
            if operation.security.is_some() {
                operation.responses.responses.insert("default".to_owned(), RefOr::T(problem()));
            }
        }
    }
    document
}

fn problem() -> Response {
    let schema = Content::new(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new().description("A problem").content("application/problem+json", schema).build()
}

pub(crate) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(show))
}

/// This document
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "operation",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
async fn show(Extension(document): Extension<DocumentText>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], document.0)
}

/// The routes that stand on a plain router.
fn plain_routes() -> [(&'static str, HttpMethod, Operation); 4] {
    let receive = operation(
        "Receive a callback",
        "Called by the platform and proven by its signature; no API key. Answered 200 only when the event is on \
         disk. A refusal has one fixed text for each status; what was wrong stands in `/api/v1/rejections`.",
        &[KIND, HANDLER, SIGNATURE, TIMESTAMP, NONCE],
        &[
            ("200", "On disk: empty, `success`, or a sealed reply"),
            ("400", "Not well formed"),
            ("403", "Not proven"),
            ("404", "No such source"),
            ("408", "Too slow"),
            ("413", "Too large"),
            ("415", "The body is coded"),
            ("429", "Too many"),
            ("503", "Not on disk: to be sent again"),
        ],
    );
    let verify = operation(
        "Prove the callback URL",
        "Answers the decrypted `echostr` and nothing else.",
        &[KIND, HANDLER, SIGNATURE, TIMESTAMP, NONCE, ("echostr", ParameterIn::Query, "What to decrypt")],
        &[
            ("200", "The decrypted text"),
            ("400", "Not well formed"),
            ("403", "Not proven"),
            ("404", "No such source"),
        ],
    );
    let file = operation(
        "Prove the ownership of the domain",
        "The files stand in the configuration under `webhook.verify_files`.",
        &[("file", ParameterIn::Path, "`WW_verify_….txt`")],
        &[("200", "The configured text"), ("404", "No such file")],
    );
    [
        ("/api/v1/webhooks/{kind}/{handler}", HttpMethod::Post, receive),
        ("/api/v1/webhooks/{kind}/{handler}", HttpMethod::Get, verify.clone()),
        ("/api/v1/webhooks/{kind}/{handler}/verify", HttpMethod::Get, verify),
        ("/{file}", HttpMethod::Get, file),
    ]
}

type Described = (&'static str, ParameterIn, &'static str);

const KIND: Described = ("kind", ParameterIn::Path, "`wechat`, or the kind of a custom source");
const HANDLER: Described = ("handler", ParameterIn::Path, "The source's handler: `api` and `bot` as shipped");
const SIGNATURE: Described = ("msg_signature", ParameterIn::Query, "The platform's signature");
const TIMESTAMP: Described = ("timestamp", ParameterIn::Query, "Seconds since 1970");
const NONCE: Described = ("nonce", ParameterIn::Query, "Random");

fn operation(
    summary: &str,
    description: &str,
    parameters: &[Described],
    answers: &[(&str, &str)],
) -> Operation {
    let mut operation =
        OperationBuilder::new().summary(Some(summary)).description(Some(description)).tag("callbacks");
    for (name, place, what) in parameters {
        let required = if *place == ParameterIn::Path { Required::True } else { Required::False };
        let text = Object::with_type(Type::String);
        operation = operation.parameter(
            ParameterBuilder::new()
                .name(*name)
                .parameter_in(place.clone())
                .required(required)
                .description(Some(*what))
                .schema(Some(text)),
        );
    }
    for (status, what) in answers {
        let text = Content::new(Some(Object::with_type(Type::String)));
        operation = operation
            .response(*status, ResponseBuilder::new().description(*what).content("text/plain", text).build());
    }
    operation.build()
}
