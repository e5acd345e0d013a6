//! One job: what of it is open, what was found, and which of that counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bramble_kernel::Random;

use super::claim::{Claim, Ruling, Trust, Vote};
use super::entry::Outcome;
use super::space::{Space, Stretch};
use crate::finding::Finding;
use crate::plan::Plan;
use crate::service::wire::JobRequest;

/// One job and how far it is.
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) request: JobRequest,
    pub(crate) created: f64,
    pub(crate) ended: Option<f64>,
    pub(crate) levels: Vec<Level>,
    /// Ranges that are on loan.
    pub(crate) lent: usize,
    /// Ranges that another node should compute and none does: those about which nodes differ come first.
    pub(crate) wanted: BTreeSet<(Urgency, usize, u32)>,
    /// Ranges about which nodes differ, and nothing is settled.
    pub(crate) contested: BTreeSet<(usize, u32)>,
    /// Ranges with results of which none counts.
    undecided: usize,
    pub(crate) shares: BTreeMap<Arc<str>, Share>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    Contested,
    Check,
}

/// One level of a job.
pub(crate) struct Level {
    pub(crate) space: Space,
    /// By first seed.
    pub(crate) claims: BTreeMap<u32, Claim>,
    /// The sum of what counts.
    pub(crate) total: Finding,
    /// The total contains what no longer counts.
    stale: bool,
    /// When the first of its ranges was begun and the last was received.
    pub(crate) span: Option<(f64, f64)>,
}

/// What a node did for a job.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Share {
    pub(crate) seeds: u64,
    pub(crate) ranges: u64,
    pub(crate) seconds: f64,
}

/// What became of a range when it was ruled on.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// It is in dispute, or no longer.
    pub(crate) dispute: bool,
    /// Those that a majority found wrong.
    pub(crate) losers: Vec<Arc<str>>,
    /// There is more to be lent.
    pub(crate) work: bool,
}

impl Job {
    pub(crate) fn new(id: &str, request: &JobRequest, created: f64) -> Self {
        let spec = &request.spec;
        // A name that is none was refused when the job was made.
        let random = Random::from_name(&spec.rng).unwrap_or(Random::Pcg32);
        let plan = Plan::new(random, spec.start, spec.len, 1);
        let level = |_: &String| Level {
            space: Space::new(&plan),
            claims: BTreeMap::new(),
            total: Finding::nothing(spec.filter.is_some()),
            stale: false,
            span: None,
        };
        Job {
            id: id.to_owned(),
            request: request.clone(),
            created,
            ended: None,
            levels: spec.levels.iter().map(level).collect(),
            lent: 0,
            wanted: BTreeSet::new(),
            contested: BTreeSet::new(),
            undecided: 0,
            shares: BTreeMap::new(),
        }
    }

    /// Seeds that nobody has.
    pub(crate) fn open_seeds(&self) -> u64 {
        self.levels.iter().map(|level| level.space.seeds()).sum()
    }

    /// Whether every seed has a result that counts.
    pub(crate) fn is_complete(&self) -> bool {
        self.undecided == 0
            && self.open_seeds() == 0
            && self
                .levels
                .iter()
                .map(|level| level.total.summary.scanned)
                .sum::<u64>()
                == self.seeds()
    }

    /// Seeds at all levels.
    pub(crate) fn seeds(&self) -> u64 {
        self.request.spec.len * self.levels.len() as u64
    }

    pub(crate) fn claim(&self, level: usize, start: u32) -> Option<&Claim> {
        self.levels.get(level)?.claims.get(&start)
    }

    pub(crate) fn claim_mut(&mut self, level: usize, start: u32) -> Option<&mut Claim> {
        self.levels.get_mut(level)?.claims.get_mut(&start)
    }

    /// A range that another than those who did it should compute: for `node`, if it is not one of them and `can` do so many seeds.
    pub(crate) fn check_for(
        &self,
        node: &str,
        can: impl Fn(u64) -> bool,
    ) -> Option<(usize, Stretch)> {
        let suitable = |&&(_, level, start): &&(Urgency, usize, u32)| {
            self.claim(level, start)
                .is_some_and(|claim| claim.vote_of(node).is_none() && can(claim.stretch.seeds()))
        };
        let &(_, level, start) = self.wanted.iter().find(suitable)?;
        Some((level, self.claim(level, start)?.stretch))
    }

