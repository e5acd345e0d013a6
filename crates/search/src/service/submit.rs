//! `submit`: has the cluster do what `run` does alone, and prints the same.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use indicatif::ProgressBar;

use super::client::{Answer, Client};
use super::wire::{JobRequest, JobStatus, State};
use crate::cli::SubmitArgs;
use crate::failure::Failure;
use crate::progress;
use crate::report::thousands;

/// How often to ask how far the job is.
const INTERVAL: Duration = Duration::from_secs(1);

pub(crate) fn main(args: &SubmitArgs) -> Result<(), Failure> {
    let spec = args.search.spec()?;
    // What is wrong with it is better said here, where the file is.
    spec.compile()?;
    let client = Client::new(&args.server);
    let patience = Duration::from_secs(args.patience);
    // So that a request that is repeated because its answer was lost is one job, and asking again later is another.
    let key = format!("{:016x}", RandomState::new().build_hasher().finish());
    let request = JobRequest {
        spec: spec.clone(),
        reservation: args.reservation,
        key,
    };
    let status = patiently(patience, || {
        match client.post::<JobStatus>("/api/v1/jobs", &request)? {
            Answer::Yes(status) => Ok(Ok(status)),
            Answer::Nothing => Err(anyhow!("the server answered nothing")),
            Answer::Refused(_, message) => Ok(Err(Failure::Usage(message))),
        }
    })??;
    if args.no_wait {
        if args.search.json {
            println!(
                "{}",
                serde_json::to_string(&status).map_err(anyhow::Error::from)?
            );
        } else {
            println!(
                "job {} is at {}/api/v1/jobs/{}",
                status.id,
                args.server.trim_end_matches('/'),
                status.id
            );
        }
        return Ok(());
    }
    let status = wait(&client, status, patience)?;
    let report = status
        .report
        .as_ref()
        .with_context(|| format!("job {} ended without a report", status.id))?;
    if status.state == State::Disputed {
        return Err(disputed(&status));
    }
    if args.search.json {
        println!("{}", report.json());
    } else {
        print!("{}", report.text(&spec));
    }
    Ok(())
}

fn wait(client: &Client, mut status: JobStatus, patience: Duration) -> Result<JobStatus> {
    let bar = progress::bar("cluster", status.progress.seeds_total);
    while status.state == State::Running {
        show(&bar, &status);
        thread::sleep(INTERVAL);
        let path = format!("/api/v1/jobs/{}", status.id);
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
            "\n  {} from seed {}, {} seeds: {} differs from {}",
            dispute.level,
            dispute.start,
            thousands(dispute.len),
            dispute.differs,
            dispute.counted
        )
    });
    let ranges: String = ranges.collect();
    Failure::Failed(anyhow!(
        "job {}: nodes do not agree, so there is no answer; one of them computes wrongly:{ranges}",
        status.id
    ))
}
