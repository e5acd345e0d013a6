//! `GET /v1/seed/{level}/{seed}`: one seed in full, computed anew.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::App;
use super::answer::{Read, Refusal, raw_json};
use super::api::ask;
use crate::service::wire::{Caller, JobStatus, Reply, Request};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Of {
    /// The job whose world and engine are meant; otherwise those of the newest.
    job: Option<String>,
}

pub(super) async fn explain(
    State(app): State<Arc<App>>,
    caller: Caller,
    Read(Path((level, seed))): Read<Path<(String, String)>>,
    Read(Query(of)): Read<Query<Of>>,
) -> Result<Response, Refusal> {
    let seed: u32 = seed.parse().map_err(|_| {
        Refusal::bad(format!(
            "seed: {seed:?} is not a number from 0 to 4294967295"
        ))
    })?;
    let job = match of.job {
        Some(job) => job,
        None => newest(&app, &caller).await?,
    };
    let found = app.explainer.job(&job).await;
    let program = found.map_err(|error| Refusal::away(format!("{error:#}")))?;
    let program =
        program.ok_or_else(|| Refusal(StatusCode::NOT_FOUND, format!("no job {job:?}")))?;
    let explanation = program.explain(&level, seed).ok_or_else(|| {
        let known = program.levels().join(", ");
        Refusal(
            StatusCode::NOT_FOUND,
            format!("job {job} has no level {level:?}, but {known}"),
        )
    })?;
    let json = serde_json::to_string(&explanation);
    let json = json.map_err(|error| Refusal::failed(format!("the explanation: {error}")))?;
    Ok(raw_json(StatusCode::OK, json))
}

async fn newest(app: &App, caller: &Caller) -> Result<String, Refusal> {
    let reply = ask(app, caller.clone(), Request::Jobs).await?;
    let Reply::Yes(json) = reply else {
        return Err(Refusal::away(
            "the worker does not say which jobs there are",
        ));
    };
    let jobs: Vec<JobStatus> = serde_json::from_str(&json)
        .map_err(|error| Refusal::failed(format!("the worker's list of jobs: {error}")))?;
    let newest = jobs.into_iter().next_back().map(|job| job.id);
    newest.ok_or_else(|| Refusal(StatusCode::NOT_FOUND, "there is no job yet".to_owned()))
}
