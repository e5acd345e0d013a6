//! All scenarios, one a file. A new one is a file with its `SCENARIO`, and its line in the list.

use crate::scenario::Scenario;

mod ansible_equivalence;
mod bare_node;
mod checkpoint;
mod cold_first_boot;
mod day_to_day;
mod faults;
mod first_light;
mod hard_times;
mod idempotence;
mod join_late;
mod nas_reboot;
mod partition;
mod pipeline;
mod power_cut_manager;
mod power_cut_worker;
mod provision_interrupted;
mod raspi4b;
mod registry_loss;
mod rolling_reboot;
mod rolling_update;
mod sixteen_nodes;
mod three_managers;

/// The cluster file of most scenarios, which take as many of its nodes as show the point.
const EIGHT_PI: &str = "fixtures/clusters/eight-pi.toml";

/// The cluster of the guide that was made by hand: with upgrades, and more packages.
const BY_HAND: &str = "fixtures/clusters/by-hand.toml";

/// A manager and two workers: the fewest of which one can be missed. Scenarios with as many share a lab.
const THREE: usize = 3;

/// Every scenario, in the order they are run in.
pub const SCENARIOS: &[Scenario] = &[
    pipeline::SCENARIO,
    first_light::SCENARIO,
    bare_node::SCENARIO,
    ansible_equivalence::SCENARIO,
    provision_interrupted::SCENARIO,
    idempotence::SCENARIO,
    day_to_day::SCENARIO,
    power_cut_worker::SCENARIO,
    hard_times::SCENARIO,
    partition::SCENARIO,
    nas_reboot::SCENARIO,
    registry_loss::SCENARIO,
    rolling_reboot::SCENARIO,
    rolling_update::SCENARIO,
    power_cut_manager::SCENARIO,
    checkpoint::SCENARIO,
    join_late::SCENARIO,
    three_managers::SCENARIO,
    cold_first_boot::SCENARIO,
    raspi4b::SCENARIO,
    faults::SCENARIO,
    sixteen_nodes::SCENARIO,
];
