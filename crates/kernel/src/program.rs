//! A level, an engine, a generator and a goal, made ready to run.

use alloc::boxed::Box;

use bramble_world::{Goal, Table, UNFILLED, World};

use crate::digest;
use crate::fill::{Engine, engine};
use crate::placement::Placement;
use crate::verdict::{Target, walk};
use crate::{Dotnet, Fill, Pcg32, Random, Summary, Verdict};

/// Placements of seeds that are divisible by this enter the audit.
const AUDIT_EVERY: u32 = 65_536;

/// What to compute for every seed. Cheap to share between threads.
#[derive(Clone, Debug)]
pub struct Program {
    level: u8,
    width: Width,
}

/// Sets of two words serve worlds of up to 128 locations, which most are.
#[derive(Clone, Debug)]
enum Width {
    Narrow(Box<Compiled<2>>),
    Wide(Box<Compiled<4>>),
}

#[derive(Clone, Debug)]
struct Compiled<const W: usize> {
    table: Table<W>,
    target: Target<W>,
    engine: Engine<W>,
    fill: Fill,
}

/// One seed in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrangement {
    /// Whether it can be finished.
    pub verdict: Verdict,
    /// Rounds in which something was collected.
    pub spheres: u8,
    /// For each location the pool index of its item, 255 if it holds none. Meaningless beyond the world's locations.
    pub items: [u8; 256],
    /// For each location the round in which it was collected, 0 if it never was.
    pub sphere: [u8; 256],
}

impl Program {
    /// Compiles a level of a world. Without a `goal`, all locations are to be collected.
    /// `None` if the world has no level of that position.
    pub fn new(
        world: &World,
        level: usize,
        fill: Fill,
        random: Random,
        goal: Option<&Goal>,
    ) -> Option<Program> {
        let number = u8::try_from(level).ok()?;
        let compiled = world.levels.get(level)?;
        let width = if world.locations.len() <= 128 {
            Width::Narrow(Box::new(Compiled::new(
                Table::new(world, compiled),
                fill,
                random,
                goal,
            )))
        } else {
            Width::Wide(Box::new(Compiled::new(
                Table::new(world, compiled),
                fill,
                random,
                goal,
            )))
        };
        Some(Program {
            level: number,
            width,
        })
    }

    /// Looks at `len` seeds from `start` on, or as many of them as there are up to 2^32.
    pub fn search(&self, start: u32, len: u64) -> Summary {
        match &self.width {
            Width::Narrow(compiled) => compiled.search(self.level, start, len),
            Width::Wide(compiled) => compiled.search(self.level, start, len),
        }
    }

    /// Looks at one seed in full.
    pub fn arrange(&self, seed: u32) -> Arrangement {
        match &self.width {
            Width::Narrow(compiled) => compiled.arrange(seed),
            Width::Wide(compiled) => compiled.arrange(seed),
        }
    }
}

impl<const W: usize> Compiled<W> {
    fn new(table: Table<W>, fill: Fill, random: Random, goal: Option<&Goal>) -> Self {
        let engine = match random {
            Random::Dotnet => engine::<W, Dotnet>(),
            Random::Pcg32 => engine::<W, Pcg32>(),
        };
        Compiled {
            target: Target::new(&table, goal),
            table,
            engine,
            fill,
        }
    }

    fn search(&self, level: u8, start: u32, len: u64) -> Summary {
        let mut summary = Summary::EMPTY;
        let end = (u64::from(start).saturating_add(len)).min(1 << 32);
        for seed in u64::from(start)..end {
            let seed = seed as u32;
            let mut placement = Placement::EMPTY;
            let finished = (self.engine)(self.fill, &self.table, seed, &mut placement);
            let walk = walk(&self.table, &placement, |_, _| ());
            let verdict = self.target.verdict(&walk, finished);
            summary.count(seed, verdict, walk.spheres);
            let one = digest::of_verdict(seed, level, verdict.bit(), walk.spheres);
            summary.digest = summary.digest.wrapping_add(one);
            if seed.is_multiple_of(AUDIT_EVERY) {
                let items = placement
                    .items
                    .get(..self.table.len)
                    .unwrap_or(&placement.items);
                let one = digest::of_placement(seed, level, verdict.bit(), walk.spheres, items);
                summary.audit = summary.audit.wrapping_add(one);
            }
        }
        summary
    }

    fn arrange(&self, seed: u32) -> Arrangement {
        let mut placement = Placement::EMPTY;
        let finished = (self.engine)(self.fill, &self.table, seed, &mut placement);
        let mut sphere = [0; 256];
        let walk = walk(&self.table, &placement, |round, found| {
            found
                .iter()
                .filter_map(|location| sphere.get_mut(location).map(|slot| *slot = round))
                .count();
        });
        debug_assert!(finished || placement.items.contains(&UNFILLED));
        Arrangement {
            verdict: self.target.verdict(&walk, finished),
            spheres: walk.spheres,
            items: placement.items,
            sphere,
        }
    }
}
