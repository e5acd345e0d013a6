//! `ladder`: the lowest power not held next.

use bramble_world::{Set, Table};

use super::frontier::{Frontier, stop_stuck};
use super::{Block, End};
use crate::bag::Bag;
use crate::demand::Demand;
use crate::rng::Rng;

#[inline(always)]
pub(super) fn ladder<const W: usize, const L: usize, R: Rng<L>, B: Bag<W>>(
    table: &Table<W>,
    rng: &mut R,
    demand: Option<&Demand<W>>,
    block: &mut Block<W, L>,
) {
    let mut frontier = Frontier::<W, L, B>::start(table);
    let first_rung = rung(table, 0);
    // Items of other rungs, those that suit this one, and how many these are.
    let mut others = [Set::below(table.len).minus(first_rung); L];
    let mut candidates = [B::new(first_rung); L];
    let mut counts = [first_rung.len(); L];
    let mut placed = [(0u8, 0u8); L];
    // Seeding anew gives the same two numbers every time, and only what they are reduced to differs.
    let (first, second) = (rng.numbers(), rng.numbers());
    let plain = R::are_plain(&first) && R::are_plain(&second);
    for _ in 0..table.len {
        let (locations, items) = if plain {
            (
                R::reduce(&first, &frontier.choices),
                R::reduce(&second, &counts),
            )
        } else {
            rng.restart();
            (rng.draw(&frontier.choices), rng.draw(&counts))
        };
        if stop_stuck(&frontier.choices, block) || stop_stuck(&counts, block) {
            break;
        }
        for lane in 0..L {
            if block.ends[lane] != End::Finished {
                continue;
            }
            let location = frontier.take(lane, locations[lane]);
            let item = candidates[lane].take(items[lane]);
            placed[lane] = (location as u8, item as u8);
            if frontier.put(table, block, lane, location, item) {
                let remaining = others[lane].or(candidates[lane].members());
                let next = remaining.and(rung(table, frontier.powers[lane]));
                others[lane] = remaining.minus(next);
                candidates[lane] = B::new(next);
                counts[lane] = next.len() + 1;
            }
        }
        frontier.count();
        for count in &mut counts {
            *count = count.wrapping_sub(1);
        }
        if demand.is_some_and(|demand| demand.rules_out(&placed, block)) {
            break;
        }
    }
    frontier.finish(table, block);
}

/// The pool entries that grant the lowest power not held; all of them when every power is.
#[inline(always)]
fn rung<const W: usize>(table: &Table<W>, powers: u64) -> Set<W> {
    let missing = table.powers & !powers;
    let granting = table.granting_power.get(missing.trailing_zeros() as usize);
    granting.copied().unwrap_or_else(|| Set::below(table.len))
}
