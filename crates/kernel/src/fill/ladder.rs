//! `ladder`: the lowest power not held next.

use bramble_world::Table;

use super::block::Block;
use super::frontier::Frontier;
use super::open::Open;
use super::pool::Pool;
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
    let mut frontier = Frontier::<W, L, O>::start(table);
    let (mut item_pool, mut location_pool) = (P::full(table.len), P::full(table.len));
    // Seeding anew gives the same two numbers every time, and only what they are reduced to differs.
    let (first, second) = (rng.numbers(), rng.numbers());
    let plain = R::are_plain(&first) && R::are_plain(&second);
    let is_over = |locations: &[u8; L], items: &[u8; L], block: &mut Block<W, L>| {
        demand.is_some_and(|demand| demand.rules_out(locations, items, block))
    };
    let mut climbing = Lanes::all::<L>();
    let mut left = table.len as u8;
    while left > 0 {
        let rungs = Rungs::new(table, &frontier.powers, climbing.and(block.going), left);
        climbing = rungs.climbing;
        let all_open = Lanes::with(&frontier.choices, left);
        if plain && climbing.is_empty() && block.going.minus(all_open).is_empty() {
            break;
        }
        let (places, drawn) = if plain {
            (
                R::reduce(&first, &frontier.choices),
                R::reduce(&second, &rungs.counts),
            )
        } else {
            rng.restart();
            (rng.draw(&frontier.choices), rng.draw(&rungs.counts))
        };
        if frontier.stop(Lanes::with(&frontier.choices, 0), block)
            || frontier.stop(Lanes::with(&rungs.counts, 0), block)
        {
            return;
        }
        let items = item_pool.take(&rungs.choose(table, drawn, &item_pool));
        let locations = frontier.place(table, block, &places, &items);
        location_pool.take(&location_pool.places_of(&locations, block.going));
        if is_over(&locations, &items, block) {
            return;
        }
        left -= 1;
    }
    for left in (1..=left).rev() {
        let items = item_pool.take(&R::reduce_all(&second, left));
        let locations = location_pool.take(&R::reduce_all(&first, left));
        frontier.put(table, block, &locations, &items);
        if is_over(&locations, &items, block) {
            return;
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
