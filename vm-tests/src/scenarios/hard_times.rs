//! One worker has all the trouble that a machine can have and live.

use std::time::Duration;

use anyhow::Result;
use bramble_lab::{Fault, Trouble};

use super::{EIGHT_PI, THREE};
use crate::life::{Action, live_through};
use crate::scenario::{Expects, On, Rehearsal, Scenario, Stock, When};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "hard-times",
    shows: "a worker that freezes, is unplugged, has a wrong clock, or a slow, full or read-only disk harms nobody",
    when: When::Nightly,
    cluster: EIGHT_PI,
    nodes: THREE,
    stock: Stock::None,
    measured: Some(303),
    // Where nothing can be written, units may fail.
    expects: &[Expects {
        machine: Some("worker1"),
        trouble: Trouble::FailedUnit,
        text: "",
    }],
    on: On::Cluster(run),
};

fn run(rehearsal: &mut Rehearsal) -> Result<()> {
    let troubles = [
        Fault::Frozen,
        Fault::Unplugged,
        Fault::ClockJump { seconds: 3600 },
        Fault::DiskSlow {
            bytes_per_second: 200_000,
        },
        Fault::DiskFull,
        Fault::DiskReadOnly,
    ];
    let suffers = |trouble| Action::Suffers("worker1", trouble, Duration::from_secs(20));
    live_through(rehearsal, &troubles.map(suffers))
}
