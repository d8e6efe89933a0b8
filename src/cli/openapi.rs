//! `openapi`: prints the OpenAPI document.

use std::io::Write;

use super::CommandError;
use crate::http;

/// Writes the document that a running gateway serves at `/api/v1/openapi.json`.
pub(super) fn run(out: &mut dyn Write) -> Result<(), CommandError> {
    let document =
        http::document().to_pretty_json().map_err(|error| CommandError::Failed(error.to_string()))?;
    writeln!(out, "{document}")?;
    Ok(())
}
