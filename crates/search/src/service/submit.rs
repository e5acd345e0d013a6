//! `submit`: has the cluster do what `run` does alone, and prints the same.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use indicatif::ProgressBar;

use super::client::{Answer, Client};
use super::token::Token;
use super::wire::{Dispute, JobRequest, JobStatus, State};
use crate::cli::SubmitArgs;
use crate::failure::Failure;
use crate::find::line;
use crate::output;
use crate::progress;
use crate::report::{LevelReport, Report, thousands};
use crate::spec::Spec;

/// How often to ask how far the job is.
const INTERVAL: Duration = Duration::from_secs(1);

pub(crate) fn main(args: &SubmitArgs) -> Result<(), Failure> {
    let spec = Spec {
        filter: args.filter.clone(),
        ..args.search.spec()?
    };
    // What is wrong with it is better said here, where the file is.
    spec.compile()?;
    let token = Token::read_any(args.token_file.as_deref())?;
    let client = Client::new(&args.server, token);
    let patience = Duration::from_secs(args.patience);
    // So that a request that is repeated because its answer was lost is one job, and asking again later is another.
    let key = format!("{:016x}", RandomState::new().build_hasher().finish());
    let request = JobRequest {
        spec: spec.clone(),
        reservation: args.reservation,
        key,
    };
    let status = patiently(patience, || {
        match client.post::<JobStatus>("/v1/jobs", &request)? {
            Answer::Yes(status) => Ok(Ok(status)),
            Answer::Nothing => Err(anyhow!("the server answered nothing")),
            Answer::Refused(_, message) => Ok(Err(Failure::Usage(message))),
        }
    })??;
    if args.no_wait {
        let told = match args.search.json {
            true => serde_json::to_string(&status).map_err(anyhow::Error::from)?,
            false => format!(
                "job {} is at {}/v1/jobs/{}",
                status.id,
                args.server.trim_end_matches('/'),
                status.id
            ),
        };
        output::print(&(told + "\n"))?;
        return Ok(());
    }
    let status = wait(&client, status, patience, &AtomicBool::new(false))?;
    tell(&status, &spec, args.search.json)
}

/// Prints the answer.
pub(crate) fn tell(status: &JobStatus, spec: &Spec, json: bool) -> Result<(), Failure> {
    if status.state == State::Disputed {
        return Err(disputed(status));
    }
    let report = status
        .report
        .as_ref()
        .with_context(|| format!("job {} ended without a report", status.id))?;
    if status.progress.ranges_unverified > 0 {
        output::tell(&format!(
            "{} ranges were to be computed again, but no other node was there to do it",
            status.progress.ranges_unverified
        ));
    }
    if spec.filter.is_some() {
        return list(report, json);
    }
    let told = match json {
        true => report.json() + "\n",
        false => report.text(spec),
    };
    output::print(&told)?;
    Ok(())
}

/// Prints the seeds that a filter found, as `find` does.
fn list(report: &Report, json: bool) -> Result<(), Failure> {
    let several = report.levels.len() > 1;
    for LevelReport { level, tally, .. } in &report.levels {
        let found = tally.found.as_deref().unwrap_or_default();
        let mut told = String::new();
        for &found in found {
            told += &line(level, several, found, json).map_err(anyhow::Error::from)?;
            told.push('\n');
        }
        output::print(&told)?;
        let (wanted, listed) = (tally.completable + tally.dead, found.len() as u64);
        output::tell(&format!(
            "{level}: {} of {} seeds{}",
            thousands(wanted),
            thousands(tally.scanned),
            match listed < wanted {
                true => format!(
                    "; the lowest {} are listed, `bramble-search find` lists all",
                    thousands(listed)
                ),
                false => String::new(),
            }
        ));
    }
    Ok(())
}

/// Waits for the end of a job, or until `stop` is set.
pub(crate) fn wait(
    client: &Client,
    mut status: JobStatus,
    patience: Duration,
    stop: &AtomicBool,
) -> Result<JobStatus, Failure> {
    let bar = progress::bar("cluster", status.progress.seeds_total);
    let mut pause = INTERVAL / 32;
    while status.state == State::Running {
        show(&bar, &status);
        if stop.load(Ordering::Relaxed) {
            let id = &status.id;
            return Err(Failure::Interrupted(format!(
                "stopped; job {id} is not done"
            )));
        }
        // Short at first, for searches that are.
        thread::sleep(pause);
        pause = (pause * 2).min(INTERVAL);
        let path = format!("/v1/jobs/{}", status.id);
        let asked = patiently(patience, || match client.get::<JobStatus>(&path)? {
            Answer::Yes(status) => Ok(status),
            Answer::Nothing => Err(anyhow!("the server answered nothing")),
            // It was known before, and will be again when Redis and worker have met.
            Answer::Refused(_, message) => Err(anyhow!(message)),
        });
        status = asked.with_context(|| {
            format!(
                "lost touch with job {}, which goes on without us",
                status.id
            )
        })?;
    }
    bar.finish_and_clear();
    Ok(status)
}

fn show(bar: &ProgressBar, status: &JobStatus) {
    bar.set_position(status.progress.seeds_done);
    bar.set_prefix(format!("{} nodes", status.nodes.len()));
}

/// Tries again what may pass, for so long.
fn patiently<T>(patience: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let until = Instant::now() + patience;
    loop {
        match attempt() {
            Err(_) if Instant::now() < until => thread::sleep(INTERVAL),
            outcome => return outcome,
        }
    }
}

fn disputed(status: &JobStatus) -> Failure {
    let ranges = status.disputes.iter().map(|dispute| {
        format!(
            "\n  {} from seed {}, {} seeds: {}",
            dispute.level,
            dispute.start,
            thousands(dispute.len),
            digests(dispute)
        )
    });
    let ranges: String = ranges.collect();
    Failure::Failed(anyhow!(
        "job {}: nodes do not agree, so there is no answer; one of them computes wrongly:{ranges}",
        status.id
    ))
}

fn digests(dispute: &Dispute) -> String {
    let digests = dispute
        .digests
        .iter()
        .map(|(node, digest)| format!("{node} finds {digest}"));
    digests.collect::<Vec<_>>().join(", ")
}
