//! What is known of jobs, loans, results and nodes, and the rules by which it grows. Knows neither files nor networks nor clocks.
//!
//! A request is answered from what is known, and what it changes is an [`Entry`]: applied here, and written to the ledger before the
//! answer leaves. Reading the entries back gives the same book.

mod claim;
mod entry;
mod job;
mod node;
mod requests;
mod space;
mod view;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use claim::Trust;
pub(crate) use entry::{Entry, Loan, Outcome, Place};
use job::Job;
pub(crate) use node::Rules;
use node::{Crew, Node};
pub(crate) use space::Stretch;

use super::snapshot::RatePoint;

/// How often loans are looked through for those that ran out, in seconds.
const TICK: f64 = 0.2;
/// How often the rate is noted, in seconds, and how many of these notes are kept.
const SAMPLE: f64 = 5.0;
const SAMPLES: usize = 240;

/// Everything.
pub(crate) struct Book {
    rules: Rules,
    /// By number, oldest first.
    jobs: BTreeMap<u32, Job>,
    loans: BTreeMap<u64, Held>,
    nodes: BTreeMap<Arc<str>, Node>,
    /// Names of outside nodes by the hash of their token.
    tokens: BTreeMap<String, Token>,
    next_epoch: u64,
    /// Grows whenever there is more to be lent.
    work: u64,
    ticked: f64,
    /// As of the last tick.
    crew: Crew,
    history: Vec<RatePoint>,
}

struct Held {
    loan: Loan,
    deadline: f64,
    /// It was computed before, by another node.
    check: bool,
}

struct Token {
    name: Arc<str>,
    created: f64,
}

impl Book {
    /// An empty one. Loans are numbered from `next_epoch` on.
    pub(crate) fn new(rules: Rules, next_epoch: u64) -> Self {
        Book {
            rules,
            jobs: BTreeMap::new(),
            loans: BTreeMap::new(),
            nodes: BTreeMap::new(),
            tokens: BTreeMap::new(),
            next_epoch: next_epoch.max(1),
            work: 0,
            ticked: 0.0,
            crew: Crew::of(std::iter::empty()),
            history: Vec::new(),
        }
    }

    /// Grows whenever there is more to be lent: whoever waits for work may ask again.
    pub(crate) fn work(&self) -> u64 {
        self.work
    }

    /// Jobs, those that are not done yet, and loans.
    pub(crate) fn size(&self) -> (usize, usize, usize) {
        let running = self.jobs.values().filter(|job| job.ended.is_none());
        (self.jobs.len(), running.count(), self.loans.len())
    }

    /// Applies what happened, without drawing conclusions. `now` is when loans begin to run.
    pub(crate) fn enter(&mut self, entry: &Entry, now: f64) {
        match entry {
            Entry::Job {
                number,
                id,
                request,
                at,
            } => {
                self.jobs.insert(*number, Job::new(id, request, *at));
                self.work += 1;
            }
            Entry::Ended { job, at } => {
                if let Some(job) = self.jobs.get_mut(job) {
                    job.ended = Some(*at);
                    job.wanted.clear();
                }
            }
            Entry::Lent(loan) => self.lend_out(loan, now),
            Entry::Freed { epoch } => self.take_back(*epoch),
            Entry::Result(result) => {
                let lent = self.end_loan(result.epoch);
                let Some(job) = self.jobs.get_mut(&result.place.job) else {
                    return;
                };
                if lent.is_none()
                    && job.claim(result.place.level, result.place.start).is_none()
                    && let Some(level) = job.levels.get_mut(result.place.level)
                {
                    level.space.take(result.stretch);
                }
                job.vote(result);
                self.node(&result.node).results += 1;
            }
            Entry::Faulty { node, faulty } => {
                let node = self.node(node);
                node.faulty = *faulty;
                if !*faulty {
                    // As new: its next results are computed again.
                    node.results = 0;
                    node.too_many = None;
                }
            }
            Entry::Token { name, hash, at } => {
                let name: Arc<str> = name.as_str().into();
                let node = self.node(&name);
                node.outside = true;
                node.shown = false;
                let created = *at;
                self.tokens.retain(|_, token| token.name != name);
                self.tokens.insert(hash.clone(), Token { name, created });
            }
            Entry::Revoked { name } => self.tokens.retain(|_, token| *token.name != **name),
        }
    }

