//! Searches to show in tests: as they come from worker, at a size that cannot be computed on the spot.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::snapshot::{
    Cell, CellState, Health, JobView, LevelView, NodeView, Rate, RatePoint, Snapshot, Special, Why,
};
use super::super::wire::{Dispute, Progress, State};
use super::view::{EngineView, Machine, Service, View};
use crate::finding::Found;
use crate::report::SearchId;
use crate::spec::SEEDS;
use crate::tally::Tally;

/// 2026-11-23 22:35 UTC.
pub(super) const NOW: f64 = 1_795_473_300.0;

/// Seeds in a reservation of [`running`], mirror images not counted.
const RESERVATION: u64 = 1 << 25;

const STARTED: f64 = NOW - 5_400.0;

/// A job that has just been entered.
pub(super) fn empty(level: &str) -> Snapshot {
    Snapshot {
        at: NOW,
        job: JobView {
            id: "c0ffee0123456789".to_owned(),
            state: State::Running,
            search: SearchId {
                world: "00".repeat(32),
                fill: "guarded".to_owned(),
                rng: "dotnet".to_owned(),
                goal: "all-locations".to_owned(),
                filter: None,
            },
            world_file: "axiom-verge.toml".to_owned(),
            start: 0,
            len: SEEDS,
            created: STARTED,
            ended: None,
        },
        progress: Progress {
            seeds_total: SEEDS,
            ..Progress::default()
        },
        rate: Rate::default(),
        levels: vec![level_view(level, 0, 0, 0)],
        nodes: BTreeMap::new(),
        specials: Vec::new(),
        disputes: Vec::new(),
    }
}

/// The whole space on eight nodes, somewhat past half.
pub(super) fn running() -> Snapshot {
    let mut job = empty("default");
    job.levels = vec![
        level_view("default", 64, 0, 0),
        level_view("advanced", 42, 7, 2),
        level_view("masochist", 0, 1, 0),
    ];
    sum_up(&mut job);
    job.rate = Rate {
        now: 1_512_000.0,
        average: 1_448_000.0,
        seconds_left: Some((job.progress.seeds_total - job.progress.seeds_done) as f64 / 1.512e6),
        history: (0..=180).map(sample).collect(),
    };
    job.nodes = (1..=7).map(node).collect();
    job.specials = ["default", "advanced"]
        .into_iter()
        .flat_map(|level| {
            let seeds: &[u32] = match level {
                "advanced" => &[1_302_774_121, 2_992_193_175],
                _ => &[],
            };
            seeds.iter().map(move |&seed| Special {
                level: level.to_owned(),
                seed,
                why: Why::Dead,
            })
        })
        .collect();
    job
}

/// The same when all is done.
pub(super) fn ended() -> Snapshot {
    let mut job = running();
    job.levels = ["default", "advanced", "masochist"]
        .map(|level| level_view(level, 64, 0, if level == "advanced" { 2 } else { 0 }))
        .to_vec();
    sum_up(&mut job);
    job.job.state = State::Done;
    job.job.ended = Some(NOW - 60.0);
    job.rate.seconds_left = None;
    for node in job.nodes.values_mut() {
        node.lent = 0;
    }
    job
}

