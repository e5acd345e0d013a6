//! A level, an engine, a generator and a goal, made ready to run.

use alloc::boxed::Box;

use bramble_world::{Goal, Table, World};

use crate::digest;
use crate::engine::{Engine, Known, LANES, Outcomes, engine};
use crate::machine::Machine;
use crate::verdict::{Target, Walk, walk};
use crate::{Dotnet, Fill, Pcg32, Random, Seed, Summary, Verdict, Wanted};

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
pub(crate) struct Compiled<const W: usize> {
    pub(crate) table: Table<W>,
    pub(crate) target: Target<W>,
    pub(crate) engine: Engine<W>,
    /// The engine for seeds of which only the verdict is asked.
    verdicts: Engine<W>,
    pub(crate) fill: Fill,
    random: Random,
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
    /// Compiles a level of a world for the fastest [`Machine`] there is. Without a `goal`, all locations are to be collected.
    /// `None` if the world has no level of that position.
    pub fn new(
        world: &World,
        level: usize,
        fill: Fill,
        random: Random,
        goal: Option<&Goal>,
    ) -> Option<Program> {
        Program::on(Machine::best(), world, level, fill, random, goal)
    }

    /// Compiles a level of a world for a machine, or for the baseline if this processor is no such machine.
    pub fn on(
        machine: Machine,
        world: &World,
        level: usize,
        fill: Fill,
        random: Random,
        goal: Option<&Goal>,
    ) -> Option<Program> {
        let machine = Machine::available().find(|&there| there == machine);
        let machine = machine.unwrap_or(Machine::Baseline);
        let number = u8::try_from(level).ok()?;
        let compiled = world.levels.get(level)?;
        let width = if world.locations.len() <= 128 {
            let table = Table::new(world, compiled);
            Width::Narrow(Box::new(Compiled::new(machine, table, fill, random, goal)))
        } else {
            let table = Table::new(world, compiled);
            Width::Wide(Box::new(Compiled::new(machine, table, fill, random, goal)))
        };
        Some(Program {
            level: number,
            width,
        })
    }

    /// The generator it draws from.
    pub fn random(&self) -> Random {
        match &self.width {
            Width::Narrow(compiled) => compiled.random,
            Width::Wide(compiled) => compiled.random,
        }
    }

    /// Looks at `len` seeds from `start` on, or as many of them as there are up to 2^32.
    pub fn search(&self, start: u32, len: u64) -> Summary {
        match &self.width {
            Width::Narrow(compiled) => compiled.search(self.level, start, len, false),
            Width::Wide(compiled) => compiled.search(self.level, start, len, false),
        }
    }

    /// As [`search`](Program::search), and at their twins as well: the seeds with the same draws that `Random::twin` names. They cost
    /// next to nothing.
    pub fn search_with_twins(&self, start: u32, len: u64) -> Summary {
        match &self.width {
            Width::Narrow(compiled) => compiled.search(self.level, start, len, true),
            Width::Wide(compiled) => compiled.search(self.level, start, len, true),
        }
    }

    /// Shows `visit` all of `len` seeds from `start` on that are not certainly unwanted, in no particular order.
    ///
    /// The more a seed puts early where it is not wanted, the less of it is worked out.
    pub fn find(&self, start: u32, len: u64, wanted: &Wanted, visit: &mut dyn FnMut(&Seed<'_>)) {
        match &self.width {
            Width::Narrow(compiled) => compiled.find(start, len, wanted, visit),
            Width::Wide(compiled) => compiled.find(start, len, wanted, visit),
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
    fn new(
        machine: Machine,
        table: Table<W>,
        fill: Fill,
        random: Random,
        goal: Option<&Goal>,
    ) -> Self {
        let engine = |known| match random {
            Random::Dotnet => engine::<W, Dotnet<LANES>, Dotnet<1>>(machine, fill, known),
            Random::Pcg32 => engine::<W, Pcg32<LANES>, Pcg32<1>>(machine, fill, known),
        };
        Compiled {
            target: Target::new(&table, goal),
            table,
            engine: engine(Known::Placement),
            verdicts: engine(Known::Gifts),
            fill,
            random,
        }
    }

    fn search(&self, level: u8, start: u32, len: u64, twins: bool) -> Summary {
        let mut summary = Summary::EMPTY;
        let mut outcomes = Outcomes::EMPTY;
        let end = (u64::from(start).saturating_add(len)).min(1 << 32);
        for first in (u64::from(start)..end).step_by(LANES) {
            // The last block may reach beyond the end; what it finds there is left out.
            let seeds = core::array::from_fn(|lane| (first as u32).wrapping_add(lane as u32));
            let audited = seeds.iter().any(|seed| seed.is_multiple_of(AUDIT_EVERY));
            let engine = if audited { self.engine } else { self.verdicts };
            engine(self.fill, &self.table, &seeds, None, &mut outcomes);
            let count = (end - first).min(LANES as u64) as usize;
            for (lane, &seed) in seeds.iter().enumerate().take(count) {
                self.count(level, seed, &outcomes, lane, &mut summary);
                if let Some(twin) = self.random.twin(seed).filter(|_| twins) {
                    self.count(level, twin, &outcomes, lane, &mut summary);
                }
            }
        }
        summary
    }

    #[inline(always)]
    fn count(
        &self,
        level: u8,
        seed: u32,
        outcomes: &Outcomes<W>,
        lane: usize,
        summary: &mut Summary,
    ) {
        let walk = &outcomes.walks[lane];
        let verdict = self.target.verdict(walk, outcomes.block.ends[lane]);
        summary.count(seed, verdict, walk.spheres);
        let one = digest::of_verdict(seed, level, verdict.bit(), walk.spheres);
        summary.digest = summary.digest.wrapping_add(one);
        if seed.is_multiple_of(AUDIT_EVERY) {
            let items = outcomes.block.items(lane);
            let items = items.get(..self.table.len).unwrap_or(&items);
            let one = digest::of_placement(seed, level, verdict.bit(), walk.spheres, items);
            summary.audit = summary.audit.wrapping_add(one);
        }
    }

    fn arrange(&self, seed: u32) -> Arrangement {
        let mut outcomes = Outcomes::EMPTY;
        (self.engine)(self.fill, &self.table, &[seed; LANES], None, &mut outcomes);
        let (walk, sphere) = self.spheres(&outcomes, 0);
        Arrangement {
            verdict: self.target.verdict(&walk, outcomes.block.ends[0]),
            spheres: walk.spheres,
            items: outcomes.block.items(0),
            sphere,
        }
    }

    /// How far a player gets, and for each location the round in which it is collected.
    pub(crate) fn spheres(&self, outcomes: &Outcomes<W>, lane: usize) -> (Walk<W>, [u8; 256]) {
        let mut sphere = [0; 256];
        let (filled, gifts) = (outcomes.block.filled[lane], &outcomes.block.gifts[lane]);
        let walk = walk(&self.table, filled, gifts, |round, found| {
            for location in found.iter() {
                if let Some(slot) = sphere.get_mut(location) {
                    *slot = round;
                }
            }
        });
        (walk, sphere)
    }
}