    /// Draws the conclusions from everything that was entered. Only after reading a ledger.
    pub(crate) fn settle_all(&mut self, now: f64) {
        for node in self.nodes.values_mut() {
            // Whoever was there before may be there still.
            node.heard = Some(now);
            node.shown = true;
        }
        for number in self.jobs.keys().copied().collect::<Vec<_>>() {
            self.settle(self.places(number, |_| true), &mut Vec::new(), now);
        }
        for job in self.jobs.values_mut().filter(|job| job.ended.is_some()) {
            job.wanted.clear();
        }
    }

    fn node(&mut self, name: &Arc<str>) -> &mut Node {
        self.nodes.entry(Arc::clone(name)).or_default()
    }

    fn lend_out(&mut self, loan: &Loan, now: f64) {
        self.next_epoch = self.next_epoch.max(loan.epoch + 1);
        let Place { job, level, start } = loan.place;
        let Some(job) = self.jobs.get_mut(&job) else {
            return;
        };
        let check = match job.claim_mut(level, start) {
            Some(claim) => {
                claim.lent = true;
                job.withdraw(level, start);
                true
            }
            None => {
                if let Some(level) = job.levels.get_mut(level) {
                    level.space.take(loan.stretch);
                }
                false
            }
        };
        job.lent += 1;
        self.node(&loan.node).lent += 1;
        let held = Held {
            loan: loan.clone(),
            deadline: now + self.rules.lease,
            check,
        };
        self.loans.insert(loan.epoch, held);
    }

    fn end_loan(&mut self, epoch: u64) -> Option<Held> {
        let held = self.loans.remove(&epoch)?;
        if let Some(job) = self.jobs.get_mut(&held.loan.place.job) {
            job.lent -= 1;
        }
        self.node(&held.loan.node.clone()).lent -= 1;
        Some(held)
    }

    /// A loan ends, and what was lent is there to be lent again.
    fn take_back(&mut self, epoch: u64) {
        let Some(held) = self.end_loan(epoch) else {
            return;
        };
        let Place { job, level, start } = held.loan.place;
        if let Some(job) = self.jobs.get_mut(&job) {
            match job.claim_mut(level, start).filter(|_| held.check) {
                Some(claim) => claim.lent = false,
                None => {
                    if let Some(level) = job.levels.get_mut(level) {
                        level.space.give(held.loan.stretch);
                    }
                }
            }
        }
        self.work += 1;
    }

    /// Ends loans that ran out, and jobs that have nobody left who could add to them.
    pub(crate) fn tick(&mut self, now: f64, entries: &mut Vec<Entry>) {
        if (now - self.ticked).abs() < TICK {
            return;
        }
        self.ticked = now;
        let late = self.loans.values().filter(|held| held.deadline < now);
        for epoch in late.map(|held| held.loan.epoch).collect::<Vec<_>>() {
            self.run_out(epoch, now, entries);
        }
        let live = self
            .nodes
            .values()
            .filter(|node| node.is_live(now, &self.rules));
        self.crew = Crew::of(live);
        if self
            .history
            .last()
            .is_none_or(|last| now - last.at >= SAMPLE)
        {
            if self.history.len() == SAMPLES {
                self.history.remove(0);
            }
            let seeds_per_second = self.rate();
            self.history.push(RatePoint {
                at: now,
                seeds_per_second,
            });
        }
        for number in self.running() {
            self.end_if_done(number, now, entries);
        }
    }

    /// What those do in a second who have something to do.
    fn rate(&self) -> f64 {
        let busy = self.nodes.values().filter(|node| node.lent > 0);
        busy.filter_map(|node| node.rate).sum()
    }

    fn running(&self) -> Vec<u32> {
        let running = self.jobs.iter().filter(|(_, job)| job.ended.is_none());
        running.map(|(number, _)| *number).collect()
    }

    fn run_out(&mut self, epoch: u64, now: f64, entries: &mut Vec<Entry>) {
        let Book {
            loans,
            nodes,
            rules,
            ..
        } = self;
        if let Some(Held { loan, .. }) = loans.get(&epoch)
            && let Some(node) = nodes.get_mut(&loan.node)
        {
            node.ran_out(rules, loan.stretch.seeds(), now - loan.at, now);
        }
        self.free(epoch, now, entries);
    }

