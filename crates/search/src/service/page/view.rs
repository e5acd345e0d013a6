//! What the page, its events and the metrics show: pure data, made from whatever the ledger and the engine give.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::snapshot::{Cell, CellState, LevelView, Snapshot};
use super::super::wire::State;
use crate::spec::SEEDS;

/// Everything, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct View {
    /// When this was so, in seconds since 1970.
    pub(crate) at: f64,
    /// Oldest first.
    pub(crate) jobs: Vec<Arc<Snapshot>>,
    /// What the cluster's engine says, where it can be asked.
    pub(crate) engine: Option<EngineView>,
}

impl View {
    /// The job that is asked for; else the oldest that runs, for that is what is worked on; else the latest.
    pub(crate) fn job(&self, id: Option<&str>) -> Option<&Arc<Snapshot>> {
        match id {
            Some(id) => self.jobs.iter().find(|job| job.job.id == id),
            None => {
                let running = |job: &&Arc<Snapshot>| job.job.state == State::Running;
                self.jobs.iter().find(running).or(self.jobs.last())
            }
        }
    }
}

/// The machines of the cluster and what runs on them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EngineView {
    pub(crate) nodes: Vec<Machine>,
    pub(crate) services: Vec<Service>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) manager: bool,
    /// The one that decides among the managers.
    pub(crate) leader: bool,
    /// As Docker says it: `ready`, `down`.
    pub(crate) state: String,
    /// As Docker says it: `active`, `drain`, `pause`.
    pub(crate) availability: String,
    /// Names of the services that run on it, with how many of each.
    pub(crate) runs: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) running: u64,
    pub(crate) wanted: u64,
}

/// Seeds of a job that another node found to be the same.
pub(super) fn verified(job: &Snapshot) -> u64 {
    let levels = job.levels.iter();
    levels.map(|level| seeds(level, CellState::Verified)).sum()
}

/// Seeds of a level in cells of one state.
pub(super) fn seeds(level: &LevelView, state: CellState) -> u64 {
    let cells = level.cells.iter().filter(|cell| cell.state == state);
    cells.map(worth).sum()
}

/// How many seeds a cell stands for.
fn worth(cell: &Cell) -> u64 {
    cell.len << u32::from(cell.twins)
}

/// Seeds of a job that are dead.
pub(super) fn dead(job: &Snapshot) -> u64 {
    job.levels.iter().map(|level| level.tally.dead).sum()
}

/// Seeds of a job that are as its filter says. `None` if it has none.
pub(super) fn found(job: &Snapshot) -> Option<u64> {
    let levels = job.levels.iter().map(|level| &level.tally);
    let found = levels.map(|tally| tally.completable + tally.dead).sum();
    job.job.search.filter.is_some().then_some(found)
}

/// A stretch of the map, mirror images spelt out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span<'a> {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) cell: &'a Cell,
}

/// All stretches of a level that are not open, by first seed.
pub(super) fn spans(level: &LevelView) -> Vec<Span<'_>> {
    let taken = level
        .cells
        .iter()
        .filter(|cell| cell.state != CellState::Open && cell.len > 0);
    let mut spans: Vec<Span<'_>> = taken
        .flat_map(|cell| {
            let (start, end) = (u64::from(cell.start), u64::from(cell.start) + cell.len);
            let itself = Span { start, end, cell };
            let mirrored = Span {
                start: (SEEDS + 1).saturating_sub(end),
                end: (SEEDS + 1).saturating_sub(start),
                cell,
            };
            [Some(itself), cell.twins.then_some(mirrored)]
        })
        .flatten()
        .collect();
    spans.sort_by_key(|span| span.start);
    spans
}
