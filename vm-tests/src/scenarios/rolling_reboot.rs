//! All nodes start anew, one after the other.

use anyhow::Result;

use super::{EIGHT_PI, THREE};
use crate::life::{Action, live_through};
use crate::scenario::{On, Rehearsal, Scenario, Stock, When};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rolling-reboot",
    shows: "nodes that start anew one after the other lose no seed",
    when: When::Nightly,
    cluster: EIGHT_PI,
    nodes: THREE,
    stock: Stock::None,
    measured: Some(513),
    expects: &[],
    on: On::Cluster(run),
};

fn run(rehearsal: &mut Rehearsal) -> Result<()> {
    live_through(
        rehearsal,
        &["worker1", "worker2", "manager1"].map(Action::Restarts),
    )
}
