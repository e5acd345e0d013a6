//! Which item lies where.

use bramble_world::{Set, Table, UNFILLED};

/// A number below 256 for each location, or for each pool entry, of a world of up to `64 * W`.
pub(crate) type Bytes<const W: usize> = [[u8; 64]; W];

/// A placement in the making, or a finished one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placement<const W: usize> {
    /// For each location the pool index of its item, or [`UNFILLED`].
    pub(crate) items: Bytes<W>,
    /// Locations that hold an item.
    pub(crate) filled: Set<W>,
    /// Locations that hold an item that grants something.
    pub(crate) granting: Set<W>,
}

impl<const W: usize> Placement<W> {
    pub(crate) const EMPTY: Self = Placement {
        items: [[UNFILLED; 64]; W],
        filled: Set::EMPTY,
        granting: Set::EMPTY,
    };

    #[inline(always)]
    pub(crate) fn put(&mut self, table: &Table<W>, location: usize, item: usize) {
        if let Some(slot) = self.items.as_flattened_mut().get_mut(location) {
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
        let items = self.items.as_flattened();
        let item = items.get(location).copied().unwrap_or(UNFILLED);
        table.grants[usize::from(item)]
    }
}
