//! Looking for seeds, without working out more of each than it takes to see that it is not one.

use crate::Verdict;
use crate::demand::{Demand, Wanted};
use crate::engine::{LANES, Outcomes};
use crate::fill::End;
use crate::program::Compiled;

/// A seed that may be wanted.
pub struct Seed<'a> {
    /// The seed.
    pub seed: u32,
    /// Whether it can be finished.
    pub verdict: Verdict,
    /// Rounds in which something was collected.
    pub spheres: u8,
    /// For each location the pool index of its item, 255 if it holds none.
    pub items: &'a [u8],
    sphere_of: &'a dyn Fn() -> [u8; 256],
}

impl Seed<'_> {
    /// For each location the round in which it is collected, 0 if it never is. This walks the placement again.
    pub fn sphere_of(&self) -> [u8; 256] {
        (self.sphere_of)()
    }
}

impl<const W: usize> Compiled<W> {
    pub(crate) fn find(
        &self,
        start: u32,
        len: u64,
        wanted: &Wanted,
        visit: &mut dyn FnMut(&Seed<'_>),
    ) {
        let end = (u64::from(start).saturating_add(len)).min(1 << 32);
        let mut outcomes = Outcomes::EMPTY;
        let hasty = Demand::new(wanted, true);
        let patient = Demand::new(wanted, false);
        let hasty = (!wanted.is_anything()).then_some(&hasty);
        let mut left_off = Pending::NONE;
        for first in (u64::from(start)..end).step_by(LANES) {
            let mut seeds = [0; LANES];
            for (lane, seed) in seeds.iter_mut().enumerate() {
                *seed = (first as u32).wrapping_add(lane as u32);
            }
            (self.engine)(self.fill, &self.table, &seeds, hasty, &mut outcomes);
            let count = (end - first).min(LANES as u64) as usize;
            self.show(&seeds[..count], &outcomes, visit);
            for (&seed, &end) in seeds[..count].iter().zip(&outcomes.block.ends) {
                if end == End::LeftOff {
                    left_off.push(seed);
                }
            }
            if left_off.len >= LANES {
                let seeds = left_off.take_block();
                (self.engine)(
                    self.fill,
                    &self.table,
                    &seeds,
                    Some(&patient),
                    &mut outcomes,
                );
                self.show(&seeds, &outcomes, visit);
            }
        }
        let (seeds, count) = (left_off.seeds, left_off.len.min(LANES));
        if let Some(seeds) = seeds.first_chunk::<LANES>().filter(|_| count > 0) {
            (self.engine)(self.fill, &self.table, seeds, Some(&patient), &mut outcomes);
            self.show(&seeds[..count], &outcomes, visit);
        }
    }

    fn show(&self, seeds: &[u32], outcomes: &Outcomes<W>, visit: &mut dyn FnMut(&Seed<'_>)) {
        for (lane, &seed) in seeds.iter().enumerate() {
            let end = outcomes.block.ends[lane];
            if !matches!(end, End::Finished | End::Stuck) {
                continue;
            }
            let items = outcomes.block.items(lane);
            visit(&Seed {
                seed,
                verdict: self.target.verdict(&outcomes.walks[lane], end),
                spheres: outcomes.walks[lane].spheres,
                items: items.get(..self.table.len).unwrap_or(&items),
                sphere_of: &|| self.spheres(outcomes, lane).1,
            });
        }
    }
}

/// Seeds that wait for a block of their own.
struct Pending {
    /// Fewer than a block, and what one block may add.
    seeds: [u32; 2 * LANES],
    len: usize,
}

impl Pending {
    const NONE: Pending = Pending {
        seeds: [0; 2 * LANES],
        len: 0,
    };

    fn push(&mut self, seed: u32) {
        if let Some(slot) = self.seeds.get_mut(self.len) {
            *slot = seed;
            self.len += 1;
        }
    }

    fn take_block(&mut self) -> [u32; LANES] {
        let mut block = [0; LANES];
        block.copy_from_slice(&self.seeds[..LANES]);
        self.seeds.copy_within(LANES.., 0);
        self.len -= LANES;
        block
    }
}
