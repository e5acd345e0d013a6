//! How a job is told of: status, snapshot and report.

use std::collections::BTreeMap;

use super::claim::Claim;
use super::job::{Job, Level};
use super::node::Node;
use super::{Book, Held};
use crate::report::{LevelReport, NodeShare, Report, SearchId, rate};
use crate::service::snapshot::{
    Cell, CellState, JobView, LevelView, NodeView, Rate, Snapshot, Special, Why,
};
use crate::service::wire::{Dispute, JobStatus, Progress, State};
use crate::tally::Tally;

/// Special seeds of a level that are told.
const MOST_SPECIALS: usize = 100;

/// Of more reservations at a level than that, those are told together that adjoin and are in the same state.
const MOST_CELLS: usize = 8192;

impl Book {
    /// All jobs, oldest first, without their reports.
    pub(crate) fn statuses(&self, now: f64) -> Vec<JobStatus> {
        let status = |&number: &u32| JobStatus {
            report: None,
            ..self.status(number, now)
        };
        self.jobs.keys().map(status).collect()
    }

    pub(crate) fn status(&self, number: u32, now: f64) -> JobStatus {
        let job = &self.jobs[&number];
        let nodes = shares(job);
        JobStatus {
            id: job.id.clone(),
            state: self.state(job, now),
            progress: progress(job),
            report: job.ended.is_some().then(|| report(job, nodes.clone())),
            nodes,
            disputes: disputes(job),
        }
    }

    fn state(&self, job: &Job, now: f64) -> State {
        if job.ended.is_some() {
            State::Done
        } else if !job.contested.is_empty()
            && job.lent == 0
            && job.open_seeds() == 0
            && !self.can_check(job, now)
        {
            State::Disputed
        } else {
            State::Running
        }
    }

    /// The job as it is at `now`.
    pub(crate) fn snapshot(&self, number: u32, now: f64) -> Snapshot {
        let job = &self.jobs[&number];
        let spec = &job.request.spec;
        let progress = progress(job);
        let loans: Vec<&Held> = self
            .loans
            .values()
            .filter(|held| held.loan.place.job == number)
            .collect();
        let levels = spec.levels.iter().zip(&job.levels).enumerate();
        let levels: Vec<LevelView> = levels
            .map(|(index, (name, level))| LevelView {
                level: name.clone(),
                tally: Tally::from(&level.total),
                cells: cells(
                    level,
                    loans.iter().filter(|held| held.loan.place.level == index),
                ),
            })
            .collect();
        let specials = levels.iter().flat_map(|level| {
            let (seeds, why): (Vec<u32>, Why) = match &level.tally.found {
                Some(found) => (found.iter().map(|found| found.seed).collect(), Why::Found),
                None => (level.tally.first_dead.clone(), Why::Dead),
            };
            let special = move |seed| Special {
                level: level.level.clone(),
                seed,
                why,
            };
            seeds.into_iter().take(MOST_SPECIALS).map(special)
        });
        let seconds = job.ended.unwrap_or(now) - began(job).unwrap_or(now);
        let current = if job.ended.is_some() {
            0.0
        } else {
            self.rate()
        };
        let left = progress.seeds_total - progress.seeds_done;
        let history = self.history.iter();
        let history = history
            .filter(|point| point.at >= job.created && job.ended.is_none_or(|end| point.at <= end));
        Snapshot {
            at: now,
            job: JobView {
                id: job.id.clone(),
                state: self.state(job, now),
                search: SearchId::of(spec),
                world_file: spec.world_file.clone(),
                start: spec.start,
                len: spec.len,
                created: job.created,
                ended: job.ended,
            },
            progress,
            rate: Rate {
                now: current,
                average: rate(progress.seeds_done, seconds),
                seconds_left: (current > 0.0).then(|| left as f64 / current),
                history: history.copied().collect(),
            },
            specials: specials.collect(),
            levels,
            nodes: self.nodes_of(job, &loans, now),
            disputes: disputes(job),
        }
    }

    fn nodes_of(&self, job: &Job, loans: &[&Held], now: f64) -> BTreeMap<String, NodeView> {
        let mut nodes: BTreeMap<String, NodeView> = BTreeMap::new();
        let view = |name: &str| {
            let unknown = Node::default();
            let node = self.nodes.get(name).unwrap_or(&unknown);
            let share = job.shares.get(name).copied().unwrap_or_default();
            NodeView {
                health: node.health(now, &self.rules),
                outside: node.outside,
                seeds: share.seeds,
                ranges: share.ranges,
                seeds_per_second: node
                    .rate
                    .unwrap_or_else(|| rate(share.seeds, share.seconds)),
                lent: 0,
                rejected: node.rejected,
                heard: node.heard,
            }
        };
        for name in job.shares.keys() {
            nodes.insert(name.to_string(), view(name));
        }
        for held in loans {
            let name = &held.loan.node;
            nodes
                .entry(name.to_string())
                .or_insert_with(|| view(name))
                .lent += 1;
        }
        nodes
    }
}

