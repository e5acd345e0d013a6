//! The card of a node on the board that it is for.

use anyhow::{Result, ensure};
use bramble_lab::Board;

use crate::operator::Operator;
use crate::scenario::{On, Rehearsal, Scenario, Stock, When};
use crate::{cards, pipeline};

/// The node on that board.
const PI: &str = "worker1";

pub(super) const SCENARIO: Scenario = Scenario {
    name: "raspi4b",
    shows: "an SD card boots on an emulated Raspberry Pi 4, is provisioned, and joins a swarm",
    when: When::Nightly,
    cluster: "fixtures/clusters/raspi4b.toml",
    nodes: 2,
    stock: Stock::None,
    measured: Some(493),
    expects: &[],
    on: On::Cards(&[(PI, Board::Raspi4b)], run),
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
    report.stage("what it is", |stage| {
        let model = operator.look(PI, &["cat", "/proc/device-tree/model"])?;
        stage.note(model.trim_end_matches(['\0', '\n']));
        ensure!(
            model.starts_with("Raspberry Pi 4 Model B"),
            "it is a {model}"
        );
        for node in cluster.nodes.iter().filter(|node| node.name == PI) {
            cards::is_who_its_card_says(node, cluster, operator, place)?;
        }
        anyhow::Ok(())
    })?;
    pipeline::provision(report, operator, &bench.programs)?;
    report.stage("in the swarm", |_| {
        is_member(operator, &cluster.first_manager().name)
    })
}

fn is_member(operator: &Operator, manager: &str) -> Result<()> {
    let format = "{{.Hostname}} {{.Status}}";
    let nodes = operator.look(
        manager,
        &["sudo", "docker", "node", "ls", "--format", format],
    )?;
    let line = format!("{PI} Ready");
    ensure!(
        nodes.lines().any(|found| found == line),
        "docker node ls shows no `{line}`:\n{nodes}"
    );
    Ok(())
}