/// One with a filter.
pub(super) fn filtered() -> Snapshot {
    let mut job = running();
    job.job.id = "f117e70123456789".to_owned();
    job.job.search.filter =
        Some(r#"item("Grapple").sphere == 1 and at("Nova").sphere <= 2"#.to_owned());
    job.specials.clear();
    for (index, level) in job.levels.iter_mut().enumerate() {
        let found = [34, 7, 0][index];
        let seeds = (0..found).map(|at: u32| Found {
            seed: 7_919 + at * 48_611_953,
            completable: true,
            spheres: 6 + (at % 5) as u8,
        });
        let tally = &mut level.tally;
        tally.found = Some(seeds.collect());
        (tally.dead, tally.stuck) = (0, 0);
        tally.completable = found.into();
        tally.spheres = (6..11)
            .map(|spheres| {
                (
                    spheres,
                    (0..found)
                        .filter(|at| 6 + (at % 5) as u8 == spheres)
                        .count() as u64,
                )
            })
            .filter(|(_, count)| *count > 0)
            .collect();
        for cell in &mut level.cells {
            cell.dead = 0;
            cell.found =
                u64::from(cell.state >= CellState::Done && cell.start % 3 == 1 && found > 0);
        }
        let specials = tally.found.iter().flatten();
        job.specials.extend(specials.map(|found| Special {
            level: level.level.clone(),
            seed: found.seed,
            why: Why::Found,
        }));
    }
    job
}

/// One whose nodes do not agree.
pub(super) fn disputed() -> Snapshot {
    let mut job = running();
    job.job.state = State::Disputed;
    job.levels[1].cells[20].state = CellState::Disputed;
    job.disputes = vec![Dispute {
        level: "advanced".to_owned(),
        start: job.levels[1].cells[20].start,
        len: RESERVATION,
        digests: [
            ("worker1", "00000000000000aa"),
            ("worker7", "00000000000000ab"),
        ]
        .map(|(node, digest)| (node.to_owned(), digest.to_owned()))
        .into(),
    }];
    job
}

pub(super) fn view(job: Snapshot) -> View {
    View {
        at: NOW,
        jobs: vec![Arc::new(job)],
        engine: Some(engine()),
    }
}

/// `done` of 64 reservations have a result, `lent` are on loan.
fn level_view(name: &str, done: u64, lent: u64, dead: u64) -> LevelView {
    let cell = |index: u64| Cell {
        start: (index * RESERVATION + u64::from(index == 0)) as u32,
        len: RESERVATION - u64::from(index == 0),
        twins: true,
        state: match index {
            _ if index < done && index % 5 == 1 => CellState::Verified,
            _ if index < done => CellState::Done,
            _ if index < done + lent => CellState::Lent,
            _ => CellState::Open,
        },
        node: Some(format!("worker{}", index % 7 + 1)),
        dead: if index == 19 && done > 19 { dead } else { 0 },
        found: 0,
    };
    let edges = [0, 1 << 31].map(|start| Cell {
        start,
        len: 1,
        twins: false,
        state: if done == 64 {
            CellState::Done
        } else {
            CellState::Open
        },
        node: None,
        dead: 0,
        found: 0,
    });
    let mut cells: Vec<Cell> = edges.into_iter().chain((0..64).map(cell)).collect();
    cells.sort_by_key(|cell| cell.start);
    let settled = |cell: &&Cell| cell.state >= CellState::Done;
    let scanned = cells.iter().filter(settled);
    let scanned: u64 = scanned.map(|cell| cell.len << u32::from(cell.twins)).sum();
    LevelView {
        level: name.to_owned(),
        tally: tally(scanned, dead),
        cells,
    }
}

/// A histogram of the usual shape.
fn tally(scanned: u64, dead: u64) -> Tally {
    const SHARES: [(u8, u64); 12] = [
        (5, 3),
        (6, 210),
        (7, 4_100),
        (8, 31_000),
        (9, 118_000),
        (10, 236_000),
        (11, 275_000),
        (12, 198_000),
        (13, 95_000),
        (14, 33_000),
        (15, 8_200),
        (16, 1_100),
    ];
    let shares = SHARES.map(|(spheres, share)| (spheres, scanned / 1_000_000 * share));
    let mut spheres: BTreeMap<u8, u64> =
        shares.into_iter().filter(|(_, count)| *count > 0).collect();
    let counted: u64 = spheres.values().sum();
    if scanned > counted {
        *spheres.entry(11).or_default() += scanned - counted;
    }
    Tally {
        scanned,
        completable: scanned - dead,
        dead,
        stuck: dead,
        unreachable: 0,
        spheres,
        digest: 0x1234,
        audit: 0x5678,
        first_dead: Vec::new(),
        found: None,
    }
}

fn sum_up(job: &mut Snapshot) {
    job.progress = Progress {
        seeds_done: job.levels.iter().map(|level| level.tally.scanned).sum(),
        seeds_total: SEEDS * job.levels.len() as u64,
        ranges_done: 106,
        ..Progress::default()
    };
}

/// A start, a node that went away for a while, and some unrest.
fn sample(index: u32) -> RatePoint {
    let x = f64::from(index);
    let start = (x / 12.0).min(1.0);
    let away = if (70..95).contains(&index) { 0.86 } else { 1.0 };
    let unrest = 1.0 + 0.015 * (x * 1.7).sin() + 0.01 * (x * 0.31).cos();
    RatePoint {
        at: STARTED + 30.0 * x,
        seeds_per_second: 1_512_000.0 * start * away * unrest,
    }
}

fn node(number: u64) -> (String, NodeView) {
    let health = match number {
        5 => Health::New,
        6 => Health::Away,
        7 => Health::Suspect,
        _ => Health::Good,
    };
    let view = NodeView {
        health,
        outside: number == 5,
        seeds: 1_040_000_000 - number * 31_000_000,
        ranges: 16 - number / 3,
        seeds_per_second: 214_000.0 + 1_700.0 * number as f64,
        lent: u64::from(number < 5),
        rejected: u64::from(number == 7),
        heard: Some(
            NOW - if number == 6 {
                780.0
            } else {
                3.0 * number as f64
            },
        ),
    };
    (format!("worker{number}"), view)
}

pub(super) fn engine() -> EngineView {
    let machine = |index: usize| Machine {
        name: match index {
            0 => "manager1".to_owned(),
            _ => format!("worker{index}"),
        },
        manager: index == 0,
        leader: index == 0,
        state: if index == 6 { "down" } else { "ready" }.to_owned(),
        availability: "active".to_owned(),
        runs: match index {
            0 => [
                "registry_registry",
                "seeds_messages",
                "seeds_web",
                "seeds_worker",
            ]
            .map(|name| (name.to_owned(), 1))
            .into(),
            6 => BTreeMap::new(),
            _ => BTreeMap::from([("seeds_miner".to_owned(), 1)]),
        },
    };
    let service = |(name, running, wanted): (&str, u64, u64)| Service {
        name: name.to_owned(),
        running,
        wanted,
    };
    EngineView {
        nodes: (0..=7).map(machine).collect(),
        services: [
            ("registry_registry", 1, 1),
            ("seeds_messages", 1, 1),
            ("seeds_miner", 6, 7),
            ("seeds_web", 1, 1),
            ("seeds_worker", 1, 1),
        ]
        .map(service)
        .into(),
    }
}
