//! `worker`: the only one who writes the ledger.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tracing::{error, info, warn};

use super::alive::Alive;
use super::book::{Book, Entry, Rules};
use super::ledger::Ledger;
use super::queue::Queue;
use super::queue::redis::RedisQueue;
use super::{Backoff, log, now, redis_info, stop_flag};
use crate::cli::{RuleArgs, WorkerArgs};
use crate::failure::Failure;

/// A book and what it is written to.
pub(crate) struct Worker {
    book: Book,
    ledger: Ledger,
    backup: Option<Schedule>,
    alive: Alive,
}

/// When to back up where.
struct Schedule {
    directory: PathBuf,
    every: Duration,
    next: Instant,
    /// To the directory, which may be on a network.
    copying: Option<JoinHandle<()>>,
}

/// Why work ended, other than by request.
enum Ended {
    /// Nothing comes through the queue; another one mends it.
    Queue(anyhow::Error),
    /// The ledger cannot be written. What is in memory may be ahead of it, so the process must not go on.
    Ledger(anyhow::Error),
}

pub(crate) fn main(args: &WorkerArgs) -> Result<(), Failure> {
    log();
    let redis = redis_info(&args.redis).map_err(|error| Failure::Usage(format!("{error:#}")))?;
    let stop = stop_flag()?;
    let ledger = Ledger::open(&args.ledger)?;
    let mut worker = Worker::new(ledger, rules(&args.rules))?;
    worker.backup = args.backup_dir.as_ref().map(|directory| Schedule {
        directory: directory.clone(),
        every: Duration::from_secs(args.backup_every),
        next: Instant::now(),
        copying: None,
    });
    worker.alive = Alive::new(args.alive.as_deref());
    let (jobs, running, loans) = worker.book.size();
    info!(
        jobs,
        running,
        loans,
        "ledger {} read",
        args.ledger.display()
    );

    let mut backoff = Backoff::new();
    while !stop.load(Ordering::Relaxed) {
        worker.alive.sign();
        let ended = match RedisQueue::connect(&redis) {
            Ok(mut queue) => {
                info!("connected to redis");
                backoff.reset();
                worker.session(&mut queue, &stop)
            }
            Err(error) => Err(Ended::Queue(error)),
        };
        match ended {
            Ok(()) => {}
            Err(Ended::Queue(error)) => {
                warn!("{error:#}; trying again");
                backoff.pause(&stop);
            }
            Err(Ended::Ledger(error)) => return Err(error.into()),
        }
    }
    info!("stopped");
    Ok(())
}

/// What the command line says of the rules. The salt is the ledger's.
pub(crate) fn rules(args: &RuleArgs) -> Rules {
    Rules {
        lease: args.lease as f64,
        target: args.target as f64,
        share: args.verify / 100.0,
        first: args.verify_first,
        salt: 0,
    }
}

impl Worker {
    pub(crate) fn new(ledger: Ledger, rules: Rules) -> Result<Self> {
        let book = ledger
            .read(rules, now())
            .context("cannot read the ledger")?;
        Ok(Worker {
            book,
            ledger,
            backup: None,
            alive: Alive::new(None),
        })
    }

    /// Works in this process until the other end of the queue is gone.
    pub(crate) fn work(&mut self, queue: &mut dyn Queue) -> Result<()> {
        match self.session(queue, &AtomicBool::new(false)) {
            Err(Ended::Ledger(error)) => Err(error),
            Ok(()) | Err(Ended::Queue(_)) => Ok(()),
        }
    }

    fn session(&mut self, queue: &mut dyn Queue, stop: &AtomicBool) -> Result<(), Ended> {
        // Whoever waits may have waited for this.
        let mut told = None;
        while !stop.load(Ordering::Relaxed) {
            self.alive.sign();
            let asked = queue.receive().map_err(Ended::Queue)?;
            let mut entries = Vec::new();
            let mut answers = Vec::with_capacity(asked.len());
            for (ticket, asked) in asked {
                answers.push((ticket, self.book.handle(&asked, now(), &mut entries)));
            }
            self.book.tick(now(), &mut entries);
            // One flush to the disk for all of them, and no answer before it.
            self.ledger.write(&entries).map_err(Ended::Ledger)?;
            entries.iter().for_each(tell);
            let work = self.book.work();
            let wake = told.replace(work) != Some(work);
            queue.answer(answers, wake).map_err(Ended::Queue)?;
            self.back_up();
        }
        Ok(())
    }

