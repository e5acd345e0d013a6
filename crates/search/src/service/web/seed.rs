//! `GET /v1/seed/{level}/{seed}`: one seed in full, computed anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::App;
use super::answer::{Read, Refusal, raw_json};
use super::api::ask;
use crate::explain::Explanation;
use crate::service::wire::{Caller, JobStatus, Reply, Request};
use crate::spec::{Compiled, Spec};

/// Compiled jobs to keep.
const MAX_PROGRAMS: usize = 4;

/// Jobs that were asked about, ready to compute.
#[derive(Default)]
pub(super) struct Programs(Mutex<BTreeMap<String, Arc<(Spec, Compiled)>>>);

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
    let program = match program(&app, &caller, &job).await? {
        Ok(program) => program,
        Err(refused) => return Ok(refused.into_response()),
    };
    let (spec, compiled) = &*program;
    let index = spec.levels.iter().position(|name| *name == level);
    let (position, kernel) = index
        .and_then(|index| compiled.levels.get(index))
        .ok_or_else(|| {
            let known = spec.levels.join(", ");
            Refusal(
                StatusCode::NOT_FOUND,
                format!("job {job} has no level {level:?}, but {known}"),
            )
        })?;
    let explanation = Explanation::new(&compiled.world, *position, &kernel.arrange(seed));
    let json = serde_json::to_string(&explanation).unwrap_or_default();
    Ok(raw_json(StatusCode::OK, json))
}

async fn newest(app: &App, caller: &Caller) -> Result<String, Refusal> {
    let reply = ask(app, caller.clone(), Request::Jobs).await?;
    let Reply::Yes(json) = reply else {
        return Err(Refusal::away(
            "the worker does not say which jobs there are",
        ));
    };
    let jobs: Vec<JobStatus> = serde_json::from_str(&json).unwrap_or_default();
    let newest = jobs.into_iter().next_back().map(|job| job.id);
    newest.ok_or_else(|| Refusal(StatusCode::NOT_FOUND, "there is no job yet".to_owned()))
}

type Program = Arc<(Spec, Compiled)>;

/// The job's program, or worker's refusal.
async fn program(app: &App, caller: &Caller, job: &str) -> Result<Result<Program, Reply>, Refusal> {
    let known = |programs: &Programs| {
        let programs = programs.0.lock().unwrap_or_else(PoisonError::into_inner);
        programs.get(job).map(Arc::clone)
    };
    if let Some(program) = known(&app.seeds) {
        return Ok(Ok(program));
    }
    let request = Request::Spec {
        job: job.to_owned(),
    };
    let json = match ask(app, caller.clone(), request).await? {
        Reply::Yes(json) => json,
        refused => return Ok(Err(refused)),
    };
    let wrong = |problem: String| Refusal(StatusCode::INTERNAL_SERVER_ERROR, problem);
    let compile = move || {
        let spec: Spec = serde_json::from_str(&json).map_err(|error| error.to_string())?;
        let compiled = spec.compile().map_err(|failure| failure.to_string())?;
        Ok::<_, String>(Arc::new((spec, compiled)))
    };
    let compiled = tokio::task::spawn_blocking(compile).await;
    let program = compiled
        .map_err(|error| wrong(error.to_string()))?
        .map_err(wrong)?;
    let mut programs = app.seeds.0.lock().unwrap_or_else(PoisonError::into_inner);
    if programs.len() >= MAX_PROGRAMS {
        programs.clear();
    }
    programs.insert(job.to_owned(), Arc::clone(&program));
    Ok(Ok(program))
}
