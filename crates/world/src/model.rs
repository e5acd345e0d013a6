//! The checked form of a world file.

use alloc::string::String;
use alloc::vec::Vec;

/// A power set is one `u64`.
pub const MAX_POWERS: usize = 64;

/// Pool indices are bytes, and 255 marks a location that holds nothing.
pub const MAX_LOCATIONS: usize = 255;

/// The goal every world has: each location filled and collected.
pub const ALL_LOCATIONS: &str = "all-locations";

/// A game world, complete and consistent: what [`parse`](crate::parse) lets through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    /// What it is called.
    pub name: String,
    /// Names of the powers. The position is the bit.
    pub powers: Vec<String>,
    /// Logic levels in order. Never empty.
    pub levels: Vec<Level>,
    /// Locations in order: 1 to 255.
    pub locations: Vec<Location>,
    /// Goals of the file. The built-in one is not among them.
    pub goals: Vec<Goal>,
}

impl World {
    /// All powers of this world, as bits.
    pub fn all_powers(&self) -> u64 {
        self.powers
            .iter()
            .enumerate()
            .fold(0, |all, (bit, _)| all | 1 << bit)
    }
}

/// One logic level: what opens where, and what lies in the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// What it is called.
    pub name: String,
    /// For each location its alternatives: it is open if all powers of at least one are held.
    /// Alternatives that contain another one are dropped.
    pub requires: Vec<Vec<u64>>,
    /// The items to place, as many as there are locations.
    pub pool: Vec<PoolEntry>,
}

/// An item to place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolEntry {
    /// Its name.
    pub item: String,
    /// The powers it grants at this level.
    pub grants: u64,
}

/// A place that holds one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Its name; unique.
    pub name: String,
    /// The part of the world it lies in.
    pub area: Option<String>,
}

/// What has to be reached for a seed to count as completable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goal {
    /// Its name; unique.
    pub name: String,
    /// Locations that must be collected, by position.
    pub locations: Vec<usize>,
    /// Powers that must be gained.
    pub powers: u64,
}
