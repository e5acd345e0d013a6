//! Scenarios: what must hold on emulated machines, and what they need to be run.
//!
//! A scenario drives the `bramble` program as a person with real hardware would, on the machines of a
//! [`bramble_lab::Lab`]; it may look at them by SSH, but never prepares or mends anything behind bramble's
//! back. [`scenario`] says what one is, [`scenarios`] holds all of them, [`runner`] runs those that are asked for.

pub mod alarm;
pub mod ansible;
pub mod artefacts;
pub mod cards;
pub mod filterset;
pub mod household;
pub mod job;
pub mod life;
pub mod live;
pub mod measure;
pub mod operator;
pub mod pipeline;
pub mod report;
pub mod resize;
pub mod runner;
mod saved;
pub mod scenario;
pub mod scenarios;
pub mod setting;
pub mod stock;
