//! Where a request comes from: what the gate found out about it, for every handler behind.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::http::problem::Problem;
use crate::http::request_id::RequestId;

/// What is known about a request before anything of it is believed.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The request's id.
    pub request_id: RequestId,
    /// The client's address, behind trusted proxies.
    pub client: IpAddr,
    /// The address at the other end of the connection.
    pub peer: IpAddr,
}

impl<S: Sync> FromRequestParts<S> for Origin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Problem::internal("a route stands outside the gate"))
    }
}
