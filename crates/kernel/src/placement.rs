//! Which item lies where.

use bramble_world::{Set, Table, UNFILLED};

/// A placement in the making, or a finished one.
#[derive(Clone, Debug)]
pub(crate) struct Placement<const W: usize> {
    /// For each location the pool index of its item, or [`UNFILLED`].
    pub(crate) items: [u8; 256],
    /// Locations that hold an item.
    pub(crate) filled: Set<W>,
    /// Locations that hold an item that grants something.
    pub(crate) granting: Set<W>,
}

impl<const W: usize> Placement<W> {
    pub(crate) const EMPTY: Self = Placement {
        items: [UNFILLED; 256],
        filled: Set::EMPTY,
        granting: Set::EMPTY,
    };

    #[inline(always)]
    pub(crate) fn put(&mut self, table: &Table<W>, location: usize, item: usize) {
        if let Some(slot) = self.items.get_mut(location) {
            *slot = item as u8;
        }
        self.filled.insert(location);
        if table.granting.contains(item) {
            self.granting.insert(location);
        }
    }

    /// What the item at `location` grants.
    #[inline(always)]
    pub(crate) fn grants(&self, table: &Table<W>, location: usize) -> u64 {
        let item = self.items.get(location).copied().unwrap_or(UNFILLED);
        table.grants[usize::from(item)]
    }
}
