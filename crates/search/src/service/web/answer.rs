//! What comes in and what goes out, as HTTP has it.

use std::fmt::Display;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::service::wire::{ApiError, Refusal as Why, Reply};

/// How long a body may take to arrive.
const SLOWEST_BODY: Duration = Duration::from_secs(10);

/// An answer that is no success, with its reason.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) StatusCode, pub(crate) String);

impl Refusal {
    pub(crate) fn bad(reason: impl Into<String>) -> Self {
        Refusal(StatusCode::BAD_REQUEST, reason.into())
    }

    pub(crate) fn failed(reason: impl Into<String>) -> Self {
        Refusal(StatusCode::INTERNAL_SERVER_ERROR, reason.into())
    }

    pub(crate) fn away(reason: impl Into<String>) -> Self {
        Refusal(StatusCode::SERVICE_UNAVAILABLE, reason.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(ApiError { error: self.1 })).into_response()
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        match self {
            Reply::Yes(json) => raw_json(StatusCode::OK, json),
            Reply::Made(json) => raw_json(StatusCode::CREATED, json),
            Reply::Nothing => StatusCode::NO_CONTENT.into_response(),
            Reply::No(why, reason) => Refusal(status(why), reason).into_response(),
        }
    }
}

fn status(why: Why) -> StatusCode {
    match why {
        Why::Bad => StatusCode::BAD_REQUEST,
        Why::Unauthorized => StatusCode::UNAUTHORIZED,
        Why::Forbidden => StatusCode::FORBIDDEN,
        Why::Missing => StatusCode::NOT_FOUND,
        Why::Conflict => StatusCode::CONFLICT,
        Why::Gone => StatusCode::GONE,
    }
}

pub(crate) fn raw_json(status: StatusCode, json: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], json).into_response()
}

/// A JSON body of bounded size that came in time, whatever it calls itself.
pub(crate) struct Posted<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Posted<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let body = timeout(SLOWEST_BODY, Bytes::from_request(request, state)).await;
        let body = body.map_err(|_| {
            Refusal(
                StatusCode::REQUEST_TIMEOUT,
                "the body took too long".to_owned(),
            )
        })?;
        let body = body.map_err(|rejection| Refusal(rejection.status(), rejection.body_text()))?;
        let parsed = serde_json::from_slice(&body);
        Ok(Posted(
            parsed.map_err(|error| Refusal::bad(error.to_string()))?,
        ))
    }
}

/// What a request's address says. That it cannot be read is told as JSON, like every refusal.
pub(crate) struct Read<E>(pub(crate) E);

impl<S, E> FromRequestParts<S> for Read<E>
where
    S: Send + Sync,
    E: FromRequestParts<S>,
    E::Rejection: IntoResponse + Display,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let read = E::from_request_parts(parts, state).await;
        read.map(Read).map_err(|rejection| {
            let reason = rejection.to_string();
            Refusal(rejection.into_response().status(), reason)
        })
    }
}
