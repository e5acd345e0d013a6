//! A worker loses its power while it computes.

use std::time::Duration;

use anyhow::Result;
use bramble_lab::Fault;

use super::{EIGHT_PI, THREE};
use crate::life::{Action, live_through};
use crate::scenario::{On, Rehearsal, Scenario, Stock, When};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "power-cut-worker",
    shows: "a worker without power costs nothing but time, and comes back by itself",
    when: When::Nightly,
    cluster: EIGHT_PI,
    nodes: THREE,
    stock: Stock::None,
    measured: Some(244),
    expects: &[],
    on: On::Cluster(run),
};

fn run(rehearsal: &mut Rehearsal) -> Result<()> {
    let cut = Action::Suffers("worker1", Fault::PowerCut, Duration::from_secs(20));
    live_through(rehearsal, &[cut])
}
