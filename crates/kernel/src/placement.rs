//! Which item lies where.

use bramble_world::{Set, Table, UNFILLED};

/// A number below 256 for each location, or for each pool entry, of a world of up to `64 * W`.
pub(crate) type Bytes<const W: usize> = [[u8; 64]; W];

/// A placement in the making, or a finished one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placement<const W: usize> {
    /// For each pool entry its location, or [`UNFILLED`].
    pub(crate) location_of: Bytes<W>,
    /// Locations that hold an item.
    pub(crate) filled: Set<W>,
    /// Locations that hold an item that grants something.
    pub(crate) granting: Set<W>,
    /// For each of these the pool index of its item; for others anything.
    granted_by: Bytes<W>,
}

impl<const W: usize> Placement<W> {
    pub(crate) const EMPTY: Self = Placement {
        location_of: [[UNFILLED; 64]; W],
        filled: Set::EMPTY,
        granting: Set::EMPTY,
        granted_by: [[UNFILLED; 64]; W],
    };

    #[inline(always)]
    pub(crate) fn put(&mut self, table: &Table<W>, location: usize, item: usize) {
        self.write(location, item);
        self.filled.insert(location);
        if table.granting.contains(item) {
            self.grant(location, item);
        }
    }

    /// As `put`, but leaves the sets for later.
    #[inline(always)]
    pub(crate) fn write(&mut self, location: usize, item: usize) {
        // Both are below 64 * W, and so are the slots.
        self.location_of.as_flattened_mut()[item & (64 * W - 1)] = location as u8;
    }

    /// Notes which locations grant something, from where the items lie.
    #[inline(always)]
    pub(crate) fn note_granting(&mut self, table: &Table<W>) {
        for item in table.granting.iter() {
            let location = self.location_of.as_flattened()[item & (64 * W - 1)];
            self.grant(location.into(), item);
        }
    }

    #[inline(always)]
    fn grant(&mut self, location: usize, item: usize) {
        self.granting.insert(location);
        self.granted_by.as_flattened_mut()[location & (64 * W - 1)] = item as u8;
    }

    /// What the item at `location` grants, which must be one of [`Placement::granting`].
    #[inline(always)]
    pub(crate) fn grants(&self, table: &Table<W>, location: usize) -> u64 {
        let item = self.granted_by.as_flattened()[location & (64 * W - 1)];
        table.grants[usize::from(item)]
    }

    /// For each location the pool index of its item, or [`UNFILLED`].
    pub(crate) fn items(&self) -> [u8; 256] {
        let mut items = [UNFILLED; 256];
        for (item, &location) in self.location_of.as_flattened().iter().enumerate() {
            // There is no location 255, and no item for it.
            if location != UNFILLED {
                items[usize::from(location)] = item as u8;
            }
        }
        items
    }
}
