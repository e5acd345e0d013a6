//! The engines: how a randomizer turns draws into a placement.
//!
//! Each works on a [`Block`]: `L` seeds that advance in lockstep, since all of them draw equally often. One that gets stuck leaves the
//! rest unfilled while the others go on. "Open" and "remaining" are in the order of locations and pool throughout, which is
//! the order of bits in a set.

mod assumed;
mod block;
mod forward;
mod frontier;
mod history;
mod ladder;
mod open;
mod order;
mod pool;
mod shelf;
#[cfg(any(test, target_arch = "aarch64"))]
mod sliced;

use bramble_world::Table;

use crate::bag::Bag;
use crate::demand::Demand;
use crate::rng::Rng;
pub(crate) use block::{Block, End, Gifts};
pub(crate) use history::History;
pub(crate) use open::{Bags, Open};
use pool::Pool;
pub(crate) use pool::Sets;
use shelf::Shelf;
#[cfg(any(test, target_arch = "aarch64"))]
pub(crate) use sliced::Sliced;

/// Which engine to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Fisher-Yates over the whole pool, without regard to logic.
    Shuffle,
    /// Any remaining item into any open location.
    Forward,
    /// As `Forward`, but into the last open location goes an item that opens another.
    Guarded,
    /// Items that grant something first, each where it can be reached with all the others.
    Assumed,
    /// The lowest power not held next, with the generator seeded anew before every placement.
    Ladder,
}

impl Fill {
    /// All of them.
    pub const ALL: [Fill; 5] = [
        Fill::Shuffle,
        Fill::Forward,
        Fill::Guarded,
        Fill::Assumed,
        Fill::Ladder,
    ];

    /// The name used on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Fill::Shuffle => "shuffle",
            Fill::Forward => "forward",
            Fill::Guarded => "guarded",
            Fill::Assumed => "assumed",
            Fill::Ladder => "ladder",
        }
    }

    /// Whether [`place_gifts`] can do it.
    pub(crate) fn can_follow_gifts(self) -> bool {
        match self {
            Fill::Forward | Fill::Guarded | Fill::Ladder => true,
            Fill::Shuffle | Fill::Assumed => false,
        }
    }

    /// The engine of that name.
    pub fn from_name(name: &str) -> Option<Fill> {
        Fill::ALL.into_iter().find(|fill| fill.name() == name)
    }
}

/// Fills an empty block. Seeds that cannot meet the demand may be left as soon as that is certain.
#[inline(always)]
pub(crate) fn place<
    const W: usize,
    const L: usize,
    R: Rng<L>,
    B: Bag<W>,
    O: Open<W, L>,
    P: Pool<L>,
>(
    fill: Fill,
    table: &Table<W>,
    seeds: &[u32; L],
    demand: Option<&Demand<W>>,
    block: &mut Block<W, L>,
) {
    let mut rng = R::seeded(seeds);
    match fill {
        Fill::Shuffle => order::shuffle(table, &mut rng, block),
        Fill::Forward => {
            forward::forward::<W, L, R, B, O, P, false>(table, &mut rng, demand, block);
        }
        Fill::Guarded => {
            forward::forward::<W, L, R, B, O, P, true>(table, &mut rng, demand, block);
        }
        Fill::Assumed => assumed::assumed::<W, L, B>(table, &mut rng, block),
        Fill::Ladder => ladder::ladder::<W, L, R, O, P>(table, &mut rng, demand, block),
    }
    block.finish(table);
}

/// As [`place`], for what [can do so](Fill::can_follow_gifts): all that is known afterwards is where things lie that grant something.
///
/// Nothing else decides how far a player gets, and to know it takes fewer instructions than it takes to place all.
#[inline(always)]
pub(crate) fn place_gifts<
    const W: usize,
    const L: usize,
    R: Rng<L>,
    B: Bag<W>,
    S: Bag<W>,
    O: Open<W, L>,
>(
    fill: Fill,
    table: &Table<W>,
    seeds: &[u32; L],
    block: &mut Block<W, L>,
) {
    let mut rng = R::seeded(seeds);
    match fill {
        Fill::Forward => {
            forward::forward::<W, L, R, B, O, Shelf<W, L, S>, false>(table, &mut rng, None, block);
        }
        Fill::Guarded => {
            forward::forward::<W, L, R, B, O, Shelf<W, L, S>, true>(table, &mut rng, None, block);
        }
        Fill::Ladder => ladder::ladder_gifts::<W, L, R, S, O>(table, &mut rng, block),
        // Nobody asks, and it is not worth a second way.
        Fill::Shuffle | Fill::Assumed => debug_assert!(fill.can_follow_gifts(), "{fill:?}"),
    }
    block.finish(table);
}
