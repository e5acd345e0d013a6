//! A whole cluster is saved in the middle of a search, and goes on twice: as what it was, and from what was saved.

use std::fs;

use anyhow::{Context, Result};
use bramble_lab::checkpoint::Checkpoint;

use super::{EIGHT_PI, THREE};
use crate::life::{Action, live_through};
use crate::scenario::{On, Rehearsal, Scenario, Stock, When};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "checkpoint",
    shows: "a cluster that was saved in mid-search goes on from there as if nothing had happened",
    when: When::Nightly,
    cluster: EIGHT_PI,
    nodes: THREE,
    stock: Stock::None,
    measured: Some(187),
    expects: &[],
    on: On::Cluster(run),
};

/// A worker, and a file that it gets after the checkpoint.
const WORKER: &str = "worker1";
const LATER: &str = "/var/tmp/after-the-checkpoint";

fn run(rehearsal: &mut Rehearsal) -> Result<()> {
    live_through(
        rehearsal,
        &[Action::Is("saved, ended and restored", save_and_restore)],
    )
}

fn save_and_restore(rehearsal: &mut Rehearsal) -> Result<()> {
    let place = rehearsal.place.scratch.parent().context("a place")?;
    let saved = place.join("saved");
    if saved.exists() {
        fs::remove_dir_all(&saved)?;
    }
    rehearsal.lab.attached().checkpoint(&saved)?;

    // It goes on, and then it ends.
    rehearsal.operator.look(WORKER, &["touch", LATER])?;
    let name = rehearsal.lab.attached().name();
    rehearsal.lab.watch().check()?;
    rehearsal.lab.watch().silence();
    rehearsal.lab.attached().down()?;

    let supervisor = &rehearsal.bench.supervisor;
    *rehearsal.lab = Checkpoint::open(&saved)?.restore(&name, place, supervisor)?;
    rehearsal.operator.alarm().listen(rehearsal.lab.watch());
    rehearsal.lab.set_clocks()?;
    rehearsal
        .lab
        .guest(WORKER)
        .fails(&format!("test -e {LATER}"))?;
    fs::remove_dir_all(&saved)?;
    Ok(())
}
