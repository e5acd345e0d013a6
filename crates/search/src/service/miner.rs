//! `miner`: borrows ranges, computes them on all cores, hands in what it found.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;
use tracing::{info, warn};

use super::alive::Alive;
use super::client::{Answer, Client};
use super::compute::{Task, compute};
use super::token::Token;
use super::wire::{Ask, Hold, Reservation, Submission};
use super::{Backoff, log, stop_flag};
use crate::cli::MinerArgs;
use crate::failure::Failure;
use crate::finding::Finding;
use crate::plan::Step;
use crate::run;
use crate::spec::Spec;
use crate::tally::Tally;

/// How long one request for work may wait. Less than containers get to stop.
const WAIT_SECONDS: u64 = 5;
/// Compiled jobs to keep; they alternate at most among those that are running.
const MAX_JOBS: usize = 4;
/// How long one that was asked to stop tries to reach web: an update stops web, too. Less than containers get to stop.
const FAREWELL: Duration = Duration::from_secs(60);
/// Between two such attempts.
const RETRY: Duration = Duration::from_millis(500);
/// How often to look whether the loan is to be given up.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) struct Miner {
    client: Client,
    node: String,
    threads: NonZero<usize>,
    jobs: BTreeMap<String, Vec<Task>>,
    alive: Alive,
}

/// How the computing of a range ended.
enum Ended {
    Done(Box<Submission>),
    /// Asked to stop: what was borrowed is to be handed back.
    Stopped,
    /// The loan is over, and somebody else has it.
    Lost,
}

pub(crate) fn main(args: &MinerArgs) -> Result<(), Failure> {
    log();
    let stop = stop_flag()?;
    let token = Token::read_any(args.token_file.as_deref())?;
    let node = args.node.clone().map_or_else(host_name, Ok)?;
    let threads = run::threads(args.threads);
    info!(node, threads, "mining for {}", args.server);
    let mut miner = Miner::new(Client::new(&args.server, token), node, threads);
    miner.alive = Alive::new(args.alive.as_deref());
    miner.mine(&stop);
    info!("stopped");
    Ok(())
}

fn host_name() -> Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .context("give this node a name with --node")?;
    Ok(name.trim().to_owned())
}

impl Miner {
    pub(crate) fn new(client: Client, node: String, threads: NonZero<usize>) -> Self {
        let jobs = BTreeMap::new();
        Miner {
            client,
            node,
            threads,
            jobs,
            alive: Alive::new(None),
        }
    }

    /// Works until asked to stop.
    pub(crate) fn mine(&mut self, stop: &Arc<AtomicBool>) {
        let mut backoff = Backoff::new();
        while !stop.load(Ordering::Relaxed) {
            self.alive.sign();
            match self.work(stop) {
                Ok(()) => backoff.reset(),
                Err(error) => {
                    warn!("{error:#}; trying again");
                    backoff.pause(stop);
                }
            }
        }
    }

    /// Borrows and computes one range, if there is one.
    fn work(&mut self, stop: &AtomicBool) -> Result<()> {
        let ask = Ask {
            node: self.node.clone(),
            wait_seconds: WAIT_SECONDS,
        };
        let reservation: Reservation = match self.client.post("/v1/reservations", &ask)? {
            Answer::Yes(reservation) => reservation,
            Answer::Nothing => return Ok(()),
            Answer::Refused(status, message) => bail!("no work: {message} ({status})"),
        };
        match self.compute(&reservation, stop) {
            Ok(Ended::Done(submission)) => self.submit(&submission, stop),
            Ok(Ended::Lost) => {
                warn!(epoch = reservation.epoch, "the loan ran out");
                Ok(())
            }
            // What is handed back at once need not wait for the loan to run out.
            Ok(Ended::Stopped) => self.give_back(&reservation),
            Err(error) => self.give_back(&reservation).and(Err(error)),
        }
    }

