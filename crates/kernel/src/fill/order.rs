//! Fisher and Yates, and `shuffle`, which is nothing else.

use bramble_world::{Set, Table};

use super::block::{Block, Bytes};
use crate::rng::Rng;

/// The same pool entries in `L` orders.
pub(super) struct Orders<const W: usize, const L: usize> {
    items: [Bytes<W>; L],
    len: usize,
}

impl<const W: usize, const L: usize> Orders<W, L> {
    #[inline(always)]
    pub(super) fn new(items: Set<W>) -> Self {
        let mut order = [[0; 64]; W];
        for (slot, item) in order.as_flattened_mut().iter_mut().zip(items.iter()) {
            *slot = item as u8;
        }
        Orders {
            items: [order; L],
            len: items.len() as usize,
        }
    }

    /// From the last place down.
    #[inline(always)]
    pub(super) fn shuffled(mut self, rng: &mut impl Rng<L>) -> Self {
        for last in (1..self.len).rev() {
            let others = rng.draw_all(last as u8 + 1);
            for (items, other) in self.items.iter_mut().zip(others) {
                let items = items.as_flattened_mut();
                items.swap(last & (64 * W - 1), usize::from(other) & (64 * W - 1));
            }
        }
        self
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// What comes at this place in each order.
    #[inline(always)]
    pub(super) fn at(&self, place: usize) -> [u8; L] {
        let mut items = [0; L];
        for (item, order) in items.iter_mut().zip(&self.items) {
            *item = order.as_flattened()[place & (64 * W - 1)];
        }
        items
    }

    #[inline(always)]
    pub(super) fn of(&self, lane: usize) -> &[u8] {
        let items = self.items[lane].as_flattened();
        items.get(..self.len).unwrap_or(items)
    }
}

#[inline(always)]
pub(super) fn shuffle<const W: usize, const L: usize>(
    table: &Table<W>,
    rng: &mut impl Rng<L>,
    block: &mut Block<W, L>,
) {
    let orders = Orders::<W, L>::new(Set::below(table.len)).shuffled(rng);
    for location in 0..orders.len() {
        let items = orders.at(location);
        block.write(&[location as u8; L], &items);
        for (gifts, &item) in block.gifts.iter_mut().zip(&items) {
            if table.granting.contains(item.into()) {
                gifts.put(location, item.into());
            }
        }
    }
}
