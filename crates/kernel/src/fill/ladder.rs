//! `ladder`: the lowest power not held next.

use bramble_world::Table;

use super::block::Block;
use super::frontier::Frontier;
use super::history::History;
use super::open::Open;
use super::pool::{Pool, Span};
use super::shelf::Shelf;
use crate::bag::Bag;
use crate::demand::Demand;
use crate::lanes::Lanes;
use crate::rng::Rng;

/// On the ladder each seed takes an item of its rung. At its top, with every power held and every location open, it is any item into
/// any location, for all seeds alike: in most worlds that is the larger part.
#[inline(always)]
pub(super) fn ladder<const W: usize, const L: usize, R: Rng<L>, O: Open<W, L>, P: Pool<L>>(
    table: &Table<W>,
    rng: &mut R,
    demand: Option<&Demand<W>>,
    block: &mut Block<W, L>,
) {
    let mut ladder = Ladder::<W, L, O, P, P>::new(table, rng);
    ladder.climb(table, rng, demand, block);
    let Ladder { first, second, .. } = ladder;
    for left in (1..=ladder.left).rev() {
        if block.going.is_empty() {
            return;
        }
        let items = ladder.items.take(&R::reduce_all(&second, left));
        let locations = ladder.locations.take(&R::reduce_all(&first, left)).numbers;
        ladder.frontier.put(table, block, &locations, &items);
        block.write(&locations, &items.numbers);
        if let Some(demand) = demand {
            demand.rules_out(&locations, &items.numbers, block);
        }
    }
}

/// As `ladder`, but at the top only what grants something is followed to its location. That is the smaller part.
#[inline(always)]
pub(super) fn ladder_gifts<const W: usize, const L: usize, R: Rng<L>, S: Bag<W>, O: Open<W, L>>(
    table: &Table<W>,
    rng: &mut R,
    block: &mut Block<W, L>,
) {
    let mut ladder = Ladder::<W, L, O, Shelf<W, L, S>, History<W, L>>::new(table, rng);
    ladder.climb(table, rng, None, block);
    let Ladder { first, second, .. } = ladder;
    let mut late = Late::<W, L>::NONE;
    for left in (1..=ladder.left).rev() {
        let items = ladder.items.take(&R::reduce_all(&second, left));
        let step = ladder.locations.taken();
        ladder.locations.note(&R::reduce_all(&first, left));
        for lane in items.of_span.and(block.going) {
            late.note(lane, step, items.numbers[lane]);
        }
    }
    for (steps, items) in late.rows() {
        let locations = ladder.locations.numbers_of(steps);
        for lane in block.going {
            let (location, item) = (locations[lane], items[lane]);
            if steps[lane] != Late::<W, L>::NEVER && table.grants[usize::from(item)] != 0 {
                block.gifts[lane].put(location.into(), item.into());
            }
        }
    }
}

/// What is found at the top: row by row, in which step the next of each seed was, and which item.
struct Late<const W: usize, const L: usize> {
    steps: [[[u8; L]; 64]; W],
    items: [[[u8; L]; 64]; W],
    counts: [u8; L],
}

impl<const W: usize, const L: usize> Late<W, L> {
    const NEVER: u8 = u8::MAX;
    const NONE: Self = Late {
        steps: [[[Self::NEVER; L]; 64]; W],
        items: [[[0; L]; 64]; W],
        counts: [0; L],
    };

    #[inline(always)]
    fn note(&mut self, lane: usize, step: usize, item: u8) {
        let row = usize::from(self.counts[lane]) & (64 * W - 1);
        self.steps.as_flattened_mut()[row][lane] = step as u8;
        self.items.as_flattened_mut()[row][lane] = item;
        self.counts[lane] += 1;
    }

    #[inline(always)]
    fn rows(&self) -> impl Iterator<Item = (&[u8; L], &[u8; L])> {
        let rows = self.counts.iter().fold(0, |most, &count| most.max(count));
        let steps = self.steps.as_flattened().iter();
        steps.zip(self.items.as_flattened()).take(rows.into())
    }
}

