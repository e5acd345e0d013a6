//! Scenarios: what must hold on emulated machines, and what they need to be run.
//!
//! A scenario drives the `bramble` program as a person with real hardware would, on the machines of a
//! [`bramble_lab::Lab`]; it may look at them by SSH, but never prepares or mends anything behind bramble's
//! back.

pub mod artefacts;
pub mod household;
pub mod operator;
pub mod pipeline;
pub mod report;
pub mod resize;
pub mod setting;
