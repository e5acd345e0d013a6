//! What can be asked. `openapi.json` says the same to programs, and a test compares the two.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::answer::{Posted, Read, Refusal, raw_json};
use super::caller::{Administrator, Known};
use super::{App, seed};
use crate::failure::Failure;
use crate::service::token::Token;
use crate::service::wire::{Ask, Caller, Grant, Hold, JobRequest, Reply, Request, Submission};

/// A world of the largest size with long names is smaller.
const MAX_JOB: usize = 4 << 20;
/// A result that lists as many seeds of a filter as it may is smaller.
const MAX_RESULT: usize = 128 << 10;
/// Every other body is.
const MAX_BODY: usize = 64 << 10;
/// How long a miner may be kept waiting for work.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// Work may come about without anybody having done something: a node may now do what it may not have done before.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

pub(super) const OPENAPI: &str = include_str!("openapi.json");

type Shared = State<Arc<App>>;
type Answer = Result<Response, Refusal>;

pub(super) fn routes() -> Vec<(&'static str, MethodRouter<Arc<App>>)> {
    let small = || DefaultBodyLimit::max(MAX_BODY);
    vec![
        ("/healthz", get(async || "ok\n")),
        ("/readyz", get(ready)),
        (
            "/v1/openapi.json",
            get(async || raw_json(StatusCode::OK, OPENAPI.to_owned())),
        ),
        (
            "/v1/jobs",
            get(jobs).post(begin).layer(DefaultBodyLimit::max(MAX_JOB)),
        ),
        ("/v1/jobs/{id}", get(status)),
        ("/v1/jobs/{id}/spec", get(spec)),
        ("/v1/jobs/{id}/snapshot", get(snapshot)),
        ("/v1/seed/{level}/{seed}", get(seed::explain)),
        ("/v1/reservations", post(reserve).layer(small())),
        ("/v1/renewals", post(renew).layer(small())),
        ("/v1/returns", post(give_back).layer(small())),
        (
            "/v1/results",
            post(result).layer(DefaultBodyLimit::max(MAX_RESULT)),
        ),
        ("/v1/tokens", get(tokens).post(grant).layer(small())),
        ("/v1/tokens/{name}", delete(revoke)),
        ("/v1/nodes/{node}/forgive", post(forgive)),
    ]
}

/// Asks worker.
pub(super) async fn ask(app: &App, caller: Caller, request: Request) -> Result<Reply, Refusal> {
    let reply = app.bus.ask(caller, request).await;
    reply.ok_or_else(|| Refusal::away("the worker does not answer; try again"))
}

async fn answer(app: &App, caller: Caller, request: Request) -> Answer {
    Ok(ask(app, caller, request).await?.into_response())
}

async fn ready(State(app): Shared) -> Result<&'static str, Refusal> {
    ask(&app, Caller::Nobody, Request::Ping)
        .await
        .map(|_| "ready\n")
}

async fn jobs(State(app): Shared, caller: Caller) -> Answer {
    answer(&app, caller, Request::Jobs).await
}

async fn status(State(app): Shared, caller: Caller, Read(Path(job)): Read<Path<String>>) -> Answer {
    answer(&app, caller, Request::Status { job }).await
}

async fn spec(State(app): Shared, caller: Caller, Read(Path(job)): Read<Path<String>>) -> Answer {
    answer(&app, caller, Request::Spec { job }).await
}

async fn snapshot(
    State(app): Shared,
    caller: Caller,
    Read(Path(job)): Read<Path<String>>,
) -> Answer {
    answer(&app, caller, Request::Snapshot { job }).await
}