    /// The next open range of at most so many seeds.
    pub(crate) fn open_range(&self, seeds: u64) -> Option<(usize, Stretch)> {
        let mut levels = self.levels.iter().enumerate();
        levels.find_map(|(index, level)| Some((index, level.space.first(seeds)?)))
    }

    /// Notes a result. Which one counts is ruled on afterwards.
    pub(crate) fn vote(&mut self, result: &Outcome) {
        let place = result.place;
        let Some(level) = self.levels.get_mut(place.level) else {
            return;
        };
        let claim = level.claims.entry(place.start).or_insert_with(|| {
            self.undecided += 1;
            Claim {
                stretch: result.stretch,
                votes: Vec::new(),
                chosen: false,
                lent: false,
                counted: None,
            }
        });
        claim.lent = false;
        claim.chosen |= result.chosen;
        let finding = result.packed.finding();
        claim.votes.push(Vote {
            node: Arc::clone(&result.node),
            dead: finding.as_ref().map_or(0, |finding| finding.summary.dead()),
            found: finding.as_ref().map_or(0, Finding::count),
            packed: result.packed.clone(),
        });
        let began = result.at - result.seconds;
        let (first, last) = level.span.unwrap_or((began, result.at));
        level.span = Some((first.min(began), last.max(result.at)));
        let share = self.shares.entry(Arc::clone(&result.node)).or_default();
        share.seeds += result.stretch.seeds();
        share.ranges += 1;
        share.seconds += result.seconds;
    }

    /// Rules on a range anew.
    pub(crate) fn rule(
        &mut self,
        level: usize,
        start: u32,
        trust: impl Fn(&str) -> Trust,
    ) -> Change {
        let mut change = Change::default();
        let Some(of_level) = self.levels.get_mut(level) else {
            return change;
        };
        let Some(claim) = of_level.claims.get_mut(&start) else {
            return change;
        };
        let Ruling {
            winner,
            wants,
            contested,
            verified,
        } = claim.ruling(trust);

        if claim.counted != winner {
            match (claim.counted, winner) {
                (None, Some(winner)) => {
                    self.undecided -= 1;
                    if let Some(finding) = claim.votes[winner].packed.finding() {
                        of_level.total.merge(&finding);
                    }
                }
                (Some(_), now) => {
                    self.undecided += usize::from(now.is_none());
                    of_level.stale = true;
                }
                (None, None) => {}
            }
            claim.counted = winner;
        }

        let open = contested && !verified;
        let urgency = if contested {
            Urgency::Contested
        } else {
            Urgency::Check
        };
        let lent = claim.lent;
        self.withdraw(level, start);
        if wants && !lent {
            change.work = self.wanted.insert((urgency, level, start));
        }
        let was_open = match open {
            true => !self.contested.insert((level, start)),
            false => self.contested.remove(&(level, start)),
        };
        change.dispute = open || was_open;
        // Only now: who was forgiven since is not to be found wrong again.
        if was_open
            && let Some(winner) = winner
            && let Some(claim) = self.claim(level, start)
        {
            let right = &claim.votes[winner].packed;
            let wrong = claim.votes.iter().filter(|vote| vote.packed != *right);
            change.losers = wrong.map(|vote| Arc::clone(&vote.node)).collect();
        }
        change
    }

    /// Nobody needs to compute a range again, or somebody does.
    pub(crate) fn withdraw(&mut self, level: usize, start: u32) {
        for urgency in [Urgency::Contested, Urgency::Check] {
            self.wanted.remove(&(urgency, level, start));
        }
    }

    /// Sums up anew what holds what no longer counts.
    pub(crate) fn sum_up(&mut self) {
        for level in self.levels.iter_mut().filter(|level| level.stale) {
            level.total = Finding::nothing(level.total.found.is_some());
            for claim in level.claims.values() {
                let counted = claim.counted.and_then(|index| claim.votes.get(index));
                if let Some(finding) = counted.and_then(|vote| vote.packed.finding()) {
                    level.total.merge(&finding);
                }
            }
            level.stale = false;
        }
    }
}
