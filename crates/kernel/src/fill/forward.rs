//! `forward` and `guarded`: any remaining item into any open location.

use bramble_world::{Set, Table};

use super::frontier::{Frontier, stop_stuck};
use super::{Block, End};
use crate::bag::Bag;
use crate::demand::Demand;
use crate::rng::Rng;

#[inline(always)]
pub(super) fn forward<const W: usize, const L: usize, B: Bag<W>, const GUARDED: bool>(
    table: &Table<W>,
    rng: &mut impl Rng<L>,
    demand: Option<&Demand<W>>,
    block: &mut Block<W, L>,
) {
    let mut frontier = Frontier::<W, L, B>::start(table);
    let mut remaining = [B::new(Set::below(table.len)); L];
    let mut placed = [(0u8, 0u8); L];
    for left in (1..=table.len as u32).rev() {
        let locations = rng.draw(&frontier.choices);
        if stop_stuck(&frontier.choices, block) {
            break;
        }
        let mut counts = [left; L];
        let mut guarded = [None; L];
        if GUARDED && left > 1 && any_is_one(&frontier.choices) {
            for lane in 0..L {
                if frontier.choices[lane] == 1 {
                    // Whatever is filled was open when it was, and stays open: so an item that opens anything opens
                    // something unfilled.
                    let openers = table.openers(frontier.powers[lane]);
                    let candidates = remaining[lane].members().and(openers);
                    counts[lane] = candidates.len();
                    guarded[lane] = Some(candidates);
                }
            }
            if stop_stuck(&counts, block) {
                break;
            }
        }
        let items = rng.draw(&counts);
        for lane in 0..L {
            if block.ends[lane] != End::Finished {
                continue;
            }
            let location = frontier.take(lane, locations[lane]);
            let item = match guarded[lane] {
                None => remaining[lane].take(items[lane]),
                Some(candidates) => take_one_of(&mut remaining[lane], candidates, items[lane]),
            };
            frontier.put(table, block, lane, location, item);
            placed[lane] = (location as u8, item as u8);
        }
        frontier.count();
        if demand.is_some_and(|demand| demand.rules_out(&placed, block)) {
            break;
        }
    }
    frontier.finish(table, block);
}

#[inline(always)]
fn any_is_one<const L: usize>(choices: &[u32; L]) -> bool {
    choices.iter().fold(false, |any, &count| any | (count == 1))
}

/// Takes the `k`-th of some members of a bag. This happens a few times for a seed.
#[inline(always)]
fn take_one_of<const W: usize, B: Bag<W>>(bag: &mut B, candidates: Set<W>, k: u32) -> usize {
    let item = B::new(candidates).take(k);
    let mut others = bag.members();
    others.remove(item);
    *bag = B::new(others);
    item
}
