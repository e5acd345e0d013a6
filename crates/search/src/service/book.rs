//! What is known of the jobs: the ledger's content, in memory, and the rules by which it grows.

use std::collections::BTreeMap;

use bramble_kernel::Summary;

use super::snapshot::{
    Cell, CellState, Health, JobView, LevelView, NodeView, Rate, Snapshot, Special, Why,
};
use super::wire::{Dispute, JobRequest, JobStatus, Progress, Range, Return, State, Submission};
use crate::report::{LevelReport, NodeShare, Report, SearchId, rate};
use crate::tally::Tally;

/// All jobs, oldest first.
#[derive(Default)]
pub(crate) struct Book {
    jobs: Vec<Job>,
}

/// One job and how far it is.
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) request: JobRequest,
    /// Ranges without a result, with the number of times each was offered.
    open: BTreeMap<Key, Open>,
    done: BTreeMap<Key, Done>,
    levels: Vec<Level>,
    nodes: BTreeMap<String, Node>,
    disputes: Vec<Dispute>,
}

/// Level and first seed tell a range within its job.
type Key = (usize, u32);

#[derive(Clone, Copy)]
struct Open {
    len: u64,
    epoch: u64,
}

struct Done {
    len: u64,
    node: String,
    fingerprint: (u64, u64),
    dead: u64,
}

struct Level {
    summary: Summary,
    /// When the first of its ranges was begun and the last was received, in seconds.
    span: Option<(f64, f64)>,
}

#[derive(Default)]
struct Node {
    seeds: u64,
    ranges: u64,
    seconds: f64,
}

/// What became of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is the first for its range, and counted.
    Counted,
    /// The same was there already.
    Repeated,
    /// It differs from the one that is counted.
    Disputed,
    /// Nobody asked for this.
    Unknown,
}

impl Book {
    pub(crate) fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    pub(crate) fn job(&self, id: &str) -> Option<&Job> {
        self.jobs.iter().find(|job| job.id == id)
    }

    fn job_mut(&mut self, id: &str) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.id == id)
    }

    /// Adds a job, cut into ranges. False if it is there already.
    pub(crate) fn add(&mut self, id: &str, request: &JobRequest) -> bool {
        if self.job(id).is_some() {
            return false;
        }
        let level = || Level {
            summary: Summary::EMPTY,
            span: None,
        };
        self.jobs.push(Job {
            id: id.to_owned(),
            open: cut(request)
                .map(|(key, len)| (key, Open { len, epoch: 0 }))
                .collect(),
            done: BTreeMap::new(),
            levels: request.spec.levels.iter().map(|_| level()).collect(),
            nodes: BTreeMap::new(),
            disputes: Vec::new(),
            request: request.clone(),
        });
        true
    }

    /// Takes a result that was received at `now`.
    pub(crate) fn submit(&mut self, submission: &Submission, now: f64) -> Outcome {
        let Some(job) = self.job_mut(&submission.range.job) else {
            return Outcome::Unknown;
        };
        let Range {
            level, start, len, ..
        } = submission.range;
        let Ok(summary) = submission.tally.summary_of(start, len) else {
            return Outcome::Unknown;
        };
        let fingerprint = (summary.digest, summary.audit);
        if let Some(done) = job.done.get(&(level, start)).filter(|done| done.len == len) {
            if done.fingerprint == fingerprint {
                return Outcome::Repeated;
            }
            let dispute = Dispute {
                level: job
                    .request
                    .spec
                    .levels
                    .get(level)
                    .cloned()
                    .unwrap_or_default(),
                start,
                len,
                counted: done.node.clone(),
                differs: submission.node.clone(),
            };
            job.disputes.push(dispute);
            return Outcome::Disputed;
        }
        let asked = job
            .open
            .get(&(level, start))
            .is_some_and(|open| open.len == len && submission.epoch <= open.epoch);
        let Some(state) = job.levels.get_mut(level).filter(|_| asked) else {
            return Outcome::Unknown;
        };
        state.summary.merge(&summary);
        let began = now - submission.seconds;
        let (first, last) = state.span.unwrap_or((began, now));
        state.span = Some((first.min(began), last.max(now)));
        let node = job.nodes.entry(submission.node.clone()).or_default();
        node.seeds += len;
        node.ranges += 1;
        node.seconds += submission.seconds;
        job.open.remove(&(level, start));
        job.done.insert(
            (level, start),
            Done {
                len,
                node: submission.node.clone(),
                fingerprint,
                dead: summary.dead(),
            },
        );
        Outcome::Counted
    }

    /// A reservation came back undone: the loan ends now. The new epoch, if it was the current one.
    pub(crate) fn give_back(&mut self, returned: &Return) -> Option<u64> {
        let Range { level, start, .. } = returned.range;
        let open = self
            .job_mut(&returned.range.job)?
            .open
            .get_mut(&(level, start))?;
        if open.epoch != returned.epoch {
            return None;
        }
        open.epoch += 1;
        Some(open.epoch)
    }

    /// Ranges without a result, in the order in which they are to be lent, with their epochs.
    pub(crate) fn open(&self) -> impl Iterator<Item = (Range, u64)> {
        self.jobs.iter().flat_map(|job| {
            job.open.iter().map(|(&(level, start), open)| {
                (
                    Range {
                        job: job.id.clone(),
                        level,
                        start,
                        len: open.len,
                    },
                    open.epoch,
                )
            })
        })
    }

    /// The epoch of a range without a result.
    pub(crate) fn epoch(&self, range: &Range) -> Option<u64> {
        let open = self
            .job(&range.job)?
            .open
            .get(&(range.level, range.start))?;
        (open.len == range.len).then_some(open.epoch)
    }

    pub(crate) fn set_epoch(&mut self, range: &Range, epoch: u64) {
        if let Some(open) = self
            .job_mut(&range.job)
            .and_then(|job| job.open.get_mut(&(range.level, range.start)))
        {
            open.epoch = epoch;
        }
    }
}

