//! Three managers survive the loss of one, were it the leader.

use anyhow::{Result, ensure};
use bramble_lab::Fault;

use crate::operator::Operator;
use crate::scenario::{On, Rehearsal, Scenario, Stock, When};
use crate::{life, pipeline};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "three-managers",
    shows: "of three managers the leader loses its power: another leads, and the swarm takes orders",
    when: When::Nightly,
    cluster: "fixtures/clusters/three-managers.toml",
    nodes: 4,
    stock: Stock::None,
    measured: Some(242),
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
    let programs = &bench.programs;
    pipeline::provision(report, operator, programs)?;
    pipeline::registry(report, operator, programs)?;
    pipeline::service(report, operator, programs)?;
    rehearsal.search()?;

    let witness = "green";
    let before = leader(operator, witness)?;
    ensure!(before == cluster.first_manager().name, "{before} leads");
    let lab = rehearsal.lab.attached().clone();
    report.stage("the leader's power is cut", |stage| {
        lab.inflict(&before, &Fault::PowerCut)?;
        life::until(operator, "another leader", || {
            let now = leader(operator, witness)?;
            ensure!(now != before, "{now} still leads");
            stage.note(format!("{now} leads"));
            Ok(())
        })
    })?;
    report.stage("the swarm takes orders", |_| {
        let order = [
            "sudo",
            "docker",
            "node",
            "update",
            "--label-add",
            "rehearsed=yes",
            "disk",
        ];
        operator.look(witness, &order)
    })?;
    report.stage("whole again", |_| {
        lab.clear(&before)?;
        life::until_online(rehearsal, &before)?;
        life::until_whole(operator, cluster)
    })?;
    rehearsal.search().map(drop)
}

/// Who leads, as the manager `witness` sees it.
fn leader(operator: &Operator, witness: &str) -> Result<String> {
    let format = "{{.ManagerStatus}} {{.Hostname}}";
    let nodes = operator.look(
        witness,
        &["sudo", "docker", "node", "ls", "--format", format],
    )?;
    let leader = nodes.lines().find_map(|line| line.strip_prefix("Leader "));
    match leader {
        Some(leader) => Ok(leader.to_owned()),
        None => anyhow::bail!("{witness} sees no leader:\n{nodes}"),
    }
}
