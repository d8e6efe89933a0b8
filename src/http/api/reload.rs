//! `POST /api/v1/reload`: reads the configuration again, as SIGHUP does.
//!
//! What a reload means is known to the composition root alone: here is only the order and its outcome.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::audit::Audit;
use crate::http::auth::Caller;
use crate::http::origin::Origin;
use crate::http::problem::Problem;
use crate::http::state::HttpState;

/// An order to read the configuration again; the outcome goes back through it. An error is every problem found, a
/// line each; the old configuration stays.
pub type ReloadOrder = oneshot::Sender<Result<Reloaded, String>>;

/// What a reload left in force.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Reloaded {
    /// Channels that are on.
    pub channels: usize,
    /// Callback addresses.
    pub handlers: usize,
}

/// Where orders go. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ReloadOrders(mpsc::Sender<ReloadOrder>);

impl ReloadOrders {
    /// The sender, and the receiver for whoever can reload. One order may wait.
    pub fn channel() -> (Self, mpsc::Receiver<ReloadOrder>) {
        let (sender, receiver) = mpsc::channel(1);
        (Self(sender), receiver)
    }

    /// An order that nobody waits for, as SIGHUP gives it. One more than can wait is dropped: the one that waits
    /// reads the newest file.
    pub fn by_signal(&self) {
        let (order, _outcome) = oneshot::channel();
        let _one_waits = self.0.try_send(order);
    }

    async fn reload(&self) -> Result<Result<Reloaded, String>, Problem> {
        let (order, outcome) = oneshot::channel();
        self.0.try_send(order).map_err(|_full| Problem::busy("a reload is under way"))?;
        outcome.await.map_err(|_gone| Problem::internal("the reload ended without an outcome"))
    }
}

pub(crate) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(reload))
}

/// Read the configuration again
///
/// Sources and channels are swapped whole. If the new file has a problem, the old configuration stays; the
/// problems are in the log.
#[utoipa::path(post, path = "/api/v1/reload", tag = "operation",
    responses((status = 200, description = "The new configuration is in force", body = Reloaded),
              (status = 409, description = "The new configuration has problems; the old one stays")))]
async fn reload(
    State(orders): State<ReloadOrders>,
    State(audit): State<Audit>,
    caller: Caller,
    origin: Origin,
) -> Result<Json<Reloaded>, Problem> {
    match orders.reload().await? {
        Ok(reloaded) => {
            audit.note(&origin, &caller.actor, "configuration.reloaded", "");
            Ok(Json(reloaded))
        }
        Err(problems) => {
            audit.note(&origin, &caller.actor, "configuration.refused", "");
            Err(Problem::conflict("the new configuration has problems, see the log; the old one stays")
                .because(problems))
        }
    }
}