/// Seeds on the ladder.
struct Ladder<const W: usize, const L: usize, O, P, Q> {
    frontier: Frontier<W, L, O>,
    items: P,
    locations: Q,
    /// Seeding anew gives the same two numbers every time, and only what they are reduced to differs.
    first: [u32; L],
    second: [u32; L],
    /// How many items are not placed yet.
    left: u8,
}

impl<const W: usize, const L: usize, O: Open<W, L>, P: Pool<L>, Q: Pool<L>> Ladder<W, L, O, P, Q> {
    #[inline(always)]
    fn new(table: &Table<W>, rng: &mut impl Rng<L>) -> Self {
        let span = Span::around(table.granting);
        Ladder {
            frontier: Frontier::start(table),
            items: P::full(table.len, span),
            locations: Q::full(table.len, span),
            first: rng.numbers(),
            second: rng.numbers(),
            left: table.len as u8,
        }
    }

    /// Goes on until all seeds are at the top, or have ended.
    #[inline(always)]
    fn climb<R: Rng<L>>(
        &mut self,
        table: &Table<W>,
        rng: &mut R,
        demand: Option<&Demand<W>>,
        block: &mut Block<W, L>,
    ) {
        let plain = R::are_plain(&self.first) && R::are_plain(&self.second);
        let mut climbing = Lanes::all::<L>();
        while self.left > 0 {
            let rungs = Rungs::new(
                table,
                &self.frontier.powers,
                climbing.and(block.going),
                self.left,
            );
            climbing = rungs.climbing;
            let all_open = Lanes::with(&self.frontier.choices, self.left);
            if plain && climbing.is_empty() && block.going.minus(all_open).is_empty() {
                return;
            }
            let (places, drawn) = if plain {
                (
                    R::reduce(&self.first, &self.frontier.choices),
                    R::reduce(&self.second, &rungs.counts),
                )
            } else {
                rng.restart();
                (rng.draw(&self.frontier.choices), rng.draw(&rungs.counts))
            };
            if self
                .frontier
                .stop(Lanes::with(&self.frontier.choices, 0), block)
                || self.frontier.stop(Lanes::with(&rungs.counts, 0), block)
            {
                return;
            }
            let items = self.items.take(&rungs.choose(table, drawn, &self.items));
            let locations = self.frontier.place(table, block, &places, &items);
            self.locations.remove(&locations, block.going);
            if P::KNOWS_ALL {
                block.write(&locations, &items.numbers);
                let over = demand
                    .is_some_and(|demand| demand.rules_out(&locations, &items.numbers, block));
                if over {
                    return;
                }
            }
            self.left -= 1;
        }
    }
}

/// Where each seed is on the ladder.
struct Rungs<const L: usize> {
    /// Seeds that lack a power.
    climbing: Lanes,
    /// The lowest power that each of them lacks.
    powers: [u8; L],
    /// From how many items each seed draws: those that grant this power, or all.
    counts: [u8; L],
}

impl<const L: usize> Rungs<L> {
    /// Who is not `climbing` any more will not begin again.
    #[inline(always)]
    fn new<const W: usize>(table: &Table<W>, powers: &[u64; L], climbing: Lanes, left: u8) -> Self {
        let mut rungs = Rungs {
            climbing,
            powers: [0; L],
            counts: [left; L],
        };
        for lane in climbing {
            let missing = table.powers & !powers[lane];
            if missing == 0 {
                rungs.climbing = rungs.climbing.minus(Lanes::one(lane));
            } else {
                rungs.powers[lane] = missing.trailing_zeros() as u8;
                rungs.counts[lane] = table.rung(rungs.powers[lane]).len() as u8;
            }
        }
        rungs
    }

    /// Turns places on a rung into places among all that remain. Whatever is placed has been gained: so what grants a power that is
    /// missing is still there, all of it.
    #[inline(always)]
    fn choose<const W: usize>(
        &self,
        table: &Table<W>,
        drawn: [u8; L],
        pool: &impl Pool<L>,
    ) -> [u8; L] {
        let mut places = drawn;
        let mut items = [0; L];
        for lane in self.climbing {
            let rung = table.rung(self.powers[lane]);
            items[lane] = rung.get(usize::from(drawn[lane])).copied().unwrap_or(0);
        }
        let places_of = pool.places_of(&items, self.climbing);
        for lane in self.climbing {
            places[lane] = places_of[lane];
        }
        places
    }
}
