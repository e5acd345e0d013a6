//! `assumed`: items that grant something first, each where it can be reached with all the others.

use bramble_world::{Set, Table};

use super::block::{Block, End, Gifts};
use super::order::Orders;
use crate::bag::Bag;
use crate::lanes::Lanes;
use crate::rng::Rng;

#[inline(always)]
pub(super) fn assumed<const W: usize, const L: usize, B: Bag<W>>(
    table: &Table<W>,
    rng: &mut impl Rng<L>,
    block: &mut Block<W, L>,
) {
    let granting = Orders::<W, L>::new(table.granting).shuffled(rng);
    let mut filled = [Set::EMPTY; L];
    for taken in (0..granting.len()).rev() {
        let mut candidates = [Set::EMPTY; L];
        for lane in block.going {
            let unplaced = granting.of(lane).iter().take(taken);
            let held = unplaced.fold(0, |held, &item| held | table.grants[usize::from(item)]);
            candidates[lane] = closure(table, &block.gifts[lane], held).minus(filled[lane]);
        }
        let counts = candidates.map(|candidates| candidates.len() as u8);
        let choices = rng.draw(&counts);
        block.end(Lanes::with(&counts, 0), End::Stuck, |lane| filled[lane]);
        if block.going.is_empty() {
            return;
        }
        let (mut locations, mut items) = ([0; L], [0; L]);
        for lane in block.going {
            let location = B::new(candidates[lane]).take(choices[lane]);
            items[lane] = granting.of(lane).get(taken).copied().unwrap_or(0);
            locations[lane] = location as u8;
            filled[lane].insert(location);
            block.gifts[lane].put(location, items[lane].into());
        }
        block.write(&locations, &items);
    }
    let all = Set::below(table.len);
    let others = Orders::<W, L>::new(all.minus(table.granting)).shuffled(rng);
    for rank in 0..others.len() {
        let (mut locations, mut items) = ([0; L], [0; L]);
        for lane in block.going {
            let location = all.minus(filled[lane]).iter().next().unwrap_or(0);
            items[lane] = others.of(lane).get(rank).copied().unwrap_or(0);
            locations[lane] = location as u8;
            filled[lane].insert(location);
        }
        block.write(&locations, &items);
    }
}

/// What is open to someone who holds `powers` and collects all that can be reached.
#[inline(always)]
fn closure<const W: usize>(table: &Table<W>, gifts: &Gifts<W>, mut powers: u64) -> Set<W> {
    let mut uncollected = gifts.locations;
    loop {
        let open = table.open(powers);
        let found = open.and(uncollected);
        let gained = found.iter().fold(powers, |gained, location| {
            gained | gifts.grants(table, location)
        });
        if gained == powers {
            return open;
        }
        powers = gained;
        uncollected = uncollected.minus(found);
    }
}
