//! The only manager loses its power, and with it queue, ledger and registry.

use std::time::Duration;

use anyhow::Result;
use bramble_lab::Fault;

use super::{EIGHT_PI, THREE};
use crate::life::{Action, live_through};
use crate::scenario::{On, Rehearsal, Scenario, Stock, When};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "power-cut-manager",
    shows: "what the only manager had promised before its power was cut, it keeps when it is back",
    when: When::Nightly,
    cluster: EIGHT_PI,
    nodes: THREE,
    stock: Stock::None,
    measured: Some(278),
    expects: &[],
    on: On::Cluster(run),
};

fn run(rehearsal: &mut Rehearsal) -> Result<()> {
    let cut = Action::Suffers("manager1", Fault::PowerCut, Duration::from_secs(20));
    live_through(rehearsal, &[cut])
}
