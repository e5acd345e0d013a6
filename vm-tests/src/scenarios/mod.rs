//! All scenarios, one a file. A new one is a file with its `SCENARIO`, and its line in the list.

use crate::scenario::Scenario;

mod idempotence;
mod pipeline;

/// The cluster file of most scenarios, which take as many of its nodes as show the point.
const EIGHT_PI: &str = "fixtures/clusters/eight-pi.toml";

/// Every scenario, in the order they are run in.
pub const SCENARIOS: &[Scenario] = &[pipeline::SCENARIO, idempotence::SCENARIO];
