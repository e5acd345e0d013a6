//! The cards that people flash, from the first boot on.

use anyhow::Result;
use bramble_lab::Board;

use super::EIGHT_PI;
use crate::scenario::{On, Rehearsal, Scenario, Stock, When};
use crate::{cards, pipeline};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "cold-first-boot",
    shows: "machines that boot from flashed cards are who their cards say, and can be provisioned",
    when: When::Nightly,
    cluster: EIGHT_PI,
    nodes: 2,
    stock: Stock::None,
    measured: Some(273),
    expects: &[],
    on: On::Cards(&[("manager1", Board::Virt), ("worker1", Board::Virt)], run),
};

fn run(rehearsal: &mut Rehearsal) -> Result<()> {
    let Rehearsal {
        report,
        operator,
        bench,
        cluster,
        place,
        ..
    } = *rehearsal;
    report.stage("who they are", |stage| {
        for node in &cluster.nodes {
            cards::is_who_its_card_says(node, cluster, operator, place)?;
            stage.note(&node.name);
        }
        anyhow::Ok(())
    })?;
    pipeline::provision(report, operator, &bench.programs)?;
    pipeline::provision_again(report, operator, &bench.programs)
}