/// The ranges of a job.
fn cut(request: &JobRequest) -> impl Iterator<Item = (Key, u64)> {
    let (first, len) = (u64::from(request.spec.start), request.spec.len);
    let size = request.reservation.max(1);
    let levels = 0..request.spec.levels.len();
    levels.flat_map(move |level| {
        (0..len.div_ceil(size)).map(move |index| {
            let offset = index * size;
            ((level, (first + offset) as u32), size.min(len - offset))
        })
    })
}

impl Job {
    pub(crate) fn status(&self) -> JobStatus {
        let share = |node: &Node| NodeShare {
            seeds: node.seeds,
            ranges: node.ranges,
            seeds_per_second: rate(node.seeds, node.seconds),
        };
        let nodes: BTreeMap<String, NodeShare> = self
            .nodes
            .iter()
            .map(|(name, node)| (name.clone(), share(node)))
            .collect();
        let state = match (self.open.is_empty(), self.disputes.is_empty()) {
            (false, _) => State::Running,
            (true, true) => State::Done,
            (true, false) => State::Disputed,
        };
        JobStatus {
            id: self.id.clone(),
            state,
            progress: Progress {
                seeds_done: self.levels.iter().map(|level| level.summary.scanned).sum(),
                seeds_total: self.request.spec.len * self.levels.len() as u64,
                ranges_done: self.done.len() as u64,
                ranges_total: (self.done.len() + self.open.len()) as u64,
            },
            report: (state != State::Running).then(|| self.report(nodes.clone())),
            nodes,
            disputes: self.disputes.clone(),
        }
    }

    /// The job as it is at `now`.
    pub(crate) fn snapshot(&self, now: f64) -> Snapshot {
        let status = self.status();
        let spec = &self.request.spec;
        let cells = |index: usize| {
            let here = (index, 0)..=(index, u32::MAX);
            let open = self
                .open
                .range(here.clone())
                .map(|(&(_, start), open)| Cell {
                    start,
                    len: open.len,
                    twins: false,
                    state: CellState::Open,
                    node: None,
                    dead: 0,
                });
            let done = self.done.range(here).map(|(&(_, start), done)| Cell {
                start,
                len: done.len,
                twins: false,
                state: CellState::Done,
                node: Some(done.node.clone()),
                dead: done.dead,
            });
            let mut cells: Vec<Cell> = open.chain(done).collect();
            cells.sort_by_key(|cell| cell.start);
            cells
        };
        let levels = spec.levels.iter().zip(&self.levels).enumerate();
        let levels: Vec<LevelView> = levels
            .map(|(index, (name, level))| LevelView {
                level: name.clone(),
                tally: Tally::from(&level.summary),
                cells: cells(index),
            })
            .collect();
        let specials = levels.iter().flat_map(|level| {
            level.tally.first_dead.iter().map(|&seed| Special {
                level: level.level.clone(),
                seed,
                why: Why::Dead,
            })
        });
        let nodes = status.nodes.iter().map(|(name, share)| {
            let view = NodeView {
                health: Health::Good,
                outside: false,
                seeds: share.seeds,
                ranges: share.ranges,
                seeds_per_second: share.seeds_per_second,
                lent: 0,
                rejected: 0,
                heard: None,
            };
            (name.clone(), view)
        });
        let spans = self.levels.iter().filter_map(|level| level.span);
        let span = spans.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        let average = span.map_or(0.0, |(first, last)| {
            rate(status.progress.seeds_done, last - first)
        });
        let left = status.progress.seeds_total - status.progress.seeds_done;
        Snapshot {
            at: now,
            job: JobView {
                id: self.id.clone(),
                state: status.state,
                search: SearchId::of(spec),
                world_file: spec.world_file.clone(),
                start: spec.start,
                len: spec.len,
                created: span.map_or(now, |(first, _)| first),
                ended: span
                    .map(|(_, last)| last)
                    .filter(|_| status.state != State::Running),
            },
            progress: status.progress,
            rate: Rate {
                now: average,
                average,
                seconds_left: (average > 0.0).then(|| left as f64 / average),
                history: Vec::new(),
            },
            specials: specials.collect(),
            levels,
            nodes: nodes.collect(),
            disputes: status.disputes,
        }
    }

    fn report(&self, nodes: BTreeMap<String, NodeShare>) -> Report {
        let spec = &self.request.spec;
        let level = |(name, level): (&String, &Level)| {
            let seconds = level.span.map_or(0.0, |(first, last)| last - first);
            LevelReport::new(spec, name, &level.summary, seconds)
        };
        let mut report = Report::new(spec.levels.iter().zip(&self.levels).map(level).collect());
        report.search = Some(SearchId::of(spec));
        report.nodes = Some(nodes);
        report
    }
}
