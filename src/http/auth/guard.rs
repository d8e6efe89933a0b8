//! Asks for a role in front of routes, and says so in the OpenAPI document: one function does both.

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use utoipa::openapi::security::SecurityRequirement;
use utoipa_axum::router::OpenApiRouter;

use super::ApiKeys;
use crate::http::origin::Origin;
use crate::http::problem::Problem;
use crate::store::Role;

/// The name of the security scheme in the OpenAPI document.
pub(crate) const SCHEME: &str = "api_key";

/// Asks for `role` in front of `routes`, and writes it into their description.
pub(crate) fn guarded<S>(role: Role, routes: OpenApiRouter<S>) -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    let check = move |request: Request, next: Next| check(role, request, next);
    let mut routes = routes.route_layer(from_fn(check));
    let requirement = SecurityRequirement::new(SCHEME, [role.as_str()]);
    for path in routes.get_openapi_mut().paths.paths.values_mut() {
        let operations = [&mut path.get, &mut path.post, &mut path.put, &mut path.patch, &mut path.delete];
        for operation in operations.into_iter().filter_map(Option::as_mut) {
            operation.security = Some(vec![requirement.clone()]);
        }
    }
    routes
}

/// Closed unless opened: without the gate in front, or without keys to compare with, nobody passes.
async fn check(role: Role, mut request: Request, next: Next) -> Result<Response, Problem> {
    let closed = || Problem::internal("a route stands outside the gate or without keys");
    let origin = request.extensions().get::<Origin>().cloned().ok_or_else(closed)?;
    let keys = request.extensions().get::<ApiKeys>().cloned().ok_or_else(closed)?;
    let caller = keys.caller(request.headers(), &origin).await?;
    if caller.role < role {
        keys.audit().note_repeated(&origin, &caller.actor, "role.refused", request.uri().path());
        return Err(Problem::forbidden("the key's role is not enough for this route"));
    }
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}
