//! `assumed`: items that grant something first, each where it can be reached with all the others.

use bramble_world::{Set, Table};

use super::order::Orders;
use super::{Block, End};
use crate::bag::Bag;
use crate::placement::Placement;
use crate::rng::Rng;

#[inline(always)]
pub(super) fn assumed<const W: usize, const L: usize, B: Bag<W>>(
    table: &Table<W>,
    rng: &mut impl Rng<L>,
    block: &mut Block<W, L>,
) {
    let granting = Orders::<W, L>::new(table.granting).shuffled(rng);
    for taken in (0..granting.len()).rev() {
        let mut candidates = [Set::EMPTY; L];
        for (lane, placement) in block.placements.iter().enumerate() {
            let unplaced = granting.of(lane).iter().take(taken);
            let held = unplaced.fold(0, |held, &item| held | table.grants[usize::from(item)]);
            candidates[lane] = closure(table, placement, held).minus(placement.filled);
            if candidates[lane].is_empty() {
                block.ends[lane] = End::Stuck;
            }
        }
        let choices = rng.draw(&candidates.map(Set::len));
        for (lane, placement) in block.placements.iter_mut().enumerate() {
            let Some(&item) = granting.of(lane).get(taken) else {
                continue;
            };
            if block.ends[lane] == End::Finished {
                let location = B::new(candidates[lane]).take(choices[lane] as u8);
                placement.put(table, location, item.into());
            }
        }
        if block.is_over() {
            return;
        }
    }
    let all = Set::below(table.len);
    let others = Orders::<W, L>::new(all.minus(table.granting)).shuffled(rng);
    for (lane, placement) in block.placements.iter_mut().enumerate() {
        if block.ends[lane] == End::Finished {
            let unfilled = all.minus(placement.filled);
            for (location, &item) in unfilled.iter().zip(others.of(lane)) {
                placement.put(table, location, item.into());
            }
        }
    }
}

/// What is open to someone who holds `powers` and collects all that can be reached.
#[inline(always)]
fn closure<const W: usize>(table: &Table<W>, placement: &Placement<W>, mut powers: u64) -> Set<W> {
    let mut uncollected = placement.granting;
    loop {
        let open = table.open(powers);
        let found = open.and(uncollected);
        let gained = found.iter().fold(powers, |gained, location| {
            gained | placement.grants(table, location)
        });
        if gained == powers {
            return open;
        }
        powers = gained;
        uncollected = uncollected.minus(found);
    }
}
