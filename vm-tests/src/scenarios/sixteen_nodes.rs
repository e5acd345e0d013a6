//! Twice as many machines, as far as two cores carry.

use super::pipeline;
use crate::scenario::{On, Scenario, Stock, When};

/// With a routing mesh, sixteen engines that share two cores took each other for dead, two times of four without end.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "sixteen-nodes",
    shows: "sixteen machines become a cluster without a routing mesh, which comes to rest and computes the right answer",
    when: When::Nightly,
    cluster: "fixtures/clusters/sixteen-pi.toml",
    nodes: 16,
    stock: Stock::None,
    measured: Some(1159),
    expects: &[],
    on: On::NewMachines(pipeline::run),
};
