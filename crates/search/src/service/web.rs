//! `web`: the HTTP side. It keeps nothing: what it is told goes to Redis, what it tells comes from there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use super::bus::Bus;
use super::page::{self, feed};
use super::snapshot::Snapshot;
use super::wire::{ApiError, Ask, JobRequest, Message, Reservation, Return, Submission};
use super::{log, now, redis_info};
use crate::cli::WebArgs;
use crate::failure::Failure;
use crate::spec::Spec;

/// A world of the largest size with long names is smaller.
const MAX_BODY: usize = 4 << 20;
/// Beyond these a job should ask for larger reservations.
const MAX_RANGES: u64 = 1_000_000;
/// How long worker may take to enter a job.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a miner may be kept waiting for work.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// How often to look again while worker is awaited.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How often to look again for work while a miner waits: all of them wait at once, for as long as there is none.
const LOOK_FOR_WORK: Duration = Duration::from_secs(1);

struct App {
    bus: Bus,
    /// Turns true when the process is to end.
    stopping: watch::Receiver<bool>,
}

type Shared = State<Arc<App>>;
type Body = Result<Bytes, BytesRejection>;

pub(crate) fn main(args: &WebArgs) -> Result<(), Failure> {
    log();
    let redis = redis_info(&args.redis).map_err(|error| Failure::Usage(format!("{error:#}")))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    Ok(runtime.block_on(serve(args, Bus::new(redis)))?)
}

async fn serve(args: &WebArgs, bus: Bus) -> anyhow::Result<()> {
    let (stop, stopping) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let asked_to_stop = async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        stop.send_replace(true);
    };
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    info!("listening on {}", listener.local_addr()?);
    let app = Arc::new(App { bus, stopping });
    let page = feed::page(Told(app.clone()), args.engine.clone(), app.stopping.clone());
    let app = page::router(page).fallback_service(router(app));
    axum::serve(listener, app)
        .with_graceful_shutdown(asked_to_stop)
        .await?;
    info!("stopped");
    Ok(())
}

/// What the page is told of jobs.
struct Told(Arc<App>);

impl feed::Source for Told {
    async fn jobs(&self) -> anyhow::Result<Vec<String>> {
        // Redis knows no order; time does.
        let mut jobs = Vec::new();
        for id in self.0.bus.jobs().await? {
            let snapshot = self.snapshot(&id).await?;
            jobs.extend(snapshot.map(|snapshot| (snapshot.job.created, id)));
        }
        jobs.sort_by(|a, b| a.0.total_cmp(&b.0));
        Ok(jobs.into_iter().map(|(_, id)| id).collect())
    }

    async fn snapshot(&self, job: &str) -> anyhow::Result<Option<Snapshot>> {
        let json = self.0.bus.job(job, "snapshot").await?;
        Ok(json.as_deref().map(serde_json::from_str).transpose()?)
    }

    async fn spec(&self, job: &str) -> anyhow::Result<Option<Spec>> {
        let json = self.0.bus.job(job, "spec").await?;
        Ok(json.as_deref().map(serde_json::from_str).transpose()?)
    }
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/api/v1/jobs", post(create_job))
        .route("/api/v1/jobs/{id}", get(job_status))
        .route("/api/v1/jobs/{id}/spec", get(job_spec))
        .route("/v1/jobs/{id}/snapshot", get(job_snapshot))
        .route("/api/v1/reservations", post(reserve))
        .route("/api/v1/results", post(result))
        .route("/api/v1/returns", post(give_back))
        .fallback(async || Refusal(StatusCode::NOT_FOUND, "there is nothing here".to_owned()))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(app)
}

/// An answer that is no success, with its reason.
struct Refusal(StatusCode, String);

impl Refusal {
    fn bad(reason: impl Into<String>) -> Self {
        Refusal(StatusCode::BAD_REQUEST, reason.into())
    }

    fn away(reason: impl Into<String>) -> Self {
        Refusal(StatusCode::SERVICE_UNAVAILABLE, reason.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(ApiError { error: self.1 })).into_response()
    }
}

/// What goes wrong behind web is expected to pass.
impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        warn!("{error:#}");
        Refusal::away(format!("{error:#}"))
    }
}

async fn ready(State(app): Shared) -> Result<&'static str, Refusal> {
    if app.bus.has_worker().await? {
        Ok("ready\n")
    } else {
        Err(Refusal::away("no sign of the worker"))
    }
}

