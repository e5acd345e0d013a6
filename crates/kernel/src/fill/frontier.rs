//! What an engine that fills forward can reach.

use bramble_world::{Set, Table};

use super::block::{Block, End};
use super::open::Open;
use super::pool::Taken;
use crate::lanes::Lanes;

/// The state of `L` seeds, laid out by what it is and not by seed.
pub(super) struct Frontier<const W: usize, const L: usize, O> {
    pub(super) powers: [u64; L],
    /// Locations that are open under these powers, filled ones too.
    reach: [Set<W>; L],
    /// Those without an item.
    open: O,
    /// How many these are.
    pub(super) choices: [u8; L],
}

impl<const W: usize, const L: usize, O: Open<W, L>> Frontier<W, L, O> {
    /// Before anything is placed.
    #[inline(always)]
    pub(super) fn start(table: &Table<W>) -> Self {
        let reach = table.open(0);
        Frontier {
            powers: [0; L],
            reach: [reach; L],
            open: O::new(reach),
            choices: [reach.len() as u8; L],
        }
    }

    /// Gives up the seeds that have nowhere to go on, or those given. True if there are none left.
    #[inline(always)]
    pub(super) fn stop(&self, stuck: Lanes, block: &mut Block<W, L>) -> bool {
        let stuck = stuck.and(block.going);
        if !stuck.is_empty() {
            block.end(stuck, End::Stuck, |lane| self.filled(lane));
        }
        block.going.is_empty()
    }

    /// Puts these items into the open locations at these places.
    #[inline(always)]
    pub(super) fn place(
        &mut self,
        table: &Table<W>,
        block: &mut Block<W, L>,
        places: &[u8; L],
        items: &Taken<L>,
    ) -> [u8; L] {
        let locations = self.open.take(places);
        for choices in &mut self.choices {
            *choices = choices.wrapping_sub(1);
        }
        self.put(table, block, &locations, items);
        locations
    }

    /// Puts these items into these locations, without keeping account of what is open.
    #[inline(always)]
    pub(super) fn put(
        &mut self,
        table: &Table<W>,
        block: &mut Block<W, L>,
        locations: &[u8; L],
        items: &Taken<L>,
    ) {
        for lane in items.of_span.and(block.going) {
            let (location, item) = (locations[lane].into(), items.numbers[lane].into());
            self.unwrap(table, block, lane, location, item);
        }
    }

    /// Sees what an item grants, if anything.
    #[inline(always)]
    fn unwrap(
        &mut self,
        table: &Table<W>,
        block: &mut Block<W, L>,
        lane: usize,
        location: usize,
        item: usize,
    ) {
        let grants = table.grants[item & 255];
        if grants != 0 {
            block.gifts[lane].put(location, item);
            if grants & !self.powers[lane] != 0 {
                self.gain(table, lane, grants);
            }
        }
    }

    /// What was open stays open, so that what opens now is all there is to add. Often that is nothing, which nobody can foresee: so adding
    /// it costs less than asking.
    #[inline(always)]
    fn gain(&mut self, table: &Table<W>, lane: usize, grants: u64) {
        self.powers[lane] |= grants;
        let reach = table.open(self.powers[lane]);
        let opened = reach.minus(self.reach[lane]);
        self.reach[lane] = reach;
        self.choices[lane] = self.choices[lane].wrapping_add(self.open.add(lane, opened));
    }

    #[inline(always)]
    fn filled(&self, lane: usize) -> Set<W> {
        self.reach[lane].minus(self.open.members(lane))
    }
}
