//! What is done twice changes nothing the second time.

use anyhow::{Result, ensure};

use super::{EIGHT_PI, THREE};
use crate::pipeline;
use crate::scenario::{On, Rehearsal, Scenario, Stock, When};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "idempotence",
    shows: "a second run of every command changes nothing: no file, no container, no start of a node",
    when: When::Nightly,
    cluster: EIGHT_PI,
    nodes: THREE,
    stock: Stock::None,
    measured: Some(195),
    expects: &[],
    on: On::Cluster(run),
};

fn run(rehearsal: &mut Rehearsal) -> Result<()> {
    let Rehearsal {
        report,
        operator,
        bench,
        ..
    } = *rehearsal;
    let before = report.stage("what runs", |_| what_runs(rehearsal))?;
    pipeline::provision_again(report, operator, &bench.programs)?;
    pipeline::registry(report, operator, &bench.programs)?;
    pipeline::service(report, operator, &bench.programs)?;
    report.stage("still runs", |stage| {
        let after = what_runs(rehearsal)?;
        ensure!(
            before == after,
            "what runs is not what ran\n--- before\n{before}\n--- after\n{after}"
        );
        stage.note("the same boots, the same containers");
        Ok(())
    })?;
    rehearsal.search().map(drop)
}

/// Of each node its boot, and its containers with when they were started.
fn what_runs(rehearsal: &Rehearsal) -> Result<String> {
    const LOOK: &str = "cat /proc/sys/kernel/random/boot_id; \
        sudo docker ps --quiet --no-trunc | sort | xargs -r sudo docker inspect --format '{{.Name}} {{.State.StartedAt}}'";
    let mut all = String::new();
    for node in &rehearsal.cluster.nodes {
        let runs = rehearsal.operator.look(&node.name, &["sh", "-c", LOOK])?;
        all += &format!("{}\n{runs}", node.name);
    }
    Ok(all)
}
