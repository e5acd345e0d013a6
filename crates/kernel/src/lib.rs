//! The compute kernel: for a seed, which item goes where, and can the game be finished.
//!
//! Everything here is a function of its arguments: no files, no clocks, no threads, no allocation once a [`Program`] is
//! compiled. A result of a range is a [`Summary`], and the summary of a union of ranges is the [merge](Summary::merge) of
//! theirs, so work may be cut and spread in any way and gives the same bits.
//!
//! A seed passes through three steps, each a module: an [`Rng`] yields draws, an engine ([`Fill`]) turns them into a
//! placement, and the verdict walks the placement as a player would, without looking at how it came about.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod digest;
mod fill;
mod placement;
mod program;
mod rng;
mod select;
mod summary;
mod verdict;

pub use digest::mix;
pub use fill::Fill;
pub use program::{Arrangement, Program};
pub use rng::{Dotnet, Pcg32, Random, Rng};
pub use summary::{FIRST_DEAD, FirstDead, Summary};
pub use verdict::Verdict;
