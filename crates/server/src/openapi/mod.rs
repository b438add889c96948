//! `/openapi.json`: what all routes take and give, for tools that read OpenAPI 3.1.
//!
//! The document is kept by hand: answers are written piece by piece, so that no types are there to derive theirs from. A test holds it to
//! the routes and to the fields that requests have, another one to what a server takes and answers.

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

pub(crate) async fn document() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], include_str!("openapi.json"))
}
