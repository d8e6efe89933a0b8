//! `/api/v1/messages`: what goes out to people, and what became of it.

mod act;
mod batch;
mod list;
mod send;
mod tracked;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::state::HttpState;

/// Routes that look.
pub(crate) fn looking() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new()
        .routes(routes!(list::list))
        .routes(routes!(tracked::status))
        .routes(routes!(tracked::history))
        .routes(routes!(tracked::interactions))
}

/// Routes that do something.
pub(crate) fn acting() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new()
        .routes(routes!(send::send))
        .routes(routes!(batch::send_all))
        .routes(routes!(act::cancel))
        .routes(routes!(act::recall))
        .routes(routes!(act::update_card))
        .routes(routes!(tracked::report))
}