    fn compute(&mut self, reservation: &Reservation, stop: &AtomicBool) -> Result<Ended> {
        let range = &reservation.range;
        self.learn(&range.job)?;
        let tasks = self.jobs.get(&range.job);
        let task = tasks
            .and_then(|tasks| tasks.get(range.level))
            .ok_or_else(|| anyhow!("job {} has no level {}", range.job, range.level))?;
        let stretch = Step {
            start: range.start,
            len: range.len,
            twins: range.twins,
        };
        let started = Instant::now();
        let (enough, lost) = (AtomicBool::new(false), AtomicBool::new(false));
        let found: Option<Finding> = thread::scope(|scope| {
            let (done, is_done) = mpsc::channel::<()>();
            scope.spawn(|| self.keep(reservation, stop, is_done, &enough, &lost));
            let found = compute(task, stretch, self.threads, &enough);
            drop(done);
            found
        });
        Ok(match found {
            Some(finding) => Ended::Done(Box::new(Submission {
                range: range.clone(),
                epoch: reservation.epoch,
                node: self.node.clone(),
                seconds: started.elapsed().as_secs_f64(),
                tally: Tally::from(&finding),
            })),
            None if lost.load(Ordering::Relaxed) => Ended::Lost,
            None => Ended::Stopped,
        })
    }

    /// Renews the loan now and then until it is done; sets `enough` if it is to be given up, and `lost` if it is over.
    fn keep(
        &self,
        reservation: &Reservation,
        stop: &AtomicBool,
        is_done: mpsc::Receiver<()>,
        enough: &AtomicBool,
        lost: &AtomicBool,
    ) {
        let hold = self.hold(reservation);
        let every = Duration::from_secs(reservation.lease_seconds) / 4;
        let mut next = Instant::now() + every;
        while is_done.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            self.alive.sign();
            if stop.load(Ordering::Relaxed) {
                enough.store(true, Ordering::Relaxed);
            } else if Instant::now() >= next {
                match self.client.post::<Value>("/v1/renewals", &hold) {
                    Ok(Answer::Refused(410, _)) => {
                        lost.store(true, Ordering::Relaxed);
                        enough.store(true, Ordering::Relaxed);
                    }
                    // What was said of the loan may be out of date when the server is back.
                    Err(error) => warn!("cannot renew: {error:#}"),
                    Ok(_) => {}
                }
                next = Instant::now() + every;
            }
        }
    }

    /// Gets to know what a job is.
    fn learn(&mut self, job: &str) -> Result<()> {
        if self.jobs.contains_key(job) {
            return Ok(());
        }
        let spec = match self.client.get::<Spec>(&format!("/v1/jobs/{job}/spec"))? {
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
        self.jobs.insert(job.to_owned(), Task::all(compiled));
        info!(job, "learned what to compute");
        Ok(())
    }

    /// Hands in a result, however long web is away, unless asked to stop: then it tries for a while and leaves the range to others.
    fn submit(&self, submission: &Submission, stop: &AtomicBool) -> Result<()> {
        let mut backoff = Backoff::new();
        while !stop.load(Ordering::Relaxed) {
            self.alive.sign();
            match self.client.post::<Value>("/v1/results", submission) {
                Ok(Answer::Yes(_) | Answer::Nothing) => return Ok(()),
                Ok(Answer::Refused(status, message)) => {
                    bail!("a result was refused: {message} ({status})")
                }
                Err(error) => {
                    warn!("{error:#}; trying again");
                    backoff.pause(stop);
                }
            }
        }
        farewell(|| self.client.post::<Value>("/v1/results", submission))
    }

    fn give_back(&self, reservation: &Reservation) -> Result<()> {
        let hold = self.hold(reservation);
        farewell(|| self.client.post::<Value>("/v1/returns", &hold))
    }

    fn hold(&self, reservation: &Reservation) -> Hold {
        Hold {
            epoch: reservation.epoch,
            node: self.node.clone(),
        }
    }
}

/// Says a last thing, and tries for a while if nobody hears it.
fn farewell(mut say: impl FnMut() -> Result<Answer<Value>>) -> Result<()> {
    let until = Instant::now() + FAREWELL;
    loop {
        match say() {
            Ok(Answer::Refused(status, message)) => bail!("{message} ({status})"),
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= until => return Err(error),
            Err(error) => {
                warn!("{error:#}; trying again");
                thread::sleep(RETRY);
            }
        }
    }
}
