//! A world: what a randomizer shuffles, and what a player needs to reach it.
//!
//! [`World`] is the checked form of a world file. [`Table`] is one of its logic levels compiled for speed:
//! sets of locations are bit sets, and what is open under given powers is looked up rather than worked out.
//!
//! Reading files is behind the feature `parse`, so that the kernel can use the rest without `std`.
#![cfg_attr(not(any(feature = "parse", test)), no_std)]

extern crate alloc;

mod lookup;
mod model;
#[cfg(feature = "parse")]
pub mod parse;
mod reach;
mod set;
mod table;

pub use model::{
    ALL_LOCATIONS, Goal, Level, Location, MAX_LOCATIONS, MAX_POWERS, PoolEntry, World,
};
pub use set::Set;
pub use table::{Table, UNFILLED};
