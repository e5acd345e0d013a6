//! Machines get what is missing from a package mirror, are upgraded, and boot with it.

use anyhow::Result;

use super::{BY_HAND, THREE};
use crate::scenario::{On, Rehearsal, Scenario, Stock, When};
use crate::{pipeline, stock};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "bare-node",
    shows: "a node without Docker gets it by apt, all are upgraded and boot anew, and the cluster computes",
    when: When::Nightly,
    cluster: BY_HAND,
    nodes: THREE,
    stock: Stock::Last,
    measured: Some(564),
    expects: &[],
    on: On::NewMachines(run),
};

fn run(rehearsal: &mut Rehearsal) -> Result<()> {
    let Rehearsal {
        report,
        operator,
        bench,
        cluster,
        ..
    } = *rehearsal;
    let before = stock::out_of_the_box(rehearsal, SCENARIO.stock)?;
    pipeline::provision(report, operator, &bench.programs)?;
    stock::made_nodes(rehearsal, SCENARIO.stock, &before, true)?;
    pipeline::provision_again(report, operator, &bench.programs)?;
    pipeline::registry(report, operator, &bench.programs)?;
    pipeline::service(report, operator, &bench.programs)?;
    pipeline::portainer(report, operator, cluster, &bench.programs)?;
    pipeline::shares(cluster, rehearsal.search()?)?;
    pipeline::witness(report, operator, cluster)
}
