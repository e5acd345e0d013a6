//! The page that people look at: made on the server, right without JavaScript, live with it.
//!
//! It is made from a [`View`], which somebody else keeps up to date, and knows nothing of ledgers and queues.

mod assets;
mod chart;
pub(crate) mod feed;
mod html;
mod live;
mod map;
mod metrics;
mod nodes;
#[cfg(test)]
mod sample;
mod seed;
#[cfg(test)]
mod tests;
pub(crate) mod view;
pub(crate) mod words;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Extension, Router};
use serde::Deserialize;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::timeout;
use tracing::warn;

use super::crowd::Crowd;
use super::explainer::Explainer;
use super::web::caller::Outsider;
use assets::{BERRY, SCRIPT, STYLE};
use view::View;

/// Nothing from elsewhere, nothing inline, nobody around it.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// How long somebody waits to be told that there is no such search.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the page is made from.
pub(crate) struct Page {
    views: watch::Receiver<Arc<View>>,
    /// Asks for a new view before its time.
    look: Notify,
    /// Tells that somebody has looked.
    seen: Notify,
    /// Turns true when the process is to end.
    stopping: watch::Receiver<bool>,
    explainer: Arc<Explainer>,
    clients: Arc<Semaphore>,
    /// Those of them who are from outside.
    outsiders: Arc<Crowd>,
}

type Shared = State<Arc<Page>>;

#[derive(Deserialize)]
struct Which {
    job: Option<String>,
}

#[derive(Deserialize)]
struct Wanted {
    job: Option<String>,
    level: String,
    seed: String,
}

impl Page {
    pub(crate) fn new(
        views: watch::Receiver<Arc<View>>,
        stopping: watch::Receiver<bool>,
        explainer: Arc<Explainer>,
    ) -> Arc<Self> {
        Arc::new(Page {
            views,
            look: Notify::new(),
            seen: Notify::new(),
            stopping,
            explainer,
            clients: Arc::new(Semaphore::new(live::MOST_CLIENTS)),
            outsiders: Crowd::new(live::MOST_OF_ONE),
        })
    }

    fn view(&self) -> Arc<View> {
        self.seen.notify_one();
        self.views.borrow().clone()
    }

    /// A view with that search, if there is one: it may be younger than the last look, and than one that is under way.
    async fn view_with(&self, job: Option<&str>) -> Arc<View> {
        self.seen.notify_one();
        let mut views = self.views.clone();
        for _ in 0..2 {
            if job.is_none() || views.borrow_and_update().job(job).is_some() {
                break;
            }
            self.look.notify_one();
            if !matches!(timeout(PATIENCE, views.changed()).await, Ok(Ok(()))) {
                break;
            }
        }
        views.borrow().clone()
    }

    /// A place to look on from, if there is one left for them.
    fn seat(&self, outsider: Option<Outsider>) -> Option<live::Seat> {
        let guest = match outsider {
            Some(Outsider(from)) => Some(self.outsiders.enter(from)?),
            None => None,
        };
        let permit = self.clients.clone().try_acquire_owned().ok()?;
        self.seen.notify_one();
        Some(live::Seat::new(permit, guest))
    }

    /// How many look on at the moment.
    pub(crate) fn clients(&self) -> usize {
        live::MOST_CLIENTS - self.clients.available_permits()
    }
}

/// The page's paths.
pub(crate) fn router(page: Arc<Page>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/events", get(events))
        .route("/metrics", get(prometheus))
        .route("/seed", get(look_up))
        .route("/seed/{level}/{seed}", get(explain))
        .route(STYLE.path(), get(async || STYLE.answer()))
        .route(SCRIPT.path(), get(async || SCRIPT.answer()))
        .route("/assets/berry.svg", get(berry))
        .layer(middleware::from_fn(guard))
        .with_state(page)
}

/// What every answer of the page says to browsers.
async fn guard(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn index(State(page): Shared, Query(which): Query<Which>) -> Response {
    let view = page.view_with(which.job.as_deref()).await;
    match (view.job(which.job.as_deref()), which.job) {
        (None, Some(id)) => missing(&format!("There is no search {id:?}.")),
        (job, _) => html::page(&view, job.map(Arc::as_ref)).into_response(),
    }
}

async fn events(
    State(page): Shared,
    outsider: Option<Extension<Outsider>>,
    Query(which): Query<Which>,
) -> Response {
    match page.seat(outsider.map(|Extension(outsider)| outsider)) {
        Some(seat) => {
            let (views, stopping) = (page.views.clone(), page.stopping.clone());
            live::events(views, stopping, which.job, seat).into_response()
        }
        None => {
            let headers = [(header::RETRY_AFTER, "30")];
            let reason = "too many people look on; the page itself is there for all\n";
            (StatusCode::SERVICE_UNAVAILABLE, headers, reason).into_response()
        }
    }
}

/// From the form to the seed's own address.
async fn look_up(Query(wanted): Query<Wanted>) -> Response {
    let Ok(seed) = wanted.seed.trim().parse() else {
        return refused(&format!(
            "{:?} is no seed: those are the numbers from 0 to 4294967295.",
            wanted.seed
        ));
    };
    Redirect::to(&html::seed_path(
        &wanted.level,
        seed,
        &wanted.job.unwrap_or_default(),
    ))
    .into_response()
}

async fn explain(
    State(page): Shared,
    Path((level, seed)): Path<(String, u32)>,
    Query(which): Query<Which>,
    headers: HeaderMap,
) -> Response {
    let id = which.job.filter(|id| !id.is_empty());
    let view = page.view_with(id.as_deref()).await;
    let Some(shown) = view.job(id.as_deref()) else {
        return missing("There is no such search.");
    };
    if !shown.levels.iter().any(|known| known.level == level) {
        return missing(&format!("The search has no level {level:?}."));
    }
    let answer = match page.explainer.job(&shown.job.id).await {
        Ok(Some(job)) => seed::answer(&headers, shown, &job, &level, seed),
        Ok(None) => return missing("There is no such search."),
        Err(error) => Err(error),
    };
    answer.unwrap_or_else(|error| {
        warn!("explaining seed {seed} of {level}: {error:#}");
        let reason = format!("It cannot be explained at the moment: {error:#}.");
        told(StatusCode::SERVICE_UNAVAILABLE, "Not now", &reason)
    })
}

async fn prometheus(State(page): Shared) -> Response {
    match metrics::text(&page.view(), page.clients()) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::MEDIA)], text).into_response(),
        Err(error) => {
            warn!("metrics: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn berry() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "image/svg+xml"),
        (header::CACHE_CONTROL, "public, max-age=86400"),
    ];
    (headers, BERRY)
}

fn missing(reason: &str) -> Response {
    told(StatusCode::NOT_FOUND, "Not here", reason)
}

fn refused(reason: &str) -> Response {
    told(StatusCode::BAD_REQUEST, "Not understood", reason)
}

/// A page with one sentence on it.
fn told(status: StatusCode, title: &str, reason: &str) -> Response {
    (status, html::told(title, reason)).into_response()
}
