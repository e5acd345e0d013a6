//! The compute kernel: for a seed, which item goes where, and can the game be finished.
//!
//! Everything here is a function of its arguments: no files, no clocks, no threads, no allocation once a [`Program`] is
//! compiled. A result of a range is a [`Summary`], and the summary of a union of ranges is the [merge](Summary::merge) of
//! theirs, so work may be cut and spread in any way and gives the same bits.
//!
//! Seeds pass through three steps, each a module, sixty-four at a time: an [`Rng`] yields draws, an engine ([`Fill`]) turns
//! them into placements, and the verdict walks each placement as a player would, without looking at how it came about.
//! Whether that is done in registers of SSE2, AVX2, AVX-512 or NEON depends on the [`Machine`]; what comes out does not.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod bag;
mod demand;
mod digest;
mod engine;
mod fill;
mod find;
mod lanes;
mod machine;
mod program;
mod proof;
mod rng;
#[cfg(any(test, target_arch = "aarch64"))]
mod sixteen;
mod summary;
mod verdict;

pub use demand::Wanted;
pub use digest::mix;
pub use fill::Fill;
pub use find::Seed;
pub use machine::Machine;
pub use program::{Arrangement, Program};
pub use proof::{DeadEnd, Proof, Unprovable, prove};
pub use rng::{Dotnet, Pcg32, Random, Rng};
pub use summary::{FIRST_DEAD, FirstDead, Summary};
pub use verdict::Verdict;