    fn free(&mut self, epoch: u64, now: f64, entries: &mut Vec<Entry>) {
        let place = self.loans.get(&epoch).map(|held| held.loan.place);
        self.apply(Entry::Freed { epoch }, now, entries);
        if let Some(place) = place {
            self.settle(vec![place], entries, now);
        }
    }

    fn apply(&mut self, entry: Entry, now: f64, entries: &mut Vec<Entry>) {
        self.enter(&entry, now);
        entries.push(entry);
    }

    /// The ranges of a job with results that are as told.
    fn places(&self, number: u32, wanted: impl Fn(&claim::Claim) -> bool) -> Vec<Place> {
        let levels = self
            .jobs
            .get(&number)
            .into_iter()
            .flat_map(|job| job.levels.iter().enumerate());
        let claims =
            levels.flat_map(|(index, level)| level.claims.iter().map(move |claim| (index, claim)));
        claims
            .filter(|(_, (_, claim))| wanted(claim))
            .map(|(level, (&start, _))| Place {
                job: number,
                level,
                start,
            })
            .collect()
    }

    /// Rules on ranges, and on all others about which that changes something.
    fn settle(&mut self, mut todo: Vec<Place>, entries: &mut Vec<Entry>, now: f64) {
        while let Some(place) = todo.pop() {
            let Book { jobs, nodes, .. } = self;
            let Some(job) = jobs.get_mut(&place.job) else {
                continue;
            };
            let ended = job.ended.is_some();
            let trust = |name: &str| match nodes.get(name) {
                // What counted when a job ended goes on counting, whatever its nodes did later.
                Some(node) if ended && !node.outside => Trust::Sole,
                Some(node) if node.faulty || node.outside => Trust::Confirmed,
                Some(node) if node.suspect => Trust::Suspect,
                _ => Trust::Sole,
            };
            let change = job.rule(place.level, place.start, trust);
            self.work += u64::from(change.work);
            let mut changed: Vec<Arc<str>> = Vec::new();
            for loser in change.losers {
                if !self.node(&loser).faulty {
                    let faulty = true;
                    let node = Arc::clone(&loser);
                    self.apply(Entry::Faulty { node, faulty }, now, entries);
                    changed.push(loser);
                }
            }
            if change.dispute {
                changed.extend(self.name_suspects());
            }
            if changed.is_empty() {
                continue;
            }
            let concerned =
                |claim: &claim::Claim| claim.votes.iter().any(|vote| changed.contains(&vote.node));
            for number in self.running() {
                todo.extend(self.places(number, concerned));
            }
        }
        self.jobs.values_mut().for_each(Job::sum_up);
    }

    /// Marks those who are party to a dispute, and nobody else. Returns those with whom that is new.
    fn name_suspects(&mut self) -> Vec<Arc<str>> {
        let jobs = self.jobs.values().filter(|job| job.ended.is_none());
        let disputed = jobs.flat_map(|job| {
            job.contested
                .iter()
                .filter_map(|&(level, start)| job.claim(level, start))
        });
        let suspects: std::collections::BTreeSet<Arc<str>> = disputed
            .flat_map(|claim| claim.votes.iter().map(|vote| Arc::clone(&vote.node)))
            .collect();
        let mut changed = Vec::new();
        for (name, node) in &mut self.nodes {
            if node.suspect != suspects.contains(name) {
                node.suspect = !node.suspect;
                changed.push(Arc::clone(name));
            }
        }
        changed
    }

    /// Ends a job in which nothing is left to do, or nobody to do it.
    fn end_if_done(&mut self, number: u32, now: f64, entries: &mut Vec<Entry>) {
        let Some(job) = self.jobs.get(&number) else {
            return;
        };
        if job.ended.is_some() || job.lent > 0 || !job.is_complete() || self.can_check(job, now) {
            return;
        }
        self.apply(
            Entry::Ended {
                job: number,
                at: now,
            },
            now,
            entries,
        );
    }

    /// Whether somebody is there who could compute again what should be.
    fn can_check(&self, job: &Job, now: f64) -> bool {
        job.wanted.iter().any(|&(_, level, start)| {
            job.claim(level, start).is_some_and(|claim| {
                self.nodes.iter().any(|(name, node)| {
                    node.can_check(claim.stretch.seeds())
                        && node.is_live(now, &self.rules)
                        && claim.vote_of(name).is_none()
                })
            })
        })
    }
}
