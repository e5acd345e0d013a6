//! The registry is gone, with all that it held.

use std::time::Duration;

use anyhow::Result;
use bramble_lab::Fault;

use super::{EIGHT_PI, THREE};
use crate::life::{Action, live_through};
use crate::pipeline;
use crate::scenario::{On, Rehearsal, Scenario, Stock, When};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "registry-loss",
    shows: "a cluster computes on without its registry, through a worker's power cut too, and gets another",
    when: When::Nightly,
    cluster: EIGHT_PI,
    nodes: THREE,
    stock: Stock::None,
    measured: Some(299),
    expects: &[],
    on: On::Cluster(run),
};

fn run(rehearsal: &mut Rehearsal) -> Result<()> {
    live_through(
        rehearsal,
        &[
            Action::Is("registry lost", lose),
            Action::Suffers("worker1", Fault::PowerCut, Duration::from_secs(10)),
        ],
    )?;
    pipeline::registry(
        rehearsal.report,
        rehearsal.operator,
        &rehearsal.bench.programs,
    )?;
    pipeline::service(
        rehearsal.report,
        rehearsal.operator,
        &rehearsal.bench.programs,
    )?;
    rehearsal.search().map(drop)
}

fn lose(rehearsal: &mut Rehearsal) -> Result<()> {
    let manager = &rehearsal.cluster.first_manager().name;
    let data = &rehearsal.cluster.registry.data;
    let lose = format!("sudo docker stack rm registry && sudo find {data} -mindepth 1 -delete");
    rehearsal
        .operator
        .look(manager, &["sh", "-c", &lose])
        .map(drop)
}