async fn create_job(State(app): Shared, body: Body) -> Result<Response, Refusal> {
    let request: JobRequest = parse(body)?;
    if !(1..=crate::spec::SEEDS).contains(&request.reservation) {
        return Err(Refusal::bad("reservation: from 1 to 4294967296 seeds"));
    }
    let spec = request.spec.clone();
    // Compiling checks everything, and takes a moment.
    let checked = tokio::task::spawn_blocking(move || spec.compile().map(drop)).await;
    checked
        .context("checking the job")?
        .map_err(|failure| Refusal::bad(failure.to_string()))?;
    let ranges = request.spec.len.div_ceil(request.reservation) * request.spec.levels.len() as u64;
    if ranges > MAX_RANGES {
        return Err(Refusal::bad(format!(
            "reservation: {ranges} ranges are too many; ask for larger ones"
        )));
    }
    let id = job_id(&request)?;
    if let Some(status) = app.bus.job(&id, "status").await? {
        return Ok(raw_json(StatusCode::OK, status));
    }
    app.bus
        .send(&Message::Job {
            id: id.clone(),
            request: Box::new(request),
        })
        .await?;
    // Only what is in the ledger is sure to last, so that is waited for.
    let patience = Instant::now() + PATIENCE;
    while Instant::now() < patience {
        if let Some(status) = app.bus.job(&id, "status").await? {
            return Ok(raw_json(StatusCode::CREATED, status));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Err(Refusal::away(
        "the worker has not taken the job yet; ask again",
    ))
}

/// Requests that are the same are the same job.
fn job_id(request: &JobRequest) -> Result<String, Refusal> {
    let text = serde_json::to_string(request).map_err(anyhow::Error::from)?;
    Ok(Sha256::digest(text)
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

async fn job_status(State(app): Shared, Path(id): Path<String>) -> Result<Response, Refusal> {
    job_field(&app, &id, "status").await
}

async fn job_spec(State(app): Shared, Path(id): Path<String>) -> Result<Response, Refusal> {
    job_field(&app, &id, "spec").await
}

async fn job_snapshot(State(app): Shared, Path(id): Path<String>) -> Result<Response, Refusal> {
    job_field(&app, &id, "snapshot").await
}

async fn job_field(app: &App, id: &str, field: &str) -> Result<Response, Refusal> {
    match app.bus.job(id, field).await? {
        Some(json) => Ok(raw_json(StatusCode::OK, json)),
        None => Err(Refusal(StatusCode::NOT_FOUND, format!("no job {id:?}"))),
    }
}

async fn reserve(State(app): Shared, body: Body) -> Result<Response, Refusal> {
    let ask: Ask = parse(body)?;
    check_node(&ask.node)?;
    let mut stopping = app.stopping.clone();
    let until = Instant::now() + Duration::from_secs(ask.wait_seconds).min(LONGEST_WAIT);
    loop {
        if let Some(offer) = app.bus.lend(&ask.node).await? {
            let deadline = now() as u64 + offer.lease_seconds;
            return Ok(Json(Reservation { offer, deadline }).into_response());
        }
        if Instant::now() >= until || *stopping.borrow() {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        tokio::select! { () = tokio::time::sleep(LOOK_FOR_WORK) => {}, _ = stopping.changed() => {} }
    }
}

async fn result(State(app): Shared, body: Body) -> Result<Response, Refusal> {
    let submission: Submission = parse(body)?;
    check_node(&submission.node)?;
    if !(0.0..1e9).contains(&submission.seconds) {
        return Err(Refusal::bad("seconds: not a time"));
    }
    submission
        .tally
        .summary_of(submission.range.start, submission.range.len)
        .map_err(Refusal::bad)?;
    app.bus.send(&Message::Result(submission)).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({}))).into_response())
}

async fn give_back(State(app): Shared, body: Body) -> Result<Response, Refusal> {
    let returned: Return = parse(body)?;
    check_node(&returned.node)?;
    app.bus.send(&Message::Return(returned)).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({}))).into_response())
}

fn parse<T: DeserializeOwned>(body: Body) -> Result<T, Refusal> {
    let body = body.map_err(|rejection| Refusal(rejection.status(), rejection.body_text()))?;
    serde_json::from_slice(&body).map_err(|error| Refusal::bad(error.to_string()))
}

fn check_node(node: &str) -> Result<(), Refusal> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if (1..=64).contains(&node.len()) && node.chars().all(allowed) {
        return Ok(());
    }
    Err(Refusal::bad(
        "node: a name of 1 to 64 letters, digits, hyphens, dots and underscores",
    ))
}

fn raw_json(status: StatusCode, json: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], json).into_response()
}
