//! `miner`: borrows ranges, computes them on all cores, hands in what it found.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use bramble_kernel::Program;
use tracing::{info, warn};

use super::client::{Answer, Client};
use super::wire::{Ask, Reservation, Return, Submission};
use super::{Backoff, log, stop_flag};
use crate::cli::MinerArgs;
use crate::failure::Failure;
use crate::run;
use crate::spec::Spec;
use crate::tally::Tally;

/// How long one request for work may wait. Less than containers get to stop.
const WAIT_SECONDS: u64 = 5;
/// Compiled jobs to keep; they alternate at most among those that are running.
const MAX_JOBS: usize = 4;

struct Miner {
    client: Client,
    node: String,
    threads: NonZero<usize>,
    jobs: BTreeMap<String, Vec<Program>>,
}

pub(crate) fn main(args: &MinerArgs) -> Result<(), Failure> {
    log();
    let stop = stop_flag()?;
    let node = args.node.clone().map_or_else(host_name, Ok)?;
    let threads = run::threads(args.threads);
    info!(node, threads, "mining for {}", args.server);
    let mut miner = Miner {
        client: Client::new(&args.server),
        node,
        threads,
        jobs: BTreeMap::new(),
    };
    let mut backoff = Backoff::new();
    while !stop.load(Ordering::Relaxed) {
        match miner.work(&stop) {
            Ok(()) => backoff.reset(),
            Err(error) => {
                warn!("{error:#}; trying again");
                backoff.pause(&stop);
            }
        }
    }
    info!("stopped");
    Ok(())
}

fn host_name() -> Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .context("give this node a name with --node")?;
    Ok(name.trim().to_owned())
}

impl Miner {
    /// Borrows and computes one range, if there is one.
    fn work(&mut self, stop: &AtomicBool) -> Result<()> {
        let ask = Ask {
            node: self.node.clone(),
            wait_seconds: WAIT_SECONDS,
        };
        let reservation: Reservation = match self.client.post("/api/v1/reservations", &ask)? {
            Answer::Yes(reservation) => reservation,
            Answer::Nothing => return Ok(()),
            Answer::Refused(status, message) => bail!("no work: {message} ({status})"),
        };
        match self.compute(&reservation, stop) {
            Ok(Some(submission)) => self.submit(&submission, stop),
            // What is handed back at once need not wait for the loan to run out.
            Ok(None) => self.give_back(&reservation),
            Err(error) => self.give_back(&reservation).and(Err(error)),
        }
    }

    /// `None` if asked to stop on the way.
    fn compute(
        &mut self,
        reservation: &Reservation,
        stop: &AtomicBool,
    ) -> Result<Option<Submission>> {
        let (range, threads) = (&reservation.offer.range, self.threads);
        let program = self.program(&range.job, range.level)?;
        let started = Instant::now();
        let Some(summary) = run::search(program, range.start, range.len, threads, stop, &|_| ())
        else {
            return Ok(None);
        };
        Ok(Some(Submission {
            range: range.clone(),
            epoch: reservation.offer.epoch,
            node: self.node.clone(),
            seconds: started.elapsed().as_secs_f64(),
            tally: Tally::from(&summary),
        }))
    }

    fn program(&mut self, job: &str, level: usize) -> Result<&Program> {
        if !self.jobs.contains_key(job) {
            let spec = match self
                .client
                .get::<Spec>(&format!("/api/v1/jobs/{job}/spec"))?
            {
                Answer::Yes(spec) => spec,
                Answer::Nothing => bail!("job {job}: the server does not say what it is"),
                Answer::Refused(status, message) => bail!("job {job}: {message} ({status})"),
            };
            let compiled = spec
                .compile()
                .map_err(|failure| anyhow!("job {job}: {failure}"))?;
            if self.jobs.len() >= MAX_JOBS {
                self.jobs.clear();
            }
            self.jobs.insert(
                job.to_owned(),
                compiled
                    .levels
                    .into_iter()
                    .map(|(_, program)| program)
                    .collect(),
            );
            info!(job, "learned what to compute");
        }
        let program = self.jobs.get(job).and_then(|programs| programs.get(level));
        program.ok_or_else(|| anyhow!("job {job} has no level {level}"))
    }

    /// Hands in a result, however long web is away, unless asked to stop: then it tries once more and leaves the range to others.
    fn submit(&self, submission: &Submission, stop: &AtomicBool) -> Result<()> {
        let mut backoff = Backoff::new();
        loop {
            let last_attempt = stop.load(Ordering::Relaxed);
            match self
                .client
                .post::<serde_json::Value>("/api/v1/results", submission)
            {
                Ok(Answer::Yes(_) | Answer::Nothing) => return Ok(()),
                Ok(Answer::Refused(status, message)) => {
                    bail!("a result was refused: {message} ({status})")
                }
                Err(error) if last_attempt => return Err(error),
                Err(error) => {
                    warn!("{error:#}; trying again");
                    backoff.pause(stop);
                }
            }
        }
    }

    fn give_back(&self, reservation: &Reservation) -> Result<()> {
        let returned = Return {
            range: reservation.offer.range.clone(),
            epoch: reservation.offer.epoch,
            node: self.node.clone(),
        };
        self.client
            .post::<serde_json::Value>("/api/v1/returns", &returned)?;
        Ok(())
    }
}
