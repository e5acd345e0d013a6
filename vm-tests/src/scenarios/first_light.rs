//! The least that a lab must be able to do, and the quickest look at one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};

use super::EIGHT_PI;
use crate::scenario::{On, Rehearsal, Scenario, Stock, When};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "first-light",
    shows: "machines out of the box answer, hear each other, and come back after a power cut",
    when: When::EveryCommit,
    cluster: EIGHT_PI,
    nodes: 2,
    stock: Stock::None,
    measured: Some(42),
    expects: &[],
    on: On::NewMachines(run),
};

/// What a boot of a machine is known by.
const BOOT: &str = "cat /proc/sys/kernel/random/boot_id";

/// Something to remember.
const NOTE: &str = "/var/lib/bramble-lab/note";

/// What a machine has noted of who was root there, once all has been noted: by then, that it was asked for this.
const JOURNAL: &[&str] = &[
    "sudo",
    "sh",
    "-c",
    "journalctl --sync && journalctl --quiet --lines=5 _COMM=sudo",
];

/// How far behind a clone's clock may be, in seconds: it reads and sets whole ones, while all others start, too.
const AMISS: u64 = 5;

fn now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

fn run(rehearsal: &mut Rehearsal) -> Result<()> {
    let (report, operator, nodes) = (
        rehearsal.report,
        rehearsal.operator,
        &rehearsal.cluster.nodes,
    );
    report.stage("everybody answers", |stage| {
        for node in nodes {
            let model = operator.look(&node.name, &["uname", "-mr"])?;
            ensure!(model.contains("aarch64"), "{} is {model}", node.name);
            let journal = operator.look(&node.name, JOURNAL)?;
            ensure!(
                journal.contains("journalctl"),
                "{}'s journal does not have that it was asked for: {journal}",
                node.name
            );
            stage.note(model.trim());
        }
        anyhow::Ok(())
    })?;
    report.stage("their clocks go by the host's", |_| {
        for node in nodes {
            let asked = now()?;
            let theirs: u64 = operator
                .look(&node.name, &["date", "+%s"])?
                .trim()
                .parse()?;
            let answered = now()?;
            ensure!(
                (asked.saturating_sub(AMISS)..=answered + 1).contains(&theirs),
                "{} says {theirs}, between {asked} and {answered}",
                node.name
            );
        }
        anyhow::Ok(())
    })?;
    report.stage("they hear each other", |_| {
        for (from, to) in nodes.iter().zip(nodes.iter().skip(1)) {
            let call = format!("exec 3<> /dev/tcp/{}/22", to.ip);
            operator.look(&from.name, &["timeout", "20", "bash", "-c", &call])?;
        }
        anyhow::Ok(())
    })?;
    let Some(last) = nodes.last().map(|node| node.name.clone()) else {
        return Ok(());
    };
    report.stage(&format!("{last} without power"), |_| {
        let guest = rehearsal.lab.guest(&last);
        let boot = guest.run(BOOT)?;
        guest.write(NOTE, "it was so")?;
        // Who it is has only just been written, too.
        guest.run("sync")?;
        guest.loses_power(Duration::from_secs(1))?;
        ensure!(guest.run(BOOT)? != boot, "{last} was never off");
        let note = guest.read(NOTE)?;
        ensure!(
            note == b"it was so",
            "{last} has forgotten what was on its disk"
        );
        Ok(())
    })
}