async fn begin(
    State(app): Shared,
    _: Administrator,
    Posted(request): Posted<JobRequest>,
) -> Answer {
    if !(1..=crate::spec::SEEDS).contains(&request.reservation) {
        return Err(Refusal::bad("reservation: from 1 to 4294967296 seeds"));
    }
    let spec = request.spec.clone();
    // Compiling checks everything, and takes a moment.
    let checked = tokio::task::spawn_blocking(move || spec.compile().map(drop)).await;
    let checked = checked.context("checking the job");
    checked
        .map_err(|error| Refusal::failed(format!("{error:#}")))?
        .map_err(|failure| match failure {
            Failure::Filter(problem) => {
                let problem = problem.to_string();
                Refusal::bad(problem.replacen("--where:", "filter:", 1))
            }
            failure => Refusal::bad(failure.to_string()),
        })?;
    let id = job_id(&request);
    let request = Box::new(request);
    answer(&app, Caller::Admin, Request::Begin { id, request }).await
}

/// Requests that are the same are the same job.
pub(crate) fn job_id(request: &JobRequest) -> String {
    let text = serde_json::to_string(request).unwrap_or_default();
    let hash = Sha256::digest(text);
    hash.iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

async fn reserve(State(app): Shared, Known(caller): Known, Posted(wanted): Posted<Ask>) -> Answer {
    check_name(&wanted.node)?;
    let mut stopping = app.stopping.clone();
    let mut woken = app.bus.woken.clone();
    let until = Instant::now() + Duration::from_secs(wanted.wait_seconds).min(LONGEST_WAIT);
    loop {
        woken.borrow_and_update();
        let reply = ask(&app, caller.clone(), Request::Lend(wanted.clone())).await?;
        let left = until.saturating_duration_since(Instant::now());
        if reply != Reply::Nothing || left.is_zero() || *stopping.borrow() {
            return Ok(reply.into_response());
        }
        tokio::select! {
            () = tokio::time::sleep(left.min(LOOK_AGAIN)) => {
                // Nobody said that there is work, and whoever waited asks again at once.
                if left <= LOOK_AGAIN {
                    return Ok(reply.into_response());
                }
            }
            _ = woken.changed() => {}
            _ = stopping.changed() => {}
        }
    }
}

async fn renew(State(app): Shared, Known(caller): Known, Posted(hold): Posted<Hold>) -> Answer {
    check_name(&hold.node)?;
    answer(&app, caller, Request::Renew(hold)).await
}

async fn give_back(State(app): Shared, Known(caller): Known, Posted(hold): Posted<Hold>) -> Answer {
    check_name(&hold.node)?;
    answer(&app, caller, Request::Return(hold)).await
}

async fn result(
    State(app): Shared,
    Known(caller): Known,
    Posted(result): Posted<Submission>,
) -> Answer {
    check_name(&result.node)?;
    if !(0.0..1e9).contains(&result.seconds) {
        return Err(Refusal::bad("seconds: not a time"));
    }
    answer(&app, caller, Request::Result(result)).await
}

async fn tokens(State(app): Shared, _: Administrator) -> Answer {
    answer(&app, Caller::Admin, Request::Tokens).await
}

async fn grant(State(app): Shared, _: Administrator, Posted(grant): Posted<Grant>) -> Answer {
    check_name(&grant.name)?;
    let token = Token::new().map_err(|error| Refusal::away(format!("{error:#}")))?;
    let request = Request::Grant {
        name: grant.name.clone(),
        hash: token.hash(),
    };
    match ask(&app, Caller::Admin, request).await? {
        Reply::Made(_) => {
            let made = json!({ "name": grant.name, "token": token.reveal() });
            Ok(raw_json(StatusCode::CREATED, made.to_string()))
        }
        other => Ok(other.into_response()),
    }
}

async fn revoke(
    State(app): Shared,
    _: Administrator,
    Read(Path(name)): Read<Path<String>>,
) -> Answer {
    answer(&app, Caller::Admin, Request::Revoke { name }).await
}

async fn forgive(
    State(app): Shared,
    _: Administrator,
    Read(Path(node)): Read<Path<String>>,
) -> Answer {
    answer(&app, Caller::Admin, Request::Forgive { node }).await
}

fn check_name(node: &str) -> Result<(), Refusal> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if (1..=64).contains(&node.len()) && node.chars().all(allowed) {
        return Ok(());
    }
    Err(Refusal::bad(
        "node: a name of 1 to 64 letters, digits, hyphens, dots and underscores",
    ))
}
