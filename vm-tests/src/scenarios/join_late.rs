//! One more node joins a cluster that has worked for a while.

use std::fs;

use anyhow::{Context, Result};
use bramble_cluster::spec::Cluster;

use super::{EIGHT_PI, THREE};
use crate::scenario::{On, Rehearsal, Scenario, Stock, When};
use crate::{household, life, pipeline, resize, setting};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "join-late",
    shows: "a node that is added to the cluster file later is provisioned, joins, and computes",
    when: When::Nightly,
    cluster: EIGHT_PI,
    nodes: THREE,
    stock: Stock::None,
    measured: Some(250),
    expects: &[],
    on: On::NewMachines(run),
};

fn run(rehearsal: &mut Rehearsal) -> Result<()> {
    let Rehearsal {
        report,
        operator,
        bench,
        ..
    } = *rehearsal;
    let programs = &bench.programs;
    pipeline::provision(report, operator, programs)?;
    pipeline::registry(report, operator, programs)?;
    pipeline::service(report, operator, programs)?;
    rehearsal.search()?;

    let grown = report.stage("one more machine", |stage| {
        let grown = one_more(rehearsal)?;
        stage.note(format!("{} nodes", grown.nodes.len()));
        Ok(grown)
    })?;
    pipeline::provision(report, operator, programs)?;
    pipeline::service(report, operator, programs)?;
    report.stage("whole", |_| life::until_whole(operator, &grown))?;
    pipeline::shares(&grown, rehearsal.search()?)?;
    pipeline::provision_again(report, operator, programs)
}

/// Adds a node to the cluster file, as a person would, and switches on its machine.
fn one_more(rehearsal: &mut Rehearsal) -> Result<Cluster> {
    let path = rehearsal.place.files().cluster();
    let text = resize::resize(
        &fs::read_to_string(&path)?,
        rehearsal.cluster.nodes.len() + 1,
    )?;
    fs::write(&path, &text)?;
    let (grown, _) = Cluster::parse(&path.display().to_string(), &text)?;
    rehearsal.operator.bramble(&["check"])?;
    rehearsal.operator.bramble(&["keys"])?;
    let node = grown.nodes.last().context("a cluster without nodes")?;
    household::reserve(rehearsal.lab.attached(), rehearsal.cluster, &grown)?;
    let template = &rehearsal.bench.node;
    setting::add(rehearsal.lab, &grown, node, rehearsal.place, template)?;
    life::until_online(rehearsal, &node.name)?;
    Ok(grown)
}
