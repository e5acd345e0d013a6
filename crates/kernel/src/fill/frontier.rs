//! What an engine that fills forward can reach.

use bramble_world::{Set, Table};

use crate::bag::Bag;
use crate::fill::{Block, End};

/// The state of `L` seeds, laid out by what it is and not by seed.
pub(super) struct Frontier<const W: usize, const L: usize, B> {
    pub(super) powers: [u64; L],
    /// Locations that are open under these powers, filled ones too.
    reach: [Set<W>; L],
    /// Those without an item.
    open: [B; L],
    /// How many these are.
    pub(super) choices: [u32; L],
}

impl<const W: usize, const L: usize, B: Bag<W>> Frontier<W, L, B> {
    /// Before anything is placed.
    #[inline(always)]
    pub(super) fn start(table: &Table<W>) -> Self {
        let reach = table.open(0);
        Frontier {
            powers: [0; L],
            reach: [reach; L],
            open: [B::new(reach); L],
            choices: [reach.len(); L],
        }
    }

    /// Takes the `k`-th open location. That there is one less is counted by [`Frontier::count`], for all seeds at once.
    #[inline(always)]
    pub(super) fn take(&mut self, lane: usize, k: u32) -> usize {
        self.open[lane].take(k as u8)
    }

    #[inline(always)]
    pub(super) fn count(&mut self) {
        for choices in &mut self.choices {
            *choices = choices.wrapping_sub(1);
        }
    }

    /// Places an item. True if it grants anything new.
    #[inline(always)]
    pub(super) fn put(
        &mut self,
        table: &Table<W>,
        block: &mut Block<W, L>,
        lane: usize,
        location: usize,
        item: usize,
    ) -> bool {
        block.placements[lane].write(location, item);
        let powers = self.powers[lane] | table.grants[item & 255];
        if powers == self.powers[lane] {
            return false;
        }
        self.gain(table, lane, powers);
        true
    }

    /// What was open stays open, so that what opens now is all there is to add; often that is nothing.
    #[inline(always)]
    fn gain(&mut self, table: &Table<W>, lane: usize, powers: u64) {
        let reach = table.open(powers);
        let opened = reach.minus(self.reach[lane]);
        self.powers[lane] = powers;
        if !opened.is_empty() {
            self.reach[lane] = reach;
            self.open[lane] = B::new(self.open[lane].members().or(opened));
            self.choices[lane] += opened.len();
        }
    }

    /// Takes for granted that all that is left is going to be filled, in whatever order.
    #[inline(always)]
    pub(super) fn fill_all(&mut self, left: u32, block: &Block<W, L>) {
        for (open, &end) in self.open.iter_mut().zip(&block.ends) {
            if left > 0 && end == End::Finished {
                *open = B::new(Set::EMPTY);
            }
        }
    }

    /// Completes the placements with what was not written down on the way.
    #[inline(always)]
    pub(super) fn finish(&self, table: &Table<W>, block: &mut Block<W, L>) {
        for (lane, placement) in block.placements.iter_mut().enumerate() {
            placement.filled = self.reach[lane].minus(self.open[lane].members());
            placement.note_granting(table);
        }
    }
}

/// Takes note of the seeds that cannot go on. True if there are none left.
#[inline(always)]
pub(super) fn stop_stuck<const W: usize, const L: usize>(
    counts: &[u32; L],
    block: &mut Block<W, L>,
) -> bool {
    if counts.iter().fold(false, |any, &count| any | (count == 0)) {
        for (end, &count) in block.ends.iter_mut().zip(counts) {
            if *end == End::Finished && count == 0 {
                *end = End::Stuck;
            }
        }
        return block.is_over();
    }
    false
}
