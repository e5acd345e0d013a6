//! The state of a job at one moment, as plain data: all that a page, a metric or a person needs to know.
//!
//! `GET /v1/jobs/{id}/snapshot` gives it as JSON. It is made by worker from what the ledger holds, at most about once a
//! second, and asks nothing else of the service. Times are seconds since 1970 by the server's clock, unless a field says
//! otherwise; digests are 16 hexadecimal digits.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::wire::{Dispute, Progress, State};
use crate::report::SearchId;
use crate::tally::Tally;

/// One job at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// When this was true.
    pub(crate) at: f64,
    pub(crate) job: JobView,
    pub(crate) progress: Progress,
    pub(crate) rate: Rate,
    /// In the order of the job.
    pub(crate) levels: Vec<LevelView>,
    /// Everybody who was ever lent a range of this job, by name.
    pub(crate) nodes: BTreeMap<String, NodeView>,
    /// Seeds worth a look, by level in the order of the job and then by seed: the lowest dead ones, or with a filter the lowest
    /// that are as it says, 100 at most.
    /// `GET /v1/seed/{level}/{seed}?job={id}` explains one.
    pub(crate) specials: Vec<Special>,
    /// Ranges about which nodes do not agree, and no majority has settled it yet.
    pub(crate) disputes: Vec<Dispute>,
}

/// What is searched, and how far it is as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct JobView {
    pub(crate) id: String,
    pub(crate) state: State,
    /// SHA-256 of the world file, the names of engine, generator and goal, and the filter, if there is one.
    pub(crate) search: SearchId,
    /// What the world file was called where the job came from.
    pub(crate) world_file: String,
    /// The first seed.
    pub(crate) start: u32,
    /// How many seeds, at each level: up to 2^32.
    pub(crate) len: u64,
    /// When it was entered.
    pub(crate) created: f64,
    /// When it was done. `None` while it runs.
    pub(crate) ended: Option<f64>,
}

/// How fast it goes. Seeds are those of all levels together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rate {
    /// Seeds per second, lately.
    pub(crate) now: f64,
    /// Seeds per second, since the job began to be computed.
    pub(crate) average: f64,
    /// Seconds until it is done, if it goes on as it does now. `None` while that cannot be told.
    pub(crate) seconds_left: Option<f64>,
    /// The latest last, some hundred points at most.
    pub(crate) history: Vec<RatePoint>,
}

/// Seeds per second over the time up to `at`, since the point before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RatePoint {
    pub(crate) at: f64,
    pub(crate) seeds_per_second: f64,
}

/// One level of the job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LevelView {
    /// Its name in the world file.
    pub(crate) level: String,
    /// What is counted so far: verdicts, histogram of spheres, digest and audit, the lowest dead seeds.
    #[serde(flatten)]
    pub(crate) tally: Tally,
    /// The map: disjoint, by first seed. Together with the mirror images of those with `twins` they cover the level.
    pub(crate) cells: Vec<Cell>,
}

/// A range of seeds that is in one state: open space, or a reservation. Beyond 8,192 at a level, those that adjoin and are in the same
/// state are one cell, without a node if they have several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cell {
    /// The first seed.
    pub(crate) start: u32,
    /// How many seeds from there on, mirror images not counted.
    pub(crate) len: u64,
    /// Whether it stands for the seeds `2^32 - seed` as well, which have the same draws: then it is worth `2 * len` seeds.
    pub(crate) twins: bool,
    pub(crate) state: CellState,
    /// Who has it or did it (the first, if several did). `None` in open space.
    pub(crate) node: Option<String>,
    /// Dead seeds found in it, mirror images counted.
    pub(crate) dead: u64,
    /// With a filter, seeds in it that are as that says, mirror images counted.
    #[serde(default)]
    pub(crate) found: u64,
}

/// How far a range is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CellState {
    /// Nobody has it.
    Open,
    /// On loan, without a result.
    Lent,
    /// It has a result, which does not count until another node agrees.
    Claimed,
    /// It has a result that counts.
    Done,
    /// It has a result that counts and that another node came to as well.
    Verified,
    /// Results differ, and there is no majority yet.
    Disputed,
}

/// What is known of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeView {
    pub(crate) health: Health,
    /// Lent by somebody outside, whose every result another node computes again.
    pub(crate) outside: bool,
    /// Seeds of this job that it computed, counted or not.
    pub(crate) seeds: u64,
    /// Ranges of this job that it computed.
    pub(crate) ranges: u64,
    /// Seeds per second while it computes, as it was last measured.
    pub(crate) seeds_per_second: f64,
    /// Ranges of this job that it has on loan.
    pub(crate) lent: u64,
    /// Results of its that were refused since worker began: late, for a range that it had not, or not well formed.
    pub(crate) rejected: u64,
    /// When it was last heard of. `None` if not since worker began.
    pub(crate) heard: Option<f64>,
}

/// Whether a node is relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Health {
    /// Its first results are computed again by others, as they are for every new node.
    New,
    /// As many of its results are computed again as of anyone's.
    Good,
    /// Somebody does not agree with it, and it is not settled who is right.
    Suspect,
    /// A majority found that it computed wrongly. It is lent nothing, and what it alone computed is computed again.
    Faulty,
    /// It was not heard of for half a minute, or with a loan for twice as long as that lasts.
    Away,
}

/// A seed worth a look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Special {
    pub(crate) level: String,
    pub(crate) seed: u32,
    pub(crate) why: Why,
}

/// Why a seed is worth a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Why {
    /// It cannot be completed.
    Dead,
    /// It is as the filter says.
    Found,
}
