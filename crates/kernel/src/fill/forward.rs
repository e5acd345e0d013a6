//! `forward` and `guarded`: any remaining item into any open location.

use bramble_world::{Set, Table};

use super::frontier::{Frontier, stop_stuck};
use super::pool::Pool;
use super::{Block, End, bytes};
use crate::bag::Bag;
use crate::demand::Demand;
use crate::rng::Rng;

#[inline(always)]
pub(super) fn forward<
    const W: usize,
    const L: usize,
    R: Rng<L>,
    B: Bag<W>,
    P: Pool<L>,
    const GUARDED: bool,
>(
    table: &Table<W>,
    rng: &mut R,
    demand: Option<&Demand<W>>,
    block: &mut Block<W, L>,
) {
    let mut frontier = Frontier::<W, L, B>::start(table);
    let mut pool = P::full(table.len);
    // What the pool holds, kept for the guard alone.
    let mut remaining = [Set::below(table.len); L];
    for left in (1..=table.len as u32).rev() {
        let places = rng.draw(&frontier.choices);
        if stop_stuck(&frontier.choices, block) {
            break;
        }
        let items = if GUARDED && left > 1 && any_is_one(&frontier.choices) {
            let guard = Guard::new(table, &frontier, &remaining, left);
            if stop_stuck(&guard.counts, block) {
                break;
            }
            guard.choose::<B>(&remaining, &rng.draw(&guard.counts))
        } else {
            bytes(&rng.draw_all(left))
        };
        let items = pool.take(&items);
        let mut locations = [0; L];
        for lane in 0..L {
            if block.ends[lane] != End::Finished {
                continue;
            }
            let (location, item) = (frontier.take(lane, places[lane]), items[lane].into());
            locations[lane] = location as u8;
            if GUARDED {
                remaining[lane].remove(item);
            }
            frontier.put(table, block, lane, location, item);
        }
        frontier.count();
        if demand.is_some_and(|demand| demand.rules_out(&locations, &items, block)) {
            break;
        }
    }
    frontier.finish(table, block);
}

/// What may go into the last open location.
struct Guard<const W: usize, const L: usize> {
    /// From how many items each seed draws: the candidates, or all where more locations are open.
    counts: [u32; L],
    candidates: [Set<W>; L],
    is_guarded: [bool; L],
}

impl<const W: usize, const L: usize> Guard<W, L> {
    #[inline(always)]
    fn new<B: Bag<W>>(
        table: &Table<W>,
        frontier: &Frontier<W, L, B>,
        remaining: &[Set<W>; L],
        left: u32,
    ) -> Self {
        let mut guard = Guard {
            counts: [left; L],
            candidates: [Set::EMPTY; L],
            is_guarded: frontier.choices.map(|choices| choices == 1),
        };
        for (lane, remaining) in remaining.iter().enumerate() {
            if guard.is_guarded[lane] {
                // Whatever is filled was open when it was, and stays open: so an item that opens anything opens something
                // unfilled.
                let openers = table.openers(frontier.powers[lane]);
                guard.candidates[lane] = remaining.and(openers);
                guard.counts[lane] = guard.candidates[lane].len();
            }
        }
        guard
    }

    /// Turns places among the candidates into places among all that remain.
    #[inline(always)]
    fn choose<B: Bag<W>>(&self, remaining: &[Set<W>; L], drawn: &[u32; L]) -> [u8; L] {
        let mut places = bytes(drawn);
        for (lane, place) in places.iter_mut().enumerate() {
            if self.is_guarded[lane] {
                let item = B::new(self.candidates[lane]).take(*place);
                *place = remaining[lane].and(Set::below(item)).len() as u8;
            }
        }
        places
    }
}

/// Looks at all of them, since that takes fewer instructions than to stop early.
#[inline(always)]
fn any_is_one<const L: usize>(choices: &[u32; L]) -> bool {
    choices.iter().fold(false, |any, &count| any | (count == 1))
}
