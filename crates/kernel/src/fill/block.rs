//! The placements of several seeds, in the making or finished.

use bramble_world::{Set, Table, UNFILLED};

use crate::lanes::Lanes;

/// A byte for each location, or for each pool entry, of a world of up to `64 * W`.
pub(crate) type Bytes<const W: usize> = [[u8; 64]; W];

/// How an engine gets on with a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Everything is placed, or will be.
    Finished,
    /// There is no open location, or no item that may be placed.
    Stuck,
    /// What is placed is not what was demanded, so the rest is not worth doing.
    RuledOut,
    /// So far so good, but the others of its block are ruled out.
    LeftOff,
}

/// `L` seeds that advance in lockstep.
///
/// What is placed is written down step by step, with the seeds side by side; that is a store for a whole register of seeds.
/// What grants something is also noted seed by seed, since that is all that decides how far a player gets; where only that is
/// asked, only that is noted.
pub(crate) struct Block<const W: usize, const L: usize> {
    /// By step, where an item was placed, and which. A seed that has ended goes on with anything.
    locations: [[[u8; L]; 64]; W],
    items: [[[u8; L]; 64]; W],
    /// Steps until now.
    steps: usize,
    /// How many steps of each seed count.
    counts: [u8; L],
    /// Locations that hold an item.
    pub(crate) filled: [Set<W>; L],
    /// Items that grant something.
    pub(crate) gifts: [Gifts<W>; L],
    /// How the engine got on with each.
    pub(crate) ends: [End; L],
    /// Seeds that have not ended.
    pub(crate) going: Lanes,
}

/// What lies where of what grants something.
#[derive(Clone, Copy)]
pub(crate) struct Gifts<const W: usize> {
    pub(crate) locations: Set<W>,
    /// For each of these the pool index of its item; for others anything.
    items: Bytes<W>,
}

impl<const W: usize> Gifts<W> {
    #[inline(always)]
    pub(crate) fn put(&mut self, location: usize, item: usize) {
        // It is below that anyway, and so are the slots.
        let location = location & (64 * W - 1);
        self.locations.insert(location);
        self.items.as_flattened_mut()[location] = item as u8;
    }

    /// What the item at `location` grants, which must be one of [`Gifts::locations`].
    #[inline(always)]
    pub(crate) fn grants(&self, table: &Table<W>, location: usize) -> u64 {
        table.grants[usize::from(self.items.as_flattened()[location & (64 * W - 1)])]
    }
}

impl<const W: usize, const L: usize> Block<W, L> {
    pub(crate) const EMPTY: Self = Block {
        locations: [[[0; L]; 64]; W],
        items: [[[0; L]; 64]; W],
        steps: 0,
        counts: [0; L],
        filled: [Set::EMPTY; L],
        gifts: [Gifts {
            locations: Set::EMPTY,
            items: [[0; 64]; W],
        }; L],
        ends: [End::Finished; L],
        going: Lanes::all::<L>(),
    };

    /// Forgets everything. What is not overwritten on the way is never read.
    #[inline(always)]
    pub(crate) fn clear(&mut self) {
        self.steps = 0;
        self.counts = [0; L];
        self.filled = [Set::EMPTY; L];
        for gifts in &mut self.gifts {
            gifts.locations = Set::EMPTY;
        }
        self.ends = [End::Finished; L];
        self.going = Lanes::all::<L>();
    }

    /// Writes down a step of all seeds.
    #[inline(always)]
    pub(crate) fn write(&mut self, locations: &[u8; L], items: &[u8; L]) {
        let step = self.steps & (64 * W - 1);
        self.locations.as_flattened_mut()[step] = *locations;
        self.items.as_flattened_mut()[step] = *items;
        self.steps += 1;
    }

    /// Ends some seeds. `filled` tells what of each is filled.
    #[inline(always)]
    pub(crate) fn end(&mut self, lanes: Lanes, end: End, filled: impl Fn(usize) -> Set<W>) {
        for lane in lanes.and(self.going) {
            self.ends[lane] = end;
            self.counts[lane] = self.steps as u8;
            self.filled[lane] = filled(lane);
        }
        self.going = self.going.minus(lanes);
    }

    /// Those that have not ended have filled everything.
    #[inline(always)]
    pub(crate) fn finish(&mut self, table: &Table<W>) {
        for lane in self.going {
            self.counts[lane] = self.steps as u8;
            self.filled[lane] = Set::below(table.len);
        }
    }

    /// For each location the pool index of its item, or [`UNFILLED`].
    pub(crate) fn items(&self, lane: usize) -> [u8; 256] {
        let mut items = [UNFILLED; 256];
        let steps = self
            .locations
            .as_flattened()
            .iter()
            .zip(self.items.as_flattened());
        for (locations, placed) in steps.take(self.counts[lane].into()) {
            items[usize::from(locations[lane])] = placed[lane];
        }
        items
    }

    /// Takes over what became of a seed that was worked out alone.
    pub(crate) fn set(&mut self, lane: usize, alone: &Block<W, 1>) {
        let rows = self
            .locations
            .as_flattened_mut()
            .iter_mut()
            .zip(self.items.as_flattened_mut());
        let steps = alone
            .locations
            .as_flattened()
            .iter()
            .zip(alone.items.as_flattened());
        for ((locations, items), ([location], [item])) in rows.zip(steps).take(alone.steps) {
            (locations[lane], items[lane]) = (*location, *item);
        }
        ([self.counts[lane]], [self.filled[lane]]) = (alone.counts, alone.filled);
        ([self.gifts[lane]], [self.ends[lane]]) = (alone.gifts, alone.ends);
    }
}
