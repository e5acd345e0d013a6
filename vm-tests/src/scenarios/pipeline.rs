//! From eight machines out of the box to the right answer.

use anyhow::Result;

use super::EIGHT_PI;
use crate::pipeline;
use crate::scenario::{On, Rehearsal, Scenario, Stock, When};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "pipeline",
    shows: "eight machines out of the box become a cluster that computes the right answer",
    when: When::EveryCommit,
    cluster: EIGHT_PI,
    nodes: 8,
    stock: Stock::None,
    measured: Some(237),
    expects: &[],
    on: On::NewMachines(run),
};

pub(super) fn run(rehearsal: &mut Rehearsal) -> Result<()> {
    let Rehearsal {
        report,
        operator,
        bench,
        cluster,
        ..
    } = *rehearsal;
    pipeline::provision(report, operator, &bench.programs)?;
    pipeline::provision_again(report, operator, &bench.programs)?;
    pipeline::registry(report, operator, &bench.programs)?;
    pipeline::service(report, operator, &bench.programs)?;
    pipeline::shares(cluster, rehearsal.search()?)?;
    pipeline::witness(report, operator, cluster)
}