    fn back_up(&mut self) {
        // One without jobs is of no use to anybody, and may be there because the right one is not.
        let (jobs, ..) = self.book.size();
        let due = |it: &&mut Schedule| jobs > 0 && it.next <= Instant::now();
        let Some(schedule) = self.backup.as_mut().filter(due) else {
            return;
        };
        schedule.next = Instant::now() + schedule.every;
        if schedule
            .copying
            .as_ref()
            .is_some_and(|copying| !copying.is_finished())
        {
            warn!("the last backup is still under way; is its directory there?");
            return;
        }
        // The search goes on if it fails, and while it waits for a network; the next one may succeed.
        match self.ledger.copied() {
            Ok(copied) => {
                let directory = schedule.directory.clone();
                let keep = move || match copied.keep(&directory) {
                    Ok(copy) => info!("backed up to {}", copy.display()),
                    Err(error) => error!("{error:#}"),
                };
                schedule.copying = Some(thread::spawn(keep));
            }
            Err(error) => error!("{error:#}"),
        }
    }
}

/// Logs what a person may want to know.
fn tell(entry: &Entry) {
    match entry {
        Entry::Job { id, request, .. } => info!(
            job = id,
            "new job of {} seeds at each of {} levels",
            request.spec.len,
            request.spec.levels.len()
        ),
        Entry::Ended { job, .. } => info!(number = job, "job done"),
        Entry::Faulty { node, faulty: true } => {
            error!(node = &**node, "computed wrongly, as a majority found");
        }
        Entry::Faulty {
            node,
            faulty: false,
        } => info!(node = &**node, "trusted again"),
        Entry::Token { name, .. } => info!(name, "new token"),
        Entry::Revoked { name } => info!(name, "token revoked"),
        Entry::Freed { epoch } => info!(epoch, "a loan ended without a result"),
        Entry::Lent(_) | Entry::Result(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::service::ledger::backup;

    const RULES: Rules = Rules {
        lease: 60.0,
        target: 60.0,
        share: 0.0,
        first: 0,
        salt: 0,
    };

    /// What a worker does that is started on the ledger at `path`.
    fn start(path: &Path, backups: &Path, entries: &[Entry]) {
        let mut ledger = Ledger::open(path).unwrap();
        ledger.write(entries).unwrap();
        let mut worker = Worker::new(ledger, RULES).unwrap();
        worker.backup = Some(Schedule {
            directory: backups.to_owned(),
            every: Duration::from_secs(3600),
            next: Instant::now(),
            copying: None,
        });
        worker.back_up();
        if let Some(copying) = worker.backup.unwrap().copying {
            copying.join().unwrap();
        }
    }

    #[test]
    fn a_ledger_that_is_empty_does_not_come_before_one_that_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (path, backups) = (dir.path().join("ledger.sqlite"), dir.path().join("backups"));
        let spec = json!({ "world": "", "fill": "forward", "rng": "pcg32", "levels": ["a"], "start": 0, "len": 10 });
        let job = Entry::Job {
            number: 1,
            id: "job".into(),
            request: serde_json::from_value(json!({ "spec": spec })).unwrap(),
            at: 1.7e9,
        };
        start(&path, &backups, &[job]);
        // It is lost, and worker is started all the same, more often than copies are kept.
        std::fs::remove_file(&path).unwrap();
        (0..9).for_each(|_| start(&path, &backups, &[]));
        assert_eq!(std::fs::read_dir(&backups).unwrap().count(), 1);
        backup::restore(&backups, &path).unwrap();
        let book = Ledger::open(&path).unwrap().read(RULES, 0.0).unwrap();
        assert_eq!(book.size(), (1, 1, 0));
    }
}