fn began(job: &Job) -> Option<f64> {
    let spans = job.levels.iter().filter_map(|level| level.span);
    spans.map(|(first, _)| first).reduce(f64::min)
}

fn claims(job: &Job) -> impl Iterator<Item = &Claim> {
    job.levels.iter().flat_map(|level| level.claims.values())
}

fn is_verified(claim: &Claim) -> bool {
    let counted = claim.counted.and_then(|index| claim.votes.get(index));
    counted.is_some_and(|counted| {
        claim
            .votes
            .iter()
            .filter(|vote| vote.packed == counted.packed)
            .count()
            >= 2
    })
}

fn progress(job: &Job) -> Progress {
    let mut progress = Progress {
        seeds_done: job
            .levels
            .iter()
            .map(|level| level.total.summary.scanned)
            .sum(),
        seeds_total: job.seeds(),
        ..Progress::default()
    };
    for claim in claims(job) {
        let verified = is_verified(claim);
        progress.ranges_done += u64::from(claim.counted.is_some());
        progress.ranges_verified += u64::from(verified);
        progress.ranges_unverified += u64::from(claim.chosen && !verified);
    }
    progress
}

fn shares(job: &Job) -> BTreeMap<String, NodeShare> {
    let shares = job.shares.iter().map(|(name, share)| {
        let seeds_per_second = rate(share.seeds, share.seconds);
        let share = NodeShare {
            seeds: share.seeds,
            ranges: share.ranges,
            seeds_per_second,
        };
        (name.to_string(), share)
    });
    shares.collect()
}

fn disputes(job: &Job) -> Vec<Dispute> {
    let disputed = job.contested.iter().filter_map(|&(level, start)| {
        let claim = job.claim(level, start)?;
        let digest = |packed: &crate::service::packed::Packed| {
            packed.finding().map_or_else(String::new, |finding| {
                format!("{:016x}", finding.summary.digest)
            })
        };
        let digests = claim
            .votes
            .iter()
            .map(|vote| (vote.node.to_string(), digest(&vote.packed)));
        Some(Dispute {
            level: job
                .request
                .spec
                .levels
                .get(level)
                .cloned()
                .unwrap_or_default(),
            start,
            len: claim.stretch.len,
            digests: digests.collect(),
        })
    });
    disputed.collect()
}

fn cells<'a>(level: &Level, loans: impl Iterator<Item = &'a &'a Held>) -> Vec<Cell> {
    let open = level.space.stretches().map(|stretch| Cell {
        start: stretch.start,
        len: stretch.len,
        twins: stretch.twins,
        state: CellState::Open,
        node: None,
        dead: 0,
        found: 0,
    });
    let lent = loans.filter(|held| !held.check).map(|held| Cell {
        start: held.loan.stretch.start,
        len: held.loan.stretch.len,
        twins: held.loan.stretch.twins,
        state: CellState::Lent,
        node: Some(held.loan.node.to_string()),
        dead: 0,
        found: 0,
    });
    let done = level.claims.iter().map(|(&start, claim)| {
        let first = claim.votes.first();
        let told = claim
            .counted
            .and_then(|index| claim.votes.get(index))
            .or(first);
        let alike =
            first.is_none_or(|first| claim.votes.iter().all(|vote| vote.packed == first.packed));
        Cell {
            start,
            len: claim.stretch.len,
            twins: claim.stretch.twins,
            state: match (claim.counted, is_verified(claim)) {
                (Some(_), true) => CellState::Verified,
                (Some(_), false) => CellState::Done,
                (None, _) if !alike => CellState::Disputed,
                (None, _) => CellState::Claimed,
            },
            node: first.map(|vote| vote.node.to_string()),
            dead: told.map_or(0, |vote| vote.dead),
            found: told.map_or(0, |vote| vote.found),
        }
    });
    let mut cells: Vec<Cell> = open.chain(lent).chain(done).collect();
    cells.sort_by_key(|cell| cell.start);
    if cells.len() > MOST_CELLS {
        cells.dedup_by(|next, cell| {
            let alike = cell.state == next.state && cell.twins == next.twins;
            let adjoins = u64::from(cell.start) + cell.len == u64::from(next.start);
            if alike && adjoins {
                cell.len += next.len;
                cell.dead += next.dead;
                cell.found += next.found;
                cell.node = cell
                    .node
                    .take()
                    .filter(|node| next.node.as_ref() == Some(node));
            }
            alike && adjoins
        });
    }
    cells
}

fn report(job: &Job, nodes: BTreeMap<String, NodeShare>) -> Report {
    let spec = &job.request.spec;
    let level = |(name, level): (&String, &Level)| {
        let seconds = level.span.map_or(0.0, |(first, last)| last - first);
        LevelReport::from_tally(spec, name, Tally::from(&level.total), seconds)
    };
    let mut report = Report::new(spec.levels.iter().zip(&job.levels).map(level).collect());
    report.search = Some(SearchId::of(spec));
    report.nodes = Some(nodes);
    report
}
