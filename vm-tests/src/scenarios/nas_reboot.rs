//! Router and NAS are one machine here, and it starts anew.

use std::time::Duration;

use anyhow::Result;
use bramble_lab::Fault;

use super::{EIGHT_PI, THREE};
use crate::household;
use crate::life::{Action, live_through};
use crate::pipeline;
use crate::scenario::{On, Rehearsal, Scenario, Stock, When};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "nas-reboot",
    shows: "when the NAS comes back, what was mounted is mounted, and the registry on it serves and stores",
    when: When::Nightly,
    cluster: EIGHT_PI,
    nodes: THREE,
    stock: Stock::None,
    measured: Some(195),
    expects: &[],
    on: On::Cluster(run),
};

fn run(rehearsal: &mut Rehearsal) -> Result<()> {
    let cut = Action::Suffers(household::NAME, Fault::PowerCut, Duration::from_secs(10));
    live_through(rehearsal, &[cut])?;
    rehearsal.report.stage("writing to the NAS", |_| {
        for node in &rehearsal.cluster.nodes {
            let file = format!("/shared/{}.back", node.name);
            rehearsal.operator.look(
                &node.name,
                &[
                    "sh",
                    "-c",
                    &format!("date > {file} && cat {file} && rm {file}"),
                ],
            )?;
        }
        Ok(())
    })?;
    pipeline::registry(
        rehearsal.report,
        rehearsal.operator,
        &rehearsal.bench.programs,
    )
}
