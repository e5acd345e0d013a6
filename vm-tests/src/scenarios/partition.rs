//! The network fails in more than one way.

use std::time::Duration;

use anyhow::Result;
use bramble_lab::{Direction, Fault, Impairment};

use super::{EIGHT_PI, THREE};
use crate::life::{Action, live_through};
use crate::scenario::{On, Rehearsal, Scenario, Stock, When};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "partition",
    shows: "a cable that is cut, a worker's and the manager's, two nodes that do not hear each other, a bad line: the answer is the same",
    when: When::Nightly,
    cluster: EIGHT_PI,
    nodes: THREE,
    stock: Stock::None,
    measured: Some(469),
    expects: &[],
    on: On::Cluster(run),
};

/// Longer than the swarm needs to give a node up.
const LONG: Duration = Duration::from_secs(60);

fn run(rehearsal: &mut Rehearsal) -> Result<()> {
    let manager = "manager1".to_owned();
    live_through(
        rehearsal,
        &[
            Action::Suffers("worker1", Fault::cut(), LONG),
            Action::Suffers("manager1", Fault::cut(), LONG),
            Action::Suffers("worker2", Fault::Apart { from: manager }, LONG),
            Action::Suffers("worker1", bad_line()?, LONG),
        ],
    )
}

fn bad_line() -> Result<Fault> {
    let impairment = Impairment {
        latency: Duration::from_millis(100),
        jitter: Duration::from_millis(50),
        loss: "3%".parse()?,
        corruption: "0.5%".parse()?,
        duplication: "1%".parse()?,
        rate: Some("2mbit".parse()?),
        ..Impairment::default()
    };
    Ok(Fault::Link {
        direction: Direction::Both,
        impairment,
    })
}
