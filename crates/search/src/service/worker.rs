//! `worker`: the only one who writes the ledger.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use redis::ConnectionInfo;
use tracing::{error, info, warn};

use super::book::{Book, Outcome};
use super::ledger::{Entries, Ledger};
use super::queue::{Queue, Received};
use super::wire::{Message, Offer, Range, State};
use super::{Backoff, log, now, redis_info, stop_flag};
use crate::cli::WorkerArgs;
use crate::failure::Failure;

/// Ranges on offer and on loan at a time. More than any cluster has miners, so that none waits for the next round.
const WINDOW: usize = 256;

struct Worker {
    book: Book,
    ledger: Ledger,
    lease: Duration,
    /// Jobs whose status has changed since it was last published.
    changed: BTreeSet<String>,
}

pub(crate) fn main(args: &WorkerArgs) -> Result<(), Failure> {
    log();
    let redis = redis_info(&args.redis).map_err(|error| Failure::Usage(format!("{error:#}")))?;
    let stop = stop_flag()?;
    let ledger = Ledger::open(&args.ledger)?;
    let book = ledger.read().context("cannot read the ledger")?;
    info!(
        jobs = book.jobs().len(),
        open = book.open().count(),
        "ledger {} read",
        args.ledger.display()
    );
    let lease = Duration::from_secs(args.lease.get());
    let mut worker = Worker {
        book,
        ledger,
        lease,
        changed: BTreeSet::new(),
    };
    Ok(worker.work(&redis, &stop)?)
}

/// An end of a session with Redis.
enum Ended {
    /// Redis is away or was emptied; a new session mends it.
    Redis(anyhow::Error),
    /// The ledger cannot be written. What is in memory may be ahead of it, so the process must not go on.
    Ledger(anyhow::Error),
}

impl From<anyhow::Error> for Ended {
    fn from(error: anyhow::Error) -> Self {
        Ended::Redis(error)
    }
}

impl Worker {
    /// Works until asked to stop, through as many sessions with Redis as it takes.
    fn work(&mut self, redis: &ConnectionInfo, stop: &AtomicBool) -> Result<()> {
        let mut backoff = Backoff::new();
        while !stop.load(Ordering::Relaxed) {
            match self.session(redis, stop, &mut backoff) {
                Ok(()) => {}
                Err(Ended::Redis(error)) => {
                    warn!("redis: {error:#}; trying again");
                    backoff.pause(stop);
                }
                Err(Ended::Ledger(error)) => return Err(error),
            }
        }
        info!("stopped");
        Ok(())
    }

    fn session(
        &mut self,
        redis: &ConnectionInfo,
        stop: &AtomicBool,
        backoff: &mut Backoff,
    ) -> Result<(), Ended> {
        let mut queue = Queue::connect(redis)?;
        info!("connected to redis");
        // Redis may have lost what it was told; tell it all again.
        self.changed = self.book.jobs().iter().map(|job| job.id.clone()).collect();
        let mut received = queue.unfinished()?;
        while !stop.load(Ordering::Relaxed) {
            self.take(&received)?;
            queue.finish(&received)?;
            self.offer(&mut queue)?;
            self.publish(&mut queue)?;
            queue.beat()?;
            backoff.reset();
            received = queue.receive()?;
        }
        Ok(())
    }

    /// Enters messages into book and ledger.
    fn take(&mut self, received: &[Received]) -> Result<(), Ended> {
        if received.is_empty() {
            return Ok(());
        }
        let Worker {
            book,
            ledger,
            changed,
            ..
        } = self;
        let messages = received
            .iter()
            .filter_map(|received| received.message.as_ref());
        let taken = ledger.write(|entries| {
            messages
                .map(|message| enter(message, book, entries))
                .collect::<Result<Vec<_>>>()
        });
        changed.extend(taken.map_err(Ended::Ledger)?.into_iter().flatten());
        Ok(())
    }

    /// Sees to it that as many ranges are on offer or on loan as should be, and none that should not.
    ///
    /// What is there is compared with what should be, rather than remembered: so it makes no difference whether a loan ran out, a
    /// miner handed back, Redis forgot, or this process has just begun.
    fn offer(&mut self, queue: &mut Queue) -> Result<(), Ended> {
        let mut standing: BTreeSet<Range> = BTreeSet::new();
        let mut withdrawn = Vec::new();
        for offered in queue.offers()? {
            let expired = offered
                .lent_for
                .is_some_and(|lent_for| lent_for > self.lease);
            let current = offered
                .offer
                .filter(|offer| self.book.epoch(&offer.range) == Some(offer.epoch));
            match current {
                Some(offer) if !expired && standing.insert(offer.range.clone()) => {}
                current => {
                    if let Some(Offer { range, epoch, .. }) = current {
                        info!(
                            job = range.job,
                            level = range.level,
                            start = range.start,
                            epoch,
                            "loan ran out"
                        );
                    }
                    withdrawn.push(offered.entry);
                }
            }
        }
        let missing = WINDOW.saturating_sub(standing.len());
        let lease_seconds = self.lease.as_secs();
        let open = self
            .book
            .open()
            .filter(|(range, _)| !standing.contains(range))
            .take(missing);
        let offers: Vec<Offer> = open
            .map(|(range, epoch)| Offer {
                range,
                epoch: epoch + 1,
                lease_seconds,
            })
            .collect();
        if !offers.is_empty() {
            let written = self.ledger.write(|entries| {
                offers
                    .iter()
                    .try_for_each(|offer| entries.epoch(&offer.range, offer.epoch))
            });
            written.map_err(Ended::Ledger)?;
        }
        for offer in &offers {
            self.book.set_epoch(&offer.range, offer.epoch);
        }
        queue.withdraw(&withdrawn)?;
        queue.offer(&offers)?;
        Ok(())
    }

    fn publish(&mut self, queue: &mut Queue) -> Result<(), Ended> {
        for id in &self.changed {
            if let Some(job) = self.book.job(id) {
                queue.publish(&job.request, &job.status(), &job.snapshot(now()))?;
            }
        }
        self.changed.clear();
        Ok(())
    }
}

/// Enters one message. Returns the job it changed.
fn enter(message: &Message, book: &mut Book, entries: &Entries<'_>) -> Result<Option<String>> {
    match message {
        Message::Job { id, request } => {
            if !book.add(id, request) {
                return Ok(None);
            }
            entries.job(id, request, book)?;
            info!(
                job = id,
                "new job of {} seeds at each of {} levels",
                request.spec.len,
                request.spec.levels.len()
            );
            Ok(Some(id.clone()))
        }
        Message::Result(submission) => {
            let received = now();
            let outcome = book.submit(submission, received);
            entries.result(submission, received, outcome)?;
            let Range {
                job, level, start, ..
            } = &submission.range;
            let node = &submission.node;
            match outcome {
                Outcome::Counted | Outcome::Repeated => {}
                Outcome::Disputed => error!(
                    job,
                    level, start, node, "a result differs from the one that is counted"
                ),
                Outcome::Unknown => {
                    warn!(job, level, start, node, "a result that nobody asked for")
                }
            }
            if book.job(job).is_some_and(|job| {
                outcome == Outcome::Counted && job.status().state != State::Running
            }) {
                info!(job, "done");
            }
            Ok((outcome != Outcome::Unknown).then(|| job.clone()))
        }
        Message::Return(returned) => {
            let epoch = book.give_back(returned);
            entries.give_back(returned, epoch)?;
            Ok(None)
        }
    }
}
