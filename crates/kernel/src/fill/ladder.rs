//! `ladder`: the lowest power not held next.

use bramble_world::{Set, Table};

use super::frontier::{Frontier, stop_stuck};
use super::pool::Pool;
use super::{Block, End, bytes};
use crate::bag::Bag;
use crate::demand::Demand;
use crate::rng::Rng;

/// On the ladder each seed goes its own way. At its top, with every power held and every location open, it is any item into any
/// location, for all seeds alike: in most worlds that is the larger part.
#[inline(always)]
pub(super) fn ladder<const W: usize, const L: usize, R: Rng<L>, B: Bag<W>, P: Pool<L>>(
    table: &Table<W>,
    rng: &mut R,
    demand: Option<&Demand<W>>,
    block: &mut Block<W, L>,
) {
    let mut frontier = Frontier::<W, L, B>::start(table);
    let first_rung = rung(table, 0);
    // Items that suit this rung, and how many these are.
    let mut candidates = [B::new(first_rung); L];
    let mut counts = [first_rung.len(); L];
    let mut remaining = [Set::below(table.len); L];
    let mut unfilled = [Set::<W>::below(table.len); L];
    // The same two in the form that the top wants.
    let (mut item_pool, mut location_pool) = (P::full(table.len), P::full(table.len));
    // Seeding anew gives the same two numbers every time, and only what they are reduced to differs.
    let (first, second) = (rng.numbers(), rng.numbers());
    let plain = R::are_plain(&first) && R::are_plain(&second);
    let mut left = table.len as u32;
    while left > 0 && !(plain && is_at_top(table, &frontier, block, left)) {
        let (choices, draws) = if plain {
            (
                R::reduce(&first, &frontier.choices),
                R::reduce(&second, &counts),
            )
        } else {
            rng.restart();
            (rng.draw(&frontier.choices), rng.draw(&counts))
        };
        if stop_stuck(&frontier.choices, block) || stop_stuck(&counts, block) {
            left = 0;
            break;
        }
        let (mut locations, mut location_places) = ([0; L], [0; L]);
        let (mut items, mut item_places) = ([0; L], [0; L]);
        for lane in 0..L {
            if block.ends[lane] != End::Finished {
                continue;
            }
            let location = frontier.take(lane, choices[lane]);
            let item = candidates[lane].take(draws[lane] as u8);
            (locations[lane], items[lane]) = (location as u8, item as u8);
            location_places[lane] = take_out(&mut unfilled[lane], location);
            item_places[lane] = take_out(&mut remaining[lane], item);
            if frontier.put(table, block, lane, location, item) {
                let next = remaining[lane].and(rung(table, frontier.powers[lane]));
                candidates[lane] = B::new(next);
                counts[lane] = next.len() + 1;
            }
        }
        location_pool.take(&location_places);
        item_pool.take(&item_places);
        frontier.count();
        for count in &mut counts {
            *count = count.wrapping_sub(1);
        }
        left -= 1;
        if demand.is_some_and(|demand| demand.rules_out(&locations, &items, block)) {
            left = 0;
        }
    }
    frontier.fill_all(left, block);
    for left in (1..=left).rev() {
        let locations = location_pool.take(&bytes(&R::reduce_all(&first, left)));
        let items = item_pool.take(&bytes(&R::reduce_all(&second, left)));
        for lane in 0..L {
            if block.ends[lane] == End::Finished {
                block.placements[lane].write(locations[lane].into(), items[lane].into());
            }
        }
        if demand.is_some_and(|demand| demand.rules_out(&locations, &items, block)) {
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

/// Whether all seeds that are not given up hold every power and have every location open.
#[inline(always)]
fn is_at_top<const W: usize, const L: usize, B: Bag<W>>(
    table: &Table<W>,
    frontier: &Frontier<W, L, B>,
    block: &Block<W, L>,
    left: u32,
) -> bool {
    (0..L).fold(true, |all, lane| {
        let is_there = frontier.choices[lane] == left && table.powers & !frontier.powers[lane] == 0;
        all & (is_there | (block.ends[lane] != End::Finished))
    })
}

/// Takes a member out, and tells how many are below it.
#[inline(always)]
fn take_out<const W: usize>(set: &mut Set<W>, member: usize) -> u8 {
    set.remove(member);
    set.and(Set::below(member)).len() as u8
}
