//! A level compiled for the kernel.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::reach::{Class, Reach};
use crate::{Level, Set, World};

/// Stands for the pool index of a location that holds nothing.
pub const UNFILLED: u8 = 255;

/// One level of a world as bit sets of `64 * W` locations and as many pool entries.
#[derive(Clone, Debug)]
pub struct Table<const W: usize> {
    /// How many locations there are, and how many items.
    pub len: usize,
    /// All powers of the world, whether an item grants them or not.
    pub powers: u64,
    /// What each pool entry grants. Nothing from [`Table::len`] on, so that any byte may be looked up.
    pub grants: [u64; 256],
    /// Pool entries that grant something.
    pub granting: Set<W>,
    /// For each power the pool entries that grant it, in order.
    rungs: [Vec<u8>; 64],
    reach: Reach<W>,
}

impl<const W: usize> Table<W> {
    /// Compiles a level. The world must have no more than `64 * W` locations.
    pub fn new(world: &World, level: &Level) -> Self {
        let mut grants = [0; 256];
        let mut granting = Set::EMPTY;
        let mut rungs = [const { Vec::new() }; 64];
        let mut by_grant: BTreeMap<u64, Set<W>> = BTreeMap::new();
        for (index, (slot, entry)) in grants.iter_mut().zip(&level.pool).enumerate() {
            *slot = entry.grants;
            if entry.grants != 0 {
                granting.insert(index);
                by_grant
                    .entry(entry.grants)
                    .or_insert(Set::EMPTY)
                    .insert(index);
            }
            for (power, rung) in rungs.iter_mut().enumerate() {
                if entry.grants >> power & 1 == 1 {
                    rung.push(index as u8);
                }
            }
        }
        let classes = by_grant
            .into_iter()
            .map(|(grants, items)| Class { grants, items });
        Table {
            len: level.requires.len(),
            powers: world.all_powers(),
            grants,
            granting,
            rungs,
            reach: Reach::new(level, classes.collect()),
        }
    }

    /// The locations open under `powers`, which must be a union of what pool entries grant.
    #[inline(always)]
    pub fn open(&self, powers: u64) -> Set<W> {
        self.reach.open(powers)
    }

    /// The pool entries that, gained on top of `powers`, open a location that is not open already.
    #[inline(always)]
    pub fn openers(&self, powers: u64) -> Set<W> {
        self.reach.openers(powers)
    }

    /// The pool entries that grant a power, in order.
    #[inline(always)]
    pub fn rung(&self, power: u8) -> &[u8] {
        let rung = self.rungs.get(usize::from(power));
        rung.map_or(&[], Vec::as_slice)
    }
}
