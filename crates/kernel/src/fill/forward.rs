//! `forward` and `guarded`: any remaining item into any open location.

use bramble_world::{Set, Table};

use super::block::Block;
use super::frontier::Frontier;
use super::open::Open;
use super::pool::{Pool, Span};
use crate::bag::Bag;
use crate::demand::Demand;
use crate::lanes::Lanes;
use crate::rng::Rng;

#[inline(always)]
pub(super) fn forward<
    const W: usize,
    const L: usize,
    R: Rng<L>,
    B: Bag<W>,
    O: Open<W, L>,
    P: Pool<L>,
    const GUARDED: bool,
>(
    table: &Table<W>,
    rng: &mut R,
    demand: Option<&Demand<W>>,
    block: &mut Block<W, L>,
) {
    let mut frontier = Frontier::<W, L, O>::start(table);
    let mut pool = P::full(table.len, Span::around(table.granting));
    for left in (1..=table.len as u8).rev() {
        let places = rng.draw(&frontier.choices);
        if frontier.stop(Lanes::with(&frontier.choices, 0), block) {
            break;
        }
        let last_open = match GUARDED && left > 1 {
            true => Lanes::with(&frontier.choices, 1).and(block.going),
            false => Lanes::NONE,
        };
        let item_places = if last_open.is_empty() {
            rng.draw_all(left)
        } else {
            let guard = Guard::new(table, &frontier.powers, last_open, left);
            if frontier.stop(Lanes::with(&guard.counts, 0), block) {
                break;
            }
            let drawn = rng.draw(&guard.counts);
            guard.choose::<B>(drawn, last_open, &pool)
        };
        let items = pool.take(&item_places);
        let locations = frontier.place(table, block, &places, &items);
        if P::KNOWS_ALL {
            block.write(&locations, &items.numbers);
            if demand.is_some_and(|demand| demand.rules_out(&locations, &items.numbers, block)) {
                break;
            }
        }
    }
}

/// What may go into the last open location.
struct Guard<const W: usize, const L: usize> {
    /// From how many items each seed draws: the candidates, or all where more locations are open.
    counts: [u8; L],
    candidates: [Set<W>; L],
}

impl<const W: usize, const L: usize> Guard<W, L> {
    /// Whatever is filled was open when it was, and stays open: so an item that opens anything opens something unfilled. And
    /// whatever is placed has been gained: so an item that opens anything is still there.
    #[inline(always)]
    fn new(table: &Table<W>, powers: &[u64; L], guarded: Lanes, left: u8) -> Self {
        let mut guard = Guard {
            counts: [left; L],
            candidates: [Set::EMPTY; L],
        };
        for lane in guarded {
            guard.candidates[lane] = table.openers(powers[lane]);
            guard.counts[lane] = guard.candidates[lane].len() as u8;
        }
        guard
    }

    /// Turns places among the candidates into places among all that remain.
    #[inline(always)]
    fn choose<B: Bag<W>>(&self, drawn: [u8; L], guarded: Lanes, pool: &impl Pool<L>) -> [u8; L] {
        let mut items = [0; L];
        for lane in guarded {
            items[lane] = B::new(self.candidates[lane]).take(drawn[lane]) as u8;
        }
        let mut places = drawn;
        let places_of = pool.places_of(&items, guarded);
        for lane in guarded {
            places[lane] = places_of[lane];
        }
        places
    }
}
